"""Random tensors and dropout. All numbers come from Philox (csrc/random.c): a generator is a seed and the number of the
next stream; every call takes one stream, and element i depends on seed, stream and i alone. So results do not depend on
threads, ISA or on the sizes of other tensors."""

cimport cython
cimport numpy as cnp
from libc.stdint cimport int64_t, uint32_t, uint64_t
from numpy cimport ndarray, npy_intp

import math
import os

import numpy as np

from .. import _types
from .creation import empty_ as empty_tensor

from .._kernels cimport ELEM_FMAS, F32, FDL_ADD, FDL_MUL, fdl_table, unwatch, watch
from .._tensor cimport (Node, Tensor, attach, begin_inplace, contiguous, edge, empty, empty_like, end_inplace,
                        grad_enabled, is_fast, kernels, own_array, register_all, wants, wrap)
from .common cimport first_place, to_type
from .elementwise cimport binary

cdef extern from *:
    """
    static inline uint64_t fdl_below(uint64_t word, uint64_t span) { /* of 64 random bits: in [0, span); 0 means 2^64 */
        return span ? (uint64_t)((unsigned __int128)word * span >> 64) : word;
    }
    """
    uint64_t fdl_below(uint64_t word, uint64_t span) nogil

cnp.import_array()


# Generators -------------------------------------------------------------------------------------------------------

cdef class Generator:
    """A source of random numbers; its whole state is (seed, next stream).

    Args:
        device: "cpu".
    """
    cdef uint64_t seed_, stream

    def __init__(self, device="cpu"):
        _types.device(device)
        self.seed_, self.stream = 67280421310721, 0

    @property
    def device(self):
        return _types.device("cpu")

    def manual_seed(self, seed):
        """Starts anew from `seed`, a whole number in [-2^63, 2^64). Returns the generator."""
        value = int(seed)
        if not -2**63 <= value < 2**64:
            raise RuntimeError(f"[manual_seed] seed: expected a number in [-2^63, 2^64), got {value}")
        self.seed_, self.stream = value % 2**64, 0
        return self

    def initial_seed(self):
        """The seed that it was started from."""
        return self.seed_

    def seed(self):
        """Starts anew from a seed of the operating system, which is returned."""
        self.manual_seed(int.from_bytes(os.urandom(8), "little"))
        return self.seed_

    def get_state(self):
        """The state as 16 bytes: seed and next stream."""
        return wrap(own_array(np.array([self.seed_, self.stream], "<u8").view(np.uint8)))

    def set_state(self, Tensor new_state):
        """Takes a state from get_state. Returns the generator."""
        if cnp.PyArray_TYPE(new_state.a) != cnp.NPY_UINT8 or cnp.PyArray_SIZE(new_state.a) != 16:
            raise RuntimeError(f"[set_state] new_state: expected 16 values of type uint8, got {new_state.dtype} of "
                               f"shape {tuple(new_state.shape)}")
        seed, stream = np.ascontiguousarray(new_state.a).view("<u8").tolist()
        self.seed_, self.stream = seed, stream
        return self

    def clone_state(self):
        """A second generator in the same state."""
        return Generator().set_state(self.get_state())

    def __reduce__(self):
        return _generator, (self.seed_, self.stream)


def _generator(seed, stream):
    cdef Generator g = Generator()
    g.seed_, g.stream = seed, stream
    return g


cdef Generator default = Generator()
default.seed()
default_generator = default


def next_stream():
    """(seed, stream) for one kernel call; the default generator goes on to its next stream."""
    default.stream += 1
    return default.seed_, default.stream - 1


cdef Generator source(str op, object generator):
    if generator is None:
        return default
    if not isinstance(generator, Generator):
        raise TypeError(f"[{op}] generator: expected a Generator or None, got {type(generator).__name__}")
    return generator


def manual_seed(seed):
    """Seeds the default generator; the same seed gives the same numbers on every machine. Returns the generator."""
    return default.manual_seed(seed)


def initial_seed():
    """The seed of the default generator."""
    return default.initial_seed()


def seed():
    """Seeds the default generator from the operating system; returns the seed."""
    return default.seed()


def get_rng_state():
    """The state of the default generator, as bytes."""
    return default.get_state()


def set_rng_state(new_state):
    """Puts the default generator into a state from get_rng_state."""
    default.set_state(new_state)


# Filling ----------------------------------------------------------------------------------------------------------

cdef enum Kind:
    UNIFORM, NORMAL


cdef int fill(ndarray a, Kind kind, double first, double second, Generator g, bint is_new=True) except -1:
    """Fills a float array with uniform numbers in [first, second), or normal ones of mean first and deviation second."""
    cdef ndarray to = a
    cdef uint64_t stream = g.stream, key = g.seed_
    cdef int64_t n = cnp.PyArray_SIZE(a)
    cdef const fdl_table *K
    cdef void *p
    g.stream += 1
    if not is_fast(cnp.PyArray_TYPE(a)) or not cnp.PyArray_IS_C_CONTIGUOUS(a):
        to = np.empty((<object> a).shape, (<object> a).dtype if is_fast(cnp.PyArray_TYPE(a)) else np.float32)
    K, p = kernels(cnp.PyArray_TYPE(to)), cnp.PyArray_DATA(to)
    if n < 1024:
        if kind == UNIFORM:
            K.rand_uniform(p, n, first, second, key, stream)
        else:
            K.rand_normal(p, n, first, second, key, stream)
    else:
        watch(ELEM_FMAS * n if is_new else 0)
        with nogil:
            if kind == UNIFORM:
                K.rand_uniform(p, n, first, second, key, stream)
            else:
                K.rand_normal(p, n, first, second, key, stream)
        unwatch()
    if to is not a:
        np.copyto(a, to, casting="same_kind")
    return 0


cdef ndarray random_words(int64_t n, Generator g):
    """n whole numbers of 64 random bits."""
    cdef npy_intp dims[1]
    dims[0] = n
    cdef ndarray out = empty(1, dims, cnp.NPY_UINT64).a
    cdef uint64_t stream = g.stream, key = g.seed_
    cdef uint32_t *p = <uint32_t *> cnp.PyArray_DATA(out)
    g.stream += 1
    with nogil:
        F32.rand_uint32(p, 2 * n, key, stream)
    return out


cdef ndarray whole_numbers(int64_t n, object low, object high, Generator g):
    """n whole numbers uniform in [low, high), as int64: the upper half of word * (high - low)."""
    cdef ndarray out = random_words(n, g)
    cdef uint64_t *p = <uint64_t *> cnp.PyArray_DATA(out)
    cdef uint64_t span, first
    cdef int64_t i
    if low < -2**63 or high > 2**63:
        raise RuntimeError(f"[randint] expected numbers of int64, got low = {low} and high = {high}")
    span, first = (high - low) % 2**64, low % 2**64
    with nogil:
        for i in range(n):
            p[i] = first + fdl_below(p[i], span)
    return (<object> out).view(np.int64)


cdef tuple as_size(str op, tuple size, object keyword):
    """(2, 3), ((2, 3),) or size=(2, 3)"""
    if keyword is not None:
        if size:
            raise TypeError(f"[{op}] size: given twice, as {size} and size={keyword!r}")
        size = (keyword,)
    if len(size) == 1 and isinstance(size[0], (tuple, list)):
        size = tuple(size[0])
    for n in size:
        if n < 0:
            raise RuntimeError(f"[{op}] size: expected numbers >= 0, got {size}")
    return size


cdef Tensor new_random(str op, Kind kind, tuple size, object dtype, object device, bint requires_grad, object generator):
    cdef Tensor out = empty_tensor(size, dtype=dtype, device=device)
    if not out.is_floating_point():
        raise RuntimeError(f"[{op}] dtype: expected a floating-point type, got {out.dtype}")
    fill(out.a, kind, 0, 1, source(op, generator))
    if requires_grad:
        out.requires_grad = True
    return out


def rand(*args, size=None, generator=None, dtype=None, device=None, bint requires_grad=False):
    """A tensor of shape `size` with numbers uniform in [0, 1): rand(2, 3) or rand((2, 3)).

    Args:
        generator: a Generator; default: the one that manual_seed sets.
    Raises:
        RuntimeError: a negative size, or an integer dtype.
    """
    return new_random("rand", UNIFORM, as_size("rand", args, size), dtype, device, requires_grad, generator)


def randn(*args, size=None, generator=None, dtype=None, device=None, bint requires_grad=False):
    """A tensor of shape `size` with standard normal numbers. Arguments as rand."""
    return new_random("randn", NORMAL, as_size("randn", args, size), dtype, device, requires_grad, generator)


def rand_like(Tensor input, *, generator=None, dtype=None, device=None, bint requires_grad=False):
    """rand with the shape and type of `input`."""
    return new_random("rand_like", UNIFORM, tuple(input.shape), dtype or input.dtype, device, requires_grad, generator)


def randn_like(Tensor input, *, generator=None, dtype=None, device=None, bint requires_grad=False):
    """randn with the shape and type of `input`."""
    return new_random("randn_like", NORMAL, tuple(input.shape), dtype or input.dtype, device, requires_grad, generator)


def randint(*args, low=0, high=None, size=None, generator=None, dtype=None, device=None, bint requires_grad=False):
    """Whole numbers uniform in [low, high): randint(high, size) or randint(low, high, size), int64 by default.

    Raises:
        RuntimeError: low >= high.  TypeError: no high or no size.
    """
    cdef list given = list(args)
    if size is None and given and isinstance(given[-1], (tuple, list)):
        size = given.pop()
    if len(given) == 2:
        low, high = given
    elif len(given) == 1:
        if high is None:
            high = given[0]
        else:
            low = given[0]
    if high is None or size is None or len(given) > 2:
        raise TypeError(f"[randint] expected (high, size) or (low, high, size), got {args} and size={size!r}")
    low, high = int(low), int(high)
    if low >= high:
        raise RuntimeError(f"[randint] expected low < high, got low = {low} and high = {high}")
    size = as_size("randint", (), tuple(size) if isinstance(size, (tuple, list)) else (size,))
    cdef Tensor out
    kind = _types.int64 if dtype is None else _types.as_dtype(dtype)
    if device is not None:
        _types.device(device)
    values = whole_numbers(math.prod(size), low, high, source("randint", generator)).reshape(size)
    out = wrap(values if kind is _types.int64 else own_array(values.astype(kind.numpy)))
    if requires_grad:
        out.requires_grad = True
    return out


def randint_like(Tensor input, *args, low=0, high=None, generator=None, dtype=None, device=None, bint requires_grad=False):
    """randint with the shape and type of `input`."""
    return randint(*args, low=low, high=high, size=tuple(input.shape), generator=generator, dtype=dtype or input.dtype,
                   device=device, requires_grad=requires_grad)


def randperm(n, *, generator=None, dtype=None, device=None, bint requires_grad=False):
    """The numbers 0 .. n-1 in random order (Fisher and Yates), int64 by default."""
    cdef int64_t count = n, i, j
    if count < 0:
        raise RuntimeError(f"[randperm] n: expected a number >= 0, got {n}")
    cdef ndarray bits = random_words(count, source("randperm", generator)), order = np.arange(count)
    cdef const uint64_t *word = <const uint64_t *> cnp.PyArray_DATA(bits)
    cdef int64_t *p = <int64_t *> cnp.PyArray_DATA(order)
    with nogil:
        for i in range(count - 1, 0, -1):
            j = <int64_t> fdl_below(word[i], <uint64_t> (i + 1))
            p[i], p[j] = p[j], p[i]
    cdef Tensor out = wrap(own_array(order if dtype is None else order.astype(_types.as_dtype(dtype).numpy)))
    if device is not None:
        _types.device(device)
    if requires_grad:
        out.requires_grad = True
    return out


def normal(mean=0.0, std=1.0, size=None, *, generator=None, dtype=None, device=None, bint requires_grad=False):
    """Normal numbers: normal(0, 1, (2, 3)) by numbers and a shape, or mean and std (or one of them) as tensors.

    Raises:
        RuntimeError: std < 0, or neither tensors nor a size.
    """
    cdef Tensor out
    if isinstance(std, Tensor):
        if bool(((<Tensor> std).a < 0).any()):
            raise RuntimeError("[normal] std: expected all elements >= 0.0")
    elif not std >= 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std}")
    if isinstance(mean, Tensor) or isinstance(std, Tensor):
        if size is not None:
            raise TypeError("[normal] size: follows from mean and std when they are tensors")
        like = mean if isinstance(mean, Tensor) else std
        shape = np.broadcast_shapes(tuple(mean.shape) if isinstance(mean, Tensor) else (), tuple(std.shape) if isinstance(std, Tensor) else ())
        with_type = dtype if dtype is not None else like.dtype if like.is_floating_point() else None
        out = new_random("normal", NORMAL, shape, with_type, device, False, generator)
        # the parameters are not differentiated
        out = binary(FDL_ADD, binary(FDL_MUL, out, std.detach() if isinstance(std, Tensor) else std, 1),
                     mean.detach() if isinstance(mean, Tensor) else mean, 1)
    else:
        if size is None:
            raise RuntimeError("[normal] size: expected a shape when mean and std are numbers")
        out = empty_tensor(as_size("normal", (), size), dtype=dtype, device=device)
        if not out.is_floating_point():
            raise RuntimeError(f"[normal] dtype: expected a floating-point type, got {out.dtype}")
        fill(out.a, NORMAL, mean, std, source("normal", generator))
    if requires_grad:
        out.requires_grad = True
    return out


# In place ---------------------------------------------------------------------------------------------------------

@cython.final
cdef class FilledBackward(Node):
    """x was overwritten with random numbers: nothing flows back to what it was"""
    cdef str title

    def name(self):
        return self.title

    cdef object apply(self, Tensor g):
        return None


cdef Tensor end_fill(Tensor x, str title):
    cdef FilledBackward node = None
    cdef tuple edges = None
    if grad_enabled() and wants(x):
        node = FilledBackward.__new__(FilledBackward)
        node.title, edges = title, (edge(x),)
    return end_inplace(x, title, node, edges)


cdef Tensor fill_inplace(str op, str title, Tensor x, Kind kind, double first, double second, object generator):
    begin_inplace(x)
    if not x.is_floating_point():
        raise RuntimeError(f"[{op}] expected a floating-point tensor, got {x.dtype}")
    fill(x.a, kind, first, second, source(op, generator), is_new=False)
    return end_fill(x, title)


def uniform_(Tensor input, low=0.0, high=1.0, *, generator=None, **names):
    """Fills the tensor with numbers uniform in [low, high); PyTorch's names `from` and `to` do as well."""
    low, high = names.pop("from", low), names.pop("to", high)
    if names:
        raise TypeError(f"[uniform_] got unexpected arguments {sorted(names)}")
    if not low <= high:
        raise RuntimeError(f"uniform_ expects to return a [from, to) range, but found from={low} > to={high}")
    return fill_inplace("uniform_", "UniformBackward0", input, UNIFORM, low, high, generator)


def normal_(Tensor input, mean=0.0, std=1.0, *, generator=None):
    """Fills the tensor with normal numbers."""
    if not std >= 0:
        raise RuntimeError(f"normal_ expects std >= 0.0, but found std {std}")
    return fill_inplace("normal_", "NormalBackward0", input, NORMAL, mean, std, generator)


def random_(Tensor input, low=0, high=None, *, generator=None, **names):
    """Fills the tensor with whole numbers: random_(low, high) in [low, high), random_(high) in [0, high), random_() in
    all that the type holds exactly, from 0 on. PyTorch's names `from` and `to` do as well."""
    low, high = names.pop("from", low), names.pop("to", high)
    if names:
        raise TypeError(f"[random_] got unexpected arguments {sorted(names)}")
    kind = (<object> input.a).dtype
    if high is None and low:
        low, high = 0, low
    if high is None:
        high = 2 if kind.kind == "b" else 2 ** (np.finfo(kind).nmant + 1) + 1 if kind.kind == "f" else np.iinfo(kind).max + 1
    low, high = int(low), int(high)
    if not low < high:
        raise RuntimeError(f"[random_] expected low < high, got low = {low} and high = {high}")
    begin_inplace(input)
    values = whole_numbers(cnp.PyArray_SIZE(input.a), low, high, source("random_", generator))
    np.copyto(input.a, values.reshape(tuple(input.shape)), casting="unsafe")
    return end_fill(input, "RandomBackward0")


def exponential_(Tensor input, lambd=1.0, *, generator=None):
    """Fills the tensor with numbers > 0 of the exponential distribution with rate `lambd`."""
    if not lambd > 0:
        raise RuntimeError(f"[exponential_] lambd: expected a number > 0, got {lambd}")
    if not input.is_floating_point():
        raise RuntimeError(f"[exponential_] expected a floating-point tensor, got {input.dtype}")
    begin_inplace(input)
    cdef ndarray u = np.empty((<object> input.a).shape, np.float64)
    fill(u, UNIFORM, 0, 1, source("exponential_", generator))
    waits = np.asarray(wrap(own_array(1 - u)).log())
    np.copyto(input.a, np.maximum(waits * (-1 / lambd), np.finfo((<object> input.a).dtype).tiny), casting="same_kind")
    return end_fill(input, "ExponentialBackward0")


cdef ndarray flips(str op, tuple shape, object p, object generator):
    """Trials that succeed with probability p, a number or an array that broadcasts to `shape`; as bools."""
    cdef ndarray u = np.empty(shape, np.float64)
    if not bool(np.all((np.asarray(p) >= 0) & (np.asarray(p) <= 1))):
        raise RuntimeError(f"[{op}] p: expected probabilities in [0, 1], got {p}")
    fill(u, UNIFORM, 0, 1, source(op, generator))
    return u < p


def bernoulli(Tensor input, p=None, *, generator=None):
    """1 with the probability that `input` holds (or p), else 0; the type is input's. Not differentiable."""
    if p is None and not input.is_floating_point():
        raise RuntimeError(f"[bernoulli] input: expected floating-point probabilities, got {input.dtype}")
    hits = flips("bernoulli", tuple(input.shape), input.a if p is None else p, generator)
    return wrap(own_array(hits.astype((<object> input.a).dtype)))


def bernoulli_(Tensor input, p=0.5, *, generator=None):
    """Fills the tensor with 1 with probability p, a number or a tensor, else 0."""
    begin_inplace(input)
    hits = flips("bernoulli_", tuple(input.shape), (<Tensor> p).a if isinstance(p, Tensor) else p, generator)
    np.copyto(input.a, hits, casting="unsafe")
    return end_fill(input, "BernoulliBackward0")


def multinomial(Tensor input, num_samples, replacement=False, *, generator=None):
    """Draws class ids with probabilities proportional to `input`, rows by themselves.

    Args:
        input: weights >= 0, (C,) or (N, C); they need not sum to 1.
        num_samples: ids per row.
        replacement: whether an id may come more than once.
    Shape:
        (num_samples,) or (N, num_samples), int64.
    Raises:
        RuntimeError: negative, infinite or no positive weights; more ids than there are to draw from.
    """
    cdef ndarray u
    weights = np.asarray(input.a)
    if weights.ndim not in (1, 2) or not input.is_floating_point():
        raise RuntimeError(f"[multinomial] input: expected floating-point weights (C,) or (N, C), got {input.dtype} "
                           f"of shape {weights.shape}")
    count, classes = int(num_samples), weights.shape[-1]
    if count <= 0:
        raise RuntimeError(f"[multinomial] num_samples: expected a number > 0, got {count}")
    rows = weights.reshape(-1, classes).astype(np.float64)
    good = np.isfinite(weights) & (weights >= 0)
    if not good.all():
        raise RuntimeError("[multinomial] probability tensor contains either `inf`, `nan` or element < 0: "
                           f"input[{first_place(~good)}] = {weights[~good][0]:g}")
    if not (rows.sum(-1) > 0).all():
        raise RuntimeError("[multinomial] invalid multinomial distribution (sum of probabilities <= 0) in row "
                           f"{first_place(rows.sum(-1) <= 0)}")
    if not replacement and (count > classes or ((rows > 0).sum(-1) < count).any()):
        raise RuntimeError(f"[multinomial] cannot draw {count} different ids: rows have {classes} classes, "
                           f"{int((rows > 0).sum(-1).min(initial=classes))} of weight > 0 at least")
    u = np.empty((len(rows), count if replacement else classes), np.float64)
    fill(u, UNIFORM, 0, 1, source("multinomial", generator))
    if replacement:
        ids = np.empty((len(rows), count), np.int64)
        for i, row in enumerate(rows):
            edges = np.cumsum(row)
            ids[i] = np.searchsorted(edges, u[i] * edges[-1], side="right")
        ids = np.minimum(ids, (rows > 0).shape[1] - 1 - np.argmax(rows[:, ::-1] > 0, -1)[:, None])
    else:  # the smallest of exponential waiting times of rates `rows`
        waits = -np.asarray((wrap(1 - u)).log())
        with np.errstate(divide="ignore"):
            waits = np.where(rows > 0, waits / np.where(rows > 0, rows, 1), np.inf)
        ids = np.argsort(waits, axis=-1, kind="stable")[:, :count]
    return wrap(own_array(ids.reshape(weights.shape[:-1] + (count,))))


# Dropout ----------------------------------------------------------------------------------------------------------

@cython.final
cdef class DropoutBackward0(Node):
    """dx = g / (1 - p) where the element was kept, 0 elsewhere: dropout again, from the same stream"""
    cdef double p
    cdef uint64_t key, stream

    def name(self):
        return "MulBackward0"

    cdef object apply(self, Tensor g):
        return drop(g, self.p, self.key, self.stream)


cdef int run_dropout(Tensor out, Tensor x, double p, uint64_t key, uint64_t stream) except -1:
    cdef const fdl_table *K = kernels(cnp.PyArray_TYPE(x.a))
    cdef int64_t n = cnp.PyArray_SIZE(x.a)
    cdef void *to = cnp.PyArray_DATA(out.a)
    cdef const void *source = cnp.PyArray_DATA(x.a)
    if n < 1024:
        K.dropout(to, source, n, p, key, stream)
    else:
        watch(ELEM_FMAS * n if out is not x else 0)
        with nogil:
            K.dropout(to, source, n, p, key, stream)
        unwatch()
    return 0


cdef DropoutBackward0 dropout_node(double p, uint64_t key, uint64_t stream):
    cdef DropoutBackward0 node = DropoutBackward0.__new__(DropoutBackward0)
    node.p, node.key, node.stream = p, key, stream
    return node


cdef Tensor drop(Tensor x, double p, uint64_t key, uint64_t stream):
    cdef Tensor out = empty_like(x, cnp.PyArray_TYPE(x.a))
    run_dropout(out, contiguous(x), p, key, stream)
    if grad_enabled() and wants(x):
        attach(out, dropout_node(p, key, stream), (edge(x),))
    return out


cdef Tensor drop_inplace(Tensor x, double p, uint64_t key, uint64_t stream):
    cdef Node node = None
    cdef tuple edges = None
    cdef Tensor source
    begin_inplace(x)
    if grad_enabled() and wants(x):
        node, edges = dropout_node(p, key, stream), (edge(x),)
    source = contiguous(x)
    run_dropout(source, source, p, key, stream)
    if source is not x:
        cnp.PyArray_CopyInto(x.a, source.a)
    return end_inplace(x, "dropout_", node, edges)


def dropout(Tensor input, p=0.5, training=True, inplace=False):
    """Sets each element to 0 with probability p and divides the others by 1 - p; `input` itself when not training.

    Nothing is stored for the backward pass: it makes the same mask again.

    Args:
        p: probability of dropping, in [0, 1].
        training: whether to drop at all.
        inplace: write into `input`.
    Raises:
        ValueError: p outside [0, 1].  RuntimeError: not a floating-point tensor.
    """
    cdef double rate = p
    cdef uint64_t stream
    if not 0 <= rate <= 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    if not training or rate == 0:
        return input
    if not input.is_floating_point():
        raise RuntimeError(f"[dropout] input: expected a floating-point tensor, got {input.dtype}")
    if not is_fast(cnp.PyArray_TYPE(input.a)):
        return to_type(dropout(to_type(input, cnp.NPY_FLOAT32), p), cnp.PyArray_TYPE(input.a))
    stream = default.stream
    default.stream += 1
    if inplace:
        return drop_inplace(input, rate, default.seed_, stream)
    return drop(input, rate, default.seed_, stream)


register_all(globals(), "uniform_ normal_ random_ exponential_ bernoulli bernoulli_ multinomial")
