"""checkpoint: less memory for more time. What a function saves for backward is computed again when it is needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import autograd, get_rng_state, is_grad_enabled, set_rng_state
from .._tensor import Tensor
from ..ops.creation import zeros

__all__ = ["checkpoint", "checkpoint_sequential"]


class _Checkpoint(autograd.Function):
    @staticmethod
    def forward(ctx: Any, run: Callable, preserve: bool, _: Tensor, *args: Any) -> Any:
        ctx.run, ctx.state = run, get_rng_state() if preserve else None
        ctx.others = [None if isinstance(a, Tensor) else a for a in args]
        ctx.places = [i for i, a in enumerate(args) if isinstance(a, Tensor)]
        ctx.save_for_backward(*[args[i] for i in ctx.places])
        return run(*args)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        args = list(ctx.others)
        for i, saved in zip(ctx.places, ctx.saved_tensors):
            args[i] = saved.detach().requires_grad_(saved.requires_grad)
        now = get_rng_state()
        if ctx.state is not None:
            set_rng_state(ctx.state)
        try:
            with autograd.enable_grad():
                outs = ctx.run(*args)
        finally:
            set_rng_state(now)
        outs = outs if isinstance(outs, tuple) else (outs,)
        pairs = [(y, g) for y, g in zip(outs, grads) if isinstance(y, Tensor) and y.requires_grad and g is not None]
        if pairs:
            autograd.backward([y for y, _ in pairs], [g for _, g in pairs])
        return None, None, None, *(a.grad if isinstance(a, Tensor) else None for a in args)


def checkpoint(
    function: Callable,
    *args: Any,
    use_reentrant: bool | None = None,
    preserve_rng_state: bool = True,
    determinism_check: str = "default",
    debug: bool = False,
    **kwargs: Any,
) -> Any:
    """function(*args, **kwargs), whose intermediate results are not kept: backward calls the function again.

    The gradients go to the leaves by `backward()`; `autograd.grad` reaches the arguments that are tensors, not the
    function's own parameters. Tensors inside of containers are not followed.

    Args:
        preserve_rng_state: draw the same random numbers (dropout) in the second call.
        use_reentrant, determinism_check, debug: accepted, without effect.
    Source: torch.utils.checkpoint.checkpoint.
    """
    if not is_grad_enabled():
        return function(*args, **kwargs)

    def run(*given: Any) -> Any:
        return function(*given, **kwargs)

    # a tensor that wants a gradient, so that there is a backward pass for parameters of the function alone
    return _Checkpoint.apply(run, preserve_rng_state, zeros(0, requires_grad=True), *args)


def checkpoint_sequential(
    functions: Any, segments: int, input: Any, use_reentrant: bool | None = None, **kwargs: Any
) -> Any:
    """The functions of a list or an nn.Sequential in turn, each of `segments` parts but the last checkpointed."""
    functions = list(functions)
    size = len(functions) // segments

    def part(start: int, end: int) -> Callable:
        def run(x: Any) -> Any:
            for f in functions[start:end]:
                x = f(x)
            return x

        return run

    for i in range(segments - 1):
        input = checkpoint(part(i * size, (i + 1) * size), input, **kwargs)
    return part((segments - 1) * size, len(functions))(input)
