"""Element-wise expressions of symbols: their derivatives, their values on Tensors, and their programs for chain.pyx."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import elementwise

_made: dict[tuple, Expression] = {}  # equal expressions are one object


class Expression:
    """An operation on expressions; "input" and "parameter" with their number; or "number"."""

    __slots__ = ("args", "op", "value")

    def __init__(self, op: str, args: tuple[Expression, ...], value: float | None) -> None:
        self.op, self.args, self.value = op, args, value

    def __add__(self, other: Any) -> Expression:
        return build("add", self, other)

    def __radd__(self, other: Any) -> Expression:
        return build("add", other, self)

    def __sub__(self, other: Any) -> Expression:
        return build("sub", self, other)

    def __rsub__(self, other: Any) -> Expression:
        return build("sub", other, self)

    def __mul__(self, other: Any) -> Expression:
        return build("mul", self, other)

    def __rmul__(self, other: Any) -> Expression:
        return build("mul", other, self)

    def __truediv__(self, other: Any) -> Expression:
        return build("div", self, other)

    def __rtruediv__(self, other: Any) -> Expression:
        return build("div", other, self)

    def __neg__(self) -> Expression:
        return build("neg", self)

    def __lt__(self, other: Any) -> Expression:
        return build("lt", self, other)

    def __le__(self, other: Any) -> Expression:
        return build("le", self, other)

    def __gt__(self, other: Any) -> Expression:
        return build("lt", other, self)

    def __ge__(self, other: Any) -> Expression:
        return build("le", other, self)


def symbol(op: str, value: float) -> Expression:
    """An expression without operands."""
    return _intern(op, (), value)


def build(op: str, *args: Any) -> Expression:
    """The expression of an operation; numbers become constants."""
    return _intern(op, tuple(a if isinstance(a, Expression) else symbol("number", float(a)) for a in args), None)


def _intern(op: str, args: tuple, value: float | None) -> Expression:
    key = (op, tuple(map(id, args)), value)
    if key not in _made:
        _made[key] = Expression(op, args, value)
    return _made[key]


def abs(x: Any) -> Expression:
    return build("abs", x)


def sign(x: Any) -> Expression:
    return build("sign", x)


def exp(x: Any) -> Expression:
    return build("exp", x)


def expm1(x: Any) -> Expression:
    return build("expm1", x)


def log(x: Any) -> Expression:
    return build("log", x)


def log1p(x: Any) -> Expression:
    return build("log1p", x)


def tanh(x: Any) -> Expression:
    return build("tanh", x)


def sigmoid(x: Any) -> Expression:
    return build("sigmoid", x)


def softplus(x: Any) -> Expression:
    return build("softplus", x)


def equal(a: Any, b: Any) -> Expression:
    return build("eq", a, b)


def where(condition: Expression, a: Any, b: Any) -> Expression:
    """a where the comparison `condition` holds, else b."""
    return build("where_" + condition.op, *condition.args, a, b)


def _chosen(compare: Callable, again: Callable) -> tuple[Callable, Callable]:
    """`where` of one comparison on Tensors, and its derivatives."""
    return (
        lambda p, q, a, b: elementwise.where(compare(p, q), a, b),
        lambda g, y, p, q, a, b: (None, None, where(again(p, q), g, 0), where(again(p, q), 0, g)),
    )


# name: the same on Tensors, and the derivatives from (g, result, *operands), None where there is none
OPERATIONS: dict[str, tuple[Callable, Callable]] = {
    "neg": (elementwise.neg, lambda g, y, x: (-g,)),
    "abs": (elementwise.abs, lambda g, y, x: (g * sign(x),)),
    "sign": (elementwise.sign, lambda g, y, x: (None,)),
    "exp": (elementwise.exp, lambda g, y, x: (g * y,)),
    "expm1": (elementwise.expm1, lambda g, y, x: (g * (y + 1),)),
    "log": (elementwise.log, lambda g, y, x: (g / x,)),
    "log1p": (elementwise.log1p, lambda g, y, x: (g / (x + 1),)),
    "tanh": (elementwise.tanh, lambda g, y, x: (g * (1 - y * y),)),
    "sigmoid": (elementwise.sigmoid, lambda g, y, x: (g * (y * (1 - y)),)),
    "softplus": (lambda x: elementwise.softplus(x, 1.0, 1e30), lambda g, y, x: (g * sigmoid(x),)),
    "add": (elementwise.add, lambda g, y, a, b: (g, g)),
    "sub": (elementwise.sub, lambda g, y, a, b: (g, -g)),
    "mul": (elementwise.mul, lambda g, y, a, b: (g * b, g * a)),
    "div": (elementwise.div, lambda g, y, a, b: (g / b, -g * y / b)),
    "where_lt": _chosen(elementwise.lt, lambda p, q: p < q),
    "where_le": _chosen(elementwise.le, lambda p, q: p <= q),
    "where_eq": _chosen(elementwise.eq, equal),
}


def ordered(roots: list[Expression]) -> list[Expression]:
    """All expressions that the roots are made of, operands first."""
    order: dict[int, Expression] = {}

    def visit(e: Expression) -> None:
        if id(e) not in order:
            for a in e.args:
                visit(a)
            order[id(e)] = e

    for root in roots:
        visit(root)
    return list(order.values())


def differentiated(y: Expression, g: Expression, inputs: list[Expression]) -> list[Expression | None]:
    """The derivatives of y times g with respect to `inputs`; None: y does not depend on it."""
    order, grads, active = ordered([y]), {id(y): g}, {id(x) for x in inputs}
    for e in order:
        if any(id(a) in active for a in e.args):
            active.add(id(e))
    for e in reversed(order):
        if e.args and id(e) in grads and id(e) in active:
            for a, part in zip(e.args, OPERATIONS[e.op][1](grads[id(e)], e, *e.args)):
                if part is not None and id(a) in active:
                    grads[id(a)] = grads[id(a)] + part if id(a) in grads else part
    return [grads.get(id(x)) for x in inputs]


def evaluated(e: Expression, known: dict[int, Any]) -> Any:
    """e with Tensor operators; known: id of an expression -> its value, and what was computed before."""
    if id(e) not in known:
        known[id(e)] = e.value if e.op == "number" else OPERATIONS[e.op][0](*[evaluated(a, known) for a in e.args])
    return known[id(e)]


def program(
    outputs: list[Expression], sums: list[Expression], codes: dict[str, int], registers: int, first: dict[str, int]
) -> tuple[list[tuple[int, ...]], list[tuple[float, int]]]:
    """Steps (operation, to, a, b, c, d) that compute `outputs` and sums over all elements of `sums`, and the constants
    that they use: (number, -1) or (0, parameter). Registers are counted from 0, the other operands from `first`."""
    order, steps, constants = ordered(outputs + sums), [], []
    place: dict[int, int] = {}
    uses: dict[int, int] = {}
    free = list(range(registers - 1, -1, -1))
    for used in [*(a for e in order for a in e.args), *sums]:
        uses[id(used)] = uses.get(id(used), 0) + 1
    for i, e in enumerate(outputs):  # the first output that is this expression takes the result
        if e.args:
            place.setdefault(id(e), first["output"] + i)

    def release(e: Expression) -> None:
        uses[id(e)] -= 1
        if not uses[id(e)] and place[id(e)] < registers:
            free.append(place[id(e)])

    def emit(op: str, to: int, *operands: int) -> None:
        steps.append((codes[op], to, *operands, *operands[:1] * (4 - len(operands))))

    for e in order:
        if e.op == "input":
            place[id(e)] = first["input"] + int(e.value or 0)
        elif not e.args:
            place[id(e)] = first["number"] + len(constants)
            constants.append((e.value or 0.0, -1) if e.op == "number" else (0.0, int(e.value or 0)))
        else:
            if id(e) not in place:  # not the register of an operand, which may hold one vector for all elements
                place[id(e)] = free.pop()
            emit(e.op, place[id(e)], *[place[id(a)] for a in e.args])
            for a in e.args:
                release(a)
        for i, s in enumerate(sums):
            if s is e:
                emit("sum", i, place[id(e)])
                release(e)
    for i, e in enumerate(outputs):
        if place[id(e)] != first["output"] + i:
            emit("copy", first["output"] + i, place[id(e)])
    return steps, constants
