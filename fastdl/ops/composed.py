"""Functions composed of other operators: a few lines of Tensor arithmetic each, differentiable where PyTorch's are.

Orders, counts and positions come from NumPy; values are then taken by recorded operators.
"""

from __future__ import annotations

import builtins
import itertools
import math
import operator
from collections import namedtuple
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from .._tensor import Tensor, from_numpy, register_method, view_by
from .._types import bool_, float32, int32, int64
from .common import expand, result_type_of
from .creation import as_tensor, zeros
from .elementwise import (
    add,
    clamp,
    eq,
    exp,
    isnan,
    le,
    log,
    logical_and,
    maximum,
    mul,
    sub,
    where,
)
from .indexing import diagonal, gather, sort
from .interruptible import interruptible
from .matmul import bmm, matmul, mv, outer, weighted
from .reduce import mean, std, sum, var
from .shape import cat, check_pieces, chunk, movedim, narrow, permute, reshape, split, squeeze, unsqueeze

_LN2 = math.log(2.0)


def _dim(op: str, dim: int, ndim: int) -> int:
    """`dim` counted from 0."""
    if not -max(ndim, 1) <= dim < max(ndim, 1):
        raise IndexError(f"[{op}] dim {dim} is outside [{-max(ndim, 1)}, {max(ndim, 1) - 1}] of a tensor with {ndim} "
                         "dimensions")
    return dim % max(ndim, 1)


def _own(array: np.ndarray) -> Tensor:
    """A tensor with an array that nobody else has."""
    return from_numpy(np.asarray(array, order="C"))


# arithmetic ------------------------------------------------------------------------------------------------------


def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    """input + value * tensor1 * tensor2."""
    return add(input, mul(tensor1, tensor2), alpha=value)


def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    """input + value * tensor1 / tensor2.

    Raises: RuntimeError for integers on both sides of the division.
    """
    if not (tensor1.is_floating_point() or tensor2.is_floating_point()):
        raise RuntimeError("[addcdiv] no integer division: convert to a floating-point type")
    return add(input, tensor1 / tensor2, alpha=value)


def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta * input + alpha * (mat @ vec): (n), (n, m), (m) -> (n)."""
    return weighted("addmv", input, mv(mat, vec), beta, alpha)


def addr(input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta * input + alpha * outer(vec1, vec2): (n, m), (n), (m) -> (n, m).

    Raises: RuntimeError for fractions as factors of integers.
    """
    whole = not any(x.is_floating_point() for x in (input, vec1, vec2))
    if whole and (isinstance(beta, float) or isinstance(alpha, float)):
        raise RuntimeError(f"[addr] beta, alpha: expected whole numbers for integers, got {beta} and {alpha}")
    product = outer(vec1, vec2)
    both = result_type_of(input, product)
    return weighted("addr", input.to(both), product.to(both), beta, alpha)


def addbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta * input + alpha * sum of batch1[i] @ batch2[i]: (n, p), (b, n, m), (b, m, p) -> (n, p)."""
    product = bmm(batch1, batch2)
    return weighted("addbmm", input, sum(product, 0, dtype=product.dtype), beta, alpha)


def rsub(input: Tensor, other: Tensor | float, *, alpha: float = 1) -> Tensor:
    """other - alpha * input."""
    return sub(other, input, alpha=alpha)


def lerp(input: Tensor, end: Tensor, weight: Tensor | float) -> Tensor:
    """input + weight * (end - input), from the nearer end, so that a weight of 1 gives `end`.

    Raises: RuntimeError for tensors of two types; a 0-d weight may be of another.
    """
    if end.dtype is not input.dtype:
        raise RuntimeError(f"[lerp] end: expected dtype {input.dtype}, got {end.dtype}")
    if isinstance(weight, Tensor) and weight.ndim and weight.dtype is not input.dtype:
        raise RuntimeError(f"[lerp] weight: expected dtype {input.dtype}, got {weight.dtype}")
    if isinstance(weight, Tensor):
        distance = end - input
        return where(weight.abs() < 0.5, input + weight * distance, end - distance * (1 - weight))
    return input + weight * (end - input) if abs(weight) < 0.5 else end - (end - input) * (1 - weight)


def clamp_min(input: Tensor, min: Tensor | float) -> Tensor:
    """clamp(input, min=min)."""
    return clamp(input, min=min)


def clamp_max(input: Tensor, max: Tensor | float) -> Tensor:
    """clamp(input, max=max)."""
    return clamp(input, max=max)


def fill(input: Tensor, value: Tensor | float) -> Tensor:
    """A tensor like `input` with every element `value`."""
    return input.clone().fill_(value)


def frac(input: Tensor) -> Tensor:
    """input - trunc(input)."""
    return input - input.trunc()


def logaddexp(input: Tensor, other: Tensor) -> Tensor:
    """log(exp(input) + exp(other)) without overflow."""
    top = maximum(input.detach(), other.detach())
    top = where(top.isinf(), 0.0, top)
    both = log(exp(input - top) + exp(other - top)) + top
    # two infinities of one sign
    return where(logical_and(eq(input, other), input.isinf()), input, both)


def logaddexp2(input: Tensor, other: Tensor) -> Tensor:
    """log2(2^input + 2^other) without overflow."""
    return logaddexp(input * _LN2, other * _LN2) / _LN2


def xlogy(input: Tensor | float, other: Tensor | float) -> Tensor:
    """input * log(other), 0 where input is 0 and other is not NaN."""
    like = input if isinstance(input, Tensor) else other
    x = input if isinstance(input, Tensor) else as_tensor(input, dtype=like.dtype)  # type: ignore[union-attr]
    y = other if isinstance(other, Tensor) else as_tensor(other, dtype=like.dtype)  # type: ignore[union-attr]
    zero = logical_and(eq(x, 0), le(y, 0))
    return where(zero, 0.0, x * log(where(zero, 1.0, y)))


def nan_to_num(
    input: Tensor, nan: float | None = None, posinf: float | None = None, neginf: float | None = None
) -> Tensor:
    """NaN, inf and -inf replaced by numbers; None: 0, the largest and the smallest of the type."""
    if not input.is_floating_point():
        return input.clone()
    info = np.finfo(input.dtype.numpy)
    out = where(isnan(input), 0.0 if nan is None else float(nan), input)
    out = where(eq(input, math.inf), float(info.max) if posinf is None else float(posinf), out)
    return where(eq(input, -math.inf), float(info.min) if neginf is None else float(neginf), out)


def diff(
    input: Tensor, n: int = 1, dim: int = -1, prepend: Tensor | None = None, append: Tensor | None = None
) -> Tensor:
    """Differences of neighbours along `dim`, n times over."""
    if n < 0:
        raise RuntimeError(f"[diff] n: expected a number >= 0, got {n}")
    if input.ndim == 0:
        raise RuntimeError("[diff] expects input to be at least one-dimensional")
    at = _dim("diff", dim, input.ndim)
    parts = [x for x in (prepend, input, append) if x is not None]
    out = cat(parts, at) if len(parts) > 1 else input
    for _ in range(min(n, out.shape[at])):
        size = out.shape[at] - 1
        right, left = narrow(out, at, 1, size), narrow(out, at, 0, size)
        out = right.logical_xor(left) if out.dtype is bool_ else right - left
    return out


# rearranging -----------------------------------------------------------------------------------------------------


def select(input: Tensor, dim: int, index: int) -> Tensor:
    """The slice of `input` at `index` along `dim`, as a view.

    Raises: IndexError if there is no such entry.
    """
    at = _dim("select", dim, input.ndim)
    if input.ndim == 0:
        raise IndexError("[select] a 0-d tensor has no entries")
    size = input.shape[at]
    if not -size <= index < size:
        raise IndexError(f"[select] index {index} is outside [{-size}, {size - 1}] of dimension {dim} with size {size}")
    return input[(slice(None),) * at + (index,)]


def unfold(input: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """A view of the windows of `size` entries along `dimension`, one every `step`; the window is the last dimension.

    Raises: RuntimeError if no window fits or step is not positive.
    """
    at = _dim("unfold", dimension, input.ndim)
    x = input._array if input.ndim else input._array.reshape(1)
    if not 0 <= size <= x.shape[at] or step < 1:
        raise RuntimeError(f"[unfold] size and step: expected a size in [0, {x.shape[at]}], that of dimension "
                           f"{dimension}, and a positive step, got {size} and {step}")
    count, stride = (x.shape[at] - size) // step + 1, x.strides[at]
    windows = np.lib.stride_tricks.as_strided(x, (*x.shape[:at], count, *x.shape[at + 1 :], size),
                                              (*x.strides[:at], stride * step, *x.strides[at + 1 :], stride))
    return view_by(input, windows, "UnfoldBackward0")


def as_strided(input: Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None) -> Tensor:
    """A view of the memory below `input`: element (i, j, ..) lies at storage_offset + i stride[0] + j stride[1] + ..

    Raises: RuntimeError if an element would lie outside.
    """
    root = input if input._base is None else input._base
    flat = root._array
    item = flat.itemsize
    if not flat.flags.c_contiguous:
        raise RuntimeError(f"[as_strided] input: expected a tensor in contiguous memory, got strides {root.stride()}")
    size, stride = tuple(map(operator.index, size)), tuple(map(operator.index, stride))
    start = storage_offset
    if start is None:
        start = (input.data_ptr() - root.data_ptr()) // item
    end = start + builtins.sum((n - 1) * s for n, s in zip(size, stride)) if 0 not in size else start - 1
    if len(size) != len(stride) or min((0, start, *stride)) < 0 or end >= flat.size:
        raise RuntimeError(f"[as_strided] size, stride and storage_offset: expected places in [0, {flat.size}), got "
                           f"{size}, {stride} and {start}")
    places = np.lib.stride_tricks.as_strided(flat.reshape(-1)[start:], size, [s * item for s in stride])
    return view_by(root, places, "AsStridedBackward0")


def tensor_split(input: Tensor, indices_or_sections: int | Sequence[int] | Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """Views along `dim`: that many parts of nearly equal size, or the parts between the given positions."""
    if input.ndim == 0:
        raise RuntimeError("[tensor_split] expects input to be at least one-dimensional")
    at = _dim("tensor_split", dim, input.ndim)
    size = input.shape[at]
    if isinstance(indices_or_sections, Tensor):
        indices_or_sections = indices_or_sections.tolist()
    if isinstance(indices_or_sections, int):
        parts = indices_or_sections
        if parts < 1:
            raise RuntimeError(f"[tensor_split] expected at least one section, got {parts}")
        check_pieces("tensor_split", parts)
        ends = [size // parts * i + min(i, size % parts) for i in range(1, parts + 1)]
    else:
        ends = [*(slice(None, i).indices(size)[1] for i in indices_or_sections), size]
    return tuple(narrow(input, at, a, max(b - a, 0)) for a, b in zip([0, *ends], ends))


def unsafe_split(tensor: Tensor, split_size: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """split, but the pieces may be written to."""
    at = _dim("unsafe_split", dim, tensor.ndim)
    sizes = [piece.shape[at] for piece in split(tensor, split_size, at)]
    return tensor_split(tensor, list(itertools.accumulate(sizes[:-1])), at)


def unsafe_chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """chunk, but the pieces may be written to."""
    return unsafe_split(input, [piece.shape[dim] for piece in chunk(input, chunks, dim)], dim)


def trace(input: Tensor) -> Tensor:
    """The sum of the diagonal of a matrix."""
    if input.ndim != 2:
        raise RuntimeError(f"[trace] expected a matrix, got shape {tuple(input.shape)}")
    return sum(diagonal(input))


def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The last dimension of `input` spread over the diagonals of new dimensions dim1 and dim2; zeros elsewhere.

    Shape: (.., n) -> (.., n + |offset|, n + |offset|).
    """
    a, b = _dim("diag_embed", dim1, input.ndim + 1), _dim("diag_embed", dim2, input.ndim + 1)
    if a == b:
        raise RuntimeError(f"[diag_embed] dim1 and dim2 are both {a}")
    n = input.shape[-1]
    size = n + abs(offset)
    row, column = np.ogrid[:size, :size]
    inside = _own(column - row == offset)
    along = np.clip(row + min(offset, 0), 0, n - 1) if n else row * 0
    if n:
        spread = input[..., _own(np.broadcast_to(along, (size, size)))]
    else:
        spread = expand(unsqueeze(sum(input, -1, True), -1), (*input.shape[:-1], size, size))
    out = where(inside, spread, 0.0 if input.is_floating_point() else 0)
    return movedim(out, (-2, -1), (a, b))


# products --------------------------------------------------------------------------------------------------------


def tensordot(a: Tensor, b: Tensor, dims: int | Sequence = 2, out: None = None) -> Tensor:
    """The sum of products over pairs of dimensions: the last `dims` of a with the first of b, or the two given lists.

    Raises: RuntimeError if the sizes differ.
    """
    if isinstance(dims, Tensor):
        dims = dims.tolist()
    if isinstance(dims, int):
        if dims < 0:
            raise RuntimeError(f"[tensordot] dims: expected a number >= 0, got {dims}")
        if dims > min(a.ndim, b.ndim):
            raise RuntimeError(f"[tensordot] dims: expected at most {min(a.ndim, b.ndim)}, got {dims}")
        left, right = list(range(a.ndim - dims, a.ndim)), list(range(dims))
    else:
        left, right = ([d] if isinstance(d, int) else list(d) for d in dims)
    left, right = [_dim("tensordot", d, a.ndim) for d in left], [_dim("tensordot", d, b.ndim) for d in right]
    sizes_a, sizes_b = [a.shape[d] for d in left], [b.shape[d] for d in right]
    if sizes_a != sizes_b:
        raise RuntimeError(f"[tensordot] the contracted dimensions differ: {sizes_a} of shape {tuple(a.shape)} and "
                           f"{sizes_b} of shape {tuple(b.shape)}")
    free_a = [d for d in range(a.ndim) if d not in left]
    free_b = [d for d in range(b.ndim) if d not in right]
    shape = [a.shape[d] for d in free_a] + [b.shape[d] for d in free_b]
    inner = math.prod(sizes_a)
    rows = reshape(permute(a, *free_a, *left), math.prod(a.shape[d] for d in free_a), inner)
    columns = reshape(permute(b, *right, *free_b), inner, math.prod(b.shape[d] for d in free_b))
    return reshape(matmul(rows, columns), tuple(shape))


def einsum(equation: str, *operands: Tensor | Sequence[Tensor]) -> Tensor:
    """Sums of products by index letters, such as "bij,bjk->bik"; "..." stands for any further dimensions.

    Operands are joined from left to right by matrix products. Letters that stand only once, and not in the result, are
    summed; a letter twice in one operand takes its diagonal.

    Raises: RuntimeError, ValueError for equations that do not fit the operands.
    """
    if len(operands) == 1 and not isinstance(operands[0], Tensor):
        operands = tuple(operands[0])
    tensors: list[Tensor] = list(operands)  # type: ignore[arg-type]
    inputs, result = _einsum_letters(equation, tensors)
    tensors = [_einsum_diagonal(x, letters) for x, letters in zip(tensors, inputs)]
    inputs = [list(dict.fromkeys(letters)) for letters in inputs]
    joined, have = tensors[0], inputs[0]
    for i in range(1, len(tensors)):
        later = set(result).union(*inputs[i + 1:])
        joined, have = _einsum_pair(joined, have, tensors[i], inputs[i], later)
    gone = [i for i, letter in enumerate(have) if letter not in result]
    if gone:
        joined = sum(joined, tuple(gone))
        have = [letter for letter in have if letter in result]
    return permute(joined, *(have.index(letter) for letter in result)) if have else joined


def _einsum_letters(equation: str, tensors: list[Tensor]) -> tuple[list[list[str]], list[str]]:
    """The letters of each operand and of the result; the dimensions of "..." are called "0", "1", .. from behind."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(tensors):
        raise ValueError(f"[einsum] {equation!r} has {len(terms)} operands, got {len(tensors)}")
    inputs, most = [], 0
    for term, x in zip(terms, tensors):
        before, dots, after = term.partition("...")
        if not (before + after).isalpha() and before + after:
            raise ValueError(f"[einsum] subscripts must be letters: {term!r}")
        extra = x.ndim - len(before) - len(after)
        if extra < 0 or (extra and not dots):
            raise RuntimeError(f"[einsum] the subscripts {term!r} do not match an operand with {x.ndim} dimensions, "
                               f"shape {tuple(x.shape)}")
        most = max(most, extra)
        inputs.append([*before, *(str(i) for i in range(extra - 1, -1, -1)), *after])
    hidden = [str(i) for i in range(most - 1, -1, -1)]
    everything = [letter for letters in inputs for letter in letters]
    if arrow:
        before, dots, after = right.partition("...")
        result = [*before, *(hidden if dots else []), *after]
        unknown = [letter for letter in result if letter not in everything]
        if unknown or len(set(result)) != len(result):
            raise RuntimeError(f"[einsum] the result {right!r} holds a letter twice or one that no operand has")
    else:
        result = hidden + sorted(letter for letter in set(everything) if everything.count(letter) == 1
                                 and letter.isalpha())
    sizes: dict[str, int] = {}
    for letters, x in zip(inputs, tensors):
        for letter, n in zip(letters, x.shape):
            if sizes.setdefault(letter, n) != n:
                if 1 not in (sizes[letter], n):
                    raise RuntimeError(f"[einsum] {letter!r} in {equation!r} has the sizes {sizes[letter]} and {n}")
                sizes[letter] = max(sizes[letter], n)
    return inputs, result


def _einsum_diagonal(x: Tensor, letters: list[str]) -> Tensor:
    """x with each letter once, the others' order kept."""
    letters = list(letters)
    for letter in dict.fromkeys(letters):
        while letters.count(letter) > 1:
            first = letters.index(letter)
            second = letters.index(letter, first + 1)
            x = movedim(diagonal(x, 0, first, second), -1, first)
            del letters[second]
    return x


def _einsum_pair(
    a: Tensor, have_a: list[str], b: Tensor, have_b: list[str], later: set[str]
) -> tuple[Tensor, list[str]]:
    """The product of two operands, summed over the letters that both have and that are not needed later."""
    shared = [letter for letter in have_a if letter in have_b]
    for letter in shared:  # a size of 1 stands for any
        i, j = have_a.index(letter), have_b.index(letter)
        if a.shape[i] != b.shape[j]:
            n = max(a.shape[i], b.shape[j])
            a = expand(a, *(n if k == i else -1 for k in range(a.ndim)))
            b = expand(b, *(n if k == j else -1 for k in range(b.ndim)))
    batch, inner = [s for s in shared if s in later], [s for s in shared if s not in later]
    only_a, only_b = [s for s in have_a if s not in have_b], [s for s in have_b if s not in have_a]
    gone = [i for i, s in enumerate(have_a) if s in only_a and s not in later]
    if gone:
        a, have_a = sum(a, tuple(gone)), [s for s in have_a if s in shared or s in later]
    gone = [i for i, s in enumerate(have_b) if s in only_b and s not in later]
    if gone:
        b, have_b = sum(b, tuple(gone)), [s for s in have_b if s in shared or s in later]
    only_a, only_b = [s for s in only_a if s in later], [s for s in only_b if s in later]

    def sizes(x: Tensor, have: list[str], letters: list[str]) -> list[int]:
        return [x.shape[have.index(s)] for s in letters]

    shape = sizes(a, have_a, batch) + sizes(a, have_a, only_a) + sizes(b, have_b, only_b)
    n, k = math.prod(sizes(a, have_a, batch)), math.prod(sizes(a, have_a, inner))
    rows, columns = math.prod(sizes(a, have_a, only_a)), math.prod(sizes(b, have_b, only_b))
    left = reshape(permute(a, *(have_a.index(s) for s in batch + only_a + inner)), n, rows, k)
    right = reshape(permute(b, *(have_b.index(s) for s in batch + inner + only_b)), n, k, columns)
    product = matmul(left, right) if inner else left * right
    return reshape(product, tuple(shape)), batch + only_a + only_b


# orders, counts, positions ---------------------------------------------------------------------------------------


def _running(op: str, input: Tensor, dim: int, better: np.ufunc) -> tuple[Tensor, Tensor]:
    """Running extremes along `dim` and where each stands: the latest of equals; NaN stays once met."""
    at = _dim(op, dim, input.ndim)
    if input.ndim == 0:
        return input.clone(), zeros((), dtype=int64)
    values = np.moveaxis(input._array, at, -1)
    best = better.accumulate(values, axis=-1)
    new = (values == best) | (values != values) if values.dtype.kind == "f" else values == best
    index = np.maximum.accumulate(np.where(new, np.arange(values.shape[-1]), 0), axis=-1)
    where_ = _own(np.moveaxis(index.astype(np.int64), -1, at))
    return gather(input, at, where_), where_


def cummax(input: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """(values, indices) of the running maximum along `dim`."""
    return _running("cummax", input, dim, np.maximum)


def cummin(input: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """(values, indices) of the running minimum along `dim`."""
    return _running("cummin", input, dim, np.minimum)


def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """(value, index) of the k-th smallest entry along `dim`, k from 1."""
    at = _dim("kthvalue", dim, input.ndim)
    size = input.shape[at] if input.ndim else 1
    if not 1 <= k <= size:
        raise RuntimeError(f"[kthvalue] k: expected a number in [1, {size}], got {k}")
    if input.ndim == 0:
        return input.clone(), zeros((), dtype=int64)
    values, order = sort(input, at, stable=True)
    found = narrow(values, at, k - 1, 1), narrow(order, at, k - 1, 1)
    return found if keepdim else (squeeze(found[0], at), squeeze(found[1], at))


median_result = namedtuple("median", ["values", "indices"])  # type: ignore[name-match]


def median(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The middle element, the lower of two; with `dim` (values, indices) along it. NaN if there is one.

    Raises: IndexError if there is none.
    """
    if dim is None:
        if input.numel() == 0:
            raise RuntimeError(f"[median] input: expected an element at least, got shape {input.shape}")
        return median(reshape(input, -1), 0)[0]
    at = _dim("median", dim, input.ndim)
    x = reshape(input, -1) if input.ndim == 0 else input
    if x.shape[at] == 0:
        raise IndexError(f"[median] dim: expected one with elements, got dim {dim} of shape {input.shape}")
    a = x._array
    half = (a.shape[at] - 1) // 2
    parted = interruptible(a.size, np.argpartition, a, half, at)
    middle = np.moveaxis(np.moveaxis(parted, at, 0)[half : half + 1], 0, at)
    if a.dtype.kind == "f":
        nans = np.isnan(a)
        middle = np.where(nans.any(at, keepdims=True), nans.argmax(at, keepdims=True), middle)
    indices = _own(middle)
    values = gather(x, at, indices)
    if not keepdim or input.ndim == 0:
        values, indices = squeeze(values, at), squeeze(indices, at)
    return median_result(values, indices)


def _and_mean(
    spread: Callable[..., Tensor], input: Tensor, dim: Any, unbiased: bool | None, keepdim: bool,
    correction: float | None,
) -> tuple[Tensor, Tensor]:
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    return spread(input, dim, unbiased, keepdim, correction=correction), mean(input, dim, keepdim)


def var_mean(
    input: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> tuple[Tensor, Tensor]:
    """(var, mean)"""
    return _and_mean(var, input, dim, unbiased, keepdim, correction)


def std_mean(
    input: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> tuple[Tensor, Tensor]:
    """(std, mean)"""
    return _and_mean(std, input, dim, unbiased, keepdim, correction)


def nansum(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Sum that takes NaN as 0."""
    return sum(where(isnan(input), 0.0, input) if input.is_floating_point() else input, dim, keepdim, dtype=dtype)


_INTERPOLATIONS = ("linear", "lower", "higher", "midpoint", "nearest")


def quantile(
    input: Tensor, q: Tensor | float, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Tensor:
    """The q-quantiles along `dim` (None: of all elements); NaN where there is a NaN.

    Shape: q () or float -> the reduced shape; q (Q) -> (Q, *the reduced shape).
    Raises: RuntimeError for q outside [0, 1] or an unknown interpolation.
    """
    if interpolation not in _INTERPOLATIONS:
        names = ", ".join(_INTERPOLATIONS)
        raise RuntimeError(f"[quantile] interpolation: expected one of {names}, got {interpolation!r}")
    if not input.is_floating_point():
        raise RuntimeError(f"[quantile] input: expected a floating-point tensor, got {input.dtype}")
    if input.numel() == 0:
        raise RuntimeError("[quantile] input tensor must be non-empty")
    points = (q._array if isinstance(q, Tensor) else np.asarray(q)).astype(np.float64)
    if points.ndim > 1 or not ((points >= 0) & (points <= 1)).all():
        raise RuntimeError(f"[quantile] q: expected numbers in [0, 1], got {q}")
    at = 0 if dim is None else _dim("quantile", dim, input.ndim)
    x = reshape(input, -1) if dim is None or input.ndim == 0 else input
    ordered, _ = sort(x, at)
    position = points.reshape(-1) * (x.shape[at] - 1)
    low, high = np.floor(position), np.ceil(position)
    weight = {"linear": position - low, "lower": 0 * low, "higher": 0 * low + 1, "midpoint": 0 * low + 0.5,
              "nearest": (np.round(position) != low) * 1.0}[interpolation]
    moved = movedim(ordered, at, 0)
    wide = (-1, *[1] * (moved.ndim - 1))
    below, above = moved[_own(low.astype(np.int64))], moved[_own(high.astype(np.int64))]
    out = lerp(below, above, reshape(_own(weight.astype(x.dtype.numpy)), wide))
    nan = moved[-1:].isnan()  # sorted, NaN is last
    out = where(nan, moved[-1:].detach(), out)
    if keepdim:
        one_dim = dim is not None and input.ndim
        out = unsqueeze(out, at + 1) if one_dim else reshape(out, out.shape[0], *[1] * input.ndim)
    return squeeze(out, 0) if points.ndim == 0 else out


def argwhere(input: Tensor) -> Tensor:
    """The positions of the elements that are not 0, a row each."""
    return _own(np.argwhere(input._array).astype(np.int64))


def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often each whole number from 0 on occurs in a 1-d tensor, or the sum of its weights.

    Returns: int64; with weights float32 for float32, else float64.
    """
    if input.ndim != 1 or input.dtype.numpy.kind not in "iu" or (input.numel() and int(input.min()) < 0):
        raise RuntimeError(f"[bincount] input: expected a row of whole numbers >= 0, got shape {tuple(input.shape)} of "
                           f"{input.dtype}")
    if weights is not None and weights.shape != input.shape:
        raise RuntimeError(f"[bincount] weights: expected shape {tuple(input.shape)}, got {tuple(weights.shape)}")
    largest = int(input.max()) if input.numel() else 0
    if largest >= 1 << 60:  # bytes no longer have a number, and NumPy writes outside of its array
        raise MemoryError(f"[bincount] input: its largest number {largest} needs as many counts, and one")
    counts = np.bincount(input.numpy(), None if weights is None else weights._array, minlength)
    if weights is None or input.numel() == 0:
        return _own(counts.astype(np.int64))
    return _own(counts.astype(np.float32 if weights.dtype is float32 else np.float64))


def isin(
    elements: Tensor | float, test_elements: Tensor | float, *, assume_unique: bool = False, invert: bool = False
) -> Tensor:
    """Which elements are among `test_elements`."""
    one, many = (x._array if isinstance(x, Tensor) else x for x in (elements, test_elements))
    found = np.isin(one, many, assume_unique=assume_unique, invert=invert)
    return from_numpy(np.asarray(found).reshape(np.shape(one)))


def searchsorted(
    sorted_sequence: Tensor,
    input: Tensor | float,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Tensor | None = None,
) -> Tensor:
    """Where in the last, sorted dimension each value of `input` would go: before equal ones, with `right` behind them.

    Shape: (S), (..) -> (..); (.., S), (.., N) -> (.., N).
    """
    if side not in (None, "left", "right") or (side == "left" and right):
        raise RuntimeError(f"[searchsorted] side: expected 'left' or 'right', in accordance with right={right}, got "
                           f"{side!r}")
    values = input._array if isinstance(input, Tensor) else np.asarray(input)
    rows = sorted_sequence._array
    if rows.ndim == 0:
        raise RuntimeError("[searchsorted] sorted_sequence: expected at least one dimension, got a 0-d tensor")
    if sorter is not None:
        rows = np.take_along_axis(rows, sorter.numpy(), -1)
    where_: Literal["left", "right"] = "right" if right or side == "right" else "left"
    if rows.ndim == 1:
        found = np.searchsorted(rows, values, where_)
    else:
        if values.ndim != rows.ndim or values.shape[:-1] != rows.shape[:-1]:
            raise RuntimeError(f"[searchsorted] the leading dimensions of {rows.shape} and {values.shape} must agree")
        pairs = zip(rows.reshape(-1, rows.shape[-1]), values.reshape(-1, values.shape[-1]))
        found = np.array([np.searchsorted(row, value, where_) for row, value in pairs]).reshape(values.shape)
    return _own(np.asarray(found).astype((int32 if out_int32 else int64).numpy))


def bucketize(input: Tensor | float, boundaries: Tensor, *, out_int32: bool = False, right: bool = False) -> Tensor:
    """The number of the bucket between `boundaries` that each value lies in."""
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)


_NONE = np.zeros(0, np.int64)


def _no_slices(op: str, input: Tensor, dim: int | None) -> bool:
    """Whether there is nothing along `dim`; slices have to have elements."""
    if dim is not None and 0 in (*input.shape[:dim], *input.shape[dim % max(input.ndim, 1) + 1 :]):
        raise RuntimeError(f"[{op}] dim: expected all other dimensions to have elements, got dim {dim} of shape "
                           f"{tuple(input.shape)}")
    return dim is not None and input.numel() == 0


def unique(
    input: Tensor,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
):
    """The different values (with `dim`: the different slices), sorted; and where each element went, and how many."""
    x = input._array
    if _no_slices("unique", input, dim):
        return _unique_result(x, _NONE, _NONE, return_inverse, return_counts)
    found = interruptible(x.size, np.unique, x, return_inverse=True, return_counts=True, axis=dim)
    values, inverse, counts = found
    shape = tuple(input.shape) if dim is None else (-1,)
    return _unique_result(values, inverse.reshape(shape), counts, return_inverse, return_counts)


def unique_consecutive(
    input: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
):
    """As unique, but only neighbours that are equal become one; nothing is sorted."""
    x = input._array
    if _no_slices("unique_consecutive", input, dim):
        return _unique_result(x, _NONE, _NONE, return_inverse, return_counts)
    rows = x.reshape(-1, 1) if dim is None else np.moveaxis(x, dim, 0).reshape(x.shape[dim], -1)
    new = np.ones(len(rows), bool)
    new[1:] = (rows[1:] != rows[:-1]).any(1)
    first = np.flatnonzero(new)
    values = x.reshape(-1)[first] if dim is None else np.take(x, first, dim)
    inverse, counts = np.cumsum(new) - 1, np.diff(np.append(first, len(rows)))
    if dim is None:
        inverse = inverse.reshape(x.shape)
    return _unique_result(values, inverse, counts, return_inverse, return_counts)


def _unique_result(values, inverse, counts, return_inverse: bool, return_counts: bool):
    wanted = [values, *([inverse.astype(np.int64)] if return_inverse else []),
              *([counts.astype(np.int64)] if return_counts else [])]
    out = tuple(_own(np.asarray(x)) for x in wanted)
    return out if len(out) > 1 else out[0]


for _function in (addcmul, addcdiv, addmv, addr, addbmm, lerp, clamp_min, clamp_max, fill, frac, logaddexp, logaddexp2,
                  xlogy, nan_to_num, diff, select, unfold, as_strided, tensor_split, trace, diag_embed, cummax, cummin,
                  kthvalue, median, nansum, quantile, argwhere, bincount, unique, unique_consecutive,
                  unsafe_split, unsafe_chunk):
    register_method(_function.__name__, _function)
