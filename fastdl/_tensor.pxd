# Tensor, Node and what operators are written with.
from libc.stdint cimport int64_t
from numpy cimport ndarray, npy_intp
from ._kernels cimport F32, F64, Scratch, Storage, fdl_table


cdef enum ViewOrigin:
    ORDINARY
    PIECE                       # one of several outputs of an operator: split, unbind
    NO_GRAD                     # made in no_grad mode of a tensor that requires grad


cdef class Tensor:
    cdef ndarray a              # the data: shape, strides, element type
    cdef Storage storage        # shared by all views; counts in-place writes
    cdef Node node              # grad_fn: the operator that made it; None for leaves
    cdef Tensor grad_
    cdef Tensor base            # a view's base tensor, None otherwise
    cdef Node base_node         # the base's node when `node` was made: another one now means that `node` is stale
    cdef bint wants_grad        # a leaf that gradients are accumulated in
    cdef ViewOrigin origin      # what forbids recorded writes into this view
    cdef object hooks           # None or a dict: number -> (kind, function), see autograd/hooks.py
    cdef object __weakref__


# The gradient of a table of which only some rows were used: the others are zero. Only a leaf's grad_ and the optimizers
# know it; for all else `dense_grad` makes the whole of it. Its data are the values (U, D).
cdef class RowsGrad(Tensor):
    cdef Scratch row            # numbers of the U rows, int64, rising
    cdef int64_t height         # rows of the table


# The gradient of a tensor of which only a view was used: zero elsewhere. Only the engine knows it, and adds it in place
# to what has arrived: n reads of parts cost what the parts cost, not n tensors of the whole's size.
cdef class PieceGrad(Tensor):
    cdef object where           # the view: a basic index of the whole, or a Geometry
    cdef tuple whole            # the whole's shape


# An operator in the graph. Subclasses add the scalars that they need, and `apply`. Tensors needed by the backward pass
# are kept with `save`, read with `saved`, and dropped by the engine after use.
cdef class Node:
    cdef tuple edges            # for each differentiable input: the Node that made it | the leaf Tensor | None
    cdef int64_t seq            # creation order; an operator's inputs always have smaller numbers
    cdef Tensor pending         # gradient that has arrived so far
    cdef Node next              # in the engine's queue; in CopySlices, while that records: the history of the output
    cdef bint queued
    cdef bint freed
    cdef int outputs            # bit i: saved tensor i is this node's own output
    cdef Tensor s0, s1, s2, s3
    cdef Py_ssize_t v0, v1, v2, v3
    cdef object hooks           # on the gradient of its output, as Tensor.hooks
    cdef object trace           # where in the program it was made, while there is a watcher

    cdef object apply(self, Tensor g)
    cdef void save(self, int i, Tensor t)
    cdef void save_output(self, int i, Tensor t)
    cdef Tensor saved(self, int i)
    cdef void free(self)


# An operator with several outputs: `apply_multi` gets one gradient (or None) per output.
cdef class MultiNode(Node):
    cdef list grads
    cdef bint last              # this pass frees what is saved: apply_multi may overwrite what only the node holds
    cdef object apply_multi(self, list grads)


cdef bint grad_enabled() noexcept
cdef bint set_grad(bint on) noexcept             # returns what it was
cdef bint wants(Tensor t)                        # whether t requires grad
cdef object edge(Tensor t)                       # what a node's `edges` holds for t
cdef Tensor attach(Tensor out, Node node, tuple edges)
cdef tuple attach_outputs(tuple outs, MultiNode node, tuple edges)
cdef int check_dims(int ndim) except -1          # ValueError above MAX_DIMS
cdef Tensor wrap(ndarray a)                      # a tensor on `a`, which it then shares memory with
cdef Tensor alias(Tensor t)                      # the same data and version counter without history
cdef Tensor view_of(Tensor base, ndarray a)      # a differentiable view; `attach` comes after it
cdef Tensor empty(int ndim, npy_intp *shape, int typenum)
cdef Tensor empty_like(Tensor t, int typenum)    # C-contiguous
cdef Tensor dense_grad(Tensor g)                 # g itself; a RowsGrad or PieceGrad as a tensor of the whole's shape
cdef PieceGrad piece_grad(Tensor g, object where, tuple whole)
cdef bint is_sole_owner(Tensor t, Py_ssize_t refs)  # whether only the caller, with that many references, sees t's memory
cdef Tensor contiguous(Tensor t)                 # t itself or a C-contiguous copy; no history
cdef Tensor cast(Tensor t, int typenum)          # t itself or a copy; no history
cdef Tensor cast_copy(Tensor t, int typenum)     # a C-contiguous copy; no history
cdef int copy_into(Tensor out, Tensor x) except -1  # equal shapes; not recorded
cdef ndarray own_array(object a)                 # a NumPy array or scalar copied into the allocator's memory
cdef bint is_watched() noexcept                  # whether detect_anomaly or check_finite is on
cdef const fdl_table *kernels(int typenum) noexcept
cdef bint is_fast(int typenum) noexcept          # float32 or float64: has kernels
cdef bint is_half(int typenum) noexcept                            # float16 and bfloat16: computed in float32
cdef int begin_inplace(Tensor t) except -1       # raises for a leaf that requires grad
cdef Tensor end_inplace(Tensor t, str op, Node node, tuple edges)  # bumps the version, rewrites history
cdef void bump(Tensor t, str op) noexcept
cdef void register(str name, object function)    # function becomes a Tensor method
cdef object register_all(dict functions, str names)    # the same for a list; a tuple of them costs 2 KB an item in C


ctypedef object (*unary_operator)(Tensor)
ctypedef object (*binary_operator)(object, object)
ctypedef object (*inplace_operator)(Tensor, object)
ctypedef object (*getitem_operator)(Tensor, object)
ctypedef int (*setitem_operator)(Tensor, object, object) except -1
ctypedef int (*accumulate_operator)(Tensor, Tensor) except -1

# Operators of Python's syntax; the modules of ops fill them in at import, so that nothing here imports upward.
cdef struct Operators:
    binary_operator add, sub, mul, div, pow, matmul, floordiv, mod
    binary_operator eq, ne, lt, le, gt, ge
    binary_operator and_, or_, xor
    inplace_operator iadd, isub, imul, idiv, ipow
    unary_operator neg, abs, invert
    getitem_operator getitem
    setitem_operator setitem
    accumulate_operator accumulate      # a += b on gradients, not recorded

cdef Operators operators
