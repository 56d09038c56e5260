"""Optimizer: parameter groups, state, and saving them; the formulas are in the subclasses and csrc/optim.c."""

from __future__ import annotations

import math
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .._tensor import Tensor
from ..autograd import enable_grad
from ..autograd.hooks import RemovableHandle
from ..ops import optim as ops


class Optimizer:
    """Base of all optimizers.

    A subclass gives `_update(group, grad_scale)`, which updates the parameters of one group, or overrides `step`.

    Args:
        params: tensors, (name, tensor) pairs, or dicts with "params" and options of their own group.
        defaults: options of the groups that do not set them.

    Attributes:
        param_groups: list of dicts: "params" and the options, which may be changed between steps.
        state: what the optimizer remembers of each parameter.
        grad_norm: gradient norm that the last `step(max_norm=..)` found, None before.
    """

    _stepped = False  # schedulers warn of an order that skips the first rate
    _nonnegative: tuple[str, ...] = ()  # options that are numbers >= 0
    # tensors of each parameter's state with the parameter's shape: those that every state has, and those it may have
    _required_buffers: tuple[str, ...] = ()
    _optional_buffers: tuple[str, ...] = ()

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]):
        if isinstance(params, (Tensor, str, dict)):
            raise TypeError(
                f"[{type(self).__name__}] params: expected an iterable of Tensors or dicts, got {type(params).__name__}"
            )
        self.defaults = defaults
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        self.grad_norm: float | None = None
        self._pre_hooks: OrderedDict[int, Callable] = OrderedDict()
        self._post_hooks: OrderedDict[int, Callable] = OrderedDict()
        if not isinstance(params, Iterable):
            hint = ": pass its .parameters()" if hasattr(params, "parameters") else ""
            raise TypeError(
                f"[{type(self).__name__}] params: expected an iterable of Tensors, got {type(params).__name__}{hint}"
            )
        groups = params if isinstance(params, set) else list(params)
        if not groups:
            hint = ": the iterator that was passed is used up" if isinstance(params, Iterator) else ""
            raise ValueError(f"[{type(self).__name__}] optimizer got an empty parameter list{hint}")
        if not isinstance(groups, set) and isinstance(groups[0], dict):
            for group in groups:
                self.add_param_group(group)
        else:
            self.add_param_group({"params": groups})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds parameters with options of their own; options that are not given are the defaults.

        Raises:
            TypeError: not a dict, a set of parameters (sets have no order), or something that is no Tensor.
            ValueError: a tensor that is not a leaf, is in two groups, or an option that is missing or out of range.
        """
        name = type(self).__name__
        if not isinstance(param_group, dict):
            raise TypeError(f"[{name}] param_group: expected a dict, got {type(param_group).__name__}")
        group = dict(param_group)
        params = group["params"]
        if isinstance(params, set):
            raise TypeError(f"[{name}] params: expected a list, got a set, whose order changes between runs")
        params = [params] if isinstance(params, Tensor) else list(params)
        if params and all(isinstance(p, tuple) and len(p) == 2 for p in params):
            group["param_names"] = [p[0] for p in params]
            params = [p[1] for p in params]
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(f"[{name}] params: expected Tensors, one of them is {type(p).__name__}")
            if not p.is_leaf and not self.defaults.get("differentiable"):
                raise ValueError(f"[{name}] can't optimize a non-leaf Tensor (its grad_fn is {p.grad_fn.name()})")
        known = {id(p) for other in self.param_groups for p in other["params"]}
        if any(id(p) in known for p in params):
            raise ValueError(f"[{name}] some parameters appear in more than one parameter group")
        if len({id(p) for p in params}) != len(params):
            raise ValueError(f"[{name}] a parameter appears more than once in a parameter group")
        group["params"] = params
        for option, value in self.defaults.items():
            group.setdefault(option, value)
        self._check(group)
        self.param_groups.append(group)

    def _check(self, group: dict[str, Any]) -> None:
        """Raises ValueError if an option of the group makes no sense."""
        name = type(self).__name__
        for option in self._nonnegative:
            check_option(name, option, group[option])
        for i, beta in enumerate(group.get("betas", ())):
            check_option(name, f"beta at index {i}", beta, below=1.0)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets the gradients of all parameters, or with `set_to_none=False` sets them to zero."""
        for group in self.param_groups:
            ops.zero_grad(group["params"], set_to_none)

    def step(self, closure: Callable[[], Any] | None = None, *, max_norm: float | None = None) -> Any:
        """Updates every parameter that has a gradient.

        Args:
            closure: computes the gradients and returns the loss, before the update.
            max_norm: gradients are scaled down within the update so that their common norm is at most this; they
                themselves stay as they are. Same result as `nn.utils.clip_grad_norm_` before, in less time. The norm
                is then in `grad_norm`. An extension of PyTorch's interface.
        Returns:
            What the closure returned, else None.
        """
        self._stepped = True
        for hook in list(self._pre_hooks.values()):
            hook(self, (closure,), {})
        loss = self._step(closure, max_norm)
        for hook in list(self._post_hooks.values()):
            hook(self, (closure,), {})
        return loss

    def _step(self, closure: Callable[[], Any] | None, max_norm: float | None) -> Any:
        """What `step` does between its hooks."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        scale = 1.0 if max_norm is None else self._clip(max_norm)
        for group in self.param_groups:
            self._update(group, scale)
        return loss

    def _update(self, group: dict[str, Any], grad_scale: float) -> None:
        raise NotImplementedError(f"{type(self).__name__} has neither `_update` nor `step`")

    def _clip(self, max_norm: float) -> float:
        """The factor that brings the gradient norm down to max_norm."""
        if not max_norm >= 0:
            raise ValueError(f"[{type(self).__name__}] max_norm: expected a number >= 0, got {max_norm}")
        groups = self.param_groups
        params = groups[0]["params"] if len(groups) == 1 else [p for group in groups for p in group["params"]]
        self.grad_norm = ops.grad_norm(params)
        factor = max_norm / (self.grad_norm + 1e-6)
        return 1.0 if factor > 1 else factor  # a NaN stays one

    def register_step_pre_hook(self, hook: Callable) -> RemovableHandle:
        """Calls hook(optimizer, args, kwargs) before each step. Returns a handle with `remove()`."""
        return RemovableHandle.add(self._pre_hooks, hook)

    def register_step_post_hook(self, hook: Callable) -> RemovableHandle:
        """Calls hook(optimizer, args, kwargs) after each step. Returns a handle with `remove()`."""
        return RemovableHandle.add(self._post_hooks, hook)

    # saving

    def state_dict(self) -> dict[str, Any]:
        """{"state": {number of the parameter: its state}, "param_groups": [options and "params", numbers]}."""
        number: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            packed = {k: v for k, v in group.items() if k != "params"}
            packed["params"] = [number.setdefault(id(p), len(number)) for p in group["params"]]
            groups.append(packed)
        state = {number.get(id(p), p): dict(values) for p, values in self.state.items()}
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over what `state_dict` (or PyTorch's) returned; tensors are copied. Nothing changes if it raises.

        Raises:
            ValueError: not a state dict, other groups or sizes than here, or the state of another kind of optimizer.
        """
        name = type(self).__name__
        if not isinstance(state_dict, dict) or not {"state", "param_groups"} <= state_dict.keys():
            found = sorted(map(str, state_dict)) if isinstance(state_dict, dict) else type(state_dict).__name__
            raise ValueError(f"[{name}] state_dict: expected the keys 'state' and 'param_groups', got {found}")
        saved = state_dict["param_groups"]
        if len(saved) != len(self.param_groups):
            raise ValueError(
                f"[{name}] loaded state dict has a different number of parameter groups: "
                f"expected {len(self.param_groups)}, got {len(saved)}"
            )
        groups: list[dict[str, Any]] = []
        param_of: dict[Any, Any] = {}
        for i, (old, new) in enumerate(zip(self.param_groups, saved)):
            if len(old["params"]) != len(new["params"]):
                raise ValueError(
                    f"[{name}] loaded state dict contains a parameter group that doesn't match the size of "
                    f"optimizer's group {i}: expected {len(old['params'])} parameters, got {len(new['params'])}"
                )
            param_of.update(zip(new["params"], old["params"]))
            group = {**self.defaults, **new, "params": old["params"]}
            self._check(group)
            groups.append(group)
        state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        for key, values in state_dict["state"].items():
            if key in param_of:
                state[param_of[key]] = self._load_state(f"parameter {key}", param_of[key], values)
            else:
                state[key] = values
        self.state, self.param_groups = state, groups

    def _load_state(self, what: str, p: Tensor, values: dict[str, Any]) -> dict[str, Any]:
        """A copy of one parameter's state, in the parameter's type."""
        name = type(self).__name__
        for missing in set(self._required_buffers) - values.keys():
            raise ValueError(
                f"[{name}] loaded state dict has no {missing!r} for {what}; it has {', '.join(sorted(values)) or '-'}"
            )
        loaded = {}
        for key, value in values.items():
            is_buffer = key in self._required_buffers + self._optional_buffers and value is not None
            if is_buffer and (not isinstance(value, Tensor) or value.shape != p.shape):
                found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
                raise ValueError(
                    f"[{name}] loaded state dict: {key!r} of {what}: expected shape {tuple(p.shape)}, got {found}"
                )
            if key == "step":
                value = int(value)
            elif isinstance(value, Tensor):
                value = value.detach().to(p.dtype, copy=True) if value.is_floating_point() else value.detach().clone()
            loaded[key] = value
        return loaded

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {k}: {group[k]}" for k in sorted(group) if k not in ("params", "param_names")]
        return "\n".join([*lines, ")"])

    def __getstate__(self) -> dict[str, Any]:
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.grad_norm = None
        self._pre_hooks, self._post_hooks = OrderedDict(), OrderedDict()


def check_option(optimizer: str, name: str, value: float, low: float = 0.0, below: float = math.inf) -> None:
    """Raises ValueError unless low <= value < below."""
    if not low <= value < below:
        limits = f">= {low:g}" if below == math.inf else f"in [{low:g}, {below:g})"
        raise ValueError(f"[{optimizer}] {name}: expected a number {limits}, got {value}")


def check_differentiable(optimizer: str, differentiable: bool) -> None:
    """Raises NotImplementedError if the update itself shall be recorded."""
    if differentiable:
        raise NotImplementedError(f"[{optimizer}] differentiable=True: updates are not recorded here")
