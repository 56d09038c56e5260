"""What a row must cost at least: arithmetic, and bytes to and from memory, counted piece by piece.

Counted are the products (2 m n k), exp, erf and tanh where there is one for few other operations, and each large array
as often as it has to be read or written when everything elementwise is fused into the pass before it. A step can only
be slower than that.
"""

from __future__ import annotations

from dataclasses import dataclass

EXP = 24  # operations of one exp (erf, tanh, sigmoid): about 12 multiply-adds; a polynomial and its scaling
FLOAT = 4


@dataclass
class Cost:
    """flops: operations. read, write: bytes moved. data: bytes of the different arrays among them, which says in which
    cache they have room.
    """

    flops: float = 0
    read: float = 0
    write: float = 0
    data: float = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.flops + other.flops, self.read + other.read, self.write + other.write, self.data + other.data)

    def __mul__(self, count: float) -> Cost:
        return Cost(self.flops * count, self.read * count, self.write * count, self.data * count)


def array(size: float, reads: float, writes: float) -> Cost:
    """An array of `size` floats."""
    return Cost(0, FLOAT * size * reads, FLOAT * size * writes, FLOAT * size)


def linear(rows: int, inputs: int, outputs: int, first: bool = False) -> Cost:
    """y = x W^T, then dx = dy W and dW = dy^T x; a first layer needs no dx.

    W is read by y and dx, x by y and dW, dy once for both dx and dW.
    """
    products = 2 if first else 3
    cost = Cost(flops=2 * rows * inputs * outputs * products)
    cost += array(inputs * outputs, products - 1, 0) + array(inputs * outputs, 0, 1)  # W, dW
    cost += array(rows * inputs, 2, 0) + array(rows * outputs, 0, 1) + array(rows * outputs, 1, 0)  # x, y, dy
    return cost if first else cost + array(rows * inputs, 0, 1)  # dx


def linear_inference(rows: int, inputs: int, outputs: int) -> Cost:
    return (Cost(flops=2 * rows * inputs * outputs) + array(inputs * outputs, 1, 0) + array(rows * inputs, 1, 0)
            + array(rows * outputs, 0, 1))


def recurrent(tokens: int, inputs: int, hidden: int, gates: int, first: bool = False) -> Cost:
    """A layer in one direction: the product with the inputs, that with the state, and their gradients; the gates are
    kept for backward.
    """
    return linear(tokens, inputs, gates * hidden, first) + linear(tokens, hidden, gates * hidden)


def embedding(tokens: int, vocab: int, width: int) -> Cost:
    """Rows of a table; its gradient is as large as the table and zero elsewhere."""
    return array(tokens * width, 1, 1) + array(tokens * width, 1, 0) + array(vocab * width, 0, 1)


def cross_entropy(rows: int, classes: int) -> Cost:
    """Loss and gradient: the scores read once, an exp of each, the gradient written."""
    return Cost(flops=EXP * rows * classes) + array(rows * classes, 1, 0) + array(rows * classes, 0, 1)


def attention(batch: int, heads: int, queries: int, keys: int, width: int, causal: bool = False,
              backward: bool = True) -> Cost:
    """Two products forward and five backward for each pair of query and key, and an exp in each direction."""
    pairs = batch * heads * queries * keys / (2 if causal else 1)
    passes = 7 if backward else 2
    cost = Cost(flops=pairs * (2 * passes * width + EXP * (2 if backward else 1)))
    for steps, arrays in ((queries, 2), (keys, 2)):  # q and y, k and v
        size = batch * heads * steps * width
        cost += array(size * arrays, 2 if backward else 1, 1 if backward else 0)
    return cost


def block(rows: int, width: int, inner: int, batch: int, heads: int, steps: int, causal: bool = False) -> Cost:
    """Self-attention and two layers, forward and backward."""
    return (linear(rows, width, width) * 4 + attention(batch, heads, steps, steps, width // heads, causal)
            + linear(rows, width, inner) + linear(rows, inner, width))


def block_inference(rows: int, width: int, inner: int, batch: int, heads: int, steps: int) -> Cost:
    return (linear_inference(rows, width, width) * 4
            + attention(batch, heads, steps, steps, width // heads, backward=False)
            + linear_inference(rows, width, inner) + linear_inference(rows, inner, width))


def optimizer(parameters: int, kind: str, clip: bool = False) -> Cost:
    """SGD reads the parameter and the gradient and writes the parameter; Adam reads and writes two moments more;
    clipping reads the gradients once more.
    """
    moments = {"SGD": 0, "Adam": 2, "AdamW": 2}[kind]
    return (array(parameters, 1, 1) + array(parameters, 2 if clip else 1, 0) + array(parameters * moments, 1, 1))


def elementwise(size: int, flops: int) -> Cost:
    """y = f(x), then dx of x and dy."""
    return Cost(flops=flops * size) + array(size, 2, 1) + array(size, 1, 1)
