/* conv_weight.c: the gradients of a convolution's weight and bias.
 *
 * dy is transposed to [pixel][channel]; a tile multiplies up to 8 taps of the source (conv.h), read element by element,
 * with vectors of output channels, one FMA per pixel.
 *
 * Order: chains over DW_PIXELS pixels of a block, these one after the other within a chunk of blocks, then the chunks.
 * Sums of db: see pixels_first. Padding takes part as zeros. */
#include "conv.h"

enum {
    DW_ROWS = 8,              /* taps of a tile: their addresses fill the registers */
    DW_PIXELS = 256,          /* bits: pixels of a chain; with 64 channels 64 KB of float */
    DW_CHUNKS = 16,           /* bits: sums over blocks that are joined at the end */
    DW_CHUNK_ELEMS = 8 << 20, /* bits: elements that they may take together */
    DW_SUM_ELEMS = 256 << 10  /* bits: elements of a unit's sums: 1 MB of float, half of L2 */
};

typedef struct dw_plan {
    layout s;                   /* of x */
    int64_t taps;
    int64_t chunks, parts;      /* parts: of the source's channels */
    int64_t channels, width;    /* channels of a part; out channels rounded up to vectors */
    int64_t pixels;             /* of a block */
    int64_t each;               /* scratch of a thread: elements */
    int64_t *offset;            /* [channels, taps] */
    real *buffer;
    real *sums, *bias_sums;     /* [chunks, groups, ci, taps, width], [chunks, groups, width] */
} dw_plan;

static dw_plan make_dw_plan(const fdl_conv_args *a) {
    dw_plan d = {.s = FDL_FN(conv_source)(a, 0), .taps = a->kh * a->kw};
    layout *p = &d.s;
    int64_t size = a->ci * d.taps * a->co, line = max_i64(a->ow * align16(a->co), 1);
    d.parts = max_i64(min_i64(ceil_div(size, DW_SUM_ELEMS), a->ci), 1);
    FDL_FN(conv_cut)(p, ceil_div(a->ci, d.parts), DW_PIXELS, UNITS / (a->groups * d.parts));
    if (p->images == 1 && p->band * line > SOURCE_ELEMS) { /* dy, pixels first, stays in L2 too */
        p->band = ceil_div(p->y.out, ceil_div(p->y.out, max_i64(SOURCE_ELEMS / line, 1)));
        p->bands = ceil_div(p->y.out, p->band);
        p->blocks = a->n * p->bands;
    }
    d.chunks = min_i64(min_i64(DW_CHUNKS, p->blocks), DW_CHUNK_ELEMS / max_i64(a->groups * size, 1));
    d.chunks = max_i64(d.chunks, 1);
    d.parts = min_i64(max_i64(d.parts, ceil_div(UNITS, d.chunks * a->groups)), max_i64(a->ci, 1));
    d.channels = ceil_div(a->ci, d.parts);
    d.parts = ceil_div(a->ci, max_i64(d.channels, 1));
    d.width = ceil_div(a->co, VL) * VL;
    d.pixels = p->images * p->band * a->ow;
    d.each = align16(p->in_place ? 0 : d.channels * p->channel) + align16(d.pixels * d.width);
    return d;
}

INLINE int64_t dw_shared(const fdl_conv_args *a, const dw_plan *d) { /* elements of 8 bytes, then reals */
    return align16(d->channels * d->taps) * 8 +
           d->chunks * a->groups * (a->ci * d->taps + 1) * d->width * (int64_t)sizeof(real);
}

/* g[pixel][width] = dy of a block, channels beyond co 0; adds the sums over the pixels to bias_sums, if not NULL:
 * pixels i, i + 4, .. of a row of dy's plane in order, the four sums 0+2, 1+3 */
static void pixels_first(const dw_plan *d, real *g, real *bias_sums, block b, int64_t group) {
    const fdl_conv_args *a = d->s.args;
    int64_t plane = a->oh * a->ow, n = b.height * a->ow;
    for (int64_t image = 0; image < b.images; image++, g += n * d->width) {
        const real *dy = a->dy + ((b.image + image) * a->groups + group) * a->co * plane + b.y0 * a->ow;
        for (int64_t c = 0; c < a->co; c += VL) {
            int channels = (int)min_i64(VL, a->co - c);
            vf total[4] = {0};
            for (int64_t i = 0; i < n; i += VL) {
                int count = (int)min_i64(VL, n - i);
                vf x[VL];
                UNROLL for (int j = 0; j < VL; j++) x[j] = j < channels ? v_load_n(dy + (c + j) * plane + i, count) : v_zero();
                v_transpose(x);
                UNROLL for (int j = 0; j < VL; j++) {
                    if (j < count) v_store(g + (i + j) * d->width + c, x[j]);
                    total[VL < 4 ? (i + j) % 4 : j % 4] += x[j];
                }
            }
            if (bias_sums) v_store(bias_sums + c, v_load(bias_sums + c) + ((total[0] + total[2]) + (total[1] + total[3])));
        }
    }
}

/* sums[r][..] += sum over i of source[offset[r] + pixel[i]] g[i][..] */
typedef struct dw_tile_args {
    real *sums;
    const real *source, *g;
    const int64_t *offset, *pixel;
    int64_t width, count;
} dw_tile_args;

INLINE void dw_tile(const dw_tile_args *t, const int rows, const int vecs) {
    vf acc[ACCS];
    const real *x[DW_ROWS], *g = t->g;
    const int64_t width = t->width, *pixel = t->pixel, count = t->count;
    UNROLL for (int i = 0; i < rows * vecs; i++) acc[i] = v_zero();
    UNROLL for (int r = 0; r < rows; r++) x[r] = t->source + t->offset[r];
    for (int64_t i = 0; i < count; i++, g += width) {
        int64_t at = pixel[i];
        vf col[TILE_VECS];
        UNROLL for (int v = 0; v < vecs; v++) col[v] = v_load(g + v * VL);
        UNROLL for (int r = 0; r < rows; r++) {
            vf y = v_set1(x[r][at]);
            UNROLL for (int v = 0; v < vecs; v++) acc[r * vecs + v] = v_fma(y, col[v], acc[r * vecs + v]);
        }
    }
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int v = 0; v < vecs; v++) {
            real *sum = t->sums + r * width + v * VL;
            v_store(sum, v_load(sum) + acc[r * vecs + v]);
        }
}

typedef void (*dw_fn)(const dw_tile_args *t);
#define DW(rows, vecs) \
    static void dw_##rows##x##vecs(const dw_tile_args *t) { dw_tile(t, rows, vecs); }
#define DW_NAME(rows, vecs) dw_##rows##x##vecs,
FOR_8_ROWS(DW, 1)
#if ACCS == 24
FOR_8_ROWS(DW, 2)
FOR_8_ROWS(DW, 3)
FOR_6_ROWS(DW, 4)
static const dw_fn dw_tiles[TILE_VECS][DW_ROWS] = {
    {FOR_8_ROWS(DW_NAME, 1)}, {FOR_8_ROWS(DW_NAME, 2)}, {FOR_8_ROWS(DW_NAME, 3)}, {FOR_6_ROWS(DW_NAME, 4)}};
#else
FOR_6_ROWS(DW, 2)
static const dw_fn dw_tiles[TILE_VECS][DW_ROWS] = {{FOR_8_ROWS(DW_NAME, 1)}, {FOR_6_ROWS(DW_NAME, 2)}};
#endif

/* unit = (chunk * groups + group) * parts + part */
static void dw_units(void *ctx, int64_t begin, int64_t end, int thread) {
    const dw_plan *d = ctx;
    const layout *p = &d->s;
    const fdl_conv_args *a = p->args;
    real *buffer = d->buffer + thread * d->each, *g = buffer + align16(p->in_place ? 0 : d->channels * p->channel);
    int64_t vecs = d->width / VL, panels = ceil_div(vecs, TILE_VECS), tall = ceil_div(vecs, panels);
    int64_t tile_rows = min_i64(ACCS / tall, DW_ROWS), pixel[DW_PIXELS];
    for (int64_t u = begin; u < end; u++) {
        int64_t part = u % d->parts, group = u / d->parts % a->groups, chunk = u / d->parts / a->groups;
        int64_t channel = part * d->channels, channels = min_i64(d->channels, a->ci - channel), k = channels * d->taps;
        int64_t tile_count = ceil_div(k, tile_rows);
        real *sums = d->sums + ((chunk * a->groups + group) * a->ci + channel) * d->taps * d->width;
        real *bias_sums = a->db && !part ? d->bias_sums + (chunk * a->groups + group) * d->width : 0;
        zero(sums, k * d->width);
        if (bias_sums) zero(bias_sums, d->width);
        for (int64_t i = p->blocks * chunk / d->chunks; i < p->blocks * (chunk + 1) / d->chunks; i++) {
            block b = block_at(p, i);
            dw_tile_args t = {.width = d->width, .pixel = pixel};
            int64_t pixels = b.images * b.height * a->ow, at = 0, x = 0, y = 0; /* of the next pixel */
            t.source = FDL_FN(conv_lay_out)(p, buffer, b, group, channel, channels);
            pixels_first(d, g, bias_sums, b, group);
            for (int64_t from = 0; from < pixels; from += DW_PIXELS) {
                t.count = min_i64(DW_PIXELS, pixels - from);
                for (int64_t n = 0; n < t.count; n++) {
                    pixel[n] = at++;
                    if (++x < a->ow) continue;
                    x = 0, at += p->x.pitch - a->ow;
                    if (++y == b.height) y = 0, at += (p->y.pitch - b.height) * p->x.pitch;
                }
                for (int64_t panel = 0; panel < panels; panel++) {
                    int64_t vec = vecs * panel / panels, count = vecs * (panel + 1) / panels - vec;
                    t.g = g + from * d->width + vec * VL;
                    for (int64_t j = 0; j < tile_count; j++) {
                        int64_t row = k * j / tile_count, rows = k * (j + 1) / tile_count - row;
                        t.offset = d->offset + row;
                        t.sums = sums + row * d->width + vec * VL;
                        dw_tiles[count - 1][rows - 1](&t);
                    }
                }
            }
        }
    }
}

/* dw[group][co][k] = the chunks of [group][k][co], for VL k at a time; unit = group * blocks of k + block */
static void join_units(void *ctx, int64_t begin, int64_t end, int thread) {
    const dw_plan *d = ctx;
    const fdl_conv_args *a = d->s.args;
    int64_t k = a->ci * d->taps, blocks = ceil_div(k, VL), step = a->groups * k * d->width;
    (void)thread;
    for (int64_t u = begin; u < end; u++) {
        int64_t group = u / blocks, from = u % blocks * VL;
        int rows = (int)min_i64(VL, k - from);
        for (int64_t c = 0; c < a->co; c += VL) {
            vf x[VL];
            int channels = (int)min_i64(VL, a->co - c);
            UNROLL for (int r = 0; r < VL; r++) {
                x[r] = v_zero();
                if (r >= rows) continue;
                const real *sums = d->sums + (group * k + from + r) * d->width + c;
                x[r] = v_load(sums);
                for (int64_t i = 1; i < d->chunks; i++) x[r] += v_load(sums + i * step);
            }
            v_transpose(x);
            UNROLL for (int j = 0; j < VL; j++)
                if (j < channels) v_store_n(a->dw + (group * a->co + c + j) * k + from, x[j], rows);
        }
    }
}

/* conv_dw: dw and db (NULL: not wanted) of conv.c's convolution from x and dy.   scratch: conv_dw_scratch(args) bytes */
int64_t FDL_FN(conv_dw_scratch)(const fdl_conv_args *args) {
    dw_plan d = make_dw_plan(args);
    return dw_shared(args, &d) + fdl_num_threads() * d.each * (int64_t)sizeof(real);
}

void FDL_FN(conv_dw)(const fdl_conv_args *args) {
    const fdl_conv_args *a = args;
    dw_plan d = make_dw_plan(a);
    int64_t k = a->ci * d.taps, size = a->groups * k * d.width;
    if (!a->groups || !a->co || !k) return;
    d.offset = a->scratch;
    d.sums = (real *)(d.offset + align16(d.channels * d.taps));
    d.bias_sums = d.sums + d.chunks * size;
    d.buffer = (real *)((char *)a->scratch + dw_shared(a, &d));
    for (int64_t c = 0; c < d.channels; c++)
        for (int64_t t = 0; t < d.taps; t++) d.offset[c * d.taps + t] = c * d.s.channel + tap_offset(&d.s, t / a->kw, t % a->kw);
    int64_t units = d.chunks * a->groups * d.parts;
    int64_t fmas = a->n * a->groups * a->oh * a->ow * (k + 8) * d.width / units;
    fdl_parallel_for(units, GRAIN_FMAS / (fmas + 1) + 1, dw_units, &d);
    int64_t blocks = ceil_div(k, VL);
    fdl_parallel_for(a->groups * blocks, GRAIN_FMAS / 8 / (d.chunks * VL * d.width) + 1, join_units, &d);
    for (int64_t c = 0; a->db && c < a->groups * a->co; c++) {
        const real *sums = d.bias_sums + c / a->co * d.width + c % a->co;
        real total = sums[0];
        for (int64_t i = 1; i < d.chunks; i++) total += sums[i * a->groups * d.width];
        a->db[c] = total;
    }
}
