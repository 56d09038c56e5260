"""Convolutions and their transposes."""

import numpy as np

import fastdl
from fastdl.nn import functional as F
from tests.cases import Case, Error, normal


def pair(value, dims):
    return value if isinstance(value, tuple) else (1,) * (2 - dims) + (value,) * dims


def conv_reference(x, w, b=None, stride=1, padding=0, dilation=1, groups=1):
    """By the definition: every tap of the kernel times the part of the image that it sees."""
    dims = x.ndim - 2
    if dims == 1:
        x, w = x[:, :, None], w[:, :, None]
    s, d = pair(stride, dims), pair(dilation, dims)
    kernel = w.shape[2:]
    if padding == "same":
        total = [d[i] * (kernel[i] - 1) for i in range(2)]
        sides = [(t // 2, t - t // 2) for t in total]
    else:
        p = pair(0 if padding == "valid" else padding, dims) if padding else (0, 0)
        sides = [(0, 0) if dims == 1 and i == 0 else (p[i], p[i]) for i in range(2)]
    x = np.pad(x, ((0, 0), (0, 0), *sides))
    out = [(x.shape[2 + i] - d[i] * (kernel[i] - 1) - 1) // s[i] + 1 for i in range(2)]
    y = np.zeros((x.shape[0], w.shape[0], *out))
    ci, co = w.shape[1], w.shape[0] // groups
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            seen = x[:, :, i * d[0] :, j * d[1] :][:, :, : s[0] * (out[0] - 1) + 1 : s[0], : s[1] * (out[1] - 1) + 1 : s[1]]
            for g in range(groups):
                part = seen[:, g * ci : (g + 1) * ci]
                y[:, g * co : (g + 1) * co] += np.einsum("nchw,oc->nohw", part, w[g * co : (g + 1) * co, :, i, j])
    if b is not None:
        y += b[:, None, None]
    return y[:, :, 0] if dims == 1 else y


def transposed_reference(x, w, b=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """By the definition: every element spreads the kernel over the output, of which the padding is cut off."""
    s, p, o, d = (v if isinstance(v, tuple) else (v, v) for v in (stride, padding, output_padding, dilation))
    n, c, *size = x.shape
    kernel, co = w.shape[2:], w.shape[1]
    whole = [(size[i] - 1) * s[i] + d[i] * (kernel[i] - 1) + 1 + o[i] for i in range(2)]
    y = np.zeros((n, groups * co, *whole))
    each = c // groups
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            for g in range(groups):
                part = np.einsum("nchw,co->nohw", x[:, g * each : (g + 1) * each], w[g * each : (g + 1) * each, :, i, j])
                y[:, g * co : (g + 1) * co, i * d[0] :, j * d[1] :][
                    :, :, : s[0] * (size[0] - 1) + 1 : s[0], : s[1] * (size[1] - 1) + 1 : s[1]
                ] += part
    y = y[:, :, p[0] : whole[0] - p[0], p[1] : whole[1] - p[1]]
    return y if b is None else y + b[:, None, None]


def case(name, shapes, function=None, reference=conv_reference, bias=True, grad_shapes=None, **options):
    """shapes: (n, groups * ci, groups * co, size.., kernel..)."""
    groups = options.get("groups", 1)

    def inputs(rng, n, ci, co, *sizes):
        dims = len(sizes) // 2
        kernel = (co, ci // groups) if reference is conv_reference else (ci, co // groups)
        data = dict(x=normal(rng, n, ci, *sizes[:dims]), w=normal(rng, *kernel, *sizes[dims:]))
        return dict(**data, b=normal(rng, co)) if bias else data

    def op(x, w, b=None):
        return (function or (F.conv1d if x.dim() == 3 else F.conv2d))(x, w, b, **options)

    # chains of up to 512 FMAs on numbers of size 1: the error grows with their root
    return Case(
        name, op, lambda x, w, b=None: reference(x, w, b, **options), inputs, shapes,
        wrt=("x", "w", "b") if bias else ("x", "w"), rtol=1e-5, atol=5e-5, rtol64=1e-11, atol64=1e-11,
        grad_shapes=shapes if grad_shapes is None else grad_shapes,
    )


# few and many channels (pixels are packed from 32 on), all remainders of tiles of 6 channels and 64 pixels, sums of more
# than 512 taps, blocks of several small images, images of more than 128 K elements in bands
SIZES = [
    (0, 2, 3, 5, 4, 3, 2),
    (1, 1, 1, 1, 1, 1, 1),
    (1, 1, 6, 9, 11, 5, 5),
    (2, 3, 5, 7, 9, 3, 2),
    (3, 2, 7, 17, 33, 2, 3),
    (1, 60, 9, 6, 5, 3, 3),
    (2, 70, 40, 5, 6, 3, 3),
    (40, 3, 35, 4, 4, 3, 3),
    (33, 2, 8, 3, 5, 2, 2),
    (1, 3, 67, 16, 17, 3, 3),
]
SAME = [(2, 3, 5, 8, 9, 3, 3), (18, 5, 33, 4, 4, 3, 3), (17, 2, 4, 2, 2, 3, 3), (1, 4, 6, 10, 30, 5, 4)]

CASES = [
    case("conv2d", SIZES),
    case("conv2d bands", [(1, 40, 5, 61, 60, 3, 3), (2, 34, 33, 70, 61, 3, 2)], grad_shapes=[(1, 40, 5, 61, 60, 3, 3)], padding=1),
    case("conv2d no bias", SIZES[:5], bias=False),
    case("conv2d padding", [*SAME, (1, 2, 3, 4, 5, 1, 1), (2, 2, 3, 1, 2, 3, 3)], padding=(1, 2)),
    case("conv2d large padding", [(2, 2, 3, 2, 3, 3, 2), (17, 2, 33, 2, 3, 2, 3)], padding=(4, 3)),
    case("conv2d same", SAME, padding="same"),
    case("conv2d same dilated", SAME, padding="same", dilation=(2, 3)),
    case("conv2d valid", SAME[:2], padding="valid"),
    case("conv2d stride 2", [*SAME, (2, 3, 4, 5, 5, 1, 1), (20, 3, 40, 6, 7, 3, 3)], stride=2, padding=1),
    case("conv2d stride 3 and 1", [*SAME[:2], (17, 2, 4, 4, 2, 3, 3), SAME[3]], stride=(3, 1), padding=(0, 1)),
    case("conv2d stride 1 and 4", [(2, 3, 5, 8, 9, 3, 3), (1, 2, 34, 3, 20, 2, 2)], stride=(1, 4)),
    case("conv2d dilation", [(2, 3, 5, 9, 12, 3, 3), (20, 3, 40, 7, 9, 3, 2)], dilation=(2, 3), padding=1),
    case("conv2d stride and dilation", [(2, 3, 5, 12, 13, 3, 3), (18, 2, 34, 9, 8, 2, 3)], stride=(2, 3), dilation=(3, 2), padding=2),
    case("conv2d patches", [(2, 3, 33, 8, 12, 4, 4), (9, 1, 5, 9, 8, 4, 4)], stride=4),
    case("conv2d 1x1", [(2, 3, 5, 6, 7, 1, 1), (2, 530, 34, 16, 17, 1, 1), (20, 5, 36, 3, 3, 1, 1)]),
    case("conv2d 1x1 stride 2", [(2, 3, 5, 6, 7, 1, 1), (18, 33, 36, 5, 5, 1, 1)], stride=2),
    case("conv2d groups", [(2, 6, 9, 7, 8, 3, 2), (17, 6, 99, 4, 5, 3, 3)], groups=3, padding=1),
    case("conv2d depthwise", [(2, 4, 4, 7, 19, 3, 3), (17, 4, 8, 5, 5, 3, 3)], groups=4, padding=1, stride=(1, 2)),
    case("conv1d", [(2, 3, 5, 40, 3), (1, 1, 1, 1, 1), (20, 2, 33, 9, 4), (1, 3, 2, 700, 600)]),
    case("conv1d options", [(2, 4, 6, 40, 3), (20, 4, 66, 12, 4)], stride=3, padding=2, dilation=2, groups=2),
    case("conv_transpose2d", [(2, 3, 5, 4, 6, 3, 2), (18, 3, 34, 3, 3, 3, 3), (1, 60, 7, 5, 5, 3, 3)],
         F.conv_transpose2d, transposed_reference),
    case("conv_transpose2d options", [(2, 4, 6, 4, 5, 3, 4), (17, 4, 70, 3, 3, 3, 3)], F.conv_transpose2d,
         transposed_reference, stride=(2, 3), padding=1, output_padding=(1, 2), groups=2, dilation=(2, 1)),
]

X, W = fastdl.ones(2, 3, 5, 6), fastdl.ones(4, 3, 3, 2)
ERRORS = [
    Error("conv2d channels", lambda: F.conv2d(fastdl.ones(2, 5, 5, 6), W), RuntimeError,
          r"\[conv2d\] input: expected 3 channels for weight \(4, 3, 3, 2\) and groups=1, got 5"),
    Error("conv2d dimensions", lambda: F.conv2d(fastdl.ones(5, 6), W), RuntimeError, r"expected 4 dimensions .*\(5, 6\)"),
    Error("conv1d weight", lambda: F.conv1d(fastdl.ones(2, 3, 5), W), RuntimeError, r"weight: expected 3 dimensions"),
    Error("conv2d kernel too large", lambda: F.conv2d(fastdl.ones(1, 3, 2, 6), W), RuntimeError,
          r"can't be greater than actual input size: input \(1, 3, 2, 6\)"),
    Error("conv2d groups", lambda: F.conv2d(X, W, groups=3), RuntimeError, r"groups: .*divides the 4 output channels"),
    Error("conv2d bias", lambda: F.conv2d(X, W, fastdl.ones(3)), RuntimeError, r"bias: .*shape \(4,\), got \(3,\)"),
    Error("conv2d types", lambda: F.conv2d(X, W.double()), RuntimeError, r"weight: expected the input's type"),
    Error("conv2d bools", lambda: F.conv2d(X.bool(), W.bool()), RuntimeError, "expected float32 or float64"),
    Error("conv2d stride", lambda: F.conv2d(X, W, stride=0), RuntimeError, "stride: expected at least 1 and less than 2.31, got 0"),
    Error("conv2d stride count", lambda: F.conv2d(X, W, stride=(1, 2, 3)), TypeError, "a whole number or 2 of them"),
    Error("conv2d padding", lambda: F.conv2d(X, W, padding=-1), RuntimeError, "padding: expected at least 0"),
    Error("conv2d padding name", lambda: F.conv2d(X, W, padding="full"), RuntimeError, "'same', 'valid' or numbers"),
    Error("conv2d same stride", lambda: F.conv2d(X, W, stride=2, padding="same"), RuntimeError, "strided convolutions"),
    Error("conv_transpose2d channels", lambda: F.conv_transpose2d(X, W), RuntimeError, r"expected 4 channels"),
    Error("conv_transpose2d output padding", lambda: F.conv_transpose2d(fastdl.ones(1, 4, 3, 3), W, output_padding=1),
          RuntimeError, "less than stride or dilation"),
]
