"""Functions of fastdl.ops.composed."""

import numpy as np

import fastdl
from tests.cases import Case, Error, integers, normal, uniform


def _inputs(**makers):
    """inputs(rng, m, n) -> dict: each maker gets rng, m, n."""
    return lambda rng, m, n: {name: make(rng, m, n) for name, make in makers.items()}


def _matrix(rng, m, n):
    return normal(rng, m, n)


def _row(rng, m, n):
    return normal(rng, n)


def _column(rng, m, n):
    return normal(rng, m)


def _stack(rng, m, n):
    return normal(rng, 3, m, n)


def _stack_t(rng, m, n):
    return normal(rng, 3, n, m)


def _square(rng, m, n):
    return normal(rng, m, m)


def _positive(rng, m, n):
    return uniform(rng, m, n, low=0.2, high=3)


def _case(name, op, reference, shapes=((5, 7),), wrt=None, **inputs):
    return Case(name, op, reference, _inputs(**inputs), shapes, wrt=tuple(inputs) if wrt is None else wrt)


def _running_index(x, better):
    out = np.zeros(x.shape, np.int64)
    for row in range(x.shape[0]):
        best = 0
        for i in range(x.shape[1]):
            if better(x[row, i], x[row, best]):
                best = i
            out[row, i] = best
    return out


def _diag_embed(x, offset):
    n = x.shape[-1]
    out = np.zeros((*x.shape[:-1], n + abs(offset), n + abs(offset)))
    for i in range(n):
        out[..., i - min(offset, 0), i + max(offset, 0)] = x[..., i]
    return out


def _einsum(equation, *names):
    return _case(f"einsum {equation}", lambda *x: fastdl.einsum(equation, *x), lambda *x: np.einsum(equation, *x),
                 **{f"x{i}": {"mn": _matrix, "nm": lambda rng, m, n: normal(rng, n, m), "n": _row, "m": _column,
                              "bmn": _stack, "bnm": _stack_t, "mm": _square, "1n": lambda rng, m, n: normal(rng, 1, n),
                              "mnpq": lambda rng, m, n: normal(rng, m, n, 2, 3)}[name]
                    for i, name in enumerate(names)})


CASES = [
    _case("addcmul", lambda x, a, b: x.addcmul(a, b, value=0.5), lambda x, a, b: x + 0.5 * a * b,
          x=_matrix, a=_row, b=_matrix),
    _case("addcdiv", lambda x, a, b: x.addcdiv(a, b, value=-2), lambda x, a, b: x - 2 * a / b,
          x=_matrix, a=_matrix, b=_positive),
    _case("addmv", lambda x, a, v: x.addmv(a, v, beta=0.5, alpha=2), lambda x, a, v: 0.5 * x + 2 * a @ v,
          x=_column, a=_matrix, v=_row),
    _case("addr", lambda x, u, v: x.addr(u, v, alpha=3), lambda x, u, v: x + 3 * np.outer(u, v),
          x=_matrix, u=_column, v=_row),
    _case("addbmm", lambda x, a, b: x.addbmm(a, b, beta=2), lambda x, a, b: 2 * x + (a @ b).sum(0),
          x=_square, a=_stack, b=_stack_t),
    _case("rsub", lambda x, y: fastdl.rsub(x, y, alpha=2), lambda x, y: y - 2 * x, x=_matrix, y=_row),
    _case("lerp", lambda x, y: x.lerp(y, 0.3), lambda x, y: x + 0.3 * (y - x), x=_matrix, y=_matrix),
    _case("lerp far", lambda x, y: x.lerp(y, 0.9), lambda x, y: x + 0.9 * (y - x), x=_matrix, y=_matrix),
    _case("lerp tensor", lambda x, y, w: x.lerp(y, w), lambda x, y, w: x + w * (y - x), x=_matrix, y=_row, w=_positive),
    _case("logaddexp", lambda x, y: x.logaddexp(y), np.logaddexp, x=_matrix, y=_row),
    _case("logaddexp2", lambda x, y: x.logaddexp2(y), np.logaddexp2, x=_matrix, y=_row),
    _case("xlogy", lambda x, y: x.xlogy(y), lambda x, y: x * np.log(y), x=_matrix, y=_positive),
    _case("frac", lambda x: x.frac(), lambda x: x - np.trunc(x), x=_matrix),
    _case("diff", lambda x: x.diff(n=2, dim=0), lambda x: np.diff(x, 2, 0), x=_matrix),
    _case("diff prepend", lambda x, y: fastdl.diff(x, prepend=y), lambda x, y: np.diff(x, prepend=y),
          x=_matrix, y=_square),
    _case("fmod", lambda x, y: fastdl.fmod(x, y), np.fmod, x=_matrix, y=_positive),
    _case("select", lambda x: x.select(1, -2), lambda x: x[:, -2], x=_matrix),
    _case("tensor_split", lambda x: x.tensor_split((2, 4), 1)[1], lambda x: np.array_split(x, (2, 4), 1)[1], x=_matrix),
    _case("trace", lambda x: x.trace(), np.trace, x=_matrix),
    _case("diag_embed", lambda x: x.diag_embed(), lambda x: _diag_embed(x, 0), x=_matrix),
    _case("diag_embed above", lambda x: x.diag_embed(2), lambda x: _diag_embed(x, 2), x=_stack),
    _case("diag_embed below", lambda x: x.diag_embed(-1), lambda x: _diag_embed(x, -1), x=_row),
    _case("tensordot", lambda x, y: fastdl.tensordot(x, y, 1), lambda x, y: np.tensordot(x, y, 1), x=_stack,
          y=lambda rng, m, n: normal(rng, n, 2, m)),
    _case("tensordot dims", lambda x, y: fastdl.tensordot(x, y, ([0, 2], [0, 1])),
          lambda x, y: np.tensordot(x, y, ([0, 2], [0, 1])), x=_stack, y=_stack_t),
    _einsum("ij,jk->ik", "mn", "nm"),
    _einsum("bij,bjk->bik", "bmn", "bnm"),
    _einsum("bij,bjk", "bmn", "bnm"),
    _einsum("ij->ji", "mn"),
    _einsum("ij->", "mn"),
    _einsum("ii->i", "mm"),
    _einsum("ii", "mm"),
    _einsum("i,j->ij", "n", "m"),
    _einsum("...j,j->...", "bmn", "n"),
    _einsum("...ij,...jk->...ik", "bmn", "nm"),
    _einsum("ij,ij->j", "mn", "1n"),
    _einsum("ijkl->lj", "mnpq"),
    _einsum("ij,jk,kl->il", "mn", "nm", "mn"),
    _einsum("bij,j,bik->bk", "bmn", "n", "bmn"),
    _case("cummax", lambda x: x.cummax(1), lambda x: (np.maximum.accumulate(x, 1), _running_index(x, np.greater_equal)),
          x=_matrix),
    _case("cummin", lambda x: x.cummin(1), lambda x: (np.minimum.accumulate(x, 1), _running_index(x, np.less_equal)),
          x=_matrix),
    _case("kthvalue", lambda x: x.kthvalue(3, 0)[0], lambda x: np.sort(x, 0)[2], x=_matrix),
    _case("quantile", lambda x: x.quantile(0.3), lambda x: np.quantile(x, 0.3), x=_matrix),
    _case("quantile dim", lambda x: x.quantile(fastdl.tensor([0.0, 0.45, 1.0], dtype=fastdl.float64), 1),
          lambda x: np.quantile(x, [0.0, 0.45, 1.0], 1), x=_matrix),
    _case("quantile keepdim", lambda x: x.quantile(0.6, 0, True, interpolation="midpoint"),
          lambda x: np.quantile(x, 0.6, 0, keepdims=True, method="midpoint"), x=_matrix),
    _case("argwhere", lambda x: (x > 0.5).argwhere(), lambda x: np.argwhere(x > 0.5), wrt=(), x=_matrix),
    Case("bincount", lambda x: x.bincount(minlength=9), lambda x: np.bincount(x, minlength=9),
         lambda rng, n: {"x": integers(rng, n, below=6)}, [(0,), (1,), (50,)]),
    Case("isin", lambda x, y: fastdl.isin(x, y), np.isin,
         lambda rng, m, n: {"x": integers(rng, m, n, below=9), "y": integers(rng, 3, below=9)}),
    _case("searchsorted", lambda x, y: fastdl.searchsorted(fastdl.sort(x)[0], y),
          lambda x, y: np.searchsorted(np.sort(x), y), wrt=(), x=_row, y=_matrix),
    Case("unique", lambda x: fastdl.unique(x, return_inverse=True, return_counts=True),
         lambda x: [v.reshape(x.shape) if i == 1 else v
                    for i, v in enumerate(np.unique(x, return_inverse=True, return_counts=True))],
         lambda rng, m, n: {"x": integers(rng, m, n, below=9)}),
    Case("unique_consecutive", lambda x: fastdl.unique_consecutive(x), lambda x: x[np.r_[True, x[1:] != x[:-1]]],
         lambda rng, n: {"x": integers(rng, n, below=3)}, [(1,), (40,)]),
]

_x = fastdl.ones(3, 4)
ERRORS = [
    Error("einsum letters", lambda: fastdl.einsum("ijk->i", _x), RuntimeError, r"\[einsum\] the subscripts 'ijk' do not"),
    Error("einsum operands", lambda: fastdl.einsum("ij,jk->ik", _x), ValueError, "has 2 operands, got 1"),
    Error("einsum sizes", lambda: fastdl.einsum("ij,ij->i", _x, _x.T), RuntimeError, "'i' .* has the sizes 3 and 4"),
    Error("einsum result", lambda: fastdl.einsum("ij->ik", _x), RuntimeError, "one that no operand has"),
    Error("select index", lambda: _x.select(1, 4), IndexError, r"index 4 is outside \[-4, 3\] of dimension 1"),
    Error("tensordot sizes", lambda: fastdl.tensordot(_x, _x, 1), RuntimeError, r"differ: \[4\] of shape \(3, 4\)"),
    Error("kthvalue k", lambda: _x.kthvalue(5), RuntimeError, r"k: expected a number in \[1, 4\], got 5"),
    Error("quantile q", lambda: _x.quantile(1.5), RuntimeError, r"q: expected numbers in \[0, 1\], got 1.5"),
    Error("trace shape", lambda: fastdl.ones(3).trace(), RuntimeError, "expected a matrix"),
    Error("bincount sign", lambda: fastdl.tensor([-1]).bincount(), RuntimeError, "whole numbers >= 0"),
    Error("addcdiv integers", lambda: fastdl.addcdiv(_x, _x.long(), _x.long()), RuntimeError, "no integer division"),
]
