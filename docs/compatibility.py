"""Compares fastdl's names with PyTorch's and writes docs/torch-compatibility.md.

`make docs` runs it; it needs PyTorch. `--check` only says whether the page is up to date. What the page says about
behaviour is kept here, by hand.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import types
from pathlib import Path

PAGE = Path(__file__).parent / "torch-compatibility.md"
SPACES = ("torch", "torch.Tensor", "torch.nn", "torch.nn.functional", "torch.nn.init", "torch.nn.utils",
          "torch.nn.utils.rnn", "torch.optim", "torch.optim.lr_scheduler", "torch.autograd", "torch.utils.data",
          "torch.distributions")  # fmt: skip

# name -> how fastdl differs
DIFFERENCES = {
    "numbers": "Results do not depend on the number of threads and are the same bits on AVX2, AVX-512 and NEON; they "
               "differ from PyTorch's by rounding. Random numbers are other ones.",
    "denormal numbers": "`set_flush_denormal(True)` makes them 0, in the calling thread and in what its calls compute "
                        "on the pool. They can be slow: a step of an LSTM (64 inputs, 256 units, 16 sequences of 32) "
                        "whose gradients are near 1e-39 took 712 ms, 8.1 ms with it; with gradients of ordinary size "
                        "7.9 and 7.7 ms. One multiplication or matrix product of denormals cost no more than of other "
                        "numbers on the same CPU.",
    "device": "Only the CPU: `device('cuda')` raises RuntimeError, `cuda.is_available()` is False.",
    "dtypes": "bool, uint8, int8 to int64, float16, bfloat16 (both stored, computed in float32), float32, float64; "
    "no complex or quantized types.",
    "torch.amp": "Switched off, as in PyTorch without a GPU; autocast for the CPU raises unless `enabled=False`.",
    "torch.jit.script": "Gives back the function or module that it got.",
    "torch.cuda": "Only the questions whether there is a device, and seeds, which do nothing.",
    "optim: differentiable": "`differentiable=True` raises NotImplementedError.",
    "optim.Optimizer.step": "`max_norm` clips gradients within the step: an extension.",
    "F.ctc_loss": "The gradient for log_probs is that of the formula; PyTorch adds exp(log_probs), which log_softmax "
                  "takes out again.",
    "F.interpolate": "`antialias=True` raises NotImplementedError.",
    "bool tensors": "`-` with a bool, and `//`, `%`, `**` of two bools, are computed (PyTorch refuses them).",
    "number % tensor": "Can be differentiated; PyTorch's `remainder` of a number cannot.",
    "logical_and_, .. in place": "The gradient of what is overwritten is 0; PyTorch's goes through as if nothing had "
                                 "been written.",
    "argmax, argmin, isin": "Take bool tensors, too.",
    "quantile": "Takes float16 and bfloat16, and q of another floating-point type; the result has the input's type.",
    "median, kthvalue": "Of equal elements the index may be another one. Expanded tensors have the values of copies; "
                        "PyTorch 2.13 gives others along an expanded dimension.",
    "norm": "p = 0 has a gradient of zeros; PyTorch's leaves `grad` None.",
    "repeat_interleave": "x.repeat_interleave() is that of torch.repeat_interleave(x); a str as index is a TypeError.",
    "hypot": "The gradient at (0, 0) is 0, not NaN.",
    "torch.vander": "Can be differentiated.",
    "copysign": "`other` gets no gradient where PyTorch's gets zeros.",
    "Multinomial.entropy": "Computed in the type of the probabilities; PyTorch's has a part in float32.",
    "save, load": "No pickle: safetensors and a list of allowed types; files of PyTorch can be read.",
    "CrossEntropyLoss": "A target outside the classes raises IndexError with its position.",
    "indices": "Numbers of elements, and classes, may be of any integer type, not only int64; without elements, too, "
               "they have to be integers. Masks may be 0-d.",
    "scatter, scatter_add": "Have gradients where the index is smaller than src, where there are no elements, and with "
                            "reduce='add'.",
    "scatter_reduce": "The undocumented 'max' and 'min' are refused.",
    "take_along_dim": "Without dim it flattens any layout.",
    "topk": "Takes bool; equal elements keep their order.",
    "losses": "huber_loss computes operands of several types in the promoted type; class weights may have another type "
              "than the scores.",
    "errors": "0-d operands of products and masks of a wrong shape are errors also where there is nothing to compute; "
              "some are RuntimeError where PyTorch's are IndexError.",
}

LEFT_OUT = (
    "**CUDA and other accelerators**: fastdl runs on CPUs.",
    "**distributed, rpc, multiprocessing**: one process trains a model.",
    "**quantization, sparse and nested tensors, complex numbers**: tensors are dense and real.",
    "**fft, linalg, special, windows, stft**: NumPy and SciPy have them, and share memory with tensors.",
    "**compile, export, fx, jit, onnx, profiler**: functions run as they are.",
    "**3-D convolutions and pools, fractional and unpooling**: not in the models that fastdl is made for.",
)

# What LEFT_OUT says, and machinery that is in no documentation: beginnings of names, or, from 4 letters on, parts.
INTERNAL = """
_ cudnn miopen mkldnn fbgemm quantized quantize q_ per_channel per_tensor fake_quant int_repr dequantize qint quint
choose_qparams fused_ sparse to_sparse hsmm hspmm smm spmm sspaddmm saddmm dsmm is_coalesced coalesce crow_ ccol_
col_indices row_indices dense_dim sparse_dim values indices sym_ Sym Script Type JIT autocast batch_norm_ native_ rnn_
lstm gru_ gru unsafe_ slice_inverse as_strided_ resolve_ view_as_ conj is_conj is_neg real imag complex cfloat cdouble
chalf polar angle is_vulkan vulkan mps mtia maia xpu xla ipu hpu cuda is_cuda is_ipu is_xla is_xpu is_mps is_meta
is_nested is_distributed is_inference stft istft _window linalg eig lu lstsq qr svd cholesky orgqr ormqr geqrf lobpcg
pca_ triangular solve inverse det slogdet logdet pinverse matrix_ symeig nuclear_ frobenius parse_ merge_type
import_ir unify get_file fork wait vmap cond while_loop compile Storage storage Stream Event Engine Generator bits
float8 float4 uint1 uint2 uint3 uint4 uint5 uint6 uint7 int1 int2 int3 int4 int5 int6 int7 bit set_default_tensor
memory_format layout _format strided jagged Sync Quant DataPipe DataChunk functional_datapipe runtime_validation
argument_validation non_deterministic guaranteed has_ init_num profiler Profiler kineto Lite Graph conv_tbc 3d _copy
handle_torch variadic unary_torch boolean_dispatch assert_int BroadcastingList GRID_ DType scaled_ grouped_ fractional
unpool Unpool Fractional MaxUnpool LPPool3d convert_conv fuse_ parametrize dim_order refine align_ rename names
Distributed pin_memory share_memory record_stream to_mkldnn to_padded map_ map2_ apply_ reinforce
storage_ untyped volatile resize set_ module_load as_subclass new const_data grad_dtype output_nr name hash_tensor
thread_safe to_dlpack deterministic_debug warn_always tf32 notes vitals AVG SUM Size PRIVATE USE_ TYPE_CHECKING
classproperty Callable Literal Optional ParamSpec TypeVar Self TypedDict SupportsFloat NamedTuple cast overload
override wraps partial bind ref inf copy_method EPOCH Sequence Mapping Swizzle Scaling Future Argument Benchmark
Logger Logging Node Value Use Block Code Capsule Tracing Dispatch Exclude Disable Deserial Serial DeepCopy Alias
Aggregation Accelerator CallStack Compilation Concrete Device Error File Function Fatal IODescriptor Named OutOf
PyTorch Static Throughput Tag Await Object Operator Execution RRef BufferDict ParameterDict ModuleDict Interface
Complete Union Container factory NLLLoss2d Transform transform_to biject_to register_kl
"""


def members(space: str, root: object) -> set[str]:
    """The public names of a name space, without modules."""
    found = root
    for part in space.split(".")[1:]:
        found = getattr(found, part)
    declared = getattr(found, "__all__", None) if space != "torch.nn.functional" else None
    names = declared if declared and space not in ("torch", "torch.nn") else dir(found)
    return {n for n in names if not n.startswith("_") and not isinstance(getattr(found, n, None), types.ModuleType)}


def is_internal(name: str) -> bool:
    """Whether a name that fastdl lacks belongs to what LEFT_OUT says."""
    return any(name.startswith(part) or (len(part) > 3 and part in name) for part in INTERNAL.split())


def page() -> str:
    """The text of the page."""
    torch = importlib.import_module("torch")
    fastdl = importlib.import_module("fastdl")
    for name in SPACES[2:]:
        importlib.import_module(name)
        importlib.import_module(name.replace("torch", "fastdl", 1))
    rows, missing = [], []
    for space in SPACES:
        theirs = members(space, torch)
        ours = fastdl
        for part in space.split(".")[1:]:
            ours = getattr(ours, part)
        there = {n for n in theirs if hasattr(ours, n)}
        lacking = sorted((n for n in theirs - there if not is_internal(n)), key=lambda n: (n.lower(), n))
        rows.append(f"| `{space}` | {len(there)} | {len(lacking)} |")
        if lacking:
            missing.append(f"- `{space}`: {', '.join(lacking)}")
    differences = [f"| {name} | {text} |" for name, text in DIFFERENCES.items()]
    version = torch.__version__.split("+")[0]
    lines = [
        "# Compatibility with PyTorch", "",
        f"Written by `make docs`, from fastdl's names and those of PyTorch {version}; do not edit.",
        "", "A name that is there takes PyTorch's arguments and gives its results: `tests/torch_calls.py` and",
        "`tests/cases` compare values, types, shapes and gradients.", "",
        "## Names", "",
        "Missing are names for dense training on a CPU; what is left out as a whole is listed below.", "",
        "| name space | there | missing |", "|---|---:|---:|", *rows, "",
        "## Differences", "", "| what | how |", "|---|---|", *differences, "",
        "## Left out", "", *(f"- {line}" for line in LEFT_OUT), "",
        "## Missing", "", *missing, "",
    ]  # fmt: skip
    return "\n".join(lines)


def main() -> int:
    """Writes the page, or compares it; the exit status."""
    text = page()
    if "--check" not in sys.argv:
        PAGE.write_text(text)
        return 0
    same = PAGE.exists() and inspect.cleandoc(PAGE.read_text()) == inspect.cleandoc(text)
    if not same:
        sys.stderr.write("docs/torch-compatibility.md is old: run python docs/compatibility.py\n")
    return not same


if __name__ == "__main__":
    sys.exit(main())
