"""rnn, gru and lstm: whole sequences through stacked recurrent layers in one or both directions.

A call is one node of the graph. The input part of all gates of a layer is one matrix product, the recurrence one kernel
call, and each parameter's gradient one more product over all steps.
"""

cimport cython
cimport numpy as cnp
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from numpy cimport ndarray, npy_intp

import numpy as np

from .shape import transpose

from .._kernels cimport (FDL_ADD, FDL_SUM, Scratch, Storage, fdl_matmul_args, fdl_rnn_args, fdl_table, scratch, unwatch,
                         watch)
from .._tensor cimport (MultiNode, Node, Tensor, attach, attach_outputs, contiguous, edge, empty, empty_like,
                        grad_enabled, is_fast, is_half, kernels, own_array, wants, wrap)
from .common cimport shape_of, to_type
from .matmul cimport PackedWeight, kept_weight, packed_weight

cnp.import_array()

cdef enum:
    RNN = 1             # the numbers of gates
    GRU = 3
    LSTM = 4
    KEEP_ROWS = 1024    # up to which packing the recurrent weights takes more than a per cent of a call
    HOT_ROWS = 64       # from which looking up one-hot vectors is faster than their product with the weights

cdef dict MODES = {"rnn_tanh": RNN, "rnn_relu": RNN, "gru": GRU, "lstm": LSTM}


# Pieces -----------------------------------------------------------------------------------------------------------

cdef void *at(Tensor t, int64_t element) noexcept nogil:
    """Address of an element of a contiguous tensor; NULL for None."""
    if t is None:
        return NULL
    return <char *> cnp.PyArray_DATA(t.a) + element * cnp.PyArray_ITEMSIZE(t.a)


cdef Tensor matrix(int64_t rows, int64_t columns, int typenum):
    cdef npy_intp shape[2]
    shape[0], shape[1] = rows, columns
    return empty(2, shape, typenum)


cdef int product(const fdl_table *K, fdl_matmul_args args, size_t item) except -1:
    """c = op(a) op(b) (+ c) (+ bias); zeros for an empty sum."""
    cdef Scratch s
    cdef int64_t i
    if args.m == 0 or args.n == 0:
        return 0
    if args.k == 0:
        if not args.accumulate:
            for i in range(args.m):
                memset(<char *> args.c + i * args.ldc * item, 0, args.n * item)
        return 0
    args.batch = 1
    s = scratch(K.matmul_scratch(&args))
    args.scratch = s.data
    watch(<double> args.m * args.n * args.k)
    with nogil:
        K.matmul(&args)
    unwatch()
    return 0


cdef Tensor move_rows(Tensor x, int64_t column, int64_t ldx, Tensor other, int64_t first, ndarray index, double padding, int64_t d):
    """[index.size, d]: rows of the matrix that begins at element `column` of x; an index -1 - i is row i of the matrix at
    element `first` of `other`, or padding."""
    cdef Tensor out = matrix(cnp.PyArray_SIZE(index), d, cnp.PyArray_TYPE(x.a))
    cdef const fdl_table *K = kernels(cnp.PyArray_TYPE(x.a))
    cdef void *po = at(out, 0)
    cdef const void *px = at(x, column)
    cdef const void *pz = at(other, first)
    cdef const int64_t *pi = <const int64_t *> cnp.PyArray_DATA(index)
    cdef int64_t n = cnp.PyArray_SIZE(index)
    with nogil:
        K.rows(po, px, ldx, pz, pi, padding, n, d)
    return out


cdef Tensor as_shape(Tensor x, tuple shape):
    """x, fresh and C-contiguous, in another shape."""
    x.a = (<object> x.a).reshape(shape)
    return x


# Where the rows of a padded batch stand in the packed one, which has the longest sequences first.
@cython.final
cdef class Schedule:
    cdef int64_t steps, batch, rows     # of the padded batch; rows: real ones
    cdef ndarray sizes                  # rows of each step
    cdef ndarray packed                 # [rows]: the padded row of each packed row
    cdef ndarray padded                 # [steps * batch]: the packed row of each padded one, -1 behind the end
    cdef ndarray order                  # [batch]: which sequence is the n-th longest
    cdef ndarray places                 # [batch]: its inverse

    def __init__(self, ndarray lengths, int64_t steps, bint batch_first, ndarray order_given=None):
        cdef int64_t b, t, n, row = 0, longest
        cdef const int64_t *length = <const int64_t *> cnp.PyArray_DATA(lengths)
        cdef int64_t *sizes
        cdef int64_t *packed
        cdef int64_t *padded
        cdef const int64_t *order
        self.steps, self.batch = steps, cnp.PyArray_SIZE(lengths)
        if order_given is None:
            order_given = np.argsort(-<object> lengths, kind="stable")
        elif (np.sort(order_given) != np.arange(self.batch)).any() or (np.diff(lengths[order_given]) > 0).any():
            raise ValueError(f"indices: expected each of {self.batch} sequences once, longest first, got {order_given}")
        self.order = np.ascontiguousarray(order_given, np.int64)
        self.places = np.argsort(self.order, kind="stable").astype(np.int64)
        self.rows = (<object> lengths).sum()
        order = <const int64_t *> cnp.PyArray_DATA(self.order)
        longest = length[order[0]] if self.batch else 0
        self.sizes, self.packed = np.empty(longest, np.int64), np.empty(self.rows, np.int64)
        self.padded = np.full(steps * self.batch, -1, np.int64)
        sizes, packed = <int64_t *> cnp.PyArray_DATA(self.sizes), <int64_t *> cnp.PyArray_DATA(self.packed)
        padded = <int64_t *> cnp.PyArray_DATA(self.padded)
        n = self.batch
        for t in range(longest):
            while length[order[n - 1]] <= t:
                n -= 1
            sizes[t] = n
            for b in range(n):
                packed[row] = order[b] * steps + t if batch_first else t * self.batch + order[b]
                padded[packed[row]] = row
                row += 1


cdef ndarray repeated(ndarray rows, int64_t blocks):
    """The same choice of rows in each of several blocks of rows."""
    cdef object found = (np.arange(blocks)[:, None] * cnp.PyArray_SIZE(rows) + rows).reshape(-1)
    return found


# What the backward pass of one layer and direction needs. Saved: 0 its input [rows, I] or tokens [rows], 1 w_ih, 2 w_hh, 3 its layer's
# output [rows, D*H], of which this direction's part begins at column `column`.
@cython.final
cdef class Layer(Node):
    cdef Tensor gates           # [rows, (G+1)*H]: the kernel's `gates`, then its `saved`
    cdef int64_t column
    cdef bint reverse
    cdef str mode

    def name(self):
        return f"{self.mode} layer"

    cdef void free(self):
        self.gates = None
        Node.free(self)


# Saved: 0 h0, 1 c0. Edges: input, h0, c0, and per layer and direction w_ih, w_hh and, if there are any, b_ih, b_hh.
@cython.final
cdef class RecurrentBackward0(MultiNode):
    cdef str mode
    cdef int gates, directions, per_layer
    cdef int64_t t, b, h, rows
    cdef ndarray sizes          # rows of each step, None: b
    cdef list layers            # of Layer, all directions of a layer side by side
    cdef list dropped           # after each layer but the last: (seed, stream) of its dropout, or None
    cdef double dropout
    cdef bint packed            # sequences are [rows, ..], not [T, B, ..]
    cdef bint tokens            # the input is [rows] numbers of one-hot vectors
    cdef Schedule schedule      # of a padded batch with lengths, which is packed inside; None: any other input
    cdef bint batch_first       # of such a batch
    cdef list before           # for steps of different sizes and each direction: see previous_rows

    def name(self):
        return {"rnn_tanh": "RnnTanhBackward0", "rnn_relu": "RnnReluBackward0", "gru": "GruBackward0", "lstm": "LstmBackward0"}[self.mode]

    cdef void free(self):
        cdef Layer layer
        for layer in self.layers:
            layer.free()
        Node.free(self)

    cdef Tensor sequence(self, int64_t columns, int typenum):
        cdef npy_intp shape[3]
        if self.packed:
            return matrix(self.rows, columns, typenum)
        shape[0], shape[1], shape[2] = self.t, self.b, columns
        return empty(3, shape, typenum)

    cdef fdl_rnn_args arguments(self, Layer layer, Tensor y, int64_t state, const void *w_hh, Tensor h0, Tensor c0):
        """What forward and backward calls have in common; `state` is the first element of the direction's h0."""
        cdef fdl_rnn_args args
        memset(&args, 0, sizeof(args))
        args.t, args.b, args.h = self.t, self.b, self.h
        if self.sizes is not None:
            args.batch_sizes = <const int64_t *> cnp.PyArray_DATA(self.sizes)
        args.reverse, args.relu = layer.reverse, self.mode == "rnn_relu"
        args.w_hh = w_hh
        args.h0, args.c0 = at(h0, state), at(c0, state)
        args.y, args.ldy = at(y, layer.column), self.directions * self.h
        if layer.gates is not None and self.gates > 1:
            args.gates, args.saved = at(layer.gates, 0), at(layer.gates, self.rows * self.gates * self.h)
        return args

    cdef int call(self, const fdl_table *K, fdl_rnn_args args, bint backward, Storage weights) except -1:
        """`weights` holds w_hh; None: its packed form is not to be kept there."""
        cdef Scratch s
        cdef PackedWeight kept = None
        cdef int64_t (*size)(const fdl_rnn_args *) noexcept nogil
        cdef void (*run)(const fdl_rnn_args *) noexcept nogil
        if self.gates == RNN:
            size, run = K.rnn_scratch, K.rnn_bwd if backward else K.rnn_fwd
        elif self.gates == GRU:
            size, run = K.gru_scratch, K.gru_bwd if backward else K.gru_fwd
        else:
            size, run = K.lstm_scratch, K.lstm_bwd if backward else K.lstm_fwd
        if weights is not None and not weights.exposed and self.rows <= KEEP_ROWS:
            kept = kept_weight(K, weights, args.w_hh, self.gates * self.h, self.h, 0)
        s = None if kept is None else kept.form
        args.is_packed = s is not None
        if s is None:
            s = scratch(size(&args))
        args.scratch = s.data
        watch(<double> self.rows * self.gates * self.h * self.h)
        with nogil:
            run(&args)
        unwatch()
        if kept is not None:
            kept.form = s  # whole: other threads may see it from here on
        return 0

    # forward

    cdef int forward(self, Layer layer, Tensor x, Tensor y, Tensor hn, Tensor cn, int64_t state, Tensor h0, Tensor c0,
                     Tensor w_ih, Tensor w_hh, Tensor b_ih, Tensor b_hh, bint record) except -1:
        """One layer and direction: fills its columns of y and its part of hn and cn."""
        cdef int typenum = cnp.PyArray_TYPE(w_ih.a)
        cdef const fdl_table *K = kernels(typenum)
        cdef size_t item = cnp.PyArray_ITEMSIZE(w_ih.a)
        cdef int64_t width = self.gates * self.h, inputs = cnp.PyArray_DIMS(w_ih.a)[1]
        cdef Tensor gx = matrix(self.rows, width + (self.h if record and self.gates > 1 else 0), typenum), bias = None
        cdef Tensor table = None
        cdef Scratch packed
        cdef fdl_matmul_args m
        cdef fdl_rnn_args args
        if b_ih is not None:
            bias = self.summed_bias(K, b_ih, b_hh)
        if cnp.PyArray_TYPE(x.a) == cnp.NPY_INT64:
            table = self.look_up(K, gx, x, w_ih, bias, item)
        else:
            memset(&m, 0, sizeof(m))
            m.c, m.ldc = at(gx, 0), width
            m.a, m.lda = at(x, 0), inputs
            m.b, m.ldb, m.trans_b = at(w_ih, 0), inputs, 1
            m.m, m.n, m.k = self.rows, width, inputs
            m.bias = at(bias, 0)
            if not w_ih.storage.exposed:
                packed = packed_weight(K, w_ih.storage, &m)
                m.packed_b = NULL if packed is None else packed.data
            product(K, m, item)
        layer.gates = gx if record else None
        args = self.arguments(layer, y, state, at(w_hh, 0), h0, c0)
        args.gx = at(gx, 0)
        if table is not None:
            args.gx, args.gx_row = at(table, 0), <const int64_t *> at(x, 0)
        if b_hh is not None and self.gates == GRU:
            args.b_hn = at(b_hh, 2 * self.h)
        args.hn, args.cn = at(hn, state), at(cn, state)
        self.call(K, args, False, w_hh.storage)
        if self.gates == RNN:
            layer.gates = None
        if record:
            layer.save(0, x)
            layer.save(1, w_ih)
            layer.save(2, w_hh)
        return 0

    cdef Tensor summed_bias(self, const fdl_table *K, Tensor b_ih, Tensor b_hh):
        """b_ih + b_hh, where a gru's n gate has b_ih alone: its b_hh stands inside, times r."""
        cdef Tensor bias = empty_like(b_ih, cnp.PyArray_TYPE(b_ih.a))
        cdef int64_t one = 1, width = self.gates * self.h, summed = 2 * self.h if self.gates == GRU else width
        memcpy(at(bias, 0), at(b_ih, 0), width * cnp.PyArray_ITEMSIZE(b_ih.a))
        K.binary(FDL_ADD, at(bias, 0), &one, at(b_ih, 0), &one, at(b_hh, 0), &one, &summed, 1, 1)
        return bias

    cdef Tensor look_up(self, const fdl_table *K, Tensor gx, Tensor index, Tensor w_ih, Tensor bias, size_t item):
        """The gates' input part for one-hot vectors, which are columns of w_ih. Returns [V, G*H], that of all of them; or
        None where the rows are so few that each is written to gx."""
        cdef int64_t width = self.gates * self.h, v = cnp.PyArray_DIMS(w_ih.a)[1], i
        cdef const int64_t *token = <const int64_t *> at(index, 0)
        cdef bint few = self.rows <= v // 4
        cdef Tensor table = gx if few else matrix(v, width, cnp.PyArray_TYPE(w_ih.a))
        cdef int64_t shape[2]
        cdef int64_t here[2]
        cdef int64_t there[2]
        for i in range(self.rows):
            if token[i] < 0 or token[i] >= v:
                raise IndexError(f"[{self.mode}] input: expected tokens in [0, {v}), got {token[i]}")
        shape[0], shape[1] = self.rows if few else v, width
        here[0], here[1], there[0], there[1] = width, 1, 1, v
        with nogil:
            if few:
                for i in range(self.rows):
                    K.copy(<char *> at(table, i * width), here + 1, at(w_ih, token[i]), there + 1, shape + 1, 1)
            else:
                K.copy(at(table, 0), here, at(w_ih, 0), there, shape, 2)
            if bias is not None:
                there[0], there[1] = 0, 1
                K.binary(FDL_ADD, at(table, 0), here, at(table, 0), here, at(bias, 0), there, shape, 2, 1)
        return None if few else table

    # backward

    cdef object apply_multi(self, list grads):
        cdef Tensor dy = grads[0], dhn = grads[1], dcn = grads[2] if self.gates == LSTM else None, dx
        cdef Tensor h0 = self.saved(0), c0 = self.saved(1), dh0 = None, dc0 = None
        cdef Layer layer
        cdef list result
        cdef int i, d, first
        cdef const fdl_table *K
        if grad_enabled():
            raise NotImplementedError(f"create_graph=True through {self.name()} is not implemented")
        dy, dhn, dcn = flat(dy), flat(dhn), flat(dcn)
        if self.schedule is not None:
            if dy is not None:
                dy = move_rows(dy, 0, self.directions * self.h, None, 0, self.schedule.packed, 0, self.directions * self.h)
            dhn, dcn = self.sorted_state(dhn, self.schedule.order), self.sorted_state(dcn, self.schedule.order)
        result = [None] * len(self.edges)
        if self.edges[1] is not None:
            result[1] = dh0 = empty_like(h0, cnp.PyArray_TYPE(h0.a))
        if self.edges[2] is not None:
            result[2] = dc0 = empty_like(c0, cnp.PyArray_TYPE(c0.a))
        for i in range(len(self.layers) // self.directions - 1, -1, -1):
            dx = None
            for d in range(self.directions):
                layer = self.layers[i * self.directions + d]
                first = 3 + (i * self.directions + d) * self.per_layer
                dx = self.backward(layer, i * self.directions + d, result, first, dy, dhn, dcn, h0, c0, dh0, dc0, dx,
                                   i > 0 or self.edges[0] is not None)
            dy = dx
            if i > 0 and self.dropped[i - 1] is not None:
                seed, stream = self.dropped[i - 1]
                dy = drop(dx, self.dropout, seed, stream)
        if self.edges[0] is not None:
            result[0] = dy if self.schedule is None else self.unpacked(dy)
        if self.schedule is not None:
            result[1], result[2] = self.sorted_state(dh0, self.schedule.places), self.sorted_state(dc0, self.schedule.places)
        return tuple(result)

    cdef Tensor sorted_state(self, Tensor state, ndarray order):
        """[L * D, B, H], the sequences in another order."""
        if state is None:
            return None
        return as_shape(move_rows(state, 0, self.h, None, 0, repeated(order, cnp.PyArray_DIMS(state.a)[0]), 0, self.h),
                        shape_of(state))

    cdef Tensor unpacked(self, Tensor x):
        """The padded batch of packed rows."""
        cdef int64_t d = cnp.PyArray_DIMS(x.a)[1]
        cdef Schedule s = self.schedule
        return as_shape(move_rows(x, 0, d, None, 0, s.padded, 0, d),
                        (s.batch, s.steps, d) if self.batch_first else (s.steps, s.batch, d))

    cdef Tensor backward(self, Layer layer, int which, list result, int first, Tensor dy, Tensor dhn, Tensor dcn, Tensor h0,
                         Tensor c0, Tensor dh0, Tensor dc0, Tensor dx, bint needs_dx):
        """One layer and direction: writes its parameters' gradients to result[first:] and its h0's and c0's into dh0
        and dc0; returns dx, to which it adds if it is given."""
        cdef Tensor x = layer.saved(0), w_ih = layer.saved(1), w_hh = layer.saved(2), y = layer.saved(3)
        cdef int typenum = cnp.PyArray_TYPE(y.a)
        cdef const fdl_table *K = kernels(typenum)
        cdef size_t item = cnp.PyArray_ITEMSIZE(y.a)
        cdef int64_t h = self.h, rows = self.rows, width = self.gates * h, inputs = cnp.PyArray_DIMS(w_ih.a)[1]
        cdef int64_t state = which * self.b * h
        cdef Tensor dg  # gradients before the activations, laid out as `gates`: dgx, then the gru's dgh_n
        cdef fdl_rnn_args args = self.arguments(layer, y, state, at(w_hh, 0), h0, c0)
        cdef fdl_matmul_args m
        cdef Tensor dtable = None
        cdef bint tokens
        args.dy, args.lddy = at(dy, layer.column), self.directions * h
        args.dhn, args.dcn = at(dhn, state), at(dcn, state)
        if self.last and self.gates > 1:
            dg = layer.gates  # half the memory to walk through
            layer.free()
        else:
            dg = matrix(rows, width + (h if self.gates == GRU else 0), typenum)
        args.dgx, args.dgh_n = at(dg, 0), at(dg, rows * width) if self.gates == GRU else NULL
        args.dh0, args.dc0 = at(dh0, state), at(dc0, state)
        self.call(K, args, True, None)
        tokens = cnp.PyArray_TYPE(x.a) == cnp.NPY_INT64
        if tokens and (self.edges[first] is not None or self.per_layer == 4):
            dtable = self.looked_up_gradient(K, dg, x, inputs, width)
        if tokens:
            if self.edges[first] is not None:
                result[first] = transposed(K, dtable)
        elif self.edges[first] is not None:
            result[first] = matrix(width, inputs, typenum)
            memset(&m, 0, sizeof(m))
            m.c, m.ldc = at(result[first], 0), inputs
            m.a, m.lda, m.trans_a = at(dg, 0), width, 1
            m.b, m.ldb = at(x, 0), inputs
            m.m, m.n, m.k = width, inputs, rows
            product(K, m, item)
        if self.edges[first + 1] is not None:
            result[first + 1] = self.recurrent_weight_gradient(K, layer, y, h0, state, dg, item)
        if self.per_layer == 4 and (self.edges[first + 2] is not None or self.edges[first + 3] is not None):
            if tokens and inputs < rows:
                result[first + 2] = column_sums(K, dtable, 0, inputs, width)
            else:
                result[first + 2] = column_sums(K, dg, 0, rows, width)
            result[first + 3] = result[first + 2]
            if self.gates == GRU:
                result[first + 3] = join_n(result[first + 2], column_sums(K, dg, rows * width, rows, h))
        if needs_dx:
            memset(&m, 0, sizeof(m))
            m.accumulate = dx is not None
            if dx is None:
                dx = self.sequence(inputs, typenum)
            m.c, m.ldc = at(dx, 0), inputs
            m.a, m.lda = at(dg, 0), width
            m.b, m.ldb = at(w_ih, 0), inputs
            m.m, m.n, m.k = rows, inputs, width
            product(K, m, item)
        return dx

    cdef Tensor recurrent_weight_gradient(self, const fdl_table *K, Layer layer, Tensor y, Tensor h0, int64_t state,
                                          Tensor dg, size_t item):
        """dw_hh = dG^T h_prev over all steps: h_prev is y shifted by one step, and h0 at each row's first step."""
        cdef int64_t h = self.h, b = self.b, width = self.gates * h, ldy = self.directions * h, rest = self.rows - b
        cdef Tensor dw = matrix(width, h, cnp.PyArray_TYPE(y.a)), before
        if rest == 0 and h0 is not None:
            self.outer(K, dw, dg, 0, at(h0, state), h, b, False, item)
            return dw
        if self.sizes is not None:
            before = move_rows(y, layer.column, ldy, h0, state, self.previous_rows(layer.reverse), 0, h)
            self.outer(K, dw, dg, 0, at(before, 0), h, self.rows, False, item)
        elif layer.reverse:
            self.outer(K, dw, dg, 0, at(y, b * ldy + layer.column), ldy, rest, False, item)
        else:
            self.outer(K, dw, dg, b, at(y, layer.column), ldy, rest, False, item)
        if self.sizes is None and h0 is not None:
            self.outer(K, dw, dg, rest if layer.reverse else 0, at(h0, state), h, b, True, item)
        return dw

    cdef int outer(self, const fdl_table *K, Tensor dw, Tensor dg, int64_t row, const void *before,
                   int64_t ld, int64_t rows, bint accumulate, size_t item) except -1:
        """dw (+)= dG^T before, over `rows` rows of dG from `row` on."""
        cdef int64_t h = self.h, width = self.gates * h
        cdef fdl_matmul_args m
        memset(&m, 0, sizeof(m))
        m.accumulate, m.trans_a = accumulate, 1
        m.b, m.ldb, m.ldc = before, ld, h
        m.n, m.k = h, rows
        m.c, m.a, m.lda, m.m = at(dw, 0), at(dg, row * width), width, 2 * h if self.gates == GRU else width
        product(K, m, item)
        if self.gates == GRU:
            m.c, m.a, m.lda, m.m = at(dw, 2 * h * h), at(dg, self.rows * width + row * h), h, h
            product(K, m, item)
        return 0

    cdef Tensor looked_up_gradient(self, const fdl_table *K, Tensor dg, Tensor index, int64_t v, int64_t width):
        """[V, G*H]: for each token the sum of dG over the rows that have it, one after another."""
        cdef Tensor out = matrix(v, width, cnp.PyArray_TYPE(dg.a))
        cdef Scratch s = scratch((self.rows + v + 1) * sizeof(int64_t))
        with nogil:
            K.embedding_bwd(at(out, 0), at(dg, 0), <const int64_t *> at(index, 0), self.rows, v, width, -1, 0,
                            <int64_t *> s.data)
        return out

    cdef ndarray previous_rows(self, bint reverse):
        """[rows]: for steps of different sizes, the row of y that holds the state before each row's step; -1 - i where it
        is row i of h0."""
        cdef const int64_t *sizes = <const int64_t *> cnp.PyArray_DATA(self.sizes)
        cdef int64_t t, i, n, row = 0, neighbour, known
        cdef int64_t *found
        if self.before is None:
            self.before = [None, None]
        if self.before[reverse] is None:
            self.before[reverse] = np.empty(self.rows, np.int64)
            found = <int64_t *> cnp.PyArray_DATA(<ndarray> self.before[reverse])
            for t in range(self.t):
                n = sizes[t]
                if reverse:
                    neighbour, known = row + n, sizes[t + 1] if t + 1 < self.t else 0
                else:
                    neighbour, known = row - (sizes[t - 1] if t else 0), n if t else 0
                for i in range(n):
                    found[row + i] = neighbour + i if i < known else -1 - i
                row += n
        return self.before[reverse]


cdef Tensor transposed(const fdl_table *K, Tensor x):
    """A copy of a matrix."""
    cdef int64_t n = cnp.PyArray_DIMS(x.a)[0], d = cnp.PyArray_DIMS(x.a)[1]
    cdef Tensor out = matrix(d, n, cnp.PyArray_TYPE(x.a))
    cdef int64_t[2] shape = [d, n]
    cdef int64_t[2] here = [n, 1]
    cdef int64_t[2] there = [1, d]
    with nogil:
        K.copy(at(out, 0), here, at(x, 0), there, shape, 2)
    return out


cdef Tensor flat(Tensor t):
    return None if t is None else contiguous(t)


cdef Tensor column_sums(const fdl_table *K, Tensor x, int64_t start, int64_t rows, int64_t columns):
    """Of the matrix whose first element is element `start` of x."""
    cdef npy_intp shape[1]
    cdef Tensor out
    cdef const void *data = at(x, start)
    cdef Scratch s = scratch(K.reduce_scratch(FDL_SUM, 1, rows, columns))
    shape[0] = columns
    out = empty(1, shape, cnp.PyArray_TYPE(x.a))
    with nogil:
        K.reduce(FDL_SUM, cnp.PyArray_DATA(out.a), data, 1, rows, columns, s.data)
    return out


cdef Tensor join_n(Tensor b_ih, Tensor n):
    """db_hh of a gru: as db_ih for r and z."""
    cdef Tensor out = empty_like(b_ih, cnp.PyArray_TYPE(b_ih.a))
    cdef int64_t h = cnp.PyArray_SIZE(n.a)
    cdef size_t item = cnp.PyArray_ITEMSIZE(n.a)
    memcpy(at(out, 0), at(b_ih, 0), 2 * h * item)
    memcpy(at(out, 2 * h), at(n, 0), h * item)
    return out


cdef object streams = None


cdef object next_stream():
    global streams
    if streams is None:
        from . import random  # only dropout needs it
        streams = random
    return streams.next_stream()


cdef Tensor drop(Tensor x, double p, object seed, object stream):
    """Dropout of all elements; the same again for a gradient."""
    cdef Tensor y = empty_like(x, cnp.PyArray_TYPE(x.a))
    cdef const fdl_table *K = kernels(cnp.PyArray_TYPE(x.a))
    K.dropout(cnp.PyArray_DATA(y.a), cnp.PyArray_DATA(x.a), cnp.PyArray_SIZE(x.a), p, seed, stream)
    return y


# Arguments --------------------------------------------------------------------------------------------------------

cdef int check_float(str op, str what, Tensor t, int typenum) except -1:
    if t is not None and cnp.PyArray_TYPE(t.a) != typenum:
        raise RuntimeError(f"[{op}] {what}: expected {np.dtype(cnp.PyArray_DescrFromType(typenum)).name} like the "
                           f"input, got {t.dtype}")
    return 0


cdef int check_shape(str op, str what, Tensor t, tuple expected, str meaning) except -1:
    if t is not None and shape_of(t) != expected:
        raise RuntimeError(f"[{op}] {what}: expected shape {expected} {meaning}, got {shape_of(t)}")
    return 0


cdef int check_parameter(str op, list params, int i, int per_layer, int directions, int64_t rows, int64_t columns) except -1:
    """columns: of no meaning for a bias."""
    cdef Tensor t = params[i]
    cdef int ndim = 2 if i % per_layer < 2 else 1
    if (cnp.PyArray_NDIM(t.a) == ndim and cnp.PyArray_DIMS(t.a)[0] == rows
            and (ndim == 1 or cnp.PyArray_DIMS(t.a)[1] == columns)):
        return 0
    layer = f"layer {i // per_layer // directions}" + (", reverse direction" if i // per_layer % directions else "")
    name = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")[i % per_layer]
    if ndim == 1:
        return check_shape(op, f"{name} of {layer}", t, (rows,), "(gates * hidden size)")
    meaning = "(gates * hidden size, hidden size)" if i % per_layer else "(gates * hidden size, its input's size)"
    return check_shape(op, f"{name} of {layer}", t, (rows, columns), meaning)


cdef int check_parameters(str op, list params, int per_layer, int gates, int64_t inputs, int64_t h, int directions,
                          int typenum) except -1:
    cdef int i, kind
    for i in range(len(params)):
        kind = i % per_layer
        if i == per_layer * directions:
            inputs = directions * h
        check_parameter(op, params, i, per_layer, directions, gates * h, inputs if kind == 0 else h)
    for i in range(len(params)):
        check_float(op, "parameter", params[i], typenum)
    return 0


cdef ndarray step_sizes(str op, object batch_sizes, int64_t rows):
    """Rows of each step, checked; int64."""
    cdef ndarray sizes
    source = (<Tensor> batch_sizes).a if isinstance(batch_sizes, Tensor) else np.asarray(batch_sizes)
    if source.ndim != 1 or source.dtype.kind not in "iu":
        raise TypeError(f"[{op}] batch_sizes: expected a row of integers, got shape {source.shape} of {source.dtype}")
    sizes = np.ascontiguousarray(source, np.int64).copy()
    if sizes.size and (sizes.min() < 1 or (np.diff(sizes) > 0).any() or sizes.sum() != rows):
        raise ValueError(f"[{op}] batch_sizes: expected positive numbers that never grow and sum to the {rows} rows "
                         f"of the data, "
                         f"got {sizes.tolist()}")
    return sizes


cdef Tensor state_like(int64_t layers, int64_t b, int64_t h, int typenum):
    cdef npy_intp shape[3]
    shape[0], shape[1], shape[2] = layers, b, h
    return empty(3, shape, typenum)


cdef Tensor pick_tokens(Tensor x, ndarray index):
    cdef npy_intp shape[1]
    cdef Tensor out
    shape[0] = cnp.PyArray_SIZE(index)
    out = empty(1, shape, cnp.NPY_INT64)
    (<object> x.a).reshape(-1).take(index, out=out.a)
    return out


ctypedef fused word:
    uint32_t
    uint64_t


cdef int64_t hot_column(const word *row, int64_t n, word one) noexcept nogil:
    """The column of the only element that is not 0, where that is 1; otherwise -1."""
    cdef int64_t j, found = -1
    for j in range(n):
        if row[j] != 0:
            if found >= 0 or row[j] != one:
                return -1
            found = j
    return found


cdef Tensor hot_numbers(Tensor x, ndarray index, int64_t rows, int64_t n):
    """[rows]: the tokens whose one-hot vectors are the rows of x, or with an index those rows of x; None where one is
    no such vector, most often the first."""
    cdef const char *data = <const char *> at(x, 0)
    cdef size_t item = cnp.PyArray_ITEMSIZE(x.a)
    cdef const int64_t *picked = NULL if index is None else <int64_t *> cnp.PyArray_DATA(index)
    cdef const char *row
    cdef int64_t i, found
    cdef npy_intp shape[1]
    cdef Tensor out = None
    shape[0] = rows
    for i in range(rows):
        row = data + (i if picked == NULL else picked[i]) * n * item
        if item == 4:
            found = hot_column(<const uint32_t *> row, n, <uint32_t> 0x3f800000)
        else:
            found = hot_column(<const uint64_t *> row, n, <uint64_t> 0x3ff0000000000000)
        if found < 0:
            return None
        if out is None:
            out = empty(1, shape, cnp.NPY_INT64)
        (<int64_t *> cnp.PyArray_DATA(out.a))[i] = found
    return out


def recurrent(str mode, Tensor input, batch_sizes, Tensor h0 or None, Tensor c0 or None, params, bint has_biases, int num_layers,
              double dropout, bint train, bint bidirectional, lengths=None, bint batch_first=False):
    """Stacked recurrent layers over whole sequences.

    Args:
        mode: "rnn_tanh", "rnn_relu", "gru" or "lstm".
        input: time-major sequences, or with batch_sizes the rows of all steps, one step after another. Integers are
            tokens: the numbers of one-hot vectors of which only the number is given. One-hot vectors without a gradient
            are found and taken as tokens, where a product would give NaN for another token's weight that is inf.
        batch_sizes: how many sequences each step has, never growing; None: all of them.
        h0, c0: first states; None: zeros. c0 is the lstm's.
        params: per layer and direction weight_ih, weight_hh and, with has_biases, bias_ih, bias_hh.
        dropout: probability, applied to the output of every layer but the last while `train`.
        lengths: how many steps of each sequence count; a row of int64 in [1, T]. Outputs behind them are zeros.
        batch_first: with lengths, input and y have the sequences first.
    Shape:
        input (T, B, I) or (rows, I), of tokens (T, B) or (rows,); h0, c0 (L * D, B, H) -> y (T, B, D * H) or (rows, D * H), hn, cn (L * D, B, H).
        With D = 2 directions.
    Returns:
        (y, hn, cn); cn is None unless mode is "lstm".
    Raises:
        RuntimeError, ValueError, TypeError: shapes, step sizes or dtypes that do not fit together.
        IndexError: a token outside [0, I).
    """
    cdef int gates = MODES[mode], directions = 2 if bidirectional else 1, per_layer = 4 if has_biases else 2, i, d, which
    cdef int typenum = cnp.PyArray_TYPE(input.a)
    cdef bint tokens = typenum == cnp.NPY_INT64 and cnp.PyArray_NDIM(input.a) == (1 if batch_sizes is not None else 2)
    cdef int ndim = (2 if batch_sizes is not None else 3) - tokens
    cdef int64_t rows, b, t, h, inputs
    cdef tuple shape = shape_of(input)
    cdef list parameters = list(params)
    cdef RecurrentBackward0 node
    cdef Layer layer
    cdef Tensor x, numbers, y = None, hn, cn = None
    cdef bint record = False
    cdef Schedule schedule = None
    if tokens and params:
        typenum = cnp.PyArray_TYPE((<Tensor?> params[0]).a)
    if len(shape) != ndim:
        raise RuntimeError(f"[{mode}] input: expected shape {'(rows, I)' if ndim == 2 else '(T, B, I)'}, got {shape}")
    if is_half(typenum):
        x = input if tokens else to_type(input, cnp.NPY_FLOAT32)
        out = recurrent(mode, x, batch_sizes, None if h0 is None else to_type(h0, cnp.NPY_FLOAT32),
                        None if c0 is None else to_type(c0, cnp.NPY_FLOAT32),
                        [to_type(p, cnp.NPY_FLOAT32) for p in params], has_biases, num_layers, dropout, train,
                        bidirectional, lengths, batch_first)
        return tuple([None if part is None else to_type(part, typenum) for part in out])
    if not is_fast(typenum):
        raise RuntimeError(f"[{mode}] input: expected float32 or float64, got {input.dtype}")
    if num_layers < 1 or len(parameters) != num_layers * directions * per_layer:
        raise RuntimeError(f"[{mode}] params: expected {per_layer} for each of {num_layers} layers and {directions} "
                           f"directions, "
                           f"got {len(parameters)}")
    if not 0 <= dropout <= 1:
        raise ValueError(f"[{mode}] dropout: expected a probability, got {dropout}")
    node = RecurrentBackward0.__new__(RecurrentBackward0)
    if lengths is not None:
        b, t = (shape[0], shape[1]) if batch_first else (shape[1], shape[0])
        lengths = np.ascontiguousarray(lengths, np.int64)
        if lengths.shape != (b,) or ((lengths < 1) | (lengths > t)).any():
            raise RuntimeError(f"[{mode}] lengths: expected {b} numbers in [1, {t}], got {lengths.tolist()}")
        node.schedule = schedule = Schedule(lengths, t, batch_first)
        node.batch_first = batch_first
        rows, node.sizes, t = schedule.rows, schedule.sizes, cnp.PyArray_SIZE(schedule.sizes)
    elif batch_sizes is None:
        t, b = shape[0], shape[1]
        rows = t * b
    else:
        rows = shape[0]
        node.sizes = step_sizes(mode, batch_sizes, rows)
        t = cnp.PyArray_SIZE(node.sizes)
        b = node.sizes[0] if t else 0
    if t and node.sizes is not None and node.sizes[t - 1] == b:
        node.sizes = None
    if t == 0:
        raise RuntimeError(f"[{mode}] input: expected at least one step, got shape {shape}")
    h = cnp.PyArray_DIMS((<Tensor?> parameters[1]).a)[1] if cnp.PyArray_NDIM((<Tensor?> parameters[1]).a) == 2 else -1
    inputs = shape[ndim - 1]
    if tokens:
        inputs = cnp.PyArray_DIMS((<Tensor?> parameters[0]).a)[1] if cnp.PyArray_NDIM((<Tensor?> parameters[0]).a) == 2 else -1
    check_parameters(mode, parameters, per_layer, gates, inputs, h, directions, typenum)
    if h0 is not None or c0 is not None:
        for what, state in (("h0", h0), ("c0", c0)):
            check_shape(mode, what, state, (num_layers * directions, b, h), "(layers * directions, batch, hidden size)")
            check_float(mode, what, state, typenum)
    edges = (edge(input), None if h0 is None else edge(h0), None if c0 is None else edge(c0)) + tuple([edge(p) for p in parameters])
    if grad_enabled():
        for e in edges:
            record = record or e is not None

    node.mode, node.gates, node.directions, node.per_layer, node.dropout = mode, gates, directions, per_layer, dropout
    node.t, node.b, node.h, node.rows, node.packed = t, b, h, rows, batch_sizes is not None or schedule is not None
    node.layers, node.dropped = [], []
    h0, c0, x = flat(h0), flat(c0), contiguous(input)
    if schedule is not None:
        h0, c0 = node.sorted_state(h0, schedule.order), node.sorted_state(c0, schedule.order)
    numbers = None
    if not tokens and rows >= HOT_ROWS and edges[0] is None:
        numbers = hot_numbers(x, None if schedule is None else schedule.packed, rows, inputs)
    if numbers is not None:
        x = numbers
    elif schedule is not None:
        x = pick_tokens(x, schedule.packed) if tokens else move_rows(x, 0, inputs, None, 0, schedule.packed, 0, inputs)
    hn = state_like(num_layers * directions, b, h, typenum)
    if gates == LSTM:
        cn = state_like(num_layers * directions, b, h, typenum)
    for i in range(num_layers):
        if i and train and dropout > 0:
            node.dropped.append(next_stream())
            x = drop(y, dropout, node.dropped[-1][0], node.dropped[-1][1])
        elif i:
            node.dropped.append(None)
            x = y
        y = node.sequence(directions * h, typenum)
        for d in range(directions):
            which = i * directions + d
            layer = Layer.__new__(Layer)
            layer.mode, layer.reverse, layer.column = mode, d == 1, d * h
            p = [contiguous(v) for v in parameters[which * per_layer:(which + 1) * per_layer]]
            node.forward(layer, x, y, hn, cn, which * b * h, h0, c0, p[0], p[1], p[2] if has_biases else None,
                         p[3] if has_biases else None, record)
            node.layers.append(layer)
        for layer in node.layers[i * directions:]:
            if record:
                if i == num_layers - 1 and schedule is None:
                    layer.save_output(3, y)
                else:
                    layer.save(3, y)
    if schedule is not None:
        y = node.unpacked(y)
        hn, cn = node.sorted_state(hn, schedule.places), node.sorted_state(cn, schedule.places)
    if record:
        if h0 is not None:
            node.save(0, h0)
        if c0 is not None:
            node.save(1, c0)
        attach_outputs((y, hn) if cn is None else (y, hn, cn), node, edges)
    return y, hn, cn


# Padded and packed ------------------------------------------------------------------------------------------------

# The gradient of rows that are moved: rows moved back. Nothing is saved, so that the index alone is needed.
@cython.final
cdef class MoveRowsBackward(Node):
    cdef ndarray index, back    # forward's; and for each row of the input the row of the output that holds it, or -1
    cdef tuple shape            # of the input

    cdef object apply(self, Tensor g):
        return moved(g, self.back, self.index, self.shape, 0)

    def name(self):
        return "MoveRowsBackward0"


cdef Tensor moved(Tensor x, ndarray index, ndarray back, tuple shape, double padding):
    """The rows `index` of x in a new shape; recorded. `back` says for each row of x which one of the result it is, or -1."""
    cdef Tensor source = contiguous(x), out
    cdef MoveRowsBackward node
    cdef int64_t d = cnp.PyArray_SIZE(source.a) // max(cnp.PyArray_SIZE(back), 1)
    if is_half(cnp.PyArray_TYPE(source.a)):
        return to_type(moved(to_type(x, cnp.NPY_FLOAT32), index, back, shape, padding), cnp.PyArray_TYPE(source.a))
    if not is_fast(cnp.PyArray_TYPE(source.a)):
        rows = np.full((cnp.PyArray_SIZE(index), d), padding, source.a.dtype)
        rows[<object> index >= 0] = (<object> source.a).reshape(-1, d)[index[<object> index >= 0]]
        return wrap(own_array(rows.reshape(shape)))
    out = as_shape(move_rows(source, 0, d, None, 0, index, padding, d), shape)
    if grad_enabled() and wants(x):
        node = MoveRowsBackward.__new__(MoveRowsBackward)
        node.index, node.back, node.shape = index, back, shape_of(x)
        attach(out, node, (edge(x),))
    return out


def pack(Tensor input, ndarray lengths, bint batch_first):
    """The real steps of a padded batch.

    Args:
        input: (T, B, ..), or with batch_first (B, T, ..); float32 or float64.
        lengths: (B,), int64 in [1, T].
    Returns:
        The rows of all first steps, longest sequence first, then of all second steps, ..; how many each step has; and
        which sequence was the longest, the second longest, ..
    """
    cdef tuple shape = shape_of(input)
    cdef Schedule s = Schedule(lengths, shape[1] if batch_first else shape[0], batch_first)
    return moved(input, s.packed, s.padded, (s.rows, *shape[2:]), 0), s.sizes, s.order


def unpack(Tensor data, ndarray lengths, ndarray order or None, int64_t steps, bint batch_first, double padding_value):
    """Undoes `pack`: (T, B, ..) or (B, T, ..) with T = steps, padding_value behind the ends; the order is that of the
    rows of each step, None: longest first."""
    cdef Schedule s = Schedule(lengths, steps, batch_first, order)
    if shape_of(data)[0] != s.rows:
        raise ValueError(f"data: expected the {s.rows} rows that batch_sizes count, got shape {shape_of(data)}")
    lead = (s.batch, s.steps) if batch_first else (s.steps, s.batch)
    return moved(data, s.padded, s.packed, lead + shape_of(data)[1:], padding_value)


# PyTorch's functions ----------------------------------------------------------------------------------------------

def whole(mode, input, hx, params, has_biases, num_layers, dropout, train, bidirectional, *rest):
    """Sorts out the two forms that PyTorch's functions have:
    (input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first) for padded sequences and
    (data, batch_sizes, hx, params, has_biases, num_layers, dropout, train, bidirectional) for packed ones."""
    if isinstance(params, (list, tuple)):
        batch_sizes, batch_first = None, rest[0] if rest else False
    else:
        batch_sizes, batch_first = hx, False
        hx, params, has_biases, num_layers, dropout, train, bidirectional = (
            params, has_biases, num_layers, dropout, train, bidirectional, rest[0])
    h0, c0 = hx if mode == "lstm" else (hx, None)
    if batch_first:
        input = transpose(input, 0, 1)
    y, hn, cn = recurrent(mode, input, batch_sizes, h0, c0, params, has_biases, num_layers, dropout, train, bidirectional)
    y = transpose(y, 0, 1) if batch_first else y
    return (y, hn) if cn is None else (y, hn, cn)


def gru(*args):
    """gru(input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first) -> y, hn; or with
    (data, batch_sizes, hx, params, ..) for packed sequences. See `recurrent`."""
    return whole("gru", *args)


def lstm(*args):
    """lstm(input, (h0, c0), params, has_biases, num_layers, dropout, train, bidirectional, batch_first) -> y, hn, cn;
    or with (data, batch_sizes, hx, params, ..) for packed sequences. See `recurrent`."""
    return whole("lstm", *args)


def rnn_tanh(*args):
    """As gru, with h = tanh(x W_ih^T + b_ih + h W_hh^T + b_hh)."""
    return whole("rnn_tanh", *args)


def rnn_relu(*args):
    """As gru, with h = relu(x W_ih^T + b_ih + h W_hh^T + b_hh)."""
    return whole("rnn_relu", *args)
