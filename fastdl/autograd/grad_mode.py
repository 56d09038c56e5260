"""Recording on and off: in a `with` block, in a decorated function, or from here on."""

from __future__ import annotations

import functools

from .._tensor import is_grad_enabled, set_grad_mode


class Block:
    """A context manager that also decorates functions, methods and generators."""

    def clone(self):
        """A new one with the same settings: a decorated function enters its own at each call."""
        return type(self)()

    def __call__(self, function):
        import inspect

        if inspect.isgeneratorfunction(function):
            return _decorated_generator(self.clone, function)

        @functools.wraps(function)
        def wrapped(*args, **kwargs):
            with self.clone():
                return function(*args, **kwargs)

        return wrapped


def _decorated_generator(block, function):
    """The body runs inside the block, its caller between two values does not."""

    @functools.wraps(function)
    def wrapped(*args, **kwargs):
        items = function(*args, **kwargs)
        step = functools.partial(items.send, None)
        while True:
            with block():
                try:
                    item = step()
                except StopIteration as stop:
                    return stop.value
            try:
                step = functools.partial(items.send, (yield item))
            except GeneratorExit:
                with block():
                    items.close()
                raise
            except BaseException as error:
                step = functools.partial(items.throw, error)

    return wrapped


class _GradMode(Block):
    """Recording as `mode` says, in this thread."""

    mode = True

    def __enter__(self):
        self.before = set_grad_mode(self.mode)
        return self

    def __exit__(self, *error) -> None:
        set_grad_mode(self.before)


def _decorate(cls, function):
    """`@no_grad` works like `@no_grad()`."""
    return cls.__call__(object.__new__(cls), function)


class no_grad(_GradMode):
    """Nothing is recorded inside: `with no_grad():` or `@no_grad()`."""

    mode = False

    def __new__(cls, function=None):
        return object.__new__(cls) if function is None else _decorate(cls, function)


class enable_grad(_GradMode):
    """Operators are recorded inside, also within `no_grad`."""

    mode = True

    def __new__(cls, function=None):
        return object.__new__(cls) if function is None else _decorate(cls, function)


class inference_mode(_GradMode):
    """As no_grad: there is no faster mode. inference_mode(False) leaves recording as it is."""

    def __new__(cls, mode=True):
        return _decorate(cls, mode) if callable(mode) else object.__new__(cls)

    def __init__(self, mode=True):
        self.off = bool(mode)

    def clone(self):
        return type(self)(getattr(self, "off", True))

    def __enter__(self):
        self.before = set_grad_mode(not self.off and is_grad_enabled())
        return self


class set_grad_enabled(_GradMode):
    """Turns recording on or off at once; as a context manager or decorator, until the end of the block or function."""

    def __init__(self, mode: bool):
        self.mode = bool(mode)
        self.before = set_grad_mode(self.mode)

    def clone(self):
        return type(self)(self.mode)

    def __call__(self, function):
        set_grad_mode(self.before)
        return super().__call__(function)

    def __enter__(self):
        set_grad_mode(self.mode)
        return self
