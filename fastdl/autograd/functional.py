"""Jacobians, Hessians and their products with vectors of functions of tensors, one backward pass per row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._tensor import Tensor
from . import grad as _grad
from .grad_mode import enable_grad
from .hooks import zeros

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]


def _tuple(op: str, what: str, values: Any) -> tuple:
    values = tuple(values) if isinstance(values, (tuple, list)) else (values,)
    for i, value in enumerate(values):
        if not isinstance(value, Tensor):
            raise TypeError(
                f"The {what} given to {op} must be either a Tensor or a tuple of Tensors but the value at index {i} "
                f"has type {type(value)}."
            )
    return values


def _shaped(values: tuple, single: bool) -> Any:
    return values[0] if single else values


class _Call:
    """func's results on copies of its inputs whose derivatives are asked for."""

    def __init__(self, op: str, func: Callable, inputs: Any, connected: bool):
        self.op = op
        self.one_input = isinstance(inputs, Tensor)
        self.inputs = tuple(
            x.view_as(x) if connected and x.requires_grad else x.detach().requires_grad_()
            for x in _tuple(op, "inputs", inputs)
        )
        outputs = func(*self.inputs)
        self.one_output = isinstance(outputs, Tensor)
        self.outputs = _tuple(op, "outputs of the user-provided function", outputs)

    def vectors(self, what: str, v: Any, like: tuple) -> tuple:
        """`v` as a tuple that fits `like`; None: 1 for a single element."""
        if v is None:
            if len(like) != 1 or like[0].numel() != 1:
                raise RuntimeError(
                    f"The vector v can only be None if the {what} of the user-provided function is a single Tensor "
                    "with a single element."
                )
            return (like[0].detach() * 0 + 1,)
        found = _tuple(self.op, "v", v)
        if len(found) != len(like):
            raise RuntimeError(f"v is a tuple of invalid length: should be {len(like)} but got {len(found)}.")
        for i, (given, tensor) in enumerate(zip(found, like)):
            if given.shape != tensor.shape:
                raise RuntimeError(
                    f"v has invalid size: should be {tuple(tensor.shape)} but got {tuple(given.shape)} at index {i}."
                )
        return found

    def grads(self, outputs: tuple, inputs: tuple, upstream: tuple, create_graph: bool, strict: bool) -> tuple:
        """The gradients, zeros where nothing depends on the input (strict: an error)."""
        used = [i for i, out in enumerate(outputs) if out.requires_grad]
        if strict and len(used) < len(outputs):
            raise RuntimeError(f"[{self.op}] an output of the function does not depend on its inputs (strict=True)")
        found: tuple = (None,) * len(inputs)
        if used:
            found = _grad(
                [outputs[i] for i in used],
                inputs,
                [upstream[i] for i in used],
                retain_graph=True,
                create_graph=create_graph,
                allow_unused=True,
            )
        if strict and any(g is None for g in found):
            unused = next(i for i, g in enumerate(found) if g is None)
            raise RuntimeError(f"[{self.op}] the function does not depend on its input {unused} (strict=True)")
        return tuple(zeros(x.shape, x.dtype) if g is None else g for g, x in zip(found, inputs))

    def done(self, values: tuple, create_graph: bool) -> tuple:
        """Without history, unless it is wanted."""
        return values if create_graph else tuple(value.detach() for value in values)


def jacobian(
    func: Callable,
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """The Jacobian of func: for each output (a tensor or a tuple) and each input, of shape output.shape + input.shape.

    Args:
        func: function of tensors that returns a tensor or a tuple of tensors.
        inputs: a tensor or a tuple.
        create_graph: the result can be differentiated again.
        strict: an error, not zeros, for an output that does not depend on an input.
        vectorize: changes nothing.
        strategy: "reverse-mode" only.
    """
    if strategy != "reverse-mode":
        raise NotImplementedError(f"[jacobian] strategy: only 'reverse-mode' is implemented, got {strategy!r}")
    with enable_grad():
        call = _Call("jacobian", func, inputs, create_graph)
        rows = []
        for out in call.outputs:
            parts: list[list[Tensor]] = [[] for _ in call.inputs]
            for i in range(out.numel()):
                one = zeros((out.numel(),), out.dtype)
                one[i] = 1
                found = call.grads((out,), call.inputs, (one.reshape(out.shape),), create_graph, strict)
                for part, g in zip(parts, call.done(found, create_graph)):
                    part.append(g)
            rows.append(_shaped(tuple(_stacked(p, out, x) for p, x in zip(parts, call.inputs)), call.one_input))
    return _shaped(tuple(rows), call.one_output)


def _stacked(parts: list[Tensor], out: Tensor, x: Tensor) -> Tensor:
    from ..ops.shape import stack

    if not parts:
        return zeros((*out.shape, *x.shape), x.dtype)
    return stack(parts).reshape((*out.shape, *x.shape))


def hessian(
    func: Callable,
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """The second derivatives of func, which returns one element: input.shape + input.shape, or a tuple of tuples."""
    one_input = isinstance(inputs, Tensor)

    def slope(*args: Tensor) -> tuple:
        out = func(*args)
        if not isinstance(out, Tensor) or out.numel() != 1:
            raise RuntimeError("The output of the user-provided function to hessian must be a Tensor with one element")
        if not out.requires_grad:
            return tuple(zeros(x.shape, x.dtype) for x in args)
        found = _grad(out, args, None, create_graph=True, allow_unused=True)
        return tuple(zeros(x.shape, x.dtype) if g is None else g for g, x in zip(found, args))

    values = _tuple("hessian", "inputs", inputs)
    found = jacobian(slope, values, create_graph, strict, vectorize, outer_jacobian_strategy)
    return found[0][0] if one_input else found


def vjp(func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple:
    """(func(inputs), v^T J): the product of `v`, of the outputs' shapes, with the Jacobian."""
    with enable_grad():
        call = _Call("vjp", func, inputs, create_graph)
        upstream = call.vectors("output", v, call.outputs)
        found = call.grads(call.outputs, call.inputs, upstream, create_graph, strict)
    outputs = call.done(call.outputs, create_graph)
    return _shaped(outputs, call.one_output), _shaped(call.done(found, create_graph), call.one_input)


def jvp(func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple:
    """(func(inputs), J v): the product of the Jacobian with `v`, of the inputs' shapes; by two backward passes."""
    with enable_grad():
        call = _Call("jvp", func, inputs, create_graph)
        vectors = call.vectors("input", v, call.inputs)
        dummies = tuple(zeros(out.shape, out.dtype).requires_grad_() for out in call.outputs)
        slopes = call.grads(call.outputs, call.inputs, dummies, True, strict)
        found = call.grads(slopes, dummies, vectors, create_graph, strict)
    outputs = call.done(call.outputs, create_graph)
    return _shaped(outputs, call.one_output), _shaped(call.done(found, create_graph), call.one_output)


def _hessian_product(
    op: str, func: Callable, inputs: Any, v: Any, create_graph: bool, strict: bool
) -> tuple:
    with enable_grad():
        call = _Call(op, func, inputs, create_graph)
        if not call.one_output or call.outputs[0].numel() != 1:
            raise RuntimeError(f"The output of the user-provided function to {op} must be a Tensor with one element")
        vectors = call.vectors("input", v, call.inputs)
        one = (call.outputs[0].detach() * 0 + 1,)
        slopes = call.grads(call.outputs, call.inputs, one, True, strict)
        found = call.grads(slopes, call.inputs, vectors, create_graph, strict)
    outputs = call.done(call.outputs, create_graph)
    return outputs[0], _shaped(call.done(found, create_graph), call.one_input)


def vhp(func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple:
    """(func(inputs), v^T H): the product of `v`, of the inputs' shapes, with the Hessian of a func of one element."""
    return _hessian_product("vhp", func, inputs, v, create_graph, strict)


def hvp(func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple:
    """(func(inputs), H v): the same as vhp, because a Hessian is symmetric."""
    return _hessian_product("hvp", func, inputs, v, create_graph, strict)
