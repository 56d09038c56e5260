"""Random calls of every public function, Tensor method and module, good ones and nonsense, with backward.

python -m tests.fuzz_calls --count 1000000 --seed 1       makes the calls in other processes, which it watches
python -m tests.fuzz_calls --seed 1 --only 4711           makes the one call again, in this process, and prints it

A call may give a result or raise a Python exception. A signal, a hang, an exception that says that something inside
is wrong (SystemError and such), or memory beyond the limit is a failure; the call that did it is printed. A call
depends on the seed and its number alone.
"""

from __future__ import annotations

import argparse
import collections
import inspect
import json
import mmap
import os
import random
import struct
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import ClassVar

import numpy as np

import fastdl
from fastdl import nn
from fastdl.nn import functional

LIMIT_BYTES = 3 << 30  # of address space; a new interpreter with fastdl has 1 GB, most of it never touched
LIMIT_SECONDS = 20  # of processor time for a call
EXPECTED = (TypeError, ValueError, RuntimeError, IndexError, KeyError, AttributeError, ArithmeticError, MemoryError,
            AssertionError, BufferError)  # the last two as PyTorch, of attention's sizes, and DLPack
WRONG = (RecursionError,)  # subclasses of these that are none
HUGE = [2**31 - 1, 2**31, 2**32 + 1, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 + 1, -(2**31), -(2**63), -(2**63) - 1]
NUMBERS = [0.0, -0.0, 1.0, 0.5, -1.0, 2.0, 0.1, 1e-8, 1e30, -1e300, 1e-45, float("nan"), float("inf"), float("-inf")]
TYPES = [fastdl.float32, fastdl.float64, fastdl.int64, fastdl.int32, fastdl.int16, fastdl.int8, fastdl.uint8, fastdl.bool,
         fastdl.float16, fastdl.bfloat16]  # fmt: skip
LEFT_OUT = {  # files, processes, settings of the process, other libraries
    "load", "save", "as_torch", "compile", "seed", "manual_seed", "set_num_threads", "set_default_dtype", "set_rng_state",
    "set_printoptions", "set_grad_enabled", "set_check_finite", "set_float32_matmul_precision",
    "use_deterministic_algorithms", "enable_grad", "no_grad", "inference_mode", "set_flush_denormal", "set_num_interop_threads",
    "summary", "DataParallel", "__init_subclass__", "__subclasshook__", "__class__", "__new__", "__init__", "__dir__",
    "__setattr__", "__delattr__", "__getattribute__", "triplet_margin_with_distance_loss", "TripletMarginWithDistanceLoss",
    "register_hook", "register_post_accumulate_grad_hook",
    "data_ptr", "TYPE_CHECKING", "Any", "annotations", "Parameter", "Buffer", "Module", "__sizeof__", "cuda",
}  # fmt: skip


def targets() -> list[tuple[str, str]]:
    """(kind, name) of all that is called."""
    found = []
    for kind, holder in [("fastdl", fastdl), ("Tensor", fastdl.Tensor), ("F", functional), ("nn", nn), ("init", nn.init),
                         ("utils", nn.utils), ("optim", fastdl.optim), ("distributions", fastdl.distributions),
                         ("autograd", fastdl.autograd), ("metrics", fastdl.metrics)]:  # fmt: skip
        for name in dir(holder):
            value = getattr(holder, name, None)
            if name in LEFT_OUT or inspect.ismodule(value):
                continue
            if kind == "Tensor":
                if not name.startswith("_") or (name.startswith("__") and callable(value)):
                    found.append((kind, name))
            elif not name.startswith("_") and callable(value) and "typing" not in getattr(value, "__module__", ""):
                found.append((kind, name))
    return found


class Call:
    """Call number `index` of a seed."""

    def __init__(self, seed: int, index: int, among: list[tuple[str, str]]) -> None:
        self.rng = random.Random(f"{seed} {index}")
        self.kind, self.name = among[index % len(among)]
        self.tensors: list[fastdl.Tensor] = []
        self.sizes = [self.rng.choice([0, 1, 2, 3, 4, 5, 7, 17, 33]) if self.rng.random() < 0.3 else
                      self.rng.choice([1, 2, 3, 4, 5, 6]) for _ in range(4)]  # fmt: skip
        if self.rng.random() < 0.3:  # what has to agree agrees
            self.sizes = self.sizes[:1] * 4
        self.shape = self.sizes[: self.rng.choice([0, 1, 1, 2, 2, 2, 3, 3, 4])]
        self.type = self.rng.choice(TYPES) if self.rng.random() < 0.3 else fastdl.float32
        self.log: list[str] = []

    # values

    def int(self, low: int = -3, high: int = 6) -> int:
        r = self.rng.random()
        if r < 0.04:
            return self.rng.choice(HUGE)
        if r < 0.3:
            return self.rng.choice(self.sizes)
        return self.rng.randint(low, high)

    def positive(self) -> int:
        return self.rng.randint(1, 6) if self.rng.random() < 0.9 else self.int()

    def dim(self) -> int:
        n = len(self.shape)
        return self.rng.randint(-n, max(n - 1, 0)) if self.rng.random() < 0.85 else self.int()

    def number(self):
        r = self.rng.random()
        return self.rng.uniform(-2, 2) if r < 0.5 else self.rng.choice(NUMBERS) if r < 0.85 else self.int()

    def size(self) -> tuple:
        r = self.rng.random()
        if r < 0.5:
            return tuple(self.shape)
        if r < 0.53:
            return tuple(self.rng.choice([0, 1, 2, *HUGE]) for _ in range(self.rng.randint(1, 4)))
        return tuple(self.int(-1, 5) for _ in range(self.rng.randint(0, 4)))

    def tensor(self, integer: bool | None = None, shape: list[int] | None = None) -> fastdl.Tensor:
        rng = self.rng
        if self.tensors and shape is None and rng.random() < 0.15:  # the same memory again
            x = rng.choice(self.tensors)
            return x if rng.random() < 0.5 else self.view(x)
        if shape is not None:
            pass
        elif rng.random() < 0.3:
            shape = [rng.choice([*self.sizes, 1]) for _ in range(rng.randint(0, 4))]
        elif (shape := list(self.shape)) and rng.random() < 0.15:
            shape[rng.randrange(len(shape))] = rng.choice([1, *self.sizes])
        if rng.random() < 0.01 and shape is not None:
            shape = [0, *(rng.choice([1, 2**40, 2**62]) for _ in range(rng.randint(0, 2)))]
            rng.shuffle(shape)
        dtype = self.type if integer is None else rng.choice([fastdl.int64] * 30 + TYPES) if integer else self.type
        count = 1
        for n in shape:
            count *= n
        if count > 100_000:
            shape = shape[:1]
            count = shape[0] if shape else 1
        if str(dtype).startswith(("fastdl.float", "torch.float", "fastdl.bfloat", "torch.bfloat")):
            if rng.random() < 0.2:
                data = [rng.choice(NUMBERS) for _ in range(min(count, 40))]
            else:
                data = [rng.gauss(0, 1) for _ in range(min(count, 40))]
        elif rng.random() < 0.03:
            data = [rng.choice([-(2**63), 2**63 - 1, -1, 2**31]) for _ in range(min(count, 40))]
        else:
            high = rng.choice([2, 3, max(self.sizes) + 1])
            low = -high if rng.random() < 0.2 else 0
            data = [rng.randrange(low, high) for _ in range(min(count, 40))]
        array = np.resize(np.array(data or [0]), count).reshape(shape)
        with np.errstate(all="ignore"):
            x = fastdl.from_numpy(np.ascontiguousarray(array)).to(dtype)
        x = self.view(x) if rng.random() < 0.25 else x
        if x.is_floating_point() and rng.random() < 0.4:
            x = x.detach().requires_grad_()
            if rng.random() < 0.5:
                x = x * 1  # not a leaf: may be written
        self.tensors.append(x)
        return x

    def view(self, x: fastdl.Tensor) -> fastdl.Tensor:
        rng, n = self.rng, x.dim()
        kind = rng.randrange(6)
        if kind == 0 and n > 1:
            return x.permute(*rng.sample(range(n), n))
        if kind == 1 and n and x.shape[0] > 1:
            return x[:: rng.randint(1, 3)]
        if kind == 2 and n and x.shape[-1] > 1:
            return x[..., 1:] if rng.random() < 0.5 else x[..., :-1]
        if kind == 3:
            return x.unsqueeze(rng.randint(0, n)).expand(*([-1] * 0), *self.expanded(x))
        if kind == 4 and n and x.numel() and not x.requires_grad and x.dtype is not fastdl.bfloat16:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return fastdl.from_numpy(x.numpy()[::-1]) if rng.random() < 0.5 else x.clone()
        return x.detach() if rng.random() < 0.3 else x

    def expanded(self, x):
        return [self.rng.randint(1, 3), *x.shape]

    def index(self):
        rng = self.rng
        one = lambda: rng.choice([
            lambda: self.dim(), lambda: slice(rng.choice([None, self.int()]), rng.choice([None, self.int()]),
                                              rng.choice([None, 1, 2, 3, self.int()])),
            lambda: None, lambda: Ellipsis, lambda: self.tensor(True), lambda: [0, self.dim()], lambda: True,
            lambda: self.tensor() > 0,
        ])()  # fmt: skip
        return one() if rng.random() < 0.5 else tuple(one() for _ in range(rng.randint(0, 4)))

    def any(self):
        return self.rng.choice([
            self.int, self.number, self.size, self.tensor, lambda: None, lambda: True, lambda: "mean", lambda: [],
            lambda: self.rng.choice(TYPES), lambda: [self.tensor(), self.tensor()], lambda: "x", lambda: b"", dict, object,
            lambda: np.ones(self.shape), self.index,
        ])()  # fmt: skip

    def pair(self):
        return self.positive() if self.rng.random() < 0.6 else tuple(self.positive() for _ in range(self.rng.choice([1, 2, 2, 3])))

    def usual_shape(self, name: str) -> list[int] | None:
        """The shape that functions with this parameter want, where it is not the one of the call."""
        a, b, c, d = self.sizes
        if name in ("mat1", "mat2", "mat"):
            return [a, a]
        if name.startswith("vec"):
            return [a]
        if name.startswith("batch"):
            return [b, a, a]
        if self.name.startswith("conv") and name in ("input", "weight"):
            size = [c, d, c][: 2 if "1d" in self.name else 3]
            return [a, b, *size[1:], 7] if name == "input" else [b, b, 2, 1][: len(size) + 1]
        if self.name in ("embedding", "embedding_bag", "batch_norm", "instance_norm", "bilinear") and name == "weight":
            return [a + 1, b]
        return [b] if name in ("running_mean", "running_var") else None

    def argument(self, name: str):
        """A value for the parameter of this name."""
        rng = self.rng
        if name in ("num_layers", "num_encoder_layers", "num_decoder_layers"):  # 2^31 layers are made one by one
            return rng.choice([1, 1, 2, 3, 0, -1, None, 1.5])
        if rng.random() < 0.04:
            return self.any()
        shape = self.usual_shape(name)
        if shape is not None and rng.random() < 0.9:
            return self.tensor(shape=shape)
        if name in ("dim", "axis", "dim0", "dim1", "dim2", "start_dim", "end_dim", "source", "destination", "dims"):
            if name == "source" and not self.name.startswith("move"):
                return self.tensor()
            return self.dim() if rng.random() < 0.8 else [self.dim() for _ in range(rng.randint(0, 3))]
        if name in ("keepdim", "keepdims", "unbiased", "descending", "stable", "training", "ceil_mode", "count_include_pad",
                    "affine", "equal_nan", "largest", "sorted", "return_inverse", "return_counts", "bidirectional", "retain_graph",
                    "batch_first", "full", "swap", "log_target", "log_input", "accumulate", "sparse", "as_tuple", "right",
                    "requires_grad", "replacement", "include_self", "is_causal", "enable_gqa", "scale_grad_by_freq", "hard",
                    "zero_infinity", "elementwise_affine", "track_running_stats", "inplace", "norm_first", "align_corners",
                    "increasing", "include_last_offset", "need_weights", "create_graph", "return_indices"):
            return rng.random() < 0.5
        if name == "dtype":
            return rng.choice(TYPES) if rng.random() < 0.8 else None
        if name in ("size", "shape", "sizes", "unflattened_size", "repeats", "shifts", "output_size", "normalized_shape"):
            return self.size() if rng.random() < 0.8 else self.int()
        if name in ("kernel_size", "stride", "dilation", "upscale_factor", "downscale_factor"):
            return self.pair()
        if name in ("padding", "output_padding", "pad"):
            return rng.choice([0, 0, 1, self.pair(), [self.int(-2, 3) for _ in range(rng.choice([2, 4, 6, 3]))], "same"])
        if name in ("groups", "num_groups", "nhead", "num_heads", "in_channels", "out_channels", "in_features",
                    "out_features", "hidden_size", "input_size", "d_model", "embed_dim", "dim_feedforward", "num_features",
                    "num_embeddings", "embedding_dim", "num_channels", "num_parameters"):
            return rng.choice(self.sizes) if rng.random() < 0.8 else self.positive()
        if name in ("k", "n", "start", "end", "length", "offset", "diagonal", "steps", "chunks", "num_samples", "minlength", "row",
                    "col", "num_classes", "bins", "N", "indices_or_sections", "split_size_or_sections", "split_sizes", "decimals",
                    "padding_idx", "ignore_index", "blank", "correction", "r", "low", "high", "num_chunks", "split_size"):
            return self.int() if rng.random() < 0.85 else [self.int(0, 4) for _ in range(rng.randint(0, 3))]
        if name in ("index", "indices", "target", "targets", "input_lengths", "target_lengths", "offsets", "lengths"):
            if self.name in ("__getitem__", "__setitem__"):
                return self.index()
            return self.tensor(rng.random() < 0.8)
        if name in ("mask", "condition", "attn_mask", "key_padding_mask", "src_mask"):
            return self.tensor() > 0 if rng.random() < 0.8 else self.tensor()
        if name == "value" and "attention" in self.name.lower():
            return self.tensor()
        if name == "reduction":
            return rng.choice(["mean", "sum", "none", "none", "xx"])
        if name == "reduce":
            return rng.choice(["sum", "prod", "mean", "amax", "amin", "add", "multiply"])
        if name == "rounding_mode":
            return rng.choice([None, "floor", "trunc", "x"])
        if name in ("mode", "padding_mode"):
            return rng.choice(["constant", "reflect", "replicate", "circular", "zeros", "nearest", "bilinear", "linear", "fan_in",
                               "mean", "sum", "max", "bicubic"])
        if name == "approximate":
            return rng.choice(["none", "tanh"])
        if name in ("tensors", "operands", "matrices", "params", "parameters", "inputs"):
            return [self.tensor() for _ in range(rng.randint(0, 3))]
        if name == "equation":
            return rng.choice(["ij,jk->ik", "i,i->", "...i->...", "ii->i", "bij,bjk->bik", "ij->ji", "ij", "i,j->ij", "->", "a,b->c"])
        if name in ("eps", "alpha", "beta", "p", "momentum", "margin", "lambd", "threshold", "negative_slope", "value", "fill_value",
                    "min", "max", "rtol", "atol", "norm_type", "max_norm", "maxnorm", "dropout", "dropout_p", "q", "lr", "tau", "scale",
                    "scale_factor", "label_smoothing", "delta", "min_val", "max_val", "a", "b", "exponent", "std", "gain", "nan",
                    "posinf", "neginf", "base", "step", "weight_decay", "lower", "upper", "mean", "var"):
            r = rng.random()
            return self.number() if r < 0.7 else abs(self.number()) % 1 if r < 0.85 else self.tensor()
        if name in ("device", "generator", "memory_format", "out", "size_average", "_stacklevel", "non_blocking", "layout"):
            return None
        if name in ("input", "self", "other", "x", "y", "input1", "input2", "tensor", "mat1", "mat2", "weight", "bias", "vec", "src",
                    "query", "key", "log_probs", "running_mean", "running_var", "values", "batch1", "batch2", "tensor1", "tensor2"):
            return self.tensor()
        return self.any() if rng.random() < 0.3 else self.tensor() if rng.random() < 0.6 else self.number()

    def arguments(self, function, skip: int = 0) -> tuple[list, dict]:
        rng = self.rng
        try:
            parameters = list(inspect.signature(function).parameters.values())[skip:]
        except (TypeError, ValueError):
            return [self.any() for _ in range(rng.randint(0, 3))], {}
        if [p.kind for p in parameters] == [inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD]:
            plain = getattr(fastdl, self.name.rstrip("_"), None)  # Tensor.f_ takes what f takes after its input
            if plain is not None and self.name not in self.OVERLOADED:
                parameters = list(inspect.signature(plain).parameters.values())[1:]
        args, kwargs = [], {}
        for p in parameters:
            optional = p.default is not p.empty
            if p.kind is p.VAR_POSITIONAL:
                if p.name in ("args", "size", "dims", "shape", "sizes", "repeats"):
                    known = self.OVERLOADED.get(self.name)
                    if known is not None:
                        args += [self.argument(name) for name in known[: rng.randint(1, len(known))]]
                    else:
                        args += [self.int(0, 4) for _ in range(rng.randint(0, 4))]
                else:
                    args += [self.argument("input") for _ in range(rng.randint(0, 3))]
            elif p.kind is p.VAR_KEYWORD:
                if rng.random() < 0.1:
                    kwargs[rng.choice(["dim", "dtype", "keepdim", "correction", "out", "nonsense"])] = self.any()
            elif p.kind is p.KEYWORD_ONLY or (optional and kwargs):
                if not optional or rng.random() < 0.3:
                    kwargs[p.name] = self.argument(p.name)
            elif not optional or rng.random() < 0.4:
                args.append(self.argument(p.name))
            elif rng.random() < 0.3:  # the others by name
                kwargs[p.name] = self.argument(p.name)
            else:
                break
        return args, kwargs

    OVERLOADED: ClassVar[dict] = {  # what functions with a signature of `*args` take
        "sum": ["dim", "keepdim"], "mean": ["dim", "keepdim"], "max": ["dim", "keepdim"], "min": ["dim", "keepdim"],
        "prod": ["dim", "keepdim"], "std": ["dim", "correction", "keepdim"], "var": ["dim", "correction", "keepdim"],
        "transpose": ["dim", "dim"], "movedim": ["dim", "dim"], "to": ["dtype"], "type": ["dtype"], "where": ["mask", "other", "other"],
        "permute": ["dim", "dim", "dim"], "squeeze": ["dim"], "flip": ["dim", "dim"], "any": ["dim"], "all": ["dim"],
        "scatter": ["dim", "index", "src"], "scatter_": ["dim", "index", "src"], "split": ["k"], "roll": ["k", "dim"],
        **{key: ["input_size", "hidden_size", "num_layers", "bias", "batch_first"] for key in ("RNN", "GRU", "LSTM")},
        "arange": ["n", "n", "n"], "full": ["size", "value"], "normal": ["tensor", "tensor"], "randint": ["n", "n", "size"],
    }  # fmt: skip

    # the call

    def run(self) -> str:
        """'ok' or the name of the exception; raises what is not expected."""
        try:
            result = self.make()
            self.use(result)
            return "ok"
        except EXPECTED as error:
            if isinstance(error, WRONG):
                raise
            return type(error).__name__

    def say(self, what: str, *parts) -> None:
        self.log.append(what + " " + ", ".join(describe(p) for p in parts))

    def make(self):
        if self.kind == "Tensor":
            x = self.tensor()
            value = getattr(fastdl.Tensor, self.name)
            if not callable(value):
                self.say(f"Tensor.{self.name}", x)
                return getattr(x, self.name)
            method = getattr(x, self.name)
            args, kwargs = self.arguments(method)
            if self.name in ("__getitem__", "__setitem__", "__delitem__"):
                args = [self.index(), *([self.argument("fill_value")] if self.name == "__setitem__" else [])]
            elif self.name.startswith("__") and self.name not in ("__array__", "__dlpack__", "__format__", "__deepcopy__"):
                args = [self.tensor() if self.rng.random() < 0.6 else self.any()][: len(args)]
            self.say(f"Tensor.{self.name}", x, *args, kwargs)
            return method(*args, **kwargs)
        holder = {"fastdl": fastdl, "F": functional, "nn": nn, "init": nn.init, "utils": nn.utils, "optim": fastdl.optim,
                  "distributions": fastdl.distributions, "autograd": fastdl.autograd, "metrics": fastdl.metrics}[self.kind]  # fmt: skip
        target = getattr(holder, self.name)
        args, kwargs = self.arguments(target)
        if self.kind in ("fastdl", "F") and self.rng.random() < 0.5:
            args = self.fitting_arguments() or args
        if self.kind == "optim":
            args = [[self.tensor().detach().requires_grad_() for _ in range(2)], *args[1:]]
        self.say(f"{self.kind}.{self.name}", *args, kwargs)
        result = target(*args, **kwargs)
        if isinstance(result, nn.Module):
            inputs, _ = self.arguments(result.forward)
            if self.kind == "nn" and inputs and self.rng.random() < 0.7:
                inputs[0] = self.fitting(result, inputs[0])
            self.say("called with", *inputs)
            return result(*inputs)
        if self.kind == "optim" and hasattr(result, "step"):
            for p in args[0]:
                p.grad = self.tensor() if self.rng.random() < 0.5 else fastdl.ones_like(p)
            return result.step()
        if self.kind == "distributions" and hasattr(result, "sample"):
            sample = result.sample(self.size())
            return result.log_prob(sample)
        return result

    def ids(self, *shape: int, below: int) -> fastdl.Tensor:
        below += self.rng.random() < 0.05
        return fastdl.tensor(np.array([self.rng.randrange(max(below, 1)) for _ in range(int(np.prod(shape)))]).reshape(shape))

    def fitting_arguments(self) -> list | None:
        """Arguments that agree with each other, for functions whose arguments have different shapes."""
        a, b, c, d = (min(n, 6) for n in self.sizes)
        x = lambda *shape: self.tensor(shape=list(shape))
        name = self.name
        if name in ("embedding", "embedding_bag"):
            return [self.ids(a, b, below=c), x(c, d)]
        if name in ("nll_loss", "cross_entropy", "multi_margin_loss"):
            return [x(a, b), self.ids(a, below=b)]
        if name == "linear_cross_entropy":
            return [x(a, b), x(c, b), self.ids(a, below=c)]
        if name == "ctc_loss":
            return [x(a, b, c), self.ids(b, d, below=c), self.ids(b, below=a + 1), self.ids(b, below=d + 1)]
        if name == "scaled_dot_product_attention":
            return [x(a, b, c, d), x(a, b, a, d), x(a, b, a, c), *([x(c, a)] if self.rng.random() < 0.3 else [])]
        if name == "additive_attention_score":
            return [x(a, b, d), x(a, c, d), x(d)]
        if name == "bilinear":
            return [x(a, b), x(a, c), x(d, b, c), x(d)]
        if name in ("scatter", "scatter_add", "index_add", "index_copy", "scatter_reduce"):
            index = self.ids(b, below=a) if name.startswith("index") else self.ids(a, b, below=a)
            return [x(a, b), self.rng.choice([0, 1, -1]), index, x(a, b), *(["sum"] if name == "scatter_reduce" else [])]
        if name in ("max_pool1d", "avg_pool1d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "avg_pool2d", "max_pool2d"):
            return [x(a, b, c, d) if "2d" in name else x(a, b, c), self.pair(), *([self.pair()] if "adapt" not in name else [])]
        if name in ("bmm", "tensordot"):
            return [x(a, b, c), x(a, c, d)] if name == "bmm" else [x(a, b, c), x(b, c, d), 2]
        if name == "linear":
            return [x(a, b), x(c, b), x(c)]
        if name in ("conv1d", "conv2d", "conv_transpose1d", "conv_transpose2d"):
            dims = int(name[-2])
            weight = x(*((b, d) if "transpose" in name else (d, b)), *[2, 3][-dims:])
            padding = 0 if "transpose" in name else self.rng.choice([0, 1, 1, "same", "valid"])
            return [x(a, b, *[c + 1, 7][-dims:]), weight, None, self.pair(), padding]
        return None

    def fitting(self, module, x):
        """An input of the size that the module was made for."""
        for name, last in [("in_features", True), ("input_size", True), ("normalized_shape", True), ("embed_dim", True),
                           ("d_model", True), ("in_channels", False), ("num_features", False), ("num_channels", False)]:
            n = getattr(module, name, None)
            n = n[-1] if isinstance(n, tuple) and n else n
            if isinstance(n, int) and 0 <= n < 1000:
                a, b = self.sizes[:2]
                return fastdl.randn(*([a, b, n] if last else [a, n, *self.sizes[2 : 2 + self.rng.randint(0, 2)]]))
        return x

    def use(self, result) -> None:
        rng = self.rng
        outputs = [r for r in (result if isinstance(result, (tuple, list)) else [result]) if isinstance(r, fastdl.Tensor)]
        for y in outputs[:3]:
            if y.numel() > 100_000:
                continue
            if rng.random() < 0.05:
                repr(y), y.tolist()
            if rng.random() < 0.2:
                y = self.view(y)
            if y.requires_grad and y.is_floating_point() and rng.random() < 0.7:
                self.say("backward")
                if rng.random() < 0.1:
                    leaf = next((t for t in self.tensors if t.requires_grad), None)
                    if leaf is not None:
                        (g,) = fastdl.autograd.grad(y.sum(), [leaf], create_graph=True, allow_unused=True)
                        if g is not None and g.requires_grad:
                            g.sum().backward()
                else:
                    y.backward(fastdl.ones_like(y) if rng.random() < 0.9 else self.tensor(), retain_graph=rng.random() < 0.2)


def describe(value) -> str:
    if isinstance(value, fastdl.Tensor):
        return f"Tensor({str(value.dtype).rsplit('.', 1)[-1]}, {list(value.shape)}, strides {value.stride()}" + (
            ", requires_grad)" if value.requires_grad else ")"
        )
    if isinstance(value, (list, tuple)):
        return type(value).__name__ + "(" + ", ".join(map(describe, value)) + ")"
    return repr(value)[:80]


def calls_in_this_process(seed: int, first: int, count: int, note=lambda index: None) -> dict:
    """Makes the calls; returns how many ended how, and those with an unexpected exception."""
    among = targets()
    outcomes: collections.Counter = collections.Counter()
    good: collections.Counter = collections.Counter()
    failures = []
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    for index in range(first, first + count):
        note(index)
        call = Call(seed, index, among)
        try:
            outcome = call.run()
        except Exception as error:
            outcome = type(error).__name__
            failures.append({"index": index, "error": f"{outcome}: {error}"[:200], "call": call.log})
        outcomes[outcome] += 1
        if outcome == "ok":
            good[f"{call.kind}.{call.name}"] += 1
    return {"outcomes": outcomes, "failures": failures, "good": good}


def _child(seed: int, first: int, count: int, progress: str) -> None:
    import faulthandler
    import resource

    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with open(progress, "r+b") as file:
        memory = mmap.mmap(file.fileno(), 16)

        def note(index: int) -> None:
            memory[:8] = struct.pack("<q", index)

        print(json.dumps(calls_in_this_process(seed, first, count, note)))


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def watched(seed: int, first: int, count: int, say=lambda text: None, part: int = 20_000) -> dict:
    """The same in other processes of `part` calls, which may die or hang: the next one begins after that call."""
    total: dict = {"outcomes": collections.Counter(), "failures": [], "good": collections.Counter()}
    among = targets()
    index, end = first, first + count
    with tempfile.TemporaryDirectory() as folder:
        progress = Path(folder, "progress")
        while index < end:
            n = min(part - index % part, end - index)
            progress.write_bytes(struct.pack("<qq", index, 0))
            command = [sys.executable, "-m", "tests.fuzz_calls", "--seed", str(seed), "--first", str(index), "--count", str(n),
                       "--child", str(progress)]  # fmt: skip
            with open(Path(folder, "out"), "w+") as out, open(Path(folder, "err"), "w+") as err:
                process = subprocess.Popen(command, stdout=out, stderr=err)
                last, cpu, wall, hung = None, 0.0, time.monotonic(), False
                while process.poll() is None:
                    time.sleep(0.05 if n < 5000 else 0.5)
                    (now,) = struct.unpack("<q", progress.read_bytes()[:8])
                    try:
                        used = _cpu_seconds(process.pid)
                    except OSError:
                        continue
                    if now != last:
                        last, cpu, wall = now, used, time.monotonic()
                    elif used - cpu > LIMIT_SECONDS or (used == cpu and time.monotonic() - wall > 30 * LIMIT_SECONDS):
                        hung = True
                        process.kill()
                out.seek(0), err.seek(0)
                text = out.read().strip().rpartition("\n")[2]
                if process.returncode == 0 and not hung:
                    result = json.loads(text)
                    total["failures"] += result["failures"]
                    for key in ("outcomes", "good"):
                        total[key].update(result[key])
                    index += n
                else:
                    (at,) = struct.unpack("<q", progress.read_bytes()[:8])
                    kind, name = among[at % len(among)]
                    how = f"no end after {LIMIT_SECONDS} s" if hung else f"status {process.returncode}"
                    failure = {"index": at, "error": how, "call": [f"{kind}.{name}"], "trace": err.read()[-1500:]}
                    total["failures"].append(failure)
                    say(f"seed {seed} call {at}: {kind}.{name}: {how}")
                    total["outcomes"]["died"] += 1
                    if at > index:  # what came before the fall is made again, to be counted
                        end_of_good = at
                        result = watched(seed, index, end_of_good - index, say, part)
                        total["failures"] += result["failures"]
                        for key in ("outcomes", "good"):
                            total[key].update(result[key])
                    index = at + 1
            say(f"{index - first} calls")
    return total


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--only", type=int)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        _child(args.seed, args.first, args.count, args.child)
        return 0
    if args.only is not None:
        call = Call(args.seed, args.only, targets())
        try:
            print(call.run())
        finally:
            print("\n".join(call.log))
        return 0
    begin = time.monotonic()
    result = watched(args.seed, args.first, args.count, lambda text: print(text, flush=True))
    never = [".".join(t) for t in targets() if not result["good"][".".join(t)]]
    for failure in result["failures"]:
        print(json.dumps(failure))
    print(f"{sum(result['outcomes'].values())} calls in {time.monotonic() - begin:.0f} s: {dict(result['outcomes'])}")
    print(f"without a good call: {' '.join(never)}")
    print(f"{len(result['failures'])} failures")
    return bool(result["failures"])


if __name__ == "__main__":
    sys.exit(main())
