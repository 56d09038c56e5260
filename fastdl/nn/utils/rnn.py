"""Sequences of different lengths: padded, packed and back. Padding is never computed with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..._tensor import Tensor, from_numpy
from ...ops.creation import full
from ...ops.rnn import pack, unpack
from ...ops.shape import cat, stack


class _Packed(NamedTuple):
    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None
    unsorted_indices: Tensor | None


class PackedSequence(_Packed):
    """Sequences of different lengths, longest first, as the rows of their first steps, then of their second steps, ..

    Attributes:
        data: (rows, ..), rows = the sum of all lengths.
        batch_sizes: (T,), how many sequences have each step; never growing.
        sorted_indices: where each sequence, longest first, stood in the batch; None: the batch was in this order.
        unsorted_indices: the inverse.
    """

    def __new__(
        cls,
        data: Tensor,
        batch_sizes: Tensor | None = None,
        sorted_indices: Tensor | None = None,
        unsorted_indices: Tensor | None = None,
    ) -> PackedSequence:
        if batch_sizes is None:  # PyTorch's older form: a pair in place of the first two
            data, batch_sizes = data
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The same with `data.to(..)`."""
        return self._replace(data=self.data.to(*args, **kwargs))

    def cpu(self) -> PackedSequence:
        """Itself: everything is in the CPU's memory."""
        return self

    def float(self) -> PackedSequence:
        """The same in float32."""
        return self._replace(data=self.data.float())

    def double(self) -> PackedSequence:
        """The same in float64."""
        return self._replace(data=self.data.double())

    @property
    def is_cuda(self) -> bool:
        return False


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """p such that p[permutation[i]] = i."""
    if permutation is None:
        return None
    return from_numpy(np.argsort(permutation.numpy(), kind="stable"))


def checked_lengths(lengths: Any, batch: int, steps: int) -> np.ndarray:
    """The lengths of a padded batch as int64.

    Raises:
        RuntimeError: there is not one for each sequence, or one is outside [1, T].
        TypeError: they are not whole numbers.
    """
    found = np.asarray(lengths.numpy() if isinstance(lengths, Tensor) else lengths)
    if found.ndim != 1 or found.dtype.kind not in "iu":
        raise TypeError(f"lengths: expected one whole number per sequence, got {lengths!r}")
    if len(found) != batch:
        raise RuntimeError(f"lengths: expected one for each of {batch} sequences, got {len(found)}")
    if batch and (found.min() < 1 or found.max() > steps):
        at = int(np.flatnonzero((found < 1) | (found > steps))[0])
        raise RuntimeError(f"lengths[{at}]: expected a number in [1, {steps}], the number of steps, got {found[at]}")
    return found.astype(np.int64)


def pack_padded_sequence(
    input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Packs a padded batch.

    Args:
        input: the batch.
        lengths: the length of each sequence; a list or a tensor.
        batch_first: input is (B, T, ..).
        enforce_sorted: the lengths must not grow; otherwise sequences are sorted here.
    Shape:
        input (T, B, ..) -> data (rows, ..)
    Raises:
        RuntimeError: an empty input, a length outside [1, T], or lengths that grow although enforce_sorted.
        IndexError, RuntimeError: input has fewer than 2 dimensions.
    """
    if input.dim() < 2:
        kind = IndexError if enforce_sorted else RuntimeError
        raise kind(f"[pack_padded_sequence] input: expected shape (T, B, ..), got {tuple(input.shape)}")
    steps, batch = (input.shape[1], input.shape[0]) if batch_first else input.shape[:2]
    size = checked_lengths(lengths, batch, steps)
    if input.numel() == 0:
        raise RuntimeError(f"[pack_padded_sequence] input: cannot pack an empty tensor, got shape {tuple(input.shape)}")
    if enforce_sorted and (np.diff(size) > 0).any():
        raise RuntimeError(
            "[pack_padded_sequence] lengths: expected them not to grow when enforce_sorted is True; "
            f"pass enforce_sorted=False for any order, got {size.tolist()}"
        )
    data, sizes, order = pack(input, size, batch_first)
    return PackedSequence(data, from_numpy(sizes), None if enforce_sorted else from_numpy(order))


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """Undoes `pack_padded_sequence`.

    Args:
        sequence: the packed batch.
        batch_first: return (B, T, ..).
        padding_value: what the steps behind each sequence's end hold.
        total_length: T; None: the longest length.
    Returns:
        The padded batch (T, B, ..) and its lengths (B,).
    Raises:
        ValueError: total_length is less than the longest length.
    """
    sizes = sequence.batch_sizes.numpy()
    steps, batch = len(sizes), int(sizes[0]) if len(sizes) else 0
    total = steps if total_length is None else total_length
    if total < steps:
        raise ValueError(
            f"[pad_packed_sequence] total_length: expected at least the longest length {steps}, got {total}"
        )
    lengths, order = (sizes[:, None] > np.arange(batch)).sum(0), None
    if sequence.unsorted_indices is not None:
        places = sequence.unsorted_indices.numpy()
        lengths, order = lengths[places], np.argsort(places, kind="stable")
    return unpack(sequence.data, lengths, order, total, batch_first, padding_value), from_numpy(lengths)


def pad_sequence(
    sequences: Iterable[Tensor],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """Sequences (length, ..) of different lengths as one batch (T, B, ..) of the first one's type, filled up with
    padding_value.

    Raises:
        RuntimeError: there are none, or they differ in more than their lengths.
        ValueError: padding_side is neither "left" nor "right".
    """
    parts = list(sequences)
    if not parts or any(part.dim() == 0 for part in parts):
        raise RuntimeError("[pad_sequence] sequences: expected at least one, of at least one dimension each")
    if padding_side not in ("left", "right"):
        raise ValueError(f"[pad_sequence] padding_side: expected 'left' or 'right', got {padding_side!r}")
    longest, tail = max(len(p) for p in parts), tuple(parts[0].shape[1:])
    padded = []
    for i, part in enumerate(parts):
        if tuple(part.shape[1:]) != tail:
            raise RuntimeError(
                f"[pad_sequence] sequences[{i}]: expected shape (L{''.join(f', {n}' for n in tail)}), got "
                f"{tuple(part.shape)}"
            )
        if len(part) < longest:
            padding = full((longest - len(part), *tail), padding_value, dtype=part.dtype)
            part = cat([part, padding] if padding_side == "right" else [padding, part])
        padded.append(part.to(parts[0].dtype))
    return stack(padded, 0 if batch_first else 1)


def unpad_sequence(padded_sequences: Tensor, lengths: Any, batch_first: bool = False) -> list[Tensor]:
    """Undoes `pad_sequence`: the sequences without their padding."""
    batch = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    return [batch[i, :n] for i, n in enumerate(checked_lengths(lengths, *batch.shape[:2]).tolist())]


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Packs sequences (length, ..) of different lengths."""
    lengths = [len(s) for s in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """Undoes `pack_sequence`."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
