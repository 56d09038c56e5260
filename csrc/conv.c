/* conv.c: 2-d convolution (cross-correlation), forward and both gradients; 1-d is a height of 1.
 *
 * No column matrix is made. A block of the source (some images, or a band of rows of one) is laid out so that one tap of
 * the kernel is one distance in memory: planes [rows][pitch] with zeros for the padding, which the end of a row shares
 * with the start of the next, and images with one another. With a stride of s, entries e, e + s, e + 2s, .. form a plane
 * of their own. Output pixels are then counted through rows and images (`flat`): the tile multiplies `rows` output
 * channels with vectors of consecutive pixels, one FMA per tap and channel, and what was computed between two output rows
 * is dropped. Without padding and stride the source is read where it lies.
 * The gradient of the input is the same thing: the source is dy, and every residue of the stride (`phase`) of dx is an
 * output of its own with those taps that reach it. The gradient of the weight multiplies taps of the source, read element
 * by element, with vectors of dy's channels.
 *
 * Order: an output is a chain of FMAs over (channel, row, column of the kernel) in blocks of channels with at most K_BLOCK
 * taps together; blocks join in order, then the bias. A weight's gradient: chains over the pixels of DW_PIXELS or one
 * row, these one after the other within a chunk of images, then the chunks. Cuts depend on shapes only. Padding
 * takes part as zeros. Accuracy: that of matmul. */
#include "fastdl.h"

#if VREGS == 32
#define ACCS 24
#else
#define ACCS 12
#endif
enum {
    TILE_ROWS = 6,
    TILE_VECS = ACCS / TILE_ROWS,
    TILE_COLS = TILE_VECS * VL,
    DW_ROWS = 8,            /* taps of a tile of the weight's gradient: their addresses fill the registers */
    K_BLOCK = 512,          /* bits: taps of a chain of an output */
    DW_PIXELS = 128,        /* bits: pixels of a chain of a weight's gradient: x 64 channels stays in L1 */
    DW_CHUNKS = 16,         /* bits: sums over images that are joined at the end */
    DW_CHUNK_ELEMS = 8 << 20, /* bits: elements that they may take together, from 2 chunks on */
    SOURCE_ELEMS = 128 << 10, /* bits: elements of a source block: half of L2 with float */
    SUM_ELEMS = 128 << 10,  /* elements of partial sums of a unit */
    FLAT = 512,             /* bits: pixels of a block of small images */
    UNITS = 8,              /* bits: units wanted, for the threads */
    GRAIN_FMAS = 1 << 18    /* multiply-adds worth a thread: 5 us */
};

INLINE int64_t min_i64(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t max_i64(int64_t a, int64_t b) { return a > b ? a : b; }
INLINE int64_t ceil_div(int64_t a, int64_t b) { return a >= 0 ? (a + b - 1) / b : -(-a / b); } /* b > 0 */
INLINE int64_t floor_div(int64_t a, int64_t b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }

/* Geometry ------------------------------------------------------------------------------------------------------- */

/* One axis: output o takes entry o + q of a plane, q in [low, high]. Entry j of plane f is element j * planes + f. */
typedef struct axis {
    int64_t in, planes;  /* elements of the source */
    int64_t out;         /* outputs (of the largest phase) */
    int64_t low, high;
    int64_t stored;      /* entries that `out` outputs see */
    int64_t pitch;       /* from one line to the next, which shares the zeros */
} axis;

static axis make_axis(int64_t in, int64_t planes, int64_t out, int64_t low, int64_t high) {
    int64_t entries = ceil_div(in, planes), zeros = max_i64(-low, 0);
    int64_t pitch = max_i64(min_i64(entries, out + high) - low, out + high - low - zeros);
    return (axis){in, planes, out, low, high, out + high - low, max_i64(pitch, out)};
}

/* The part of the outputs with one residue of the stride; the forward pass has one phase. */
typedef struct phase {
    int64_t h, w, to;       /* outputs; offset of the first in the destination */
    int64_t taps, channels; /* channels: of a k block */
    int64_t *offset;        /* [channels, taps] in the source */
    const real *weight;     /* [groups, out channels, source channels, taps] */
} phase;

typedef struct plan {
    const fdl_conv_args *args;
    const real *source;
    real *out;
    int64_t cs, cd;             /* channels of a group: source, destination */
    axis y, x;
    int64_t out_h, out_w, step_y, step_x; /* of the destination */
    int64_t images, band;       /* of a block: images, or output rows of one image */
    int64_t bands, blocks, splits;
    int64_t plane, channel;     /* elements of a plane, of a channel with all its planes */
    int64_t phases, taps;
    int in_place;               /* the source needs no layout of its own */
    int64_t shared, each;       /* scratch: bytes shared, elements per thread */
    phase *phase;
    real *buffer;
} plan;

/* how the source is cut into blocks; `channels` of it are laid out at a time */
static void cut(plan *p, int64_t channels) {
    const fdl_conv_args *a = p->args;
    int64_t planes = p->y.planes * p->x.planes, line = channels * planes * p->x.pitch;
    int64_t image = line * p->y.stored, flat = p->y.pitch * p->x.pitch;
    p->in_place = planes == 1 && !p->x.low && !p->y.low && p->x.pitch == p->x.in && p->y.stored == p->y.in &&
                  (flat >= FLAT / 4 || a->n == 1);
    p->images = 1;
    p->band = p->y.out;
    if (!p->in_place && image > SOURCE_ELEMS) {
        int64_t rows = max_i64(SOURCE_ELEMS / line - (p->y.stored - p->y.out), 1);
        p->band = ceil_div(p->y.out, ceil_div(p->y.out, rows));
    } else if (!p->in_place) {
        p->images = min_i64(ceil_div(FLAT, flat), min_i64(SOURCE_ELEMS / max_i64(image, 1), a->n / UNITS));
        p->images = max_i64(p->images, 1);
    }
    p->bands = ceil_div(p->y.out, p->band);
    p->blocks = p->images > 1 ? ceil_div(a->n, p->images) : a->n * p->bands;
    if (p->in_place) {
        p->plane = p->channel = p->y.in * p->x.in;
    } else {
        int64_t rows = (p->images - 1) * p->y.pitch + p->band + p->y.stored - p->y.out;
        p->plane = (rows + 1) * p->x.pitch;
        p->channel = planes * p->plane;
    }
}

INLINE int64_t align16(int64_t elements) { return (elements + 15) / 16 * 16; }

/* forward: source x, destination y; backward: source dy, destination dx */
static plan make_plan(const fdl_conv_args *a, int backward) {
    plan p = {.args = a, .taps = a->kh * a->kw, .phases = 1};
    if (!backward) {
        p.y = make_axis(a->h, a->stride_h, a->oh, floor_div(-a->pad_h, a->stride_h),
                        floor_div((a->kh - 1) * a->dilation_h - a->pad_h, a->stride_h));
        p.x = make_axis(a->w, a->stride_w, a->ow, floor_div(-a->pad_w, a->stride_w),
                        floor_div((a->kw - 1) * a->dilation_w - a->pad_w, a->stride_w));
        p.source = a->x, p.out = a->y;
        p.cs = a->ci, p.cd = a->co;
        p.out_h = a->oh, p.out_w = a->ow, p.step_y = p.step_x = 1;
    } else {
        p.y = make_axis(a->oh, 1, ceil_div(a->h, a->stride_h),
                        ceil_div(a->pad_h - (a->kh - 1) * a->dilation_h, a->stride_h),
                        floor_div(a->pad_h + a->stride_h - 1, a->stride_h));
        p.x = make_axis(a->ow, 1, ceil_div(a->w, a->stride_w),
                        ceil_div(a->pad_w - (a->kw - 1) * a->dilation_w, a->stride_w),
                        floor_div(a->pad_w + a->stride_w - 1, a->stride_w));
        p.source = a->dy, p.out = a->dx;
        p.cs = a->co, p.cd = a->ci;
        p.out_h = a->h, p.out_w = a->w, p.step_y = a->stride_h, p.step_x = a->stride_w;
        p.phases = a->stride_h * a->stride_w;
    }
    cut(&p, p.cs);
    int64_t flat = ((p.images - 1) * p.y.pitch + p.band) * p.x.pitch, units = p.blocks * a->groups;
    int sums = p.cs * p.taps > K_BLOCK;
    p.splits = ceil_div(UNITS, max_i64(units, 1));
    if (sums) p.splits = max_i64(p.splits, ceil_div(p.cd * flat, SUM_ELEMS));
    p.splits = max_i64(min_i64(p.splits, ceil_div(p.cd, TILE_ROWS)), 1);
    int64_t offsets = max_i64(K_BLOCK, p.taps) + p.taps; /* of all phases together, see set_phases */
    if (p.phases > 1) offsets = min_i64(p.phases * K_BLOCK, p.taps * p.cs) + p.taps;
    p.shared = align16(p.phases * (int64_t)sizeof(phase) / 8 + offsets + 8) * 8;
    if (backward) p.shared += align16(a->groups * a->ci * a->co * p.taps) * (int64_t)sizeof(real);
    p.each = align16(p.in_place ? 0 : p.cs * p.channel) + align16(sums ? ceil_div(p.cd, p.splits) * flat : 0);
    return p;
}

/* Laying out the source ------------------------------------------------------------------------------------------ */

INLINE void zero(real *out, int64_t n) {
    if (n > 0) memset(out, 0, n * sizeof(real));
}
INLINE void copy_row(real *out, const real *x, int64_t n, int64_t step) {
    if (step == 1) memcpy(out, x, n * sizeof(real));
    else if (step == 2) for (int64_t i = 0; i < n; i++) out[i] = x[2 * i];
    else for (int64_t i = 0; i < n; i++) out[i] = x[step * i];
}

/* whether some tap reads plane f of an axis with `taps` taps */
static int plane_used(int64_t f, int64_t planes, int64_t taps, int64_t dilation, int64_t pad) {
    for (int64_t k = 0; k < taps; k++)
        if ((k * dilation - pad - f) % planes == 0) return 1;
    return 0;
}

static void lay_out_plane(const plan *p, real *out, const real *x, int64_t image_step, int64_t images, int64_t y0,
                          int64_t height, int64_t fy, int64_t fx) {
    int64_t pitch = p->x.pitch, rows = (images - 1) * p->y.pitch + height + p->y.stored - p->y.out;
    int64_t first = max_i64(p->x.low, 0), lead = first - p->x.low, width = ceil_div(p->x.in - fx, p->x.planes);
    int64_t count = min_i64(width - first, pitch - lead);
    for (int64_t r = 0; r < rows; r++, out += pitch) {
        int64_t image = min_i64(r / p->y.pitch, images - 1);
        int64_t entry = r - image * p->y.pitch + p->y.low + y0, row = entry * p->y.planes + fy;
        if (entry < 0 || row >= p->y.in || count <= 0) {
            zero(out, pitch);
            continue;
        }
        zero(out, lead);
        copy_row(out + lead, x + image * image_step + row * p->x.in + first * p->x.planes + fx, count, p->x.planes);
        zero(out + lead + count, pitch - lead - count);
    }
    zero(out, pitch);
}

/* A block: images [image, image + images), output rows [y0, y0 + height) */
typedef struct block {
    int64_t image, images, y0, height;
} block;

INLINE block block_at(const plan *p, int64_t i) {
    if (p->images > 1) return (block){i * p->images, min_i64(p->images, p->args->n - i * p->images), 0, p->y.out};
    int64_t y0 = i % p->bands * p->band;
    return (block){i / p->bands, 1, y0, min_i64(p->band, p->y.out - y0)};
}

/* channels [first, first + count) of a group; returns where they are */
static const real *lay_out(const plan *p, real *buffer, block b, int64_t group, int64_t first, int64_t count) {
    const fdl_conv_args *a = p->args;
    int64_t image_step = a->groups * p->cs * p->y.in * p->x.in;
    const real *x = p->source + b.image * image_step + (group * p->cs + first) * p->y.in * p->x.in;
    if (p->in_place) return x + b.y0 * p->x.in;
    for (int64_t fy = 0; fy < p->y.planes; fy++)
        for (int64_t fx = 0; fx < p->x.planes; fx++) {
            if (p->y.planes > 1 && !plane_used(fy, p->y.planes, a->kh, a->dilation_h, a->pad_h)) continue;
            if (p->x.planes > 1 && !plane_used(fx, p->x.planes, a->kw, a->dilation_w, a->pad_w)) continue;
            real *out = buffer + (fy * p->x.planes + fx) * p->plane;
            for (int64_t c = 0; c < count; c++)
                lay_out_plane(p, out + c * p->channel, x + c * p->y.in * p->x.in, image_step, b.images, b.y0, b.height, fy, fx);
        }
    return buffer;
}

/* distance of tap (ky, kx) of the forward pass in a channel of the source */
INLINE int64_t tap_offset(const plan *p, int64_t ky, int64_t kx) {
    const fdl_conv_args *a = p->args;
    int64_t ey = ky * a->dilation_h - a->pad_h, ex = kx * a->dilation_w - a->pad_w;
    int64_t qy = floor_div(ey, p->y.planes), qx = floor_div(ex, p->x.planes);
    int64_t plane = (ey - qy * p->y.planes) * p->x.planes + ex - qx * p->x.planes;
    return plane * p->plane + (qy - p->y.low) * p->x.pitch + qx - p->x.low;
}

/* Tables of the phases, and for the backward pass the weights by phase with channels exchanged. */
typedef struct exchange {
    const plan *p;
    real *weight;
} exchange;

/* rows [begin, end) of (group, input channel) */
static void exchange_rows(void *ctx, int64_t begin, int64_t end, int thread) {
    const exchange *e = ctx;
    const plan *p = e->p;
    const fdl_conv_args *a = p->args;
    (void)thread;
    for (int64_t f = 0; f < p->phases; f++) {
        const phase *ph = &p->phase[f];
        int64_t fy = f / a->stride_w, fx = f % a->stride_w;
        for (int64_t row = begin; row < end; row++) {
            int64_t group = row / a->ci, ci = row % a->ci, t = 0;
            real *out = e->weight + (ph->weight - e->weight) + row * a->co * ph->taps;
            for (int64_t ky = 0; ky < a->kh; ky++)
                for (int64_t kx = 0; kx < a->kw; kx++) {
                    if ((fy + a->pad_h - ky * a->dilation_h) % a->stride_h ||
                        (fx + a->pad_w - kx * a->dilation_w) % a->stride_w) continue;
                    const real *w = a->weight + (group * a->co * a->ci + ci) * p->taps + ky * a->kw + kx;
                    for (int64_t co = 0; co < a->co; co++) out[co * ph->taps + t] = w[co * a->ci * p->taps];
                    t++;
                }
        }
    }
}

static void set_phases(plan *p, int backward) {
    const fdl_conv_args *a = p->args;
    p->phase = a->scratch;
    int64_t *offset = (int64_t *)(p->phase + p->phases);
    char *end = (char *)a->scratch + p->shared;
    p->buffer = (real *)end;
    real *weight = (real *)end - (backward ? align16(a->groups * a->ci * a->co * p->taps) : 0);
    exchange e = {p, weight};
    for (int64_t f = 0; f < p->phases; f++) {
        phase *ph = &p->phase[f];
        int64_t fy = f / p->step_x, fx = f % p->step_x, t = 0;
        ph->h = ceil_div(p->out_h - fy, p->step_y), ph->w = ceil_div(p->out_w - fx, p->step_x);
        ph->to = fy * p->out_w + fx;
        ph->offset = offset;
        ph->weight = backward ? weight : a->weight;
        for (int64_t ky = 0; ky < a->kh; ky++)
            for (int64_t kx = 0; kx < a->kw; kx++) {
                if (!backward) {
                    offset[t++] = tap_offset(p, ky, kx);
                    continue;
                }
                int64_t ey = fy + a->pad_h - ky * a->dilation_h, ex = fx + a->pad_w - kx * a->dilation_w;
                if (ey % a->stride_h || ex % a->stride_w) continue;
                offset[t++] = (ey / a->stride_h - p->y.low) * p->x.pitch + ex / a->stride_w - p->x.low;
            }
        ph->taps = t;
        ph->channels = t ? min_i64(max_i64(K_BLOCK / t, 1), p->cs) : p->cs;
        for (int64_t c = 1; c < ph->channels; c++)
            for (int64_t i = 0; i < t; i++) offset[c * t + i] = offset[i] + c * p->channel;
        offset += ph->channels * t;
        if (backward) weight += a->groups * a->ci * a->co * t;
    }
    if (backward)
        fdl_parallel_for(a->groups * a->ci, max_i64(GRAIN_FMAS / 16 / max_i64(a->co * p->taps, 1), 1), exchange_rows, &e);
}

/* Outputs -------------------------------------------------------------------------------------------------------- */

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
#define FOR_6_ROWS(DO, vecs) DO(1, vecs) DO(2, vecs) DO(3, vecs) DO(4, vecs) DO(5, vecs) DO(6, vecs)
#define FOR_8_ROWS(DO, vecs) FOR_6_ROWS(DO, vecs) DO(7, vecs) DO(8, vecs)
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
    int64_t to;
} segment;

/* pixels [f, f + cols) of a block as segments; `to` counts from the block's first image and row */
static int find_segments(const plan *p, const phase *ph, segment *s, int64_t f, int cols, int64_t height, int64_t images) {
    int64_t line = f / p->x.pitch, x = f % p->x.pitch, image_step = p->args->groups * p->cd * p->out_h * p->out_w;
    int count = 0;
    for (int at = 0; at < cols; line++, x = 0) {
        int64_t image = min_i64(line / p->y.pitch, images - 1), y = line - image * p->y.pitch;
        if (x < ph->w && y < height)
            s[count++] = (segment){at, (int)min_i64(cols - at, ph->w - x),
                                   image * image_step + y * p->step_y * p->out_w + x * p->step_x};
        at += (int)min_i64(cols - at, p->x.pitch - x);
    }
    return count;
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

/* channels [first, last) of one phase of one block */
static void block_outputs(const plan *p, const phase *ph, const real *source, real *sums, block b, int64_t group,
                          int64_t first, int64_t last) {
    const fdl_conv_args *a = p->args;
    int64_t height = min_i64(b.height, ph->h - b.y0), rows = last - first, tile_count = ceil_div(rows, TILE_ROWS);
    if (height <= 0 || ph->w <= 0) return;
    int64_t flat = ((b.images - 1) * p->y.pitch + height - 1) * p->x.pitch + ph->w, k = p->cs * ph->taps;
    int64_t vecs = ceil_div(flat, VL), panels = ceil_div(vecs, TILE_VECS), out_plane = p->out_h * p->out_w;
    int dense = p->step_x == 1 && b.images == 1 && ((p->step_y == 1 && p->x.pitch == ph->w) || height == 1);
    const real *weight = ph->weight + (group * p->cd + first) * k, *bias = p->out == a->y && a->bias ? a->bias + group * p->cd + first : 0;
    real *out = p->out + (b.image * a->groups * p->cd + group * p->cd + first) * out_plane + b.y0 * p->step_y * p->out_w + ph->to;
    real tile[TILE_ROWS * TILE_COLS] __attribute__((aligned(VB)));
    segment segments[TILE_COLS];
    for (int64_t c = 0; c < p->cs || c == 0; c += ph->channels) {
        int begun = c > 0, done = c + ph->channels >= p->cs;
        tile_args t = {.lda = k, .k = min_i64(ph->channels, p->cs - c) * ph->taps, .offset = ph->offset, .ld_sum = flat};
        for (int64_t j = 0; j < panels; j++) {
            int64_t from = vecs * j / panels * VL, until = min_i64(vecs * (j + 1) / panels * VL, flat);
            int cols = (int)(until - from), n = (cols + VL - 1) / VL, count = 0;
            if (done && !dense) count = find_segments(p, ph, segments, from, cols, height, b.images);
            t.b = source + c * p->channel + from;
            t.last = cols - (n - 1) * VL;
            for (int64_t i = 0; i < tile_count; i++) {
                int64_t row = rows * i / tile_count;
                int height_ = (int)(rows * (i + 1) / tile_count - row);
                t.a = weight + row * k + c * ph->taps;
                t.sum = begun ? sums + row * flat + from : 0;
                t.bias = done && bias ? bias + row : 0;
                t.c = !done ? sums + row * flat + from : dense ? out + row * out_plane + from : tile;
                t.ldc = !done ? flat : dense ? out_plane : TILE_COLS;
                tiles[n - 1][height_ - 1][t.last < VL](&t);
                if (done && !dense)
                    for (int r = 0; r < height_; r++)
                        store_segments(out + (row + r) * out_plane, tile + r * TILE_COLS, segments, count, p->step_x);
            }
        }
    }
}

/* unit = (block * groups + group) * splits + split */
static void output_units(void *ctx, int64_t begin, int64_t end, int thread) {
    const plan *p = ctx;
    const fdl_conv_args *a = p->args;
    real *buffer = p->buffer + thread * p->each, *sums = buffer + align16(p->in_place ? 0 : p->cs * p->channel);
    const real *source = 0;
    for (int64_t u = begin; u < end; u++) {
        int64_t split = u % p->splits, group = u / p->splits % a->groups;
        block b = block_at(p, u / p->splits / a->groups);
        if (u == begin || !split) source = lay_out(p, buffer, b, group, 0, p->cs);
        for (int64_t f = 0; f < p->phases; f++)
            block_outputs(p, &p->phase[f], source, sums, b, group, p->cd * split / p->splits, p->cd * (split + 1) / p->splits);
    }
}

static void outputs(const fdl_conv_args *a, int backward) {
    plan p = make_plan(a, backward);
    if (!a->n || !p.cd || !p.out_h || !p.out_w) return;
    set_phases(&p, backward);
    int64_t units = p.blocks * a->groups * p.splits;
    int64_t fmas = a->n * a->groups * p.cd * p.out_h * p.out_w / p.phases * (p.cs * p.taps + 8) / units;
    fdl_parallel_for(units, GRAIN_FMAS / (fmas + 1) + 1, output_units, &p);
}

/* Weights -------------------------------------------------------------------------------------------------------- */

typedef struct dw_plan {
    plan p;
    int64_t chunks, parts;      /* parts: of the source's channels */
    int64_t channels, width;    /* channels of a part; out channels rounded up to vectors */
    int64_t pixels;             /* of a block */
    int64_t *offset;            /* [channels, taps] */
    real *sums, *bias_sums;     /* [chunks, groups, ci, taps, width], [chunks, groups, width] */
} dw_plan;

static dw_plan make_dw_plan(const fdl_conv_args *a) {
    dw_plan d = {.p = make_plan(a, 0)};
    plan *p = &d.p;
    int64_t size = a->groups * a->ci * p->taps * a->co;
    int64_t line = max_i64(a->ow * align16(a->co), 1); /* of dy, pixels first: keep its blocks in L2 as well */
    if (p->images == 1 && p->band > 1 && p->band * line > SOURCE_ELEMS) {
        p->band = ceil_div(p->y.out, ceil_div(p->y.out, max_i64(SOURCE_ELEMS / line, 1)));
        p->bands = ceil_div(p->y.out, p->band);
        p->blocks = a->n * p->bands;
    }
    d.width = ceil_div(a->co, VL) * VL;
    d.chunks = min_i64(min_i64(DW_CHUNKS, p->blocks), max_i64(DW_CHUNK_ELEMS / max_i64(size, 1), 2));
    d.chunks = max_i64(d.chunks, 1);
    d.parts = max_i64(min_i64(ceil_div(UNITS, d.chunks * a->groups), a->ci), 1);
    d.channels = ceil_div(a->ci, d.parts);
    d.parts = ceil_div(a->ci, d.channels);
    d.pixels = p->images * p->band * a->ow;
    p->each = align16(p->in_place ? 0 : d.channels * p->channel) + d.pixels * d.width;
    return d;
}

INLINE int64_t dw_shared(const fdl_conv_args *a, const dw_plan *d) { /* elements of 8 bytes, then reals */
    return align16(d->channels * d->p.taps) * 8 +
           d->chunks * a->groups * (a->ci * d->p.taps + 1) * d->width * (int64_t)sizeof(real);
}

/* g[pixel][width] = dy of a block, channels beyond co 0; adds the sums over the pixels to bias_sums, if not NULL:
 * pixels i, i + 4, .. of a row of dy's plane in order, the four sums 0+2, 1+3 */
static void pixels_first(const dw_plan *d, real *g, real *bias_sums, block b, int64_t group) {
    const fdl_conv_args *a = d->p.args;
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
                    total[j % 4] += x[j];
                }
            }
            if (bias_sums) v_store(bias_sums + c, v_load(bias_sums + c) + ((total[0] + total[2]) + (total[1] + total[3])));
        }
    }
}

/* sums[r][..] += sum over the pixels of source[offset[r] + pixel] g[pixel][..] */
typedef struct dw_tile_args {
    real *sums;
    const real *source, *g;
    const int64_t *offset;
    int64_t width, first, lines, height, w; /* lines [first, first + lines) of the block, `height` to an image, w pixels each */
    int64_t pitch, image_pitch;
} dw_tile_args;

INLINE void dw_tile(const dw_tile_args *t, const int rows, const int vecs) {
    vf acc[ACCS];
    const real *x[DW_ROWS], *g = t->g;
    const int64_t width = t->width;
    UNROLL for (int i = 0; i < rows * vecs; i++) acc[i] = v_zero();
    for (int64_t line = t->first; line < t->first + t->lines; line++) {
        int64_t image = line / t->height, at = image * t->image_pitch + (line - image * t->height) * t->pitch;
        UNROLL for (int r = 0; r < rows; r++) x[r] = t->source + t->offset[r] + at;
        for (int64_t i = 0; i < t->w; i++, g += width) {
            vf col[TILE_VECS];
            UNROLL for (int v = 0; v < vecs; v++) col[v] = v_load(g + v * VL);
            UNROLL for (int r = 0; r < rows; r++) {
                vf y = v_set1(x[r][i]);
                UNROLL for (int v = 0; v < vecs; v++) acc[r * vecs + v] = v_fma(y, col[v], acc[r * vecs + v]);
            }
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
    const plan *p = &d->p;
    const fdl_conv_args *a = p->args;
    real *buffer = p->buffer + thread * p->each, *g = buffer + align16(p->in_place ? 0 : d->channels * p->channel);
    int64_t vecs = d->width / VL, panels = ceil_div(vecs, TILE_VECS), tall = ceil_div(vecs, panels);
    int64_t lines = max_i64(DW_PIXELS / max_i64(a->ow, 1), 1), tile_rows = min_i64(ACCS / tall, DW_ROWS);
    for (int64_t u = begin; u < end; u++) {
        int64_t part = u % d->parts, group = u / d->parts % a->groups, chunk = u / d->parts / a->groups;
        int64_t channel = part * d->channels, channels = min_i64(d->channels, a->ci - channel), k = channels * p->taps;
        int64_t tile_count = ceil_div(k, tile_rows);
        real *sums = d->sums + ((chunk * a->groups + group) * a->ci + channel) * p->taps * d->width;
        real *bias_sums = a->db && !part ? d->bias_sums + (chunk * a->groups + group) * d->width : 0;
        zero(sums, k * d->width);
        if (bias_sums) zero(bias_sums, d->width);
        for (int64_t i = p->blocks * chunk / d->chunks; i < p->blocks * (chunk + 1) / d->chunks; i++) {
            block b = block_at(p, i);
            dw_tile_args t = {.width = d->width, .height = b.height, .w = a->ow, .pitch = p->x.pitch,
                              .image_pitch = p->y.pitch * p->x.pitch};
            t.source = lay_out(p, buffer, b, group, channel, channels);
            pixels_first(d, g, bias_sums, b, group);
            for (t.first = 0; t.first < b.images * b.height; t.first += lines) {
                t.lines = min_i64(lines, b.images * b.height - t.first);
                for (int64_t panel = 0; panel < panels; panel++) {
                    int64_t vec = vecs * panel / panels, count = vecs * (panel + 1) / panels - vec;
                    t.g = g + t.first * a->ow * d->width + vec * VL;
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
    const fdl_conv_args *a = d->p.args;
    int64_t k = a->ci * d->p.taps, blocks = ceil_div(k, VL), step = a->groups * k * d->width;
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

/* conv: y[n, g, o] = bias[g, o] + sum over c, ky, kx of weight[g, o, c, ky, kx] x[n, g, c, oy stride - pad + ky dilation, ..],
 * what is outside of x being 0; see fdl_conv_args. conv_fwd writes y, conv_dx writes dx from dy and weight, conv_dw
 * writes dw and db (NULL: not wanted) from x and dy.   scratch: conv_scratch(args, which) bytes */
int64_t FDL_FN(conv_scratch)(const fdl_conv_args *args, int which) {
    if (which == FDL_CONV_DW) {
        dw_plan d = make_dw_plan(args);
        return dw_shared(args, &d) + fdl_num_threads() * d.p.each * (int64_t)sizeof(real);
    }
    plan p = make_plan(args, which == FDL_CONV_DX);
    return p.shared + fdl_num_threads() * p.each * (int64_t)sizeof(real);
}

void FDL_FN(conv_fwd)(const fdl_conv_args *args) { outputs(args, 0); }
void FDL_FN(conv_dx)(const fdl_conv_args *args) { outputs(args, 1); }

void FDL_FN(conv_dw)(const fdl_conv_args *args) {
    const fdl_conv_args *a = args;
    dw_plan d = make_dw_plan(a);
    plan *p = &d.p;
    int64_t k = a->ci * p->taps, size = a->groups * k * d.width;
    if (!a->groups || !a->co) return;
    d.offset = a->scratch;
    d.sums = (real *)(d.offset + align16(d.channels * p->taps));
    d.bias_sums = d.sums + d.chunks * size;
    p->buffer = (real *)((char *)a->scratch + dw_shared(a, &d));
    for (int64_t c = 0; c < d.channels; c++)
        for (int64_t t = 0; t < p->taps; t++) d.offset[c * p->taps + t] = c * p->channel + tap_offset(p, t / a->kw, t % a->kw);
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
