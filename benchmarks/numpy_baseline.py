"""What fastdl is measured against: the same work in plain NumPy, written with care but without tricks.

Buffers are reused (out=), elementwise work is done in place, the input products of a recurrent layer are one matrix
product for all steps, and its weight gradients are one product at the end. Parameters are named and laid out as in
PyTorch. Everything works in float32 and float64.
"""

from __future__ import annotations

import numpy as np

GATES = {"rnn": 1, "gru": 3, "lstm": 4}


def sigmoid(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    out = np.negative(x, out=out)
    np.exp(out, out=out)
    out += 1
    return np.reciprocal(out, out=out)


def sigmoid_bwd(dy: np.ndarray, y: np.ndarray) -> np.ndarray:
    dx = 1 - y
    dx *= y
    dx *= dy
    return dx


def tanh_bwd(dy: np.ndarray, y: np.ndarray) -> np.ndarray:
    dx = y * y
    np.subtract(1, dx, out=dx)
    dx *= dy
    return dx


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def gelu(x: np.ndarray) -> np.ndarray:
    """The tanh form; NumPy has no erf."""
    inner = x * x
    inner *= 0.044715
    inner += 1
    inner *= x
    inner *= np.sqrt(2 / np.pi).astype(x.dtype)
    np.tanh(inner, out=inner)
    inner += 1
    inner *= x
    inner *= 0.5
    return inner


def conv2d(x: np.ndarray, w: np.ndarray, dy: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """3 x 3, padding 1: y, dx and dw by columns, one product for the whole batch each."""
    n, c, height, width = x.shape
    padded = np.zeros((n, c, height + 2, width + 2), x.dtype)
    padded[:, :, 1:-1, 1:-1] = x
    columns = np.empty((n, c, 3, 3, height, width), x.dtype)
    for i in range(3):
        for j in range(3):
            columns[:, :, i, j] = padded[:, :, i : i + height, j : j + width]
    columns = columns.reshape(n, c * 9, height * width)
    matrix, flat = w.reshape(len(w), -1), dy.reshape(n, len(w), -1)
    y = (matrix @ columns).reshape(dy.shape)
    dw = np.tensordot(flat, columns, ((0, 2), (0, 2))).reshape(w.shape)
    dcolumns = (matrix.T @ flat).reshape(n, c, 3, 3, height, width)
    padded[...] = 0
    for i in range(3):
        for j in range(3):
            padded[:, :, i : i + height, j : j + width] += dcolumns[:, :, i, j]
    return y, padded[:, :, 1:-1, 1:-1], dw


def logit_loss(x: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean binary cross-entropy of sigmoid(x), and its gradient."""
    e = np.exp(-np.abs(x))
    loss = np.log1p(e)
    loss += np.maximum(x, 0)
    loss -= x * target
    dx = np.where(x >= 0, np.float32(1), e)
    dx /= 1 + e
    dx -= target
    dx /= x.size
    return loss.mean(), dx


def softmax(x: np.ndarray) -> np.ndarray:
    y = x - x.max(axis=-1, keepdims=True)
    np.exp(y, out=y)
    y /= y.sum(axis=-1, keepdims=True)
    return y


def softmax_bwd(dy: np.ndarray, y: np.ndarray) -> np.ndarray:
    dx = dy * y
    dx -= y * dx.sum(axis=-1, keepdims=True)
    return dx


def log_softmax(x: np.ndarray) -> np.ndarray:
    y = x - x.max(axis=-1, keepdims=True)
    y -= np.log(np.exp(y).sum(axis=-1, keepdims=True))
    return y


def cross_entropy(logits: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean loss over the rows, and its gradient with respect to the logits."""
    rows = np.arange(len(target))
    shifted = logits - logits.max(axis=1, keepdims=True)
    picked = shifted[rows, target]
    np.exp(shifted, out=shifted)
    total = shifted.sum(axis=1, keepdims=True)
    loss = float((np.log(total[:, 0]) - picked).mean())
    shifted /= total
    shifted[rows, target] -= 1
    shifted /= len(target)
    return loss, shifted


def embedding_bwd(dout: np.ndarray, index: np.ndarray, rows: int) -> np.ndarray:
    dweight = np.zeros((rows, dout.shape[1]), dout.dtype)
    np.add.at(dweight, index, dout)
    return dweight


def one_hot(tokens: np.ndarray, size: int, dtype: type = np.float32) -> np.ndarray:
    return np.eye(size, dtype=dtype)[tokens]


class MLP:
    """Linear, ReLU, Linear, cross-entropy. Parameters: w1 (H, D), b1 (H,), w2 (V, H), b2 (V,)."""

    def __init__(self, params: dict[str, np.ndarray]) -> None:
        self.params = params

    def loss_and_grads(self, x: np.ndarray, target: np.ndarray) -> tuple[float, dict[str, np.ndarray]]:
        p = self.params
        hidden = x @ p["w1"].T
        hidden += p["b1"]
        np.maximum(hidden, 0, out=hidden)
        logits = hidden @ p["w2"].T
        logits += p["b2"]
        loss, dlogits = cross_entropy(logits, target)
        dhidden = dlogits @ p["w2"]
        dhidden *= hidden > 0
        return loss, {"w1": dhidden.T @ x, "b1": dhidden.sum(0), "w2": dlogits.T @ hidden, "b2": dlogits.sum(0)}

    def step(self, x: np.ndarray, target: np.ndarray, lr: float) -> float:
        loss, grads = self.loss_and_grads(x, target)
        sgd(self.params, grads, lr)
        return loss


class CharModel:
    """A recurrent layer over one-hot tokens, a linear layer, cross-entropy.

    Parameters: w_ih (G*H, V), w_hh (G*H, H), b_ih, b_hh (G*H,), w_out (V, H), b_out (V,); gates in PyTorch's order
    (gru: r z n, lstm: i f g o).
    """

    def __init__(self, kind: str, params: dict[str, np.ndarray]) -> None:
        self.kind, self.params = kind, params
        self.hidden = params["w_hh"].shape[1]
        self.vocab = params["w_out"].shape[0]
        self.dtype = params["w_hh"].dtype
        self._shape: tuple[int, int] | None = None

    def _reserve(self, t: int, n: int) -> None:
        if self._shape == (t, n):
            return
        self._shape = (t, n)
        h, g = self.hidden, GATES[self.kind]

        def empty(*shape: int) -> np.ndarray:
            return np.empty(shape, self.dtype)

        self.gi, self.gh, self.act = empty(t, n, g * h), empty(t, n, g * h), empty(t, n, g * h)
        self.dgi, self.dgh = empty(t, n, g * h), empty(t, n, g * h)
        self.y, self.c, self.tanh_c = empty(t + 1, n, h), empty(t + 1, n, h), empty(t, n, h)
        self.dh, self.dc, self.tmp, self.tmp2 = empty(n, h), empty(n, h), empty(n, h), empty(n, h)

    def loss_and_grads(self, tokens: np.ndarray, target: np.ndarray,
                       state: tuple[np.ndarray, ...]) -> tuple[float, dict[str, np.ndarray], tuple[np.ndarray, ...]]:
        """Mean loss of tokens (N, T) against target (N, T), all gradients, and the state after the last step.

        state: (h,) or, for the LSTM, (h, c); each (N, H).
        """
        n, t = tokens.shape
        p = self.params
        self._reserve(t, n)
        x = one_hot(tokens.T.ravel(), self.vocab, self.dtype)
        np.matmul(x, p["w_ih"].T, out=self.gi.reshape(t * n, -1))
        self.gi += p["b_ih"]
        self.y[0] = state[0]
        forward, backward = {"rnn": (self._rnn, self._rnn_bwd), "gru": (self._gru, self._gru_bwd),
                             "lstm": (self._lstm, self._lstm_bwd)}[self.kind]
        if self.kind == "lstm":
            self.c[0] = state[1]
        forward(t)
        flat = self.y[1:].reshape(t * n, -1)
        logits = flat @ p["w_out"].T
        logits += p["b_out"]
        loss, dlogits = cross_entropy(logits, target.T.ravel())
        grads = {"w_out": dlogits.T @ flat, "b_out": dlogits.sum(0)}
        dy = (dlogits @ p["w_out"]).reshape(t, n, -1)
        self.dh.fill(0)
        dgh = backward(t, dy)
        dgi_rows, dgh_rows = self.dgi.reshape(t * n, -1), dgh.reshape(t * n, -1)
        grads["w_ih"], grads["b_ih"] = dgi_rows.T @ x, dgi_rows.sum(0)
        grads["w_hh"], grads["b_hh"] = dgh_rows.T @ self.y[:t].reshape(t * n, -1), dgh_rows.sum(0)
        after = (self.y[t].copy(), self.c[t].copy()) if self.kind == "lstm" else (self.y[t].copy(),)
        return loss, grads, after

    def step(self, tokens: np.ndarray, target: np.ndarray, state: tuple[np.ndarray, ...], lr: float = 1.0,
             max_norm: float = 1.0) -> tuple[float, tuple[np.ndarray, ...]]:
        """One training step: gradients, clipping of their norm, SGD."""
        loss, grads, state = self.loss_and_grads(tokens, target, state)
        clip(grads, max_norm)
        sgd(self.params, grads, lr)
        return loss, state

    def _rnn(self, steps: int) -> None:
        w, b = self.params["w_hh"].T, self.params["b_hh"]
        for t in range(steps):
            out = self.y[t + 1]
            np.matmul(self.y[t], w, out=out)
            out += b
            out += self.gi[t]
            np.tanh(out, out=out)

    def _rnn_bwd(self, steps: int, dy: np.ndarray) -> np.ndarray:
        w, dh = self.params["w_hh"], self.dh
        for t in reversed(range(steps)):
            dh += dy[t]
            y, d = self.y[t + 1], self.dgi[t]
            np.multiply(y, y, out=d)
            np.subtract(1, d, out=d)
            d *= dh
            np.matmul(d, w, out=dh)
        return self.dgi

    def _gru(self, steps: int) -> None:
        w, b, h = self.params["w_hh"].T, self.params["b_hh"], self.hidden
        for t in range(steps):
            gi, gh, act, prev, out = self.gi[t], self.gh[t], self.act[t], self.y[t], self.y[t + 1]
            np.matmul(prev, w, out=gh)
            gh += b
            rz, cand = act[:, :2 * h], act[:, 2 * h:]
            np.add(gi[:, :2 * h], gh[:, :2 * h], out=rz)
            sigmoid(rz, out=rz)
            np.multiply(act[:, :h], gh[:, 2 * h:], out=cand)
            cand += gi[:, 2 * h:]
            np.tanh(cand, out=cand)
            np.subtract(prev, cand, out=out)  # h' = n + z (h - n)
            out *= act[:, h:2 * h]
            out += cand

    def _gru_bwd(self, steps: int, dy: np.ndarray) -> np.ndarray:
        w, h, dh, tmp = self.params["w_hh"], self.hidden, self.dh, self.tmp
        for t in reversed(range(steps)):
            r, z, cand = (self.act[t][:, i * h:(i + 1) * h] for i in range(3))
            dr, dz, dn = (self.dgi[t][:, i * h:(i + 1) * h] for i in range(3))
            dh += dy[t]
            np.subtract(1, z, out=tmp)
            np.subtract(self.y[t], cand, out=dz)
            dz *= dh
            dz *= z
            dz *= tmp
            tmp *= dh
            np.multiply(cand, cand, out=dn)
            np.subtract(1, dn, out=dn)
            dn *= tmp
            np.subtract(1, r, out=dr)
            dr *= r
            dr *= dn
            dr *= self.gh[t][:, 2 * h:]
            dgh = self.dgh[t]
            dgh[:, :2 * h] = self.dgi[t][:, :2 * h]
            np.multiply(dn, r, out=dgh[:, 2 * h:])
            dh *= z
            np.matmul(dgh, w, out=tmp)
            dh += tmp
        return self.dgh

    def _lstm(self, steps: int) -> None:
        w, b, h, tmp = self.params["w_hh"].T, self.params["b_hh"], self.hidden, self.tmp
        for t in range(steps):
            act, c = self.act[t], self.c[t + 1]
            np.matmul(self.y[t], w, out=act)
            act += b
            act += self.gi[t]
            i, f, g, o = (act[:, k * h:(k + 1) * h] for k in range(4))
            sigmoid(act[:, :2 * h], out=act[:, :2 * h])
            np.tanh(g, out=g)
            sigmoid(o, out=o)
            np.multiply(f, self.c[t], out=c)
            np.multiply(i, g, out=tmp)
            c += tmp
            np.tanh(c, out=self.tanh_c[t])
            np.multiply(o, self.tanh_c[t], out=self.y[t + 1])

    def _lstm_bwd(self, steps: int, dy: np.ndarray) -> np.ndarray:
        w, h, dh, dc, tmp = self.params["w_hh"], self.hidden, self.dh, self.dc, self.tmp
        dc.fill(0)
        for t in reversed(range(steps)):
            i, f, g, o = (self.act[t][:, k * h:(k + 1) * h] for k in range(4))
            di, df, dg, do = (self.dgi[t][:, k * h:(k + 1) * h] for k in range(4))
            tanh_c = self.tanh_c[t]
            dh += dy[t]
            np.multiply(tanh_c, tanh_c, out=tmp)
            np.subtract(1, tmp, out=tmp)
            tmp *= dh
            tmp *= o
            dc += tmp
            for d, gate, factor, other in ((di, i, dc, g), (df, f, dc, self.c[t]), (do, o, dh, tanh_c)):
                np.subtract(1, gate, out=d)
                d *= gate
                d *= factor
                d *= other
            np.multiply(g, g, out=dg)
            np.subtract(1, dg, out=dg)
            dg *= dc
            dg *= i
            dc *= f
            np.matmul(self.dgi[t], w, out=dh)
        return self.dgi


def clip(grads: dict[str, np.ndarray], max_norm: float) -> float:
    """Scales all gradients so that their common norm is at most max_norm; gives the norm before."""
    norm = float(np.sqrt(sum(float(np.dot(g.ravel(), g.ravel())) for g in grads.values())))
    if norm > max_norm:
        for g in grads.values():
            g *= max_norm / (norm + 1e-6)
    return norm


def sgd(params: dict[str, np.ndarray], grads: dict[str, np.ndarray], lr: float) -> None:
    """In place; the gradients are used up."""
    for name, p in params.items():
        grads[name] *= lr
        p -= grads[name]


class Adam:
    def __init__(self, params: dict[str, np.ndarray], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
                 eps: float = 1e-8) -> None:
        self.params, self.lr, self.betas, self.eps, self.count = params, lr, betas, eps, 0
        self.m = {name: np.zeros_like(p) for name, p in params.items()}
        self.v = {name: np.zeros_like(p) for name, p in params.items()}
        self.tmp = {name: np.empty_like(p) for name, p in params.items()}

    def step(self, grads: dict[str, np.ndarray]) -> None:
        self.count += 1
        b1, b2 = self.betas
        size = self.lr / (1 - b1**self.count)
        root = float(np.sqrt(1 - b2**self.count))
        for name, p in self.params.items():
            g, m, v, tmp = grads[name], self.m[name], self.v[name], self.tmp[name]
            m *= b1
            np.multiply(g, 1 - b1, out=tmp)
            m += tmp
            v *= b2
            np.multiply(g, g, out=tmp)
            tmp *= 1 - b2
            v += tmp
            np.sqrt(v, out=tmp)
            tmp /= root
            tmp += self.eps
            np.divide(m, tmp, out=tmp)
            tmp *= size
            p -= tmp


def gru_flops(n: int, t: int, hidden: int, vocab: int, gates: int = 3) -> int:
    """Multiplications and additions in the matrix products of one training step of a CharModel."""
    recurrent = 3 * 2 * t * n * gates * hidden * hidden  # forward, backward to the state, backward to the weights
    inputs = 2 * 2 * t * n * gates * hidden * vocab  # the one-hot input needs no gradient
    outputs = 3 * 2 * t * n * hidden * vocab
    return recurrent + inputs + outputs
