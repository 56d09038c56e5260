"""Module: the base class of every layer and model. Assigning an attribute registers parameters, buffers, submodules."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from .._tensor import Tensor
from .._types import as_dtype, device, dtype
from .._types import bfloat16 as BFLOAT16
from ..autograd import no_grad
from ..autograd.hooks import RemovableHandle
from . import _report
from ._base import ModuleBase
from .parameter import Buffer, Parameter

_ABSENT = object()


class IncompatibleKeys(NamedTuple):
    """What `load_state_dict` found: names that were missing from, and names of no use in, the given dictionary."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"

    def __str__(self) -> str:
        return repr(self)


class Module(ModuleBase):
    """Base class of layers and models: subclasses create their parts in `__init__` and compute in `forward`.

    Example:
        >>> class Affine(Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.scale = Parameter(ones(3))
        ...     def forward(self, x):
        ...         return self.scale * x
    """

    training: bool
    _version = 1
    # hooks that are seldom used have no dictionary before the first one
    _backward_hooks: Any = None
    _backward_pre_hooks: Any = None
    _state_dict_pre_hooks: Any = None
    _state_dict_hooks: Any = None
    _load_state_dict_pre_hooks: Any = None
    _load_state_dict_post_hooks: Any = None

    def __init__(self) -> None:
        # object.__setattr__: our own looks for the very dictionaries that are made here
        put = super().__setattr__
        put("training", True)
        put("_parameters", {})
        put("_buffers", {})
        put("_non_persistent_buffers_set", set())
        put("_modules", {})
        put("_forward_hooks", OrderedDict())
        put("_forward_pre_hooks", OrderedDict())

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Computes the output; every subclass defines it."""
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    # calling -----------------------------------------------------------------------------------------------------

    def _call_with_hooks(self, args: tuple, kwargs: dict) -> Any:
        if Module._hooked and not any(_for_all.values()):
            Module._hooked = False
        boundary = None
        if self._backward_hooks or self._backward_pre_hooks or _for_all["backward"] or _for_all["backward_pre"]:
            from .hooks import Boundary

            boundary = Boundary(self)
        for hook, with_kwargs in [*_for_all["forward_pre"].values(), *self._forward_pre_hooks.values()]:
            if with_kwargs:
                changed = hook(self, args, kwargs)
                if changed is not None:
                    if not (isinstance(changed, tuple) and len(changed) == 2):
                        raise RuntimeError(
                            f"a forward pre-hook with kwargs returns None or (args, kwargs), got {changed!r}"
                        )
                    args, kwargs = changed
            else:
                changed = hook(self, args)
                if changed is not None:
                    args = changed if isinstance(changed, tuple) else (changed,)
        if boundary is not None:
            args = boundary.enter(args)
        hooks = [*_for_all["forward"].values(), *self._forward_hooks.values()]
        try:
            out = self.forward(*args, **kwargs)
        except Exception:
            for hook, with_kwargs, always in hooks:
                if always:
                    hook(self, args, kwargs, None) if with_kwargs else hook(self, args, None)
            raise
        for hook, with_kwargs, _ in hooks:
            changed = hook(self, args, kwargs, out) if with_kwargs else hook(self, args, out)
            if changed is not None:
                out = changed
        return out if boundary is None else boundary.leave(out)

    def _hooks(self, name: str) -> OrderedDict:
        """The dictionary of this kind of hook, made if there is none."""
        if self.__dict__.get(name) is None:
            self.__dict__[name] = OrderedDict()
        if name in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"):
            self.__dict__["_hooked"] = True
        return self.__dict__[name]

    def register_forward_pre_hook(
        self, hook: Callable, *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Calls `hook(module, args)` before `forward`; what it returns, if not None, replaces the arguments.

        with_kwargs: `hook(module, args, kwargs)`, which returns None or (args, kwargs). prepend: before other hooks.
        """
        return RemovableHandle.add(self._hooks("_forward_pre_hooks"), (hook, with_kwargs), prepend)

    def register_forward_hook(
        self, hook: Callable, *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> RemovableHandle:
        """Calls `hook(module, args, output)` after `forward`; what it returns, if not None, replaces the output.

        with_kwargs: `hook(module, args, kwargs, output)`. always_call: also, with output None, after an error.
        prepend: before other hooks.
        """
        return RemovableHandle.add(self._hooks("_forward_hooks"), (hook, with_kwargs, always_call), prepend)

    def register_full_backward_pre_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """Calls `hook(module, grad_output)` before the gradients of the module's inputs are computed.

        grad_output is a tuple with one gradient or None for each output; a result, if not None, replaces it.
        """
        return RemovableHandle.add(self._hooks("_backward_pre_hooks"), hook, prepend)

    def register_full_backward_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """Calls `hook(module, grad_input, grad_output)` when the gradients of the module's inputs are known.

        Both are tuples, None for arguments that are no tensors or need no gradient; a result, if not None, replaces
        grad_input. Keyword arguments are left out. The module's outputs are a tensor or a tuple.
        """
        return RemovableHandle.add(self._hooks("_backward_hooks"), hook, prepend)

    def register_state_dict_pre_hook(self, hook: Callable) -> RemovableHandle:
        """Calls `hook(module, prefix, keep_vars)` before `state_dict` reads the module."""
        return RemovableHandle.add(self._hooks("_state_dict_pre_hooks"), hook)

    def register_state_dict_post_hook(self, hook: Callable) -> RemovableHandle:
        """Calls `hook(module, state_dict, prefix, local_metadata)` after `state_dict`; it may change the dictionary."""
        return RemovableHandle.add(self._hooks("_state_dict_hooks"), hook)

    def register_load_state_dict_pre_hook(self, hook: Callable) -> RemovableHandle:
        """Calls `hook(module, state_dict, prefix, local_metadata, strict, missing, unexpected, errors)` before loading.

        It may change state_dict, which is a copy; messages that it appends to the list `errors` become an error.
        """
        return RemovableHandle.add(self._hooks("_load_state_dict_pre_hooks"), hook)

    def register_load_state_dict_post_hook(self, hook: Callable) -> RemovableHandle:
        """Calls `hook(module, incompatible_keys)` after loading; it may empty the two lists, or raise."""
        return RemovableHandle.add(self._hooks("_load_state_dict_post_hooks"), hook)

    # attributes --------------------------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        members = self.__dict__
        if isinstance(value, Parameter):
            if "_parameters" not in members:
                raise AttributeError(f"cannot assign parameters before Module.__init__() call: {_FIRST}")
            self._forget(name, "_parameters")
            self.register_parameter(name, value)
        elif isinstance(value, Module):
            if "_modules" not in members:
                raise AttributeError(f"cannot assign module before Module.__init__() call: {_FIRST}")
            self._forget(name, "_modules")
            self._modules[name] = value
        elif isinstance(value, Buffer):
            if "_buffers" not in members:
                raise AttributeError(f"cannot assign buffer before Module.__init__() call: {_FIRST}")
            self._forget(name, "_buffers")
            self.register_buffer(name, value, value.persistent)
        elif name in members:
            members[name] = value
        elif name in members.get("_parameters", ()):
            if value is not None:
                raise TypeError(
                    f"cannot assign '{_type_name(value)}' as parameter '{name}' (torch.nn.Parameter or None expected)"
                )
            self._parameters[name] = None
        elif name in members.get("_modules", ()):
            if value is not None:
                raise TypeError(
                    f"cannot assign '{_type_name(value)}' as child module '{name}' (torch.nn.Module or None expected)"
                )
            self._modules[name] = None
        elif name in members.get("_buffers", ()):
            if value is not None and not isinstance(value, Tensor):
                raise TypeError(
                    f"cannot assign '{_type_name(value)}' as buffer '{name}' (torch.Tensor or None expected)"
                )
            self._buffers[name] = value
        else:
            super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        for kind in ("_parameters", "_buffers", "_modules"):
            if name in self.__dict__.get(kind, ()):
                del self.__dict__[kind][name]
                self._non_persistent_buffers_set.discard(name)
                return
        super().__delattr__(name)

    def __dir__(self) -> list[str]:
        names = {*super().__dir__(), *self._parameters, *self._buffers, *self._modules}
        return sorted(name for name in names if not name[:1].isdigit())

    def _forget(self, name: str, kept: str) -> None:
        """Removes what `name` was before it becomes a member of the group `kept`."""
        self.__dict__.pop(name, None)
        for kind in ("_parameters", "_buffers", "_modules"):
            if kind != kept:
                self.__dict__[kind].pop(name, None)
        self._non_persistent_buffers_set.discard(name)

    def _check_name(self, name: str, kind: str, group: str) -> None:
        if "_parameters" not in self.__dict__:
            raise AttributeError(f"cannot assign {kind} before Module.__init__() call: {_FIRST}")
        if not isinstance(name, str):
            raise TypeError(f"{kind} name should be a string. Got {_type_name(name)}")
        if "." in name:
            raise KeyError(f'{kind} name can\'t contain ".", got: {name}')
        if name == "":
            raise KeyError(f'{kind} name can\'t be empty string ""')
        if name not in self.__dict__[group] and hasattr(self, name):
            raise KeyError(f"attribute '{name}' already exists")

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Adds a parameter; `self.name = Parameter(...)` does the same. None keeps the name without a value."""
        self._check_name(name, "parameter", "_parameters")
        if param is not None:
            if not isinstance(param, Parameter):
                raise TypeError(
                    f"cannot assign '{_type_name(param)}' object to parameter '{name}' "
                    "(torch.nn.Parameter or None required)"
                )
            if param.grad_fn is not None:
                raise ValueError(
                    f"cannot assign non-leaf Tensor to parameter '{name}': a parameter is not computed from other "
                    "tensors; compute the value in forward() instead"
                )
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Adds a tensor that moves and is saved with the module but is not trained (`persistent=False`: not saved)."""
        self._check_name(name, "buffer", "_buffers")
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"cannot assign '{_type_name(tensor)}' object to buffer '{name}' (torch Tensor or None required)"
            )
        self._buffers[name] = tensor
        if persistent:
            self._non_persistent_buffers_set.discard(name)
        else:
            self._non_persistent_buffers_set.add(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Adds a child; `self.name = module` does the same."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(not_a_module(module))
        self._check_name(name, "module", "_modules")
        self._modules[name] = module

    register_module = add_module

    # walking -----------------------------------------------------------------------------------------------------

    def named_modules(
        self, memo: set | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module and all below it, each once, with dotted names ("" for this one)."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, child in self._modules.items():
            if child is not None:
                yield from child.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def modules(self) -> Iterator[Module]:
        """This module and all below it, each once."""
        for _, module in self.named_modules():
            yield module

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The direct children, each once, with their names."""
        seen = set()
        for name, child in self._modules.items():
            if child is not None and child not in seen:
                seen.add(child)
                yield name, child

    def children(self) -> Iterator[Module]:
        """The direct children, each once."""
        for _, child in self.named_children():
            yield child

    def _named_members(self, group: str, prefix: str, recurse: bool, dedupe: bool) -> Iterator[tuple[str, Any]]:
        seen = set()
        modules = self.named_modules(prefix=prefix, remove_duplicate=dedupe) if recurse else [(prefix, self)]
        for path, module in modules:
            for name, tensor in module.__dict__[group].items():
                if tensor is None or id(tensor) in seen:
                    continue
                if dedupe:
                    seen.add(id(tensor))
                yield f"{path}.{name}" if path else name, tensor

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """All parameters with dotted names; a shared one comes once, under its first name."""
        yield from self._named_members("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """All parameters, each once."""
        for _, param in self._named_members("_parameters", "", recurse, True):
            yield param

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """All buffers with dotted names."""
        yield from self._named_members("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """All buffers, each once."""
        for _, tensor in self._named_members("_buffers", "", recurse, True):
            yield tensor

    def get_submodule(self, target: str) -> Module:
        """The module with this dotted name; "" is this one.

        Raises:
            AttributeError: there is none.
        """
        module = self
        for part in target.split(".") if target else []:
            found = getattr(module, part, _ABSENT)
            if found is _ABSENT:
                raise AttributeError(f"{type(module).__name__} has no attribute `{part}` (looking for '{target}')")
            if not isinstance(found, Module):
                raise AttributeError(f"`{part}` is not an nn.Module (looking for '{target}')")
            module = found
        return module

    def get_parameter(self, target: str) -> Parameter:
        """The parameter with this dotted name."""
        return self._get_member(target, "_parameters", "an nn.Parameter")

    def get_buffer(self, target: str) -> Tensor:
        """The buffer with this dotted name."""
        return self._get_member(target, "_buffers", "a buffer")

    def _get_member(self, target: str, group: str, what: str) -> Any:
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        if name not in module.__dict__[group]:
            raise AttributeError(f"`{name}` is not {what} of {type(module).__name__} (looking for '{target}')")
        return module.__dict__[group][name]

    # changing everything below -----------------------------------------------------------------------------------

    def apply(self, fn: Callable[[Module], None]) -> Module:
        """Calls `fn` on every module below and then on this one; returns this one."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def train(self, mode: bool = True) -> Module:
        """Sets training mode here and in everything below: dropout works only in training mode."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for child in self.children():
            child.train(mode)
        return self

    def eval(self) -> Module:
        """The same as `train(False)`."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Module:
        """Whether gradients are recorded for the parameters."""
        for param in self.parameters():
            param.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drops the parameters' gradients, or fills them with zeros."""
        for param in self.parameters():
            if set_to_none:
                param.grad = None
            elif param.grad is not None:
                param.grad.detach_()
                param.grad.zero_()

    def _apply(self, fn: Callable[[Tensor], Tensor]) -> Module:
        """Replaces the data of every parameter, gradient and buffer by `fn(data)`; parameters keep their identity."""
        for child in self.children():
            child._apply(fn)
        with no_grad():
            for param in self._parameters.values():
                if param is None:
                    continue
                grad = param.grad
                param.data = fn(param.data)
                if grad is not None:
                    param.grad = fn(grad)
            for name, tensor in self._buffers.items():
                if tensor is not None:
                    self._buffers[name] = fn(tensor)
        return self

    def _cast(self, target: dtype) -> Module:
        return self._apply(lambda t: t.to(target) if t.is_floating_point() else t)

    def to(self, *args: Any, **kwargs: Any) -> Module:
        """`to(dtype)`, `to(device)`, `to(device, dtype)` or `to(tensor)`: casts floating-point members in place.

        Raises:
            TypeError: the dtype is not floating-point.
        """
        target = kwargs.pop("dtype", None)
        places = [kwargs.pop("device", None)]
        for name in ("non_blocking", "copy", "memory_format", "tensor"):
            value = kwargs.pop(name, None)
            if name == "tensor" and value is not None:
                args = (*args, value)
        if kwargs:
            raise TypeError(f"to() got an unexpected keyword argument '{next(iter(kwargs))}'")
        for arg in args:
            if isinstance(arg, Tensor):
                target = arg.dtype
            elif isinstance(arg, (str, device)):
                places.append(arg)
            elif arg is not None and not isinstance(arg, bool):
                target = as_dtype(arg)
        for place in places:
            if place is not None:
                device(place)  # raises for anything but the CPU
        if target is None:
            return self
        if not target.is_floating_point:
            raise TypeError(f"nn.Module.to only accepts floating point dtypes, but got desired dtype={target}")
        return self._cast(target)

    def type(self, dst_type: dtype) -> Module:
        """Casts all members, also integer ones."""
        target = as_dtype(dst_type)
        return self._apply(lambda t: t.to(target))

    def float(self) -> Module:
        """Casts floating-point members to float32."""
        return self._cast(as_dtype("float32"))

    def double(self) -> Module:
        """Casts floating-point members to float64."""
        return self._cast(as_dtype("float64"))

    def half(self) -> Module:
        """Casts floating-point members to float16, for storage: no layer computes in float16."""
        return self._cast(as_dtype("float16"))

    def bfloat16(self) -> Module:
        """Casts floating-point members to bfloat16, for storage: no layer computes in bfloat16."""
        return self._cast(BFLOAT16)

    def cpu(self) -> Module:
        """Returns the module: it is on the CPU."""
        return self

    def cuda(self, device: Any = None) -> Module:
        """Raises: fastdl runs on the CPU."""
        raise RuntimeError("fastdl runs on the CPU only: there is no CUDA device")

    # state dictionaries ------------------------------------------------------------------------------------------

    def _save_to_state_dict(self, destination: dict, prefix: str, keep_vars: bool) -> None:
        """Puts this module's own members into `destination`."""
        for name, param in self._parameters.items():
            if param is not None:
                destination[prefix + name] = param if keep_vars else param.detach()
        for name, tensor in self._buffers.items():
            if tensor is not None and name not in self._non_persistent_buffers_set:
                destination[prefix + name] = tensor if keep_vars else tensor.detach()

    def state_dict(
        self, *, destination: dict | None = None, prefix: str = "", keep_vars: bool = False
    ) -> dict[str, Tensor]:
        """All parameters and persistent buffers by name. The tensors share memory with the module's.

        The names are PyTorch's, so that state dictionaries can be exchanged.
        """
        if destination is None:
            destination = OrderedDict()
        for hook in _each(self._state_dict_pre_hooks):
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, child in self._modules.items():
            if child is not None:
                child.state_dict(destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        for hook in _each(self._state_dict_hooks):
            if hook(self, destination, prefix, {}) is not None:
                raise RuntimeError("state_dict post-hook must return None")
        return destination

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> IncompatibleKeys:
        """Copies the tensors of `state_dict` into the parameters and buffers of the same names.

        Everything is checked first: after an error the module is as it was.

        Args:
            state_dict: names to tensors (NumPy arrays are taken too).
            strict: missing and unexpected names are an error; otherwise they are only returned.
            assign: take the given tensors themselves instead of copying their values.
        Returns:
            The missing and the unexpected names.
        Raises:
            RuntimeError: names (if strict) or sizes differ; a report groups them.
            TypeError: `state_dict` is not a dictionary.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        slots = OrderedDict()  # name -> (the dictionary that holds it, its key there, the current value)
        modules = list(self.named_modules(remove_duplicate=False))
        errors: list[str] = []
        if any(module._load_state_dict_pre_hooks for _, module in modules):
            state_dict = OrderedDict(state_dict)
        for path, module in modules:
            prefix = f"{path}." if path else ""
            for hook in _each(module._load_state_dict_pre_hooks):
                hook(module, state_dict, prefix, {}, strict, [], [], errors)
            for name, param in module._parameters.items():
                if param is not None:
                    slots[prefix + name] = (module._parameters, name, param)
            for name, tensor in module._buffers.items():
                if tensor is not None and name not in module._non_persistent_buffers_set:
                    slots[prefix + name] = (module._buffers, name, tensor)
        if errors:
            text = "\n  ".join(errors)
            raise RuntimeError(f"Error(s) in loading state_dict for {type(self).__name__}:\n  {text}")
        missing = [name for name in slots if name not in state_dict]
        unexpected = [name for name in state_dict if name not in slots]
        given = {name: _report.as_tensor(name, state_dict[name]) for name in slots if name in state_dict}
        sizes = [
            (name, tuple(value.shape), tuple(slots[name][2].shape))
            for name, value in given.items()
            if value.shape != slots[name][2].shape
        ]
        relaxed = any(module._load_state_dict_post_hooks for _, module in modules)  # a hook decides about names
        if sizes or (strict and (missing or unexpected) and not relaxed):
            raise RuntimeError(
                _report.mismatch(type(self).__name__, state_dict, list(slots), missing, unexpected, sizes, strict)
            )
        with no_grad():
            for name, value in given.items():
                group, key, current = slots[name]
                if not assign:
                    current.copy_(value)
                elif isinstance(current, Parameter) and not isinstance(value, Parameter):
                    group[key] = Parameter(value, requires_grad=current.requires_grad)
                else:
                    group[key] = value
        result = IncompatibleKeys(missing, unexpected)
        for _, module in reversed(modules):
            for hook in _each(module._load_state_dict_post_hooks):
                if hook(module, result) is not None:
                    raise RuntimeError("Hooks registered with register_load_state_dict_post_hook return None")
        if strict and (missing or unexpected):
            raise RuntimeError(
                _report.mismatch(type(self).__name__, state_dict, list(slots), missing, unexpected, [], strict)
            )
        return result

    # printing ----------------------------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """What is printed between the parentheses: the settings of the layer."""
        return ""

    def _get_name(self) -> str:
        return type(self).__name__

    def _child_lines(self) -> list[str]:
        return [f"({name}): {indent(repr(child))}" for name, child in self._modules.items()]

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        children = self._child_lines()
        if len(lines) == 1 and not children:
            return f"{self._get_name()}({extra})"
        lines += children
        return self._get_name() + ("(\n  " + "\n  ".join(lines) + "\n)" if lines else "()")


# hooks on all modules, called before those of one
_for_all: dict[str, OrderedDict] = {
    kind: OrderedDict() for kind in ("forward", "forward_pre", "backward", "backward_pre")
}


def _add_for_all(kind: str, entry: Any) -> RemovableHandle:
    Module._hooked = True  # from now on no call takes the short way
    return RemovableHandle.add(_for_all[kind], entry)


def register_module_forward_pre_hook(hook: Callable) -> RemovableHandle:
    """Calls `hook(module, args)` before the forward of every module; what it returns replaces the arguments."""
    return _add_for_all("forward_pre", (hook, False))


def register_module_forward_hook(
    hook: Callable, *, with_kwargs: bool = False, always_call: bool = False
) -> RemovableHandle:
    """Calls `hook(module, args, output)` after the forward of every module; what it returns replaces the output."""
    return _add_for_all("forward", (hook, with_kwargs, always_call))


def register_module_full_backward_pre_hook(hook: Callable) -> RemovableHandle:
    """Calls `hook(module, grad_output)` when the gradients of a module's outputs are known, for every module."""
    return _add_for_all("backward_pre", hook)


def register_module_full_backward_hook(hook: Callable) -> RemovableHandle:
    """Calls `hook(module, grad_input, grad_output)` when the gradients of the inputs are known, for every module."""
    return _add_for_all("backward", hook)


def _each(hooks: Mapping | None) -> list:
    return list(hooks.values()) if hooks else []


def indent(text: str) -> str:
    """Indents all lines but the first by two spaces, as children are printed."""
    return text.replace("\n", "\n  ")


_FIRST = "call super().__init__() first"


def not_a_module(value: Any) -> str:
    """What to say of a child that is none."""
    hint = f": write {value.__name__}(..), not the class itself" if isinstance(value, type) else ""
    return f"{_type_name(value)} is not a Module subclass{hint}"


def _type_name(value: object) -> str:
    cls = type(value)
    return "torch." + cls.__name__ if isinstance(value, Tensor) else f"{cls.__module__}.{cls.__qualname__}"
