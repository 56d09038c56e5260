/* conv.c: 2-d convolution (cross-correlation), forward and the gradient of the input; 1-d is a height of 1.
 *
 * Both are the same thing. Forward, the source is x. Backward it is dy, and every residue of the stride (`phase`) of dx is
 * an output of its own with those taps that reach it. A tile multiplies TILE_ROWS output channels with vectors of
 * consecutive pixels of the source as it is laid out (conv.h), one FMA per tap and channel; what was computed between
 * two output rows is dropped.
 *
 * Order: an output is a chain of FMAs over (channel, row, column of the kernel) in equal blocks of channels with at most
 * K_BLOCK taps together; blocks join in order, then the bias. Padding takes part as zeros. Accuracy: that of matmul. */
#include "conv.h"

enum {
    K_BLOCK = 512,          /* bits: taps of a chain of an output */
    SPLIT_ROWS = 48,        /* output channels that make a unit where there are few blocks */
    SUM_ELEMS = 128 << 10,  /* elements of partial sums of a unit */
    PACK_ROWS = 32          /* output channels from which pixels are packed, see block_outputs */
};

/* The part of the outputs with one residue of the stride; the forward pass has one phase. */
typedef struct phase {
    int64_t h, w, to;       /* outputs; offset of the first in the destination */
    int64_t taps, channels; /* channels: of a k block */
    int64_t *offset;        /* [channels, taps] in the source */
    int64_t *tap;           /* [taps] in the kernel */
    const real *weight;     /* [groups, out channels, source channels, taps] */
} phase;

typedef struct plan {
    layout s;                   /* the source */
    real *out;
    const real *bias;           /* NULL: none */
    int64_t channels;           /* of a group of the destination */
    int64_t out_h, out_w, step_y, step_x; /* of the destination */
    int64_t splits;             /* of the destination's channels among units */
    int64_t phases, taps;
    int packed;
    int64_t shared, each;       /* scratch: bytes shared, elements per thread */
    phase *phase;
    int64_t *packed_offset;     /* [K_BLOCK or taps] 0, TILE_COLS, .. */
    real *buffer;
} plan;

/* x to y, or dy to dx */
static plan make_plan(const fdl_conv_args *a, int backward) {
    plan p = {.s = FDL_FN(conv_source)(a, backward), .taps = a->kh * a->kw};
    p.out = backward ? a->dx : a->y, p.bias = backward ? 0 : a->bias, p.channels = backward ? a->ci : a->co;
    p.out_h = backward ? a->h : a->oh, p.out_w = backward ? a->w : a->ow;
    p.step_y = backward ? a->stride_h : 1, p.step_x = backward ? a->stride_w : 1;
    p.phases = p.step_y * p.step_x;
    /* many output channels are shared among units instead, which then read less of the weights each */
    int64_t wanted = 2 * (int64_t)fdl_num_threads();
    FDL_FN(conv_cut)(&p.s, p.s.channels, FLAT, wanted / (a->groups * max_i64(p.channels / SPLIT_ROWS, 1)));
    int64_t flat = ((p.s.images - 1) * p.s.y.pitch + p.s.band) * p.s.x.pitch, units = p.s.blocks * a->groups;
    int sums = p.s.channels * p.taps > K_BLOCK;
    p.splits = ceil_div(wanted, max_i64(units, 1));
    if (sums) p.splits = max_i64(p.splits, ceil_div(p.channels * flat, SUM_ELEMS));
    p.splits = max_i64(min_i64(p.splits, ceil_div(p.channels, TILE_ROWS)), 1);
    p.packed = p.channels / p.splits >= PACK_ROWS;
    int64_t depth = max_i64(K_BLOCK, p.taps);
    int64_t offsets = depth + p.taps; /* of all phases together, see set_phases */
    if (p.phases > 1) offsets = min_i64(p.phases * K_BLOCK, p.taps * p.s.channels) + p.taps;
    if (p.packed) offsets += depth;
    offsets += p.taps; /* of the kernel */
    p.shared = align16(p.phases * (int64_t)sizeof(phase) / 8 + offsets + 8) * 8;
    if (backward) p.shared += align16(a->groups * a->ci * a->co * p.taps) * (int64_t)sizeof(real);
    p.each = align16(p.s.in_place ? 0 : p.s.channels * p.s.channel) + align16(sums ? ceil_div(p.channels, p.splits) * flat : 0);
    if (p.packed) p.each += depth * TILE_COLS + VL;
    p.each = align16(p.each);
    return p;
}

/* The weights by phase with channels exchanged, rows [begin, end) of (group, input channel): read once in order, while
 * one line of each row is written at a time. */
static void exchange_rows(void *ctx, int64_t begin, int64_t end, int thread) {
    const plan *p = ctx;
    const fdl_conv_args *a = p->s.args;
    (void)thread;
    for (int64_t row = begin, count; row < end; row += count) {
        int64_t group = row / a->ci, first = row % a->ci;
        count = min_i64(end - row, a->ci - first);
        for (int64_t co = 0; co < a->co; co++) {
            const real *w = a->weight + ((group * a->co + co) * a->ci + first) * p->taps;
            for (int64_t f = 0; f < p->phases; f++) {
                const phase *ph = &p->phase[f];
                real *out = (real *)ph->weight + (row * a->co + co) * ph->taps;
                for (int64_t c = 0; c < count; c++, out += a->co * ph->taps)
                    for (int64_t t = 0; t < ph->taps; t++) out[t] = w[c * p->taps + ph->tap[t]];
            }
        }
    }
}

/* the tables of the phases, and for the backward pass the weights */
static void set_phases(plan *p, int backward) {
    const fdl_conv_args *a = p->s.args;
    p->phase = a->scratch;
    int64_t *tap = (int64_t *)(p->phase + p->phases), *offset = tap + p->taps;
    char *end = (char *)a->scratch + p->shared;
    p->buffer = (real *)end;
    real *weight = (real *)end - (backward ? align16(a->groups * a->ci * a->co * p->taps) : 0);
    for (int64_t f = 0; f < p->phases; f++) {
        phase *ph = &p->phase[f];
        int64_t fy = f / p->step_x, fx = f % p->step_x, t = 0;
        ph->h = ceil_div(p->out_h - fy, p->step_y), ph->w = ceil_div(p->out_w - fx, p->step_x);
        ph->to = fy * p->out_w + fx;
        ph->offset = offset;
        ph->tap = tap;
        ph->weight = backward ? weight : a->weight;
        for (int64_t ky = 0; ky < a->kh; ky++)
            for (int64_t kx = 0; kx < a->kw; kx++) {
                if (!backward) {
                    offset[t++] = tap_offset(&p->s, ky, kx);
                    continue;
                }
                int64_t ey = fy + a->pad_h - ky * a->dilation_h, ex = fx + a->pad_w - kx * a->dilation_w;
                if (ey % a->stride_h || ex % a->stride_w) continue;
                *tap++ = ky * a->kw + kx;
                offset[t++] = (ey / a->stride_h - p->s.y.low) * p->s.x.pitch + ex / a->stride_w - p->s.x.low;
            }
        ph->taps = t;
        int64_t k_blocks = t ? ceil_div(p->s.channels, max_i64(K_BLOCK / t, 1)) : 1;
        ph->channels = max_i64(ceil_div(p->s.channels, max_i64(k_blocks, 1)), 1);
        for (int64_t c = 1; c < ph->channels; c++)
            for (int64_t i = 0; i < t; i++) offset[c * t + i] = offset[i] + c * p->s.channel;
        offset += ph->channels * t;
        if (backward) weight += a->groups * a->ci * a->co * t;
    }
    p->packed_offset = offset;
    for (int64_t i = 0; p->packed && i < max_i64(K_BLOCK, p->taps); i++) offset[i] = i * TILE_COLS;
    if (backward)
        fdl_parallel_for(a->groups * a->ci, max_i64(GRAIN_FMAS / 16 / max_i64(a->co * p->taps, 1), 1), exchange_rows, p);
}

/* c[r][j] (+)= sum over i of a[r][i] b[offset[i] + j], (+ bias[r]) */
typedef struct tile_args {
    real *c;
    const real *sum; /* what the chain joins, [rows] with stride ld_sum; NULL: nothing */
    const real *a, *b, *bias;
    const int64_t *offset;
    int64_t lda, ldc, ld_sum, k;
    int last;        /* columns of the last vector */
} tile_args;

INLINE void tile_product(const tile_args *t, const int rows, const int vecs, const int tail) {
    vf acc[ACCS];
    const int64_t lda = t->lda, k = t->k, *offset = t->offset;
    const int last = t->last;
    const real *a = t->a, *b = t->b;
    UNROLL for (int i = 0; i < rows * vecs; i++) acc[i] = v_zero();
    for (int64_t p = 0; p < k; p++, a++) {
        const real *x = b + offset[p];
        vf col[TILE_VECS];
        UNROLL for (int v = 0; v < vecs; v++) col[v] = tail && v == vecs - 1 ? v_load_n(x + v * VL, last) : v_load(x + v * VL);
        UNROLL for (int r = 0; r < rows; r++) {
            vf y = v_set1(a[r * lda]);
            UNROLL for (int v = 0; v < vecs; v++) acc[r * vecs + v] = v_fma(y, col[v], acc[r * vecs + v]);
        }
    }
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int v = 0; v < vecs; v++) {
            int cut = tail && v == vecs - 1;
            vf y = acc[r * vecs + v];
            if (t->sum) {
                const real *sum = t->sum + r * t->ld_sum + v * VL;
                y += cut ? v_load_n(sum, last) : v_load(sum);
            }
            if (t->bias) y += v_set1(t->bias[r]);
            if (cut) v_store_n(t->c + r * t->ldc + v * VL, y, last);
            else v_store(t->c + r * t->ldc + v * VL, y);
        }
}

typedef void (*tile_fn)(const tile_args *t);
#define TILE(rows, vecs) \
    static void tile_##rows##x##vecs(const tile_args *t) { tile_product(t, rows, vecs, 0); } \
    static void tile_##rows##x##vecs##_tail(const tile_args *t) { tile_product(t, rows, vecs, 1); }
#define TILE_PAIR(rows, vecs) {tile_##rows##x##vecs, tile_##rows##x##vecs##_tail},
FOR_6_ROWS(TILE, 1)
FOR_6_ROWS(TILE, 2)
#if ACCS == 24
FOR_6_ROWS(TILE, 3)
FOR_6_ROWS(TILE, 4)
#endif
static const tile_fn tiles[TILE_VECS][TILE_ROWS][2] = {
    {FOR_6_ROWS(TILE_PAIR, 1)}, {FOR_6_ROWS(TILE_PAIR, 2)},
#if ACCS == 24
    {FOR_6_ROWS(TILE_PAIR, 3)}, {FOR_6_ROWS(TILE_PAIR, 4)},
#endif
};

/* `count` pixels of a panel, from column `from` on, that are neighbours in an output row */
typedef struct segment {
    int from, count;
    int64_t source, to;
} segment;

/* Pixels [f, f + cols) of a block as segments; `source` and `to` count from the block's first image and row. Pixels are
 * numbered as the source lies, with those between two rows, or if packed without them. */
static int find_segments(const plan *p, const phase *ph, segment *s, int64_t f, int cols, int64_t height, int64_t images) {
    int64_t pitch = p->packed ? ph->w : p->s.x.pitch, image_lines = p->packed ? height : p->s.y.pitch;
    int64_t line = f / pitch, x = f % pitch, image_step = p->s.args->groups * p->channels * p->out_h * p->out_w;
    int count = 0;
    for (int at = 0; at < cols; line++, x = 0) {
        int64_t image = min_i64(line / image_lines, images - 1), y = line - image * image_lines;
        if (x < ph->w && y < height)
            s[count++] = (segment){at, (int)min_i64(cols - at, ph->w - x), (image * p->s.y.pitch + y) * p->s.x.pitch + x,
                                   image * image_step + y * p->step_y * p->out_w + x * p->step_x};
        at += (int)min_i64(cols - at, pitch - x);
    }
    return count;
}

/* panel[i][..] = the segments of source + offset[i]; vectors are stored whole, in order, so that the next one corrects
 * what is too much */
static void pack_panel(real *panel, const real *source, const int64_t *offset, int64_t k, const segment *s, int count) {
    for (int64_t i = 0; i < k; i++, panel += TILE_COLS)
        for (int j = 0; j < count; j++) {
            const real *x = source + offset[i] + s[j].source;
            int n = s[j].count, at = 0;
            for (; at + VL <= n; at += VL) v_store(panel + s[j].from + at, v_load(x + at));
            if (at < n) v_store(panel + s[j].from + at, v_load_n(x + at, n - at));
        }
}

static void store_segments(real *out, const real *tile, const segment *s, int count, int64_t step) {
    for (int i = 0; i < count; i++) {
        const real *x = tile + s[i].from;
        real *y = out + s[i].to;
        int n = s[i].count, j = 0;
        if (step == 1) {
            for (; j + VL <= n; j += VL) v_store(y + j, v_load(x + j));
            if (j < n) v_store_n(y + j, v_load_n(x + j, n - j), n - j);
        } else {
            for (; j < n; j++) y[j * step] = x[j];
        }
    }
}

/* Channels [first, last) of one phase of one block. With many channels each panel of pixels is packed first: loads are
 * aligned then, and no time goes into pixels between the rows. */
static void block_outputs(const plan *p, const phase *ph, const real *source, real *sums, real *panel, block b,
                          int64_t group, int64_t first, int64_t last) {
    const fdl_conv_args *a = p->s.args;
    int64_t height = min_i64(b.height, ph->h - b.y0), rows = last - first, tile_count = ceil_div(rows, TILE_ROWS);
    if (height <= 0 || ph->w <= 0) return;
    int64_t flat = ((b.images - 1) * p->s.y.pitch + height - 1) * p->s.x.pitch + ph->w, k = p->s.channels * ph->taps;
    if (p->packed) flat = b.images * height * ph->w;
    int64_t vecs = ceil_div(flat, VL), panels = ceil_div(vecs, TILE_VECS), out_plane = p->out_h * p->out_w;
    int dense = p->step_x == 1 && b.images == 1 &&
                ((p->step_y == 1 && (p->packed || p->s.x.pitch == ph->w)) || height == 1);
    const real *weight = ph->weight + (group * p->channels + first) * k;
    const real *bias = p->bias ? p->bias + group * p->channels + first : 0;
    real *out = p->out + (b.image * a->groups * p->channels + group * p->channels + first) * out_plane +
                b.y0 * p->step_y * p->out_w + ph->to;
    real tile[TILE_ROWS * TILE_COLS] __attribute__((aligned(VB)));
    segment segments[TILE_COLS];
    for (int64_t c = 0; c < p->s.channels || c == 0; c += ph->channels) {
        int begun = c > 0, done = c + ph->channels >= p->s.channels;
        tile_args t = {.lda = k, .k = min_i64(ph->channels, p->s.channels - c) * ph->taps, .ld_sum = flat};
        t.offset = p->packed ? p->packed_offset : ph->offset;
        for (int64_t j = 0; j < panels; j++) {
            int64_t from = vecs * j / panels * VL, until = min_i64(vecs * (j + 1) / panels * VL, flat);
            int cols = (int)(until - from), n = (cols + VL - 1) / VL, count = 0;
            if (p->packed || (done && !dense)) count = find_segments(p, ph, segments, from, cols, height, b.images);
            if (p->packed) pack_panel(panel, source + c * p->s.channel, ph->offset, t.k, segments, count);
            t.b = p->packed ? panel : source + c * p->s.channel + from;
            t.last = cols - (n - 1) * VL;
            for (int64_t i = 0; i < tile_count; i++) {
                int64_t row = rows * i / tile_count;
                int tall = (int)(rows * (i + 1) / tile_count - row);
                t.a = weight + row * k + c * ph->taps;
                t.sum = begun ? sums + row * flat + from : 0;
                t.bias = done && bias ? bias + row : 0;
                t.c = !done ? sums + row * flat + from : dense ? out + row * out_plane + from : tile;
                t.ldc = !done ? flat : dense ? out_plane : TILE_COLS;
                tiles[n - 1][tall - 1][t.last < VL](&t);
                if (done && !dense)
                    for (int r = 0; r < tall; r++)
                        store_segments(out + (row + r) * out_plane, tile + r * TILE_COLS, segments, count, p->step_x);
            }
        }
    }
}

/* unit = (block * groups + group) * splits + split */
static void output_units(void *ctx, int64_t begin, int64_t end, int thread) {
    const plan *p = ctx;
    const fdl_conv_args *a = p->s.args;
    real *buffer = p->buffer + thread * p->each, *panel = buffer + align16(p->s.in_place ? 0 : p->s.channels * p->s.channel);
    real *sums = panel + (p->packed ? max_i64(K_BLOCK, p->taps) * TILE_COLS + VL : 0);
    const real *source = 0;
    for (int64_t u = begin; u < end; u++) {
        int64_t split = u % p->splits, group = u / p->splits % a->groups;
        block b = block_at(&p->s, u / p->splits / a->groups);
        if (u == begin || !split) source = FDL_FN(conv_lay_out)(&p->s, buffer, b, group, 0, p->s.channels);
        for (int64_t f = 0; f < p->phases; f++)
            block_outputs(p, &p->phase[f], source, sums, panel, b, group, p->channels * split / p->splits, p->channels * (split + 1) / p->splits);
    }
}

static void outputs(const fdl_conv_args *a, int backward) {
    plan p = make_plan(a, backward);
    if (!a->n || !p.channels || !p.out_h || !p.out_w) return;
    set_phases(&p, backward);
    int64_t units = p.s.blocks * a->groups * p.splits;
    int64_t fmas = a->n * a->groups * p.channels * p.out_h * p.out_w / p.phases * (p.s.channels * p.taps + 8) / units;
    fdl_parallel_for(units, GRAIN_FMAS / (fmas + 1) + 1, output_units, &p);
}

/* conv: y[n, g, o] = bias[g, o] + sum over c, ky, kx of weight[g, o, c, ky, kx] x[n, g, c, oy stride - pad + ky dilation, ..],
 * what is outside of x being 0; see fdl_conv_args. conv_fwd writes y, conv_dx writes dx from dy and weight; conv_dw:
 * conv_weight.c.   scratch: conv_scratch(args, backward) bytes, backward: for conv_dx */
int64_t FDL_FN(conv_scratch)(const fdl_conv_args *args, int backward) {
    plan p = make_plan(args, backward);
    return p.shared + fdl_num_threads() * p.each * (int64_t)sizeof(real);
}

void FDL_FN(conv_fwd)(const fdl_conv_args *args) { outputs(args, 0); }
void FDL_FN(conv_dx)(const fdl_conv_args *args) { outputs(args, 1); }
