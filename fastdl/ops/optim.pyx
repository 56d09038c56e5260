"""Optimizer steps over lists of parameters, each list in one kernel call, and the norm of their gradients."""

cimport cython
cimport numpy as cnp
from libc.math cimport isfinite, sqrt
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc

from .._kernels cimport Scratch, fdl_rows, fdl_table, scratch
from .._tensor cimport RowsGrad, Tensor, alias, bump, contiguous, copy_into, dense_grad, empty_like, is_fast, kernels
from .common cimport GIL_ELEMS, same_shape

cnp.import_array()

cdef enum:
    COLUMNS = 5     # p, g, and up to three state arrays


# Columns of pointers, as the kernels want them. A run is a stretch of rows with the same type and key, which one
# call can do; almost always it is the whole list.
@cython.final
@cython.no_gc
cdef class Rows:
    cdef void **column[COLUMNS]
    cdef fdl_rows *rows         # of the gradient
    cdef int64_t *n
    cdef int64_t *key
    cdef int *typenum
    cdef int64_t count, elements
    cdef int64_t parts          # what segments() will have; 0: every gradient is whole
    cdef list params, keep, copies

    def __cinit__(self, Py_ssize_t capacity):
        cdef Py_ssize_t i, size = capacity + 1
        self.rows = <fdl_rows *> malloc(size * (sizeof(fdl_rows) + COLUMNS * sizeof(void *) + 2 * sizeof(int64_t)
                                                + sizeof(int)))
        if self.rows == NULL:
            raise MemoryError(f"no memory for a list of {capacity} parameters")
        self.n = <int64_t *> (self.rows + size)
        self.key = self.n + size
        for i in range(COLUMNS):
            self.column[i] = <void **> (self.key + size) + i * size
        self.typenum = <int *> (self.column[COLUMNS - 1] + size)
        self.params, self.keep, self.copies = [], [], []

    def __dealloc__(self):
        free(self.rows)

    cdef int add(self, str op, Tensor p, Tensor g) except -1:
        cdef int64_t i = self.count
        cdef int typenum = cnp.PyArray_TYPE(p.a)
        if not is_fast(typenum):
            raise TypeError(f"[{op}] expected parameters of type float32 or float64, got {p.dtype}")
        cdef RowsGrad part = None
        if type(g) is RowsGrad:
            part = <RowsGrad> g
            if part.height != cnp.PyArray_DIMS(p.a)[0] or cnp.PyArray_TYPE(g.a) != typenum:  # p.data was exchanged
                g, part = dense_grad(g), None
        if part is None and (cnp.PyArray_TYPE(g.a) != typenum or not same_shape(g.a, p.a)):
            raise ValueError(f"[{op}] gradient: expected shape {(<object> p.a).shape} and type {p.dtype} as the "
                             f"parameter, "
                             f"got {(<object> g.a).shape} and {g.dtype}")
        self.params.append(p)
        if not cnp.PyArray_IS_C_CONTIGUOUS(p.a):
            self.copies.append((p, contiguous(p)))
            p = <Tensor> self.copies[len(self.copies) - 1][1]
        if not cnp.PyArray_IS_C_CONTIGUOUS(g.a):
            g = contiguous(g)
        self.keep.append(g)
        self.column[0][i] = cnp.PyArray_DATA(p.a)
        self.column[1][i] = cnp.PyArray_DATA(g.a)
        self.n[i] = cnp.PyArray_SIZE(p.a)
        self.key[i] = 0
        self.rows[i].row = NULL
        if part is not None:
            self.rows[i].row = <const int64_t *> part.row.data
            self.rows[i].count, self.rows[i].d = cnp.PyArray_DIMS(g.a)[0], cnp.PyArray_DIMS(g.a)[1]
            self.parts += 2 * self.rows[i].count + 1
        self.typenum[i] = typenum
        self.elements += self.n[i]
        self.count = i + 1
        return 0

    # the buffer `name` of row i's state, made of zeros (or left as it is) if there is none
    cdef int add_state(self, str op, int column, int64_t i, dict state, str name, bint zeros=True) except -1:
        cdef Tensor p = <Tensor> self.params[i], buffer
        found = state.get(name)
        if found is None:
            buffer = empty_like(p, self.typenum[i])
            if zeros:
                cnp.PyArray_FILLWBYTE(buffer.a, 0)
            state[name] = buffer
        elif not isinstance(found, Tensor) or not same_shape((<Tensor> found).a, p.a) \
                or cnp.PyArray_TYPE((<Tensor> found).a) != self.typenum[i]:
            raise ValueError(f"[{op}] state {name!r}: expected a tensor of shape {(<object> p.a).shape} and type "
                             f"{p.dtype}, got {found!r:.100}")
        else:
            buffer = <Tensor> found
            if not cnp.PyArray_IS_C_CONTIGUOUS(buffer.a):
                buffer = contiguous(buffer)
                state[name] = buffer
        self.keep.append(buffer)
        self.column[column][i] = cnp.PyArray_DATA(buffer.a)
        return 0

    # The list with pieces of parameters instead of those whose gradient has some rows only: runs of rows that it has,
    # and between them, unless `touched_only`, runs whose gradient is NULL, which stands for zero.
    cdef Rows segments(self, bint touched_only):
        cdef Rows out
        cdef const int64_t *row
        cdef int64_t i, u, last, d, at
        if self.parts == 0:
            return self
        out = Rows(self.count + self.parts)
        out.params, out.copies = self.params, self.copies
        out.keep.append(self)
        for i in range(self.count):
            row, d, at, u = self.rows[i].row, self.rows[i].d, 0, 0
            if row == NULL:
                out.piece(self, i, 0, self.n[i], 0)
                continue
            while u < self.rows[i].count:
                if at < row[u] and not touched_only:
                    out.piece(self, i, at * d, (row[u] - at) * d, -1)
                last = u + 1
                while last < self.rows[i].count and row[last] == row[last - 1] + 1:
                    last += 1
                out.piece(self, i, row[u] * d, (last - u) * d, u * d)
                at, u = row[last - 1] + 1, last
            if at * d < self.n[i] and not touched_only:
                out.piece(self, i, at * d, self.n[i] - at * d, -1)
        return out

    # elements [first, first + n) of array i of `whole`; g: where their gradient begins, -1: it is zero
    cdef void piece(self, Rows whole, int64_t i, int64_t first, int64_t n, int64_t g) noexcept:
        cdef int64_t k, at = self.count, item = 8 if whole.typenum[i] == cnp.NPY_FLOAT64 else 4
        for k in range(COLUMNS):
            self.column[k][at] = <char *> whole.column[k][i] + first * item
        self.column[1][at] = NULL if g < 0 else <char *> whole.column[1][i] + g * item
        self.n[at], self.key[at], self.typenum[at] = n, whole.key[i], whole.typenum[i]
        self.elements += n
        self.count += 1

    cdef int64_t run_end(self, int64_t begin):
        cdef int64_t end = begin + 1
        while end < self.count and self.key[end] == self.key[begin] and self.typenum[end] == self.typenum[begin]:
            end += 1
        return end

    cdef int written(self, str op) except -1:
        """Parameters that had to be copied are written back, and all of them have a new version."""
        cdef Tensor p, copy
        for p, copy in self.copies:
            copy_into(p, copy)
        for p in self.params:
            bump(p, op)
        return 0


cdef Tensor given(str op, Tensor p):
    if p is None:
        raise TypeError(f"[{op}] parameters: expected tensors, got None")
    return p


cdef Rows rows_of(str op, list params):
    """The parameters that have a gradient."""
    cdef Rows rows = Rows(len(params))
    cdef Tensor p
    for p in params:
        if given(op, p).grad_ is not None:
            rows.add(op, p, p.grad_)
    return rows


def with_grad(list params):
    """Those that have a gradient."""
    cdef Tensor p
    return [p for p in params if given("with_grad", p).grad_ is not None]


def zero_grad(list params, bint set_to_none):
    """Drops the gradients, or sets them to zero."""
    cdef Tensor p
    for p in params:
        if given("zero_grad", p).grad_ is None:
            continue
        if set_to_none:
            p.grad_ = None
        else:
            p.grad_ = dense_grad(p.grad_).detach()
            cnp.PyArray_FILLWBYTE(p.grad_.a, 0)
            bump(p.grad_, "zero_grad")


def sgd_step(list params, state, double lr, double momentum, double dampening, double weight_decay, bint nesterov,
             bint maximize, double grad_scale):
    """One SGD step of all parameters with a gradient; `state[p]["momentum_buffer"]` is made by the first."""
    cdef Rows r = rows_of("SGD", params)
    cdef int64_t i = 0, j
    cdef const fdl_table *K
    cdef dict s
    if momentum != 0:
        for i in range(r.count):
            s = state[r.params[i]]
            r.key[i] = s.get("momentum_buffer") is None
            r.add_state("SGD", 2, i, s, "momentum_buffer", False)
    r = r.segments(momentum == 0 and weight_decay == 0 and not maximize and isfinite(lr * grad_scale))
    i = 0
    while i < r.count:
        j, K = r.run_end(i), kernels(r.typenum[i])
        if r.elements < GIL_ELEMS:
            K.sgd_step(r.column[0] + i, <const void **> r.column[1] + i, r.column[2] + i, r.n + i, j - i, lr, momentum,
                       dampening, weight_decay, nesterov, maximize, <int> r.key[i], grad_scale)
        else:
            with nogil:
                K.sgd_step(r.column[0] + i, <const void **> r.column[1] + i, r.column[2] + i, r.n + i, j - i, lr,
                           momentum, dampening, weight_decay, nesterov, maximize, <int> r.key[i], grad_scale)
        i = j
    r.written("SGD")


cdef int64_t next_step(dict s) except -1:
    cdef int64_t step = int(s.get("step", 0)) + 1
    s["step"] = step
    return step


def adam_step(list params, state, double lr, double beta1, double beta2, double eps, double weight_decay, bint decoupled,
              bint amsgrad, bint maximize, double grad_scale):
    """One Adam(W) step of all parameters with a gradient. Their state is step, exp_avg, exp_avg_sq, max_exp_avg_sq."""
    cdef Rows r = rows_of("Adam", params)
    cdef int64_t i = 0, j
    cdef const fdl_table *K
    cdef dict s
    cdef void **top
    for i in range(r.count):
        s = state[r.params[i]]
        r.key[i] = next_step(s)
        r.add_state("Adam", 2, i, s, "exp_avg")
        r.add_state("Adam", 3, i, s, "exp_avg_sq")
        if amsgrad:
            r.add_state("Adam", 4, i, s, "max_exp_avg_sq")
    r = r.segments(False)
    i = 0
    while i < r.count:
        j, K, top = r.run_end(i), kernels(r.typenum[i]), r.column[4] + i if amsgrad else NULL
        if r.elements < GIL_ELEMS:
            K.adam_step(r.column[0] + i, <const void **> r.column[1] + i, r.column[2] + i, r.column[3] + i, top, r.n + i,
                        j - i, lr, beta1, beta2, eps, weight_decay, decoupled, maximize, r.key[i], grad_scale)
        else:
            with nogil:
                K.adam_step(r.column[0] + i, <const void **> r.column[1] + i, r.column[2] + i, r.column[3] + i, top,
                            r.n + i, j - i, lr, beta1, beta2, eps, weight_decay, decoupled, maximize, r.key[i], grad_scale)
        i = j
    r.written("Adam")


def rmsprop_step(list params, state, double lr, double alpha, double eps, double weight_decay, double momentum,
                 bint centered, bint maximize, double grad_scale):
    """One RMSprop step. State: step, square_avg, grad_avg if centered, momentum_buffer with momentum."""
    cdef Rows r = rows_of("RMSprop", params)
    cdef int64_t i = 0, j
    cdef const fdl_table *K
    cdef dict s
    cdef void **mean
    cdef void **buf
    for i in range(r.count):
        s = state[r.params[i]]
        next_step(s)
        r.add_state("RMSprop", 2, i, s, "square_avg")
        if centered:
            r.add_state("RMSprop", 3, i, s, "grad_avg")
        if momentum != 0:
            r.add_state("RMSprop", 4, i, s, "momentum_buffer")
    r = r.segments(False)
    i = 0
    while i < r.count:
        j, K = r.run_end(i), kernels(r.typenum[i])
        mean = r.column[3] + i if centered else NULL
        buf = r.column[4] + i if momentum != 0 else NULL
        with nogil:
            K.rmsprop_step(r.column[0] + i, <const void **> r.column[1] + i, r.column[2] + i, mean, buf, r.n + i, j - i, lr,
                           alpha, eps, weight_decay, momentum, maximize, grad_scale)
        i = j
    r.written("RMSprop")


def adagrad_step(list params, state, double lr, double lr_decay, double eps, double weight_decay, double initial,
                 bint maximize, double grad_scale):
    """One Adagrad step with lr / (1 + (step - 1) lr_decay). State: step, sum, which starts as `initial`."""
    cdef Rows r = rows_of("Adagrad", params)
    cdef int64_t i = 0, j
    cdef const fdl_table *K
    cdef dict s
    for i in range(r.count):
        s = state[r.params[i]]
        r.key[i] = next_step(s)
        if s.get("sum") is None:
            s["sum"] = filled(<Tensor> r.params[i], initial)
        r.add_state("Adagrad", 2, i, s, "sum")
    r = r.segments(False)
    i = 0
    while i < r.count:
        j, K = r.run_end(i), kernels(r.typenum[i])
        with nogil:
            K.adagrad_step(r.column[0] + i, <const void **> r.column[1] + i, r.column[2] + i, r.n + i, j - i,
                           lr / (1 + (r.key[i] - 1) * lr_decay), eps, weight_decay, maximize, grad_scale)
        i = j
    r.written("Adagrad")


cdef Tensor filled(Tensor p, double value):
    cdef Tensor t = empty_like(p, cnp.PyArray_TYPE(p.a))
    (<object> t.a).fill(value)
    return t


def adadelta_step(list params, state, double lr, double rho, double eps, double weight_decay, bint maximize,
                  double grad_scale):
    """One Adadelta step. State: step, square_avg, acc_delta."""
    cdef Rows r = rows_of("Adadelta", params)
    cdef int64_t i = 0, j
    cdef const fdl_table *K
    cdef dict s
    for i in range(r.count):
        s = state[r.params[i]]
        next_step(s)
        r.add_state("Adadelta", 2, i, s, "square_avg")
        r.add_state("Adadelta", 3, i, s, "acc_delta")
    r = r.segments(False)
    i = 0
    while i < r.count:
        j, K = r.run_end(i), kernels(r.typenum[i])
        with nogil:
            K.adadelta_step(r.column[0] + i, <const void **> r.column[1] + i, r.column[2] + i, r.column[3] + i, r.n + i,
                            j - i, lr, rho, eps, weight_decay, maximize, grad_scale)
        i = j
    r.written("Adadelta")


# Norms of gradients -----------------------------------------------------------------------------------------------

cdef double norm_of(Rows r) except? -1:
    cdef int64_t i = 0, j
    cdef const fdl_table *K
    cdef Scratch s
    cdef double total = 0
    while i < r.count:
        j, K = r.run_end(i), kernels(r.typenum[i])
        s = scratch(K.sumsq_scratch(r.n + i, j - i))
        if r.elements < GIL_ELEMS:
            total += K.sumsq(<const void **> r.column[1] + i, r.rows + i if r.parts else NULL, r.n + i, j - i, s.data)
        else:
            with nogil:
                total += K.sumsq(<const void **> r.column[1] + i, r.rows + i if r.parts else NULL, r.n + i, j - i, s.data)
        i = j
    return sqrt(total)


def grad_norm(list params):
    """The 2-norm of all gradients together, as a float."""
    return norm_of(rows_of("grad_norm", params))


def scale_grads(list params, double factor):
    """Multiplies every gradient by a number, in place."""
    cdef Rows r = Rows(len(params))
    cdef Tensor p, g
    cdef int64_t i = 0, j
    cdef const fdl_table *K
    for p in params:
        if given("scale_grads", p).grad_ is None:
            continue
        if not isfinite(factor):  # zeros become NaN, too
            p.grad_ = dense_grad(p.grad_)
        g = p.grad_
        if type(g) is RowsGrad:  # its values are what there is to scale
            g = alias(g)
        r.add("scale_grads", g, g)
    while i < r.count:
        j, K = r.run_end(i), kernels(r.typenum[i])
        with nogil:
            K.scale(r.column[0] + i, r.n + i, j - i, factor)
        i = j
    r.written("scale_grads")
