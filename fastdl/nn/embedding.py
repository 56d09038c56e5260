"""Embedding, EmbeddingBag: tables of vectors, looked up by number."""

from __future__ import annotations

from typing import Any

from .._tensor import Tensor
from ..autograd import no_grad
from . import functional as F
from . import init
from .module import Module
from .parameter import Parameter

# what the representations show where it is not the default
_OPTIONS = {"padding_idx": None, "max_norm": None, "norm_type": 2.0, "scale_grad_by_freq": False, "sparse": False}


def _options(layer: Module) -> str:
    text = f"{layer.num_embeddings}, {layer.embedding_dim}"
    for name, default in _OPTIONS.items():
        if getattr(layer, name) != default:
            text += f", {name}={getattr(layer, name)}"
    return text


def _padding(padding_idx: int | None, num_embeddings: int) -> int | None:
    if padding_idx is None:
        return None
    if not -num_embeddings <= padding_idx < num_embeddings:
        raise ValueError(f"padding_idx must be within num_embeddings ({num_embeddings}), got {padding_idx}")
    return padding_idx % num_embeddings


class Embedding(Module):
    """Rows of `weight`, picked by an integer tensor.

    Args:
        num_embeddings: rows, V.
        embedding_dim: columns, D.
        padding_idx: a row that starts as zeros and gets no gradient.
        max_norm, norm_type: rows that are used are first scaled down, in place, to at most this norm of this order.
        scale_grad_by_freq: divide the gradient of a row by how often the row occurs in the input.
        sparse: accepted; what is kept of a gradient are the rows that were used in any case.
    Parameters:
        weight: (V, D), standard normal.
    Shape:
        (...) -> (..., D)
    Raises:
        IndexError: a number is outside [0, V).
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Tensor | None = None,
        _freeze: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = _padding(padding_idx, num_embeddings)
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        self.sparse = sparse
        if _weight is None:
            weight = F.empty(num_embeddings, embedding_dim, device=device, dtype=dtype)
            self.weight = Parameter(weight, requires_grad=not _freeze)
            self.reset_parameters()
        else:
            if tuple(_weight.shape) != (num_embeddings, embedding_dim):
                raise ValueError(
                    f"[embedding] the given weight should have the shape {(num_embeddings, embedding_dim)}, "
                    f"got {tuple(_weight.shape)}"
                )
            self.weight = Parameter(_weight, requires_grad=not _freeze)

    def reset_parameters(self) -> None:
        """Draws new values; the row of `padding_idx` becomes zeros."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            with no_grad():
                self.weight[self.padding_idx].fill_(0)

    def forward(self, input: Tensor) -> Tensor:
        return F.embedding(
            input, self.weight, self.padding_idx, self.max_norm, self.norm_type, self.scale_grad_by_freq, self.sparse
        )

    @classmethod
    def from_pretrained(
        cls, embeddings: Tensor, freeze: bool = True, padding_idx: int | None = None, **kwargs: Any
    ) -> Embedding:
        """An embedding with the given table (V, D), which is shared, not copied; not trained if `freeze`."""
        if embeddings.dim() != 2:
            raise ValueError(f"[embedding] the table should have 2 dimensions, got shape {tuple(embeddings.shape)}")
        rows, columns = embeddings.shape
        return cls(rows, columns, padding_idx=padding_idx, _weight=embeddings, _freeze=freeze, **kwargs)

    def extra_repr(self) -> str:
        return _options(self)


class EmbeddingBag(Embedding):
    """Sums, means or maxima of bags of rows of `weight`, picked by an integer tensor; an empty bag gives zeros.

    Args:
        num_embeddings, embedding_dim: size of the table, (V, D).
        max_norm, norm_type, scale_grad_by_freq, sparse: as Embedding has them.
        mode: "sum", "mean" or "max".
        include_last_offset: the last offset is where the last bag ends.
        padding_idx: a row that does not count.
    Parameters:
        weight: (V, D), standard normal.
    Shape:
        input (B, N), or (N,) with offsets (B,); per_sample_weights as input -> (B, D)
    Raises:
        IndexError: a number is outside [0, V). ValueError: offsets or options that do not fit.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        _weight: Tensor | None = None,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            num_embeddings, embedding_dim, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse, _weight,
            device=device, dtype=dtype,
        )  # fmt: skip
        self.mode = mode
        self.include_last_offset = include_last_offset

    def forward(  # type: ignore[override]
        self, input: Tensor, offsets: Tensor | None = None, per_sample_weights: Tensor | None = None
    ) -> Tensor:
        return F.embedding_bag(
            input, self.weight, offsets, self.max_norm, self.norm_type, self.scale_grad_by_freq, self.mode, self.sparse,
            per_sample_weights, self.include_last_offset, self.padding_idx,
        )  # fmt: skip

    @classmethod
    def from_pretrained(cls, embeddings: Tensor, freeze: bool = True, **kwargs: Any) -> EmbeddingBag:  # type: ignore[override]
        """A layer with the given table (V, D), which is shared, not copied; not trained if `freeze`."""
        rows, columns = embeddings.shape
        layer = cls(rows, columns, _weight=embeddings, **kwargs)
        layer.weight.requires_grad = not freeze
        return layer

    def extra_repr(self) -> str:
        return f"{_options(self)}, mode={self.mode!r}"
