"""cross_entropy and nll_loss."""

import itertools

import numpy as np

import fastdl
from fastdl.ops.loss import cross_entropy, nll_loss
from tests.cases import Case, Error, integers, normal, uniform


def log_softmax(x, axis):
    with np.errstate(invalid="ignore", divide="ignore"):
        d = x - x.max(axis, keepdims=True)
        return d - np.log(np.exp(d).sum(axis, keepdims=True))


def nll(logp, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    """PyTorch's definition, in float64: classes last, every target by itself."""
    rows = np.moveaxis(logp, 1, -1) if logp.ndim > 2 else logp
    classes = rows.shape[-1]
    w = np.ones(classes) if weight is None else weight
    rows, flat = rows.reshape(-1, classes), np.asarray(target).reshape(-1)
    loss, total = np.zeros(len(flat)), 0.0
    for i, t in enumerate(flat):
        if t == ignore_index:
            continue
        total += w[t]
        loss[i] = -(1 - label_smoothing) * w[t] * rows[i, t]
        if label_smoothing:
            loss[i] -= label_smoothing / classes * (w * rows[i]).sum()
    if reduction == "none":
        return loss.reshape(np.shape(target))
    with np.errstate(invalid="ignore", divide="ignore"):
        return loss.sum() / total if reduction == "mean" else loss.sum()


def case(name, inputs, shapes, wrt=("x",), **options):
    """cross_entropy with these options; inputs(rng, *shape) -> x, target, maybe weight."""

    def op(x, target, weight=None):
        return cross_entropy(x, target, weight, **options)

    def reference(x, target, weight=None):
        return nll(log_softmax(x, 1 if x.ndim > 1 else 0), target, weight, **options)

    # loss and gradient come out of exp, log and a sum of 16 lanes in blocks of 4096: a few ulp of |x - max| and of 1
    return Case(name, op, reference, inputs, shapes, wrt=wrt, rtol=3e-6, atol=3e-6)


def scores(rng, n, classes):
    return dict(x=3 * normal(rng, n, classes), target=integers(rng, n, below=classes))


def weighted(rng, n, classes):
    return dict(**scores(rng, n, classes), weight=uniform(rng, classes, low=0.1, high=2.0))


def ignoring(rng, n, classes):
    data = scores(rng, n, classes)
    data["target"][: n // 2] = -100
    return data


def masked(rng, n, classes):
    """Some classes cannot be, the target can."""
    data = scores(rng, n, classes)
    gone = rng.random((n, classes)) < 0.4
    gone[np.arange(n), data["target"]] = False
    data["x"][gone] = -np.inf
    return data


def hot(rng, n, classes):
    """Rows with one logit of 80, at the target and elsewhere, and rows far from zero."""
    data = scores(rng, n, classes)
    data["x"][::3, classes // 2] = 80
    data["x"][1::3] += 512
    return data


def images(rng, n, classes, height, width):
    return dict(x=normal(rng, n, classes, height, width), target=integers(rng, n, height, width, below=classes))


# registers hold 16, 32 and 64 classes; blocks of 4096; chunks of 64 rows; threads from about 8192 scores
SHAPES = [
    (1, 1),
    (3, 1),
    (5, 2),
    (7, 10),
    (4, 15),
    (4, 16),
    (4, 17),
    (65, 28),
    (5, 32),
    (5, 33),
    (3, 63),
    (3, 64),
    (3, 65),
    (130, 100),
    (3, 4095),
    (2, 4096),
    (2, 4097),
    (3, 8200),
]
FEW = [(0, 3), (1, 1), (6, 10), (5, 17), (4, 33), (3, 65), (300, 40)]

CASES = [
    case("cross_entropy", scores, SHAPES),
    case("cross_entropy sum", scores, [(0, 3), *SHAPES[:8]], reduction="sum"),
    case("cross_entropy none", scores, [(0, 3), *SHAPES], reduction="none"),
    case("cross_entropy weight", weighted, FEW[1:]),
    case("cross_entropy weight none", weighted, FEW, reduction="none"),
    case("cross_entropy smoothing", scores, SHAPES, label_smoothing=0.1),
    case("cross_entropy weight smoothing", weighted, FEW[1:], label_smoothing=0.3),
    case("cross_entropy smoothing 1", weighted, FEW, label_smoothing=1.0, reduction="none"),
    case("cross_entropy ignore", ignoring, [(2, 3), (5, 10), (65, 20), (9, 70)]),
    case("cross_entropy ignore a class", weighted, [(8, 2), (40, 5), (90, 33)], ignore_index=1, reduction="sum"),
    case("cross_entropy -inf", masked, FEW[1:], wrt=()),
    case("cross_entropy hot", hot, FEW[1:]),
    case("cross_entropy images", images, [(2, 3, 4, 5), (3, 20, 2, 7)]),
    case("cross_entropy images none", images, [(2, 3, 4, 5)], reduction="none", label_smoothing=0.2),
    case(
        "cross_entropy one row",
        lambda rng, classes: dict(x=normal(rng, classes), target=integers(rng, below=classes)),
        [(1,), (5,), (40,)],
    ),
    Case(
        "nll_loss",
        nll_loss,
        nll,
        lambda rng, *s: dict(x=normal(rng, *s), target=integers(rng, s[0], *s[2:], below=s[1])),
        [(1, 1), (7, 10), (2, 3, 4), (2, 3, 4, 5)],
        wrt=("x",),
    ),
    Case(
        "nll_loss weight",
        lambda x, t, w: nll_loss(x, t, w, ignore_index=0, reduction="sum"),
        lambda x, t, w: nll(x, t, w, ignore_index=0, reduction="sum"),
        weighted,
        [(9, 4), (30, 3)],
        wrt=("x",),
    ),
    Case(
        "nll_loss none",
        lambda x, t, w: nll_loss(x, t, w, reduction="none"),
        lambda x, t, w: nll(x, t, w, reduction="none"),
        weighted,
        [(0, 3), (9, 4)],
        wrt=("x",),
    ),
]


def soft(x, target, weight=None, reduction="mean", label_smoothing=0.0):
    """Targets that are distributions, in float64."""
    axis = 1 if x.ndim > 1 else 0
    classes = x.shape[axis]
    w = np.ones(classes) if weight is None else weight
    w = w.reshape((classes,) + (1,) * (x.ndim - axis - 1))
    loss = -(log_softmax(x, axis) * w * (target * (1 - label_smoothing) + label_smoothing / classes)).sum(axis)
    if reduction == "none":
        return loss
    with np.errstate(invalid="ignore"):
        return loss.sum() / np.float64(x.size / classes) if reduction == "mean" else loss.sum()


def soft_case(name, inputs, shapes, **options):
    def op(x, target, weight=None):
        return cross_entropy(x, target, weight, **options)

    def reference(x, target, weight=None):
        return soft(x, target, weight, **options)

    return Case(name, op, reference, inputs, shapes, wrt=("x", "target"), rtol=3e-6, atol=3e-6)


def probabilities(rng, n, classes, *more):
    p = rng.random((n, classes, *more)) ** 4
    target = (p / p.sum(1, keepdims=True)).astype(np.float32).astype(np.float64)
    return dict(x=3 * normal(rng, n, classes, *more), target=target)


def weighted_probabilities(rng, n, classes, *more):
    return dict(**probabilities(rng, n, classes, *more), weight=uniform(rng, classes, low=0.1, high=2.0))


# Every combination of options, for rows in registers and longer ones, and for classes that lie apart: fewer positions
# than 8 (copied), one vector, blocks of 64 and what is left of them.
GRID = [(18, 10), (17, 23), (3, 50), (5, 133), (2, 5, 3), (3, 7, 5, 2), (2, 9, 8, 9), (2, 70, 66)]


def grid_inputs(is_weighted, ignores, is_soft):
    def inputs(rng, n, classes, *more):
        if is_soft:
            return (weighted_probabilities if is_weighted else probabilities)(rng, n, classes, *more)
        data = dict(x=3 * normal(rng, n, classes, *more), target=integers(rng, n, *more, below=classes))
        if ignores:
            data["target"][rng.random((n, *more)) < 0.4] = ignores
            data["target"].flat[0] = (ignores + 1) % classes  # not all of them
        return {**data, "weight": uniform(rng, classes, low=0.1, high=2.0)} if is_weighted else data

    return inputs


for reduction, smoothing, is_weighted in itertools.product(("mean", "sum", "none"), (0.0, 0.3), (False, True)):
    options = dict(reduction=reduction, label_smoothing=smoothing)
    title = f"{reduction}{' smoothing' if smoothing else ''}{' weight' if is_weighted else ''}"
    CASES.append(soft_case(f"cross_entropy soft {title}", grid_inputs(is_weighted, 0, True), GRID, **options))
    for ignored in (0, -100, 1):
        where = {0: "", -100: " ignore", 1: " ignore a class"}[ignored]
        more = dict(options, ignore_index=ignored) if ignored else options
        CASES.append(case(f"cross_entropy grid {title}{where}", grid_inputs(is_weighted, ignored, False), GRID, **more))

CASES += [
    # longer than a block of 4096 or of 64 classes
    soft_case("cross_entropy soft long", weighted_probabilities, [(3, 4099)], label_smoothing=0.1),
    soft_case("cross_entropy soft nothing", probabilities, [(0, 3)], reduction="none"),
    soft_case(
        "cross_entropy soft one row",
        lambda rng, classes: {k: v.reshape(-1) for k, v in probabilities(rng, 1, classes).items()},
        [(1,), (9,), (70,)],
        reduction="none",
    ),
    case("cross_entropy planes", images, [(1, 130, 5, 13), (1, 3, 50, 64), (1, 2, 1, 8), (1, 1, 4, 4)]),
]

X, T = fastdl.ones(2, 3), fastdl.tensor([0, 3])
ERRORS = [
    Error(
        "cross_entropy class",
        lambda: cross_entropy(X, T),
        IndexError,
        r"\[cross_entropy\] target\[1\]: expected a class in \[0, 3\), got 3",
    ),
    Error(
        "cross_entropy negative class",
        lambda: cross_entropy(X, fastdl.tensor([-1, 0])),
        IndexError,
        r"target\[0\].* got -1",
    ),
    Error(
        "cross_entropy class in an image",
        lambda: cross_entropy(fastdl.ones(1, 3, 2, 2), fastdl.tensor([[[0, 1], [7, 0]]])),
        IndexError,
        r"target\[0, 1, 0\].* got 7",
    ),
    Error(
        "cross_entropy shape",
        lambda: cross_entropy(X, fastdl.tensor([0, 1, 2])),
        ValueError,
        r"input \(2, 3\), that is shape \(2,\), got \(3,\)",
    ),
    Error(
        "cross_entropy no classes",
        lambda: cross_entropy(fastdl.ones(2, 0), fastdl.tensor([0, 1])),
        ValueError,
        "at least one class",
    ),
    Error("cross_entropy number", lambda: cross_entropy(fastdl.tensor(1.0), fastdl.tensor(0)), RuntimeError, r"got \(\)"),
    Error(
        "cross_entropy integers", lambda: cross_entropy(fastdl.tensor([[1, 2]]), fastdl.tensor([0])), RuntimeError, "int64"
    ),
    Error("cross_entropy float target", lambda: cross_entropy(X, fastdl.ones(2)), RuntimeError, "expected class indices"),
    Error(
        "cross_entropy weight",
        lambda: cross_entropy(X, fastdl.tensor([0, 1]), fastdl.ones(2)),
        RuntimeError,
        r"shape \(3,\), got \(2,\)",
    ),
    Error(
        "cross_entropy reduction",
        lambda: cross_entropy(X, T, reduction="avg"),
        ValueError,
        r"\[cross_entropy\] avg is not a valid value for reduction",
    ),
    Error(
        "cross_entropy smoothing range",
        lambda: cross_entropy(X, T, label_smoothing=1.5),
        RuntimeError,
        r"in \[0, 1\], got 1.5",
    ),
    Error("nll_loss class", lambda: nll_loss(X, T), IndexError, r"\[nll_loss\] target\[1\].* got 3"),
]
