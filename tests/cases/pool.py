"""Pooling, padding, unfold and fold."""

import numpy as np

import fastdl
from fastdl.nn import functional as F
from tests.cases import Case, Error, normal


def two(value):
    return value if isinstance(value, tuple) else (value, value)


def windows(size, k, s, p, d, ceil_mode):
    """For each output along one axis the range of positions, before cutting to the input."""
    count = size + 2 * p - d * (k - 1) - 1
    count = (count + (s - 1 if ceil_mode else 0)) // s + 1
    if ceil_mode and (count - 1) * s >= size + p:
        count -= 1
    return [[o * s - p + i * d for i in range(k)] for o in range(count)]


def pool_reference(x, reduce, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    """reduce(values inside of the plane, rows, columns of the window) for each window, by the definition."""
    k, p, d = two(kernel_size), two(padding), two(dilation)
    s = k if stride is None else two(stride)
    rows, columns = (windows(x.shape[-2 + i], k[i], s[i], p[i], d[i], ceil_mode) for i in range(2))
    out = np.zeros((*x.shape[:-2], len(rows), len(columns)))
    for i, ys in enumerate(rows):
        for j, xs in enumerate(columns):
            inside = x[..., [y for y in ys if 0 <= y < x.shape[-2]], :][..., [c for c in xs if 0 <= c < x.shape[-1]]]
            out[..., i, j] = reduce(inside, ys, xs)
    return out


def max_reference(x, **options):
    return pool_reference(x, lambda v, ys, xs: v.max((-2, -1)), **options)


def avg_reference(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None):
    p = two(padding)

    def mean(v, ys, xs):
        padded = [sum(c < n + q for c in axis) for axis, n, q in zip((ys, xs), x.shape[-2:], p)]
        count = padded[0] * padded[1] if count_include_pad else v.shape[-2] * v.shape[-1]
        return v.sum((-2, -1)) / (divisor_override or count)

    return pool_reference(x, mean, kernel_size, stride, padding, 1, ceil_mode)


def adaptive_reference(x, output_size, reduce=np.mean):
    out = np.zeros((*x.shape[:-2], *output_size))
    for index in np.ndindex(*output_size):
        y, z = (slice(i * n // o, -(-(i + 1) * n // o)) for i, n, o in zip(index, x.shape[-2:], output_size))
        out[(..., *index)] = reduce(x[..., y, z], (-2, -1))
    return out


def case(name, op, reference, shapes, **options):
    return Case(name, lambda x: op(x, **options), lambda x: reference(x, **options),
                lambda rng, *s: {"x": normal(rng, *s)}, shapes, wrt=("x",), rtol=1e-5)


SIZES = [(1, 1, 4, 4), (2, 3, 5, 9), (1, 2, 8, 33), (2, 1, 34, 18), (3, 8, 7, 70)]

CASES = [
    case("max_pool2d", F.max_pool2d, max_reference, [*SIZES, (0, 2, 4, 4)], kernel_size=2),
    case("max_pool2d overlap", F.max_pool2d, max_reference, SIZES, kernel_size=3, stride=2, padding=1),
    case("max_pool2d options", F.max_pool2d, max_reference, [(2, 3, 9, 12), (1, 2, 11, 70)], kernel_size=(3, 2),
         stride=(1, 3), padding=(1, 1), dilation=(2, 3), ceil_mode=True),
    case("max_pool2d stride 1", F.max_pool2d, max_reference, SIZES, kernel_size=(2, 3), stride=1),
    case("max_pool2d ceil", F.max_pool2d, max_reference, SIZES, kernel_size=3, stride=2, ceil_mode=True),
    case("avg_pool2d", F.avg_pool2d, avg_reference, [*SIZES, (0, 2, 4, 4)], kernel_size=2),
    case("avg_pool2d padding", F.avg_pool2d, avg_reference, SIZES, kernel_size=3, stride=2, padding=1),
    case("avg_pool2d without padding", F.avg_pool2d, avg_reference, SIZES, kernel_size=(3, 4), stride=(2, 3), padding=(1, 2),
         ceil_mode=True, count_include_pad=False),
    case("avg_pool2d ceil", F.avg_pool2d, avg_reference, SIZES, kernel_size=(3, 2), stride=(2, 3), padding=(1, 0), ceil_mode=True),
    case("avg_pool2d divisor", F.avg_pool2d, avg_reference, SIZES, kernel_size=2, stride=1, divisor_override=3),
    case("adaptive_avg_pool2d", F.adaptive_avg_pool2d, adaptive_reference, SIZES, output_size=(3, 4)),
    case("adaptive_avg_pool2d one", F.adaptive_avg_pool2d, adaptive_reference, SIZES, output_size=(1, 1)),
    case("adaptive_avg_pool2d whole", F.adaptive_avg_pool2d, adaptive_reference, [(2, 3, 6, 8)], output_size=(3, 2)),
    case("adaptive_avg_pool2d larger", F.adaptive_avg_pool2d, adaptive_reference, [(2, 1, 3, 5)], output_size=(7, 6)),
    *(Case(f"adaptive_max_pool2d {size}", lambda x, size=size: F.adaptive_max_pool2d(x, size),
           lambda x, size=size: adaptive_reference(x, size, np.max), lambda rng, *s: {"x": normal(rng, *s)}, SIZES[1:],
           wrt=("x",)) for size in [(3, 4), (1, 1), (5, 2), (7, 6)]),
    Case("adaptive_max_pool1d", lambda x: F.adaptive_max_pool1d(x, 3), lambda x: adaptive_reference(x[:, None], (1, 3), np.max)[
         :, 0], lambda rng, *s: {"x": normal(rng, *s)}, [(2, 5), (3, 71)], wrt=("x",)),
    Case("max_pool1d", lambda x: F.max_pool1d(x, 3, 2, 1), lambda x: max_reference(x[:, :, None], kernel_size=(1, 3),
         stride=(1, 2), padding=(0, 1))[:, :, 0], lambda rng, *s: {"x": normal(rng, *s)}, [(2, 3, 5), (1, 2, 71)], wrt=("x",)),
    Case("avg_pool1d", lambda x: F.avg_pool1d(x, 3, 2, 1), lambda x: avg_reference(x[:, :, None], (1, 3), (1, 2), (0, 1))[
         :, :, 0], lambda rng, *s: {"x": normal(rng, *s)}, [(2, 3, 5), (1, 2, 71)], wrt=("x",)),
    Case("adaptive_avg_pool1d", lambda x: F.adaptive_avg_pool1d(x, 3), lambda x: adaptive_reference(x[:, :, None], (1, 3))[
         :, :, 0], lambda rng, *s: {"x": normal(rng, *s)}, [(2, 3, 5), (1, 2, 72)], wrt=("x",)),
]


def pad_case(mode, sizes, shapes):
    numpy_mode = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}[mode]

    def reference(x):
        pairs = [(0, 0)] * (x.ndim - len(sizes) // 2) + [
            (sizes[i], sizes[i + 1]) for i in range(len(sizes) - 2, -1, -2)
        ]
        cut = tuple(slice(max(-b, 0), n + min(a, 0)) for n, (b, a) in zip(x.shape, pairs))
        return np.pad(x[cut], [(max(b, 0), max(a, 0)) for b, a in pairs], numpy_mode)

    return Case(f"pad {mode} {sizes}", lambda x: F.pad(x, sizes, mode), reference,
                lambda rng, *s: {"x": normal(rng, *s)}, shapes, wrt=("x",))


CASES += [
    pad_case("constant", (1, 2), [(3,), (2, 5), (0, 4)]),
    pad_case("constant", (2, 0, 0, 3, 1, 1), [(2, 3, 4), (2, 2, 3, 4)]),
    pad_case("constant", (-1, 2, 3, -2), [(4, 5), (2, 3, 5)]),
    pad_case("reflect", (2, 3), [(2, 3, 4), (2, 5)]),
    pad_case("reflect", (1, 2, 2, 0), [(2, 3, 4), (2, 3, 3, 5)]),
    pad_case("replicate", (1, 5, 2, 0), [(2, 3, 4), (1, 2, 3, 1)]),
    pad_case("circular", (1, 2, 2, 3), [(2, 3, 4), (1, 2, 3, 4)]),
]


def unfold_reference(x, kernel, dilation, padding, stride):
    x = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    rows, columns = (
        [o * s for o in range((n - d * (k - 1) - 1) // s + 1)] for n, k, d, s in zip(x.shape[2:], kernel, dilation, stride)
    )
    return np.stack([
        np.stack([
            x[:, :, y : y + dilation[0] * (kernel[0] - 1) + 1 : dilation[0], z : z + dilation[1] * (kernel[1] - 1) + 1 : dilation[1]]
            .reshape(x.shape[0], -1)
            for z in columns
        ], -1)
        for y in rows
    ], -2).reshape(x.shape[0], -1, len(rows) * len(columns))


def fold_reference(columns, size, *window):
    """The adjoint of unfold, column by column of its matrix."""
    n, c = columns.shape[0], columns.shape[1] // (window[0][0] * window[0][1])
    units = np.eye(c * size[0] * size[1]).reshape(-1, c, *size)
    matrix = unfold_reference(units, *window).reshape(len(units), -1)
    return (columns.reshape(n, -1) @ matrix.T).reshape(n, c, *size)


WINDOW = ((2, 3), (2, 1), (1, 2), (1, 2))
CASES += [
    Case("unfold", lambda x: F.unfold(x, *WINDOW), lambda x: unfold_reference(x, *WINDOW),
         lambda rng, *s: {"x": normal(rng, *s)}, [(2, 3, 4, 5), (1, 1, 2, 3)], wrt=("x",)),
    Case("fold", lambda x: F.fold(x, (4, 5), *WINDOW), lambda x: fold_reference(x, (4, 5), *WINDOW),
         lambda rng, n, c: {"x": normal(rng, n, 6 * c, 16)}, [(2, 3), (1, 1)], wrt=("x",)),
]

X = fastdl.ones(2, 3, 5, 6)
ERRORS = [
    Error("max_pool2d size", lambda: F.max_pool2d(X, 7), RuntimeError, r"larger than the input: kernel_size 7.*\(2, 3, 5, 6\)"),
    Error("max_pool2d padding", lambda: F.max_pool2d(X, 2, padding=2), RuntimeError, "at most half of effective kernel size"),
    Error("max_pool2d dimensions", lambda: F.max_pool2d(fastdl.ones(5, 6), 2), RuntimeError, r"expected 4 dimensions.*\(5, 6\)"),
    Error("max_pool2d type", lambda: F.max_pool2d(X.bool(), 2), RuntimeError, "expected float32 or float64"),
    Error("avg_pool2d divisor", lambda: F.avg_pool2d(X, 2, divisor_override=0), RuntimeError, "not zero"),
    Error("avg_pool1d kernel", lambda: F.avg_pool1d(X[0], (1, 2)), TypeError, "kernel_size: expected a whole number or 1"),
    Error("adaptive_avg_pool2d size", lambda: F.adaptive_avg_pool2d(X, (1, 2, 3)), RuntimeError, "one or 2 numbers"),
    Error("adaptive_max_pool2d size", lambda: F.adaptive_max_pool2d(X, (1, 2, 3)), RuntimeError, "expected one or 2 numbers"),
    Error("adaptive_max_pool1d shape", lambda: F.adaptive_max_pool1d(X, 2), RuntimeError, r"expected 3 dimensions .* or 2 without.*\(2, 3, 5, 6\)"),
    Error("pad count", lambda: F.pad(X, (1, 2, 3)), RuntimeError, "two numbers for each of at most 4 dimensions"),
    Error("pad mode", lambda: F.pad(X, (1, 2), "mirror"), NotImplementedError, "mode: expected 'constant'"),
    Error("pad reflect", lambda: F.pad(X, (6, 0, 0, 0), "reflect"), RuntimeError, "too large for a dimension of size 6"),
    Error("pad away", lambda: F.pad(X, (-4, -3)), RuntimeError, "would get size -1"),
    Error("unfold size", lambda: F.unfold(X, 7), RuntimeError, "do not fit"),
    Error("fold size", lambda: F.fold(fastdl.ones(2, 8, 3), 4, 2), RuntimeError, r"expected shape \(N, C \* 4, 9\)"),
]
