"""gradcheck and gradgradcheck: derivatives compared with differences."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from .._tensor import Tensor
from . import grad as _grad
from .grad_mode import enable_grad
from .hooks import zeros

__all__ = ["GradcheckError", "gradcheck", "gradgradcheck"]


class GradcheckError(RuntimeError):
    """A derivative is not what the differences say."""


def _values(tensor: Tensor) -> np.ndarray:
    return np.array(tensor.numpy(force=True), np.float64)


def _outputs(func: Callable, inputs: tuple) -> tuple:
    outputs = func(*inputs)
    outputs = tuple(outputs) if isinstance(outputs, (tuple, list)) else (outputs,)
    return tuple(out for out in outputs if isinstance(out, Tensor) and out.is_floating_point())


def _differences(func: Callable, inputs: tuple, x: Tensor, eps: float) -> list[np.ndarray]:
    """For each output d out / d x, as a matrix with a row for each element of x, by central differences."""
    memory = x.detach().numpy()
    rows: list[list[np.ndarray]] = []
    for index in np.ndindex(memory.shape):
        before = memory[index]
        ends = []
        for step in (eps, -eps):
            memory[index] = before + step
            ends.append([_values(out).ravel() for out in _outputs(func, inputs)])
        memory[index] = before
        rows.append([(high - low) / (2 * eps) for high, low in zip(*ends)])
    return [np.array(column) for column in zip(*rows)]


def _derivatives(out: Tensor, inputs: list[Tensor]) -> list[np.ndarray]:
    """d out / d x for each x, as matrices with a row for each element of x."""
    columns: list[list[np.ndarray]] = [[] for _ in inputs]
    for i in range(out.numel()):
        one = zeros((out.numel(),), out.dtype)
        one[i] = 1
        found: tuple = (None,) * len(inputs)
        if out.requires_grad:
            found = _grad(out, inputs, one.reshape(out.shape), retain_graph=True, allow_unused=True)
        for column, g, x in zip(columns, found, inputs):
            if g is not None and g.shape != x.shape:
                raise GradcheckError(f"a gradient has shape {tuple(g.shape)}, its input {tuple(x.shape)}")
            column.append(np.zeros(x.numel()) if g is None else _values(g).ravel())
    return [np.array(column).reshape(-1, x.numel()).T for column, x in zip(columns, inputs)]


def _check(func: Callable, inputs: tuple, eps: float, atol: float, rtol: float, nondet_tol: float) -> None:
    wanted = [x for x in inputs if isinstance(x, Tensor) and x.requires_grad]
    if not wanted:
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, but none of them have "
            "requires_grad=True."
        )
    for i, x in enumerate(inputs):
        if isinstance(x, Tensor) and x.requires_grad and x.element_size() < 8:
            warnings.warn(
                f"Input #{i} requires gradient and is not a double precision floating point. This check will likely "
                "fail if all the inputs are not of double precision floating point.",
                stacklevel=4,
            )
    numerical = [_differences(func, inputs, x, eps) for x in wanted]
    outputs = _outputs(func, inputs)
    for o, out in enumerate(outputs):
        analytical, again = _derivatives(out, wanted), _derivatives(out, wanted)
        for i, (found, second) in enumerate(zip(analytical, again)):
            if np.abs(found - second).max(initial=0) > nondet_tol:
                raise GradcheckError(
                    f"Backward is not reentrant, i.e., running backward with same input and grad_output multiple times "
                    f"gives different values for output {o} with respect to input {i}, although analytical gradient "
                    f"matches numerical gradient. The tolerance for nondeterminism was {nondet_tol}."
                )
            expected = numerical[i][o] if numerical[i] else np.zeros_like(found)
            if not np.allclose(found, expected, rtol, atol, equal_nan=True):
                raise GradcheckError(
                    f"Jacobian mismatch for output {o} with respect to input {i},\n"
                    f"numerical:{expected}\nanalytical:{found}\n"
                )


def gradcheck(
    func: Callable,
    inputs: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    **others: Any,
) -> bool:
    """Whether the derivatives of func agree with central differences: |a - n| <= atol + rtol * |n|, element by element.

    Args:
        func: function of the inputs that returns a tensor or a tuple of tensors.
        inputs: a tensor or a tuple; those that require grad are checked and should be float64.
        eps: step of the differences.
        raise_exception: an error that shows both, instead of False.
        nondet_tol: by how much two backward passes may differ.
        others: PyTorch's further options; what they check in addition is not checked here.
    Raises:
        GradcheckError: they differ.
        ValueError: no input requires grad.
    """
    _no_unknown("gradcheck", others)
    inputs = tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
    try:
        with enable_grad():
            _check(func, inputs, eps, atol, rtol, nondet_tol)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def gradgradcheck(
    func: Callable,
    inputs: Any,
    grad_outputs: Any = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    **others: Any,
) -> bool:
    """As gradcheck, for the derivatives of func's gradients. grad_outputs: upstream ones; None: drawn, with seed 0."""
    _no_unknown("gradgradcheck", others)
    inputs = tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
    with enable_grad():
        outputs = [out for out in _outputs(func, inputs) if out.requires_grad]
    if grad_outputs is None:
        rng = np.random.default_rng(0)
        grad_outputs = []
        for out in outputs:
            upstream = zeros(out.shape, out.dtype)
            upstream.detach().numpy()[...] = rng.standard_normal(tuple(out.shape))
            grad_outputs.append(upstream.requires_grad_())
    grad_outputs = tuple(grad_outputs) if isinstance(grad_outputs, (tuple, list)) else (grad_outputs,)
    count = len(inputs)

    def slopes(*args: Any) -> tuple:
        found = [out for out in _outputs(func, args[:count]) if out.requires_grad]
        wanted = [x for x in args[:count] if isinstance(x, Tensor) and x.requires_grad]
        return _grad(found, wanted, args[count:], create_graph=True, materialize_grads=True)

    return gradcheck(
        slopes,
        inputs + grad_outputs,
        eps=eps,
        atol=atol,
        rtol=rtol,
        raise_exception=raise_exception,
        nondet_tol=nondet_tol,
    )


_IGNORED = {
    "check_undefined_grad",
    "check_grad_dtypes",
    "check_batched_grad",
    "check_batched_forward_grad",
    "check_forward_ad",
    "check_backward_ad",
    "check_fwd_over_rev",
    "check_rev_over_rev",
    "fast_mode",
    "gen_non_contig_grad_outputs",
    "masked",
}


def _no_unknown(op: str, others: dict) -> None:
    for name in others:
        if name not in _IGNORED:
            raise TypeError(f"{op}() got an unexpected keyword argument '{name}'")
