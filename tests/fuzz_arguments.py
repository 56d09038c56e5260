"""Random arguments for tests/fuzz_calls.py: of the right kind by the parameter's name, or nonsense."""

from __future__ import annotations

import inspect
import math
import random
import warnings
from typing import ClassVar

import numpy as np

import fastdl
from fastdl import nn

HUGE = [2**31 - 1, 2**31, 2**32 + 1, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 + 1, -(2**31), -(2**63), -(2**63) - 1]
NUMBERS = [0.0, -0.0, 1.0, 0.5, -1.0, 2.0, 0.1, 1e-8, 1e30, -1e300, 1e-45, float("nan"), float("inf"), float("-inf")]
TYPES = [fastdl.float32, fastdl.float64, fastdl.int64, fastdl.int32, fastdl.int16, fastdl.int8, fastdl.uint8, fastdl.bool,
         fastdl.float16, fastdl.bfloat16]  # fmt: skip
LOSSES = {"CTCLoss": "ctc_loss", "NLLLoss": "nll_loss", "CrossEntropyLoss": "cross_entropy",
          "MultiMarginLoss": "multi_margin_loss", "CosineEmbeddingLoss": "cosine_embedding_loss",
          "TripletMarginLoss": "triplet_margin_loss"}  # fmt: skip
SIGNATURES: dict[tuple[str, str], list[inspect.Parameter] | None] = {}  # to find one takes longer than most calls


def parameters_of(function) -> list[inspect.Parameter] | None:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return None


class Arguments:
    """Values for the arguments of one function. They share sizes, types and sometimes memory."""

    def __init__(self, rng: random.Random, kind: str, name: str) -> None:
        self.rng, self.kind, self.name = rng, kind, name
        self.tensors: list[fastdl.Tensor] = []
        self.sizes = [rng.choice([0, 1, 2, 3, 4, 5, 7, 17, 33]) if rng.random() < 0.3 else rng.choice([1, 2, 3, 4, 5, 6])
                      for _ in range(4)]  # fmt: skip
        if rng.random() < 0.3:  # what has to agree agrees
            self.sizes = self.sizes[:1] * 4
        self.shape = self.sizes[: rng.choice([0, 1, 1, 2, 2, 2, 3, 3, 4])]
        self.type = rng.choice(TYPES) if rng.random() < 0.3 else fastdl.float32

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
        dtype = rng.choice([fastdl.int64] * 30 + TYPES) if integer else self.type
        count = math.prod(shape)
        if count > 100_000:
            shape = shape[:1]
            count = shape[0] if shape else 1
        if dtype.is_floating_point:
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
            return x.unsqueeze(rng.randint(0, n)).expand(rng.randint(1, 3), *x.shape)
        if kind == 4 and n and x.numel() and not x.requires_grad and x.dtype is not fastdl.bfloat16:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return fastdl.from_numpy(x.numpy()[::-1]) if rng.random() < 0.5 else x.clone()
        return x.detach() if rng.random() < 0.3 else x

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
        if name in ("dtype", "from_", "to"):
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

    def arguments(self, function, own: bool = True) -> tuple[list, dict]:
        """Positional ones and those by name; own: the function is the one that this is for."""
        rng = self.rng
        key = (self.kind, self.name)
        parameters = SIGNATURES[key] if own and key in SIGNATURES else parameters_of(function)
        if own:
            SIGNATURES[key] = parameters
        if parameters is None:
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

    # arguments that agree with each other, where they have different shapes

    def ids(self, *shape: int, below: int) -> fastdl.Tensor:
        below += self.rng.random() < 0.05
        return fastdl.tensor(np.array([self.rng.randrange(max(below, 1)) for _ in range(int(np.prod(shape)))]).reshape(shape))

    def unit(self, *shape: int) -> fastdl.Tensor:
        """Numbers in [0, 1]."""
        return fastdl.tensor(np.array([self.rng.random() for _ in range(int(np.prod(shape)))], np.float32).reshape(shape))

    def fitting_arguments(self, name: str) -> list | None:
        """Those of a function (of a method: with the tensor), or None."""
        a, b, c, d = (min(n, 6) for n in self.sizes)
        x = lambda *shape: self.tensor(shape=list(shape))
        name, rng = name.rstrip("_"), self.rng
        if name in ("embedding", "embedding_bag"):
            return [self.ids(a, b, below=c), x(c, d)]
        if name in ("nll_loss", "cross_entropy", "multi_margin_loss"):
            return [x(a, b), self.ids(a, below=b)]
        if name == "binary_cross_entropy":
            return [self.unit(a, b), self.unit(a, b)]
        if name == "linear_cross_entropy":
            return [x(a, b), x(c, b), self.ids(a, below=c)]
        if name == "ctc_loss":
            return [x(a, b, c), self.ids(b, d, below=c), self.ids(b, below=a + 1), self.ids(b, below=d + 1)]
        if name == "scaled_dot_product_attention":
            return [x(a, b, c, d), x(a, b, a, d), x(a, b, a, c), *([x(c, a)] if rng.random() < 0.3 else [])]
        if name == "multi_head_attention_forward":
            e = 2 * d
            return [x(a, b, e), x(c, b, e), x(c, b, e), e, 2, x(3 * e, e), x(3 * e), None, None, rng.random() < 0.3, 0.0, x(e, e), x(e)]
        if name == "additive_attention_score":
            return [x(a, b, d), x(a, c, d), x(d)]
        if name == "bilinear":
            return [x(a, b), x(a, c), x(d, b, c), x(d)]
        if name in ("scatter", "scatter_add", "index_add", "index_copy", "scatter_reduce"):
            index = self.ids(b, below=a) if name.startswith("index") else self.ids(a, b, below=a)
            return [x(a, b), rng.choice([0, 1, -1]), index, x(a, b), *(["sum"] if name == "scatter_reduce" else [])]
        if name == "index_put":
            return [x(a, b), (self.ids(c, below=a), self.ids(c, below=b)), x(c), rng.random() < 0.5]
        if name == "select_scatter":
            return [x(a, b, c), x(a, c), 1, rng.randrange(max(b, 1))]
        if name == "diagonal_scatter":
            return [x(a, b), x(min(a, b))]
        if name == "promote_types":
            return [rng.choice(TYPES), rng.choice(TYPES)]
        if name == "split_with_sizes":
            return [x(a + b, c), [a, b], 0]
        if name == "cosine_embedding_loss":
            return [x(a, b), x(a, b), fastdl.tensor(1 - 2 * rng.randrange(2)).expand(a)]
        if name == "triplet_margin_loss":
            return [x(a, b), x(a, b), x(a, b)]
        if name == "as_strided":
            return [x(a, b), [a, rng.randint(0, 2)], [rng.choice([0, 1, b]), 1], *([rng.randint(0, 2)] if rng.random() < 0.5 else [])]
        if name == "lerp":
            return [x(a, b), x(a, b), x(a, b) if rng.random() < 0.5 else self.number()]
        if name == "unfold" and self.kind == "Tensor":
            return [x(a, b), rng.choice([0, 1, -1]), rng.randint(1, 3), self.positive()]
        if name in ("fold", "unfold"):
            k = rng.randint(1, 3)
            return [x(a, b * k * k, 9), (k + 2, k + 2), k] if name == "fold" else [x(a, b, k + c, k + d), k]
        if name in ("max_pool1d", "avg_pool1d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "avg_pool2d", "max_pool2d"):
            return [x(a, b, c, d) if "2d" in name else x(a, b, c), self.pair(), *([self.pair()] if "adapt" not in name else [])]
        if name in ("bmm", "tensordot"):
            return [x(a, b, c), x(a, c, d)] if name == "bmm" else [x(a, b, c), x(b, c, d), 2]
        if name == "linear":
            return [x(a, b), x(c, b), x(c)]
        if name in ("conv1d", "conv2d", "conv_transpose1d", "conv_transpose2d"):
            dims = int(name[-2])
            weight = x(*((b, d) if "transpose" in name else (d, b)), *[2, 3][-dims:])
            padding = 0 if "transpose" in name else rng.choice([0, 1, 1, "same", "valid"])
            return [x(a, b, *[c + 1, 7][-dims:]), weight, None, self.pair(), padding]
        if name == "calculate_gain":
            return [rng.choice(["linear", "conv2d", "sigmoid", "tanh", "relu", "leaky_relu", "selu"])]
        if name == "Multinomial":
            return [rng.randint(0, 5), self.unit(a, b + 1) + 0.1]
        if name == "kl_divergence":
            p, q = (fastdl.distributions.Normal(self.tensor(), rng.random() + 0.1) for _ in range(2))
            return [p, q]
        if name in ("gradcheck", "gradgradcheck"):
            v = fastdl.tensor(np.array([rng.gauss(0, 1) for _ in range(a * b)]).reshape(a, b)).requires_grad_()
            return [rng.choice([fastdl.tanh, lambda t: t * t, lambda t: t.sum(0)]), (v,)]
        return None

    def fitting_module(self) -> tuple[list, list] | None:
        """What a module is made with and called with, or None."""
        a, b, c, d = (min(n, 6) for n in self.sizes)
        x = lambda *shape: self.tensor(shape=list(shape))
        name, rng, e = self.name, self.rng, 2 * max(d, 1)
        if name == "Bilinear":
            return [a, b, c], [x(d, a), x(d, b)]
        if name in LOSSES:
            return [], self.fitting_arguments(LOSSES[name])
        if name in ("RNNCell", "GRUCell", "LSTMCell"):
            h = [x(a, c), x(a, c)]
            return [b, c], [x(a, b), *([h[0] if name != "LSTMCell" else (h[0], h[1])] if rng.random() < 0.5 else [])]
        if name in ("RNN", "GRU", "LSTM"):
            return [c, d, rng.choice([1, 2])], [x(a, b, c)]
        if name == "LinearCrossEntropyLoss":
            return [b, c], [x(a, b), self.ids(a, below=c)]
        if name == "PoissonNLLLoss":
            return [], [x(a, b), self.unit(a, b)]
        if name in ("BatchNorm3d", "InstanceNorm3d", "LazyBatchNorm3d", "LazyInstanceNorm3d"):
            return [] if name.startswith("Lazy") else [b], [x(a, b, c, d, 2)]
        if name == "Fold":
            return [(c + 1, d + 1), 2], [x(a, 4 * b, c * d)]
        if name == "MultiheadAttention":
            return [e, 2], [x(a, b, e), x(c, b, e), x(c, b, e)]
        if name == "Transformer":
            return [e, 2, 1, 1, b], [x(a, b, e), x(c, b, e)]
        if name in ("TransformerEncoderLayer", "TransformerDecoderLayer"):
            return [e, 2, b], [x(a, b, e), *([x(c, b, e)] if "Decoder" in name else [])]
        if name in ("ModuleList", "ModuleDict", "ParameterList", "ParameterDict"):
            make = (lambda: nn.Linear(a, b)) if "Module" in name else (lambda: nn.Parameter(fastdl.ones(a, b)))
            return [{"w": make(), "v": make()} if "Dict" in name else [make(), make()]], []
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
