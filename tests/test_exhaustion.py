"""Without memory, and for a long time: errors leave all usable, nothing grows, nothing waits for the collector."""

from __future__ import annotations

import copy
import gc
import json
import sys

import pytest

from fastdl import _kernels, memory
from tests import families
from tests.process import DEEP, SANITIZED, run

NAMES = list(families.FAMILIES)


@pytest.mark.parametrize("name", NAMES)
def test_memory_error_at_every_allocation_of_a_step(name: str, monkeypatch):
    """Each allocation fails once. Then the step is done again from the state before: right bits, nothing lost."""
    monkeypatch.setattr(families, "ROWS", 5)
    gc.collect()  # what earlier tests left would go in the middle
    run = families.Run(name)
    run.step(0, 7)
    state = copy.deepcopy(run.state())
    before = memory.stats()["total_blocks"]
    run.step(1, 7)
    count = memory.stats()["total_blocks"] - before
    expected, live, errors = run.digest(), None, 0
    places = range(0, count, 1 if DEEP > 1 else max(count // 12, 1))
    for n in places:
        run.restore(state)
        _kernels.fail_alloc(n)
        try:
            run.step(1, 7)
        except MemoryError:
            errors += 1
        _kernels.fail_alloc(-1)
        run.restore(state)
        run.step(1, 7)
        assert run.digest() == expected, f"after a failure at allocation {n} of {count}"
        now = memory.stats()["live_bytes"], memory.stats()["live_blocks"]
        live = live or now
        assert now == live, f"a failure at allocation {n} of {count} loses memory"
    assert errors == len(places)


@pytest.mark.skipif(SANITIZED or not sys.platform.startswith("linux"), reason="needs RLIMIT_AS")
def test_a_step_under_a_falling_limit_of_the_address_space():
    """The system itself refuses memory: MemoryError, no harm. With the limit lifted the step has the right bits."""
    names, kibibytes = (NAMES, 2048) if DEEP > 1 else (["conv"], 4096)
    code = f"""
import copy, json, resource
import fastdl
from fastdl import memory
from tests import families
fastdl.set_num_threads(2)
families.ROWS = 64
_, hard = resource.getrlimit(resource.RLIMIT_AS)
def limited(more, run):
    memory.empty_cache()
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + more, hard))
    try:
        run.step(1)
    except MemoryError:
        return True
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    return False
found = {{}}
for name in {names}:
    run = families.Run(name)
    run.step(0)
    state = copy.deepcopy(run.state())
    run.step(1)
    expected, refused, more = run.digest(), [], 64 << 20
    while more >= 0:
        run.restore(state)
        refused.append(limited(more, run))
        run.restore(state)
        run.step(1)
        assert run.digest() == expected, (name, more)
        more -= {kibibytes} << 10
    found[name] = len(refused), sum(refused)
print(json.dumps(found))
"""
    found = json.loads(run(code, timeout=590))
    print(found)
    assert all(0 < refused < limits for limits, refused in found.values()), found


@pytest.mark.parametrize("name", NAMES if DEEP > 1 else ["gru"])
def test_memory_error_at_every_object_of_a_step(name: str):
    """Python's own allocations fail, one after another: no crash, and the step after each has the right bits."""
    pytest.importorskip("_testcapi", reason="the interpreter came without its test modules")
    code = f"""
import copy, json
import _testcapi
import fastdl
from tests import families
families.ROWS = 3
fastdl.set_num_threads(1)
minibatch = families.batch(1, 5)
families.batch = lambda *_: minibatch
run, errors = families.Run("{name}"), {{}}
run.step(0, 5)
state = copy.deepcopy(run.state())
run.step(1, 5)
expected, n, passed = run.digest(), 0, 0
while passed < 20:  # in a row: the step makes no more objects
    run.restore(state)
    _testcapi.set_nomemory(n, n + 1)
    found = None
    try:
        run.step(1, 5)
    except BaseException as error:
        found = type(error).__name__
    finally:
        _testcapi.remove_mem_hooks()
    errors[found] = errors.get(found, 0) + 1
    run.restore(state)
    run.step(1, 5)
    assert run.digest() == expected, n
    passed = 0 if found else passed + 1
    n += {5 if DEEP > 1 else 17}
print(json.dumps(errors))
"""
    errors = json.loads(run(code, timeout=590))
    print(errors)
    assert errors["MemoryError"] > 10
    assert set(errors) <= {"MemoryError", "SystemError", "null"}  # NumPy's reductions set no exception
    assert errors.get("SystemError", 0) <= errors["MemoryError"] / 20


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_left_for_the_cycle_collector(name: str):
    run = families.Run(name)
    run.step(0)
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        for i in range(3):
            run.step(i)
        gc.collect()
        found = [type(thing).__name__ for thing in gc.garbage]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert found == []


@pytest.mark.skipif(SANITIZED or not sys.platform.startswith("linux"), reason="reads /proc/self/statm")
def test_resident_memory_stays_flat_over_random_lengths():
    steps, rows, longest = (10_000, 8, 60) if DEEP > 1 else (600, 3, 20)
    code = f"""
import os, random
import fastdl
from tests import families
fastdl.set_num_threads(1)
families.ROWS = {rows}
def resident(): return int(open("/proc/self/statm").read().split()[1])
runs = [families.Run(name) for name in ("lstm", "bidirectional", "transformer", "conv")]
random.seed(0)
at = []
for i in range({steps}):
    runs[i % len(runs)].step(i, random.randint(2, {longest}))
    if i >= {steps // 2}: at.append(resident())
print(max(at) / at[0])
"""
    growth = float(run(code, timeout=590))
    assert growth < 1.05
