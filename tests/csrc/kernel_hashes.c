/* kernel_hashes.c: calls every kernel of an ISA's table and prints a hash of what it wrote, a line `type kernel case hash`
 * each. Results may depend neither on the ISA (with FMA) nor on the number of threads: .ci/kernel-hashes compares.
 *     kernel_hashes                            the ISAs that this CPU can run
 *     kernel_hashes ISA THREADS                the hashes
 *     kernel_hashes ISA THREADS end            the same; each buffer ends where a page begins that must not be touched, and
 *                                              is aligned to its elements only
 *     kernel_hashes ISA THREADS begin          each buffer begins where such a page ends
 *     kernel_hashes ISA THREADS end FROM TO    the same for every size from FROM to TO instead of those of the tables; with
 *                                              `none` for `end` without such pages
 * Compiled twice, with FDL_F64 for the kernels of double. NaNs count as one, whatever their bits are. */
#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#include "fastdl.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef FDL_F64
typedef double num;
#define TYPE "f64"
#define HASH_KERNELS hash_kernels_f64
#else
typedef float num;
#define TYPE "f32"
#define HASH_KERNELS hash_kernels_f32
#endif
void hash_kernels_f32(const fdl_table *k);
void hash_kernels_f64(const fdl_table *k);
enum { NO_PAGES, END, BEGIN };
extern int guard;           /* where the pages lie that must not be touched */
extern int64_t dense;       /* 0: the sizes of the tables */
extern char last_case[256]; /* the last that ended, for whoever looks for one that did not */

#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))
#define EACH(type, name, list) for (const type *name = list; name < list + COUNT(list); name++)

/* Buffers and data ----------------------------------------------------------------------------------------------- */

/* Arguments of a call are evaluated in any order: what a buffer is filled with, and what it adds to the hash, depends on
 * the place in this file where it is made, and on how many were made there for this case. */
enum { MAX_BUFFERS = 64, PAGE = 1 << 16 /* a multiple of every system's */ };
enum { SCRATCH = 1 }; /* an `item` */
static const fdl_table *K;
static struct buffer {
    void *data;
    int64_t count;
    int item; /* size of an element, negative for integers; 0: not hashed */
    uint64_t place;
} buffers[MAX_BUFFERS];
static int n_buffers, n_cases;
static uint64_t state;

static uint32_t draw(void) { /* splitmix64 */
    uint64_t x = state += 0x9e3779b97f4a7c15;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9, x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return (uint32_t)(x >> 32);
}
static void seed(const void *data, uint64_t salt) {
    for (struct buffer *b = buffers; b < buffers + n_buffers; b++)
        if (b->data == data) state = ((uint64_t)n_cases << 40) + (b->place << 8) + salt;
    state = ((uint64_t)draw() << 32) + draw();
}

/* memory between two pages without access; kept for the next case */
static void *guarded(int64_t bytes, int alignment) {
    static char *memory[MAX_BUFFERS];
    static int64_t size[MAX_BUFFERS];
    int i = n_buffers;
    if (bytes > size[i] || !memory[i]) {
        if (memory[i]) munmap(memory[i], size[i] + 2 * PAGE);
        size[i] = (bytes / PAGE + 1) * PAGE;
        memory[i] = mmap(0, size[i] + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory[i] == MAP_FAILED || mprotect(memory[i] + PAGE, size[i], PROT_READ | PROT_WRITE)) exit(2);
    }
    char *p = memory[i] + PAGE;
    if (guard == END) p += (size[i] - bytes) / alignment * alignment;
    return p;
}

static void *take_at(uint64_t place, int64_t count, int size, int item) {
    int64_t bytes = guard ? count * size : (count * size + 127) / 64 * 64;
    void *p = n_buffers == MAX_BUFFERS ? 0 : guard ? guarded(bytes, item == SCRATCH ? 64 : size) : aligned_alloc(64, bytes);
    if (!p) exit(2);
    memset(p, 0x5a, bytes);
    if (item == SCRATCH) item = 0;
    place *= MAX_BUFFERS;
    for (int i = 0; i < n_buffers; i++) place += buffers[i].place / MAX_BUFFERS == place / MAX_BUFFERS;
    buffers[n_buffers++] = (struct buffer){p, count, item, place};
    return p;
}
/* numbers in [from, to) with 20 random bits */
static num *within(num *x, int64_t n, double from, double to) {
    seed(x, 0);
    for (int64_t i = 0; i < n; i++) x[i] = (num)(from + (to - from) * (draw() >> 12) * 0x1p-20);
    return x;
}
#define take(count, size, item) take_at(__COUNTER__, count, size, item)
#define out(n) ((num *)take(n, sizeof(num), sizeof(num)))
#define out_integers(n, size) take(n, size, -(int)(size))
#define out_doubles(n) ((double *)take(n, 8, 8))
#define scratch(bytes) take(bytes, 1, SCRATCH)
#define in(n) within(take(n, sizeof(num), 0), n, -1.1, 1.7)
#define positive(n) within(take(n, sizeof(num), 0), n, 0.01, 2)
#define in_out(n) within(out(n), n, -1.1, 1.7)
#define wild(n) make_wild(take(n, sizeof(num), 0), n)
#define below(n, limit) make_below(take(n, 8, 0), n, limit)
#define flags(n) make_flags(take(n, 1, 0), n)

/* numbers of every size and kind */
static num *make_wild(num *x, int64_t n) {
    static const double kinds[] = {0.0, -0.0, 1.0 / 0.0, -1.0 / 0.0, 0.0 / 0.0, 1, -1, 0x1p-149, -0x1p-130, 0x1.fffffep127, 88.7,
                                   -103.5, 0.5, -0.5, 709.8, -745.2, 0x1p-1074, 1e30, -20, 20};
    within(x, n, -1.1, 1.7);
    for (int64_t i = 0; i < n; i++) {
        uint32_t kind = draw() % 8;
        if (kind == 0) x[i] = (num)kinds[draw() % COUNT(kinds)];
        else if (kind < 4) {
            int64_t exponent = (int64_t)(draw() % (kind == 1 ? 250 : 24)) - (kind == 1 ? 125 : 12);
            for (; exponent > 0; exponent--) x[i] *= 2;
            for (; exponent < 0; exponent++) x[i] /= 2;
        } else x[i] *= 4;
    }
    return x;
}
/* a NaN, inf or -inf in some of the rows of v */
static num *spoil(num *x, int64_t rows, int64_t v) {
    static const double kinds[] = {0.0 / 0.0, 1.0 / 0.0, -1.0 / 0.0};
    seed(x, 1);
    for (int64_t i = 0; i < rows; i++)
        if (i % 3 == 1) x[i * v + draw() % v] = (num)kinds[i / 3 % 3];
    return x;
}
static int64_t *make_below(int64_t *x, int64_t n, int64_t limit) {
    seed(x, 0);
    for (int64_t i = 0; i < n; i++) x[i] = draw() % limit;
    return x;
}
static uint8_t *make_flags(uint8_t *x, int64_t n) {
    seed(x, 0);
    for (int64_t i = 0; i < n; i++) x[i] = draw() % 3 != 0;
    return x;
}

/* ends a case: prints the hash (FNV-1a, summed) of its `out` buffers and frees them all */
static void finish(const char *kernel, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void finish(const char *kernel, const char *format, ...) {
    uint64_t total = 0;
    for (struct buffer *b = buffers; b < buffers + n_buffers; b++) {
        uint64_t hash = (14695981039346656037u ^ b->place) * 1099511628211u;
        int size = abs(b->item);
        for (int64_t i = 0; size && i < b->count; i++) {
            unsigned char bytes[8];
            memcpy(bytes, (char *)b->data + i * size, size);
            float f;
            double d;
            memcpy(&f, bytes, sizeof f), memcpy(&d, bytes, sizeof d);
            if ((b->item == 4 && f != f) || (b->item == 8 && d != d)) memset(bytes, 0xff, size);
            for (int k = 0; k < size; k++) hash = (hash ^ bytes[k]) * 1099511628211u;
        }
        if (size) total += hash;
        if (!guard) free(b->data);
    }
    n_buffers = 0;
    n_cases++;
    char name[200];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    printf("%s %s %s %016llx\n", TYPE, kernel, name, (unsigned long long)total);
    snprintf(last_case, sizeof last_case, "%s %s %s", TYPE, kernel, name);
}

/* The families --------------------------------------------------------------------------------------------------- */

static int64_t SIZES[] = {1, 7, 16, 17, 33, 64, 130, 70001};
static int n_sizes = COUNT(SIZES);
#define EACH_SIZE(n) for (const int64_t *n = SIZES; n < SIZES + n_sizes; n++)
/* replaces a table's first rows */
#define DENSE(table, count, ...)                                            \
    if (dense) {                                                            \
        const __typeof__(*table) rows_of_size[] = {__VA_ARGS__};            \
        memcpy(table, rows_of_size, sizeof rows_of_size);                   \
        count = COUNT(rows_of_size);                                        \
    }

static void elementwise(void) {
    static const int64_t one[1] = {1}, zero[1] = {0};
    const int64_t p = dense ? 2 : 5, q = dense ? 3 : 33, r = dense ? dense : 18, all = p * q * r, shape[3] = {p, q, r};
    const int64_t packed[3] = {q * r, r, 1}, row[3] = {0, 0, 1}, column[3] = {q, 1, 0}, exchanged[3] = {q, 1, p * q};
    const int64_t *const strides[] = {packed, row, column, exchanged}, extent[] = {all, r, p * q, all};
    static const double scalars[] = {0.5, -1, 2, 3, -0.7};
    EACH_SIZE(n) {
        for (int op = 0; op < FDL_UNARY_COUNT; op++) {
            K->unary(op, out(*n), wild(*n), *n, 0.7, 1.3);
            finish("unary", "%d,n=%d", op, (int)*n);
            if (op > FDL_EXPM1) continue;
            K->unary_bwd(op, out(*n), in(*n), wild(*n), *n, 0.7, 1.3);
            finish("unary_bwd", "%d,n=%d", op, (int)*n);
        }
        for (int op = 0; op < FDL_BINARY_COUNT; op++) {
            K->binary(op, out(*n), one, wild(*n), one, wild(*n), one, n, 1, 0.3);
            finish("binary", "%d,n=%d", op, (int)*n);
            K->binary(op, out(*n), one, in(1), zero, wild(*n), one, n, 1, 1);
            finish("binary", "%d,scalar,n=%d", op, (int)*n);
            EACH(double, b, scalars) {
                K->binary_scalar(op, out(*n), wild(*n), *b, *n);
                finish("binary_scalar", "%d,b=%g,n=%d", op, *b, (int)*n);
            }
        }
        for (int op = 0; op < FDL_COMPARE_COUNT; op++) {
            K->compare(op, out_integers(*n, 1), wild(*n), one, wild(*n), one, n, 1);
            finish("compare", "%d,n=%d", op, (int)*n);
        }
        K->where(out(*n), flags(*n), one, wild(*n), one, wild(1), zero, n, 1);
        finish("where", "n=%d", (int)*n);
        K->axpy(in_out(*n), wild(*n), 0.7, *n);
        finish("axpy", "n=%d", (int)*n);
        K->fill(out(*n), 0.3, *n);
        finish("fill", "n=%d", (int)*n);
        K->copy(out(*n), one, wild(*n), one, n, 1);
        finish("copy", "n=%d", (int)*n);
    }
    for (int i = 0; i < 16; i++) {
        const int64_t *a = strides[i % 4], *b = strides[i / 4], size_a = extent[i % 4], size_b = extent[i / 4];
        for (int op = 0; op < FDL_BINARY_COUNT; op++) {
            K->binary(op, out(all), packed, wild(size_a), a, wild(size_b), b, shape, 3, 0.3);
            finish("binary", "%d,strides=%d", op, i);
        }
        K->compare(FDL_LT, out_integers(all, 1), wild(size_a), a, wild(size_b), b, shape, 3);
        finish("compare", "strides=%d", i);
        K->where(out(all), flags(size_b), b, wild(size_a), a, wild(size_b), b, shape, 3);
        finish("where", "strides=%d", i);
        K->copy(out(all), i / 4 % 2 ? exchanged : packed, wild(size_a), a, shape, 3);
        finish("copy", "strides=%d", i);
    }
}

static void chain(void) {
    enum { IN = FDL_CHAIN_REGISTERS + FDL_CHAIN_OUTPUTS, OUT = FDL_CHAIN_REGISTERS, CONST = IN + FDL_CHAIN_INPUTS };
    EACH_SIZE(n)
        for (int op = FDL_CHAIN_COPY; op <= FDL_CHAIN_WHERE_EQ; op++) {
            const uint8_t steps[][6] = {{op, 0, IN, IN + 1, IN + 2, CONST},         {FDL_CHAIN_SUB, OUT, 0, CONST, 0, 0},
                                        {op, 1, CONST, IN + 2, CONST, CONST},       {FDL_CHAIN_MUL, 2, IN + 1, 1, 0, 0},
                                        {FDL_CHAIN_SUM, 0, OUT, OUT, OUT, OUT},     {FDL_CHAIN_SUM, 1, 2, 2, 2, 2}};
            const double constant[] = {0.3};
            fdl_chain_args args = {.n = *n, .step = steps[0], .steps = COUNT(steps), .inputs = 3, .outputs = 1, .constants = 1,
                                   .sums = 2, .x = {wild(*n), in(7), positive(1)}, .period = {0, 7, 1}, .y = {out(*n)},
                                   .constant = constant, .sum = out_doubles(2), .partial = scratch(16 * (*n / 4096 + 1))};
            K->chain(&args);
            finish("chain", "%d,n=%d", op, (int)*n);
        }
}

typedef struct sizes {
    int64_t n, v, inner;
} sizes;
static sizes ROWS[] = {{1, 1, 1},   {3, 7, 1},     {5, 16, 1},  {18, 17, 1},   {300, 33, 1}, {17, 64, 1},  {7, 130, 1},
                             {2, 9000, 1}, {1, 140003, 1}, {3, 70, 17}, {1, 130, 130}, {2, 1, 33},   {1, 3000, 33}, {5, 9, 3}};
static int n_rows = COUNT(ROWS);
#define EACH_ROW(s) for (const sizes *s = ROWS; s < ROWS + n_rows; s++)

static void reductions(void) {
    EACH_ROW(s)
        for (int nan = 0; nan < 2; nan++) {
            int64_t size = s->n * s->v * s->inner, kept = s->n * s->inner;
#define NAME "%d,%dx%dx%d,nan=%d", op, (int)s->n, (int)s->v, (int)s->inner, nan
#define DATA (nan ? spoil(in(size), kept, s->v) : in(size))
            for (int op = 0; op < FDL_REDUCE_COUNT; op++) {
                num *x = DATA;
                if (op == FDL_PROD && !nan) within(x, size, 0.9, 1.1);
                K->reduce(op, out(kept), x, s->n, s->v, s->inner, scratch(K->reduce_scratch(op, s->n, s->v, s->inner)));
                finish("reduce", NAME);
            }
            int op = FDL_SUMSQ;
            void *part = scratch(K->reduce_scratch(op, s->n, s->v, s->inner));
            K->reduce_squares(out(kept), DATA, in(kept), s->n, s->v, s->inner, part);
            finish("reduce_squares", NAME);
            for (op = FDL_MAX; op <= FDL_MIN; op++) {
                K->argreduce(op, out(kept), out_integers(kept, 8), DATA, s->n, s->v, s->inner);
                finish("argreduce", NAME);
            }
            for (op = 0; op < 2; op++) {
                num *y = out(size);
                K->softmax_fwd(y, DATA, s->n, s->v, s->inner, op);
                K->softmax_bwd(out(size), in(size), y, s->n, s->v, s->inner, op);
                finish("softmax_fwd+bwd", NAME);
            }
            num *x = DATA, *y = out(kept);
            K->logsumexp_fwd(y, x, s->n, s->v, s->inner);
            K->logsumexp_bwd(out(size), in(kept), x, y, s->n, s->v, s->inner);
            finish("logsumexp_fwd+bwd", NAME);
        }
}

static void norms(void) {
    EACH_ROW(s)
        for (int op = 0; s->inner == 1 && op < 4; op++) {
            int64_t n = s->n, d = s->v, size = n * d, inner = 1, nan = op == 2;
            num *x = nan ? spoil(in(size), n, d) : in(size), *y = out(size), *sum = op & 1 ? out(size) : 0, *rstd = out(n);
            num *mean = out(n), *weight = op < 3 ? in(d) : 0, *part = scratch(K->norm_bwd_scratch(n, d));
            K->layer_norm_fwd(y, sum, mean, rstd, x, sum ? in(size) : 0, weight, op < 2 ? in(d) : 0, 1e-5, n, d);
            K->layer_norm_bwd(out(size), op ? out(d) : 0, out(d), in(size), sum ? sum : x, mean, rstd, weight, n, d, part);
            finish("layer_norm_fwd+bwd", "%d,%dx%dx%d", op, (int)n, (int)d, (int)inner);
            x = nan ? spoil(in(size), n, d) : in(size), rstd = out(n), weight = op < 3 ? in(d) : 0;
            K->rms_norm_fwd(out(size), rstd, x, weight, 1e-6, n, d);
            part = scratch(K->norm_bwd_scratch(n, d));
            K->rms_norm_bwd(out(size), op ? out(d) : 0, in(size), x, rstd, weight, n, d, part);
            finish("rms_norm_fwd+bwd", "%d,%dx%dx%d", op, (int)n, (int)d, (int)inner);
        }
}

static void cross_entropy(const sizes *s, int smooth, int weighted, int reduction, int nan) {
    int64_t rows = s->n * s->inner, size = rows * s->v, *target = below(rows, s->v);
    num *weight = weighted ? positive(s->v) : 0, *x = nan ? spoil(in(size), rows, s->v) : in(size);
    for (int64_t i = 0; i < rows; i += 5) target[i] = -100;
    int64_t wrong = K->cross_entropy(out(rows), out(size), x, target, weight, -100, smooth * 0.1, reduction, 0.7, s->n, s->v, s->inner,
                                     scratch(K->cross_entropy_scratch(s->n, s->v, s->inner)));
    if (wrong != -1) exit(2);
#undef NAME
#define NAME "%dx%dx%d,smooth=%d,weight=%d,reduction=%d,nan=%d", (int)s->n, (int)s->v, (int)s->inner, smooth, weighted, reduction, nan
    finish("cross_entropy", NAME);
    x = nan ? spoil(in(size), rows, s->v) : in(size), weight = weighted ? positive(s->v) : 0;
    K->cross_entropy_soft(out(rows), out(size), smooth ? out(size) : 0, x, positive(size), weight, smooth * 0.1, reduction,
                          s->n, s->v, s->inner, scratch(K->cross_entropy_scratch(s->n, s->v, s->inner)));
    finish("cross_entropy_soft", NAME);
}
static void losses(void) {
    static const sizes large[] = {{40, 110000, 1}, {1, 150, 29000}}; /* gradients of more than 16 MB */
    EACH_ROW(s)
        for (int i = 0; i < 24; i++) cross_entropy(s, i & 1, i >> 1 & 1, i >> 3, i >> 2 & 1);
    if (dense) return;
    EACH(sizes, s, large) cross_entropy(s, 1, 0, FDL_REDUCTION_MEAN, 0);
}

static void additive(void) {
    int64_t cases[][4] = {{1, 1, 1, 1}, {2, 3, 5, 17}, {3, 7, 4, 130}, {2, 9, 8, 33}, {3, 16, 12, 64}};
    int count = COUNT(cases);
    DENSE(cases, count, {2, 3, 4, dense}, {1, dense, 3, 5}, {1, 2, dense, 7})
    for (int i = 0; i < count; i++) {
        int64_t b = cases[i][0], tq = cases[i][1], tk = cases[i][2], h = cases[i][3];
        num *q = in(b * tq * h), *k = in(b * tk * h), *w = in(h), *part = scratch(K->additive_score_scratch(b, h));
        K->additive_score_fwd(out(b * tq * tk), q, k, w, b, tq, tk, h);
        K->additive_score_bwd(out(b * tq * h), out(b * tk * h), out(h), in(b * tq * tk), q, k, w, b, tq, tk, h, part);
        finish("additive_score_fwd+bwd", "%dx%dx%dx%d", (int)b, (int)tq, (int)tk, (int)h);
    }
}

static void tables(void) {
    int64_t cases[][3] = {{1, 3, 7}, {50, 20, 16}, {130, 33, 17}, {400, 100, 130}, {2000, 500, 64}, {7, 900, 33}, {3000, 40, 5}};
    int count = COUNT(cases);
    DENSE(cases, count, {5, 3, dense}, {dense, 7, 3}, {6, dense, 5})
    for (int i = 0; i < count; i++) {
        int64_t n = cases[i][0], v = cases[i][1], d = cases[i][2], *index = below(n, v);
        K->embedding_fwd(out(n * d), wild(v * d), index, n, v, d);
        int64_t *row = take(n, 8, 0), *start = take(n + 1, 8, 0), *position = take(n, 8, 0);
        int64_t u = K->embedding_rows(row, start, position, index, n, v, 2, scratch(16 * n));
        memcpy(out_integers(u, 8), row, 8 * u);
        memcpy(out_integers(u + 1, 8), start, 8 * (u + 1));
        K->embedding_sum(out(u * d), in(n * d), start, position, u, d);
        finish("embedding_fwd+rows+sum", "%dx%dx%d", (int)n, (int)v, (int)d);
        for (int add = 0; add < 2; add++) {
            K->embedding_bwd(in_out(v * d), in(n * d), below(n, v), n, v, d, add ? -1 : 2, add,
                             scratch(K->embedding_bwd_scratch(n, v, d, add)));
            finish("embedding_bwd", "%dx%dx%d,add=%d", (int)n, (int)v, (int)d, add);
            int64_t *where = below(n, v);
            for (int64_t k = 0; k < n; k += 3) where[k] = -1 - (int64_t)(draw() % v);
            K->rows(out(n * d), in(v * (d + 3) - 3), d + 3, add ? in(v * d) : 0, where, 0.3, n, d);
            finish("rows", "%dx%dx%d,other=%d", (int)n, (int)v, (int)d, add);
            for (int dim = 0; dim < 3; dim++) {
                int64_t shape[3] = {5, v, d}, sizes[3] = {5, v, d}, strides[3] = {v * d, d, 1};
                sizes[dim] = n % 50 + 1;
                int64_t all = sizes[0] * sizes[1] * sizes[2];
                K->gather(add ? in(all) : out(all), add ? in_out(5 * v * d) : in(5 * v * d), below(all, shape[dim]), sizes,
                          strides, 3, dim, add);
                finish("gather", "%dx%dx%d,dim=%d,add=%d", (int)n, (int)v, (int)d, dim, add);
            }
        }
    }
}

static void randoms(void) {
    static const double rates[] = {0.1, 0.5, 1};
    EACH_SIZE(n) {
        K->rand_uint32(out_integers(*n, 4), *n, 1234567890123, 77);
        K->rand_uniform(out(*n), *n, -0.3, 1.1, 1234567890123, 1ll << 40);
        K->rand_normal(out(*n), *n, 0.2, 1.3, 42, 5);
        finish("rand_uint32+uniform+normal", "n=%d", (int)*n);
        EACH(double, p, rates) {
            K->dropout(out(*n), wild(*n), *n, *p, 42, 6);
            finish("dropout", "p=%g,n=%d", *p, (int)*n);
            int64_t tk = *n < 200 ? *n : 200;
            K->attention_dropout(out(37 * tk), 37, tk, *p, 42, 7);
            finish("attention_dropout", "p=%g,n=%d", *p, (int)tk);
        }
    }
}

static void products(void) {
    int64_t cases[][4] = { /* m, n, k, batch */
        {1, 1, 1, 1},    {1, 7, 17, 1},    {7, 17, 33, 3},  {3, 130, 64, 1},  {64, 33, 130, 2},   {70, 65, 600, 1}, {33, 16, 1100, 1},
        {13, 30, 0, 1},  {130, 1, 33, 2},  {16, 64, 7, 1},  {130, 200, 17, 1}, {200, 150, 700, 1}, {9, 1100, 500, 1}};
    int count = COUNT(cases);
    DENSE(cases, count, {3, dense, 5, 1}, {dense, 3, 17, 2}, {5, 19, dense, 1}, {dense, dense + 1, 6, 1})
    for (int i = 0; i < count * 16; i++) {
        const int64_t *c = cases[i / 16];
        int64_t m = c[0], n = c[1], k = c[2], batch = c[3], ldc = n + 5, size = batch * m * ldc - 5;
        int ta = i & 1, tb = i >> 1 & 1, kind = i >> 2 & 3, nan = kind == 3 && k;
        if (m * n * k > 4000000 && kind % 2) continue; /* emulation is slow */
        fdl_matmul_args x = {.m = m, .n = n, .k = k, .batch = batch, .trans_a = ta, .trans_b = tb, .lda = (ta ? m : k) + 3,
                             .ldb = (tb ? k : n) + 2, .ldc = ldc, .stride_c = m * ldc};
        x.stride_a = (ta ? k : m) * x.lda, x.stride_b = kind == 2 ? 0 : (tb ? n : k) * x.ldb;
        int64_t size_a = batch * x.stride_a - (nan ? 0 : 3), size_b = batch * (tb ? n : k) * x.ldb - 2; /* to the last row's end */
        if (!k) size_a = size_b = 0;
        x.a = nan ? spoil(in(size_a), batch * (ta ? k : m), x.lda) : in(size_a), x.b = in(size_b), x.c = in_out(size);
        x.accumulate = kind == 1;
        if (kind) x.bias = in(n), x.activation = (int)(i % (FDL_ACT_GELU_TANH + 1));
        if (kind >= 2) x.residual = in(size), x.pre = in_out(size);
        if (kind >= 2 && batch == 1) x.row_sums = out(m);
        x.scratch = scratch(K->matmul_scratch(&x));
        num *again = memcpy(out(size), x.c, size * sizeof(num));
        K->matmul(&x);
        int64_t packed = batch == 1 && tb ? K->matmul_packed_size(&x) : 0; /* depends on the ISA's vectors */
        if (packed) {
            void *b = scratch(packed);
            K->matmul_pack(&x, b);
            x.packed_b = b, x.b = 0;
        }
        x.c = again, x.scratch = scratch(K->matmul_scratch(&x));
        K->matmul(&x);
        finish("matmul", "%dx%dx%dx%d,ta=%d,tb=%d,kind=%d", (int)batch, (int)m, (int)n, (int)k, ta, tb, kind);
    }
}

static void convolutions(void) {
    int64_t cases[][11] = { /* n, groups, ci, co, h, w, kh, kw, stride, pad, dilation */
        {1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1},   {2, 1, 3, 7, 9, 11, 3, 3, 1, 1, 1},    {3, 1, 5, 17, 13, 10, 3, 2, 2, 1, 1},
        {2, 1, 70, 33, 9, 8, 3, 3, 1, 1, 1}, {1, 5, 1, 2, 17, 19, 5, 3, 1, 2, 2},   {2, 3, 4, 6, 12, 12, 2, 2, 2, 0, 1},
        {2, 1, 33, 64, 7, 7, 1, 1, 1, 0, 1}, {2, 1, 4, 6, 1, 130, 1, 5, 3, 2, 1},   {1, 1, 3, 16, 90, 97, 7, 7, 2, 3, 1},
        {20, 1, 2, 8, 5, 6, 3, 3, 1, 1, 1},  {1, 1, 1, 34, 40, 40, 3, 3, 1, 0, 3},  {1, 1, 600, 7, 5, 4, 1, 1, 2, 0, 1}};
    int count = COUNT(cases);
    DENSE(cases, count, {1, 1, 2, 3, 4, dense, 3, 3, 1, 1, 1}, {2, 1, dense, 3, 3, 3, 2, 2, 1, 0, 1},
          {1, 1, 3, dense, 4, 5, 3, 3, 2, 1, 1}, {1, dense, 1, 2, 3, 4, 2, 2, 1, 1, 1}, {2, 1, 3, 4, 2, dense + 4, 1, 3, 3, 1, 2})
    for (int i = 0; i < count; i++) {
        const int64_t *c = cases[i];
        fdl_conv_args a = {.n = c[0], .groups = c[1], .ci = c[2], .co = c[3], .h = c[4], .w = c[5], .kh = c[6], .kw = c[7],
                           .stride_h = c[8], .stride_w = c[8], .pad_h = c[6] > 1 ? c[9] : 0, .pad_w = c[9],
                           .dilation_h = c[10], .dilation_w = c[10]};
        a.oh = (a.h + 2 * a.pad_h - a.dilation_h * (a.kh - 1) - 1) / a.stride_h + 1;
        a.ow = (a.w + 2 * a.pad_w - a.dilation_w * (a.kw - 1) - 1) / a.stride_w + 1;
        int64_t x = a.n * a.groups * a.ci * a.h * a.w, y = a.n * a.groups * a.co * a.oh * a.ow, w = a.groups * a.co * a.ci * a.kh * a.kw;
        a.x = in(x), a.weight = in(w), a.bias = i % 2 ? in(a.groups * a.co) : 0, a.y = out(y);
        a.scratch = scratch(K->conv_scratch(&a, 0));
        K->conv_fwd(&a);
        finish("conv_fwd", "%d", i);
        a.y = 0, a.dy = in(y), a.weight = in(w), a.dx = out(x), a.scratch = scratch(K->conv_scratch(&a, 1));
        K->conv_dx(&a);
        finish("conv_dx", "%d", i);
        a.x = in(x), a.dy = in(y), a.dw = out(w), a.db = i % 3 ? out(a.groups * a.co) : 0;
        a.scratch = scratch(K->conv_dw_scratch(&a));
        K->conv_dw(&a);
        finish("conv_dw", "%d", i);
    }
}

static void pools(void) {
    int64_t cases[][8] = { /* planes, h, w, kh, kw, stride, pad, dilation */
        {1, 1, 1, 1, 1, 1, 0, 1}, {5, 9, 17, 3, 2, 2, 1, 1}, {3, 33, 31, 2, 2, 2, 0, 1}, {70, 20, 23, 3, 3, 1, 1, 2}, {2, 8, 130, 2, 5, 1, 0, 1}, {4, 7, 64, 3, 3, 3, 1, 1}};
    int count = COUNT(cases);
    DENSE(cases, count, {2, 4, dense + 1, 3, 2, 2, 1, 1}, {2, dense + 1, 5, 2, 2, 1, 0, 1}, {dense, 3, 4, 3, 3, 1, 1, 1})
    for (int i = 0; i < count * 4; i++) {
        const int64_t *c = cases[i / 4];
        int kind = i % 4, is_max = kind < 2;
        fdl_pool_args a = {.planes = c[0], .h = c[1], .w = c[2], .kh = c[3], .kw = c[4], .stride_h = c[5], .stride_w = c[5],
                           .pad_h = c[6], .pad_w = c[6], .dilation_h = is_max ? c[7] : 1, .dilation_w = is_max ? c[7] : 1,
                           .divisor = kind == 3 ? 3 : 0, .count_padding = i / 4 % 2};
        a.oh = (a.h + 2 * a.pad_h - a.dilation_h * (a.kh - 1) - 1) / a.stride_h + 1;
        a.ow = (a.w + 2 * a.pad_w - a.dilation_w * (a.kw - 1) - 1) / a.stride_w + 1;
        int64_t x = a.planes * a.h * a.w, y = a.planes * a.oh * a.ow;
        a.x = kind == 1 ? spoil(in(x), a.planes * a.h, a.w) : in(x), a.y = out(y), a.dy = in(y), a.dx = out(x);
        a.index = is_max ? out_integers(y, sizeof(num)) : 0, a.scratch = scratch(K->pool_scratch(&a));
        (is_max ? K->max_pool : K->avg_pool)(&a);
        (is_max ? K->max_pool_bwd : K->avg_pool_bwd)(&a);
        finish(is_max ? "max_pool+bwd" : "avg_pool+bwd", "%d", i);
        K->adaptive_avg_pool(out(a.planes * 35), in(x), a.planes, a.h, a.w, 5, 7, 0);
        K->adaptive_avg_pool(in(a.planes * 35), out(x), a.planes, a.h, a.w, 5, 7, 1);
        finish("adaptive_avg_pool", "%d", i);
    }
}

static void attention(void) {
    int64_t cases[][7] = { /* b, h, hk, tq, tk, d, e */
        {1, 1, 1, 1, 1, 1, 1}, {2, 2, 2, 7, 9, 17, 5}, {3, 4, 2, 16, 16, 8, 16}, {2, 3, 1, 33, 30, 16, 33}, {1, 2, 2, 130, 67, 64, 64},
        {1, 1, 1, 65, 1100, 33, 20}, {2, 2, 1, 200, 200, 32, 32}};
    enum { PLAIN, KEEP, ADD, CAUSAL, LENGTHS, DROPOUT, NANS, KINDS };
    int count = COUNT(cases);
    DENSE(cases, count, {1, 2, 1, 3, dense, 4, 5}, {1, 1, 1, dense, 5, 6, 3}, {1, 2, 2, 3, 4, dense, dense})
    for (int i = 0; i < count * KINDS; i++) {
        const int64_t *c = cases[i / KINDS];
        int kind = i % KINDS;
        int64_t b = c[0], h = c[1], hk = c[2], tq = c[3], tk = c[4], d = c[5], e = c[6], pairs = b * h * tq * tk;
        fdl_attention_args a = {.b = b, .h = h, .hk = hk, .tq = tq, .tk = tk, .d = d, .e = e, .scale = 0.4, .seed = 9, .stream = 3,
#define STEPS(heads, t, d) {(heads) * (t) * (d), (t) * (d), d}
                                .q_step = STEPS(h, tq, d), .k_step = STEPS(hk, tk, d), .v_step = STEPS(hk, tk, e),
                                .out_step = STEPS(h, tq, e), .dout_step = STEPS(h, tq, e), .dq_step = STEPS(h, tq, d),
                                .dk_step = STEPS(hk, tk, d), .dv_step = STEPS(hk, tk, e),
                                .mask_step = {h * tq * tk, tq * tk, tk, 1}, .causal = kind == CAUSAL || kind == NANS,
                                .dropout = kind == DROPOUT ? 0.3 : 0};
        num *k = in(b * hk * tk * d), *v = in(b * hk * tk * e), *add;
        if (kind == NANS) spoil(k, b * hk * tk, d), spoil(v, b * hk * tk, e);
        a.q = in(b * h * tq * d), a.k = k, a.v = v, a.out = out(b * h * tq * e), a.lse = out(b * h * tq);
        a.keep = kind == KEEP ? flags(pairs) : 0;
        if (kind == ADD) {
            a.add = add = in(pairs);
            for (int64_t j = 0; j < pairs; j += 3) add[j] = (num)(-1.0 / 0.0);
        }
        if (kind == ADD || kind == DROPOUT) a.dmask = memset(out(pairs), 0, pairs * sizeof(num));
        a.lengths = kind == LENGTHS ? below(b, tk + 1) : 0;
        a.scratch = scratch(K->attention_scratch(&a, 0));
        K->attention_fwd(&a);
        a.dout = in(b * h * tq * e), a.dq = out(b * h * tq * d), a.dk = out(b * hk * tk * d), a.dv = out(b * hk * tk * e);
        a.scratch = scratch(K->attention_scratch(&a, 1));
        K->attention_bwd(&a);
        finish("attention_fwd+bwd", "%d,kind=%d", i / KINDS, kind);
    }
}

static void recurrent(void) {
    int64_t cases[][3] = {{1, 1, 1}, {3, 2, 7}, {4, 5, 16}, {3, 7, 33}, {2, 17, 64}, {5, 20, 130}, {4, 3, 300}, {3, 60, 100}};
    int count = COUNT(cases);
    DENSE(cases, count, {2, 3, dense}, {2, dense, 5})
    for (int i = 0; i < count * 12; i++) {
        const int64_t *c = cases[i / 12];
        int gates = i % 3 == 0 ? 1 : i % 3 == 1 ? 3 : 4, kind = i / 3 % 4;
        int64_t t = c[0], b = c[1], h = c[2], *batch = take(t, 8, 0), rows = 0;
        for (int64_t j = 0; j < t; j++) rows += batch[j] = kind >= 2 && b > 2 * j ? b - 2 * j : kind >= 2 && j ? 1 : b;
        fdl_rnn_args a = {.t = t, .b = b, .h = h, .batch_sizes = kind >= 2 ? batch : 0, .reverse = kind & 1, .relu = kind == 1,
                          .gx = kind == 3 ? spoil(in(rows * gates * h), rows, gates * h) : in(rows * gates * h),
                          .w_hh = within(take(gates * h * h, sizeof(num), 0), gates * h * h, -0.2, 0.17), .b_hn = in(h),
                          .h0 = kind ? in(b * h) : 0, .c0 = kind ? in(b * h) : 0, .y = out(rows * (h + 3) - 3), .ldy = h + 3,
                          .hn = out(b * h), .cn = gates == 4 ? out(b * h) : 0, .gates = gates > 1 ? out(rows * gates * h) : 0,
                          .saved = gates > 1 ? out(rows * h) : 0};
        __typeof__(K->rnn_scratch) size = gates == 1 ? K->rnn_scratch : gates == 3 ? K->gru_scratch : K->lstm_scratch;
        a.scratch = scratch(size(&a));
        (gates == 1 ? K->rnn_fwd : gates == 3 ? K->gru_fwd : K->lstm_fwd)(&a);
        a.dy = in(rows * h), a.lddy = h, a.dhn = in(b * h), a.dcn = kind ? in(b * h) : 0, a.dgx = out(rows * gates * h);
        a.dgh_n = gates == 3 ? out(rows * h) : 0, a.dh0 = out(b * h), a.dc0 = gates == 4 ? out(b * h) : 0;
        a.scratch = scratch(size(&a));
        (gates == 1 ? K->rnn_bwd : gates == 3 ? K->gru_bwd : K->lstm_bwd)(&a);
        finish(gates == 1 ? "rnn_fwd+bwd" : gates == 3 ? "gru_fwd+bwd" : "lstm_fwd+bwd", "%dx%dx%d,kind=%d", (int)t, (int)b, (int)h, kind);
    }
}

static void optimizers(void) {
    enum { ARRAYS = COUNT(SIZES) };
    const int64_t rows_at[] = {0, 3, 4, 900};
    for (int kind = 0; kind < 4; kind++) {
        void *p[ARRAYS], *s[3][ARRAYS];
        const void *g[ARRAYS];
        int64_t n[ARRAYS];
        fdl_rows rows[ARRAYS] = {{0}};
#define NEW_LIST                                                          \
    for (int i = 0; i < ARRAYS; i++) {                                    \
        n[i] = dense ? dense + i : SIZES[i], p[i] = in_out(n[i]), g[i] = kind == 3 && i == 2 ? 0 : wild(n[i]); \
        for (int j = 0; j < 3; j++) s[j][i] = within(out(n[i]), n[i], 0.5, 2); \
    }
        NEW_LIST
        K->sgd_step(p, g, s[0], n, ARRAYS, 0.1, kind ? 0.9 : 0, 0.1, 0.01, kind == 2, kind == 3, kind == 1, 0.7);
        finish("sgd_step", "%d", kind);
        NEW_LIST
        K->adam_step(p, g, s[0], s[1], kind & 1 ? s[2] : 0, n, ARRAYS, 1e-3, 0.9, 0.999, 1e-8, 0.01, kind > 1, kind == 3, 7 * kind + 1, 0.7);
        finish("adam_step", "%d", kind);
        NEW_LIST
        K->rmsprop_step(p, g, s[0], kind & 1 ? s[1] : 0, kind & 2 ? s[2] : 0, n, ARRAYS, 1e-2, 0.99, 1e-8, 0.01, 0.9, kind == 3, 0.7);
        finish("rmsprop_step", "%d", kind);
        NEW_LIST
        K->adagrad_step(p, g, s[0], n, ARRAYS, 1e-2, 1e-10, 0.01, kind == 3, 0.7);
        finish("adagrad_step", "%d", kind);
        NEW_LIST
        K->adadelta_step(p, g, s[0], s[1], n, ARRAYS, 1, 0.9, 1e-6, 0.01, kind == 3, 0.7);
        finish("adadelta_step", "%d", kind);
        NEW_LIST
        K->scale(p, n, ARRAYS, 0.3);
        if (kind && !dense) rows[ARRAYS - 1] = (fdl_rows){rows_at, COUNT(rows_at), 73};
        const void *x[ARRAYS];
        for (int i = 0; i < ARRAYS; i++) x[i] = kind == 2 ? wild(n[i]) : in(n[i]);
        *out_doubles(1) = K->sumsq(x, kind ? rows : 0, n, ARRAYS, scratch(K->sumsq_scratch(n, ARRAYS)));
        finish("scale+sumsq", "%d", kind);
    }
}

void HASH_KERNELS(const fdl_table *table) {
    K = table;
    if (dense) SIZES[0] = dense, n_sizes = 1;
    DENSE(ROWS, n_rows, {3, dense, 1}, {2, dense, 5}, {2, 3, dense}, {dense, 4, 1})
    elementwise();
    chain();
    reductions();
    norms();
    losses();
    additive();
    tables();
    randoms();
    products();
    convolutions();
    pools();
    attention();
    recurrent();
    optimizers();
}

#ifndef FDL_F64
int guard;
int64_t dense;
char last_case[256];

static void fell(int number) {
    static const char text[] = "a page was touched that belongs to no buffer; the last case that ended: ";
    if (write(2, text, sizeof text - 1) < 0 || write(2, last_case, strlen(last_case)) < 0 || write(2, "\n", 1) < 0) _exit(4);
    _exit(128 + number);
}

int main(int argc, char **argv) {
    for (int i = 0; i < fdl_isa_count(); i++) {
        const fdl_isa_info *isa = fdl_isa(i);
        if (argc < 3 && isa->usable) puts(isa->name);
        if (argc < 3 || !isa->usable || strcmp(isa->name, argv[1])) continue;
        fdl_set_num_threads(atoi(argv[2]));
        if (argc > 3) guard = !strcmp(argv[3], "end") ? END : !strcmp(argv[3], "begin") ? BEGIN : NO_PAGES;
        if (guard) signal(SIGSEGV, fell), signal(SIGBUS, fell);
        int64_t from = argc > 5 ? atoi(argv[4]) : 0, to = argc > 5 ? atoi(argv[5]) : 0;
        for (dense = from; dense <= to; dense++) {
            hash_kernels_f32(isa->f32);
            hash_kernels_f64(isa->f64);
        }
        return 0;
    }
    return argc < 3 ? 0 : 2;
}
#endif
