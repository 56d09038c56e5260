"""Scores of additive attention, without the array of all pairs of queries and keys."""

cimport cython
cimport numpy as cnp
from libc.stdint cimport int64_t
from numpy cimport npy_intp

from .._kernels cimport FDL_ADD, FDL_MUL, FDL_SUB, FDL_SQUARE, FDL_TANH, Scratch, fdl_table, scratch, unwatch, watch
from .._tensor cimport Node, Tensor, attach, contiguous, edge, empty, empty_like, grad_enabled, is_fast, kernels, wants
from .common cimport shape_of, sum_to
from .elementwise cimport binary, unary

cnp.import_array()


@cython.final
cdef class AdditiveScoreBackward0(Node):
    """With t = tanh(q + k): dq = sum over the keys of g w (1 - t^2), dk the same over the queries, dw = sum of g t.
    Saved: 0 q, 1 k, 2 w"""
    cdef object apply(self, Tensor g):
        cdef Tensor q = self.saved(0), k = self.saved(1), w = self.saved(2), dq, dk, dw
        if grad_enabled():
            return self.formula(g, q, k, w)
        q, k, w, g = contiguous(q), contiguous(k), contiguous(w), contiguous(g)
        cdef int typenum = cnp.PyArray_TYPE(q.a)
        cdef const fdl_table *K = kernels(typenum)
        cdef int64_t b = cnp.PyArray_DIMS(q.a)[0], tq = cnp.PyArray_DIMS(q.a)[1], tk = cnp.PyArray_DIMS(k.a)[1]
        cdef int64_t h = cnp.PyArray_DIMS(q.a)[2]
        cdef Scratch s = scratch(K.additive_score_scratch(b, h))
        dq, dk, dw = empty_like(q, typenum), empty_like(k, typenum), empty_like(w, typenum)
        cdef void *pdq = cnp.PyArray_DATA(dq.a)
        cdef void *pdk = cnp.PyArray_DATA(dk.a)
        cdef void *pdw = cnp.PyArray_DATA(dw.a)
        cdef void *pg = cnp.PyArray_DATA(g.a)
        cdef void *pq = cnp.PyArray_DATA(q.a)
        cdef void *pk = cnp.PyArray_DATA(k.a)
        cdef void *pw = cnp.PyArray_DATA(w.a)
        watch(<double> 16 * b * tq * tk * h)  # tanh
        with nogil:
            K.additive_score_bwd(pdq, pdk, pdw, pg, pq, pk, pw, b, tq, tk, h, s.data)
        unwatch()
        return dq, dk, dw

    cdef object formula(self, Tensor g, Tensor q, Tensor k, Tensor w):
        """The same of recorded operators."""
        cdef Tensor t = unary(FDL_TANH, binary(FDL_ADD, q.unsqueeze(2), k.unsqueeze(1), 1), 0, 0)
        g = g.unsqueeze(3)
        cdef Tensor slope = binary(FDL_MUL, binary(FDL_MUL, g, w, 1), binary(FDL_SUB, 1, unary(FDL_SQUARE, t, 0, 0), 1), 1)
        return slope.sum(2), slope.sum(1), sum_to(binary(FDL_MUL, g, t, 1), shape_of(w))


def additive_attention_score(Tensor query, Tensor key, Tensor weight):
    r"""score[b, i, j] = sum over h of weight[h] tanh(query[b, i, h] + key[b, j, h]).

    The scores of additive (Bahdanau) attention from queries and keys that have been projected to the hidden size
    already. tanh is never stored: memory is that of inputs and output, the backward pass takes it again.

    Shape:
        query (B, Tq, H), key (B, Tk, H), weight (H,) -> (B, Tq, Tk).
    Raises:
        ValueError: shapes do not fit.  TypeError: not all of one floating-point type, float32 or float64.
    Source: our own; equals tanh(query.unsqueeze(2) + key.unsqueeze(1)) @ weight.
    """
    cdef npy_intp dims[3]
    cdef Tensor q, k, w, out
    cdef AdditiveScoreBackward0 node
    if (cnp.PyArray_NDIM(query.a) != 3 or cnp.PyArray_NDIM(key.a) != 3 or cnp.PyArray_NDIM(weight.a) != 1
            or cnp.PyArray_DIMS(query.a)[0] != cnp.PyArray_DIMS(key.a)[0]
            or cnp.PyArray_DIMS(query.a)[2] != cnp.PyArray_DIMS(key.a)[2]
            or cnp.PyArray_DIMS(query.a)[2] != cnp.PyArray_DIMS(weight.a)[0]):
        raise ValueError(f"[additive_attention_score] expected query (B, Tq, H), key (B, Tk, H) and weight (H,), got "
                         f"{shape_of(query)}, {shape_of(key)} and {shape_of(weight)}")
    cdef int typenum = cnp.PyArray_TYPE(query.a)
    if not is_fast(typenum) or cnp.PyArray_TYPE(key.a) != typenum or cnp.PyArray_TYPE(weight.a) != typenum:
        raise TypeError(f"[additive_attention_score] expected tensors of one type, float32 or float64, got "
                        f"{query.dtype}, {key.dtype} and {weight.dtype}")
    q, k, w = contiguous(query), contiguous(key), contiguous(weight)
    dims[0], dims[1], dims[2] = cnp.PyArray_DIMS(q.a)[0], cnp.PyArray_DIMS(q.a)[1], cnp.PyArray_DIMS(k.a)[1]
    out = empty(3, dims, typenum)
    cdef const fdl_table *K = kernels(typenum)
    cdef int64_t h = cnp.PyArray_DIMS(q.a)[2]
    cdef void *po = cnp.PyArray_DATA(out.a)
    cdef void *pq = cnp.PyArray_DATA(q.a)
    cdef void *pk = cnp.PyArray_DATA(k.a)
    cdef void *pw = cnp.PyArray_DATA(w.a)
    watch(<double> 16 * dims[0] * dims[1] * dims[2] * h)
    with nogil:
        K.additive_score_fwd(po, pq, pk, pw, dims[0], dims[1], dims[2], h)
    unwatch()
    if grad_enabled() and (wants(query) or wants(key) or wants(weight)):
        node = AdditiveScoreBackward0.__new__(AdditiveScoreBackward0)
        node.save(0, query)
        node.save(1, key)
        node.save(2, weight)
        attach(out, node, (edge(query), edge(key), edge(weight)))
    return out
