"""Scaled dot-product attention: softmax(scale Q K^T + mask) V as one operator, and for one packed projection.

No matrix of all queries by all keys is stored: the kernel keeps one number per query and computes the rest again for the
gradients. Second derivatives are composed of recorded operators, which do store such matrices.
"""

cimport cython
cimport numpy as cnp
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcpy, memset
from numpy cimport ndarray, npy_intp

import numpy as np

from .random import next_stream
from .shape import repeat_interleave, stack

from .._kernels cimport Scratch, fdl_attention_args, fdl_table, scratch, unwatch, watch
from .._tensor cimport (Node, Tensor, attach, cast_copy, contiguous, edge, empty, grad_enabled, is_fast, is_half, kernels, wants, wrap)
from .common cimport MAX_DIMS, expand_to, shape_of, strided, strides_for, sum_to, to_type
from .matmul cimport matmul_

cnp.import_array()

cdef enum:
    GIL_PRODUCTS = 1 << 14      # multiply-adds from which the kernels run without the GIL: a few us


# Operands ---------------------------------------------------------------------------------------------------------

cdef bint steps_of(ndarray a, bint heads, int64_t *step) noexcept:
    """Fills step with the strides of batch, head and row of a[.., T, D], in elements; False if the layout needs a copy.
    heads: whether there is a dimension of heads."""
    cdef int n = cnp.PyArray_NDIM(a), last = n - 3, i
    cdef npy_intp *dims = cnp.PyArray_DIMS(a)
    cdef npy_intp *strides = cnp.PyArray_STRIDES(a)
    cdef int64_t item = cnp.PyArray_ITEMSIZE(a)
    if not cnp.PyArray_ISBEHAVED_RO(a) or (strides[n - 1] != item and dims[n - 1] > 1):
        return False
    step[0] = step[1] = 0
    step[2] = strides[n - 2] // item
    if heads:
        step[1] = strides[last] // item
        last -= 1
    if last >= 0:
        step[0] = strides[last] // item
        for i in range(last):  # batch dimensions are walked as one
            if dims[i] != 1 and strides[i] != strides[i + 1] * dims[i + 1]:
                return False
    return True


cdef Tensor prepared(Tensor x, bint heads, int64_t *step):
    """x or a contiguous copy; fills step."""
    if not steps_of(x.a, heads, step):
        x = cast_copy(x, cnp.PyArray_TYPE(x.a))
        steps_of(x.a, heads, step)
    return x


cdef Tensor new_rows(tuple lead, int64_t t, int64_t d, bint inside, int typenum):
    """A new tensor [.., H, T, D]; `inside`: its memory is laid out [.., T, H, D]."""
    cdef npy_intp shape[MAX_DIMS]
    cdef npy_intp strides[MAX_DIMS]
    cdef int n = <int> len(lead), i
    cdef Tensor out
    cdef npy_intp *own
    for i in range(n):
        shape[i] = lead[i]
    shape[n], shape[n + 1] = t, d
    if not inside:
        return empty(n + 2, shape, typenum)
    shape[n - 1], shape[n] = t, lead[n - 1]
    out = empty(n + 2, shape, typenum)
    own = cnp.PyArray_STRIDES(out.a)
    for i in range(n + 2):
        strides[i] = own[i]
    shape[n - 1], shape[n] = shape[n], shape[n - 1]
    strides[n - 1], strides[n] = strides[n], strides[n - 1]
    return wrap(strided(out.a, n + 2, shape, strides))


cdef Tensor usable_mask(Tensor mask, tuple shape, bint heads, int64_t *step):
    """The mask, or a copy that it takes one batch stride to walk; fills step: batch, head, query, key."""
    cdef int64_t strides[MAX_DIMS]
    cdef int n = <int> len(shape), last, i
    if cnp.PyArray_ISBEHAVED_RO(mask.a):
        last = n - (4 if heads else 3)
        strides_for(mask.a, n, strides)
        step[2], step[3] = strides[n - 2], strides[n - 1]
        step[1] = strides[n - 3] if heads else 0
        step[0] = strides[last] if last >= 0 else 0
        for i in range(last):
            if shape[i] != 1 and strides[i] != strides[i + 1] * <int64_t> shape[i + 1]:
                break
        else:
            return mask
    return usable_mask(wrap(np.ascontiguousarray(np.broadcast_to(mask.a, shape))), shape, heads, step)


cdef int run(fdl_attention_args *args, int typenum, bint backward) except -1:
    if args.b * args.h * (args.tq + args.tk) * (args.d + args.e) == 0:  # nothing to write, even if there are 2^40 heads
        return 0
    cdef const fdl_table *K = kernels(typenum)
    cdef Scratch work = scratch(K.attention_scratch(args, backward))
    args.scratch = work.data
    if args.b * args.h * args.tq * args.tk * (args.d + args.e) < GIL_PRODUCTS:
        if backward:
            K.attention_bwd(args)
        else:
            K.attention_fwd(args)
    else:
        watch(<double> args.b * args.h * args.tq * args.tk * (args.d + args.e))
        with nogil:
            if backward:
                K.attention_bwd(args)
            else:
                K.attention_fwd(args)
        unwatch()
    return 0


# The node ---------------------------------------------------------------------------------------------------------

@cython.final
cdef class ScaledDotProductAttentionBackward0(Node):
    """out = (P F) v, P = softmax(scale q k^T + mask), F the dropout's factors:
    dv = (P F)^T g;  dS = P (F (g v^T) - sum(g out));  dq = scale dS k;  dk = scale dS^T q;  dmask = dS"""
    cdef fdl_attention_args args    # sizes, strides and flags of the call; pointers are set anew
    cdef Tensor lse, mask           # mask: as the kernel reads it
    cdef Tensor learned             # the mask with its history, where it requires grad
    cdef tuple mask_shape
    cdef Py_ssize_t mask_version
    cdef ndarray lengths
    cdef tuple lead                 # leading dimensions of q
    cdef bint heads, packed         # packed: saved 0 is [B, T, 3, H, D] ([T, B, ..]), not 0 q, 1 k, 2 v; saved 3: out
    cdef bint batch_first

    cdef void free(self):
        self.lse = self.mask = self.learned = None
        Node.free(self)

    cdef int use_mask(self) except -1:
        if self.mask is None:
            return 0
        if self.mask.storage.version != self.mask_version:
            raise RuntimeError("one of the variables needed for gradient computation has been modified by an inplace "
                               f"operation: the mask of shape {tuple(self.mask.shape)} of {self.name()}")
        self.point_to_mask()
        return 0

    cdef void point_to_mask(self) noexcept:
        if cnp.PyArray_TYPE(self.mask.a) == cnp.NPY_BOOL:
            self.args.keep = <const uint8_t *> cnp.PyArray_DATA(self.mask.a)
        else:
            self.args.add = cnp.PyArray_DATA(self.mask.a)

    cdef Tensor forward(self, Tensor out, bint record):
        """Runs the kernel into `out`; inputs are set."""
        cdef npy_intp count = self.args.b * self.args.h * self.args.tq
        cdef int typenum = cnp.PyArray_TYPE(out.a)
        if self.mask is not None:
            self.point_to_mask()
        if self.lengths is not None:
            self.args.lengths = <const int64_t *> cnp.PyArray_DATA(self.lengths)
        if record:
            self.lse = empty(1, &count, typenum)
            self.args.lse = cnp.PyArray_DATA(self.lse.a)
        self.args.out = cnp.PyArray_DATA(out.a)
        run(&self.args, typenum, False)
        return out

    cdef object apply(self, Tensor g):
        cdef Tensor q = self.saved(0), k, v, out = self.saved(3), dq, dk, dv, dmask = None
        cdef int typenum = cnp.PyArray_TYPE(q.a)
        cdef fdl_attention_args *args = &self.args
        cdef tuple lead_k
        cdef int64_t part
        self.use_mask()
        if grad_enabled():
            return self.composed(g)
        args.out, args.lse = cnp.PyArray_DATA(out.a), cnp.PyArray_DATA(self.lse.a)
        if self.packed:
            g, q = contiguous(g), contiguous(q)
            packed_steps(args, args.dout_step, args.h * args.e, self.batch_first)
            args.dout = cnp.PyArray_DATA(g.a)
            dq = empty(3, cnp.PyArray_DIMS(q.a), typenum)
            part = args.h * args.d * cnp.PyArray_ITEMSIZE(q.a)
            self.point_to_packed(q)
            args.dq = cnp.PyArray_DATA(dq.a)
            args.dk, args.dv = <char *> args.dq + part, <char *> args.dq + 2 * part
            packed_steps(args, args.dq_step, 3 * args.h * args.d, self.batch_first)
            memcpy(args.dk_step, args.dq_step, sizeof(args.dq_step))
            memcpy(args.dv_step, args.dq_step, sizeof(args.dq_step))
            run(args, typenum, True)
            return dq
        k, v = self.saved(1), self.saved(2)
        lead_k = shape_of(k)[:-2]
        q, k, v = (prepared(q, self.heads, args.q_step), prepared(k, self.heads, args.k_step),
                   prepared(v, self.heads, args.v_step))
        g = prepared(g, self.heads, args.dout_step)
        # each gradient is laid out as its input
        dq = new_rows(self.lead, args.tq, args.d, args.q_step[1] < args.q_step[2] and self.heads, typenum)
        dk = new_rows(lead_k, args.tk, args.d, args.k_step[1] < args.k_step[2] and self.heads, typenum)
        dv = new_rows(lead_k, args.tk, args.e, args.v_step[1] < args.v_step[2] and self.heads, typenum)
        steps_of(dq.a, self.heads, args.dq_step)
        steps_of(dk.a, self.heads, args.dk_step)
        steps_of(dv.a, self.heads, args.dv_step)
        args.q, args.k, args.v = cnp.PyArray_DATA(q.a), cnp.PyArray_DATA(k.a), cnp.PyArray_DATA(v.a)
        args.dq, args.dk, args.dv = cnp.PyArray_DATA(dq.a), cnp.PyArray_DATA(dk.a), cnp.PyArray_DATA(dv.a)
        args.dout, args.dmask = cnp.PyArray_DATA(g.a), NULL
        if len(self.edges) > 3 and self.edges[3] is not None:
            dmask = self.new_mask_gradient(typenum)
            args.dmask = cnp.PyArray_DATA(dmask.a)
        run(args, typenum, True)
        if len(self.edges) == 3:
            return dq, dk, dv
        return dq, dk, dv, None if dmask is None else sum_to(dmask, self.mask_shape)

    cdef void point_to_packed(self, Tensor qkv) noexcept:
        cdef int64_t part = self.args.h * self.args.d * cnp.PyArray_ITEMSIZE(qkv.a)
        self.args.q = cnp.PyArray_DATA(qkv.a)
        self.args.k, self.args.v = <char *> self.args.q + part, <char *> self.args.q + 2 * part

    cdef Tensor new_mask_gradient(self, int typenum):
        cdef npy_intp shape[MAX_DIMS]
        cdef int n = <int> len(self.lead), i
        cdef Tensor x
        for i in range(n):
            shape[i] = self.lead[i]
        shape[n], shape[n + 1] = self.args.tq, self.args.tk
        x = empty(n + 2, shape, typenum)
        memset(cnp.PyArray_DATA(x.a), 0, cnp.PyArray_NBYTES(x.a))
        return x

    # second derivatives

    cdef ndarray seen(self):
        """Which keys each query sees, as bools [.., H, Tq, Tk]."""
        tq, tk = self.args.tq, self.args.tk
        allowed = np.ones((*self.lead, tq, tk), bool)
        if self.args.causal:
            allowed &= np.tri(tq, tk, dtype=bool)
        if self.mask is not None:
            allowed &= self.mask.a if self.args.keep != NULL else self.mask.a != -np.inf
        if self.lengths is not None:
            within = np.arange(tk) < np.asarray(self.lengths)[:, None]
            allowed &= within.reshape(*self.lead[:-1], *[1] * self.heads, 1, tk) if self.heads else within[:, None]
        return allowed

    cdef object composed(self, Tensor g):
        q, k, v, mask = self.saved(0), self.saved(1), self.saved(2), None
        args, lead = &self.args, self.lead
        scale, shared = args.scale, args.h // args.hk
        if self.packed:
            if not self.batch_first:
                q, g = q.transpose(0, 1), g.transpose(0, 1)
            qkv = q.unflatten(-1, (3, args.h, args.d)).permute(2, 0, 3, 1, 4)
            q, k, v = qkv[0], qkv[1], qkv[2]
            g = g.unflatten(-1, (args.h, args.d)).transpose(1, 2)
        if shared > 1:
            k, v = repeat_interleave(k, shared, -3), repeat_interleave(v, shared, -3)
        seen = self.seen()
        allowed = wrap(seen)
        s = matmul_(q, k.mT) * scale
        if args.add != NULL:
            mask = self.mask if self.learned is None else self.learned
            s = s + mask.where(wrap((<Tensor> mask).a != -np.inf), mask.new_zeros(()))
        s = s.where(allowed, s.new_zeros(()))
        top = np.where(seen, (<Tensor> s).a, -np.inf).max(-1, keepdims=True, initial=-np.inf)
        top = np.where(top == -np.inf, 0, top).astype((<Tensor> s).a.dtype)
        e = (s - wrap(top)).exp() * wrap(seen.astype(top.dtype))
        p = e / (e.sum(-1, keepdim=True) + wrap((~seen.any(-1, keepdims=True)).astype(top.dtype)))
        f = self.factors(top.dtype)
        kept = p if f is None else p * f
        dp = matmul_(g, v.mT)
        dp = dp if f is None else dp * f
        ds = p * (dp - (dp * p).sum(-1, keepdim=True))
        dq, dk, dv = matmul_(ds, k) * scale, matmul_(ds.mT, q) * scale, matmul_(kept.mT, g)
        if self.packed:
            dqkv = stack([dq, dk, dv]).permute(1, 3, 0, 2, 4).flatten(2)
            return dqkv if self.batch_first else dqkv.transpose(0, 1)
        if shared > 1:
            dk, dv = dk.unflatten(-3, (args.hk, shared)).sum(-3), dv.unflatten(-3, (args.hk, shared)).sum(-3)
        if len(self.edges) == 3:
            return dq, dk, dv
        return dq, dk, dv, sum_to(ds, self.mask_shape) if self.edges[3] is not None else None

    cdef Tensor factors(self, object dtype):
        """The dropout's factors, [.., H, Tq, Tk]."""
        cdef Tensor out
        cdef const fdl_table *K
        cdef fdl_attention_args *args = &self.args
        if args.dropout == 0:
            return None
        out = self.new_mask_gradient(dtype.num)
        K = kernels(dtype.num)
        K.attention_dropout(cnp.PyArray_DATA(out.a), args.b * args.h * args.tq, args.tk, args.dropout, args.seed, args.stream)
        return out


cdef void packed_steps(fdl_attention_args *args, int64_t *step, int64_t row, bint batch_first) noexcept:
    """Strides of a part of [B, T, .., H, D] or [T, B, .., H, D], `row` elements for each batch entry and time."""
    step[0] = args.tq * row if batch_first else row
    step[1] = args.d
    step[2] = row if batch_first else args.b * row


cdef ScaledDotProductAttentionBackward0 new_node(double dropout, bint causal, double scale):
    cdef ScaledDotProductAttentionBackward0 node
    node = ScaledDotProductAttentionBackward0.__new__(ScaledDotProductAttentionBackward0)
    memset(&node.args, 0, sizeof(node.args))
    node.args.causal, node.args.scale = causal, scale
    if dropout:
        if not 0 <= dropout <= 1:
            raise RuntimeError(f"dropout probability has to be between 0 and 1, but got {dropout}")
        node.args.dropout = dropout
        node.args.seed, node.args.stream = next_stream()
    return node


cdef ndarray checked_lengths(str op, object lengths, int64_t b, int64_t tk):
    source = lengths.numpy() if isinstance(lengths, Tensor) else np.asarray(lengths)
    if source.dtype.kind not in "iu" or source.size != b:
        raise ValueError(f"[{op}] lengths: expected {b} whole numbers, one per batch entry, got shape {source.shape} of "
                         f"{source.dtype}")
    if source.size and not (source.min() >= 0 and source.max() <= tk):
        raise ValueError(f"[{op}] lengths: expected numbers in [0, {tk}], got {source.tolist()}")
    return np.array(source, np.int64).reshape(-1)


cdef Tensor take_mask(ScaledDotProductAttentionBackward0 node, str op, Tensor mask, tuple shape, int typenum):
    """Sets the node's mask; returns it in its final type, recorded."""
    cdef tuple own = shape_of(mask)
    cdef int kind = cnp.PyArray_TYPE(mask.a), lead = <int> (len(shape) - len(own)), i
    if kind != cnp.NPY_BOOL and kind != typenum and not is_fast(kind) and not is_half(kind):
        raise RuntimeError("[scaled_dot_product_attention] Expected attn_mask dtype to be bool or float or to match query dtype, but got "
                           f"attn_mask.dtype: {mask.dtype}")
    for i in range(len(own)):
        if lead < 0 or own[i] not in (1, shape[lead + i]):
            raise RuntimeError(f"[{op}] attn_mask: expected a shape that can be broadcast to {shape}, got {own}")
    if kind != cnp.NPY_BOOL:
        mask = to_type(mask, typenum)
    node.mask = usable_mask(mask, shape, node.heads, node.args.mask_step)
    node.mask_version, node.mask_shape = node.mask.storage.version, own
    return mask


cdef tuple spread(Tensor query, Tensor key, Tensor value, bint shared):
    """The three with equal leading dimensions; with `shared`, the last of them (heads) may be larger for the query."""
    cdef tuple sq = shape_of(query), sk = shape_of(key), sv = shape_of(value)
    cdef int keep = 3 if shared else 2
    if shared:
        if len(sq) < 3 or len(sk) < 3 or len(sv) < 3:
            raise RuntimeError(f"[scaled_dot_product_attention] enable_gqa: expected a dimension of heads, got query {sq}, "
                               f"key {sk} and value {sv}")
        if not sk[-3] or sk[-3] != sv[-3] or sq[-3] % sk[-3]:
            raise RuntimeError("[scaled_dot_product_attention] Number of heads in key and value must divide the number of "
                               f"heads in query, got {sq[-3]}, {sk[-3]} and {sv[-3]}")
    try:
        lead = np.broadcast_shapes(sq[:-keep], sk[:-keep], sv[:-keep])
    except ValueError:
        raise RuntimeError(f"[scaled_dot_product_attention] the leading dimensions of query {sq}, key {sk} and value {sv} "
                           "cannot be broadcast together") from None
    return (expand_to(query, lead + sq[len(sq) - keep:]), expand_to(key, lead + sk[len(sk) - keep:]),
            expand_to(value, lead + sv[len(sv) - keep:]))


cdef Tensor attend(Tensor query, Tensor key, Tensor value, Tensor mask, double dropout_p, bint is_causal, object scale,
                   bint enable_gqa, object lengths):
    cdef int typenum = cnp.PyArray_TYPE(query.a), n = cnp.PyArray_NDIM(query.a), i
    cdef tuple sq = shape_of(query), sk = shape_of(key), sv = shape_of(value), edges
    cdef ScaledDotProductAttentionBackward0 node
    cdef fdl_attention_args *args
    cdef Tensor q, k, v, out
    cdef bint record
    if cnp.PyArray_TYPE(key.a) != typenum or cnp.PyArray_TYPE(value.a) != typenum:
        raise RuntimeError("Expected query, key, and value to have the same dtype, but got query.dtype: "
                           f"{query.dtype} key.dtype: {key.dtype} and value.dtype: {value.dtype} instead.")
    if n < 2 or cnp.PyArray_NDIM(key.a) < 2 or cnp.PyArray_NDIM(value.a) < 2:
        raise RuntimeError("Expected query, key, and value to all be  at least 2 dimensional, but got query.dim: "
                           f"{n}, key.dim: {cnp.PyArray_NDIM(key.a)} and value.dim: {cnp.PyArray_NDIM(value.a)} instead.")
    if not is_fast(typenum):
        if not is_half(typenum):
            raise RuntimeError(f"[scaled_dot_product_attention] expected floating-point tensors, got {query.dtype}")
        out = attend(to_type(query, cnp.NPY_FLOAT32), to_type(key, cnp.NPY_FLOAT32), to_type(value, cnp.NPY_FLOAT32), mask,
                     dropout_p, is_causal, scale, enable_gqa, lengths)
        return to_type(out, typenum)
    if sq[-1] != sk[-1] or sk[-2] != sv[-2]:
        raise RuntimeError("[scaled_dot_product_attention] expected query and key of the same last size, and as many "
                           f"values as keys, got query {sq}, key {sk} and value {sv}")
    if sq[:-2] != sk[:-2] or sk[:-2] != sv[:-2]:
        query, key, value = spread(query, key, value, enable_gqa)
        sq, sk, sv = shape_of(query), shape_of(key), shape_of(value)
        n = <int> len(sq)
    node = new_node(dropout_p, is_causal, (float(sq[-1]) ** -0.5 if sq[-1] else 1.0) if scale is None else scale)
    args = &node.args
    node.lead, node.heads = sq[:-2], n >= 4 or (enable_gqa and n == 3)
    args.tq, args.tk, args.d, args.e, args.b, args.h, args.hk = sq[-2], sk[-2], sq[-1], sv[-1], 1, 1, 1
    if node.heads:
        args.h, args.hk = sq[n - 3], sk[n - 3]
    for i in range(n - 2 - node.heads):
        args.b *= <int64_t> sq[i]
    if lengths is not None:
        node.lengths = checked_lengths("scaled_dot_product_attention", lengths, args.b, args.tk)
    if mask is not None:
        mask = take_mask(node, "scaled_dot_product_attention", mask, sq[:-1] + (sk[-2],), typenum)
    q, k = prepared(query, node.heads, args.q_step), prepared(key, node.heads, args.k_step)
    v = prepared(value, node.heads, args.v_step)
    out = new_rows(node.lead, args.tq, args.e, node.heads, typenum)
    steps_of(out.a, node.heads, args.out_step)
    args.q, args.k, args.v = cnp.PyArray_DATA(q.a), cnp.PyArray_DATA(k.a), cnp.PyArray_DATA(v.a)
    record = grad_enabled() and (wants(query) or wants(key) or wants(value) or (mask is not None and wants(mask)))
    node.forward(out, record)
    if record:
        edges = (edge(query), edge(key), edge(value))
        node.save(0, query)
        node.save(1, key)
        node.save(2, value)
        node.save_output(3, out)
        if mask is not None and wants(mask):
            node.learned, edges = mask, edges + (edge(mask),)
        attach(out, node, edges)
    return out


# Python's names ---------------------------------------------------------------------------------------------------

def scaled_dot_product_attention(Tensor query, Tensor key, Tensor value, Tensor attn_mask=None, double dropout_p=0.0,
                                 bint is_causal=False, scale=None, bint enable_gqa=False, lengths=None):
    r"""softmax(scale * query key^T + mask) value, without storing the matrix of scores.

    The result lies in memory as (.., T, H, E): `out.transpose(1, 2).flatten(2)` is a view. Each gradient lies as its input.

    Args:
        attn_mask: bools, False: this query does not see this key; or numbers that are added to the scores, -inf like
            False. Any shape that can be broadcast to (.., H, Tq, Tk).
        dropout_p: probability with which a weight becomes 0 (the others are divided by 1 - dropout_p); also outside
            training: the caller decides.
        is_causal: query i sees the keys 0 .. i only; not together with attn_mask.
        scale: default 1 / sqrt(D).
        enable_gqa: key and value may have fewer heads (dimension -3), each shared by equally many query heads in turn.
        lengths: for each batch entry how many keys there are; those behind take no part and no time.
    Shape:
        query (.., H, Tq, D), key (.., H, Tk, D), value (.., H, Tk, E) -> (.., H, Tq, E); leading dimensions are
        broadcast. A query that sees no key gives zeros.
    Raises:
        RuntimeError: shapes or types that do not fit together.  ValueError: lengths outside [0, Tk].
    Source: torch.nn.functional.scaled_dot_product_attention.
    """
    if attn_mask is not None and is_causal:
        raise RuntimeError("_scaled_dot_product_attention: Explicit attn_mask should not be set when is_causal=True")
    return attend(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa, lengths)


def masked_attention(Tensor query, Tensor key, Tensor value, Tensor attn_mask=None, double dropout_p=0.0,
                     bint is_causal=False):
    """scaled_dot_product_attention where attn_mask and is_causal may come together: what is masked by either is masked."""
    return attend(query, key, value, attn_mask, dropout_p, is_causal, None, False, None)


cdef Tensor rows_attention(Tensor qkv, int64_t heads, bint is_causal, object scale, object lengths):
    """packed_attention of rows without padding."""
    cdef int typenum = cnp.PyArray_TYPE(qkv.a)
    if is_half(typenum):
        return to_type(rows_attention(to_type(qkv, cnp.NPY_FLOAT32), heads, is_causal, scale, lengths), typenum)
    cdef npy_intp dims[2]
    cdef npy_intp rows = cnp.PyArray_DIMS(qkv.a)[0], width = cnp.PyArray_DIMS(qkv.a)[1]
    cdef ScaledDotProductAttentionBackward0 node
    cdef fdl_attention_args *args
    cdef ndarray starts
    cdef Tensor x, out
    if heads < 1 or width % (3 * heads) or not is_fast(typenum):
        raise RuntimeError(f"[packed_attention] qkv: expected floats of shape (rows, 3 * {heads} * D), got {qkv.dtype} of "
                           f"shape {shape_of(qkv)}")
    source = lengths.numpy() if isinstance(lengths, Tensor) else np.asarray(lengths)
    d = width // (3 * heads)
    node = new_node(0, is_causal, (float(d) ** -0.5 if d else 1.0) if scale is None else scale)
    args = &node.args
    node.lengths = checked_lengths("packed_attention", lengths, source.size, rows)
    starts = np.cumsum(node.lengths) - node.lengths
    if node.lengths.sum() != rows:
        raise ValueError(f"[packed_attention] lengths: expected {rows} rows in all, as qkv has, got {node.lengths.tolist()}")
    args.b, args.h, args.hk, args.d, args.e = source.size, heads, heads, d, d
    args.tq = args.tk = node.lengths.max() if args.b else 0
    args.starts = <const int64_t *> cnp.PyArray_DATA(starts)
    packed_steps(args, args.q_step, width, True)
    memcpy(args.k_step, args.q_step, sizeof(args.q_step))
    memcpy(args.v_step, args.q_step, sizeof(args.q_step))
    x = contiguous(qkv)
    node.point_to_packed(x)
    dims[0], dims[1] = rows, heads * d
    out = empty(2, dims, typenum)
    packed_steps(args, args.out_step, heads * args.d, True)
    return node.forward(out, False)


def packed_attention(Tensor qkv, int64_t num_heads, Tensor attn_mask=None, double dropout_p=0.0, bint is_causal=False,
                     scale=None, lengths=None, bint batch_first=True):
    """Self-attention on one projection that holds query, key and value side by side; its gradient is one tensor, too.

    Arguments as scaled_dot_product_attention; attn_mask and is_causal may come together. Two dimensions: the rows of
    all sequences one after another, `lengths` of them each, without padding; no mask, no dropout and no gradient then.
    Shape:
        qkv (B, T, 3 * H * D) -> (B, T, H * D); not batch_first: (T, B, 3 * H * D) -> (T, B, H * D);
        (sum of lengths, 3 * H * D) -> (sum of lengths, H * D)
    Raises:
        RuntimeError: shapes or types that do not fit together.  ValueError: lengths that do not fit.
    """
    if cnp.PyArray_NDIM(qkv.a) == 2:
        if attn_mask is not None or dropout_p or (grad_enabled() and wants(qkv)):
            raise RuntimeError("[packed_attention] qkv: expected 3 dimensions for a mask, dropout or gradients, got shape "
                               f"{shape_of(qkv)}")
        return rows_attention(qkv, num_heads, is_causal, scale, lengths)
    cdef int typenum = cnp.PyArray_TYPE(qkv.a)
    if is_half(typenum):
        return to_type(packed_attention(to_type(qkv, cnp.NPY_FLOAT32), num_heads, attn_mask, dropout_p, is_causal, scale,
                                        lengths, batch_first), typenum)
    cdef tuple shape = shape_of(qkv)
    cdef ScaledDotProductAttentionBackward0 node
    cdef fdl_attention_args *args
    cdef Tensor x, out, mask = attn_mask
    cdef npy_intp dims[3]
    cdef bint record
    if len(shape) != 3 or num_heads < 1 or shape[2] % (3 * num_heads) or not is_fast(typenum):
        raise RuntimeError(f"[packed_attention] qkv: expected floats of shape (B, T, 3 * {num_heads} * D), got {qkv.dtype} "
                           f"of shape {shape}")
    d = shape[2] // (3 * num_heads)
    node = new_node(dropout_p, is_causal, (float(d) ** -0.5 if d else 1.0) if scale is None else scale)
    args = &node.args
    b, t = shape[:2] if batch_first else (shape[1], shape[0])
    node.packed, node.batch_first, node.heads, node.lead = True, batch_first, True, (b, num_heads)
    args.b, args.h, args.hk, args.tq, args.tk, args.d, args.e = b, num_heads, num_heads, t, t, d, d
    if lengths is not None:
        node.lengths = checked_lengths("packed_attention", lengths, args.b, args.tk)
    if mask is not None:
        mask = take_mask(node, "packed_attention", mask, (b, num_heads, t, t), typenum)
        if wants(mask) and grad_enabled():
            raise RuntimeError("[packed_attention] attn_mask: expected a mask that does not require grad")
    packed_steps(args, args.q_step, 3 * num_heads * args.d, batch_first)
    memcpy(args.k_step, args.q_step, sizeof(args.q_step))
    memcpy(args.v_step, args.q_step, sizeof(args.q_step))
    x = contiguous(qkv)
    node.point_to_packed(x)
    dims[0], dims[1], dims[2] = shape[0], shape[1], num_heads * d
    out = empty(3, dims, typenum)
    packed_steps(args, args.out_step, num_heads * args.d, batch_first)
    record = grad_enabled() and wants(qkv)
    node.forward(out, record)
    if record:
        node.save(0, qkv)
        node.save_output(3, out)
        attach(out, node, (edge(qkv),))
    return out
