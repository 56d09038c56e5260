"""Every name of tests/api_names.txt, called with inputs of many kinds, here and in PyTorch.

A line of CALLS is an expression over `torch`, `F`, `nn`, ... and the inputs below. `calls()` makes variants of it: the
inputs empty, 0-d, not contiguous, broadcast, of other types; the method and the in-place method of the same name.
Marks: "-" the expression is run only as written, without gradients; "?" random, only types and shapes count.

`python tests/api_calls.py`, with PyTorch installed, writes tests/data/api_calls.npz: of each call the types, shapes,
what shares memory, the error; and of each output and gradient one weighted sum.
"""

from __future__ import annotations

import ast
import functools
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np

FILE = Path(__file__).parent / "data" / "api_calls.npz"
NAMES = Path(__file__).parent / "api_names.txt"
VERSION = "2.13"  # of PyTorch, whose results FILE holds

SIZES = {"x": (3, 5), "y": (3, 5), "z": (3, 5), "row": (5,), "col": (3, 1), "v": (3,), "w": (4, 5), "sq": (4, 4),
         "cube": (2, 3, 4), "cube2": (2, 4, 5), "b": (2, 3, 5), "image": (2, 4, 6, 7), "kernel": (3, 4, 2, 3),
         "signal": (2, 4, 9), "taps": (3, 4, 2), "frames": (9, 2, 5), "s": (), "tiles": (4, 5, 3)}  # fmt: skip
POSITIVE = {"p": (3, 5), "q": (3, 5), "pv": (5,)}
WHOLE = {"ids": (3, 5), "i1": (3,), "n": (3, 5), "m": (3, 5), "labels": (3,)}
_ALIASES = {"F": "nn.functional", "D": "distributions", "init": "nn.init", "data": "utils.data",
            "sched": "optim.lr_scheduler"}  # fmt: skip


@functools.cache
def inputs():
    """name -> array; floats are exact in float32."""
    rng = np.random.default_rng(11)
    made = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in SIZES.items()}
    made |= {name: rng.uniform(0.2, 0.9, shape).astype(np.float32) for name, shape in POSITIVE.items()}
    made |= {"ids": rng.integers(0, 3, (3, 5)), "i1": np.array([2, 0, 2]), "n": rng.integers(-4, 5, (3, 5)),
             "m": rng.integers(1, 6, (3, 5)), "labels": np.array([4, 0, 3]),
             "mask": rng.random((3, 5)) < 0.5, "mask2": rng.random((3, 5)) < 0.5,
             "signs": np.array([1.0, -1.0, 1.0], np.float32), "holes": made["x"].copy(),
             "words": np.array([[1, 2], [3, 3]])}  # fmt: skip
    made["holes"][[0, 1, 2], [1, 3, 0]] = np.nan, np.inf, -np.inf
    return made


_UNARY = ("neg exp abs tanh sigmoid ceil floor round trunc sign cos sin tan erf expm1 square reciprocal "
          "logical_not relu isfinite isinf isnan cosh sinh").split()  # fmt: skip
_BINARY = ("add sub mul div eq ne lt le gt ge atan2 fmod remainder floor_divide maximum minimum logaddexp logical_and "
           "logical_or logical_xor isclose allclose equal rsub").split()
_ACTIVATIONS = ("relu gelu leaky_relu elu silu softplus hardtanh hardswish selu celu logsigmoid relu6 mish softsign "
                "tanhshrink").split()  # fmt: skip
_MODULES = ("ReLU LeakyReLU ELU Sigmoid Tanh GELU SiLU Softplus SELU Hardswish Hardtanh LogSigmoid Mish Softsign CELU "
            "ReLU6").split()  # fmt: skip

CALLS = {
    "elementwise": [
        *(f"torch.{name}(x)" for name in _UNARY), *(f"torch.{name}(p)" for name in "log sqrt rsqrt log1p log2".split()),
        "torch.log10(p)", "torch.isnan(holes)", "torch.isinf(holes)", "torch.isfinite(holes)", "torch.nan_to_num(holes)",
        "torch.nan_to_num(holes, nan=2.0, posinf=1.0, neginf=-1.0)", "torch.round(x, decimals=1)",
        *(f"torch.{name}({a})" for name in _BINARY for a in ("x, y", "x, row", "col, row", "x, s")),
        *(f"torch.{name}(x, {b})" for name in "add sub mul div eq ne lt le gt ge fmod remainder floor_divide rsub".split()
          for b in ("2", "1.5", "True")),
        "torch.add(x, y, alpha=2)", "torch.sub(y, x, alpha=0.5)", "torch.div(x, p, rounding_mode='floor')",
        "torch.div(x, p, rounding_mode='trunc')", "torch.pow(p, y)", "torch.pow(x, 2)", "torch.pow(p, 0.5)",
        "torch.pow(2, x)", "torch.pow(x, row)", "torch.pow(p, -1)", "torch.xlogy(p, q)", "torch.xlogy(x, p)",
        "torch.clamp(x, -0.5, 0.5)", "torch.clamp(x, min=0)", "torch.clamp(x, max=row)", "torch.clamp(x)",
        "torch.clamp_min(x, 0.1)", "torch.clamp_max(x, 0)", "torch.clamp_max(x, row)", "torch.lerp(x, y, 0.3)",
        "torch.lerp(x, y, p)", "torch.lerp(x, row, p)", "torch.addcmul(x, y, z)", "torch.addcmul(x, row, col, value=2)",
        "torch.addcdiv(x, y, p, value=-0.5)", "torch.addcdiv(x, row, p)",
        "torch.where(mask, x, y)", "torch.where(mask, x, 0.0)", "torch.where(mask, 1, x)", "torch.where(mask, row, col)",
        "torch.where(mask)", "torch.where(condition=mask, input=x, other=s)", "torch.masked_fill(x, mask, 2.0)",
        "torch.masked_fill(x, mask, s)", "torch.masked_fill(row, mask, 1)",
        *(f"torch.bitwise_{name}({a})" for name in ("and", "or", "xor")
          for a in ("n, m", "n, 3", "mask, mask2", "n, mask", "x, m")),
        "torch.bitwise_not(n)", "torch.bitwise_not(mask)", "torch.bitwise_not(x)",
        "torch.add(input=x, other=y)", "torch.sub(other=x, input=y)", "torch.isclose(x, y, atol=1.0)",
        "torch.isclose(holes, holes, equal_nan=True)", "torch.allclose(x, x, rtol=0)", "torch.equal(x, row)",
        "torch.isin(n, m)", "torch.isin(x, row)", "torch.isin(n, 2)", "torch.isin(n, m, invert=True)",
        "torch.add(x, w)", "torch.add(x, 'a')", "torch.add(x)", "torch.add(x, None)",
    ],
    "operators": [
        *(f"x {op} y" for op in ("+", "-", "*", "/", "==", "!=", "<", ">", "<=", ">=", "//", "%")), "p ** q", "x ** 2",
        *(f"{left} {op} x" for op in ("+", "-", "*", "/", "//", "%") for left in ("2", "1.5", "True")),
        "2 ** x", "x @ w.T", "torch.Tensor.__rmatmul__(w.T, x)", "-x", "abs(x)", "~mask", "~n", "mask & mask2", "n | m",
        "n ^ 3", "3 & n", "x is None", "-mask", "~x", "torch.Tensor.__rdiv__(x, 2)", "torch.Tensor.__rdiv__(x, y)",
        "torch.Tensor.__radd__(x, 1)", "torch.Tensor.__rsub__(x, row)", "torch.Tensor.__rpow__(p, 2)",
        *(f"inplace(x * 1, '{op}', {b})" for op in ("+=", "-=", "*=", "/=") for b in ("y", "row", "2", "w", "s")),
        "-[float(x[0, 0]), int(n[0, 0]), bool(mask[0, 0]), len(x), f'{x[0, 0]:.2f}', x.tolist(), s.item()]",
        *(f"-{f}(x)" for f in ("float", "int", "bool", "len")), "-len(s)", "-bool(torch.ones(1))", "-bool(x[:0])",
        "-repr(x)", "-repr(x.shape)", "-repr(nn.Parameter(x.detach()))", "-str(n)", "-f'{s:.3f}'", "-f'{x}'",
        "-[r for r in x]", "-list(iter(s))", "-np.asarray(x.detach())", "-x.detach().numpy()", "-x.numpy()",
        "-x.item()", "-torch.tensor(3).item()", "-x.tolist()", "-x.dtype", "-x.device", "-x.ndim", "-x.dim()",
        "-x.size()", "-x.size(-1)", "-x.size(2)", "-x.shape", "-x.numel()", "-x.requires_grad", "-torch.is_tensor(x)",
        "-torch.is_tensor(3)", "-torch.device('cpu')", "-torch.cuda.device_count()", "-x.type()", "x.type(torch.float64)",
        "x.type('torch.DoubleTensor')", "x.data", "x.detach()", "(x * 2).detach_()", "x.clone()", "torch.clone(x)",
        "x.cpu()", "-x.cuda()", "x.to('cpu')", "x.to(torch.float64)", "x.to(y)", "x.to('cpu', torch.int64)",
        "x.to(dtype=torch.float32, copy=True)", "x.float()", "x.double()", "x.long()", "x.int()", "x.bool()",
        "holes.bool()", "x.half()", "x.short()", "x.type_as(n)", "-x.grad", "-x.requires_grad_().requires_grad",
        "-n.requires_grad_()", "-[x.detach().requires_grad_(), x.is_leaf]", "-torch.float32", "-torch.long",
        "-torch.int32", "-torch.bool", "-torch.FloatTensor([1, 2])", "-torch.FloatTensor(2, 3).shape",
        "-torch.from_numpy(np.arange(6).reshape(2, 3))", "-torch.from_numpy([1])", "-x.register_hook(lambda g: g * 2)",
        "hooked(x)", "-n.register_hook(print)", "(x * 1).copy_(y)", "(x * 1).copy_(row)", "(x * 1).copy_(n)",
        "(x * 1).copy_(w)", "(n * 1).copy_(x.detach())", "(x * 1).zero_()", "(x * 1).fill_(2)", "(x * 1).fill_(s)",
        "x.fill_(2)", "x.detach().zero_()", "(x * 1).sub_(y, alpha=3)", "?x.detach().normal_(1, 2)",
        "?n.normal_()", "backward(x.sum())", "backward((x * 2).sum(), retain_graph=True)", "-x.backward()",
        "-n.sum().backward()", "-x.detach().sum().backward()", "-autograd.grad((x * x).sum(), x)",
        "-autograd.grad((x * x).sum(), [x, y], allow_unused=True)", "-autograd.grad((x * x).sum(), y)",
        "-autograd.grad(x * x, x)", "-autograd.grad(autograd.grad((x ** 3).sum(), x, create_graph=True)[0].sum(), x)",
        "-autograd.gradcheck(lambda a: a.sin() * a, (x.double(),))", "-twice(autograd.Function, x)",
        "-under(torch.no_grad(), x)", "-under(torch.enable_grad(), x)", "-under(torch.inference_mode(), x)",
        "-[torch.manual_seed(3).initial_seed(), torch.Generator().manual_seed(4).initial_seed()]",
        "-[torch.set_num_threads(1), torch.get_num_threads()]", "-torch.set_num_threads(0)",
        "-[torch.set_printoptions(precision=2), repr(x), torch.set_printoptions(profile='default')]",
        "-[torch.set_default_dtype(torch.float64), torch.get_default_dtype(), torch.ones(2), "
        "torch.set_default_dtype(torch.float32)]", "-torch.set_default_dtype(torch.int64)",
    ],
    "make": [
        *(f"-torch.{name}({a})" for name in ("zeros", "ones", "empty")
          for a in ("2, 3", "(2, 3)", "[2]", "()", "2, dtype=torch.int64", "-1", "2.5", "size=(2, 1)", "3, device='cpu'")
          if name != "empty" or "-1" in a or "2.5" in a),
        "-torch.zeros(2, requires_grad=True)", "-torch.zeros(2, requires_grad=True, dtype=torch.int64)",
        *(f"torch.{name}_like({a})" for name in ("zeros", "ones") for a in ("x", "n", "x, dtype=torch.int32", "mask")),
        "torch.full_like(x, 3)", "torch.full_like(n, 2.5)", "-torch.full((2, 3), 7)", "-torch.full((2,), 1.5)",
        "-torch.full((2,), True)", "-torch.full((2,), 3, dtype=torch.float64)", "-torch.full(2, 3)",
        *(f"-torch.arange({a})" for a in ("5", "2, 5", "1, 2, 0.3", "5, 1, -2", "3.0", "5, 1", "0, 3, 0", "1, 4, "
          "dtype=torch.float32, requires_grad=True", "end=4", "True", "4, device='cpu'")),
        *(f"-torch.linspace({a})" for a in ("0, 1, 5", "3, -2, 4", "0, 1, 1", "0, 1, 0", "0, 10, 4, dtype=torch.int64",
                                            "0, 1, -1", "0, 1, steps=3")),
        *(f"-torch.eye({a})" for a in ("3", "2, 4", "0", "3, dtype=torch.int64", "-1")),
        *(f"-torch.tensor({a})" for a in ("1", "1.5", "True", "[[1, 2], [3, 4]]", "[]", "[1, 2.5]", "[True, 2]",
          "[1, 2], dtype=torch.float64", "'a'", "[[1], [2, 3]]", "None", "np.arange(3)", "np.float64(2)",
          "[1.0], requires_grad=True, device='cpu'", "[1], requires_grad=True", "x.detach()")),
        *(f"?torch.{name}({a})" for name in ("rand", "randn") for a in ("2, 3", "(2, 3)", "()", "2, dtype=torch.float64",
          "size=(1, 2), requires_grad=True", "2, dtype=torch.int64", "-2")),
        *(f"?torch.randint({a})" for a in ("5, (2, 3)", "1, 4, (2,)", "0, 2, (3,), dtype=torch.float32", "4, 2, (2,)",
                                           "5, ()", "low=1, high=3, size=(2,)")),
        *(f"?torch.normal({a})" for a in ("0.0, 1.0, (2, 3)", "mean=0, std=1, size=(2,), requires_grad=True",
          "x.detach(), p.detach()", "x.detach(), 1.0", "2.0, p.detach()", "0, -1.0, (2,)")),
        *(f"?torch.multinomial({a})" for a in ("p.detach(), 3", "p.detach(), 9", "pv.detach(), 9, replacement=True",
          "x.detach(), 1", "p.detach(), 0", "num_samples=2, input=pv.detach()", "n, 1", "cube.abs().detach(), 1")),
        *(f"x.new_{name}" for name in ("full((2, 3), 7)", "ones(2, 3)", "ones((2,), dtype=torch.int64)", "zeros(())",
          "zeros(2, requires_grad=True).detach()", "full((2,), 1.5, dtype=torch.int32)")), "?x.new_empty((2, 3))",
        "?x.new_empty(4)", "torch.meshgrid(row, v, indexing='ij')", "torch.meshgrid(row, v, indexing='xy')",
        "torch.meshgrid([row, s], indexing='ij')", "torch.meshgrid(x, v, indexing='ij')",
        "?distributions.multinomial.Multinomial(10, pv.detach()).sample()",
        "?distributions.multinomial.Multinomial(10, p.detach()).sample((4,))", "?distributions.Normal(x, p).sample()",
        "-torch.distributions.__name__.split('.')[-1]",
    ],
    "reduce": [
        *(f"torch.{name}(x{a})" for name in "sum mean prod amax amin var std logsumexp any all count_nonzero".split()
          for a in ("", ", 1", ", dim=-1, keepdim=True", ", (0, 1)", ", dim=0", ", 2", ", dim=(0, 0)", ", axis=0")
          if not (name == "count_nonzero" and "keepdim" in a)),
        "torch.sum(cube, (0, 2))", "torch.mean(cube, (-1, 0), True)", "torch.sum(x, dtype=torch.float64)",
        "torch.sum(x, 1, keepdims=True)", "torch.mean(n)", "torch.mean(n, dtype=torch.float32)", "torch.sum(mask)",
        "torch.sum(n, 0)", "torch.prod(n, 1)", "torch.var(x, unbiased=False)", "torch.var(x, 1, correction=2)",
        "torch.std(x, 0, False)", "torch.var_mean(x)", "torch.var_mean(x, 1, keepdim=True)", "torch.std_mean(x, 0)",
        "torch.std_mean(x, dim=1, correction=0)", "torch.sum(dim=1, input=x)", "torch.sum(x, None)", "torch.sum(x, ())",
        *(f"torch.{name}(x{a})" for name in "max min argmax argmin median".split()
          for a in ("", ", 1", ", dim=-1, keepdim=True", ", dim=0", ", 2")),
        "torch.max(x, y)", "torch.min(x, row)", "torch.max(n, 0)", "torch.argmax(x, keepdim=True)", "torch.max(holes, 1)",
        *(f"torch.{name}(x{a})" for name in "cumsum cumprod cummax cummin".split() for a in (", 1", ", dim=-2", ", 2", "")),
        "torch.cumsum(x, 0, dtype=torch.float64)", "torch.cumsum(n, 1)", "torch.cumsum(mask, axis=1)",
        *(f"torch.norm(x{a})" for a in ("", ", 1", ", 2, 1", ", p=3, dim=0, keepdim=True", ", float('inf')",
          ", float('-inf'), 1", ", 'fro'", ", dim=1", ", 0", ", 'nuc2'")), "torch.norm(n)",
        *(f"torch.quantile(x{a})" for a in (", 0.3", ", row[:2].detach().sigmoid(), dim=1", ", 0.5, 0, True", ", 2.0",
          ", 0.4, dim=1, interpolation='lower'")), "torch.kthvalue(x, 2)", "torch.kthvalue(x, 1, 0, True)",
        "torch.kthvalue(x, 6)", "torch.trace(sq)", "torch.trace(w)", "torch.trace(row)", "torch.softmax(x, 1)",
        "torch.softmax(x, dim=0, dtype=torch.float64)", "torch.log_softmax(x, -1)", "torch.softmax(x, 3)",
        "torch.logsumexp(x, (0, 1))", "torch.bincount(i1)", "torch.bincount(i1, minlength=5)", "torch.bincount(n)",
        "torch.bincount(i1, v.detach())", "torch.unique(n)", "torch.unique(n, return_inverse=True, return_counts=True)",
        "torch.unique(n, dim=0)", "torch.unique(x.detach())", "torch.diff(x)", "torch.diff(x, 2, 0)",
        "torch.diff(x, dim=1, prepend=col)", "torch.diff(n)", "torch.diff(mask)",
        "torch.searchsorted(torch.sort(row.detach())[0], x.detach())", "torch.searchsorted(torch.sort(n)[0], m, right=True)",
        "torch.searchsorted(torch.sort(row.detach())[0], 0.3)",
    ],
    "shape": [
        *(f"torch.reshape(x{a})" for a in (", (5, 3)", ", (-1,)", ", [15]", ", (2, 7)", ", (-1, -1)", ", shape=(1, 15)")),
        "x.reshape(5, 3)", "x.reshape(-1, 1)", "x.view(5, 3)", "x.view((15,))", "x.view(-1)", "x.view(4)", "x.view_as(w)",
        "x.view_as(b[0])", "x.view(torch.int32)", "torch.permute(cube, (2, 0, 1))", "cube.permute(-1, 0, 1)",
        "cube.permute(0, 1)", "cube.permute(0, 0, 1)", "torch.transpose(cube, 0, -1)", "torch.transpose(x, 0, 2)",
        "torch.transpose(dim0=0, dim1=1, input=x)", "torch.t(x)", "torch.t(row)", "torch.t(cube)", "x.T", "row.T", "x.mT",
        "torch.swapaxes(cube, 0, 1)", "torch.movedim(cube, 0, 2)", "torch.movedim(cube, (0, 1), (-1, 0))",
        "torch.movedim(cube, (0, 1), (0, 0))", "torch.unsqueeze(x, 0)", "torch.unsqueeze(x, -1)", "torch.unsqueeze(x, 3)",
        "torch.unsqueeze(x, dim=2)", "torch.squeeze(col)", "torch.squeeze(col, 1)", "torch.squeeze(col, dim=0)",
        "torch.squeeze(col[None], (0, -1))", "torch.squeeze(x, 2)", "col.expand(3, 4)", "col.expand(2, -1, 4)",
        "row.expand((3, 5))", "x.expand(3)", "x.expand(-1, 4)", "row.expand(-1, 3, 5)", "x.expand_as(b)", "x.expand_as(w)",
        "torch.broadcast_to(col, (2, 3, 4))", "torch.broadcast_to(x, (3, 4))", "x.repeat(2, 1)", "x.repeat((2, 1, 2))",
        "x.repeat(2)", "x.repeat(0, 2)", "torch.tile(x, (2,))", "torch.tile(x, (2, 1, 3))", "x.tile(2, 2)",
        "torch.repeat_interleave(x, 2)", "torch.repeat_interleave(x, repeats=2, dim=1)",
        "torch.repeat_interleave(x, i1, 0)", "torch.repeat_interleave(x, i1, dim=1)", "torch.repeat_interleave(i1)",
        "torch.repeat_interleave(x, -1)", "torch.cat((x, y))", "torch.cat([x, col], 1)", "torch.cat((x, w), dim=-2)",
        "torch.cat([x, n], axis=0)", "torch.cat([x, row])", "torch.cat([])", "torch.cat([x, x[:, :0]], 1)",
        "torch.cat((x, y), 2)", "torch.cat([torch.zeros(0), x])", "torch.stack((x, y), -1)", "torch.stack([x, w])",
        "torch.stack([x, n])", "torch.stack([s, s])", "torch.stack((x, y), 4)", "torch.hstack((x, col))",
        "torch.hstack((row, v))", "torch.hstack((s, s))", "torch.vstack((x, row))", "torch.vstack((x, w))",
        "torch.vstack((x, col))", "torch.chunk(x, 2)", "torch.chunk(x, 2, 1)", "torch.chunk(x, 9, -1)", "torch.chunk(x, 0)",
        "torch.split(x, 2, 1)", "torch.split(x, [1, 4], dim=1)", "torch.split(x, [1, 1], 1)", "torch.split(x, 0)",
        "torch.split(x, -1)", "torch.split_with_sizes(x, [2, 1])", "torch.split_with_sizes(x, [2, 2])",
        "torch.tensor_split(x, 2)", "torch.tensor_split(x, (1, 3), dim=1)", "torch.tensor_split(x, 4, -1)",
        "torch.tensor_split(x, 0)", "torch.unbind(x)", "torch.unbind(x, 1)", "torch.unbind(s)", "torch.flatten(cube)",
        "torch.flatten(cube, start_dim=1)", "torch.flatten(cube, 0, -2)", "torch.flatten(cube, 2, 1)", "torch.ravel(cube)",
        "torch.ravel(sq.T)", "torch.flatten(s)", "torch.unflatten(image, 1, (2, 2))", "torch.unflatten(x, -1, (5, -1))",
        "torch.unflatten(x, 1, (2, 2))", "torch.narrow(x, 1, 1, 3)", "torch.narrow(x, 0, -2, 2)", "torch.narrow(x, 1, 3, 3)",
        "torch.select(x, 1, -1)", "torch.select(x, 0, 3)", "torch.select(cube, dim=1, index=2)", "torch.flip(x, (0,))",
        "torch.flip(cube, [0, -1])", "cube.flip(1, 2)", "torch.flip(x, (0, 0))", "torch.roll(x, 1)",
        "torch.roll(x, (1, -2), (0, 1))", "torch.roll(x, 2, 1)", "torch.roll(x, (1, 2), 0)", "torch.diag(row)",
        "torch.diag(sq)", "torch.diag(w, 1)", "torch.diag(v, -1)", "torch.diag(cube)", "torch.diagonal(sq)",
        "torch.diagonal(cube, 1, 1, 2)", "torch.diagonal(cube, dim1=0, dim2=-1, offset=-1)", "torch.diagonal(x, 0, 0, 0)",
        "torch.diagonal(row)", "torch.diag_embed(x)", "torch.diag_embed(x, 1, 0, -1)", "torch.diag_embed(row, -2)",
        "torch.tril(x)", "torch.triu(sq, 1)", "torch.tril(cube, -1)", "torch.triu(x, diagonal=-2)", "torch.tril(row)",
        "torch.outer(row, v)", "torch.outer(x, v)",
        *(f"x[{i}]" for i in ("0", "-1", "3", "1, 2", ":, 1", "::2, 1:", "...", "None", "..., None", "i1", "mask",
          "[0, 2]", "i1, i1", "i1[:, None], [0, 1]", "mask[:, 0]", "mask[0]", "0, 0, 0", "n > 0", "1:1", "::-1", "'a'",
          "1.5", "True", "torch.tensor(1)", "row.detach()")),
        *(f"setitem(x * 1, {i})" for i in ("0, 1.0", "slice(None), row", "(1, 2), 9", "(slice(0, 2), slice(None)), 12",
          "i1, y", "mask, 0", "mask, s", "(i1, i1), v", "..., y", "0, w", "3, 1", "0, 'a'", "n > 0, 2", "0, n[0]")),
    ],
    "index": [
        "torch.gather(x, 1, ids)", "torch.gather(x, 0, ids[:2])", "torch.gather(x, dim=-1, index=ids)",
        "torch.gather(x, 1, m)", "torch.gather(x, 2, ids)", "torch.gather(x, 1, i1)", "torch.gather(x, 1, x)",
        "torch.index_select(x, 0, i1)", "torch.index_select(x, -1, index=i1)", "torch.index_select(x, 1, ids)",
        "torch.index_select(x, 0, labels)", "torch.index_select(x, 0, i1[0])", "torch.take(x, n.abs())",
        "torch.take(x, labels)", "torch.take(x, labels * 9)", "torch.take_along_dim(x, ids, 1)",
        "torch.take_along_dim(x, n.abs() * 3)", "torch.take_along_dim(x, ids[:1], dim=0)", "torch.masked_select(x, mask)",
        "torch.masked_select(row, mask)", "torch.masked_select(x, n)", "x.masked_scatter(mask, y)",
        "torch.masked_scatter(x, mask, row)", "torch.index_add(x, 0, i1, y)", "torch.index_add(x, 0, i1, y, alpha=2)",
        "torch.index_add(x, 1, i1, y)", "torch.index_copy(x, 0, i1[:2], y[:2])", "torch.index_copy(x, 1, i1[:2], y)",
        "torch.index_fill(x, 1, i1, 3)", "torch.index_fill(x, 0, i1, s)", "torch.index_fill(x, 1, labels * 2, 3.0)",
        "torch.index_put(x, (i1[:2], labels[:2]), v[:2])", "torch.index_put(x, (i1,), y, accumulate=True)",
        "torch.index_put(x, (mask,), s)", "torch.scatter(x, 1, ids[:, :1], y)", "torch.scatter(x, 0, ids, 2.0)",
        "torch.scatter(x, 1, m, y)", "x.scatter(1, ids[:, :1], 1.0, reduce='add')", "torch.scatter_add(x, 1, ids, y)",
        "torch.scatter_add(x, 0, ids[:2], y)", "torch.scatter_add(x, 1, i1, y)",
        *(f"torch.scatter_reduce(x, {d}, ids, y, {how!r})" for d in (0, 1) for how in "sum prod mean amax amin".split()),
        "torch.scatter_reduce(x, 1, ids, y, 'mean', include_self=False)", "torch.scatter_reduce(x, 1, ids, y, 'max')",
        "torch.sort(x)", "torch.sort(x, 0, True)", "torch.sort(x, dim=-1, descending=True)", "torch.sort(n, stable=True)",
        "torch.sort(x, 2)", "torch.argsort(x)", "torch.argsort(x, 0, descending=True)", "torch.topk(x, 2)",
        "torch.topk(x, k=2, dim=0, largest=False)", "torch.topk(x, 6)", "torch.topk(x, 0)", "torch.topk(n, 5)",
        "torch.topk(x, 2, 3)", "torch.nonzero(n)", "torch.nonzero(x, as_tuple=True)", "torch.nonzero(s)",
        "torch.argwhere(mask)", "torch.fill(x, 2)", "torch.fill(x, s)", "F.one_hot(ids)", "F.one_hot(ids, 4)",
        "F.one_hot(ids, num_classes=2)", "F.one_hot(n)", "F.one_hot(x)",
    ],
    "products": [
        "torch.matmul(x, w.T)", "torch.matmul(row, row)", "torch.matmul(x, row)", "torch.matmul(v, x)",
        "torch.matmul(cube, cube2)", "torch.matmul(cube, sq)", "torch.matmul(x, cube2.mT)", "torch.matmul(x, y)",
        "torch.matmul(s, x)", "torch.matmul(cube2, row)", "torch.mm(x, w.T)", "torch.mm(x, row)", "torch.mm(x, w)",
        "torch.bmm(cube, cube2)", "torch.bmm(cube, sq)", "torch.bmm(cube, cube)", "torch.mv(x, row)", "torch.mv(x, v)",
        "torch.dot(row, row)", "torch.dot(row, v)", "torch.dot(x, y)", "torch.mm(mat2=w.T, input=x)",
        "torch.addmm(sq[:3], x, w.T)", "torch.addmm(s, x, w.T, beta=0.5, alpha=2)", "torch.addmm(row, x, w.T)",
        "torch.addmm(col, x, w.T, beta=0)", "torch.baddbmm(b, cube, cube2)", "torch.baddbmm(row, cube, cube2, alpha=0.5)",
        "torch.baddbmm(cube, cube, cube2)", "torch.addbmm(x, cube, cube2)", "torch.addbmm(x, cube, cube2, beta=2, alpha=3)",
        "torch.addmv(v, x, row)", "torch.addmv(s, x, row, beta=2)", "torch.addmv(row, x, row)", "torch.addr(x, v, row)",
        "torch.addr(s, v, row, beta=2, alpha=0.5)", "torch.addr(x, row, v)", "torch.einsum('ij,kj->ik', x, w)",
        "torch.einsum('ij->ji', x)", "torch.einsum('bij,bjk', cube, cube2)", "torch.einsum('ii', sq)",
        "torch.einsum('...j,j->...', cube2, row)", "torch.einsum('ij,jk->ik', x, w)", "torch.einsum('i,j', [v, row])",
        "torch.einsum('ij->k', x)", "torch.tensordot(x, w, ([1], [1]))", "torch.tensordot(cube, sq, 1)",
        "torch.tensordot(row, v, 0)", "torch.tensordot(x, w, 1)",
    ],
    "functional": [
        *(f"F.{name}(x)" for name in _ACTIVATIONS), "F.gelu(x, approximate='tanh')", "F.leaky_relu(x, 0.2)",
        "F.elu(x, 0.5)", "F.softplus(x, 2, 1.5)", "F.hardtanh(x, -0.5, 0.3)", "F.celu(x, 0.4)", "F.glu(cube)",
        "F.glu(cube, 1)", "F.glu(image, dim=1)", "F.prelu(x, row)", "F.prelu(x, s)", "F.prelu(image, row[:4])",
        "F.prelu(x, v)", "F.threshold(x, 0.1, -2.0)", "F.softmax(x, dim=1)", "F.softmax(x, 0, dtype=torch.float64)",
        "F.softmin(x, 1)", "F.log_softmax(x, 0)", "F.relu(x, inplace=False)", "F.gelu(x, approximate='no')",
        "F.linear(x, w)", "F.linear(cube2, w, sq[0])", "F.linear(row, w)", "F.linear(x, y, v)", "F.linear(x, sq)",
        "F.linear(x, row)", "F.linear(bias=sq[0], weight=w, input=x)", "F.bilinear(x, v.expand(3, 3), tiles.mT.mT)",
        "F.bilinear(x, sq[:3, :3], tiles)", "F.bilinear(x, sq[:3, :3], tiles, sq[0])", "F.bilinear(x, x, tiles)",
        *(f"F.{name}(x, y{a})" for name in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")
          for a in ("", ", reduction='none'", ", reduction='sum'", ", reduction='all'")), "F.mse_loss(x, row)",
        "F.smooth_l1_loss(x, y, beta=0.4)", "F.huber_loss(x, y, delta=0.3)", "F.mse_loss(x, w)",
        *(f"F.cross_entropy(x, labels{a})" for a in ("", ", reduction='none'", ", reduction='sum', label_smoothing=0.2",
          ", weight=pv.detach()", ", ignore_index=0")), "F.cross_entropy(x, p)", "F.cross_entropy(row, labels[0])",
        "F.cross_entropy(cube.mT, ids[:2, :3])", "F.cross_entropy(x, labels * 2)", "F.cross_entropy(x, labels[:2])",
        "F.cross_entropy(x, labels, label_smoothing=2.0)", "F.nll_loss(x.log_softmax(1), labels)",
        "F.nll_loss(x, labels, pv.detach(), reduction='none')", "F.nll_loss(x, labels, ignore_index=4, reduction='sum')",
        "F.nll_loss(x, labels[:2])", "F.nll_loss(x, v)", "F.binary_cross_entropy_with_logits(x, p)",
        "F.binary_cross_entropy_with_logits(x, p, weight=q.detach(), reduction='none')",
        "F.binary_cross_entropy_with_logits(x, p, pos_weight=pv.detach(), reduction='sum')",
        "F.binary_cross_entropy_with_logits(x, row)", "F.binary_cross_entropy(p, q)",
        "F.binary_cross_entropy(p, q, q.detach(), reduction='none')", "F.binary_cross_entropy(p, pv)",
        "F.binary_cross_entropy(x, p)", "F.kl_div(x, p)", "F.kl_div(x, y, reduction='batchmean', log_target=True)",
        "F.kl_div(x, p, reduction='none')", "F.kl_div(x, pv, reduction='sum')",
        "F.margin_ranking_loss(v, v * v, signs, 0.2)", "F.margin_ranking_loss(x, y, signs)",
        "F.cosine_embedding_loss(x, y, signs, 0.1)", "F.cosine_embedding_loss(x, row, signs)",
        "F.hinge_embedding_loss(v, signs, 0.5, reduction='none')", "F.triplet_margin_loss(x, y, z)",
        "F.triplet_margin_loss(x, y, z, 0.3, p=1, swap=True, reduction='none')", "F.triplet_margin_loss(x, row, z)",
        "F.pairwise_distance(x, y)", "F.pairwise_distance(x, row, 1, keepdim=True)", "F.cosine_similarity(x, y)",
        "F.cosine_similarity(x, row, dim=-1)", "F.cosine_similarity(x, w)", "F.normalize(x)", "F.normalize(x, 1, 0)",
        "F.normalize(row, dim=0)", "F.normalize(x, dim=3)", "F.embedding(ids, w)", "F.embedding(i1[0], w)",
        "F.embedding(ids, w, padding_idx=1)", "F.embedding(m, w)", "F.embedding(x, w)", "F.embedding(ids, row)",
        "F.embedding(ids, w, max_norm=None, scale_grad_by_freq=True)", "F.embedding_bag(ids, w)",
        *(f"F.embedding_bag(ids, w, mode={how!r})" for how in ("sum", "mean", "max", "min")),
        "F.embedding_bag(i1, w, torch.tensor([0, 2]), mode='sum')", "F.embedding_bag(i1, w)",
        "F.embedding_bag(ids, w, mode='sum', per_sample_weights=p)", "F.layer_norm(x, (5,))",
        "F.layer_norm(cube, (3, 4), eps=0.1)", "F.layer_norm(x, (5,), row, row * 2)", "F.layer_norm(x, (4,))",
        "F.layer_norm(x, [5], weight=v)", "F.rms_norm(x, (5,))", "F.rms_norm(x, (5,), row, 0.1)", "F.rms_norm(x, (3,))",
        "F.group_norm(image, 2)", "F.group_norm(image, 4, sq[0], sq[1])", "F.group_norm(image, 3)", "F.group_norm(x, 5)",
        "F.batch_norm(x, None, None, training=True)", "F.batch_norm(image, sq[0].detach(), sq[1].detach() ** 2)",
        "F.batch_norm(x, None, None, row, row * 2, True)", "F.batch_norm(x, None, None)",
        "F.batch_norm(signal, None, None, training=True, eps=0.1)", "F.batch_norm(row, None, None, training=True)",
        "F.pad(x, (1, 2))", "F.pad(x, (1, -1, 0, 2), value=3)", "F.pad(cube, (1, 2), mode='reflect')",
        "F.pad(cube, (2, 0), 'replicate')", "F.pad(cube, (1, 1), mode='circular')", "F.pad(x, (1,))", "F.pad(x, (1, 1) * 3)",
        "F.pad(cube, (4, 0), 'reflect')", "F.pad(x, (-3, -3))", "F.pad(image, (1, 1, 2, 2), 'reflect')",
        "F.scaled_dot_product_attention(cube2, cube2 * 2, cube2 * 3)",
        "F.scaled_dot_product_attention(b, cube2, cube2, sq[:3] > 0)",
        "F.scaled_dot_product_attention(b, cube2, cube2, sq[:3], scale=0.3)",
        "F.scaled_dot_product_attention(cube2, cube2, cube2, is_causal=True)",
        "F.scaled_dot_product_attention(b, cube2, cube)", "F.scaled_dot_product_attention(x, w, w)",
        "F.multi_head_attention_forward(cube, cube, cube, 4, 2, tie(sq, 12), None, None, None, False, 0.0, sq, sq[0])",
        "F.conv1d(signal, taps)", "F.conv1d(signal, taps, v, 2, 1, 2)", "F.conv1d(signal[0], taps, padding='same')",
        "F.conv1d(signal, taps.reshape(6, 2, 2), groups=2)", "F.conv1d(signal, taps, padding=-1)", "F.conv1d(x, taps)",
        "F.conv1d(signal, taps, stride=0)", "F.conv1d(signal, taps, dilation=9)", "F.conv1d(signal, taps, sq[0])",
        "F.conv2d(image, kernel)", "F.conv2d(image, kernel, v, (2, 1), (1, 2), (1, 2))", "F.conv2d(image[0], kernel)",
        "F.conv2d(image, kernel, padding='valid')", "F.conv2d(signal, kernel)", "F.conv2d(image, kernel, groups=2)",
        "F.max_pool1d(signal, 3)", "F.max_pool1d(signal, 2, 1, 1, return_indices=True)", "F.max_pool1d(signal, 2, 2, 2)",
        "F.max_pool2d(image, 2)", "F.max_pool2d(image, (2, 3), (1, 2), (1, 1), ceil_mode=True)", "F.max_pool2d(image[0], 3)",
        "F.max_pool2d(image, 9)", "F.max_pool2d(image, 2, return_indices=True)", "F.avg_pool1d(signal, 3)",
        "F.avg_pool1d(signal, 2, 1, 1, count_include_pad=False)", "F.avg_pool2d(image, 2)",
        "F.avg_pool2d(image, (2, 3), (1, 2), (1, 1), True, False)", "F.avg_pool2d(image, 2, divisor_override=3)",
        "F.avg_pool2d(x, 2)", "F.avg_pool1d(signal, 0)", "F.ctc_loss(frames.log_softmax(2), words, (9, 8), (2, 1))",
        "F.ctc_loss(frames.log_softmax(2), words, (9, 8), (2, 1), reduction='none')",
        "F.linear_cross_entropy(x, w, labels.clamp(max=3))",
    ],
    "modules": [
        *(f"nn.{name}()(x)" for name in _MODULES), "nn.Softmax(1)(x)", "nn.LogSoftmax(dim=0)(x)", "nn.GLU()(cube)",
        "nn.GLU(1)(image)", "fix(nn.PReLU())(x)", "fix(nn.PReLU(4))(image)", "nn.Softplus(2, 1)(x)", "nn.ELU(0.3)(x)",
        "nn.LeakyReLU(0.3)(x)", "nn.GELU('tanh')(x)", "nn.Hardtanh(-2, 1)(x)", "fix(nn.Linear(5, 4))(x)",
        "fix(nn.Linear(5, 4, bias=False))(b)", "fix(nn.Linear(4, 2))(x)", "fix(nn.Bilinear(5, 3, 2))(x, sq[:3, :3])",
        "-[nn.Linear(5, 4).weight.shape, nn.Linear(5, 4).bias.shape, nn.Linear(2, 3, bias=False).bias]",
        "fix(nn.Embedding(4, 3))(ids)", "-nn.Embedding(num_embeddings=4, embedding_dim=3, padding_idx=0).weight[0]",
        "fix(nn.Embedding(3, 2))(m)", "fix(nn.LayerNorm(5))(x)", "fix(nn.LayerNorm((3, 4), bias=False))(cube)",
        "fix(nn.LayerNorm(4))(x)", "fix(nn.RMSNorm(5))(x)", "fix(nn.GroupNorm(2, 4))(image)", "nn.GroupNorm(3, 4)",
        "fix(nn.BatchNorm1d(5))(x)", "fix(nn.BatchNorm1d(4).eval())(signal)", "fix(nn.BatchNorm2d(4))(image)",
        "fix(nn.BatchNorm2d(4))(x)", "fix(nn.BatchNorm1d(3))(x)", "fix(nn.Conv1d(4, 3, 2))(signal)",
        "fix(nn.Conv1d(4, 6, 3, 2, 1, groups=2))(signal)", "-nn.Conv1d(4, 3, 2).weight.shape", "nn.Conv1d(4, 3, 2, groups=3)",
        "fix(nn.Conv2d(4, 3, kernel_size=3, padding=1))(image)", "fix(nn.Conv2d(3, 3, 2))(image)",
        "nn.MaxPool2d(2)(image)", "nn.MaxPool2d(kernel_size=3, stride=2)(image)", "nn.AvgPool2d(2, 1)(image)",
        "nn.AdaptiveAvgPool1d(4)(signal)", "nn.Flatten()(cube)", "nn.Flatten(start_dim=0)(cube)",
        "nn.Dropout(0.5).eval()(x)", "?nn.Dropout(0.5)(x)", "nn.Dropout(1.5)", "nn.Dropout(0.0)(x)",
        *(f"fix(nn.{name})(cube)[{i}]" for name in ("RNN(4, 3)", "GRU(4, 3)", "LSTM(4, 3)",
          "LSTM(4, 3, num_layers=2, bidirectional=True, batch_first=True)", "GRU(4, 2, 2, bias=False)",
          "RNN(4, 3, nonlinearity='relu')") for i in (0, 1) if "LSTM" not in name or i == 0),
        "fix(nn.LSTM(4, 3))(cube)[1][1]", "fix(nn.RNN(5, 3))(cube)", "fix(nn.RNNCell(5, 3))(x)",
        "fix(nn.GRUCell(5, 3))(x, sq[:3, :3])", "fix(nn.LSTMCell(5, 3))(x)", "fix(nn.RNNCell(4, 3))(x)",
        "-[nn.RNN(4, 3).hidden_size, nn.RNN(4, 3).num_layers, nn.RNN(4, 3).bidirectional, nn.GRU(2, 3)._flat_weights_names]",
        "-[nn.LSTM(2, 3)._flat_weights_names, nn.LSTM(2, 3).flatten_parameters(), nn.GRU(2, 3, 2, dropout=0.5).dropout]",
        "fix(nn.MultiheadAttention(4, 2))(cube, cube, cube)", "fix(nn.MultiheadAttention(5, 1, batch_first=True))(b, cube2, cube2)",
        "nn.MultiheadAttention(5, 2)", "fix(nn.TransformerEncoderLayer(4, 2, 8, 0.0))(cube)",
        "fix(nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8, 0.0, batch_first=True, norm_first=True), 2))(cube)",
        "fix(nn.TransformerDecoderLayer(4, 2, 8, 0.0, batch_first=True))(cube, cube * 2)",
        "fix(nn.Transformer(4, 2, 1, 1, 8, 0.0, batch_first=True))(cube, cube * 2)",
        *(f"nn.{name}(reduction={how!r})(x, y)" for name in ("MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss", "KLDivLoss")
          for how in ("none", "mean", "sum")), "nn.CrossEntropyLoss()(x, labels)", "nn.BCELoss()(p, q)",
        "nn.CrossEntropyLoss(reduction='none')(x, labels)", "nn.NLLLoss()(x.log_softmax(1), labels)",
        "nn.NLLLoss(ignore_index=0, reduction='sum')(x, labels)", "nn.BCEWithLogitsLoss(reduction='sum')(x, p)",
        "nn.BCEWithLogitsLoss(pos_weight=pv.detach())(x, p)", "nn.MarginRankingLoss(0.2)(v, v * v, signs)",
        "nn.CosineEmbeddingLoss(0.1)(x, y, signs)", "nn.CTCLoss()(frames.log_softmax(2), words, (9, 8), (2, 1))",
        "-own_loss(nn.CrossEntropyLoss, x, labels)", "fix(nn.LinearCrossEntropyLoss(5, 4))(x, labels.clamp(max=3))",
        "-nn.CrossEntropyLoss(reduction='sum').reduction", "nn.CrossEntropyLoss().forward(x, labels)",
        "fix(nn.Sequential(nn.Linear(5, 3), nn.ReLU(), nn.Linear(3, 2)))(x)", "-repr(nn.Sequential(nn.Linear(5, 3), nn.Tanh()))",
        "-[len(nn.Sequential(nn.ReLU(), nn.Tanh())), repr(nn.Sequential(nn.ReLU(), nn.Tanh())[1]), "
        "[repr(m) for m in nn.Sequential(nn.ReLU(), nn.Tanh())]]", "-nn.Sequential(nn.ReLU())[1]",
        "-repr(nn.ModuleList([nn.ReLU()]).append(nn.Tanh()))", "-[repr(m) for m in nn.ModuleList([nn.ReLU()])]",
        "fix(nn.DataParallel(nn.Linear(5, 2), device_ids=None))(x)", "-nn.Parameter(x.detach()).requires_grad",
        "-nn.Parameter(n)", "-nn.Module()(x)", "-[*fix(nn.Linear(2, 3)).parameters()]", "-list(nn.Module()._parameters)",
        "-dict(fix(nn.Linear(2, 3)).named_parameters())", "-dict(fix(nn.Linear(2, 3)).state_dict())",
        "-repr(nn.Linear(2, 3).load_state_dict(nn.Linear(2, 3).state_dict()))",
        "-nn.Linear(2, 3).load_state_dict(nn.Linear(3, 2).state_dict())", "-nn.Linear(2, 3).load_state_dict({})",
        "-[nn.Linear(2, 3).eval().training, nn.Linear(2, 3).train().training]", "-list(nn.Linear(2, 3)._modules)",
        "-nn.Linear(2, 3).train('yes')", "-next(nn.Linear(2, 3).to(torch.float64, device='cpu').parameters()).dtype"
        .replace("torch.float64, device='cpu'", "'cpu', torch.float64"), "-nn.Linear(2, 3).to(torch.int64)",
        "-[repr(nn.Sequential(nn.Linear(2, 3)).apply(lambda m: nn.init.zeros_(m.weight) if type(m) == nn.Linear else None))]",
        "-[m.add_module('a', nn.ReLU()) or repr(m) for m in [nn.Module()]]", "-nn.Module().add_module('a.b', nn.ReLU())",
        "-nn.Module().add_module('a', 3)", "-nn.Linear(2, 3).nothing", "-called(nn.Linear(5, 2), x)",
    ],
    "train": [
        *(f"-steps(torch.optim.{o})" for o in ("SGD, lr=0.1", "SGD, lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=True",
          "SGD, lr=-1", "SGD, lr=0.1, nesterov=True", "Adam, lr=0.01", "Adam, weight_decay=0.1, amsgrad=True",
          "Adam, betas=(1.0, 0.9)", "AdamW, lr=0.01", "RMSprop, lr=0.01, alpha=0.9, centered=True, momentum=0.5",
          "Adagrad, lr=0.1, lr_decay=0.1", "Adadelta, rho=0.8", "Adamax, lr=0.02", "NAdam", "RAdam, lr=0.1", "Adam, eps=-1",
          "LBFGS, lr=0.5, line_search_fn='strong_wolfe'")), "-torch.optim.SGD([], 0.1)", "-torch.optim.SGD([3], 0.1)",
        "-torch.optim.SGD(x, 0.1)", "-torch.optim.SGD([x * 2], 0.1)", "-torch.optim.Optimizer([x], {}).param_groups[0].keys()",
        "-[g['weight_decay'] for g in torch.optim.SGD([{'params': [x], 'weight_decay': 1.0}, {'params': y}], 0.1).param_groups]",
        "-torch.optim.SGD([x], 0.1).zero_grad()", "-torch.optim.SGD([x], 0.1).step()",
        *(f"-rates(sched.{s})" for s in ("StepLR, 2, 0.5", "MultiStepLR, milestones=[1, 3], gamma=0.3", "ExponentialLR, 0.9",
          "CosineAnnealingLR, 4, 0.01", "LambdaLR, lambda e: 0.5 ** e", "LinearLR, 0.2, total_iters=3", "ReduceLROnPlateau, patience=1",
          "OneCycleLR, 1.0, total_steps=9", "OneCycleLR, 1.0", "LinearLR, 2.0", "ReduceLROnPlateau, factor=2")),
        "-[sched.__name__.split('.', 1)[1], sched.MultiStepLR.__module__.split('.', 1)[1]]",
        "-clipped(nn.utils.clip_grad_norm_, 0.5)", "-clipped(nn.utils.clip_grad_norm_, 0.5, 1.0)",
        "-clipped(nn.utils.clip_grad_norm_, 2.0, float('inf'))", "-clipped(nn.utils.clip_grad_value_, 0.2)",
        "nn.utils.rnn.pad_sequence([row, v, sq[0]])", "nn.utils.rnn.pad_sequence([x, w], batch_first=True, padding_value=2.0)",
        "nn.utils.rnn.pad_sequence([])", "nn.utils.rnn.pack_padded_sequence(x, [3, 2, 2, 1, 1])",
        "nn.utils.rnn.pack_padded_sequence(cube, [3, 1], batch_first=True)",
        "nn.utils.rnn.pack_padded_sequence(cube, torch.tensor([1, 3]), True, enforce_sorted=False)",
        "nn.utils.rnn.pack_padded_sequence(cube, [1, 3], True)", "nn.utils.rnn.pack_padded_sequence(cube, [3, 0], True)",
        "nn.utils.rnn.pad_packed_sequence(nn.utils.rnn.pack_padded_sequence(cube, [3, 1], True), True, total_length=5)",
        *(f"?nn.init.{i}" for i in ("uniform_(x.detach())", "normal_(x.detach(), mean=1, std=0.1)", "xavier_uniform_(x.detach())",
          "xavier_uniform_(row.detach())", "xavier_normal_(x.detach(), 2)", "kaiming_uniform_(x.detach(), mode='fan_out')",
          "kaiming_normal_(x.detach(), nonlinearity='relu')", "kaiming_normal_(x.detach(), mode='no')", "trunc_normal_(x.detach())",
          "orthogonal_(row.detach())", "orthogonal_(x.detach())", "sparse_(x.detach(), 0.3)", "sparse_(row.detach(), 0.3)",
          "dirac_(x.detach(), 1)")), "-nn.init.orthogonal_(x.detach()) @ nn.init.orthogonal_(x.detach()).T * 0",
        "-nn.init.constant_(x.detach(), 3)", "-nn.init.zeros_(x)", "-nn.init.ones_(x)", "-nn.init.eye_(x.detach())",
        "-nn.init.eye_(row.detach())", "-nn.init.dirac_(torch.zeros(4, 2, 3), groups=2)", "-nn.init.dirac_(torch.ones(2, 3, 3, 2))",
        "-nn.init.dirac_(x)", "-nn.init.dirac_(torch.zeros(3, 2, 3), 2)", "-nn.init.calculate_gain('tanh')",
        "-nn.init.calculate_gain('leaky_relu', 0.3)", "-nn.init.calculate_gain('no')",
        "-[*data.DataLoader(data.TensorDataset(x, n), 2)]", "-len(data.DataLoader(data.TensorDataset(x), 2, drop_last=True))",
        "-[*data.DataLoader([1, 2.5, 3], batch_size=2, shuffle=False)]", "-[*data.DataLoader(range(5), 2, num_workers=0)]",
        "-[*data.DataLoader([{'a': 1, 'b': (2, 3.0)}] * 3, 2, collate_fn=None)]", "-data.DataLoader([], 0)",
        "-sorted(b.item() for b in data.DataLoader(range(5), shuffle=True))", "-data.TensorDataset(x, w)",
        "-data.DataLoader([1], shuffle=True, sampler=[0])", "-data.Dataset()[0]", "-own_data(data.Dataset)",
        "-own_stream(data.IterableDataset, data.DataLoader)", "-[*data.Subset(range(5), [4, 2])]",
        "-[*data.ConcatDataset([[1, 2], [3]])]", "-data.ConcatDataset([[1]])[1]", "-data.ConcatDataset([])",
        "-sorted(sum([list(p) for p in data.random_split(range(5), [2, 3])], []))", "-[len(p) for p in data.random_split(range(7), "
        "[0.5, 0.5])]", "-data.random_split(range(5), [2, 2])", "-[*data.SequentialSampler([7, 8])]",
        "-sorted(data.RandomSampler([7, 8, 9]))", "-sorted(data.SubsetRandomSampler([4, 2]))", "-issubclass(data.RandomSampler, data.Sampler)",
        "-len([*data.WeightedRandomSampler([0.1, 0.9], 5)])", "-[*data.WeightedRandomSampler([0.0, 0.9], 2)]",
        "-[*data.BatchSampler(data.SequentialSampler(range(5)), 2, False)]", "-data.BatchSampler([1], 0, False)",
        "-data.RandomSampler([1], num_samples=-1)", "-again(torch, {'a': x.detach(), 'b': [n, 3, 'c']})",
        "-torch.load('/nowhere/at/all')", "-hooks(nn.Linear(5, 3), x)",
        "-fix(nn.Linear(5, 3)).register_forward_hook(lambda m, i, o: o * 2) and None",
        "-fix(nn.Linear(5, 3)).register_forward_pre_hook(lambda m, i: None) and None",
        "-fix(nn.Linear(5, 3)).register_full_backward_hook(lambda m, i, o: None) and None",
    ],
}  # fmt: skip


# What the expressions call ------------------------------------------------------------------------------------------


def helpers(T, dtype, leaves):
    """Functions of several statements; `leaves` gets the parameters of modules."""

    def fix(module):
        module = module.to(dtype if dtype.is_floating_point else T.float32)
        for p in module.parameters():
            p.data.copy_(T.tensor(np.cos(np.arange(p.numel()) * 1.7).reshape(tuple(p.shape)) * 0.6))
            leaves.append(p)
        return module

    def inplace(a, op, b):
        scope = {"a": a, "b": b}
        before = a
        exec(f"a {op} b", scope)
        assert scope["a"] is before
        return scope["a"]

    def setitem(a, i, value):
        a[i] = value
        return a

    def hooked(a):
        a = a * 1
        a.register_hook(lambda g: g * 3)
        return a * 2

    def backward(loss, **kwargs):
        loss.backward(**kwargs)
        return [p.grad for p in leaves if p.grad is not None]

    def twice(function, a):
        class Twice(function):
            @staticmethod
            def forward(ctx, t):
                ctx.save_for_backward(t)
                return t * t

            @staticmethod
            def backward(ctx, g):
                return g * ctx.saved_tensors[0] * 5

        return backward(Twice.apply(a).sum())

    def under(mode, a):
        with mode:
            return [(a * 2).requires_grad, a * 2]

    def own_loss(base, a, target):
        class Mean(base):
            def forward(self, p, t):
                self.reduction = "none"
                return super().forward(p, t).mean()

        return Mean()(a, target)

    def problem():
        p = [T.tensor([[0.5, -1.0, 2.0]], requires_grad=True), T.tensor([1.5, 0.3], requires_grad=True)]
        return p, lambda: (p[0] ** 2).sum() * 0.5 + (p[1] * p[0].sum()).cos().sum()

    def steps(kind, **kwargs):
        p, loss = problem()
        optimizer = kind(p, **kwargs)

        def closure():
            optimizer.zero_grad()
            value = loss()
            value.backward()
            return value

        return [optimizer.step(closure) for _ in range(3)] + p

    def rates(kind, *args, **kwargs):
        p, loss = problem()
        optimizer = T.optim.SGD(p, lr=0.5)
        scheduler = kind(optimizer, *args, **kwargs)
        found = []
        for _ in range(6):
            loss().backward()
            optimizer.step()
            scheduler.step(1.0) if kind.__name__ == "ReduceLROnPlateau" else scheduler.step()
            found.append(scheduler.get_last_lr()[0])
        return found

    def clipped(clip, *args):
        p, loss = problem()
        loss().backward()
        total = clip(p, *args)
        return [*([] if total is None else [total]), *(q.grad for q in p)]

    def own_data(base):
        class Squares(base):
            def __getitem__(self, i):
                return i * i

            def __len__(self):
                return 3

        return [Squares()[2], len(Squares() + Squares())]

    def own_stream(base, loader):
        class Stream(base):
            def __iter__(self):
                return iter(range(5))

        return list(loader(Stream(), batch_size=2))

    def again(library, value):
        import io

        file = io.BytesIO()
        library.save(value, file)
        file.seek(0)
        return library.load(file)

    def called(module, a):
        return list(module(a).shape)

    def hooks(module, a):
        fix(module)
        seen = []
        module.register_forward_pre_hook(lambda m, i: (i[0] * 2,))
        module.register_forward_hook(lambda m, i, o: o + 1)
        module.register_full_backward_hook(lambda m, i, o: seen.append([t.shape for t in (*i, *o) if t is not None]))
        out = module(a)
        out.sum().backward()
        return [out, seen]

    def tie(a, rows):
        return T.cat([a] * (rows // 4))

    return {k: v for k, v in locals().items() if callable(v) and k not in ("T",)}


# Variants -----------------------------------------------------------------------------------------------------------

TYPES = ("float64", "float64,float32", "float32,float64", "int64", "int64,float32", "float32,int64", "int32", "uint8",
         "bool", "bool,float32", "float16", "bfloat16", "int32,int64", "uint8,int64")  # fmt: skip
LAYOUTS = ("turned", "stepped", "expanded", "empty", "hollow", "point", "points", "thin", "ids32", "nograd")


UNCHECKED = ("ctc_loss", "CTCLoss", "embedding_bag", "linear_cross_entropy")  # PyTorch writes outside of memory


def parsed(call):
    return ast.parse(call.lstrip("-?!"), mode="eval")


@functools.cache
def used(call):
    names = [node.id for node in ast.walk(parsed(call)) if isinstance(node, ast.Name)]
    return tuple(dict.fromkeys(n for n in names if n in inputs()))


def forms(call):
    """torch.f(a, b) as a.f(b) and, in place, (a * 1).f_(b)."""
    tree = parsed(call).body
    if not (call.startswith("torch.") and isinstance(tree, ast.Call) and tree.args):
        return
    if not isinstance(tree.args[0], ast.Name) or ast.unparse(tree.func.value) != "torch":
        return
    first, rest = tree.args[0].id, ", ".join(ast.unparse(a) for a in [*tree.args[1:], *tree.keywords])
    if first in inputs() and tree.func.attr != "where":
        yield f"{first}.{tree.func.attr}({rest})", tree.func.attr
        yield f"({first} + 0).{tree.func.attr}_({rest})", tree.func.attr + "_"


@functools.cache
def runs(Tensor_names):
    """(call, variant) of the whole table."""
    found = []
    for call in dict.fromkeys(call for calls in CALLS.values() for call in calls):
        if call[0] in "-?":
            found.append((call, "plain"))
            continue
        floats = [n for n in used(call) if inputs()[n].dtype.kind == "f"]
        if any(name in call for name in UNCHECKED):
            found += [(call, "plain"), (call, "float64")]
            continue
        kinds = [*(TYPES[1:] if floats else ()), *(LAYOUTS if floats else LAYOUTS[:-1])]
        kinds = ["plain", *TYPES[: bool(floats)], *kinds[zlib.crc32(call.encode()) % 3 :: 3]]  # a third, in turn
        found += [(call, kind) for kind in kinds
                  if ("," not in kind or len(floats) > 1) and (kind != "ids32" or len(floats) < len(used(call)))]
        for form, name in forms(call):
            if name in Tensor_names:
                found += [(form, kind) for kind in (("plain", "int64", "turned") if floats else ("plain",))]
    return tuple(dict.fromkeys(found))


def _leaf(array, kind, first):
    """An array to begin with, and what makes the input of it."""
    n = array.ndim
    if kind == "turned" and n > 1:
        order = tuple(reversed(range(n)))
        return np.ascontiguousarray(array.transpose(order)), lambda t: t.permute(*order)
    if kind in ("stepped", "turned") and n:
        wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1] + 1), array.dtype)
        wide[..., 1::2] = array
        return wide, lambda t: t[..., 1::2]
    if kind == "expanded" and n:
        return array[:1].copy(), lambda t: t.expand(*array.shape)
    if kind == "empty" and n:
        array = array[:0]
    elif kind == "hollow" and n:
        array = array[..., :0]
    elif kind == "points" or (kind == "point" and first):
        array = array.reshape(-1)[0]
    elif kind == "thin" and n and not first:
        array = array[..., :1]
    elif kind == "ids32" and array.dtype == np.int64:
        array = array.astype(np.int32)
    return np.array(array), lambda t: t


def _cast(array, dtype):
    if dtype in ("float16", "bfloat16", "float32", "float64"):
        return array.astype("float32" if dtype == "bfloat16" else dtype)
    if dtype == "bool":
        return array > 0
    return np.abs(np.round(array * 3)).astype(dtype) if dtype == "uint8" else np.round(array * 3).astype(dtype)


class Refused(Exception):
    """PyTorch has no kernel for these types: what fastdl does is not compared."""


def arguments(T, call, variant):
    """Leaves, and inputs by name."""
    leaves, given, count = [], {}, 0
    dtypes = variant.split(",") if variant in TYPES else ["float32"]
    for position, name in enumerate(used(call)):
        array = inputs()[name]
        dtype = str(array.dtype)
        if array.dtype.kind == "f" and name != "holes":
            dtype = dtypes[min(count, len(dtypes) - 1)]
            count += 1
            array = _cast(array, dtype)
        array, make = _leaf(array, variant, position == 0)
        leaf = T.from_numpy(array.copy()) if array.ndim else T.tensor(array[()])
        if dtype in ("float16", "bfloat16", "float32", "float64") and name not in ("holes", "signs"):
            leaf = leaf.to(getattr(T, dtype)).requires_grad_(variant != "nograd")
        leaves.append(leaf)
        given[name] = make(leaf)
    return leaves, given


def plain(value):
    """Tensors, numbers and texts of a result, flat."""
    if isinstance(value, dict):
        return [p for item in value.items() for p in plain(item)]
    if isinstance(value, (list, tuple)):
        return [p for item in value for p in plain(item)]
    return [value]


_PREFIX = ("fastdl.", "torch.")


def run(T, call, variant):
    """(a line on errors, types, shapes and views; float64 arrays of outputs and gradients)."""
    leaves, given = arguments(T, call, variant)
    dtype = getattr(T, variant.split(",")[0] if variant in TYPES else "float32")
    if not dtype.is_floating_point:
        dtype = T.float32
    scope = {"torch": T, "F": T.nn.functional, "np": np, "autograd": T.autograd, "nn": T.nn, "sched": T.optim.lr_scheduler,
             "data": T.utils.data, "distributions": T.distributions, **helpers(T, dtype, leaves), **given}  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            result = plain(eval(_code(call), scope))
            outputs = [o for o in result if isinstance(o, T.Tensor)]
            recorded = [o for o in outputs if o.requires_grad and o.grad_fn is not None]
            if recorded and call[0] not in "-?":
                weights = [T.tensor(np.cos(np.arange(o.numel())).reshape(tuple(o.shape))).to(o.dtype) for o in recorded]
                T.autograd.backward(recorded, weights)
        except Exception as error:
            refused = "not implemented for" in str(error) or "not supported" in str(error)
            return f"{'refused' if refused else 'raises'} {_class(error)}", []
    texts = [_text(o) for o in result if not isinstance(o, (T.Tensor, float, np.ndarray))]
    numbers = [np.asarray(o, np.float64) for o in result if isinstance(o, (float, np.ndarray))]
    gradients = [t.grad for t in leaves if t.requires_grad and t.is_leaf and t.grad is not None] if call[0] not in "-?" else []
    tensors = [*outputs, *gradients]
    arrays = [] if call[0] == "?" else [*(_array(T, t) for t in tensors), *numbers]
    line = [f"{str(o.dtype).rsplit('.', 1)[-1]}{list(o.shape)}" for o in tensors] + texts
    if call[0] not in "-?":
        line += ["view" if shares(o, given) else "own" for o in outputs]
        line += ["graph" if o.requires_grad else "none" for o in outputs]
    return " ".join(line), arrays


@functools.cache
def _code(call):
    return compile(parsed(call), call, "eval")


def _class(error):
    for kind in (OSError, IndexError, KeyError, ValueError, TypeError, AttributeError, ZeroDivisionError, OverflowError,
                 NotImplementedError, RuntimeError, AssertionError):
        if isinstance(error, kind):
            return kind.__name__.replace("NotImplementedError", "RuntimeError")
    return "Exception"


def _text(value):
    text = str(value).replace("fastdl", "torch")
    if " object at " in text or "RemovableHandle" in text:
        return type(value).__name__
    return text


def _array(T, t):
    t = t.detach()
    return np.asarray((t.float() if t.dtype == T.bfloat16 else t).numpy(), np.float64)


def shares(out, given):
    """Whether a result looks at the memory of an input."""
    pointer = out.data_ptr()
    for t in given.values():
        if out.numel() and t.numel() and t.element_size() == out.element_size():
            reach = sum((n - 1) * s for n, s in zip(t.shape, t.stride()))
            start = t.data_ptr()
            if start <= pointer <= start + reach * t.element_size():
                return True
    return False


def digest(arrays):
    """One weighted sum for each array, with a mark for what is not finite."""
    sums = []
    for a in arrays:
        a = a.reshape(-1)
        finite = np.where(np.isfinite(a), a, 0.0)
        weights = np.cos(np.arange(a.size) * 0.7 + 0.3)
        odd = 7.0 * np.isnan(a) + 11.0 * (a == np.inf) + 13.0 * (a == -np.inf)
        sums.append(float((finite + odd) @ weights))
    return sums


# Names --------------------------------------------------------------------------------------------------------------

_OPERATORS = {
    "Add": "__add__", "Sub": "__sub__", "Mult": "__mul__", "Div": "__truediv__", "Pow": "__pow__",
    "MatMult": "__matmul__", "Eq": "__eq__", "NotEq": "__ne__", "Lt": "__lt__", "LtE": "__le__", "Gt": "__gt__",
    "GtE": "__ge__", "USub": "__neg__", "Invert": "__invert__", "FloorDiv": "__floordiv__", "Mod": "__mod__",
}  # fmt: skip
_BUILTINS = {"float": "__float__", "int": "__int__", "bool": "__bool__", "len": "__len__", "repr": "__repr__",
             "iter": "__iter__", "list": "__iter__", "setitem": "__setitem__"}  # fmt: skip
_IN_PLACE = {"+=": "__iadd__", "-=": "__isub__", "*=": "__imul__", "/=": "__itruediv__"}


@functools.cache
def named():
    """The names that the calls use: paths from `torch` on, and what is asked of values."""
    paths, attributes = set(), set()
    for call in [call for calls in CALLS.values() for call in calls]:
        for node in ast.walk(parsed(call)):
            if isinstance(node, ast.Attribute):
                attributes.add(node.attr)
                parts, at = [], node
                while isinstance(at, ast.Attribute):
                    parts.append(at.attr)
                    at = at.value
                if isinstance(at, ast.Name):
                    parts.append(_ALIASES.get(at.id, at.id))
                    paths.add(".".join(reversed(parts)).removeprefix("torch."))
            elif isinstance(node, (ast.BinOp, ast.UnaryOp)):
                name = _OPERATORS.get(type(node.op).__name__)
                right = isinstance(node, ast.BinOp) and isinstance(node.left, ast.Constant)
                if name:
                    attributes.add(name.replace("__", "__r", 1) if right else name)
            elif isinstance(node, ast.Compare):
                attributes |= {_OPERATORS[type(op).__name__] for op in node.ops if type(op).__name__ in _OPERATORS}
            elif isinstance(node, ast.Subscript):
                attributes.add("__getitem__")
            elif isinstance(node, (ast.comprehension, ast.Starred)):
                attributes.add("__iter__")
            elif isinstance(node, ast.FormattedValue):
                attributes.add("__format__")
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Call):
                attributes.add("__call__")
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                attributes.add(_BUILTINS.get(node.func.id, ""))
                if node.func.id == "inplace":
                    attributes.add(_IN_PLACE[node.args[1].value])
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "asarray":
                attributes.add("__array__")
    attributes |= {"step", "zero_grad", "get_last_lr"}  # in steps() and rates()
    paths.add("save")  # in again()
    for call in list(CALLS["elementwise"]):
        for _, name in forms(call):
            attributes.add(name)
    return paths, attributes


def missing():
    """Names of the list without a call."""
    paths, attributes = named()
    lacking = []
    for name in NAMES.read_text().split():
        owner, _, last = name.rpartition(".")
        of_value = owner == "Tensor" or (owner and owner.rpartition(".")[2][:1].isupper()) or not owner
        if name not in paths and not (of_value and last in attributes):
            lacking.append(name)
    return lacking


if __name__ == "__main__":
    import torch
    import torch.distributions.multinomial
    import torch.optim.lr_scheduler
    import torch.utils.data

    torch.set_num_threads(1)
    keys, lines, sums, counts = [], [], [], []
    for call, variant in runs(frozenset(dir(torch.Tensor))):
        line, arrays = run(torch, call, variant)
        keys.append(f"{variant}|{call}")
        lines.append(line)
        found = digest(arrays)
        counts.append(len(found))
        sums += found
    np.savez_compressed(FILE, keys=np.array("\n".join(keys)), lines=np.array("\0".join(lines)),
                        counts=np.array(counts, np.uint8), sums=np.array(sums, np.float32))
    sys.stdout.write(f"{FILE}: {len(keys)} calls, torch {torch.__version__}\n")
