"""Chains: element-wise expressions of named operations that run in one pass over memory, as do their derivatives.

A chain is written once, as a function: `Chain("MishBackward0", lambda x: x * tanh(softplus(x)))`. Called with symbols it
gives an expression (expression.py); that is differentiated, and both become programs for csrc/chain.c at first use.
A reduced chain computes its gradient together with its value. Under create_graph the derivative's expression is
evaluated with Tensor operators instead, so that it is recorded.
"""

cimport cython
cimport numpy as cnp
from libc.stdint cimport int64_t
from numpy cimport npy_intp

import re

from .expression import build, differentiated, evaluated, program, symbol

from .._kernels cimport *
from .._tensor cimport (Node, Tensor, attach, contiguous, edge, empty, empty_like, grad_enabled, is_fast, is_half, kernels, wants)
from .common cimport (GIL_ELEMS, MAX_DIMS, broadcast, expand_to, result_type, same_shape, shape_of, sum_to, to_float,
                      to_type)
from .elementwise cimport scaled

cnp.import_array()

cdef enum:
    VALUE       # out = f
    SUM         # sum of f
    GRADIENT    # g f' for the wanted inputs; g is one more input
    SUM_GRADIENT    # sum of f, and f' times one more parameter
    MOST_INPUTS = 4


# Programs ---------------------------------------------------------------------------------------------------------

CODES = {
    "sum": FDL_CHAIN_SUM, "copy": FDL_CHAIN_COPY, "neg": FDL_CHAIN_NEG, "abs": FDL_CHAIN_ABS, "sign": FDL_CHAIN_SIGN,
    "exp": FDL_CHAIN_EXP, "expm1": FDL_CHAIN_EXPM1, "log": FDL_CHAIN_LOG, "log1p": FDL_CHAIN_LOG1P,
    "tanh": FDL_CHAIN_TANH, "sigmoid": FDL_CHAIN_SIGMOID, "softplus": FDL_CHAIN_SOFTPLUS, "add": FDL_CHAIN_ADD,
    "sub": FDL_CHAIN_SUB, "mul": FDL_CHAIN_MUL, "div": FDL_CHAIN_DIV, "where_lt": FDL_CHAIN_WHERE_LT,
    "where_le": FDL_CHAIN_WHERE_LE, "where_eq": FDL_CHAIN_WHERE_EQ,
}
cdef dict FIRST = {
    "output": FDL_CHAIN_REGISTERS, "input": FDL_CHAIN_REGISTERS + FDL_CHAIN_OUTPUTS,
    "number": FDL_CHAIN_REGISTERS + FDL_CHAIN_OUTPUTS + FDL_CHAIN_INPUTS,
}


cdef class Program:
    """The steps and constants of expressions."""

    def __init__(self, list outputs, list sums):
        steps, constants = program(outputs, sums, CODES, FDL_CHAIN_REGISTERS, FIRST)
        if len(steps) > FDL_CHAIN_CONSTANTS or len(constants) > FDL_CHAIN_CONSTANTS:
            raise ValueError(f"a chain of {len(steps)} operations on {len(constants)} constants is too long")
        self.steps, self.numbers = <int> len(steps), <int> len(constants)
        self.outputs, self.sums = <int> len(outputs), <int> len(sums)
        for i, step in enumerate(steps):
            for k in range(6):
                self.step[6 * <int> i + <int> k] = step[k]
        for i, (number, parameter) in enumerate(constants):
            self.number[<int> i], self.parameter[<int> i] = number, parameter


cdef class Chain:
    """An element-wise function of up to four tensors and then of parameters.

    Args:
        title: the name of its node.
        function: of `arity` inputs, then of `parameters` numbers.
        derivative: of (g, *inputs, *numbers) -> a gradient or None for each input, where the formula's own is not wanted.
        check: of the same arguments as function; a sum that is not zero is an error of the caller's.
    """

    def __init__(self, title, function, int arity=1, int parameters=0, derivative=None, check=None):
        self.title, self.arity, self.parameters = title, arity, parameters
        self.function, self.derivative, self.check = function, derivative, check
        self.programs = [None] * 64
        assert arity <= MOST_INPUTS and parameters <= 2, title

    cdef tuple symbols(self):
        return (tuple([symbol("input", i) for i in range(self.arity)])
                + tuple([symbol("parameter", i) for i in range(self.parameters)]))

    cdef list gradients(self, object g):
        """The derivatives times g for all inputs; None: there is none."""
        cdef tuple symbols = self.symbols()
        if self.derivative is not None:
            return list(self.derivative(g, *symbols))
        return differentiated(self.function(*symbols), g, list(symbols[:self.arity]))

    cdef Program program(self, int kind, int wanted):
        """wanted: bit i: the gradient of input i"""
        cdef Program p = self.programs[16 * kind + wanted]
        cdef tuple symbols
        cdef list outputs = [], sums = []
        if p is not None:
            return p
        symbols = self.symbols()
        if kind == VALUE:
            outputs = [self.function(*symbols)]
        elif kind != GRADIENT:
            sums = [self.function(*symbols)]
        if kind == GRADIENT or kind == SUM_GRADIENT:
            g = symbol("input", self.arity) if kind == GRADIENT else symbol("parameter", 2)
            found = self.gradients(g)
            outputs = [build("mul", g, 0) if found[i] is None else found[i] for i in range(self.arity) if wanted >> i & 1]
        if self.check is not None and kind != GRADIENT:
            sums.append(self.check(*symbols))
        p = self.programs[16 * kind + wanted] = Program(outputs, sums)
        return p


# Running ----------------------------------------------------------------------------------------------------------

cdef struct Call:
    fdl_chain_args args
    double constant[64]
    double sum[2]


cdef int execute(Program p, Call *call, int typenum, double *parameters) except -1:
    """Runs p; inputs, periods, outputs and n are set."""
    cdef fdl_chain_args *a = &call.args
    cdef const fdl_table *K = kernels(typenum)
    cdef double few[2]
    cdef Scratch partial
    cdef int i
    a.step, a.steps, a.outputs, a.sums, a.constants = p.step, p.steps, p.outputs, p.sums, p.numbers
    a.constant, a.sum, a.partial = call.constant, call.sum, few
    for i in range(p.numbers):
        call.constant[i] = p.number[i] if p.parameter[i] < 0 else parameters[p.parameter[i]]
    if a.n < GIL_ELEMS // 8:
        K.chain(a)
        return 0
    if p.sums:
        partial = scratch((a.n // 4096 + 1) * p.sums * <int64_t> sizeof(double))
        a.partial = <double *> partial.data
    watch(ELEM_FMAS * a.n)
    with nogil:
        K.chain(a)
    unwatch()
    return 0


cdef int64_t period_of(Tensor x, Tensor like) noexcept:
    """How x repeats over the elements of `like`: 0 never, 1 a number, n its last dimensions; -1: otherwise."""
    cdef int i, n = cnp.PyArray_NDIM(x.a), m = cnp.PyArray_NDIM(like.a)
    if same_shape(x.a, like.a):
        return 0
    if n > m:
        return -1
    if cnp.PyArray_SIZE(x.a) == 1:
        return 1
    for i in range(n):
        if cnp.PyArray_DIMS(x.a)[n - 1 - i] != cnp.PyArray_DIMS(like.a)[m - 1 - i]:
            return -1
    return cnp.PyArray_SIZE(x.a)


@cython.final
cdef class ChainBackward(Node):
    """out = f(inputs), maybe reduced:  d = g f'. Saved: the inputs; grads: of a reduced chain, without g."""
    cdef Chain chain
    cdef int reduction, wanted
    cdef double parameters[3]       # the third: what a reduced chain's gradient is scaled by
    cdef list grads

    def name(self):
        return self.chain.title

    cdef void free(self):
        self.freed = True
        self.s0 = self.s1 = self.s2 = self.s3 = None
        self.grads = None

    cdef object apply(self, Tensor g):
        cdef int i
        cdef list inputs = [self.saved(i) for i in range(self.chain.arity)], found
        cdef double factor
        if grad_enabled():
            found = self.recorded(g, inputs)
        elif self.reduction == FDL_REDUCTION_NONE:
            found = self.computed(contiguous(g), inputs)
        else:
            factor = (<double *> cnp.PyArray_DATA(g.a))[0] if cnp.PyArray_TYPE(g.a) == cnp.NPY_FLOAT64 else (
                <float *> cnp.PyArray_DATA(g.a))[0]
            found = list(self.grads) if factor == 1 else [None if d is None else scaled(d, factor) for d in self.grads]
        for i in range(self.chain.arity):
            if found[i] is not None and not same_shape((<Tensor> found[i]).a, (<Tensor> inputs[i]).a):
                found[i] = sum_to(found[i], shape_of(inputs[i]))
        return found[0] if self.chain.arity == 1 else tuple(found)

    cdef list computed(self, Tensor g, list inputs):
        cdef Call call
        cdef list found = []
        cdef Tensor x
        cdef int i
        call.args.n, call.args.inputs = cnp.PyArray_SIZE(g.a), self.chain.arity + 1
        call.args.x[self.chain.arity], call.args.period[self.chain.arity] = cnp.PyArray_DATA(g.a), 0
        kept = []
        count = 0
        for i in range(self.chain.arity):
            x = contiguous(inputs[i])
            kept.append(x)
            call.args.x[i], call.args.period[i] = cnp.PyArray_DATA(x.a), period_of(x, g)
            found.append(empty_like(g, cnp.PyArray_TYPE(g.a)) if self.wanted >> i & 1 else None)
            if found[i] is not None:
                call.args.y[<int> count] = cnp.PyArray_DATA((<Tensor> found[i]).a)
                count += 1
        execute(self.chain.program(GRADIENT, self.wanted), &call, cnp.PyArray_TYPE(g.a), self.parameters)
        return found

    cdef list recorded(self, Tensor g, list inputs):
        upstream = symbol("input", self.chain.arity)
        cdef dict known = {id(s): inputs[i] if i < self.chain.arity else self.parameters[i - self.chain.arity]
                           for i, s in enumerate(self.chain.symbols())}
        cdef list found = self.chain.gradients(upstream)
        known[id(upstream)] = g if self.reduction == FDL_REDUCTION_NONE else scaled(g, self.parameters[2])
        whole = shape_of(inputs[0])
        return [None if not self.wanted >> i & 1 or d is None else expand_to(evaluated(d, known), whole)
                for i, d in enumerate(found)]


cdef Tensor run(Chain chain, int reduction, Tensor a, Tensor b, Tensor c, Tensor d, double p, double q):
    cdef int typenum = cnp.PyArray_TYPE(a.a), i, arity = chain.arity, wanted = 0, count = 0
    cdef int64_t n = cnp.PyArray_SIZE(a.a)
    cdef Call call
    cdef double parameters[3]
    cdef Tensor x, out, given
    cdef ChainBackward node
    cdef list grads = None
    cdef tuple inputs = (a,) if arity == 1 else (a, b) if arity == 2 else (a, b, c) if arity == 3 else (a, b, c, d)
    cdef list kept = None
    for i in range(arity):
        given = <Tensor> inputs[i]
        if cnp.PyArray_TYPE(given.a) != typenum or not is_fast(typenum):
            return converted(chain, reduction, inputs, p, q)
        call.args.period[i] = period_of(given, a) if i else 0
        if call.args.period[i] < 0:
            return expanded(chain, reduction, inputs, p, q)
        x = given
        if not cnp.PyArray_IS_C_CONTIGUOUS(given.a):
            x = contiguous(given)
            kept = [x] if kept is None else kept + [x]
        call.args.x[i] = cnp.PyArray_DATA(x.a)
        if grad_enabled() and wants(given):
            wanted |= 1 << i
    call.args.n, call.args.inputs = n, arity
    parameters[0], parameters[1] = p, q
    parameters[2] = 1.0 / n if reduction == FDL_REDUCTION_MEAN and n else 1.0
    if reduction == FDL_REDUCTION_NONE:
        out = empty_like(a, typenum)
        call.args.y[0] = cnp.PyArray_DATA(out.a)
        execute(chain.program(VALUE, 0), &call, typenum, parameters)
    else:
        out = empty(0, NULL, typenum)
        if wanted:
            grads = [None] * arity
            for i in range(arity):
                if wanted >> i & 1:
                    x = empty_like(a, typenum)
                    grads[i] = x
                    call.args.y[count] = cnp.PyArray_DATA(x.a)
                    count += 1
        execute(chain.program(SUM_GRADIENT if wanted else SUM, wanted), &call, typenum, parameters)
        if reduction == FDL_REDUCTION_MEAN:
            call.sum[0] = call.sum[0] / n if n else float("nan")
        if typenum == cnp.NPY_FLOAT64:
            (<double *> cnp.PyArray_DATA(out.a))[0] = call.sum[0]
        else:
            (<float *> cnp.PyArray_DATA(out.a))[0] = <float> call.sum[0]
    if chain.check is not None and call.sum[0 if reduction == FDL_REDUCTION_NONE else 1] != 0:
        return None
    if wanted:
        node = ChainBackward.__new__(ChainBackward)
        node.chain, node.reduction, node.wanted, node.grads = chain, reduction, wanted, grads
        node.parameters[0], node.parameters[1], node.parameters[2] = p, q, parameters[2]
        for i in range(arity):
            node.save(i, <Tensor> inputs[i])
        attach(out, node, (edge(a),) if arity == 1 else (edge(a), edge(b)) if arity == 2 else
               tuple([edge(<Tensor> t) for t in inputs]))
    return out


cdef Tensor again(Chain chain, int reduction, list inputs, double p, double q):
    inputs = inputs + [None] * (MOST_INPUTS - len(inputs))
    return run(chain, reduction, inputs[0], inputs[1], inputs[2], inputs[3], p, q)


cdef Tensor converted(Chain chain, int reduction, tuple inputs, double p, double q):
    """With the inputs as one floating type that has kernels."""
    cdef Tensor x = inputs[0], out
    cdef int typenum
    for t in inputs[1:]:
        typenum = result_type(x, t)
        x = to_type(x, typenum)
    typenum = cnp.PyArray_TYPE(to_float(x).a)
    if not is_half(typenum):
        return again(chain, reduction, [to_type(t, typenum) for t in inputs], p, q)
    out = again(chain, reduction, [to_type(t, cnp.NPY_FLOAT32) for t in inputs], p, q)
    return None if out is None else to_type(out, typenum)


cdef Tensor expanded(Chain chain, int reduction, tuple inputs, double p, double q):
    """With the inputs broadcast to one shape."""
    cdef npy_intp dims[MAX_DIMS]
    cdef tuple shape = shape_of(inputs[0])
    cdef Tensor whole = inputs[0]
    cdef str name = ""
    for t in inputs[1:]:
        if not same_shape(whole.a, (<Tensor> t).a):
            name = re.sub("(?<=[a-z])(?=[A-Z])", "_", chain.title.removesuffix("Backward0")).lower()
        ndim = broadcast(name, whole.a, (<Tensor> t).a, dims)
        shape = tuple([dims[i] for i in range(ndim)])
        whole = expand_to(whole, shape)
    return again(chain, reduction, [expand_to(t, shape) for t in inputs], p, q)
