/* conv.h: what conv.c and conv_weight.c share: how a convolution's source lies in memory.
 *
 * No column matrix is made. A block of the source (some images, or a band of rows of one) is laid out so that one tap of
 * the kernel is one distance in memory: planes [rows][pitch] with zeros for the padding, which the end of a row shares
 * with the start of the next, and images with one another. With a stride of s, entries e, e + s, e + 2s, .. form a plane
 * of their own. Without padding and stride the source is read where it lies. Cuts into blocks depend on shapes only. */
#ifndef FDL_CONV_H
#define FDL_CONV_H
#include "fastdl.h"

enum {
    FLAT = 512,               /* bits: pixels of a block of small images */
    SOURCE_ELEMS = 128 << 10, /* bits: elements of a block: half of L2 with float */
    IMAGES_ELEMS = 512 << 10, /* bits: the same of several small images, which are read by a few channels at a time */
    UNITS = 8,                /* bits: units of work wanted, for the threads */
    GRAIN_FMAS = 1 << 18      /* multiply-adds worth a thread: 5 us */
};

/* Accumulators of a register tile, as in gemm_tile.h. */
#if VREGS == 32
#define ACCS 24
#else
#define ACCS 12
#endif
enum {
    TILE_ROWS = 6,
    TILE_VECS = ACCS / TILE_ROWS,
    TILE_COLS = TILE_VECS * VL
};
#define FOR_6_ROWS(DO, vecs) DO(1, vecs) DO(2, vecs) DO(3, vecs) DO(4, vecs) DO(5, vecs) DO(6, vecs)
#define FOR_8_ROWS(DO, vecs) FOR_6_ROWS(DO, vecs) DO(7, vecs) DO(8, vecs)

INLINE int64_t floor_div(int64_t a, int64_t b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }
INLINE int64_t align16(int64_t elements) { return (elements + 15) / 16 * 16; }
INLINE void zero(real *out, int64_t n) {
    if (n > 0) memset(out, 0, n * sizeof(real));
}

/* One axis: output o takes entry o + q of a plane, q in [low, high]. Entry j of plane f is element j * planes + f. */
typedef struct axis {
    int64_t in, planes;  /* elements of the source */
    int64_t out;         /* outputs (of the largest phase) */
    int64_t low, high;
    int64_t stored;      /* entries that `out` outputs see */
    int64_t pitch;       /* from one line to the next, which shares the zeros */
} axis;

typedef struct layout {
    const fdl_conv_args *args;
    const real *source;
    int64_t channels;           /* of a group of the source */
    axis y, x;
    int64_t images, band;       /* of a block: images, or output rows of one image */
    int64_t bands, blocks;
    int64_t plane, channel;     /* elements of a plane, of a channel with all its planes */
    int in_place;               /* read where it lies */
} layout;

/* A block: images [image, image + images), output rows [y0, y0 + height) */
typedef struct block {
    int64_t image, images, y0, height;
} block;

INLINE block block_at(const layout *p, int64_t i) {
    if (p->images > 1) return (block){i * p->images, min_i64(p->images, p->args->n - i * p->images), 0, p->y.out};
    int64_t y0 = i % p->bands * p->band;
    return (block){i / p->bands, 1, y0, min_i64(p->band, p->y.out - y0)};
}

/* conv_layout.c. conv_source: x (for y and dw) or dy (for dx). conv_cut: blocks of which `channels` channels are laid out
 * at a time: bands of rows where an image does not fit into half of L2, else as many images as make `pixels`, but at
 * least `wanted` blocks. conv_lay_out: channels [first, first + count) of a group; returns where they are. */
layout FDL_FN(conv_source)(const fdl_conv_args *args, int is_dy);
void FDL_FN(conv_cut)(layout *p, int64_t channels, int64_t pixels, int64_t wanted);
const real *FDL_FN(conv_lay_out)(const layout *p, real *buffer, block b, int64_t group, int64_t first, int64_t count);

/* distance of tap (ky, kx) of the forward pass in a channel of the source */
INLINE int64_t tap_offset(const layout *p, int64_t ky, int64_t kx) {
    const fdl_conv_args *a = p->args;
    int64_t ey = ky * a->dilation_h - a->pad_h, ex = kx * a->dilation_w - a->pad_w;
    int64_t qy = floor_div(ey, p->y.planes), qx = floor_div(ex, p->x.planes);
    int64_t plane = (ey - qy * p->y.planes) * p->x.planes + ex - qx * p->x.planes;
    return plane * p->plane + (qy - p->y.low) * p->x.pitch + qx - p->x.low;
}

#endif
