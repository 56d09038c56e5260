"""Element-wise operators: arithmetic, comparison, functions of one variable, in place and not; forward and backward."""

cimport cython
cimport numpy as cnp
from libc.stdint cimport int64_t, uint8_t
from numpy cimport ndarray, npy_intp

import numpy as np

from .common import storable
from .derivatives import DERIVATIVES

from .._kernels cimport *
from .._tensor cimport (Node, Tensor, alias, attach, begin_inplace, cast, cast_copy, contiguous, edge, empty,
                        empty_like, end_inplace, grad_enabled, is_fast, is_half, kernels, operators, own_array, register,
                        register_all, wants, wrap)
from .common cimport (GIL_ELEMS, MAX_DIMS, as_tensor, broadcast, category, default_float, is_number, new_zeros_of,
                      result_type, result_type_scalar, overlaps, same_shape, shape_of, strides_for, sum_to, to_float, to_type)

cnp.import_array()


# Two operands -----------------------------------------------------------------------------------------------------

cdef tuple BINARY_NAME = ("add", "sub", "mul", "div", "maximum", "minimum", "pow", "atan2", "sub", "div",
                          "pow")
cdef tuple INPLACE_NAME = tuple([name + "_" for name in BINARY_NAME])
cdef tuple BINARY_NUMPY = (np.add, np.subtract, np.multiply, np.true_divide, np.maximum, np.minimum, np.power,
                           np.arctan2)


# the operation that `number op x` is, operands exchanged
cdef dict UNREVERSED = {FDL_RSUB: FDL_SUB, FDL_RDIV: FDL_DIV, FDL_RPOW: FDL_POW}


cdef int run_binary(int op, Tensor out, Tensor a, Tensor b, double alpha) except -1:
    """out = a op b for operands of out's floating type that broadcast to its shape."""
    cdef int typenum = cnp.PyArray_TYPE(out.a), ndim = cnp.PyArray_NDIM(out.a)
    cdef const fdl_table *K = kernels(typenum)
    cdef int64_t shape[MAX_DIMS]
    cdef int64_t so[MAX_DIMS]
    cdef int64_t sa[MAX_DIMS]
    cdef int64_t sb[MAX_DIMS]
    cdef int64_t n = cnp.PyArray_SIZE(out.a)
    cdef int i
    cdef void *po = cnp.PyArray_DATA(out.a)
    cdef void *pa = cnp.PyArray_DATA(a.a)
    cdef void *pb = cnp.PyArray_DATA(b.a)
    if (cnp.PyArray_IS_C_CONTIGUOUS(out.a) and cnp.PyArray_IS_C_CONTIGUOUS(a.a) and cnp.PyArray_IS_C_CONTIGUOUS(b.a)
            and cnp.PyArray_SIZE(a.a) == n and cnp.PyArray_SIZE(b.a) == n):
        ndim, shape[0], so[0], sa[0], sb[0] = 1, n, 1, 1, 1
    else:
        for i in range(ndim):
            shape[i] = cnp.PyArray_DIMS(out.a)[i]
        strides_for(out.a, ndim, so)
        strides_for(a.a, ndim, sa)
        strides_for(b.a, ndim, sb)
    if n < GIL_ELEMS:
        K.binary(op, po, so, pa, sa, pb, sb, shape, ndim, alpha)
    else:
        watch(ELEM_FMAS * n if out is not a else 0)
        with nogil:
            K.binary(op, po, so, pa, sa, pb, sb, shape, ndim, alpha)
        unwatch()
    return 0


cdef Tensor numpy_binary(int op, Tensor a, Tensor b, object alpha):
    """The same for types without kernels, both operands of one type."""
    cdef object x = a.a, y = b.a
    if op in (FDL_ADD, FDL_SUB) and alpha != 1:
        y = y * np.array(alpha, y.dtype)
    if op == FDL_SUB and x.dtype == bool:
        raise RuntimeError("Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` or "
                           "`logical_xor()` operator instead.")
    if op == FDL_POW and x.dtype.kind == "i" and (y < 0).any():  # 1 / x^-y, rounded to 0
        return wrap(own_array(np.where(y < 0, np.power(x, y & 1) * (np.abs(x) == 1), np.power(x, np.maximum(y, 0)))))
    return wrap(own_array(BINARY_NUMPY[op](x, y)))


cdef Tensor binary(int op, object a, object b, double alpha):
    """a op b, recorded. FDL_ADD and FDL_SUB: a op alpha*b."""
    cdef Tensor x, y, out
    cdef int typenum, ndim
    cdef npy_intp shape[MAX_DIMS]
    if not isinstance(b, Tensor) and is_number(b):
        return binary_scalar(op, <Tensor?> a, b, alpha)
    if not isinstance(a, Tensor) and is_number(a):
        if op == FDL_SUB:
            return binary_scalar(FDL_RSUB, scaled(<Tensor?> b, alpha) if alpha != 1 else <Tensor?> b, a, 1)
        if op == FDL_DIV or op == FDL_POW:
            return binary_scalar(FDL_RDIV if op == FDL_DIV else FDL_RPOW, <Tensor?> b, a, 1)
        if op == FDL_ADD and alpha != 1:
            b = scaled(<Tensor?> b, alpha)
        return binary_scalar(op, <Tensor?> b, a, 1)
    x = <Tensor> a if isinstance(a, Tensor) else as_tensor(a, <Tensor?> b)
    y = <Tensor> b if isinstance(b, Tensor) else as_tensor(b, x)
    typenum = cnp.PyArray_TYPE(x.a)
    if typenum != cnp.PyArray_TYPE(y.a) or not is_fast(typenum):
        typenum = result_type(x, y)
        if (op == FDL_DIV or op == FDL_ATAN2) and category(typenum) != 2:
            typenum = default_float()
        if is_half(typenum):  # computed and recorded in float32
            return to_type(binary(op, to_type(x, cnp.NPY_FLOAT32), to_type(y, cnp.NPY_FLOAT32), alpha), typenum)
        x, y = to_type(x, typenum), to_type(y, typenum)
        if not is_fast(typenum):
            broadcast(BINARY_NAME[op], x.a, y.a, shape)
            return numpy_binary(op, x, y, alpha)
    if same_shape(x.a, y.a):
        out = empty(cnp.PyArray_NDIM(x.a), cnp.PyArray_DIMS(x.a), typenum)
    else:
        ndim = broadcast(BINARY_NAME[op], x.a, y.a, shape)
        out = empty(ndim, shape, typenum)
    run_binary(op, out, x, y, alpha)
    if grad_enabled() and (wants(x) or wants(y)):
        attach(out, binary_node(op, out, x, y, alpha), (edge(x), edge(y)))
    return out


cdef int refuse_inverse(int typenum, object exponent) except -1:
    if category(typenum) == 1 and exponent < 0:
        raise RuntimeError("Integers to negative integer powers are not allowed.")
    return 0


cdef Tensor binary_scalar(int op, Tensor x, object number, double alpha):
    """x op number (FDL_RSUB, FDL_RDIV, FDL_RPOW: number op x), recorded."""
    cdef int typenum = cnp.PyArray_TYPE(x.a), result
    cdef const fdl_table *K
    cdef Tensor source, out
    cdef double c
    cdef int64_t n
    cdef ScalarBackward node
    if not is_fast(typenum):
        result = result_type_scalar(x, number)
        if op in (FDL_DIV, FDL_RDIV) and category(result) != 2:
            result = default_float()
        if op == FDL_POW:
            refuse_inverse(result, number)
        if is_half(result):
            return to_type(binary_scalar(op, to_type(x, cnp.NPY_FLOAT32), number, alpha), result)
        x = to_type(x, result)
        if not is_fast(result):
            if op == FDL_POW or op == FDL_RPOW:
                number = storable(number, result)
            y = wrap(own_array(np.array(np.array(number), (<object> x.a).dtype)))  # an integer too large wraps
            if op in (FDL_RSUB, FDL_RDIV, FDL_RPOW):
                return numpy_binary(UNREVERSED[op], y, x, alpha)
            return numpy_binary(op, x, y, alpha)
        typenum = result
    K = kernels(typenum)
    c = number
    if op == FDL_ADD or op == FDL_SUB:
        c *= alpha
    source = contiguous(x)
    out = empty_like(x, typenum)
    n = cnp.PyArray_SIZE(out.a)
    if n < GIL_ELEMS:
        K.binary_scalar(op, cnp.PyArray_DATA(out.a), cnp.PyArray_DATA(source.a), c, n)
    else:
        watch(ELEM_FMAS * n)
        with nogil:
            K.binary_scalar(op, cnp.PyArray_DATA(out.a), cnp.PyArray_DATA(source.a), c, n)
        unwatch()
    if grad_enabled() and wants(x):
        attach(out, scalar_node(op, out, x, c), (edge(x),))
    return out


cdef Node binary_node(int op, Tensor out, Tensor x, Tensor y, double alpha):
    """The backward node of out = x op y, with what it needs saved."""
    cdef BinaryBackward node
    if op == FDL_ADD:
        node = AddBackward0.__new__(AddBackward0)
    elif op == FDL_SUB:
        node = SubBackward0.__new__(SubBackward0)
    elif op == FDL_MUL:
        node = MulBackward0.__new__(MulBackward0)
        if wants(y):
            node.save(0, x)
        if wants(x):
            node.save(1, y)
    elif op == FDL_DIV:
        node = DivBackward0.__new__(DivBackward0)
        if wants(y):
            node.save(0, x)
        node.save(1, y)
    elif op == FDL_POW:
        node = PowBackward1.__new__(PowBackward1)
        node.save(0, x)
        node.save(1, y)
    elif op == FDL_ATAN2:
        node = Atan2Backward0.__new__(Atan2Backward0)
        node.save(0, x)
        node.save(1, y)
    else:
        node = MaximumBackward0.__new__(MaximumBackward0)
        (<MaximumBackward0> node).op = op
        node.save(0, x)
        node.save(1, y)
    node.alpha = alpha
    node.need_x, node.need_y = wants(x), wants(y)
    if not same_shape(x.a, out.a):
        node.shape_x = shape_of(x)
    if not same_shape(y.a, out.a):
        node.shape_y = shape_of(y)
    return node


cdef class BinaryBackward(Node):
    """Shapes to sum the gradients to, None where nothing was broadcast."""
    cdef tuple shape_x, shape_y
    cdef double alpha
    cdef bint need_x, need_y


@cython.final
cdef class AddBackward0(BinaryBackward):
    """out = x + alpha y:  dx = g,  dy = alpha g"""
    cdef object apply(self, Tensor g):
        cdef Tensor dx = None, dy = None
        if self.need_x:
            dx = sum_to(g, self.shape_x)
        if self.need_y:
            dy = sum_to(g if self.alpha == 1 else scaled(g, self.alpha), self.shape_y)
        return dx, dy


@cython.final
cdef class SubBackward0(BinaryBackward):
    """out = x - alpha y:  dx = g,  dy = -alpha g"""
    cdef object apply(self, Tensor g):
        cdef Tensor dx = None, dy = None
        if self.need_x:
            dx = sum_to(g, self.shape_x)
        if self.need_y:
            dy = sum_to(scaled(g, -self.alpha), self.shape_y)
        return dx, dy


@cython.final
cdef class MulBackward0(BinaryBackward):
    """out = x y:  dx = g y,  dy = g x"""
    cdef object apply(self, Tensor g):
        cdef Tensor dx = None, dy = None
        if self.need_x:
            dx = sum_to(binary(FDL_MUL, g, self.saved(1), 1), self.shape_x)
        if self.need_y:
            dy = sum_to(binary(FDL_MUL, g, self.saved(0), 1), self.shape_y)
        return dx, dy


@cython.final
cdef class DivBackward0(BinaryBackward):
    """out = x / y:  dx = g / y,  dy = -g x / y^2"""
    cdef object apply(self, Tensor g):
        cdef Tensor y = self.saved(1), over = binary(FDL_DIV, g, y, 1), dx = None, dy = None
        if self.need_x:
            dx = sum_to(over, self.shape_x)
        if self.need_y:
            dy = binary(FDL_MUL, unary(FDL_NEG, over, 0, 0), binary(FDL_DIV, self.saved(0), y, 1), 1)
            dy = sum_to(dy, self.shape_y)
        return dx, dy


@cython.final
cdef class PowBackward1(BinaryBackward):
    """out = x^y:  dx = g y x^(y-1), 0 where y = 0;  dy = g x^y log x, 0 where x = 0 and y >= 0"""
    cdef object apply(self, Tensor g):
        cdef Tensor x = self.saved(0), y = self.saved(1), dx = None, dy = None
        if self.need_x:
            dx = binary(FDL_MUL, binary(FDL_MUL, g, y, 1), binary(FDL_POW, x, binary(FDL_SUB, y, 1, 1), 1), 1)
            dx = sum_to(where_(compare(FDL_EQ, y, 0), 0.0, dx), self.shape_x)
        if self.need_y:
            dy = binary(FDL_MUL, binary(FDL_MUL, g, binary(FDL_POW, x, y, 1), 1), unary(FDL_LOG, x, 0, 0), 1)
            zero = wrap(own_array((x.a == 0) & (y.a >= 0)))
            dy = sum_to(where_(zero, 0.0, dy), self.shape_y)
        return dx, dy


@cython.final
cdef class Atan2Backward0(BinaryBackward):
    """out = angle of the point (y, x):  dx = g y / (x^2 + y^2),  dy = -g x / (x^2 + y^2), 0 at the origin"""
    cdef object apply(self, Tensor g):
        cdef Tensor x = self.saved(0), y = self.saved(1), dx = None, dy = None, square
        square = binary(FDL_ADD, unary(FDL_SQUARE, x, 0, 0), unary(FDL_SQUARE, y, 0, 0), 1)
        over = binary(FDL_DIV, g, where_(compare(FDL_EQ, square, 0), 1.0, square), 1)
        if self.need_x:
            dx = sum_to(binary(FDL_MUL, over, y, 1), self.shape_x)
        if self.need_y:
            dy = sum_to(binary(FDL_MUL, unary(FDL_NEG, over, 0, 0), x, 1), self.shape_y)
        return dx, dy


@cython.final
cdef class MaximumBackward0(BinaryBackward):
    """out = max(x, y) or min(x, y):  g to the larger (smaller), half to each where they are equal"""
    cdef int op

    def name(self):
        return "MaximumBackward0" if self.op == FDL_MAXIMUM else "MinimumBackward0"

    cdef object apply(self, Tensor g):
        cdef Tensor x = self.saved(0), y = self.saved(1), dx = None, dy = None
        cdef bint largest = self.op == FDL_MAXIMUM
        cdef int wins = FDL_GE if largest else FDL_LE, loses = FDL_LT if largest else FDL_GT
        half = where_(compare(FDL_EQ, x, y), scaled(g, 0.5), g)
        if self.need_x:
            dx = sum_to(where_(compare(loses, x, y), 0.0, half), self.shape_x)
        if self.need_y:
            dy = sum_to(where_(compare(wins, x, y), where_(compare(FDL_EQ, x, y), half, 0.0), half), self.shape_y)
        return dx, dy


cdef Node scalar_node(int op, Tensor out, Tensor x, double c):
    """The backward node of out = x op c (or c op x)."""
    cdef ScalarBackward node = ScalarBackward.__new__(ScalarBackward)
    node.op, node.c = op, c
    if op == FDL_RDIV or op == FDL_POW:
        node.save(0, x)
    elif op == FDL_RPOW:
        node.save_output(0, out)
    return node


cdef dict SCALAR_NODE_NAME = {
    FDL_ADD: "AddBackward0", FDL_SUB: "SubBackward0", FDL_MUL: "MulBackward0", FDL_DIV: "DivBackward0",
    FDL_POW: "PowBackward0", FDL_RSUB: "RsubBackward1", FDL_RDIV: "MulBackward0", FDL_RPOW: "PowBackward1",
}


@cython.final
cdef class ScalarBackward(Node):
    """out = x op c:  dx = g (add, sub), -g (c - x), g c, g / c, -g c / x^2 (c / x), g c x^(c-1), g out log c (c^x)"""
    cdef int op
    cdef double c

    def name(self):
        return SCALAR_NODE_NAME[self.op]

    cdef object apply(self, Tensor g):
        cdef Tensor x
        if self.op == FDL_ADD or self.op == FDL_SUB:
            return g
        if self.op == FDL_RSUB:
            return unary(FDL_NEG, g, 0, 0)
        if self.op == FDL_MUL:
            return scaled(g, self.c)
        if self.op == FDL_DIV:
            return binary(FDL_DIV, g, self.c, 1)
        x = self.saved(0)
        if self.op == FDL_RDIV:
            return binary(FDL_DIV, scaled(g, -self.c), unary(FDL_SQUARE, x, 0, 0), 1)
        if self.op == FDL_RPOW:
            slope = np.log(self.c) if self.c > 0 else 0.0 if self.c == 0 else float("nan")
            return binary(FDL_MUL, g, scaled(x, slope), 1)
        if self.c == 0:
            return scaled(g, 0.0)
        if self.c == 2:
            return binary(FDL_MUL, scaled(g, 2.0), x, 1)
        return binary(FDL_MUL, scaled(g, self.c), binary(FDL_POW, x, self.c - 1, 1), 1)


cdef Tensor scaled(Tensor x, double factor):
    return binary_scalar(FDL_MUL, x, factor, 1)


# In place ---------------------------------------------------------------------------------------------------------

cdef str KINDS = "b iuf"  # bool, whole, floating: in pairs, a result goes into its own kind or a later one


cdef Tensor binary_inplace(int op, Tensor x, object other, double alpha):
    """x = x op other in x's own memory, recorded."""
    cdef str name = BINARY_NAME[op]
    if op == FDL_POW and is_number(other):
        refuse_inverse(result_type_scalar(x, other), other)
    cdef Tensor y = as_tensor(other, x), before
    cdef int typenum = cnp.PyArray_TYPE(x.a), result = result_type(x, y)
    cdef npy_intp shape[MAX_DIMS]
    cdef int ndim = broadcast(name, x.a, y.a, shape), i
    cdef Node node = None
    cdef tuple edges = None
    begin_inplace(x)
    if ndim != cnp.PyArray_NDIM(x.a) or any([shape[i] != cnp.PyArray_DIMS(x.a)[i] for i in range(ndim)]):
        raise RuntimeError(f"[{name}_] the result has shape {tuple([shape[i] for i in range(ndim)])}, which does not "
                           f"fit into the tensor's {shape_of(x)}")
    if op == FDL_DIV and not (<object> x.a).dtype.kind == "f":
        result = default_float()
    if KINDS.index((<object> cnp.PyArray_DescrFromType(result)).kind) // 2 > KINDS.index((<object> x.a).dtype.kind) // 2:
        raise RuntimeError(f"[{name}_] result type {cnp.PyArray_DescrFromType(result)} can't be cast to the desired output "
                           f"type {x.dtype}")
    y = to_type(y, typenum)
    if grad_enabled() and (wants(x) or wants(y)):
        before = x
        if op == FDL_POW or (op == FDL_MUL or op == FDL_DIV) and wants(y):  # the derivative needs the value lost here
            before = cast_copy(x, typenum)
            before.node = x.node
        node, edges = binary_node(op, x, before, y, alpha), (edge(x), edge(y))
    if overlaps(x.a, y.a):
        y = cast_copy(y, typenum)
    if is_fast(typenum):
        run_binary(op, x, x, y, alpha)
    else:
        x.a[...] = numpy_binary(op, alias(x), y, alpha).a
    return end_inplace(x, INPLACE_NAME[op], node, edges)


cdef int accumulate(Tensor x, Tensor y) except -1:
    """x += y for the engine: same shape, not recorded."""
    cdef int typenum = cnp.PyArray_TYPE(x.a)
    cdef int64_t n = cnp.PyArray_SIZE(x.a)
    cdef const fdl_table *K = kernels(typenum)
    if not is_fast(typenum) or cnp.PyArray_TYPE(y.a) != typenum:
        np.add(x.a, y.a, out=x.a)
    elif cnp.PyArray_IS_C_CONTIGUOUS(x.a) and cnp.PyArray_IS_C_CONTIGUOUS(y.a):
        with nogil:
            K.axpy(cnp.PyArray_DATA(x.a), cnp.PyArray_DATA(y.a), 1, n)
    else:
        run_binary(FDL_ADD, x, x, y, 1)
    return 0


# Comparison and choice --------------------------------------------------------------------------------------------

cdef tuple COMPARE_NUMPY = (np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal)
cdef tuple COMPARE_NAME = ("eq", "ne", "lt", "le", "gt", "ge")


cdef Tensor compare(int op, object a, object b):
    """a op b as a bool tensor; not differentiable."""
    cdef Tensor x, y, out
    cdef int typenum, ndim, i
    cdef npy_intp dims[MAX_DIMS]
    cdef int64_t shape[MAX_DIMS]
    cdef int64_t sa[MAX_DIMS]
    cdef int64_t sb[MAX_DIMS]
    if isinstance(a, Tensor):
        x, y = a, as_tensor(b, a)
    else:
        x, y = as_tensor(a, <Tensor?> b), <Tensor?> b
    ndim = broadcast(COMPARE_NAME[op], x.a, y.a, dims)
    out = empty(ndim, dims, cnp.NPY_BOOL)
    typenum = result_type(x, y)
    x, y = cast(x, typenum), cast(y, typenum)
    if not is_fast(typenum):
        COMPARE_NUMPY[op](x.a, y.a, out=out.a)
        return out
    for i in range(ndim):
        shape[i] = dims[i]
    strides_for(x.a, ndim, sa)
    strides_for(y.a, ndim, sb)
    cdef const fdl_table *K = kernels(typenum)
    watch(ELEM_FMAS * cnp.PyArray_SIZE(out.a))
    with nogil:
        K.compare(op, <uint8_t *> cnp.PyArray_DATA(out.a), cnp.PyArray_DATA(x.a), sa, cnp.PyArray_DATA(y.a), sb, shape,
                  ndim)
    unwatch()
    return out


@cython.final
cdef class WhereBackward0(Node):
    """out = condition ? a : b:  da = g where condition,  db = g elsewhere"""
    cdef tuple shape_a, shape_b
    cdef Tensor condition

    cdef object apply(self, Tensor g):
        return (sum_to(where_(self.condition, g, 0.0), self.shape_a) if self.edges[0] is not None else None,
                sum_to(where_(self.condition, 0.0, g), self.shape_b) if self.edges[1] is not None else None)


cdef Tensor where_(object condition, object a, object b):
    cdef Tensor c = <Tensor?> condition, x, y, out
    cdef ndarray pair
    cdef WhereBackward0 node
    cdef int typenum, ndim, i
    cdef npy_intp dims[MAX_DIMS]
    cdef int64_t shape[MAX_DIMS]
    cdef int64_t sc[MAX_DIMS]
    cdef int64_t sa[MAX_DIMS]
    cdef int64_t sb[MAX_DIMS]
    if cnp.PyArray_TYPE(c.a) != cnp.NPY_BOOL:
        raise TypeError(f"[where] expected condition to be a boolean tensor, but got a tensor with dtype {c.dtype}")
    if not isinstance(a, Tensor) and not isinstance(b, Tensor):
        typenum = default_float() if isinstance(a, float) else np.dtype(type(a)).num
        a = wrap(own_array(np.array(a, cnp.PyArray_DescrFromType(typenum))))
    x = as_tensor(a, b) if not isinstance(a, Tensor) else a
    y = as_tensor(b, x)
    typenum = result_type(x, y)
    x, y = to_type(x, typenum), to_type(y, typenum)
    ndim = broadcast("where", x.a, y.a, dims)
    pair = x.a if cnp.PyArray_NDIM(x.a) == ndim else y.a
    if not cnp.PyArray_CompareLists(cnp.PyArray_DIMS(pair), dims, ndim):
        pair = np.broadcast_to(np.empty((), bool), tuple([dims[i] for i in range(ndim)]))
    ndim = broadcast("where", c.a, pair, dims)
    out = empty(ndim, dims, typenum)
    cdef const fdl_table *K = kernels(typenum)
    if is_fast(typenum):
        for i in range(ndim):
            shape[i] = dims[i]
        strides_for(c.a, ndim, sc)
        strides_for(x.a, ndim, sa)
        strides_for(y.a, ndim, sb)
        watch(ELEM_FMAS * cnp.PyArray_SIZE(out.a))
        with nogil:
            K.where(cnp.PyArray_DATA(out.a), <const uint8_t *> cnp.PyArray_DATA(c.a), sc,
                    cnp.PyArray_DATA(x.a), sa, cnp.PyArray_DATA(y.a), sb, shape, ndim)
        unwatch()
    else:
        np.copyto(out.a, np.where(c.a, x.a, y.a))
    if grad_enabled() and (wants(x) or wants(y)):
        node = WhereBackward0.__new__(WhereBackward0)
        node.condition, node.shape_a, node.shape_b = alias(c), shape_of(x), shape_of(y)
        attach(out, node, (edge(x), edge(y)))
    return out


# One operand ------------------------------------------------------------------------------------------------------

# op: its name, whether the backward pass needs the output (else the input), NumPy's function for
# types without a kernel (None: computed in the default floating type)
cdef dict UNARY = {
    FDL_NEG: ("neg", None, np.negative),
    FDL_ABS: ("abs", False, np.abs),
    FDL_EXP: ("exp", True, None),
    FDL_LOG: ("log", False, None),
    FDL_SQRT: ("sqrt", True, None),
    FDL_RSQRT: ("rsqrt", True, None),
    FDL_SQUARE: ("square", False, lambda x: np.square(x, dtype=np.int64 if x.dtype == bool else None)),
    FDL_RECIPROCAL: ("reciprocal", True, None),
    FDL_TANH: ("tanh", True, None),
    FDL_SIGMOID: ("sigmoid", True, None),
    FDL_RELU: ("relu", True, lambda x: np.maximum(x, 0)),
    FDL_LEAKY_RELU: ("leaky_relu", False, None),
    FDL_ELU: ("elu", False, None),
    FDL_GELU: ("gelu", False, None),
    FDL_GELU_TANH: ("gelu_tanh", False, None),
    FDL_SILU: ("silu", False, None),
    FDL_SOFTPLUS: ("softplus", False, None),
    FDL_ERF: ("erf", False, None),
    FDL_SIGN: ("sign", None, np.sign),
    FDL_CLAMP: ("clamp", False, None),
    FDL_LOG1P: ("log1p", False, None),
    FDL_EXPM1: ("expm1", True, None),
    FDL_SIN: ("sin", False, None),
    FDL_COS: ("cos", False, None),
    FDL_TAN: ("tan", True, None),
    FDL_ASIN: ("asin", False, None),
    FDL_ACOS: ("acos", False, None),
    FDL_ATAN: ("atan", False, None),
    FDL_SINH: ("sinh", False, None),
    FDL_COSH: ("cosh", False, None),
    FDL_EXP2: ("exp2", True, None),
    FDL_LOG2: ("log2", False, None),
    FDL_LOG10: ("log10", False, None),
    FDL_FLOOR: ("floor", None, np.array),
    FDL_CEIL: ("ceil", None, np.array),
    FDL_TRUNC: ("trunc", None, np.array),
    FDL_ROUND: ("round", None, np.array),
}

# PyTorch's names of nodes that do not follow from the operator's
cdef dict NODE_NAME = {"square": "PowBackward0", "gelu_tanh": "GeluBackward0", "clamp": "ClampBackward1",
                       "log1p": "Log1PBackward0"}


cdef int run_unary(int op, Tensor out, Tensor x, double p, double q) except -1:
    cdef const fdl_table *K = kernels(cnp.PyArray_TYPE(out.a))
    cdef int64_t n = cnp.PyArray_SIZE(out.a)
    if n < 1024:
        K.unary(op, cnp.PyArray_DATA(out.a), cnp.PyArray_DATA(x.a), n, p, q)
    else:
        watch(ELEM_FMAS * n if out is not x else 0)
        with nogil:
            K.unary(op, cnp.PyArray_DATA(out.a), cnp.PyArray_DATA(x.a), n, p, q)
        unwatch()
    return 0


cdef Tensor unary(int op, Tensor x, double p, double q):
    """op(x), recorded."""
    cdef Tensor out
    if not is_fast(cnp.PyArray_TYPE(x.a)):
        function = UNARY[op][2]
        if is_half(cnp.PyArray_TYPE(x.a)):
            return to_type(unary(op, to_type(x, cnp.NPY_FLOAT32), p, q), cnp.PyArray_TYPE(x.a))
        if function is not None:
            return wrap(own_array(function(x.a)))
        x = to_float(x)
        if not is_fast(cnp.PyArray_TYPE(x.a)):
            return unary(op, x, p, q)
    out = empty_like(x, cnp.PyArray_TYPE(x.a))
    run_unary(op, out, contiguous(x), p, q)
    if grad_enabled() and wants(x):
        attach(out, unary_node(op, x, out, p, q), (edge(x),))
    return out


cdef Tensor unary_inplace(int op, Tensor x, double p, double q):
    """x = op(x) in x's own memory, recorded."""
    cdef Node node = None
    cdef tuple edges = None
    cdef Tensor source, before = x
    begin_inplace(x)
    if is_half(cnp.PyArray_TYPE(x.a)):
        if grad_enabled() and wants(x):
            raise NotImplementedError("in-place functions of 16-bit tensors are not recorded; "
                                      "use float32 or the function that is not in place")
        np.copyto(x.a, unary(op, x, p, q).a)
        return end_inplace(x, UNARY[op][0] + "_", None, None)
    if not is_fast(cnp.PyArray_TYPE(x.a)):
        if UNARY[op][2] is None:
            raise RuntimeError(f"[{UNARY[op][0]}_] result type Float can't be cast to the desired output type {x.dtype}")
        np.copyto(x.a, UNARY[op][2](x.a))
        return end_inplace(x, UNARY[op][0] + "_", None, None)
    if grad_enabled() and wants(x):
        if UNARY[op][1] is False:  # the derivative needs the value lost here
            before = cast_copy(x, cnp.PyArray_TYPE(x.a))
            before.node = x.node
        node, edges = unary_node(op, before, None, p, q), (edge(x),)
    if cnp.PyArray_IS_C_CONTIGUOUS(x.a):
        run_unary(op, x, x, p, q)
    else:
        source = contiguous(x)
        run_unary(op, source, source, p, q)
        cnp.PyArray_CopyInto(x.a, source.a)
    end_inplace(x, UNARY[op][0] + "_", node, edges)
    if node is not None and UNARY[op][1]:
        node.save_output(0, x)
    return x


cdef UnaryBackward unary_node(int op, Tensor x, Tensor out, double p, double q):
    cdef UnaryBackward node = UnaryBackward.__new__(UnaryBackward)
    node.op, node.p, node.q = op, p, q
    needs_output = UNARY[op][1]
    if needs_output:
        if out is not None:
            node.save_output(0, out)
    elif needs_output is not None:
        node.save(0, x)
    return node


@cython.final
cdef class UnaryBackward(Node):
    """out = f(x):  dx = g f'(x), from the output for those functions where that is cheaper"""
    cdef int op
    cdef double p, q

    def name(self):
        kernel = UNARY[self.op][0]
        return NODE_NAME.get(kernel) or kernel.title().replace("_", "") + "Backward0"

    cdef object apply(self, Tensor g):
        cdef Tensor x, dx
        cdef const fdl_table *K
        cdef int64_t n
        if self.op == FDL_NEG:
            return unary(FDL_NEG, g, 0, 0)
        if self.op == FDL_SIGN or self.op >= FDL_FLOOR:
            return scaled(g, 0.0)
        x = self.saved(0)
        if grad_enabled() or self.op > FDL_EXPM1:
            return DERIVATIVES[UNARY[self.op][0]](g, x, self.p, self.q)
        x, g = contiguous(x), contiguous(g)
        dx = empty_like(x, cnp.PyArray_TYPE(x.a))
        K, n = kernels(cnp.PyArray_TYPE(x.a)), cnp.PyArray_SIZE(x.a)
        if n < 1024:
            K.unary_bwd(self.op, cnp.PyArray_DATA(dx.a), cnp.PyArray_DATA(g.a), cnp.PyArray_DATA(x.a), n, self.p, self.q)
        else:
            watch(ELEM_FMAS * n)
            with nogil:
                K.unary_bwd(self.op, cnp.PyArray_DATA(dx.a), cnp.PyArray_DATA(g.a), cnp.PyArray_DATA(x.a), n, self.p, self.q)
            unwatch()
        return dx


# Python's names ---------------------------------------------------------------------------------------------------

cdef Tensor with_alpha(Tensor x, object alpha):
    """x, the result of add or sub or what that is written to: whole numbers refuse a floating-point alpha."""
    if isinstance(alpha, float) and category(cnp.PyArray_TYPE(x.a)) != 2:
        raise RuntimeError("For integral input tensors, argument alpha must not be a floating point number.")
    return x


def add(input, other, *, alpha=1):
    """input + alpha * other, with broadcasting."""
    return with_alpha(binary(FDL_ADD, input, other, alpha), alpha)


def sub(input, other, *, alpha=1):
    """input - alpha * other, with broadcasting."""
    return with_alpha(binary(FDL_SUB, input, other, alpha), alpha)


def mul(input, other):
    """input * other, with broadcasting."""
    return binary(FDL_MUL, input, other, 1)


def truncated_quotient(a, b):
    return np.trunc(np.true_divide(a, b)).astype(a.dtype)


def div(input, other, *, rounding_mode=None):
    """input / other, with broadcasting; rounding_mode: None, "trunc" or "floor"."""
    if rounding_mode is None:
        return binary(FDL_DIV, input, other, 1)
    if rounding_mode not in ("trunc", "floor"):
        raise ValueError(f"[div] rounding_mode must be None, 'trunc' or 'floor', got {rounding_mode!r}")
    quotient = floor_quotient if rounding_mode == "floor" else not_by_zero(truncated_quotient)
    return rounded("div", quotient, rounding_mode, input, other)


def pow(input, exponent):
    """input ** exponent, with broadcasting."""
    return binary(FDL_POW, input, exponent, 1)


def maximum(input, other):
    """The larger of each pair; NaN if either is."""
    return binary(FDL_MAXIMUM, input, other, 1)


def minimum(input, other):
    """The smaller of each pair; NaN if either is."""
    return binary(FDL_MINIMUM, input, other, 1)


def add_(Tensor input, other, *, alpha=1): return binary_inplace(FDL_ADD, with_alpha(input, alpha), other, alpha)
def sub_(Tensor input, other, *, alpha=1): return binary_inplace(FDL_SUB, with_alpha(input, alpha), other, alpha)
def mul_(Tensor input, other): return binary_inplace(FDL_MUL, input, other, 1)
def pow_(Tensor input, exponent): return binary_inplace(FDL_POW, input, exponent, 1)


def div_(Tensor input, other, *, rounding_mode=None):
    return binary_inplace(FDL_DIV, input, other, 1) if rounding_mode is None else input.divide_(other, rounding_mode=rounding_mode)


def eq(input, other): return compare(FDL_EQ, input, other)
def ne(input, other): return compare(FDL_NE, input, other)
def lt(input, other): return compare(FDL_LT, input, other)
def le(input, other): return compare(FDL_LE, input, other)
def gt(input, other): return compare(FDL_GT, input, other)
def ge(input, other): return compare(FDL_GE, input, other)


def where(condition, input=None, other=None):
    """input where condition holds, other elsewhere, with broadcasting; the condition alone: indices where it holds."""
    if input is None and other is None:
        return tuple([wrap(own_array(i)) for i in np.nonzero((<Tensor?> condition).a)])
    return where_(condition, input, other)


def neg(Tensor input): return unary(FDL_NEG, input, 0, 0)
def abs(Tensor input): return unary(FDL_ABS, input, 0, 0)
def exp(Tensor input): return unary(FDL_EXP, input, 0, 0)
def log(Tensor input): return unary(FDL_LOG, input, 0, 0)
def sqrt(Tensor input): return unary(FDL_SQRT, input, 0, 0)
def rsqrt(Tensor input): return unary(FDL_RSQRT, input, 0, 0)
def square(Tensor input): return unary(FDL_SQUARE, input, 0, 0)
def reciprocal(Tensor input): return unary(FDL_RECIPROCAL, input, 0, 0)
def tanh(Tensor input): return unary(FDL_TANH, input, 0, 0)
def sigmoid(Tensor input): return unary(FDL_SIGMOID, input, 0, 0)
def erf(Tensor input): return unary(FDL_ERF, input, 0, 0)
def sign(Tensor input): return unary(FDL_SIGN, input, 0, 0)
def log1p(Tensor input): return unary(FDL_LOG1P, input, 0, 0)
def expm1(Tensor input): return unary(FDL_EXPM1, input, 0, 0)
def sin(Tensor input): return unary(FDL_SIN, input, 0, 0)
def cos(Tensor input): return unary(FDL_COS, input, 0, 0)
def tan(Tensor input): return unary(FDL_TAN, input, 0, 0)
def asin(Tensor input): return unary(FDL_ASIN, input, 0, 0)
def acos(Tensor input): return unary(FDL_ACOS, input, 0, 0)
def atan(Tensor input): return unary(FDL_ATAN, input, 0, 0)
def sinh(Tensor input): return unary(FDL_SINH, input, 0, 0)
def cosh(Tensor input): return unary(FDL_COSH, input, 0, 0)
def exp2(Tensor input): return unary(FDL_EXP2, input, 0, 0)
def log2(Tensor input): return unary(FDL_LOG2, input, 0, 0)
def log10(Tensor input): return unary(FDL_LOG10, input, 0, 0)
def floor(Tensor input): return unary(FDL_FLOOR, input, 0, 0)
def ceil(Tensor input): return unary(FDL_CEIL, input, 0, 0)
def trunc(Tensor input): return unary(FDL_TRUNC, input, 0, 0)


def round(Tensor input, *, int decimals=0):
    """Rounded to `decimals` places, halves to even."""
    if decimals == 0 or category(cnp.PyArray_TYPE(input.a)) != 2:
        return unary(FDL_ROUND, input, 0, 0)
    return unary(FDL_ROUND, input * 10.0 ** decimals, 0, 0) / 10.0 ** decimals


def atan2(input, other):
    """The angle of the points (other, input), in (-pi, pi]."""
    return binary(FDL_ATAN2, input, other, 1)


def relu(Tensor input, bint inplace=False):
    """max(input, 0)"""
    return unary_inplace(FDL_RELU, input, 0, 0) if inplace else unary(FDL_RELU, input, 0, 0)


def leaky_relu(Tensor input, double negative_slope=0.01, bint inplace=False):
    """input where positive, else negative_slope * input"""
    return (unary_inplace if inplace else unary)(FDL_LEAKY_RELU, input, negative_slope, 0)


def elu(Tensor input, double alpha=1.0, bint inplace=False):
    """input where positive, else alpha * (exp(input) - 1)"""
    return unary_inplace(FDL_ELU, input, alpha, 0) if inplace else unary(FDL_ELU, input, alpha, 0)


def gelu(Tensor input, *, approximate="none"):
    """input * Phi(input), Phi the normal distribution function; approximate="tanh": its tanh form"""
    if approximate not in ("none", "tanh"):
        raise RuntimeError(f"[gelu] approximate must be 'none' or 'tanh', got {approximate!r}")
    return unary(FDL_GELU if approximate == "none" else FDL_GELU_TANH, input, 0, 0)


def silu(Tensor input, bint inplace=False):
    """input * sigmoid(input)"""
    return unary_inplace(FDL_SILU, input, 0, 0) if inplace else unary(FDL_SILU, input, 0, 0)


def softplus(Tensor input, double beta=1.0, double threshold=20.0):
    """log(1 + exp(beta * input)) / beta; input itself where beta * input > threshold"""
    return unary(FDL_SOFTPLUS, input, beta, threshold)


def clamp(Tensor input, min=None, max=None):
    """input limited to [min, max]; either may be None, a number or a tensor."""
    if min is None and max is None:
        raise RuntimeError("[clamp] at least one of min and max must not be None")
    if not is_fast(cnp.PyArray_TYPE(input.a)) or isinstance(min, Tensor) or isinstance(max, Tensor):
        if category(cnp.PyArray_TYPE(input.a)) == 1:
            min, max = [storable(x, cnp.PyArray_TYPE(input.a)) if isinstance(x, int) else x for x in (min, max)]
        out = input if min is None else maximum(input, as_tensor(min, input))
        return out if max is None else minimum(out, as_tensor(max, input))
    return unary(FDL_CLAMP, input, float("-inf") if min is None else min, float("inf") if max is None else max)


def clamp_(Tensor input, min=None, max=None):
    if min is None and max is None:
        raise RuntimeError("[clamp_] at least one of min and max must not be None")
    if not is_fast(cnp.PyArray_TYPE(input.a)) or isinstance(min, Tensor) or isinstance(max, Tensor):
        return input.clip_(min, max)
    return unary_inplace(FDL_CLAMP, input, float("-inf") if min is None else min, float("inf") if max is None else max)


def neg_(Tensor input): return unary_inplace(FDL_NEG, input, 0, 0)
def abs_(Tensor input): return unary_inplace(FDL_ABS, input, 0, 0)
def exp_(Tensor input): return unary_inplace(FDL_EXP, input, 0, 0)
def log_(Tensor input): return unary_inplace(FDL_LOG, input, 0, 0)
def sqrt_(Tensor input): return unary_inplace(FDL_SQRT, input, 0, 0)
def square_(Tensor input): return unary_inplace(FDL_SQUARE, input, 0, 0)
def reciprocal_(Tensor input): return unary_inplace(FDL_RECIPROCAL, input, 0, 0)
def tanh_(Tensor input): return unary_inplace(FDL_TANH, input, 0, 0)
def sigmoid_(Tensor input): return unary_inplace(FDL_SIGMOID, input, 0, 0)
def relu_(Tensor input): return unary_inplace(FDL_RELU, input, 0, 0)


# Through NumPy: no kernel is hot here -----------------------------------------------------------------------------

cdef Tensor by_numpy(str name, object function, object a, object b):
    """function(a, b) on NumPy arrays of the promoted type; not differentiable."""
    cdef Tensor x, y
    cdef npy_intp dims[MAX_DIMS]
    if isinstance(a, Tensor):
        x, y = a, as_tensor(b, a)
    else:
        x, y = as_tensor(a, <Tensor?> b), <Tensor?> b
    broadcast(name, x.a, y.a, dims)
    cdef int typenum = result_type(x, y)
    if is_half(typenum):
        x = wrap(own_array(function(cast(x, cnp.NPY_FLOAT32).a, cast(y, cnp.NPY_FLOAT32).a)))
        return cast(x, typenum) if category(cnp.PyArray_TYPE(x.a)) == 2 else x
    return wrap(own_array(function(cast(x, typenum).a, cast(y, typenum).a)))


def not_by_zero(function):
    """`function` on arrays, which integers refuse to divide by 0 with."""
    def divide(a, b):
        if b.dtype.kind in "iu" and not b.all():
            raise RuntimeError("ZeroDivisionError: integer division or remainder by zero")
        return function(a, b)
    return divide


floor_quotient, remains = not_by_zero(np.floor_divide), not_by_zero(np.remainder)
rest_of = not_by_zero(np.fmod)


@cython.final
cdef class RoundedBackward(BinaryBackward):
    """out = floor(x / y):  dx = dy = 0, but an error for floor_divide, as in PyTorch
    out = x - floor(x / y) y:  dx = g,  dy = -g floor(x / y); fmod: trunc in place of floor"""
    cdef str op, rounding

    def name(self):
        return "NotImplemented" if self.op == "floor_divide" else self.op.title() + "Backward0"

    cdef object apply(self, Tensor g):
        cdef Tensor dx = None, dy = None
        if self.op == "floor_divide":
            raise RuntimeError("derivative for aten::floor_divide is not implemented")
        if self.op == "div":
            return (new_zeros_of(self.shape_x, cnp.PyArray_TYPE(g.a)) if self.need_x else None,
                    new_zeros_of(self.shape_y, cnp.PyArray_TYPE(g.a)) if self.need_y else None)
        if self.need_x:
            dx = sum_to(g, self.shape_x)
        if self.need_y:
            dy = sum_to(binary(FDL_MUL, g, -div(self.saved(0), self.saved(1), rounding_mode=self.rounding), 1), self.shape_y)
        return dx, dy


def floor_divide(input, other):
    """The largest integers not above input / other; not differentiable."""
    return rounded("floor_divide", floor_quotient, "floor", input, other)


cdef Tensor rounded(str op, object function, str rounding, object input, object other):
    cdef Tensor x, y, out = by_numpy(op, function, input, other)
    cdef RoundedBackward node
    x = input if isinstance(input, Tensor) else as_tensor(input, other)
    y = other if isinstance(other, Tensor) else as_tensor(other, x)
    if grad_enabled() and (wants(x) or wants(y)):
        x, y = to_type(x, cnp.PyArray_TYPE(out.a)), to_type(y, cnp.PyArray_TYPE(out.a))
        node = RoundedBackward.__new__(RoundedBackward)
        node.need_x, node.need_y = wants(x), wants(y)
        node.shape_x, node.shape_y, node.op, node.rounding = shape_of(x), shape_of(y), op, rounding
        if node.need_y and op in ("remainder", "fmod"):
            node.save(0, x)
            node.save(1, y)
        attach(out, node, (edge(x), edge(y)))
    return out


def remainder(input, other):
    """input - floor(input / other) * other: the sign of `other`."""
    return rounded("remainder", remains, "floor", input, other)


def fmod(input, other):
    """input - trunc(input / other) * other: the sign of `input`."""
    return rounded("fmod", rest_of, "trunc", input, other)


def logical_and(input, other): return by_numpy("logical_and", np.logical_and, input, other)
def logical_or(input, other): return by_numpy("logical_or", np.logical_or, input, other)
def logical_xor(input, other): return by_numpy("logical_xor", np.logical_xor, input, other)
def bitwise_and(input, other): return by_numpy("bitwise_and", np.bitwise_and, input, other)
def bitwise_or(input, other): return by_numpy("bitwise_or", np.bitwise_or, input, other)
def bitwise_xor(input, other): return by_numpy("bitwise_xor", np.bitwise_xor, input, other)
def logical_not(Tensor input): return wrap(own_array(np.logical_not(input.a)))

def bitwise_not(Tensor input):
    if category(cnp.PyArray_TYPE(input.a)) == 2:
        raise TypeError("~ (operator.invert) is only implemented on integer and Boolean-type tensors")
    return wrap(own_array(np.invert(input.a)))


def isnan(Tensor input): return wrap(own_array(np.isnan(input.a)))
def isinf(Tensor input): return wrap(own_array(np.isinf(input.a)))
def isfinite(Tensor input): return wrap(own_array(np.isfinite(input.a)))


cdef object op_add(object a, object b): return binary(FDL_ADD, a, b, 1)
cdef object op_sub(object a, object b): return binary(FDL_SUB, a, b, 1)
cdef object op_mul(object a, object b): return binary(FDL_MUL, a, b, 1)
cdef object op_div(object a, object b): return binary(FDL_DIV, a, b, 1)
cdef object op_pow(object a, object b): return binary(FDL_POW, a, b, 1)
cdef object op_floordiv(object a, object b): return floor_divide(a, b)
cdef object op_mod(object a, object b): return remainder(a, b)
cdef object op_eq(object a, object b): return compare(FDL_EQ, a, b) if is_operand(b) else False
cdef object op_ne(object a, object b): return compare(FDL_NE, a, b) if is_operand(b) else True
cdef object op_lt(object a, object b): return compare(FDL_LT, a, b)
cdef object op_le(object a, object b): return compare(FDL_LE, a, b)
cdef object op_gt(object a, object b): return compare(FDL_GT, a, b)
cdef object op_ge(object a, object b): return compare(FDL_GE, a, b)
cdef object op_and(object a, object b): return bitwise_and(a, b)
cdef object op_or(object a, object b): return bitwise_or(a, b)
cdef object op_xor(object a, object b): return bitwise_xor(a, b)
cdef object op_iadd(Tensor a, object b): return binary_inplace(FDL_ADD, a, b, 1)
cdef object op_isub(Tensor a, object b): return binary_inplace(FDL_SUB, a, b, 1)
cdef object op_imul(Tensor a, object b): return binary_inplace(FDL_MUL, a, b, 1)
cdef object op_idiv(Tensor a, object b): return binary_inplace(FDL_DIV, a, b, 1)
cdef object op_ipow(Tensor a, object b): return binary_inplace(FDL_POW, a, b, 1)
cdef object op_neg(Tensor a): return unary(FDL_NEG, a, 0, 0)
cdef object op_abs(Tensor a): return unary(FDL_ABS, a, 0, 0)
cdef object op_invert(Tensor a): return bitwise_not(a)

cdef bint is_operand(object b):
    return isinstance(b, (Tensor, ndarray)) or is_number(b)

operators.add, operators.sub, operators.mul, operators.div = op_add, op_sub, op_mul, op_div
operators.pow, operators.floordiv, operators.mod = op_pow, op_floordiv, op_mod
operators.eq, operators.ne, operators.lt = op_eq, op_ne, op_lt
operators.le, operators.gt, operators.ge = op_le, op_gt, op_ge
operators.and_, operators.or_, operators.xor = op_and, op_or, op_xor
operators.iadd, operators.isub, operators.imul = op_iadd, op_isub, op_imul
operators.idiv, operators.ipow = op_idiv, op_ipow
operators.neg, operators.abs, operators.invert = op_neg, op_abs, op_invert
operators.accumulate = accumulate

register_all(globals(), "add sub mul div pow maximum minimum add_ sub_ mul_ div_ pow_ eq ne lt le gt ge neg abs exp "
                        "log sqrt rsqrt square reciprocal tanh sigmoid erf sign log1p expm1 relu clamp clamp_ neg_ "
                        "abs_ exp_ log_ sqrt_ square_ reciprocal_ tanh_ sigmoid_ relu_ floor_divide remainder fmod "
                        "logical_and logical_or logical_xor bitwise_and bitwise_or bitwise_xor logical_not "
                        "bitwise_not isnan isinf isfinite sin cos tan asin acos atan atan2 sinh cosh exp2 log2 log10 "
                        "floor ceil trunc round")
register("where", lambda self, condition, other: where_(condition, self, other))
register("true_divide", div)
register("multiply", mul)
register("subtract", sub)
