/* conv_layout.c: lays out the source of a convolution, see conv.h. */
#include "conv.h"

static axis make_axis(int64_t in, int64_t planes, int64_t out, int64_t low, int64_t high) {
    int64_t entries = ceil_div(in, planes), zeros = max_i64(-low, 0);
    int64_t pitch = max_i64(min_i64(entries, out + high) - low, out + high - low - zeros);
    return (axis){in, planes, out, low, high, out + high - low, max_i64(pitch, out)};
}

layout FDL_FN(conv_source)(const fdl_conv_args *a, int is_dy) {
    layout p = {.args = a, .source = is_dy ? a->dy : a->x, .channels = is_dy ? a->co : a->ci};
    if (!is_dy) {
        p.y = make_axis(a->h, a->stride_h, a->oh, floor_div(-a->pad_h, a->stride_h),
                        floor_div((a->kh - 1) * a->dilation_h - a->pad_h, a->stride_h));
        p.x = make_axis(a->w, a->stride_w, a->ow, floor_div(-a->pad_w, a->stride_w),
                        floor_div((a->kw - 1) * a->dilation_w - a->pad_w, a->stride_w));
    } else {
        p.y = make_axis(a->oh, 1, ceil_div(a->h, a->stride_h),
                        ceil_div(a->pad_h - (a->kh - 1) * a->dilation_h, a->stride_h),
                        floor_div(a->pad_h + a->stride_h - 1, a->stride_h));
        p.x = make_axis(a->ow, 1, ceil_div(a->w, a->stride_w),
                        ceil_div(a->pad_w - (a->kw - 1) * a->dilation_w, a->stride_w),
                        floor_div(a->pad_w + a->stride_w - 1, a->stride_w));
    }
    return p;
}

void FDL_FN(conv_cut)(layout *p, int64_t channels, int64_t pixels, int64_t wanted) {
    const fdl_conv_args *a = p->args;
    int64_t planes = p->y.planes * p->x.planes, line = max_i64(channels * planes * p->x.pitch, 1);
    int64_t image = line * p->y.stored, flat = p->y.pitch * p->x.pitch;
    p->in_place = planes == 1 && !p->x.low && !p->y.low && p->x.pitch == p->x.in && p->y.stored == p->y.in &&
                  (flat >= FLAT / 4 || a->n == 1);
    p->images = 1;
    p->band = p->y.out;
    if (!p->in_place && image > SOURCE_ELEMS) {
        int64_t rows = max_i64(SOURCE_ELEMS / line - (p->y.stored - p->y.out), 1);
        p->band = ceil_div(p->y.out, ceil_div(p->y.out, rows));
    } else if (!p->in_place && a->n > 1) {
        p->images = min_i64(ceil_div(pixels, flat), min_i64(IMAGES_ELEMS / image, a->n / max_i64(wanted, 1)));
        p->images = ceil_div(a->n, ceil_div(a->n, max_i64(p->images, 1)));
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

static void lay_out_plane(const layout *p, real *out, const real *x, int64_t image_step, int64_t images, int64_t y0,
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

const real *FDL_FN(conv_lay_out)(const layout *p, real *buffer, block b, int64_t group, int64_t first, int64_t count) {
    const fdl_conv_args *a = p->args;
    int64_t image_step = a->groups * p->channels * p->y.in * p->x.in;
    const real *x = p->source + b.image * image_step + (group * p->channels + first) * p->y.in * p->x.in;
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
