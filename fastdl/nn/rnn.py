"""Recurrent layers: RNN, GRU and LSTM over whole sequences, and their cells for single steps."""

from __future__ import annotations

import math
import warnings
from typing import Any

from .._tensor import Tensor
from .._types import int64
from ..ops.creation import empty_ as empty
from ..ops.rnn import recurrent
from ..ops.shape import index_select
from . import init
from .module import Module
from .parameter import Parameter
from .utils.rnn import PackedSequence, checked_lengths

_GATES = {"RNN_TANH": 1, "RNN_RELU": 1, "GRU": 3, "LSTM": 4}


class RNNBase(Module):
    """What RNN, GRU and LSTM share.

    Args:
        mode: "RNN_TANH", "RNN_RELU", "GRU" or "LSTM".
        input_size: I, values of each step of the input.
        hidden_size: H, values of the state.
        num_layers: L, layers on top of each other.
        bias: whether layers add bias_ih and bias_hh.
        batch_first: sequences are (B, T, ..) and not (T, B, ..); states are (L * D, B, H) all the same.
        dropout: probability, applied while training to the output of every layer but the last.
        bidirectional: every layer runs in both directions, D = 2, and hands on both outputs side by side.
        proj_size: only 0: projections are not available.
    Parameters:
        weight_ih_l0, ..: (gates * H, I), then (gates * H, D * H).
        weight_hh_l0, ..: (gates * H, H).
        bias_ih_l0, bias_hh_l0, ..: (gates * H,).
        The other direction's names end in `_reverse`. All are uniform in ±1/sqrt(H).
    Shape:
        input (T, B, I), (T, I) for a single sequence, or a PackedSequence; states (L * D, B, H) -> output
        (T, B, D * H) and the last states.
    """

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if isinstance(dropout, bool) or not isinstance(dropout, (int, float)) or not 0 <= dropout <= 1:
            raise ValueError(
                f"dropout should be a number in range [0, 1] representing the probability, got {dropout!r}"
            )
        if dropout > 0 and num_layers == 1:
            warnings.warn(
                "dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects "
                f"num_layers greater than 1, but got dropout={dropout} and num_layers={num_layers}",
                stacklevel=3,
            )
        for name, size in (("input_size", input_size), ("hidden_size", hidden_size), ("num_layers", num_layers)):
            if isinstance(size, bool) or not isinstance(size, int):
                raise TypeError(f"{name} should be of type int, got: {type(size).__name__}")
        if hidden_size <= 0 or num_layers <= 0 or input_size < 0:
            raise ValueError(
                "hidden_size and num_layers must be greater than zero and input_size not negative, "
                f"got {hidden_size}, {num_layers} and {input_size}"
            )
        if proj_size:
            raise NotImplementedError(f"proj_size: projections are not available, got {proj_size}")
        self.mode = mode
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = 0
        width = _GATES[mode] * hidden_size
        self._flat_weights_names: list[str] = []
        for layer in range(num_layers):
            for suffix in ("", "_reverse") if bidirectional else ("",):
                inputs = input_size if layer == 0 else hidden_size * (2 if bidirectional else 1)
                shapes: dict[str, tuple[int, ...]]
                shapes = {"weight_ih": (width, inputs), "weight_hh": (width, hidden_size)}
                if bias:
                    shapes |= {"bias_ih": (width,), "bias_hh": (width,)}
                for kind, shape in shapes.items():
                    name = f"{kind}_l{layer}{suffix}"
                    setattr(self, name, Parameter(empty(*shape, device=device, dtype=dtype)))
                    self._flat_weights_names.append(name)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new values."""
        bound = 1 / math.sqrt(self.hidden_size)
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def flatten_parameters(self) -> None:
        """Nothing to do: kernels pack the weights themselves."""

    @property
    def _flat_weights(self) -> list[Tensor]:
        parameters = self._parameters
        try:
            return [parameters[name] for name in self._flat_weights_names]
        except KeyError:  # replaced by plain attributes
            return [getattr(self, name) for name in self._flat_weights_names]

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """Per layer and direction its weights, and its biases if it has any."""
        flat, step = self._flat_weights, 4 if self.bias else 2
        return [flat[i : i + step] for i in range(0, len(flat), step)]

    def extra_repr(self) -> str:
        shown = f"{self.input_size}, {self.hidden_size}"
        defaults = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False}
        return shown + "".join(f", {k}={getattr(self, k)}" for k, v in defaults.items() if getattr(self, k) != v)

    def _run(
        self, data: Tensor, sizes: Tensor | None, h0: Tensor | None, c0: Tensor | None, lengths: Any = None
    ) -> tuple[Tensor, Any]:
        """Output and last states (the LSTM's are a pair) of time-major or packed data, or with lengths of padded data
        as it came."""
        output, hn, cn = recurrent(
            self.mode.lower(), data, sizes, h0, c0, self._flat_weights, self.bias, self.num_layers, self.dropout,
            self.training, self.bidirectional, lengths, self.batch_first,
        )  # fmt: skip
        return output, hn if cn is None else (hn, cn)

    def forward(self, input: Tensor | PackedSequence, hx: Any = None, lengths: Any = None) -> tuple[Any, Any]:
        """Runs all steps.

        Args:
            input: the sequences; or tokens (T, B) of int64, which stand for one-hot vectors of input_size: the same
                output without them and without a product.
            hx: first states, for the LSTM a pair (h0, c0); None: zeros.
            lengths: the length of each sequence of a padded batch, in any order; outputs behind the end are zeros, and
                the last states those at each sequence's end. None: all steps count.
        Returns:
            (output, hn), for the LSTM (output, (hn, cn)); output is a PackedSequence if the input is one.
        Raises:
            RuntimeError, ValueError, TypeError: shapes, lengths or dtypes that do not fit.
            IndexError: a token outside [0, input_size).
        """
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, hx)
        name, ndim = type(self).__name__, input.dim()
        tokens = ndim == 2 and input.dtype is int64
        weight = self._flat_weights[0]
        if not tokens and weight is not None and input.dtype is not weight.dtype:
            raise ValueError(f"{name}: input must have the type {weight.dtype} of the weights, got {input.dtype}")
        if ndim not in (2, 3):
            raise ValueError(f"{name}: Expected input to be 2D or 3D, got {ndim}D tensor instead")
        if tokens:
            ndim = 3
        elif input.shape[-1] != self.input_size:
            raise RuntimeError(
                f"[{name}] input.size(-1) must be equal to input_size. Expected {self.input_size}, got "
                f"{input.shape[-1]}: shape {tuple(input.shape)}"
            )
        h0, c0 = self._states(hx, ndim)
        if lengths is not None:
            if ndim == 2:
                raise ValueError(f"{name}: lengths needs a batch of sequences, got input of shape {tuple(input.shape)}")
            steps, batch = input.shape[:2][::-1] if self.batch_first else input.shape[:2]
            return self._run(input, None, h0, c0, checked_lengths(lengths, batch, steps))
        if ndim == 2:
            h0, c0 = (None if s is None else s.unsqueeze(1) for s in (h0, c0))
            output, state = self._run(input.unsqueeze(1), None, h0, c0)
            state = tuple(s.squeeze(1) for s in state) if isinstance(state, tuple) else state.squeeze(1)
            return output.squeeze(1), state
        if self.batch_first:
            output, state = self._run(input.transpose(0, 1), None, h0, c0)
            return output.transpose(0, 1), state
        return self._run(input, None, h0, c0)

    def _states(self, hx: Any, ndim: int) -> tuple[Tensor | None, Tensor | None]:
        """(h0, c0) of what the caller passed as hx."""
        if hx is None:
            return None, None
        if self.mode == "LSTM":
            if not isinstance(hx, (tuple, list)) or len(hx) != 2:
                raise TypeError(f"LSTM: expected hx to be a pair (h0, c0), got {type(hx).__name__}")
            states = tuple(hx)
        elif not isinstance(hx, Tensor):
            raise TypeError(f"{type(self).__name__}: expected hx to be a tensor, got {type(hx).__name__}")
        else:
            states = (hx, None)
        for state in states:
            if state is not None and state.dim() != ndim:
                kind = "batched 3-D" if ndim == 3 else "unbatched 2-D"
                raise RuntimeError(f"For {kind} input, hx should also be {ndim}-D but got {state.dim()}-D tensor")
        return states

    def _forward_packed(self, input: PackedSequence, hx: Any) -> tuple[PackedSequence, Any]:
        h0, c0 = self._states(hx, 3)
        if input.sorted_indices is not None:
            h0, c0 = (None if s is None else index_select(s, 1, input.sorted_indices) for s in (h0, c0))
        output, state = self._run(input.data, input.batch_sizes, h0, c0)
        if input.unsorted_indices is not None:
            if isinstance(state, tuple):
                state = tuple(index_select(s, 1, input.unsorted_indices) for s in state)
            else:
                state = index_select(state, 1, input.unsorted_indices)
        return input._replace(data=output), state


class RNN(RNNBase):
    """h[t] = tanh(W_ih x[t] + b_ih + W_hh h[t-1] + b_hh), or relu of it.

    Takes the arguments of RNNBase after `mode`, and after num_layers:
        nonlinearity: "tanh" or "relu".
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "mode" in kwargs or "proj_size" in kwargs:
            raise TypeError("RNN takes neither mode nor proj_size: see nonlinearity")
        if len(args) > 3:
            nonlinearity, args = args[3], args[:3] + args[4:]
        else:
            nonlinearity = kwargs.pop("nonlinearity", "tanh")
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        super().__init__(f"RNN_{nonlinearity.upper()}", *args, **kwargs)
        self.nonlinearity = nonlinearity


class GRU(RNNBase):
    """Gated recurrent units; takes the arguments of RNNBase after `mode`.

    r, z = sigmoid(W_ih x[t] + b_ih + W_hh h[t-1] + b_hh), n = tanh(W_in x[t] + b_in + r * (W_hn h[t-1] + b_hn)),
    h[t] = (1 - z) * n + z * h[t-1]. The parameters hold r, z, n in this order.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        super().__init__("GRU", *args, **kwargs)


class LSTM(RNNBase):
    """Long short-term memory; takes the arguments of RNNBase after `mode`.

    i, f, o = sigmoid and g = tanh of W_ih x[t] + b_ih + W_hh h[t-1] + b_hh, c[t] = f * c[t-1] + i * g,
    h[t] = o * tanh(c[t]). The parameters hold i, f, g, o in this order. States are pairs (h, c).
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("LSTM", *args, **kwargs)


class RNNCellBase(Module):
    """One step of one layer: what RNNCell, GRUCell and LSTMCell share.

    Parameters:
        weight_ih: (gates * H, I). weight_hh: (gates * H, H). bias_ih, bias_hh: (gates * H,). Uniform in ±1/sqrt(H).
    Shape:
        input (B, I) or (I,), states (B, H) or (H,) -> states.
    """

    _mode: Any

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool, num_chunks: int, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        width = num_chunks * hidden_size
        self.weight_ih = Parameter(empty(width, input_size, device=device, dtype=dtype))
        self.weight_hh = Parameter(empty(width, hidden_size, device=device, dtype=dtype))
        if bias:
            self.bias_ih = Parameter(empty(width, device=device, dtype=dtype))
            self.bias_hh = Parameter(empty(width, device=device, dtype=dtype))
        else:
            self.register_parameter("bias_ih", None)
            self.register_parameter("bias_hh", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new values."""
        bound = 1 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")

    def _step(self, input: Tensor, h: Tensor | None, c: Tensor | None) -> tuple[Tensor, Any]:
        """(h, c) after the step."""
        name, ndim = type(self).__name__, input.dim()
        if ndim not in (1, 2):
            raise ValueError(f"{name}: Expected input to be 1D or 2D, got {ndim}D instead")
        if input.shape[-1] != self.input_size:
            raise RuntimeError(
                f"[{name}] input has inconsistent input_size: got {input.shape[-1]} expected {self.input_size}, shape "
                f"{tuple(input.shape)}"
            )
        for state in (h, c):
            if state is not None and state.dim() != ndim:
                raise ValueError(f"{name}: Expected hx to be {ndim}D like the input, got {state.dim()}D instead")
        lead = (1,) * (3 - ndim)  # one step, and one sequence where there is no batch
        input = input.reshape(*lead, *input.shape)
        h, c = (None if s is None else s.reshape(*lead, *s.shape) for s in (h, c))
        params = [self.weight_ih, self.weight_hh] + ([self.bias_ih, self.bias_hh] if self.bias else [])
        _, h, c = recurrent(self._mode, input, None, h, c, params, self.bias, 1, 0.0, False, False)
        last = (self.hidden_size,) if ndim == 1 else (-1, self.hidden_size)
        return h.reshape(*last), None if c is None else c.reshape(*last)


class RNNCell(RNNCellBase):
    """One step of an RNN: h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu of it."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")
        return self._step(input, hx, None)[0]

    @property
    def _mode(self) -> str:
        return f"rnn_{self.nonlinearity}"

    def extra_repr(self) -> str:
        return super().extra_repr() + ("" if self.nonlinearity == "tanh" else f", nonlinearity={self.nonlinearity}")


class GRUCell(RNNCellBase):
    """One step of a GRU."""

    _mode = "gru"

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        return self._step(input, hx, None)[0]


class LSTMCell(RNNCellBase):
    """One step of an LSTM; the state is a pair (h, c)."""

    _mode = "lstm"

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        h, c = (None, None) if hx is None else hx
        return self._step(input, h, c)
