"""Random calls of every public function, Tensor method and module, good ones and nonsense, with backward.

python -m tests.fuzz_calls --count 1000000 --seed 1       makes the calls in other processes, which it watches
python -m tests.fuzz_calls --seed 1 --only 4711           makes the one call again, in this process, and prints it

python -m tests.fuzz_calls --hypothesis 1000              hypothesis chooses, and looks for the simplest call that fails

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
from typing import Any

import numpy as np

import fastdl
from fastdl import nn
from fastdl.nn import functional
from tests.fuzz_arguments import Arguments
from tests.process import SANITIZED

LIMIT_BYTES = 3 << 30  # of address space; a new interpreter with fastdl has 1 GB, most of it never touched
LIMIT_SECONDS = 60 if SANITIZED else 20  # of processor time for a call
EXPECTED = (TypeError, ValueError, RuntimeError, IndexError, KeyError, AttributeError, ArithmeticError, MemoryError,
            AssertionError, BufferError)  # the last two as PyTorch, of attention's sizes, and DLPack
ABSTRACT = {"Tensor.__delitem__", "nn.RNNBase", "nn.RNNCellBase", "optim.Optimizer", "distributions.Distribution",
            "autograd.Function"}  # no call of them can be good
WRONG = (RecursionError,)  # subclasses of these that are none
LEFT_OUT = {  # files, processes, settings of the process, other libraries
    "load", "save", "as_torch", "compile", "seed", "manual_seed", "set_num_threads", "set_default_dtype", "set_rng_state",
    "set_printoptions", "set_grad_enabled", "set_check_finite", "set_float32_matmul_precision",
    "use_deterministic_algorithms", "enable_grad", "no_grad", "inference_mode", "set_flush_denormal", "set_num_interop_threads",
    "summary", "DataParallel", "__init_subclass__", "__subclasshook__", "__class__", "__new__", "__init__", "__dir__",
    "__setattr__", "__delattr__", "__getattribute__", "triplet_margin_with_distance_loss", "TripletMarginWithDistanceLoss",
    "register_hook", "register_post_accumulate_grad_hook",
    "data_ptr", "TYPE_CHECKING", "Any", "annotations", "Parameter", "Buffer", "Module", "__sizeof__", "cuda",
}  # fmt: skip


HOLDERS = {"fastdl": fastdl, "Tensor": fastdl.Tensor, "F": functional, "nn": nn, "init": nn.init, "utils": nn.utils,
           "optim": fastdl.optim, "distributions": fastdl.distributions, "autograd": fastdl.autograd,
           "metrics": fastdl.metrics}  # fmt: skip
CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)


def targets() -> list[tuple[str, str]]:
    """(kind, name) of all that is called."""
    found = []
    for kind, holder in HOLDERS.items():
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


class Call(Arguments):
    """One call, with what is done with its result."""

    def __init__(self, rng: random.Random, kind: str, name: str) -> None:
        super().__init__(rng, kind, name)
        self.log: list[str] = []

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
        fit = self.fitting_arguments(self.name) if self.rng.random() < 0.5 else None
        if self.kind == "Tensor":
            return self.make_of_tensor(fit)
        holder: Any = HOLDERS[self.kind]
        target = getattr(holder, self.name)
        args, kwargs = self.arguments(target)
        inputs = None
        if fit is not None:
            args, kwargs = fit, kwargs if self.rng.random() < 0.3 else {}
        elif self.kind == "nn" and self.rng.random() < 0.5 and (module := self.fitting_module()) is not None:
            (args, inputs), kwargs = module, {}
        if self.kind == "optim":
            parameters = [self.tensor().detach().requires_grad_() for _ in range(2)]
            args, kwargs = ([parameters], {}) if self.rng.random() < 0.3 else ([parameters, *args[1:]], kwargs)
        self.say(f"{self.kind}.{self.name}", *args, kwargs)
        result = target(*args, **kwargs)
        if isinstance(result, nn.Module):
            if inputs is None:
                inputs, _ = self.arguments(result.forward, own=False)
                if self.kind == "nn" and inputs and self.rng.random() < 0.7:
                    inputs[0] = self.fitting(result, inputs[0])
            self.say("called with", *inputs)
            return result(*inputs) if inputs or not isinstance(result, CONTAINERS) else result
        if self.kind == "optim" and hasattr(result, "step"):
            return self.step(result, args[0])
        if self.kind == "distributions" and hasattr(result, "sample"):
            sample = result.sample(self.size())
            return result.log_prob(sample)
        return result

    def make_of_tensor(self, fit: list | None):
        value = getattr(fastdl.Tensor, self.name)
        x = self.tensor() if fit is None else fit[0]
        if not callable(value):
            self.say(f"Tensor.{self.name}", x)
            return getattr(x, self.name)
        method = getattr(x, self.name)
        args, kwargs = self.arguments(method)
        if fit is not None:
            args, kwargs = fit[1:], kwargs if self.rng.random() < 0.3 else {}
        elif self.name in ("__getitem__", "__setitem__", "__delitem__"):
            args = [self.index(), *([self.argument("fill_value")] if self.name == "__setitem__" else [])]
        elif self.name == "__format__":
            args = [self.rng.choice(["", "", ".3f", "d", "x y"])]
        elif self.name.startswith("__") and self.name not in ("__array__", "__dlpack__", "__deepcopy__"):
            args = [self.tensor() if self.rng.random() < 0.6 else self.any()][: len(args)]
        self.say(f"Tensor.{self.name}", x, *args, kwargs)
        return method(*args, **kwargs)

    def step(self, optimizer, parameters: list):
        def closure():
            loss = sum((p * p).sum() for p in parameters)
            loss.backward()
            return loss

        for p in parameters:
            p.grad = self.tensor() if self.rng.random() < 0.5 else fastdl.ones_like(p)
        return optimizer.step(closure) if self.name == "LBFGS" else optimizer.step()

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


def call_of(seed: int, index: int, among: list[tuple[str, str]]) -> Call:
    """Call number `index` of a seed."""
    return Call(random.Random(f"{seed} {index}"), *among[index % len(among)])


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
    for index in range(first, first + count):
        note(index)
        call = call_of(seed, index, among)
        try:
            outcome = call.run()
        except Exception as error:
            outcome = type(error).__name__
            failures.append({"index": index, "error": f"{outcome}: {error}"[:200], "call": call.log})
        outcomes[outcome] += 1
        if outcome == "ok":
            good[f"{call.kind}.{call.name}"] += 1
    return {"outcomes": outcomes, "failures": failures, "good": good}


def chosen_by_hypothesis(examples: int) -> None:
    """Calls whose arguments hypothesis draws; it raises for the simplest one that fails, and prints it."""
    from hypothesis import HealthCheck, given, note, settings
    from hypothesis import strategies as st

    @settings(max_examples=examples, database=None, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(targets()), st.randoms())
    def one(target: tuple[str, str], rng: random.Random) -> None:
        call = Call(rng, *target)
        try:
            call.run()
        finally:
            note("\n".join(call.log))

    one()


def set_limits() -> None:
    import faulthandler
    import resource

    faulthandler.enable()
    limit = LIMIT_BYTES
    if SANITIZED:  # which take terabytes of addresses
        limit += int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")


def _child(seed: int, first: int, count: int, progress: str) -> None:
    set_limits()
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
    parser.add_argument("--hypothesis", type=int, metavar="COUNT")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        _child(args.seed, args.first, args.count, args.child)
        return 0
    if args.hypothesis:
        set_limits()
        chosen_by_hypothesis(args.hypothesis)
        print(f"{args.hypothesis} calls chosen by hypothesis")
        return 0
    if args.only is not None:
        call = call_of(args.seed, args.only, targets())
        try:
            print(call.run())
        finally:
            print("\n".join(call.log))
        return 0
    begin = time.monotonic()
    result = watched(args.seed, args.first, args.count, lambda text: print(text, flush=True))
    never = sorted({".".join(t) for t in targets()} - set(result["good"]) - ABSTRACT)
    for failure in result["failures"]:
        print(json.dumps(failure))
    few = args.count < 400_000  # not enough for every function to have a good call
    print(f"{sum(result['outcomes'].values())} calls in {time.monotonic() - begin:.0f} s: {dict(result['outcomes'])}")
    print(f"without a good call: {' '.join(never)}")
    print(f"{len(result['failures'])} failures")
    return bool(result["failures"]) or bool(never and not few)


if __name__ == "__main__":
    sys.exit(main())
