"""linear_cross_entropy: the last layer of a classifier and its loss, without ever holding all logits.

Rows are done in chunks: logits by a matrix product, loss and their gradient in place of them, then the gradients of the
input's chunk, of the weight and of the bias. Rows that do not count are left out before. Where the gradient of each row
is not known in the forward pass (reduction "none"), the backward pass goes through the chunks again.
"""

cimport cython
cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset
from numpy cimport npy_intp

from .._kernels cimport (FDL_MUL, FDL_REDUCTION_MEAN, FDL_REDUCTION_NONE, FDL_SUM, Scratch,
                         fdl_matmul_args, fdl_table, scratch, unwatch, watch)
from .._tensor cimport (Node, Tensor, attach, contiguous, edge, empty, empty_like, grad_enabled, is_fast, kernels,
                        wants)
from .common cimport shape_of
from .loss cimport bad_class, class_indices, class_weights, reduction_code, scale_rows
from .matmul cimport linear_
from .loss import cross_entropy

cnp.import_array()

cdef enum:
    CHUNK_BYTES = 8 << 20   # of logits: a few times the cache of one core, so that they are never far away
    CHUNK_ROWS = 384        # at least: each chunk reads the weight twice and its gradient once, for 3 products per row


# Operands, contiguous, and what follows from the target: the rows that count.
@cython.final
cdef class Problem:
    cdef Tensor x, w, b, t, class_weight
    cdef int typenum
    cdef int64_t n, v, d, chunk         # rows, classes, features, rows per chunk
    cdef int64_t count                  # rows that count
    cdef int64_t ignore_index
    cdef double total                   # of their weights
    cdef double label_smoothing
    cdef Scratch rows, classes          # of those that count: positions and targets; None: all count

    cdef int64_t item(self):
        return 8 if self.typenum == cnp.NPY_FLOAT64 else 4


cdef int find_rows(Problem p, Tensor target) except -1:
    """The rows that count. IndexError for a target that is no class."""
    cdef const int64_t *t = <const int64_t *> cnp.PyArray_DATA(p.t.a)
    cdef const double *w64 = NULL
    cdef const float *w32 = NULL
    cdef int64_t *rows
    cdef int64_t *classes
    cdef int64_t i, k = 0, bad = -1
    if p.class_weight is not None:
        if p.typenum == cnp.NPY_FLOAT64:
            w64 = <const double *> cnp.PyArray_DATA(p.class_weight.a)
        else:
            w32 = <const float *> cnp.PyArray_DATA(p.class_weight.a)
    p.rows, p.classes = scratch((p.n + 1) * sizeof(int64_t)), scratch((p.n + 1) * sizeof(int64_t))
    rows, classes = <int64_t *> p.rows.data, <int64_t *> p.classes.data
    for i in range(p.n):
        if t[i] == p.ignore_index:
            continue
        if t[i] < 0 or t[i] >= p.v:
            bad_class("linear_cross_entropy", target, i, p.v)
        p.total += w64[t[i]] if w64 != NULL else w32[t[i]] if w32 != NULL else 1
        rows[k], classes[k] = i, t[i]
        k += 1
    p.count = k
    return 0


cdef fdl_matmul_args product(void *c, const void *a, bint trans_a, const void *b, bint trans_b, int64_t m, int64_t n,
                             int64_t k, bint accumulate) noexcept:
    """c [m, n] (+)= op(a) [m, k] op(b) [k, n], all contiguous"""
    cdef fdl_matmul_args args
    memset(&args, 0, sizeof(args))
    args.c, args.a, args.b = c, a, b
    args.m, args.n, args.k, args.lda, args.ldb, args.ldc = m, n, k, m if trans_a else k, k if trans_b else n, n
    args.trans_a, args.trans_b, args.accumulate, args.batch = trans_a, trans_b, accumulate, 1
    return args


cdef int multiply(const fdl_table *K, fdl_matmul_args *args) except -1:
    cdef Scratch work = scratch(K.matmul_scratch(args))
    args.scratch = work.data
    watch(<double> args.m * args.n * args.k)
    with nogil:
        K.matmul(args)
    unwatch()
    return 0


cdef int run(Problem p, void *loss, Tensor dx, Tensor dw, Tensor db, double grad_scale, const void *row_scale) except -1:
    """Goes through the chunks. loss: of each row that counts. dx, dw, db: gradients, None where not wanted, of the sum
    of all losses times grad_scale, each times its row's number in row_scale (of all rows; NULL: ones)."""
    cdef const fdl_table *K = kernels(p.typenum)
    cdef int64_t item = p.item(), first, rows, i, kept = p.count, size = min(p.chunk, max(p.count, 1))
    cdef bint all_rows = p.count == p.n, grads = dx is not None or dw is not None or db is not None
    cdef Scratch logits = scratch(size * p.v * item), loss_work = scratch(K.cross_entropy_scratch(size, p.v, 1))
    cdef Scratch x_chunk = scratch(0 if all_rows else size * p.d * item)
    cdef Scratch factors = scratch(size * item if row_scale != NULL else 0)
    cdef Scratch db_chunk = scratch(p.v * item if db is not None else 0)
    cdef Scratch db_work = scratch(K.reduce_scratch(FDL_SUM, 1, size, p.v) if db is not None else 0)
    cdef const int64_t *positions = <const int64_t *> p.rows.data
    cdef const int64_t *classes = <const int64_t *> p.classes.data
    cdef const char *x = <const char *> cnp.PyArray_DATA(p.x.a)
    cdef const void *w = cnp.PyArray_DATA(p.w.a)
    cdef const void *class_weight = NULL if p.class_weight is None else cnp.PyArray_DATA(p.class_weight.a)
    cdef char *pdx = NULL if dx is None else <char *> cnp.PyArray_DATA(dx.a)
    cdef void *pdb = NULL if db is None else cnp.PyArray_DATA(db.a)
    cdef fdl_matmul_args args
    cdef const char *rows_x
    cdef char *out
    cdef int64_t shape[2]
    cdef int64_t whole[2]
    cdef int64_t each[2]
    if dx is not None and not all_rows:
        memset(pdx, 0, p.n * p.d * item)
    if kept == 0:
        if dw is not None:
            memset(cnp.PyArray_DATA(dw.a), 0, p.v * p.d * item)
        if db is not None:
            memset(pdb, 0, p.v * item)
    first = 0
    while first < kept:
        PyErr_CheckSignals()
        rows = min(size, kept - first)
        rows_x = x + first * p.d * item
        if not all_rows:
            with nogil:
                K.embedding_fwd(x_chunk.data, x, positions + first, rows, p.n, p.d)
            rows_x = <const char *> x_chunk.data
        args = product(logits.data, rows_x, False, w, True, rows, p.v, p.d, False)
        args.bias = NULL if p.b is None else cnp.PyArray_DATA(p.b.a)
        multiply(K, &args)
        watch(32.0 * rows * p.v)
        with nogil:
            K.cross_entropy(<char *> loss + first * item, logits.data if grads else NULL, logits.data, classes + first,
                            class_weight, -1, p.label_smoothing, FDL_REDUCTION_NONE, grad_scale, rows, p.v, 1,
                            loss_work.data)
        unwatch()
        if row_scale != NULL:
            for i in range(rows):
                memcpy(<char *> factors.data + i * item, <const char *> row_scale + positions[first + i] * item, item)
            shape[0], shape[1], whole[0], whole[1], each[0], each[1] = rows, p.v, p.v, 1, 1, 0
            with nogil:
                K.binary(FDL_MUL, logits.data, whole, logits.data, whole, factors.data, each, shape, 2, 1)
        if dw is not None:
            args = product(cnp.PyArray_DATA(dw.a), logits.data, True, rows_x, False, p.v, p.d, rows, first > 0)
            multiply(K, &args)
        if db is not None:
            with nogil:
                K.reduce(FDL_SUM, pdb if first == 0 else db_chunk.data, logits.data, 1, rows, p.v, db_work.data)
                if first > 0:
                    K.axpy(pdb, db_chunk.data, 1, p.v)
        if dx is not None:  # last: it may overwrite the rows of x
            out = pdx + first * p.d * item if all_rows else <char *> x_chunk.data
            args = product(out, logits.data, False, w, False, rows, p.d, p.v, False)
            multiply(K, &args)
            for i in range(0 if all_rows else rows):
                memcpy(pdx + positions[first + i] * p.d * item, out + i * p.d * item, p.d * item)
        first += rows
    return 0


# Gradients of the reduced loss, ready since the forward pass. Saved: 0 input's, 1 weight's, 2 bias'.
@cython.final
cdef class LinearCrossEntropyBackward0(Node):
    cdef object apply(self, Tensor g):
        cdef list out = []
        cdef Tensor d
        cdef int i
        if grad_enabled():
            raise NotImplementedError("create_graph=True through linear_cross_entropy is not implemented; "
                                      "cross_entropy(linear(..), ..) has higher derivatives")
        for i in range(3):
            d = self.saved(i)
            out.append(None if d is None else scale_rows(d, g, False))
        return tuple(out)


# Gradients of each row's own loss: the chunks once more. Saved: 0 input, 1 weight, 2 bias.
@cython.final
cdef class LinearCrossEntropyRowsBackward0(Node):
    cdef Problem problem

    cdef object apply(self, Tensor g):
        cdef Problem p = self.problem
        cdef Tensor dx, dw, db
        cdef Scratch loss = scratch(p.count * p.item())
        if grad_enabled():
            raise NotImplementedError("create_graph=True through linear_cross_entropy is not implemented; "
                                      "cross_entropy(linear(..), ..) has higher derivatives")
        for i in range(3):
            self.saved(i)  # still what they were
        dx, dw, db = gradients(p, self.edges)
        g = contiguous(g)
        run(p, loss.data, dx, dw, db, 1, cnp.PyArray_DATA(g.a))
        return dx, dw, db


cdef tuple gradients(Problem p, tuple edges):
    """Memory for the gradients that are wanted."""
    return (None if edges[0] is None else empty_like(p.x, p.typenum),
            None if edges[1] is None else empty_like(p.w, p.typenum),
            None if edges[2] is None else empty_like(p.b, p.typenum))


cdef Tensor chunked(Tensor input, Tensor linear_weight, Tensor target, Tensor bias, Tensor weight, int reduction,
                    int64_t ignore_index, double label_smoothing, int64_t chunk):
    cdef Problem p = Problem()
    cdef Tensor loss, rows_loss, dx = None, dw = None, db = None
    cdef bint record = grad_enabled() and (wants(input) or wants(linear_weight) or bias is not None and wants(bias))
    cdef const fdl_table *K
    cdef tuple edges
    cdef LinearCrossEntropyBackward0 node
    cdef LinearCrossEntropyRowsBackward0 rows_node
    cdef double scale = 1
    cdef int64_t i, item
    cdef Scratch row_loss, work
    cdef const int64_t *positions
    p.typenum = cnp.PyArray_TYPE(input.a)
    p.x, p.w, p.b = contiguous(input), contiguous(linear_weight), None if bias is None else contiguous(bias)
    p.v, p.d = cnp.PyArray_DIMS(linear_weight.a)[0], cnp.PyArray_DIMS(linear_weight.a)[1]
    p.t = class_indices("linear_cross_entropy", target)
    p.n, p.ignore_index, p.label_smoothing = cnp.PyArray_SIZE(p.t.a), ignore_index, label_smoothing
    p.class_weight = class_weights("linear_cross_entropy", weight, p.typenum, p.v)
    item = p.item()
    p.chunk = chunk if chunk > 0 else max(CHUNK_ROWS, CHUNK_BYTES // (p.v * item))
    find_rows(p, target)
    K = kernels(p.typenum)
    edges = (edge(input), edge(linear_weight), None if bias is None else edge(bias)) if record else (None, None, None)
    row_loss = scratch(p.count * item)
    if reduction != FDL_REDUCTION_NONE and record:
        dx, dw, db = gradients(p, edges)
    if reduction == FDL_REDUCTION_MEAN and p.count:
        scale = 1 / p.total
    run(p, row_loss.data, dx, dw, db, scale, NULL)
    if reduction == FDL_REDUCTION_NONE:
        loss = empty_like(p.t, p.typenum)
        memset(cnp.PyArray_DATA(loss.a), 0, p.n * item)
        positions = <const int64_t *> p.rows.data
        for i in range(p.count):
            memcpy(<char *> cnp.PyArray_DATA(loss.a) + positions[i] * item, <char *> row_loss.data + i * item, item)
    else:
        loss = empty(0, NULL, p.typenum)
        work = scratch(K.reduce_scratch(FDL_SUM, 1, p.count, 1))
        K.reduce(FDL_SUM, cnp.PyArray_DATA(loss.a), row_loss.data, 1, p.count, 1, work.data)
        if reduction == FDL_REDUCTION_MEAN:
            (<object> loss.a)[...] = (<object> loss.a)[()] / p.total if p.count else float("nan")
    if not record:
        return loss
    if reduction == FDL_REDUCTION_NONE:
        rows_node = LinearCrossEntropyRowsBackward0.__new__(LinearCrossEntropyRowsBackward0)
        rows_node.problem = p
        rows_node.save(0, input)
        rows_node.save(1, linear_weight)
        if bias is not None:
            rows_node.save(2, bias)
        return attach(loss, rows_node, edges)
    node = LinearCrossEntropyBackward0.__new__(LinearCrossEntropyBackward0)
    if dx is not None:
        node.save(0, dx)
    if dw is not None:
        node.save(1, dw)
    if db is not None:
        node.save(2, db)
    return attach(loss, node, edges)


def linear_cross_entropy(Tensor input, Tensor linear_weight, Tensor target, *, Tensor linear_bias=None,
                         Tensor weight=None, reduction="mean", ignore_index=None, double label_smoothing=0.0,
                         options=None):
    r"""cross_entropy(linear(input, linear_weight, linear_bias), target, ..) in chunks of rows: the logits are never in
    memory as a whole, rows with ignore_index cost nothing.

    The gradients are computed in the forward pass (for reduction "none", whose upstream gradient is one number per row,
    in the backward pass, from the logits computed again). Beside them it takes the logits of one chunk of rows, about
    8 MB or 384 rows.

    Args:
        input: features.
        linear_weight, linear_bias: of the layer that makes the scores.
        target: class indices, or probabilities of the classes (done without chunks).
        weight, reduction, label_smoothing: as in cross_entropy.
        ignore_index: rows with this target do not count; None: -100.
        options: nn.LinearCrossEntropyOptions, of which batch_chunk_size is followed.
    Shape:
        input (D) or (N, D), linear_weight (C, D) or (C, d.., D), target () or (N) or (N, d..)
        -> () or target's shape for "none".
    Raises:
        IndexError, ValueError, RuntimeError: as cross_entropy; sizes or types that do not fit.
        NotImplementedError: create_graph=True in chunks.
    Source: torch.nn.functional.linear_cross_entropy; Hsu et al., arXiv:2410.10989 (gradients in the forward pass).
    """
    cdef int code = reduction_code("linear_cross_entropy", reduction, None, None), ndim = cnp.PyArray_NDIM(input.a)
    cdef int64_t chunk = 0
    cdef tuple shape = shape_of(linear_weight), expected
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"[linear_cross_entropy] label_smoothing: expected a number in [0, 1], got {label_smoothing}")
    if ndim not in (1, 2):
        raise RuntimeError(f"[linear_cross_entropy] input: expected shape (D) or (N, D), got {shape_of(input)}")
    if len(shape) < 2 or shape[len(shape) - 1] != cnp.PyArray_DIMS(input.a)[ndim - 1]:
        raise RuntimeError(f"[linear_cross_entropy] linear_weight: expected {shape_of(input)[ndim - 1]} columns as "
                           f"input {shape_of(input)}, got shape {shape}")
    if linear_bias is not None and shape_of(linear_bias) != shape[:len(shape) - 1]:
        raise RuntimeError(f"[linear_cross_entropy] linear_bias: expected shape {shape[:len(shape) - 1]}, got "
                           f"{shape_of(linear_bias)}")
    for other in (linear_weight, linear_bias):
        if other is not None and other.dtype is not input.dtype:
            raise RuntimeError(f"[linear_cross_entropy] expected all operands to have the same dtype, but got "
                               f"{input.dtype} and {other.dtype}")
    if options is not None and options.batch_chunk_size is not None:
        chunk = options.batch_chunk_size
        if chunk < 1:
            raise ValueError(f"[linear_cross_entropy] batch_chunk_size: expected rows >= 1, got {chunk}")
    if len(shape) > 2 or (<object> target.a).dtype.kind == "f" or not is_fast(cnp.PyArray_TYPE(input.a)):
        rows = linear_(input, linear_weight.reshape(-1, shape[len(shape) - 1]),
                       None if linear_bias is None else linear_bias.reshape(-1))
        rows = rows.reshape(shape_of(input)[:ndim - 1] + shape[:len(shape) - 1])
        return cross_entropy(rows, target, weight, None, -100 if ignore_index is None else ignore_index, None, reduction,
                             label_smoothing)
    expected = shape_of(input)[:ndim - 1]
    if shape_of(target) != expected:
        same_rows = shape_of(target)[:1] == expected
        raise (RuntimeError if same_rows else ValueError)(
            f"[linear_cross_entropy] target: expected one class per row of input {shape_of(input)}, that "
                         f"is shape {expected}, got {shape_of(target)}")
    if shape[0] == 0:
        raise ValueError(f"[linear_cross_entropy] linear_weight: expected at least one class, got shape {shape}")
    return chunked(input, linear_weight, target, linear_bias, weight, code, -100 if ignore_index is None else ignore_index,
                   label_smoothing, chunk)
