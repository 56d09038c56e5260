"""Matrix products: matmul and its special cases, linear; forward and backward."""

cimport cython
cimport numpy as cnp
from libc.stdint cimport int64_t
from libc.string cimport memset
from numpy cimport ndarray, npy_intp

import numpy as np

from .._kernels cimport (FDL_ACT_GELU, FDL_ACT_GELU_TANH, FDL_ACT_RELU, FDL_ACT_SIGMOID, FDL_ACT_TANH,
                         FDL_GELU, FDL_GELU_TANH, FDL_RELU, FDL_SIGMOID, FDL_TANH, Scratch, Storage, fdl_matmul_args,
                         fdl_table, scratch, unwatch, watch)
from .._tensor cimport (Node, Tensor, attach, contiguous, edge, empty, empty_like, grad_enabled, is_fast, is_half, kernels,
                        operators, own_array, register_all, wants, wrap)
from .common cimport MAX_DIMS, category, expand_to, same_shape, shape_of, sum_to, to_type
from .elementwise cimport unary
from .interruptible import interruptible

from .common import expand

cnp.import_array()

cdef enum:
    GIL_PRODUCTS = 1 << 18      # multiply-adds from which a product runs without the GIL: about 2 us


# Operands ---------------------------------------------------------------------------------------------------------

cdef struct Matrices:
    # a matrix or a stack of them, as the kernel takes it: rows of `ld` elements, stored transposed or not
    void *data
    int64_t rows, cols, ld
    bint trans
    int batch_dims
    int64_t batch[MAX_DIMS]
    int64_t stride[MAX_DIMS]    # elements


cdef bint describe(Tensor x, bint trans, Matrices *m) noexcept:
    """Fills m from x's strides; False if the layout needs a copy first."""
    cdef int n = cnp.PyArray_NDIM(x.a), i
    cdef npy_intp *dims = cnp.PyArray_DIMS(x.a)
    cdef npy_intp *strides = cnp.PyArray_STRIDES(x.a)
    cdef int64_t item = cnp.PyArray_ITEMSIZE(x.a), row = strides[n - 2] // item, col = strides[n - 1] // item
    m.data, m.rows, m.cols, m.trans, m.batch_dims = cnp.PyArray_DATA(x.a), dims[n - 2], dims[n - 1], False, n - 2
    if cnp.PyArray_SIZE(x.a) == 0:  # its strides mean nothing
        m.ld = max(m.cols, 1)
    elif (col == 1 or m.cols <= 1) and (row >= m.cols or m.rows <= 1):
        m.ld = row if m.rows > 1 else max(m.cols, 1)
    elif (row == 1 or m.rows <= 1) and (col >= m.rows or m.cols <= 1):
        m.ld, m.trans = (col if m.cols > 1 else max(m.rows, 1)), True
    else:
        return False
    if trans:
        m.rows, m.cols, m.trans = m.cols, m.rows, not m.trans
    for i in range(n - 2):
        m.batch[i] = dims[i]
        m.stride[i] = strides[i] // item
    return True


cdef struct Extras:
    # what a product may do besides, as in fdl_matmul_args; all 0: nothing
    int activation
    void *pre
    void *row_sums
    void *residual
    bint keep           # b is a weight: keep its packed form for the next product with the same values


cdef Tensor product(Tensor a, bint trans_a, Tensor b, bint trans_b, Tensor bias):
    """a b (+ bias over the columns) for stacks of matrices whose sizes fit, broadcast over the stack. Not recorded.

    trans_a, trans_b: the transpose of the last two dimensions instead.
    """
    return product_with(a, trans_a, b, trans_b, bias, NULL)


cdef Tensor product_with(Tensor a, bint trans_a, Tensor b, bint trans_b, Tensor bias, Extras *extras):
    cdef int typenum = cnp.PyArray_TYPE(a.a), dims = 0, i, j, k
    cdef const fdl_table *K = kernels(typenum)
    cdef Matrices x
    cdef Matrices y
    cdef fdl_matmul_args args
    cdef npy_intp shape[MAX_DIMS]
    cdef int64_t sx[MAX_DIMS]
    cdef int64_t sy[MAX_DIMS]
    cdef int64_t at[MAX_DIMS]
    cdef int64_t count = 1, item = cnp.PyArray_ITEMSIZE(a.a), step, size
    cdef Scratch work = None, packed = None
    cdef Tensor out
    if not describe(a, trans_a, &x):
        a = contiguous(a)
        describe(a, trans_a, &x)
    if not describe(b, trans_b, &y):
        b = contiguous(b)
        describe(b, trans_b, &y)
    dims = max(x.batch_dims, y.batch_dims)
    for i in range(dims):
        j, k = i - dims + x.batch_dims, i - dims + y.batch_dims
        shape[i] = x.batch[j] if j >= 0 and x.batch[j] != 1 else y.batch[k] if k >= 0 else 1
        sx[i] = x.stride[j] if j >= 0 and x.batch[j] != 1 else 0
        sy[i] = y.stride[k] if k >= 0 and y.batch[k] != 1 else 0
        at[i] = 0
    shape[dims], shape[dims + 1] = x.rows, y.cols
    out = empty(dims + 2, shape, typenum)
    memset(&args, 0, sizeof(args))
    args.c, args.a, args.b = cnp.PyArray_DATA(out.a), x.data, y.data
    args.bias = NULL if bias is None else cnp.PyArray_DATA(bias.a)
    args.m, args.n, args.k, args.lda, args.ldb, args.ldc = x.rows, y.cols, x.cols, x.ld, y.ld, max(y.cols, 1)
    args.trans_a, args.trans_b = x.trans, y.trans
    args.batch, args.stride_a, args.stride_b, args.stride_c = 1, 0, 0, x.rows * y.cols
    # the kernel walks one batch dimension: join those that step evenly, loop over the others
    while (dims > 1 and sx[dims - 2] == sx[dims - 1] * shape[dims - 1]
           and sy[dims - 2] == sy[dims - 1] * shape[dims - 1]):
        shape[dims - 2] *= shape[dims - 1]
        sx[dims - 2], sy[dims - 2] = sx[dims - 1], sy[dims - 1]
        dims -= 1
    if dims:
        args.batch, args.stride_a, args.stride_b = shape[dims - 1], sx[dims - 1], sy[dims - 1]
        for i in range(dims - 1):
            count *= shape[i]
    if extras != NULL:
        args.activation, args.pre, args.row_sums = extras.activation, extras.pre, extras.row_sums
        args.residual = extras.residual
        if extras.keep and not b.storage.exposed:
            packed = packed_weight(K, b.storage, &args)
            if packed is not None:
                args.packed_b = packed.data
    step = args.batch * args.stride_c
    size = K.matmul_scratch(&args)
    if size:
        work = scratch(size)
        args.scratch = work.data
    if args.m * args.n * args.k * args.batch < GIL_PRODUCTS and count == 1:
        K.matmul(&args)
        return out
    watch(<double> args.m * args.n * args.k * args.batch * count)
    with nogil:
        while count > 0:
            K.matmul(&args)
            count -= 1
            args.c = <char *> args.c + step * item
            for i in range(dims - 2, -1, -1):
                at[i] += 1
                args.a = <const char *> args.a + sx[i] * item
                args.b = <const char *> args.b + sy[i] * item
                if at[i] < shape[i]:
                    break
                at[i] = 0
                args.a = <const char *> args.a - sx[i] * shape[i] * item
                args.b = <const char *> args.b - sy[i] * shape[i] * item
    unwatch()
    return out


# Packed weights ---------------------------------------------------------------------------------------------------

@cython.final
cdef class PackedWeight:
    """The packed form of a weight, kept on its Storage: freed with it, of no use after any in-place write."""


cdef PackedWeight kept_weight(const fdl_table *K, Storage storage, const void *b, int64_t n, int64_t k, int64_t ldb):
    """What `storage` keeps for the weight b in it; None at the first call with the same values."""
    cdef PackedWeight kept = storage.derived
    if (kept is None or kept.version != storage.version or kept.b != b or kept.K != K or kept.n != n or kept.k != k
            or kept.ldb != ldb):
        kept = PackedWeight.__new__(PackedWeight)
        kept.b, kept.K, kept.version, kept.n, kept.k, kept.ldb = b, K, storage.version, n, k, ldb
        storage.derived = kept
        return None
    return kept


cdef Scratch packed_weight(const fdl_table *K, Storage storage, fdl_matmul_args *args):
    """The packed form of args.b, which lies in `storage`; None where there is none."""
    cdef int64_t size = K.matmul_packed_size(args)
    cdef PackedWeight kept
    cdef Scratch form
    if size == 0:
        return None
    kept = kept_weight(K, storage, args.b, args.n, args.k, args.ldb)
    if kept is None:
        return None
    if kept.form is None:
        form = scratch(size)
        with nogil:
            K.matmul_pack(args, form.data)
        kept.form = form  # whole: other threads may see it from here on
    return kept.form


cdef int same_type(str op, Tensor a, Tensor b) except -1:
    if cnp.PyArray_TYPE(a.a) != cnp.PyArray_TYPE(b.a):
        raise RuntimeError(f"[{op}] expected both operands to have the same dtype, but got {a.dtype} and {b.dtype}")
    return 0


# matmul -----------------------------------------------------------------------------------------------------------

@cython.final
cdef class MatmulBackward0(Node):
    """out = a b:  da = g b^T,  db = a^T g, summed where a or b was broadcast"""
    cdef str title
    cdef tuple shape_a, shape_b  # None: not broadcast

    def name(self):
        return self.title

    cdef object apply(self, Tensor g):
        cdef Tensor a = self.saved(0), b = self.saved(1), da = None, db = None
        cdef bint record = grad_enabled()
        if self.edges[0] is not None:
            da = sum_to(matmul_(g, b.mT) if record else product(g, False, b, True, None), self.shape_a)
        if self.edges[1] is not None:
            db = sum_to(matmul_(a.mT, g) if record else product(a, True, g, False, None), self.shape_b)
        return da, db


cdef Tensor stacked(Tensor a, Tensor b, str title):
    """a b for operands of at least two dimensions, recorded."""
    cdef Tensor out = product(a, False, b, False, None)
    cdef MatmulBackward0 node
    if grad_enabled() and (wants(a) or wants(b)):
        node = MatmulBackward0.__new__(MatmulBackward0)
        node.title = title
        if wants(b):
            node.save(0, a)
        if wants(a):
            node.save(1, b)
        if cnp.PyArray_NDIM(out.a) > 2:
            node.shape_a, node.shape_b = shape_of(a), shape_of(b)
        attach(out, node, (edge(a), edge(b)))
    return out


cdef int same_inner(str op, Tensor a, Tensor b) except -1:
    cdef int nb = cnp.PyArray_NDIM(b.a)
    cdef npy_intp columns = cnp.PyArray_DIMS(a.a)[cnp.PyArray_NDIM(a.a) - 1]
    cdef npy_intp rows = cnp.PyArray_DIMS(b.a)[nb - 2 if nb > 1 else 0]
    if columns != rows:
        raise RuntimeError(f"[{op}] shapes {shape_of(a)} and {shape_of(b)} cannot be multiplied: the first has {columns} "
                           f"columns, the second {rows} rows")
    return 0


cdef Tensor matmul_(Tensor a, Tensor b):
    cdef int na = cnp.PyArray_NDIM(a.a), nb = cnp.PyArray_NDIM(b.a), i
    cdef tuple sa, sb
    cdef Tensor out
    same_type("matmul", a, b)
    if na == 0 or nb == 0:
        raise RuntimeError(f"[matmul] both operands need at least one dimension, got shapes {shape_of(a)} and "
                           f"{shape_of(b)}")
    same_inner("matmul", a, b)
    if is_half(cnp.PyArray_TYPE(a.a)) or (not is_fast(cnp.PyArray_TYPE(a.a)) and
                                          (cnp.PyArray_SIZE(a.a) == 0 or cnp.PyArray_SIZE(b.a) == 0)):
        return to_type(matmul_(to_type(a, cnp.NPY_FLOAT32), to_type(b, cnp.NPY_FLOAT32)), cnp.PyArray_TYPE(a.a))
    if not is_fast(cnp.PyArray_TYPE(a.a)):
        # 64 products take about as long as one element to sort
        size = cnp.PyArray_SIZE(a.a) * (cnp.PyArray_DIMS(b.a)[nb - 1] if nb > 1 else 1) // 64
        return wrap(own_array(interruptible(size, np.matmul, a.a, b.a)))
    if na == 2 and nb == 2:
        return stacked(a, b, "MmBackward0")
    sa, sb = shape_of(a), shape_of(b)
    if na == 1:
        out = matmul_(a.unsqueeze(0), b if nb > 1 else b.unsqueeze(1))
        return out.squeeze(-2) if nb > 1 else out.reshape(())
    if nb == 1:
        return matmul_(a, b.unsqueeze(1)).squeeze(-1)
    if nb == 2:  # the same matrix for the whole stack: one product with many rows
        rows = 1
        for i in range(na - 1):
            rows *= sa[i]
        return stacked(a.reshape(rows, sa[na - 1]), b, "MmBackward0").reshape(sa[:na - 1] + sb[1:])
    for i in range(1, min(na, nb) - 1):
        if sa[na - 2 - i] != sb[nb - 2 - i] and sa[na - 2 - i] != 1 and sb[nb - 2 - i] != 1:
            raise RuntimeError(f"[matmul] the leading dimensions of {sa} and {sb} cannot be broadcast together: "
                               f"{sa[na - 2 - i]} and {sb[nb - 2 - i]} differ")
    return stacked(a, b, "BmmBackward0")


# linear -----------------------------------------------------------------------------------------------------------

@cython.final
cdef class AddmmBackward0(Node):
    """out = x W^T + b:  dx = g W,  dW = g^T x,  db = g summed over rows"""
    cdef object apply(self, Tensor g):
        return linear_grads(g, self.saved(0), self.saved(1), self.edges)


cdef object linear_grads(Tensor g, Tensor x, Tensor weight, tuple edges):
    """Gradients of x W^T (+ b) for those of (x, W, b) that have an edge; recorded when recording is on."""
    cdef Tensor dx = None, dw = None, db = None
    cdef bint has_bias = len(edges) > 2
    cdef Extras extras
    if grad_enabled():
        if edges[0] is not None:
            dx = matmul_(g, weight)
        if edges[1] is not None:
            dw = matmul_(g.mT, x)
    else:
        if edges[0] is not None:
            dx = product(g, False, weight, False, None)
        if edges[1] is not None:
            memset(&extras, 0, sizeof(extras))
            if has_bias and edges[2] is not None:
                db = empty(1, &cnp.PyArray_DIMS(g.a)[1], cnp.PyArray_TYPE(g.a))
                extras.row_sums = cnp.PyArray_DATA(db.a)
            dw = product_with(g, True, x, False, None, &extras)
    if has_bias and edges[2] is not None and db is None:
        db = sum_to(g, (cnp.PyArray_DIMS(g.a)[1],))
    return (dx, dw, db) if has_bias else (dx, dw)


cdef Tensor linear_rows(Tensor x, Tensor weight, Tensor bias):
    """The same for a matrix x."""
    cdef bint record = grad_enabled() and (wants(x) or wants(weight) or (bias is not None and wants(bias)))
    cdef Extras extras
    memset(&extras, 0, sizeof(extras))
    extras.keep = not record
    cdef Tensor out = product_with(x, False, weight, True, None if bias is None else contiguous(bias), &extras)
    cdef AddmmBackward0 node
    if record:
        node = AddmmBackward0.__new__(AddmmBackward0)
        if wants(weight):
            node.save(0, x)
        if wants(x):
            node.save(1, weight)
        attach(out, node, (edge(x), edge(weight)) if bias is None else (edge(x), edge(weight), edge(bias)))
    return out


cdef int check_linear(Tensor x, Tensor weight, Tensor bias) except -1:
    cdef int n = cnp.PyArray_NDIM(x.a), nw = cnp.PyArray_NDIM(weight.a)
    if nw not in (1, 2) or n == 0 or cnp.PyArray_DIMS(x.a)[n - 1] != cnp.PyArray_DIMS(weight.a)[nw - 1]:
        raise RuntimeError(f"[linear] input: expected {cnp.PyArray_DIMS(weight.a)[nw - 1] if nw else 'some'} entries in "
                           f"the last dimension for weight {shape_of(weight)}, got shape {shape_of(x)}")
    if bias is not None and shape_of(bias) not in ((), shape_of(weight)[:-1]):
        raise RuntimeError(f"[linear] bias must have one entry per row of the weight: weight {shape_of(weight)}, bias "
                           f"{shape_of(bias)}")
    same_type("linear", x, weight)
    if bias is not None and is_fast(cnp.PyArray_TYPE(x.a)) and cnp.PyArray_NDIM(weight.a) == 2:
        same_type("linear", x, bias)
    return 0


cdef Tensor linear_(Tensor x, Tensor weight, Tensor bias):
    cdef int n = cnp.PyArray_NDIM(x.a)
    cdef tuple shape
    check_linear(x, weight, bias)
    if is_half(cnp.PyArray_TYPE(x.a)):
        return to_type(linear_(to_type(x, cnp.NPY_FLOAT32), to_type(weight, cnp.NPY_FLOAT32),
                               None if bias is None else to_type(bias, cnp.NPY_FLOAT32)), cnp.PyArray_TYPE(x.a))
    if cnp.PyArray_NDIM(weight.a) == 1 or not is_fast(cnp.PyArray_TYPE(x.a)):
        out = matmul_(x, weight.mT if cnp.PyArray_NDIM(weight.a) == 2 else weight)
        return out if bias is None else out + bias
    if bias is not None and cnp.PyArray_NDIM(bias.a) == 0:
        bias = expand_to(bias, shape_of(weight)[:-1])
    if n == 2:
        return linear_rows(x, weight, bias)
    shape = shape_of(x)
    rows = 1
    for size in shape[:n - 1]:
        rows *= size
    out = linear_rows(x.reshape(rows, shape[n - 1]), weight, bias)
    return out.reshape(shape[:n - 1] + (cnp.PyArray_DIMS(weight.a)[0],))


# linear with an activation ------------------------------------------------------------------------------------------

# name -> (of the product's end, of the element-wise kernels)
cdef dict ACTIVATIONS = {"relu": (FDL_ACT_RELU, FDL_RELU), "tanh": (FDL_ACT_TANH, FDL_TANH),
                         "sigmoid": (FDL_ACT_SIGMOID, FDL_SIGMOID), "gelu": (FDL_ACT_GELU, FDL_GELU),
                         "gelu_tanh": (FDL_ACT_GELU_TANH, FDL_GELU_TANH)}


@cython.final
cdef class LinearActivationBackward0(Node):
    """out = f(z), z = x W^T + b:  dz = dout f'(z), then as linear. Saves z for gelu, else out."""
    cdef int op
    cdef bint has_bias

    cdef object apply(self, Tensor g):
        cdef Tensor x = self.saved(0), weight = self.saved(1), bias = None, saved, dz
        cdef const fdl_table *K
        if grad_enabled():  # through the separate operators
            bias = self.saved(3) if self.has_bias else None
            return self.recorded(g, x, weight, bias)
        saved, g = self.saved(2), contiguous(g)
        dz = empty_like(saved, cnp.PyArray_TYPE(saved.a))
        K = kernels(cnp.PyArray_TYPE(saved.a))
        with nogil:
            K.unary_bwd(self.op, cnp.PyArray_DATA(dz.a), cnp.PyArray_DATA(g.a), cnp.PyArray_DATA(saved.a),
                        cnp.PyArray_SIZE(saved.a), 0, 0)
        return linear_grads(dz, x, weight, self.edges)

    cdef object recorded(self, Tensor g, Tensor x, Tensor weight, Tensor bias):
        # the derivative by z of sum(f(z) g) is differentiable in z and g: the engine's own formula for f
        cdef Tensor z = linear_(x, weight, bias), y = unary(self.op, z, 0, 0)
        return linear_grads(y.node.apply(g), x, weight, self.edges)


cdef Tensor linear_activation_(Tensor x, Tensor weight, Tensor bias, str activation):
    """activation(x weight^T + bias) for a matrix x, recorded; the caller has checked sizes and types."""
    cdef bint record = grad_enabled() and (wants(x) or wants(weight) or (bias is not None and wants(bias)))
    cdef LinearActivationBackward0 node
    cdef Tensor z = None, out
    cdef Extras extras
    cdef npy_intp shape[2]
    kind, op = ACTIVATIONS[activation]
    memset(&extras, 0, sizeof(extras))
    extras.activation, extras.keep = kind, not record
    if record and (op == FDL_GELU or op == FDL_GELU_TANH):
        shape[0], shape[1] = cnp.PyArray_DIMS(x.a)[0], cnp.PyArray_DIMS(weight.a)[0]
        z = empty(2, shape, cnp.PyArray_TYPE(x.a))
        extras.pre = cnp.PyArray_DATA(z.a)
    out = product_with(x, False, weight, True, None if bias is None else contiguous(bias), &extras)
    if record:
        node = LinearActivationBackward0.__new__(LinearActivationBackward0)
        node.op, node.has_bias = op, bias is not None
        node.save(0, x)
        node.save(1, weight)
        if z is None:
            node.save_output(2, out)
        else:
            node.save(2, z)
        if bias is not None:
            node.save(3, bias)
        attach(out, node, (edge(x), edge(weight)) if bias is None else (edge(x), edge(weight), edge(bias)))
    return out


def linear_activation(Tensor input, Tensor weight, Tensor bias=None, str activation="relu"):
    """activation(input weight^T + bias) in one pass; for layers of fastdl.

    activation: "relu", "tanh", "sigmoid", "gelu" or "gelu_tanh". Sizes, types and errors as linear's.
    """
    cdef int n = cnp.PyArray_NDIM(input.a)
    cdef tuple shape
    if activation not in ACTIVATIONS:
        raise ValueError(f"[linear_activation] activation: expected one of {', '.join(ACTIVATIONS)}, got {activation!r}")
    if (n == 0 or cnp.PyArray_NDIM(weight.a) != 2 or not is_fast(cnp.PyArray_TYPE(input.a))
            or bias is not None and cnp.PyArray_NDIM(bias.a) != 1):
        return unary(ACTIVATIONS[activation][1], linear_(input, weight, bias), 0, 0)
    check_linear(input, weight, bias)
    if n == 2:
        return linear_activation_(input, weight, bias, activation)
    shape = shape_of(input)
    rows = 1
    for size in shape[:n - 1]:
        rows *= size
    return linear_activation_(input.reshape(rows, shape[n - 1]), weight, bias, activation).reshape(
        shape[:n - 1] + (cnp.PyArray_DIMS(weight.a)[0],))


@cython.final
cdef class LinearResidualBackward0(Node):
    """out = x W^T + b + residual:  as linear, and dresidual = dout"""
    cdef object apply(self, Tensor g):
        return (*linear_grads(g, self.saved(0), self.saved(1), self.edges[:3]), g)


def linear_residual(Tensor input, Tensor weight, Tensor bias=None, Tensor residual=None):
    """input weight^T + bias + residual in one pass; for layers of fastdl. residual has the result's shape.

    Sizes, types and errors as linear's; a residual of another shape is broadcast.
    """
    cdef int n = cnp.PyArray_NDIM(input.a)
    cdef int64_t rows = 1, size
    cdef bint record
    cdef tuple shape
    cdef Extras extras
    cdef Tensor out, x, kept
    cdef LinearResidualBackward0 node
    if residual is None:
        return linear_(input, weight, bias)
    if (n == 0 or cnp.PyArray_NDIM(weight.a) != 2 or not is_fast(cnp.PyArray_TYPE(input.a))
            or bias is not None and cnp.PyArray_NDIM(bias.a) != 1
            or cnp.PyArray_TYPE(residual.a) != cnp.PyArray_TYPE(input.a)
            or shape_of(residual) != shape_of(input)[:n - 1] + (cnp.PyArray_DIMS(weight.a)[0],)):
        return linear_(input, weight, bias) + residual
    check_linear(input, weight, bias)
    shape = shape_of(residual)
    for size in shape[:n - 1]:
        rows *= size
    x = input if n == 2 else input.reshape(rows, cnp.PyArray_DIMS(input.a)[n - 1])
    residual = residual if n == 2 else residual.reshape(rows, shape[n - 1])
    record = grad_enabled() and (wants(x) or wants(weight) or wants(residual) or (bias is not None and wants(bias)))
    kept = contiguous(residual)
    memset(&extras, 0, sizeof(extras))
    extras.keep, extras.residual = not record, cnp.PyArray_DATA(kept.a)
    out = product_with(x, False, weight, True, None if bias is None else contiguous(bias), &extras)
    if record:
        node = LinearResidualBackward0.__new__(LinearResidualBackward0)
        if wants(weight):
            node.save(0, x)
        if wants(x):
            node.save(1, weight)
        attach(out, node, (edge(x), edge(weight), None if bias is None else edge(bias), edge(residual)))
    return out if n == 2 else out.reshape(shape)


# Python's names ---------------------------------------------------------------------------------------------------

cdef Tensor checked_product(str op, Tensor a, int na, str what, Tensor b, int nb, str other):
    checked(op, a, na, what)
    checked(op, b, nb, other)
    same_inner(op, a, b)
    return matmul_(a, b)


cdef Tensor checked(str op, object x, int ndim, str what):
    if not isinstance(x, Tensor) or cnp.PyArray_NDIM((<Tensor> x).a) != ndim:
        raise RuntimeError(f"[{op}] expected {what} with {ndim} dimensions, got "
                           f"{'shape ' + str(shape_of(x)) if isinstance(x, Tensor) else type(x).__name__}")
    return x


def matmul(Tensor input, Tensor other):
    """The matrix product: of vectors a number, of matrices a matrix, of stacks of matrices a stack, with broadcasting.

    Shape: (.., m, k), (.., k, n) -> (.., m, n); a 1-d operand is a row on the left, a column on the right.
    Raises: RuntimeError if the sizes or types differ.
    """
    return matmul_(input, other)


def mm(Tensor input, Tensor mat2):
    """The product of two matrices: (m, k), (k, n) -> (m, n)."""
    return checked_product("mm", input, 2, "a matrix", mat2, 2, "a matrix")


def bmm(Tensor input, Tensor mat2):
    """The products of two stacks of matrices: (b, m, k), (b, k, n) -> (b, m, n)."""
    checked("bmm", input, 3, "a stack of matrices")
    checked("bmm", mat2, 3, "a stack of matrices")
    if cnp.PyArray_DIMS(input.a)[0] != cnp.PyArray_DIMS(mat2.a)[0]:
        raise RuntimeError(f"[bmm] the stacks have {cnp.PyArray_DIMS(input.a)[0]} and {cnp.PyArray_DIMS(mat2.a)[0]} "
                           f"matrices: {shape_of(input)}, {shape_of(mat2)}")
    same_inner("bmm", input, mat2)
    return matmul_(input, mat2)


def mv(Tensor input, Tensor vec):
    """The product of a matrix and a vector: (m, k), (k) -> (m)."""
    return checked_product("mv", input, 2, "a matrix", vec, 1, "a vector")


def dot(Tensor input, Tensor tensor):
    """The inner product of two vectors."""
    return checked_product("dot", input, 1, "a vector", tensor, 1, "a vector")


def outer(Tensor input, Tensor vec2):
    """The outer product of two vectors: (m), (n) -> (m, n)."""
    checked("outer", input, 1, "a vector")
    checked("outer", vec2, 1, "a vector")
    return input.unsqueeze(1) * vec2.unsqueeze(0)


cdef Tensor EVERYWHERE = wrap(own_array(np.ones((), bool)))


def weighted(str op, x, Tensor product, beta, alpha):
    """beta * x + alpha * product, x broadcast to product's shape. Of whole numbers beta and alpha are cut to whole ones;
    where beta is 0, x is not read and its gradient is 0."""
    cdef int typenum = cnp.PyArray_TYPE(product.a)
    if isinstance(x, Tensor):
        if cnp.PyArray_TYPE((<Tensor> x).a) != typenum:
            raise RuntimeError(f"[{op}] input: expected {product.dtype} as the product, got {x.dtype}")
        if not same_shape((<Tensor> x).a, product.a):
            x = expand(x, shape_of(product))
    if category(typenum) < 2:
        beta, alpha = int(beta), int(alpha)
    if alpha != 1:
        product = product * alpha
    if beta == 0:
        return product + x.masked_fill(EVERYWHERE, 0) if isinstance(x, Tensor) and wants(x) else product
    return (x if beta == 1 else x * beta) + product


def addmm(input, Tensor mat1, Tensor mat2, *, beta=1, alpha=1):
    """beta * input + alpha * (mat1 @ mat2), `input` broadcast. Of whole numbers beta and alpha are cut to whole ones."""
    return weighted("addmm", input, checked_product("addmm", mat1, 2, "a matrix", mat2, 2, "a matrix"), beta, alpha)


def baddbmm(input, Tensor batch1, Tensor batch2, *, beta=1, alpha=1):
    """beta * input + alpha * (batch1 @ batch2) for stacks of matrices, `input` broadcast. Of whole numbers beta and alpha
    are cut to whole ones."""
    return weighted("baddbmm", input, bmm(batch1, batch2), beta, alpha)


def linear(Tensor input, Tensor weight, Tensor bias=None):
    """input weight^T + bias.

    Shape: input (.., in), weight (out, in), bias (out) or None -> (.., out).
    Raises: RuntimeError if the sizes or types differ.
    """
    return linear_(input, weight, bias)


cdef object op_matmul(object a, object b):
    if not isinstance(a, Tensor) or not isinstance(b, Tensor):
        raise TypeError(f"[matmul] expected tensors, got {type(a).__name__} and {type(b).__name__}")
    return matmul_(<Tensor> a, <Tensor> b)


operators.matmul = op_matmul

register_all(globals(), "matmul mm bmm mv dot outer addmm baddbmm")
