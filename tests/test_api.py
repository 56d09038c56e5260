"""tests/api_calls.py: every name has a call, and each call gives what PyTorch gives."""

import importlib

import numpy as np
import pytest

import fastdl
from tests import api_calls

for _part in ("distributions.multinomial", "optim.lr_scheduler", "utils.data", "cuda", "nn.init", "nn.utils.rnn"):
    importlib.import_module(f"fastdl.{_part}")

TOLERANCE = {"float16": 5e-3, "bfloat16": 4e-2, "float64": 1e-9}


def stored():
    """(variant, call) -> (line, sums), of PyTorch."""
    with np.load(api_calls.FILE) as file:
        keys, lines = str(file["keys"]).split("\n"), str(file["lines"]).split("\0")
        sums = np.split(file["sums"], np.cumsum(file["counts"])[:-1])
    return {tuple(key.split("|", 1)): found for key, found in zip(keys, zip(lines, sums))}


def tolerance(line, variant):
    """How much results of the types in `line` may differ by."""
    low = [t for t in ("bfloat16", "float16") if t in line]
    return TOLERANCE[low[0]] if low else 1e-9 if variant == "float64" and "float32" not in line else 2e-5


def sums_differ(arrays, sums, rtol):
    """The first result whose sum is not the stored one."""
    for number, (mine, theirs, a) in enumerate(zip(api_calls.digest(arrays), sums, arrays)):
        scale = np.abs(a[np.isfinite(a)]).sum() + 1
        if not abs(mine - theirs) <= max(rtol, 2e-7) * scale:  # stored in float32
            return f"result {number}: sum {mine}, stored: {theirs}"
    return ""


def differences(call, variants):
    """What fastdl does otherwise than the stored results say, a line each."""
    found = []
    for variant, (line, sums) in variants:
        if line.startswith("refused"):
            continue
        got, arrays = api_calls.run(fastdl, call, variant)
        text = sums_differ(arrays, sums, tolerance(line, variant)) if got == line else f"{got!r}, PyTorch: {line!r}"
        if text:
            found.append(f"{variant}: {text}")
    return found


STORED = {}
for (_variant, _call), _found in stored().items():
    STORED.setdefault(_call, []).append((_variant, _found))


def test_every_name_has_a_call():
    assert not api_calls.missing()
    assert {call for calls in api_calls.CALLS.values() for call in calls} <= set(STORED), "run tests/api_calls.py"


def test_every_name_is_there():
    def there(name):
        at = fastdl
        for part in name.split("."):
            if not hasattr(at, part):
                # attributes of instances are in the calls
                of_instance = isinstance(at, type) and at is not fastdl.Tensor
                return of_instance or (at is fastdl and hasattr(fastdl.Tensor, part))
            at = getattr(at, part)
        return True

    assert not [name for name in api_calls.NAMES.read_text().split() if not there(name)]


# What differs: a call, a tab, its variants; on purpose, under the reasons, and what is still open. A difference that is
# mended has to leave its list, a new one fails: `python -m tests.test_api` writes the open ones anew.
OPEN_FILE, DELIBERATE_FILE = (api_calls.FILE.parents[1] / f"api_{name}.txt" for name in ("open", "deliberate"))


def listed(file):
    """call -> variants"""
    lines = [line.split("\t") for line in file.read_text().splitlines() if not line.startswith("# ")]
    return {call: set(variants.split()) for call, variants in lines}


OPEN, DELIBERATE = listed(OPEN_FILE), listed(DELIBERATE_FILE)


def known(call):
    """The variants of a call that are known to differ."""
    return OPEN.get(call, set()) | DELIBERATE.get(call, set())


@pytest.mark.parametrize("call", STORED)
def test_gives_what_torch_gives(call):
    found = differences(call, STORED[call])
    assert {line.split(":")[0] for line in found} == known(call), "\n".join(found)


# The same with PyTorch itself: element by element ---------------------------------------------------------------------

# PyTorch 2.13 reads memory that is not the tensor's: the median of a row that was expanded is not the row
UNSTEADY = {("torch.median(x, dim=0)", "expanded")}
NOT_COMPARED = ("?", "-")  # random numbers, and what is not a value


@pytest.fixture(scope="module")
def torch():
    """PyTorch, of the version whose results are stored."""
    found = pytest.importorskip("torch", minversion=api_calls.VERSION)
    if not found.__version__.startswith(api_calls.VERSION):
        pytest.skip(f"the stored results are those of {api_calls.VERSION}")
    for name in ("distributions.multinomial", "optim.lr_scheduler", "utils.data"):
        importlib.import_module(f"torch.{name}")
    found.set_num_threads(1)
    return found


def element_differs(mine, theirs, rtol):
    """The first element that differs by more than 4 rtol of the largest one, or of 1: norms divide by as little as
    sqrt(1e-5), which makes rounding errors that large. PyTorch's celu of float64 has a gradient with errors of 1e-8."""
    rtol = max(rtol, 5e-9)
    with np.errstate(invalid="ignore"):
        largest = np.abs(theirs[np.isfinite(theirs)]).max(initial=1.0)
        same = (mine == theirs) | (np.isnan(mine) & np.isnan(theirs)) | (np.abs(mine - theirs) <= 4 * rtol * largest)
    if same.all():
        return ""
    at = tuple(np.argwhere(~same)[0])
    return f"at {[int(i) for i in at]} {mine[at]}, PyTorch: {theirs[at]}"


@pytest.mark.parametrize("call", STORED)
def test_gives_what_the_installed_torch_gives(torch, call):
    """Every element of every output and gradient; and PyTorch still gives what is stored of it."""
    found = []
    for variant, (line, sums) in STORED[call]:
        if (call, variant) in UNSTEADY:
            continue
        got, arrays = api_calls.run(torch, call, variant)
        rtol = tolerance(line, variant)
        stored = sums_differ(arrays, sums, rtol) if got == line else f"{got!r}, stored: {line!r}"
        if stored:
            found.append(f"{variant}: PyTorch gives {stored}")
        if line.startswith("refused") or call[0] in NOT_COMPARED or variant in known(call):
            continue
        mine = api_calls.run(fastdl, call, variant)[1]
        texts = [text for a, b in zip(mine, arrays) if (text := element_differs(a, b, rtol))]
        found += [f"{variant}: {text}" for text in texts[:1]]
    assert not found, "\n".join(found)


if __name__ == "__main__":
    variants = {call: [line.split(":")[0] for line in differences(call, STORED[call])] for call in STORED}
    left = {call: [v for v in names if v not in DELIBERATE.get(call, ())] for call, names in variants.items()}
    OPEN_FILE.write_text("".join(f"{call}\t{' '.join(names)}\n" for call, names in left.items() if names))
