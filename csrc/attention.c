/* attention.c: softmax(scale Q K^T + mask) V, forward and backward, without a matrix of all queries by all keys.
 *
 * Numerics (the same on every ISA with FMA and for any number of threads):
 *   scores      one chain of FMAs over D, from 0, on keys that were multiplied by `scale`
 *   softmax     the row's largest score subtracted; sums by LANES and v_hsum. Up to KEYS_FWD keys at once; more in blocks of
 *               that many, whose sums and outputs are rescaled when a larger score turns up
 *   outputs     one chain of FMAs over the keys of a block; blocks join in order; the division by the sum comes last
 *   backward    P = exp(score - lse). dq: a chain over the keys of a block of KEYS_BWD, blocks in order, then chunks of
 *               keys in order. dk, dv: a chain over the queries of a block of QUERIES_BWD, blocks in order
 * So what a mask, a length or the diagonal cuts off gives the same bits whether it is skipped or computed as zeros.
 * Accuracy against exact arithmetic on the same inputs: that of the products, 2 n u (|a| |b|), n = D, Tk, Tq.
 *
 * Method: keys are packed transposed, so that vectors of a score tile run over keys; values as they are, vectors over E. A
 * strip of a few query rows stays in L1 between the products and the softmax. Backward, a unit of work walks the
 * blocks (keys, queries) of a head and of the query heads that share it: five products for each, P and dS in L2. Where
 * there are few heads the keys are cut into chunks, each a unit with its own dq; these are added up at the end.
 * Heads of up to LANES queries, keys and numbers go as a whole, the same operations in the same order.
 *
 * Masks: a masked score is -inf whatever K holds, but 0 * NaN = NaN, so NaN and inf among masked keys, values or upstream
 * gradients would still leak through the products. They show as NaN in the result of a unit, which is then done again,
 * carefully: products skip masked elements. */
#include "attention_rows.h"
#include "gemm_tile.h"

enum {
    KEYS_FWD = 512,        /* bits: keys of a block, forward; multiple of PHILOX_GROUP */
    KEYS_BWD = 128,        /* bits: the same, backward */
    QUERIES_BWD = 128,     /* bits: equal to KEYS_BWD, so that blocks lie on the diagonal or off it */
    MIN_UNITS = 8,         /* bits: heads below which keys are cut into chunks, backward, */
    CHUNK_KEYS = 256,      /* bits: of at least so many keys */
    STRIP_SCORES = 6144,   /* scores of a strip: half of L1 */
    STRIP_MAX = 48,        /* rows of a strip, forward; all strips are multiples of a tile's 6 or 12 rows */
    STRIP_CAUSAL = 12,     /* where the strip's end decides how many keys it needs */
    STRIP_BWD = 24,
    UNIT_ROWS = 48,        /* rows of a unit of work, forward: keys and values are packed once for all units of a head, */
    UNIT_ROWS_LONG = 192,  /* or once for each unit where they take several blocks */
    IN_PLACE_BYTES = 8192, /* span up to which rows at a distance are read in place, not packed: no conflicts in L1 */
    FETCH_MIN_BYTES = 1 << 14, /* of a head, from which its rows are fetched ahead of time, */
    FETCH_MAX_BYTES = 1 << 19, /* up to a quarter of L2 */
    GRAIN = 1 << 18,       /* multiply-adds worth a thread, about 5 us */
    ROW_COST = 500         /* what a row costs beside its products, in multiply-adds */
};

/* Products ------------------------------------------------------------------------------------------------------- */

/* The vector side of a product, [k][columns]: packed in panels of TILE_COLS columns, or (ld > 0) as it lies in memory */
typedef struct vectors {
    const real *data;
    int64_t ld, k, columns; /* packed: k rows; columns: multiple of VL */
} vectors;

/* the row side: element (i, p) at data[i * row + p * col] */
typedef struct rows {
    const real *data;
    int64_t row, col;
} rows;

/* c[m][n] (+)= a[m][k] b[first .. first + k][n], for n up to b's columns */
static void product(real *c, int64_t ldc, rows a, const vectors *b, int64_t first, int64_t m, int64_t n, int64_t k,
                    int accumulate) {
    tile_args t = {.row_a = a.row, .col_a = a.col, .ldc = ldc, .k = k, .accumulate = accumulate};
    for (int64_t column = 0; column < n; column += TILE_COLS) {
        int64_t left = min_i64(n - column, TILE_COLS), vecs = ceil_div(left, VL);
        if (b->ld) {
            t.ldb = b->ld;
            t.b = b->data + column + first * t.ldb;
        } else {
            t.ldb = min_i64(b->columns - column, TILE_COLS);
            t.b = b->data + column * b->k + first * t.ldb;
        }
        t.last = (int)(left - (vecs - 1) * VL);
        t.a = a.data;
        t.c = c + column;
        if (m <= tile_rows((int)vecs)) {
            if (m > 0) tile_run(&t, (int)m, (int)vecs);
            continue;
        }
        int64_t tiles = ceil_div(m, tile_rows((int)vecs)), each = m / tiles, taller = m % tiles;
        for (int64_t i = 0; i < tiles; i++) {
            int64_t height = each + (i < taller);
            tile_run(&t, (int)height, (int)vecs);
            t.a += height * a.row;
            t.c += height * ldc;
        }
    }
}

/* The same, in the same order, without the terms whose a is -0: the mark of what is masked. */
static void careful_product(real *c, int64_t ldc, rows a, const vectors *b, int64_t first, int64_t m, int64_t n, int64_t k,
                            int accumulate) {
    const real mark = (real)-0.0;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j += VL) {
            int width = clamp_width(n - j);
            int64_t panel = j / TILE_COLS * TILE_COLS, ldb = b->ld ? b->ld : min_i64(b->columns - panel, TILE_COLS);
            const real *from = b->ld ? b->data + j : b->data + panel * b->k + (j - panel);
            vf acc = v_zero();
            for (int64_t p = 0; p < k; p++) {
                const real *x = a.data + i * a.row + p * a.col;
                if (memcmp(x, &mark, sizeof mark)) acc = v_fma(v_set1(*x), v_load_n(from + (first + p) * ldb, width), acc);
            }
            if (accumulate) acc += v_load_n(c + i * ldc + j, width);
            v_store_n(c + i * ldc + j, acc, width);
        }
}

/* Packing -------------------------------------------------------------------------------------------------------- */

/* to[p][i] = from[i][p] * factor, for VL columns, of which `count` exist, and `depth` rows, up to VL or VL / 2 */
INLINE void transpose_block(real *to, int64_t width, const real *from, int64_t ld, int count, int depth, vf factor,
                            const int half) {
    vf t[VL];
    UNROLL for (int i = 0; i < VL; i++) t[i] = v_load_n(from + i * ld, i < count ? depth : 0) * factor;
    v_transpose(t);
    UNROLL for (int i = 0; i < VL; i++)
        if (i < (half ? VL / 2 : VL) && i < depth) v_store(to + i * width, t[i]);
}

/* x[n][k] * scale as the vector side [k][n], n padded with zeros to whole LANES */
static vectors pack_transposed(real *out, const real *x, int64_t ld, int64_t n, int64_t k, real scale) {
    int64_t columns = whole_lanes(n);
    const vf factor = v_set1(scale);
    for (int64_t j = 0; j < columns; j += VL) {
        int64_t panel = j / TILE_COLS * TILE_COLS, width = min_i64(columns - panel, TILE_COLS);
        real *to = out + panel * k + (j - panel);
        const real *from = x + j * ld;
        int count = clamp_width(n - j);
        for (int64_t p = 0; p < k; p += VL) {
            int depth = clamp_width(k - p);
            if (depth <= VL / 2) {
                transpose_block(to + p * width, width, from + p, ld, count, depth, factor, 1);
            } else if (count < VL || depth < VL) {
                transpose_block(to + p * width, width, from + p, ld, count, depth, factor, 0);
            } else {
                vf t[VL];
                UNROLL for (int i = 0; i < VL; i++) t[i] = v_load(from + i * ld + p) * factor;
                v_transpose(t);
                UNROLL for (int i = 0; i < VL; i++) v_store(to + (p + i) * width, t[i]);
            }
        }
    }
    return (vectors){out, 0, k, columns};
}

INLINE int64_t padded(int64_t n) { return ceil_div(n, VL) * VL; }

/* x[k][n] as the vector side: in place, or packed where its rows lie apart */
static vectors pack_rows(real *out, const real *x, int64_t ld, int64_t k, int64_t n) {
    if (ld > 0 && (ld == n || k * ld * (int64_t)sizeof(real) <= IN_PLACE_BYTES)) return (vectors){x, ld, k, n};
    int64_t columns = padded(n);
    for (int64_t p = 0; p < k; p++)
        for (int64_t j = 0; j < columns; j += VL) {
            int64_t panel = j / TILE_COLS * TILE_COLS, width = min_i64(columns - panel, TILE_COLS);
            v_store(out + panel * k + p * width + (j - panel), v_load_n(x + p * ld + j, clamp_width(n - j)));
        }
    return (vectors){out, 0, k, columns};
}

/* of a head whose sizes are all up to LANES */
typedef real square[LANES * LANES] __attribute__((aligned(VB)));

/* x[k][n] as the vector side, in rows of LANES */
INLINE vectors widen(real *out, const real *x, int64_t ld, int64_t k, int64_t n) {
    for (int64_t j = 0; j < n; j += VL) {
        int width = clamp_width(n - j);
        for (int64_t p = 0; p < k; p++) v_store(out + p * LANES + j, v_load_n(x + p * ld + j, width));
    }
    return (vectors){out, LANES, k, padded(n)};
}

/* NaN and inf leave bits in `bad` beside the sign */
INLINE vi note_bad(vi bad, vf x) { return bad | (vi)(x * v_zero()); }
INLINE int is_bad(vi bad) { return v_any(bad & ~(vi)v_set1((real)-0.0)); }

/* out[k][n] = x, which stands in rows of LANES */
INLINE vi narrow(real *out, int64_t ld, const real *x, int64_t k, int64_t n, vi bad) {
    for (int64_t j = 0; j < n; j += VL) {
        int width = clamp_width(n - j);
        for (int64_t p = 0; p < k; p++) {
            vf y = v_load(x + p * LANES + j);
            bad = note_bad(bad, y);
            v_store_n(out + p * ld + j, y, width);
        }
    }
    return bad;
}

/* Rows [n * part, n * (part + 1)) / parts of x[n][columns] into L2: of the head that comes next, a share during each strip of
 * this one. Rows lie apart, so the hardware does not see them coming. */
static void fetch_rows(const real *x, int64_t step, int64_t n, int64_t columns, int64_t part, int64_t parts) {
    for (int64_t i = n * part / parts; i < n * (part + 1) / parts; i++)
        for (int64_t j = 0; j < columns; j += 64 / (int64_t)sizeof(real)) __builtin_prefetch(x + i * step + j, 0, 2);
}

/* Plan ----------------------------------------------------------------------------------------------------------- */

typedef struct plan {
    const fdl_attention_args *x;
    dropping drop;
    int64_t units, unit_rows, strip; /* forward: row units of a head; rows of a unit and of a strip */
    int64_t chunks;                  /* backward: of the keys of a head */
    int64_t scratch;                 /* elements per thread */
    real *buffer, *partial;          /* partial: [chunks - 1][B,H,Tq,D] dq of the chunks after the first */
    int may_mask, is_short, fetch;   /* fetch: the next head's rows ahead */
} plan;

static void plan_forward(plan *p, const fdl_attention_args *x) {
    int64_t keys = max_i64(LANES, min_i64(whole_lanes(x->tk), KEYS_FWD));
    *p = (plan){.x = x};
    p->unit_rows = min_i64(x->tk > KEYS_FWD ? UNIT_ROWS_LONG : UNIT_ROWS, x->tq);
    p->units = ceil_div(x->tq, p->unit_rows);
    p->strip = x->causal ? STRIP_CAUSAL : max_i64(STRIP_CAUSAL, min_i64(STRIP_MAX, STRIP_SCORES / keys / 12 * 12));
    p->strip = min_i64(p->strip, p->unit_rows);
    p->scratch = whole_lanes(keys * (x->d + padded(x->e) + p->strip) + max_i64(keys, VL * LANES));
}

static void plan_backward(plan *p, const fdl_attention_args *x) {
    int64_t keys = min_i64(whole_lanes(x->tk), KEYS_BWD), heads = x->b * x->hk;
    *p = (plan){.x = x, .chunks = 1};
    if (heads < MIN_UNITS) p->chunks = max_i64(1, min_i64(ceil_div(MIN_UNITS, heads), x->tk / CHUNK_KEYS));
    int64_t block = min_i64(x->tq, QUERIES_BWD) * (keys + LANES);
    p->scratch = whole_lanes(keys * (x->d + padded(x->d) + x->e + 1) + 2 * block + x->tq * (padded(x->d) + padded(x->e))
                             + padded(x->tq));
}

INLINE int is_empty(const fdl_attention_args *x) { return x->b <= 0 || x->h <= 0 || x->hk <= 0; }

/* attention_scratch: bytes that attention_fwd, or with `backward` attention_bwd, needs for these sizes: O(Tq + Tk) */
int64_t FDL_FN(attention_scratch)(const fdl_attention_args *args, int backward) {
    plan p;
    int64_t shared = 0;
    if (is_empty(args)) return 0;
    if (backward) {
        plan_backward(&p, args);
        shared = (p.chunks - 1) * args->b * args->h * args->tq * args->d;
    } else if (args->tq > 0) {
        plan_forward(&p, args);
    } else {
        return 0;
    }
    return (fdl_num_threads() * p.scratch + shared) * (int64_t)sizeof(real);
}

static void start(plan *p, const fdl_attention_args *x) {
    p->buffer = x->scratch;
    p->partial = p->buffer + fdl_num_threads() * p->scratch;
    p->may_mask = x->causal || x->keep || x->add;
    p->is_short = max_i64(max_i64(x->tq, x->tk), max_i64(x->d, x->e)) <= LANES;
    int64_t bytes = (x->tq + x->tk) * (x->d + x->e) * (int64_t)sizeof(real);
    p->fetch = bytes > FETCH_MIN_BYTES && bytes < FETCH_MAX_BYTES;
    if (x->dropout > 0) p->drop = make_dropping(x->tk, x->dropout, x->seed, x->stream);
}

INLINE head_mask mask_of(const fdl_attention_args *x, int64_t b, int64_t h) {
    int64_t offset = b * x->mask_step[0] + h * x->mask_step[1];
    return (head_mask){x->keep ? x->keep + offset : 0, x->add ? x->add + offset : 0, x->mask_step[2], x->mask_step[3]};
}

/* keys that any query of the head sees */
static int64_t keys_of(const fdl_attention_args *x, int64_t b, const head_mask *mask) {
    int64_t n = x->lengths ? min_i64(x->lengths[b], x->tk) : x->tk;
    if (x->causal || !x->tq) n = min_i64(n, x->tq);
    return mask->keep || mask->add ? unmasked_keys(mask, n) : n;
}

INLINE int64_t offset_of(const int64_t step[3], int64_t b, int64_t h) { return b * step[0] + h * step[1]; }

/* the same where entries may have lengths of their own, and their queries */
INLINE int64_t place_of(const fdl_attention_args *x, const int64_t step[3], int64_t b, int64_t h) {
    return (x->starts ? x->starts[b] * step[2] : b * step[0]) + h * step[1];
}

INLINE int64_t queries_of(const fdl_attention_args *x, int64_t b) { return x->starts ? x->lengths[b] : x->tq; }

/* Forward -------------------------------------------------------------------------------------------------------- */

/* softmax of a strip of scores, s[n][LANES], in the first block */
INLINE void softmax_short_strip(const plan *p, real *s, int64_t n, int64_t row, int64_t query, int64_t limit,
                                const head_mask *mask, real *buffer, real *top, real *sum, int mark) {
    const fdl_attention_args *x = p->x;
    const real *adds[VL] = {0};
    int64_t limits[VL];
    for (int64_t i = 0; i < n; i += VL) {
        int count = clamp_width(n - i);
        for (int r = 0; r < count; r++) {
            limits[r] = x->causal ? min_i64(limit, query + i + r + 1) : limit;
            if (mask->keep || mask->add)
                adds[r] = r && !mask->row ? adds[0] : mask_row(mask, query + i + r, 0, limit, buffer + r * LANES);
        }
        if (mark) softmax_short(s + i * LANES, adds, limits, count, top + i, sum + i, 1);
        else softmax_short(s + i * LANES, adds, limits, count, top + i, sum + i, 0);
    }
    if (x->dropout > 0) {
        drawn words;
        words.group = -1;
        for (int64_t i = 0; i < n; i++) drop_row(&p->drop, &words, s + i * LANES, row + i, 0, LANES);
    }
}

/* softmax of a strip of scores, s[n][ld]; from the second block on the outputs so far are rescaled */
INLINE void softmax_strip(const plan *p, real *s, int64_t ld, int64_t n, int64_t row, int64_t query, int64_t first,
                          int64_t limit, const head_mask *mask, real *buffer, real *top, real *sum, real *out, int mark) {
    const fdl_attention_args *x = p->x;
    const real *add = 0;
    drawn words;
    words.group = -1;
    for (int64_t i = 0; i < n; i++, s += ld) {
        int64_t seen = x->causal ? min_i64(limit, query + i + 1 - first) : limit;
        if ((mask->keep || mask->add) && (i == 0 || mask->row)) add = mask_row(mask, query + i, first, limit, buffer);
        real max = add ? mask_and_top(s, add, seen) : mask_and_top(s, 0, seen), before = top[i];
        if (first && before > max) max = before;
        real base = max == -INFINITY ? 0 : max;
        real now = mark ? exp_and_sum(s, base, seen, whole_lanes(limit), 1) : exp_and_sum(s, base, seen, whole_lanes(limit), 0);
        if (x->dropout > 0) drop_row(&p->drop, &words, s, row + i, first, whole_lanes(limit));
        if (first && before != max) {
            vf factor = v_exp(v_set1(before - max));
            real *o = out + i * x->out_step[2];
            sum[i] *= factor[0];
            for (int64_t j = 0; j < x->e; j += VL) {
                int width = clamp_width(x->e - j);
                v_store_n(o + j, v_load_n(o + j, width) * factor, width);
            }
        }
        top[i] = max;
        sum[i] = first ? sum[i] + now : now;
    }
}

/* out = y / sum, y[n][ld], lse = top + log(sum); returns whether a result is NaN or inf */
static int finish_rows(const fdl_attention_args *x, real *out, const real *y, int64_t ld, real *lse, const real *top,
                       const real *sum, int64_t n) {
    vi bad = {0};
    for (int64_t i = 0; i < n; i += VL) {
        int count = clamp_width(n - i);
        vf total = v_load_n(sum + i, count);
        real factors[VL] __attribute__((aligned(VB)));
        v_store(factors, v_sel(total == v_zero(), total, v_set1(1) / total));
        if (lse) {
            vf log_sum = v_sel(total == v_zero(), v_set1(INFINITY), v_load_n(top + i, count) + v_log(total));
            v_store_n(lse + i, log_sum, count);
        }
        for (int r = 0; r < count; r++) {
            vf factor = v_set1(factors[r]);
            for (int64_t j = 0; j < x->e; j += VL) {
                int width = clamp_width(x->e - j);
                vf z = v_load_n(y + (i + r) * ld + j, width) * factor;
                bad = note_bad(bad, z);
                v_store_n(out + (i + r) * x->out_step[2] + j, z, width);
            }
        }
    }
    return is_bad(bad);
}

static void clear_rows(real *x, int64_t step, int64_t n, int64_t columns) {
    for (int64_t i = 0; i < n; i++) memset(x + i * step, 0, columns * sizeof(real));
}

typedef struct packed_head {
    int64_t b, hk; /* whose keys and values are packed; -1: nobody's */
    vectors k, v;
} packed_head;

/* the strip's share of the next head */
static void fetch_next_fwd(const plan *p, int64_t b, int64_t h, int64_t query) {
    const fdl_attention_args *x = p->x;
    int64_t parts = ceil_div(x->tq, p->strip), part = query / p->strip;
    if (++h == x->h) h = 0, b++;
    if (b == x->b) return;
    int64_t hk = h / (x->h / x->hk);
    int64_t queries = queries_of(x, b), keys = x->starts ? queries : x->tk;
    fetch_rows(x->q + place_of(x, x->q_step, b, h), x->q_step[2], queries, x->d, part, parts);
    fetch_rows(x->k + place_of(x, x->k_step, b, hk), x->k_step[2], keys, x->d, part, parts);
    fetch_rows(x->v + place_of(x, x->v_step, b, hk), x->v_step[2], keys, x->e, part, parts);
    fetch_rows(x->out + place_of(x, x->out_step, b, h), x->out_step[2], queries, x->e, part, parts);
}

/* Queries [begin, end) of a head. Returns whether the result holds NaN or inf. */
static int forward_rows(const plan *p, packed_head *packed, int64_t b, int64_t h, int64_t begin, int64_t end, real *scratch,
                        int careful) {
    const fdl_attention_args *x = p->x;
    int64_t hk = h / (x->h / x->hk), n = end - begin, row = (b * x->h + h) * x->tq + begin;
    int64_t block = max_i64(LANES, min_i64(whole_lanes(x->tk), KEYS_FWD));
    real *k_packed = scratch, *v_packed = k_packed + block * x->d, *buffer = v_packed + block * padded(x->e);
    real *s = buffer + max_i64(block, VL * LANES), top[UNIT_ROWS_LONG + VL], sum[UNIT_ROWS_LONG + VL];
    const real *q = x->q + place_of(x, x->q_step, b, h) + begin * x->q_step[2];
    const real *k = x->k + place_of(x, x->k_step, b, hk), *v = x->v + place_of(x, x->v_step, b, hk);
    real *out = x->out + place_of(x, x->out_step, b, h) + begin * x->out_step[2];
    head_mask mask = mask_of(x, b, h);
    int64_t keys = keys_of(x, b, &mask);
    if (x->causal) keys = min_i64(keys, end);
    if (keys <= 0) {
        clear_rows(out, x->out_step[2], n, x->e);
        memset(sum, 0, sizeof sum);
        memset(top, 0, sizeof top);
    }
    for (int64_t first = 0; first < keys; first += KEYS_FWD) {
        if (packed->b != b || packed->hk != hk) {
            int shared = x->tk <= KEYS_FWD; /* by all units of the head */
            int64_t count = min_i64((shared ? x->tk : keys) - first, KEYS_FWD);
            if (x->lengths) count = min_i64(count, x->lengths[b] - first);
            packed->k = pack_transposed(k_packed, k + first * x->k_step[2], x->k_step[2], count, x->d, (real)x->scale);
            packed->v = pack_rows(v_packed, v + first * x->v_step[2], x->v_step[2], count, x->e);
            if (shared) packed->b = b, packed->hk = hk;
        }
        for (int64_t i = 0; i < n; i += p->strip) {
            if (p->fetch) fetch_next_fwd(p, b, h, begin + i);
            int64_t count = min_i64(p->strip, n - i), limit = min_i64(keys - first, KEYS_FWD);
            if (x->causal) limit = min_i64(limit, begin + i + count - first);
            if (limit <= 0) continue;
            int64_t ld = whole_lanes(limit);
            product(s, ld, (rows){q + i * x->q_step[2], x->q_step[2], 1}, &packed->k, 0, count, ld, x->d, 0);
            if (ld == LANES && !first)
                softmax_short_strip(p, s, count, row + i, begin + i, limit, &mask, buffer, top + i, sum + i, careful);
            else
                softmax_strip(p, s, ld, count, row + i, begin + i, first, limit, &mask, buffer, top + i, sum + i,
                              out + i * x->out_step[2], careful);
            (careful ? careful_product : product)(out + i * x->out_step[2], x->out_step[2], (rows){s, ld, 1}, &packed->v, 0,
                                                  count, x->e, limit, first > 0);
        }
    }
    return finish_rows(x, out, out, x->out_step[2], x->lse ? x->lse + row : 0, top, sum, n);
}

/* The same for a whole short head. Everything stands in rows of LANES, padded with zeros: a load soon after a masked store
 * of the same place would wait until that has reached the cache. */
static int forward_short(const plan *p, int64_t b, int64_t h) {
    const fdl_attention_args *x = p->x;
    square k_packed, v_rows, s, y, buffer;
    real top[LANES], sum[LANES];
    int64_t hk = h / (x->h / x->hk), n = queries_of(x, b), row = (b * x->h + h) * x->tq;
    head_mask mask = mask_of(x, b, h);
    int64_t keys = keys_of(x, b, &mask);
    vectors k = pack_transposed(k_packed, x->k + place_of(x, x->k_step, b, hk), x->k_step[2], keys, x->d, (real)x->scale);
    vectors v = widen(v_rows, x->v + place_of(x, x->v_step, b, hk), x->v_step[2], keys, x->e);
    product(s, LANES, (rows){x->q + place_of(x, x->q_step, b, h), x->q_step[2], 1}, &k, 0, n, LANES, x->d, 0);
    softmax_short_strip(p, s, n, row, 0, keys, &mask, buffer, top, sum, 0);
    product(y, LANES, (rows){s, LANES, 1}, &v, 0, n, v.columns, keys, 0);
    return finish_rows(x, x->out + place_of(x, x->out_step, b, h), y, LANES, x->lse ? x->lse + row : 0, top, sum, n);
}

static void forward_task(void *ctx, int64_t begin, int64_t end, int thread) {
    const plan *p = ctx;
    const fdl_attention_args *x = p->x;
    packed_head packed = {.b = -1};
    for (int64_t unit = begin; unit < end; unit++) {
        int64_t head = unit / p->units, b = head / x->h, h = head % x->h, first = unit % p->units * p->unit_rows;
        int64_t last = min_i64(first + p->unit_rows, queries_of(x, b));
        if (first >= last) continue; /* of an entry shorter than the longest */
        real *scratch = p->buffer + thread * p->scratch;
        int bad = p->is_short ? forward_short(p, b, h) : forward_rows(p, &packed, b, h, first, last, scratch, 0);
        if (bad && p->may_mask)
            forward_rows(p, &packed, b, h, first, last, scratch, 1);
    }
}

INLINE int64_t unit_grain(const fdl_attention_args *x, int64_t rows) {
    int64_t cost = rows * (min_i64(x->tk, 1 << 20) * (x->d + x->e) / (x->causal ? 2 : 1) + ROW_COST);
    return GRAIN / (cost + 1) + 1;
}

/* attention_fwd: out = softmax(scale q k^T + mask) v, after dropout of the softmax
 *   arguments and shapes: fdl_attention_args; saved: out and lse
 * Queries whose keys are all masked give zeros. Threads: heads and blocks of queries. */
void FDL_FN(attention_fwd)(const fdl_attention_args *args) {
    plan p;
    if (is_empty(args) || args->tq <= 0) return;
    plan_forward(&p, args);
    start(&p, args);
    int64_t units = args->b * args->h * p.units;
    fdl_parallel_for(units, unit_grain(args, p.unit_rows), forward_task, &p);
}

/* Backward ------------------------------------------------------------------------------------------------------- */

/* one query head and its chunk's dq */
typedef struct query_head {
    const real *q, *out, *dout, *lse;
    real *dq, *dmask;
    int64_t b, h, dq_step, row; /* row: number of its first query among all */
    vectors q_rows, dout_rows;
    head_mask mask;
} query_head;

typedef struct workspace {
    real *k_packed, *v_packed, *k_rows, *buffer, *p, *ds, *q, *dout, *delta;
    int64_t ld;
} workspace;

static workspace lay_out(const fdl_attention_args *x, real *scratch) {
    int64_t keys = min_i64(whole_lanes(x->tk), KEYS_BWD), queries = min_i64(x->tq, QUERIES_BWD);
    workspace w = {.ld = keys + LANES}; /* not a multiple of 4 KB in any size */
    w.k_packed = scratch;
    w.v_packed = w.k_packed + keys * x->d;
    w.p = w.v_packed + keys * x->e;
    w.ds = w.p + queries * w.ld;
    w.k_rows = w.ds + queries * w.ld;
    w.buffer = w.k_rows + keys * padded(x->d);
    w.q = w.buffer + keys;
    w.dout = w.q + x->tq * padded(x->d);
    w.delta = w.dout + x->tq * padded(x->e);
    return w;
}

/* delta[i] = sum of dout[i] * out[i] */
static void row_products(const fdl_attention_args *x, const query_head *g, real *delta) {
    for (int64_t i = 0; i < x->tq; i += VL) {
        int n = clamp_width(x->tq - i);
        vf each[VL];
        UNROLL for (int r = 0; r < VL; r++) each[r] = v_zero();
        for (int r = 0; r < n; r++) {
            const real *a = g->dout + (i + r) * x->dout_step[2], *b = g->out + (i + r) * x->out_step[2];
            vf sum[NV] = {0};
            for (int64_t j = 0; j < x->e; j += LANES)
                UNROLL for (int k = 0; k < NV; k++) {
                    int width = clamp_width(x->e - j - k * VL);
                    sum[k] = v_fma(v_load_n(a + j + k * VL, width), v_load_n(b + j + k * VL, width), sum[k]);
                }
            each[r] = joined(sum);
        }
        v_store(delta + i, v_hsum_each(each));
    }
}

/* the strip's share of the next head */
static void fetch_next_bwd(const plan *p, const query_head *g, int64_t query) {
    const fdl_attention_args *x = p->x;
    int64_t parts = ceil_div(x->tq, STRIP_BWD), part = query / STRIP_BWD, b = g->b, h = g->h + 1;
    if (h == x->h) h = 0, b++;
    if (b == x->b) return;
    int64_t hk = h / (x->h / x->hk);
    fetch_rows(x->q + offset_of(x->q_step, b, h), x->q_step[2], x->tq, x->d, part, parts);
    fetch_rows(x->k + offset_of(x->k_step, b, hk), x->k_step[2], x->tk, x->d, part, parts);
    fetch_rows(x->v + offset_of(x->v_step, b, hk), x->v_step[2], x->tk, x->e, part, parts);
    fetch_rows(x->out + offset_of(x->out_step, b, h), x->out_step[2], x->tq, x->e, part, parts);
    fetch_rows(x->dout + offset_of(x->dout_step, b, h), x->dout_step[2], x->tq, x->e, part, parts);
    fetch_rows(x->dq + offset_of(x->dq_step, b, h), x->dq_step[2], x->tq, x->d, part, parts);
    fetch_rows(x->dk + offset_of(x->dk_step, b, hk), x->dk_step[2], x->tk, x->d, part, parts);
    fetch_rows(x->dv + offset_of(x->dv_step, b, hk), x->dv_step[2], x->tk, x->e, part, parts);
}

/* softmax_grad_row for n rows of a strip, from query `from` on. inside 1: rows of LANES, calculated inline; 2: and without
 * mask, dropout and dmask */
INLINE void grad_strip(const row_grad *strip, const fdl_attention_args *x, const workspace *w, const query_head *g, real *s,
                       real *ds, int64_t n, int64_t from, int64_t limit, const int inside, int careful) {
    row_grad r = *strip;
    if (inside == 2) r.drop = 0;
    for (int64_t j = 0; j < n; j++) {
        r.p = s + j * w->ld, r.ds = ds + j * w->ld;
        r.row = g->row + from + j;
        r.limit = x->causal ? min_i64(limit, from + j + 1 - r.first) : limit;
        r.lse = g->lse[from + j], r.delta = w->delta[from + j];
        if (inside < 2) {
            if ((g->mask.keep || g->mask.add) && (j == 0 || g->mask.row))
                r.add = mask_row(&g->mask, from + j, r.first, limit, w->buffer);
            r.dmask = g->dmask ? g->dmask + (from + j) * x->tk + r.first : 0;
        }
        if (inside) softmax_grad_lanes(&r);
        else (careful ? softmax_grad_row_marked : softmax_grad_row)(&r);
    }
}

static void grad_lanes(const row_grad *r, const fdl_attention_args *x, const workspace *w, const query_head *g, real *s,
                       real *ds, int64_t n, int64_t from, int64_t limit) {
    if (r->drop || g->mask.keep || g->mask.add || g->dmask) grad_strip(r, x, w, g, s, ds, n, from, limit, 1, 0);
    else grad_strip(r, x, w, g, s, ds, n, from, limit, 2, 0);
}

/* Queries [query, query + count) and keys [first, first + keys): P and dS into w->p and w->ds, dq written or added to. */
static void block_rows(const plan *p, const workspace *w, const query_head *g, const vectors *k_packed, const vectors *v_packed,
                       const vectors *k_rows, int64_t query, int64_t count, int64_t first, int64_t keys, int accumulate,
                       int careful) {
    const fdl_attention_args *x = p->x;
    drawn words;
    words.group = -1;
    row_grad r = {.drop = x->dropout > 0 ? &p->drop : 0, .words = &words, .first = first, .scale = (real)x->scale};
    for (int64_t i = 0; i < count; i += STRIP_BWD) {
        int64_t n = min_i64(STRIP_BWD, count - i), from = query + i, limit = keys;
        if (x->causal) limit = min_i64(limit, from + n - first);
        real *s = w->p + i * w->ld, *ds = w->ds + i * w->ld;
        r.width = whole_lanes(limit);
        if (p->fetch) fetch_next_bwd(p, g, from);
        product(s, w->ld, (rows){g->q + from * x->q_step[2], x->q_step[2], 1}, k_packed, 0, n, r.width, x->d, 0);
        product(ds, w->ld, (rows){g->dout + from * x->dout_step[2], x->dout_step[2], 1}, v_packed, 0, n, r.width, x->e, 0);
        if (r.width > LANES || careful) grad_strip(&r, x, w, g, s, ds, n, from, limit, 0, careful);
        else grad_lanes(&r, x, w, g, s, ds, n, from, limit);
        (careful ? careful_product : product)(g->dq + from * g->dq_step, g->dq_step, (rows){ds, w->ld, 1}, k_rows, 0, n, x->d,
                                              limit, accumulate);
    }
}

/* field by field: a structure copied at once, soon after its parts were stored, waits for them */
INLINE void start_head(query_head *g, const plan *p, int64_t b, int64_t h, int64_t chunk) {
    const fdl_attention_args *x = p->x;
    int64_t row = (b * x->h + h) * x->tq;
    g->b = b, g->h = h, g->row = row;
    g->q = x->q + offset_of(x->q_step, b, h);
    g->out = x->out + offset_of(x->out_step, b, h);
    g->dout = x->dout + offset_of(x->dout_step, b, h);
    g->lse = x->lse + row;
    g->mask = mask_of(x, b, h);
    g->dmask = x->dmask ? x->dmask + row * x->tk : 0;
    g->dq = chunk ? p->partial + ((chunk - 1) * x->b * x->h * x->tq + row) * x->d : x->dq + offset_of(x->dq_step, b, h);
    g->dq_step = chunk ? x->d : x->dq_step[2];
}

/* A short key head and the query heads that share it. Returns whether a gradient is NaN or inf. */
static int backward_short(const plan *p, int64_t b, int64_t hk) {
    const fdl_attention_args *x = p->x;
    square k_packed, v_packed, k_rows, q_rows, dout_rows, s, ds, dq, dk, dv;
    real delta[LANES], buffer[LANES];
    const workspace w = {.ld = LANES, .delta = delta, .buffer = buffer};
    const real *k = x->k + offset_of(x->k_step, b, hk), *v = x->v + offset_of(x->v_step, b, hk);
    int64_t shared = x->h / x->hk, packed = 0, begun = 0;
    vi bad = {0};
    vectors kt = {0}, vt = kt, kr = kt;
    memset(dk, 0, x->tk * LANES * sizeof(real));
    memset(dv, 0, x->tk * LANES * sizeof(real));
    for (int64_t h = hk * shared; h < (hk + 1) * shared; h++) {
        query_head g;
        start_head(&g, p, b, h, 0);
        int64_t keys = keys_of(x, b, &g.mask);
        if (keys <= 0) {
            clear_rows(g.dq, g.dq_step, x->tq, x->d);
            continue;
        }
        if (keys > packed) {
            kt = pack_transposed(k_packed, k, x->k_step[2], keys, x->d, (real)x->scale);
            vt = pack_transposed(v_packed, v, x->v_step[2], keys, x->e, 1);
            kr = widen(k_rows, k, x->k_step[2], keys, x->d);
            packed = keys;
        }
        drawn words;
        words.group = -1;
        row_grad r = {.drop = x->dropout > 0 ? &p->drop : 0, .words = &words, .width = LANES, .scale = (real)x->scale};
        g.q_rows = widen(q_rows, g.q, x->q_step[2], x->tq, x->d);
        g.dout_rows = widen(dout_rows, g.dout, x->dout_step[2], x->tq, x->e);
        row_products(x, &g, delta);
        product(s, LANES, (rows){q_rows, LANES, 1}, &kt, 0, x->tq, LANES, x->d, 0);
        product(ds, LANES, (rows){dout_rows, LANES, 1}, &vt, 0, x->tq, LANES, x->e, 0);
        grad_lanes(&r, x, &w, &g, s, ds, x->tq, 0, keys);
        product(dq, LANES, (rows){ds, LANES, 1}, &kr, 0, x->tq, kr.columns, keys, 0);
        product(dv, LANES, (rows){s, 1, LANES}, &g.dout_rows, 0, keys, g.dout_rows.columns, x->tq, (int)begun);
        product(dk, LANES, (rows){ds, 1, LANES}, &g.q_rows, 0, keys, g.q_rows.columns, x->tq, (int)begun);
        bad = narrow(g.dq, g.dq_step, dq, x->tq, x->d, bad);
        begun = 1;
    }
    bad = narrow(x->dk + offset_of(x->dk_step, b, hk), x->dk_step[2], dk, x->tk, x->d, bad);
    bad = narrow(x->dv + offset_of(x->dv_step, b, hk), x->dv_step[2], dv, x->tk, x->e, bad);
    return is_bad(bad);
}

/* Keys [chunk_first, chunk_end) of a key head against all queries of the `query heads` that share it */
static void backward_unit(const plan *p, const workspace *w, int64_t b, int64_t hk, int64_t chunk, int64_t chunk_first,
                          int64_t chunk_end, int careful, int thread) {
    const fdl_attention_args *x = p->x;
    const real *k = x->k + offset_of(x->k_step, b, hk), *v = x->v + offset_of(x->v_step, b, hk);
    real *dk = x->dk + offset_of(x->dk_step, b, hk), *dv = x->dv + offset_of(x->dv_step, b, hk);
    int64_t shared = x->h / x->hk;
    for (int64_t member = 0; member < shared; member++) {
        query_head g;
        start_head(&g, p, b, hk * shared + member, chunk);
        int64_t keys = keys_of(x, b, &g.mask);
        if (keys <= chunk_first) clear_rows(g.dq, g.dq_step, x->tq, x->d);
        else {
            row_products(x, &g, w->delta);
            g.q_rows = pack_rows(w->q, g.q, x->q_step[2], x->tq, x->d);
            g.dout_rows = pack_rows(w->dout, g.dout, x->dout_step[2], x->tq, x->e);
            if (x->causal && chunk) clear_rows(g.dq, g.dq_step, min_i64(chunk_first, x->tq), x->d);
        }
        for (int64_t first = chunk_first; first < chunk_end; first += KEYS_BWD) {
            int64_t end = min_i64(first + KEYS_BWD, chunk_end), n = min_i64(end, keys) - first, begun = member > 0;
            real *dk_block = dk + first * x->dk_step[2], *dv_block = dv + first * x->dv_step[2];
            if (!member && n < end - first) { /* what nobody sees */
                int64_t none = max_i64(n, 0);
                clear_rows(dk_block + none * x->dk_step[2], x->dk_step[2], end - first - none, x->d);
                clear_rows(dv_block + none * x->dv_step[2], x->dv_step[2], end - first - none, x->e);
            }
            if (n <= 0) continue;
            vectors k_packed = pack_transposed(w->k_packed, k + first * x->k_step[2], x->k_step[2], n, x->d, (real)x->scale);
            vectors v_packed = pack_transposed(w->v_packed, v + first * x->v_step[2], x->v_step[2], n, x->e, 1);
            vectors k_rows = pack_rows(w->k_rows, k + first * x->k_step[2], x->k_step[2], n, x->d);
            for (int64_t query = x->causal ? first : 0; query < x->tq; query += QUERIES_BWD) {
                int64_t count = min_i64(QUERIES_BWD, x->tq - query);
                block_rows(p, w, &g, &k_packed, &v_packed, &k_rows, query, count, first, n, first > chunk_first, careful);
                int64_t step = x->causal && query == first ? STRIP_BWD : n; /* on the diagonal, keys are seen late */
                for (int64_t j = 0; j < n; j += step) {
                    int64_t width = min_i64(step, n - j), late = step < n ? j : 0;
                    rows pt = {w->p + late * w->ld + j, 1, w->ld}, dst = {w->ds + late * w->ld + j, 1, w->ld};
                    (careful ? careful_product : product)(dv_block + j * x->dv_step[2], x->dv_step[2], pt, &g.dout_rows,
                                                          query + late, width, x->e, count - late, (int)begun);
                    (careful ? careful_product : product)(dk_block + j * x->dk_step[2], x->dk_step[2], dst, &g.q_rows,
                                                          query + late, width, x->d, count - late, (int)begun);
                }
                begun = 1;
                if (fdl_stopped(thread)) return;
            }
        }
    }
}

static int any_bad(const real *x, int64_t step, int64_t n, int64_t columns) {
    vi bad = {0};
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < columns; j += VL) bad = note_bad(bad, v_load_n(x + i * step + j, clamp_width(columns - j)));
    return is_bad(bad);
}

/* whether a gradient that the unit wrote is NaN or inf */
static int unit_is_bad(const plan *p, int64_t b, int64_t hk, int64_t chunk, int64_t first, int64_t end) {
    const fdl_attention_args *x = p->x;
    int64_t shared = x->h / x->hk;
    if (any_bad(x->dk + offset_of(x->dk_step, b, hk) + first * x->dk_step[2], x->dk_step[2], end - first, x->d)) return 1;
    if (any_bad(x->dv + offset_of(x->dv_step, b, hk) + first * x->dv_step[2], x->dv_step[2], end - first, x->e)) return 1;
    for (int64_t h = hk * shared; h < (hk + 1) * shared; h++) {
        const real *dq = chunk ? p->partial + ((chunk - 1) * x->b * x->h * x->tq + (b * x->h + h) * x->tq) * x->d
                               : x->dq + offset_of(x->dq_step, b, h);
        if (any_bad(dq, chunk ? x->d : x->dq_step[2], x->tq, x->d)) return 1;
    }
    return 0;
}

static void backward_task(void *ctx, int64_t begin, int64_t end, int thread) {
    const plan *p = ctx;
    const fdl_attention_args *x = p->x;
    workspace w = lay_out(x, p->buffer + thread * p->scratch);
    int64_t blocks = ceil_div(x->tk, KEYS_BWD);
    for (int64_t unit = begin; unit < end; unit++) {
        int64_t head = unit / p->chunks, chunk = unit % p->chunks, b = head / x->hk, hk = head % x->hk;
        int64_t first = blocks * chunk / p->chunks * KEYS_BWD;
        int64_t last = min_i64(blocks * (chunk + 1) / p->chunks * KEYS_BWD, x->tk);
        int bad;
        if (p->is_short) {
            bad = backward_short(p, b, hk);
        } else {
            backward_unit(p, &w, b, hk, chunk, first, last, 0, thread);
            bad = p->may_mask && unit_is_bad(p, b, hk, chunk, first, last);
        }
        if (p->may_mask && bad) backward_unit(p, &w, b, hk, chunk, first, last, 1, thread);
    }
}

/* dq += the other chunks' parts, one after another; a unit is a row */
static void join_task(void *ctx, int64_t begin, int64_t end, int thread) {
    const plan *p = ctx;
    const fdl_attention_args *x = p->x;
    int64_t all = x->b * x->h * x->tq;
    (void)thread;
    for (int64_t row = begin; row < end; row++) {
        int64_t head = row / x->tq, i = row % x->tq;
        real *dq = x->dq + offset_of(x->dq_step, head / x->h, head % x->h) + i * x->dq_step[2];
        for (int64_t j = 0; j < x->d; j += VL) {
            int width = clamp_width(x->d - j);
            vf sum = v_load_n(dq + j, width);
            for (int64_t c = 0; c < p->chunks - 1; c++) sum += v_load_n(p->partial + (c * all + row) * x->d + j, width);
            v_store_n(dq + j, sum, width);
        }
    }
}

/* attention_bwd: with P the softmax, F the dropout's factors (1 without) and delta[i] = sum_e dout[i,e] out[i,e]
 *   dv = (P F)^T dout;  dS = P (F (dout v^T) - delta);  dq = scale dS k;  dk = scale dS^T q;  dmask = dS
 *   arguments and shapes: fdl_attention_args; P comes again from the scores and lse, F from the stream
 * Queries whose keys are all masked, and keys that nobody sees, get zeros. Threads: heads and chunks of their keys. */
void FDL_FN(attention_bwd)(const fdl_attention_args *args) {
    plan p;
    if (is_empty(args)) return;
    plan_backward(&p, args);
    start(&p, args);
    int64_t shared = args->h / args->hk;
    fdl_parallel_for(args->b * args->hk * p.chunks, unit_grain(args, 5 * shared * args->tq / (2 * p.chunks)), backward_task, &p);
    if (p.chunks > 1) fdl_parallel_for(args->b * args->h * args->tq, GRAIN / 8 / (args->d + 1) + 1, join_task, &p);
}

/* Dropout -------------------------------------------------------------------------------------------------------- */

/* attention_dropout: the factors F of the two above, for those who compose attention of single operators
 *   factor  [rows, Tk]  out    1 / (1 - p) where kept, 0 elsewhere; rows: (b * H + h) * Tq + i */
void FDL_FN(attention_dropout)(real *factor, int64_t rows, int64_t tk, double p, uint64_t seed, uint64_t stream) {
    dropping d = make_dropping(tk, p, seed, stream);
    drawn words;
    words.group = -1;
    for (int64_t row = 0; row < rows; row++)
        for (int64_t j = 0; j < tk; j += VL)
            v_store_n(factor + row * tk + j, keep_factor(&d.rule, drop_words(&d, &words, row, j)), clamp_width(tk - j));
}
