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


def differences(call, variants):
    """What fastdl does otherwise than the stored results say, a line each."""
    found = []
    for variant, (line, sums) in variants:
        if line.startswith("refused"):
            continue
        got, arrays = api_calls.run(fastdl, call, variant)
        if got != line:
            found.append(f"{variant}: {got!r}, PyTorch: {line!r}")
            continue
        low = [t for t in ("bfloat16", "float16") if t in line]
        rtol = TOLERANCE[low[0]] if low else 1e-9 if variant == "float64" and "float32" not in line else 2e-5
        for number, (mine, theirs, a) in enumerate(zip(api_calls.digest(arrays), sums, arrays)):
            scale = np.abs(a[np.isfinite(a)]).sum() + 1
            if not abs(mine - theirs) <= max(rtol, 2e-7) * scale:  # stored in float32
                found.append(f"{variant}: result {number}: sum {mine}, PyTorch: {theirs}")
                break
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


# What still differs: a call, a tab, its variants. A difference that is mended has to leave the list, a new one fails:
# `python -m tests.test_api` writes the list anew.
OPEN_FILE = api_calls.FILE.parents[1] / "api_open.txt"
OPEN = dict(line.split("\t") for line in OPEN_FILE.read_text().splitlines())


@pytest.mark.parametrize("call", STORED)
def test_gives_what_torch_gives(call):
    found = differences(call, STORED[call])
    assert " ".join(line.split(":")[0] for line in found) == OPEN.get(call, ""), "\n".join(found)


if __name__ == "__main__":
    variants = {call: " ".join(line.split(":")[0] for line in differences(call, STORED[call])) for call in STORED}
    OPEN_FILE.write_text("".join(f"{call}\t{names}\n" for call, names in variants.items() if names))
