"""embedding: rows of a table by index; one_hot: rows of the unit matrix."""

cimport cython
cimport numpy as cnp
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset
from numpy cimport npy_intp

import numpy as np

from .._kernels cimport ELEM_FMAS, Scratch, fdl_table, scratch, unwatch, watch
from .._tensor cimport (Node, RowsGrad, Tensor, attach, bump, cast, contiguous, edge, empty, grad_enabled, is_fast, is_half, kernels,
                        own_array, wants, wrap)
from .common cimport GIL_ELEMS, MAX_DIMS, shape_of, to_type

cnp.import_array()


cdef Tensor indices(str op, Tensor input):
    if cnp.PyArray_TYPE(input.a) != cnp.NPY_INT64 and (<object> input.a).dtype.kind not in "iu":
        raise RuntimeError(f"[{op}] input: expected integers, got {input.dtype}")
    return contiguous(cast(input, cnp.NPY_INT64))


cdef Tensor gather_rows(Tensor weight, Tensor index):
    """weight[index]; no history."""
    cdef int typenum = cnp.PyArray_TYPE(weight.a), i, ndim = cnp.PyArray_NDIM(index.a)
    cdef npy_intp shape[MAX_DIMS + 1]
    cdef Tensor table = contiguous(weight), out
    cdef int64_t n = cnp.PyArray_SIZE(index.a), v = cnp.PyArray_DIMS(table.a)[0], d = cnp.PyArray_DIMS(table.a)[1], bad
    cdef const fdl_table *K = kernels(typenum)
    if not is_fast(typenum):
        wrong = ((<object> index.a) < 0) | ((<object> index.a) >= v)
        if wrong.any():
            raise_index("embedding", index, np.argmax(wrong), v)
        return wrap(own_array((<object> table.a)[index.a]))
    for i in range(ndim):
        shape[i] = cnp.PyArray_DIMS(index.a)[i]
    shape[ndim] = d
    out = empty(ndim + 1, shape, typenum)
    cdef void *po = cnp.PyArray_DATA(out.a)
    cdef const void *pw = cnp.PyArray_DATA(table.a)
    cdef const int64_t *pi = <const int64_t *> cnp.PyArray_DATA(index.a)
    if n * d < GIL_ELEMS:
        bad = K.embedding_fwd(po, pw, pi, n, v, d)
    else:
        watch(ELEM_FMAS * n * d)
        with nogil:
            bad = K.embedding_fwd(po, pw, pi, n, v, d)
        unwatch()
    if bad >= 0:
        raise_index("embedding", index, bad, v)
    return out


cdef int raise_index(str op, Tensor index, int64_t at, int64_t v, object error=IndexError) except -1:
    where = ", ".join([str(i) for i in np.unravel_index(at, (<object> index.a).shape)])
    raise error(f"[{op}] input[{where}]: expected an index in [0, {v}), got {(<object> index.a).reshape(-1)[at]}")


@cython.final
cdef class EmbeddingBackward0(Node):
    """dweight[r] = sum of the gradients of all outputs that are row r; of a table with more than twice as many rows as
    indices only the rows that were used. Saved: 0 the indices."""
    cdef int64_t v, padding_idx
    cdef bint by_frequency

    cdef object apply(self, Tensor g):
        cdef Tensor index = self.saved(0), source = contiguous(g), dweight
        cdef int typenum = cnp.PyArray_TYPE(source.a)
        cdef const fdl_table *K = kernels(typenum)
        cdef int64_t n = cnp.PyArray_SIZE(index.a), d = cnp.PyArray_DIMS(source.a)[cnp.PyArray_NDIM(source.a) - 1]
        cdef npy_intp shape[2]
        cdef Scratch s
        cdef EmbeddingGradBackward node
        if 0 < n <= self.v // 2 and self.v <= 1 << 31 and not self.by_frequency and not grad_enabled():
            return self.rows(index, source, n, d)
        s = scratch(K.embedding_bwd_scratch(n, self.v, d, 0))
        if self.by_frequency:
            source = wrap(own_array((<object> source.a) / frequency(index, self.v)[..., None].astype(g.a.dtype)))
        shape[0], shape[1] = self.v, d
        dweight = empty(2, shape, typenum)
        cdef void *pw = cnp.PyArray_DATA(dweight.a)
        cdef const void *pd = cnp.PyArray_DATA(source.a)
        cdef const int64_t *pi = <const int64_t *> cnp.PyArray_DATA(index.a)
        with nogil:
            K.embedding_bwd(pw, pd, pi, n, self.v, d, self.padding_idx, 0, s.data)
        if grad_enabled() and wants(g):
            node = EmbeddingGradBackward.__new__(EmbeddingGradBackward)
            node.padding_idx, node.v, node.by_frequency = self.padding_idx, self.v, self.by_frequency
            node.save(0, index)
            attach(dweight, node, (edge(g),))
        return dweight

    cdef RowsGrad rows(self, Tensor index, Tensor source, int64_t n, int64_t d):
        """The gradient of the rows that were used."""
        cdef RowsGrad out = RowsGrad.__new__(RowsGrad)
        cdef int typenum = cnp.PyArray_TYPE(source.a)
        cdef const fdl_table *K = kernels(typenum)
        cdef Scratch s = scratch((4 * n + 1) * sizeof(int64_t))
        cdef int64_t *start = <int64_t *> s.data
        cdef int64_t *position = start + n + 1
        cdef const int64_t *pi = <const int64_t *> cnp.PyArray_DATA(index.a)
        cdef npy_intp shape[2]
        cdef Tensor values
        out.row, out.height = scratch(n * sizeof(int64_t)), self.v
        cdef int64_t *row = <int64_t *> out.row.data
        cdef int64_t count
        with nogil:
            count = K.embedding_rows(row, start, position, pi, n, self.v, self.padding_idx, <uint64_t *> (position + n))
        shape[0], shape[1] = count, d
        values = empty(2, shape, typenum)
        out.a, out.storage = values.a, values.storage
        cdef void *pv = cnp.PyArray_DATA(values.a)
        cdef const void *pd = cnp.PyArray_DATA(source.a)
        with nogil:
            K.embedding_sum(pv, pd, start, position, count, d)
        return out


@cython.final
cdef class EmbeddingGradBackward(Node):
    """The gradient of the table is linear in that of the output; this is its transpose: rows again."""
    cdef int64_t v, padding_idx
    cdef bint by_frequency

    def name(self):
        return "EmbeddingDenseBackward0"

    cdef object apply(self, Tensor g):
        cdef Tensor index = self.saved(0), rows
        if grad_enabled() and wants(g):
            raise NotImplementedError("[embedding] third derivatives are not implemented")
        rows = gather_rows(g, index)
        if self.by_frequency:
            rows.a /= frequency(index, self.v)[..., None].astype(g.a.dtype)
        rows.a[(<object> index.a) == self.padding_idx] = 0
        return rows


cdef object frequency(Tensor index, int64_t v):
    """How often each index occurs among all, an array of index's shape."""
    return np.bincount((<object> index.a).reshape(-1), minlength=v)[index.a]


cdef int renormalise(Tensor weight, Tensor index, double max_norm, double norm_type) except -1:
    """Scales the rows that are used down to max_norm, in place and not recorded, as PyTorch does."""
    rows = np.unique(index.a)
    if rows.size and (rows[0] < 0 or rows[rows.size - 1] >= weight.a.shape[0]):
        return 0  # reported by the look-up
    norm = np.linalg.norm((<object> weight.a)[rows].astype(np.float64), norm_type, axis=1)
    long = norm > max_norm
    weight.a[rows[long]] *= (max_norm / (norm[long] + 1e-7))[:, None].astype(weight.a.dtype)
    bump(weight, "embedding")
    return 0


def embedding(Tensor input, Tensor weight, padding_idx=None, max_norm=None, double norm_type=2.0,
              bint scale_grad_by_freq=False, bint sparse=False):
    """Rows of a table: out[..] = weight[input[..]].

    Args:
        input: indices.
        weight: the table.
        padding_idx: a row that receives no gradient; negative ones count from the end.
        max_norm: rows that are used are first scaled down, in place, to at most this norm of order norm_type.
        scale_grad_by_freq: divide the gradient of a row by how often the row occurs in input.
        sparse: accepted. A gradient is kept as the rows that were used, whatever is said here, until it is looked at or
            added to; the optimizers take it as it is, with the results of the whole one.
    Shape:
        input (..), weight (V, D) -> (.., D).
    Raises:
        IndexError: an index outside [0, V). ValueError: padding_idx outside [-V, V).
        RuntimeError: weight is not a matrix, input is not of integers.
    Source: torch.nn.functional.embedding.
    """
    cdef Tensor index, out
    cdef EmbeddingBackward0 node
    cdef int64_t v, padding = -1
    if cnp.PyArray_NDIM(weight.a) != 2:
        raise (RuntimeError if cnp.PyArray_NDIM(weight.a) else IndexError)(
            f"[embedding] weight: expected shape (V, D), got {shape_of(weight)}")
    index = indices("embedding", input)
    if not is_fast(cnp.PyArray_TYPE(weight.a)):
        if is_half(cnp.PyArray_TYPE(weight.a)) and max_norm is None:
            return to_type(embedding(input, to_type(weight, cnp.NPY_FLOAT32), padding_idx, None, norm_type,
                                     scale_grad_by_freq, sparse), cnp.PyArray_TYPE(weight.a))
        if max_norm is not None:
            raise RuntimeError(f"[embedding] max_norm: expected a floating-point weight, got {weight.dtype}")
    v = cnp.PyArray_DIMS(weight.a)[0]
    if padding_idx is not None:
        padding = padding_idx
        if not -v <= padding < v:
            raise ValueError(f"[embedding] padding_idx: expected a row in [{-v}, {v}), got {padding}")
        padding += v if padding < 0 else 0
    if max_norm is not None:
        renormalise(weight, index, max_norm, norm_type)
    out = gather_rows(weight, index)
    if grad_enabled() and wants(weight):
        node = EmbeddingBackward0.__new__(EmbeddingBackward0)
        node.v, node.padding_idx, node.by_frequency = v, padding, scale_grad_by_freq
        node.save(0, index)
        attach(out, node, (edge(weight),))
    return out


def one_hot(Tensor tensor, int64_t num_classes=-1):
    """out[.., c] = 1 where c is the index, else 0, as int64.

    Args:
        tensor: indices.
        num_classes: size of the new dimension; -1: largest index + 1.
    Shape:
        (..) -> (.., num_classes).
    Raises:
        RuntimeError: not integers; an index is negative or >= num_classes; num_classes < -1, or unknown for no indices.
    """
    if (<object> tensor.a).dtype.kind not in "iu":
        raise RuntimeError(f"[one_hot] input: expected integers, got {tensor.dtype}")
    cdef Tensor index = indices("one_hot", tensor)
    cdef const int64_t *number = <const int64_t *> cnp.PyArray_DATA(index.a)
    cdef int64_t n = cnp.PyArray_SIZE(index.a), classes = max(num_classes, 0), i
    cdef npy_intp shape[2]
    cdef Tensor out
    cdef int64_t *hot
    if num_classes < -1 or num_classes == 0 and n or num_classes == -1 and n == 0:
        raise RuntimeError(f"[one_hot] num_classes: expected the number of classes, or -1 to take it from the indices, "
                           f"got {num_classes} for {n} indices")
    if num_classes == -1:
        for i in range(n):
            classes = max(classes, number[i] + 1)
    shape[0], shape[1] = n, classes
    out = empty(2, shape, cnp.NPY_INT64)
    hot = <int64_t *> cnp.PyArray_DATA(out.a)
    memset(hot, 0, n * classes * sizeof(int64_t))
    for i in range(n):
        if number[i] < 0 or number[i] >= classes:
            raise_index("one_hot", index, i, classes, RuntimeError)
        hot[i * classes + number[i]] = 1
    out.a = (<object> out.a).reshape((<object> index.a).shape + (classes,))
    return out
