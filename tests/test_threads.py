"""The thread pool: made when needed, gone when not wanted, unharmed by fork, and sized by what the process may use."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import fastdl
from fastdl import _kernels
from tests import families
from tests.process import DEEP, ROOT, SANITIZED, run, start

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads Linux's files")

# `work()` runs kernels in all threads and checks what they did; `tasks()` is the number of OS threads, once it is `n`
SETUP = """
import os, sys, time
import numpy as np
import fastdl
a = np.random.default_rng(0).standard_normal((300, 200)).astype(np.float32)
x = fastdl.from_numpy(a)
product = a @ a.T
def work():
    y = x @ x.T
    assert np.allclose(y.numpy(), product, atol=1e-3)
    z = fastdl.ones(300000) * 2 + 1
    assert z.numpy().sum() == 900000
    w = fastdl.ones(256, 256, requires_grad=True)
    (w @ w).sum().backward()
    assert w.grad.numpy().sum() == 2 * 256**3
def tasks(n):
    for _ in range(200):  # an ended thread stays in the list for an instant
        if len(os.listdir("/proc/self/task")) == n:
            return n
        time.sleep(0.01)
    return len(os.listdir("/proc/self/task"))
"""
ONE_BLAS_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@pytest.fixture(autouse=True)
def same_threads_after():
    before = fastdl.get_num_threads()
    yield
    fastdl.set_num_threads(before)


def busy_work() -> None:
    x = fastdl.ones(400, 400)
    assert (x @ x).numpy().sum() == 400**3


# how many threads there are


@linux
def test_no_thread_is_made_at_import_and_the_pool_follows_the_count():
    code = SETUP + """
assert tasks(1) == 1, "made at import"
fastdl.set_num_threads(3); assert tasks(1) == 1, "made before they are needed"
work(); assert tasks(3) == 3
fastdl.set_num_threads(2); assert tasks(2) == 2
fastdl.set_num_threads(1); assert tasks(1) == 1
work(); assert tasks(1) == 1
fastdl.set_num_threads(2); work(); assert tasks(2) == 2
print("ok")
"""
    assert run(code, **ONE_BLAS_THREAD) == "ok"


def test_set_num_threads_is_what_get_num_threads_says():
    for n in (1, 2, 3, 7, np.int64(2)):
        fastdl.set_num_threads(n)
        assert fastdl.get_num_threads() == n
        busy_work()
        assert _kernels.pool_size() <= n - 1


@pytest.mark.parametrize("bad", [0, -1, -(10**30)])
def test_a_count_below_one_is_refused(bad: int):
    before = fastdl.get_num_threads()
    with pytest.raises(RuntimeError, match=r"\[set_num_threads\] n: expected at least 1, got " + str(bad)):
        fastdl.set_num_threads(bad)
    assert fastdl.get_num_threads() == before


@pytest.mark.parametrize("bad", ["2", 1.5, None, True])
def test_a_count_that_is_no_whole_number_is_refused(bad: object):
    with pytest.raises(TypeError, match="expected a whole number, got " + repr(bad)):
        fastdl.set_num_threads(bad)


# denormal numbers


def denormals_that_are_left(dtype: type[np.floating], tiny: float) -> int:
    """How many numbers of a sum, a product of matrices and a row function are not 0 where they would be denormal."""
    rng = np.random.default_rng(3)
    x = fastdl.from_numpy((tiny * rng.uniform(1, 2, 300_007)).astype(dtype))
    a = fastdl.from_numpy((tiny * rng.uniform(1, 2, (301, 203))).astype(dtype))
    eye = fastdl.from_numpy(np.eye(203, 203, dtype=dtype))
    results = [x + x, x * 1.5, a @ eye, a.sum(1)]
    return sum(int(np.count_nonzero(r.numpy().view(f"u{r.numpy().itemsize}"))) for r in results)


@pytest.mark.skipif(not fastdl.set_flush_denormal(False), reason="a CPU without this mode")
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(("dtype", "tiny"), [(np.float32, 1e-40), (np.float64, 1e-310)])
def test_denormals_are_flushed_on_every_thread_and_kernels_leave_the_mode(
    threads: int, dtype: type[np.floating], tiny: float
):
    fastdl.set_num_threads(threads)
    one = np.full(1, tiny, dtype)
    every = 2 * 300_007 + 301 * 203 + 301
    try:
        for on in (True, False, True, False):
            assert fastdl.set_flush_denormal(on) is True
            for _ in range(3):
                assert denormals_that_are_left(dtype, tiny) == (0 if on else every)
                assert ((one * 1.5).view(np.uint8).any()) == (not on), "the caller's own mode"
    finally:
        fastdl.set_flush_denormal(False)


@pytest.mark.skipif(not fastdl.set_flush_denormal(False), reason="a CPU without this mode")
def test_the_mode_of_denormals_belongs_to_a_thread():
    left = []

    def flushed():
        fastdl.set_flush_denormal(True)
        left.append(denormals_that_are_left(np.float32, 1e-40))

    fastdl.set_num_threads(2)
    other = threading.Thread(target=flushed)
    other.start()
    other.join()
    assert left == [0]
    assert denormals_that_are_left(np.float32, 1e-40) > 0


@pytest.mark.parametrize("bad", [1, 0, None, "yes"])
def test_a_mode_of_denormals_that_is_no_bool_is_refused(bad: object):
    with pytest.raises(TypeError, match=r"\[set_flush_denormal\] mode: expected a bool, got " + repr(bad)):
        fastdl.set_flush_denormal(bad)


def test_huge_counts_are_capped():
    fastdl.set_num_threads(10**20)
    assert fastdl.get_num_threads() == 256
    fastdl.set_num_threads(1)


@pytest.mark.parametrize("value", ["abc", "0", "-1", "1.5", "2 threads", "\u00b2", "9" * 5000])
def test_a_nonsense_environment_variable_is_an_import_error_that_names_it(value: str):
    result = start("import fastdl", FASTDL_NUM_THREADS=value)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == f"ImportError: FASTDL_NUM_THREADS={value}: expected a whole number >= 1"


def test_the_environment_variable_sets_the_count():
    code = "import fastdl; from fastdl import _kernels; print(fastdl.get_num_threads(), _kernels.threads_why())"
    assert run(code, FASTDL_NUM_THREADS="3") == "3 FASTDL_NUM_THREADS"
    assert run(code, FASTDL_NUM_THREADS="").split()[0] == str(_kernels.default_num_threads()[0])


# the default: affinity and the container's quota

COUNT = "from fastdl import _kernels; print(*_kernels.default_num_threads(), sep='; ')"
PLENTY = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def cgroup(root: Path, line: str, files: dict[str, str]) -> str:
    """A root folder for FASTDL_CGROUP_ROOT: /proc/self/cgroup with this text, and these files below /sys/fs/cgroup."""
    files = {"proc/self/cgroup": line, **{"sys/fs/cgroup/" + name: text for name, text in files.items()}}
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return str(root)


def v1(folder: str, quota: int, period: int = 100000) -> dict[str, str]:
    return {f"{folder}/cpu.cfs_quota_us": f"{quota}\n", f"{folder}/cpu.cfs_period_us": f"{period}\n"}


CGROUPS = {  # /proc/self/cgroup, the files, the quota in CPUs
    "v2": ("0::/\n", {"cpu.max": "50000 100000\n"}, 0.5),
    "v2 below the root": ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "25000 100000\n"}, 0.25),
    "v2, own limit the smaller": ("0::/a/b\n", {"a/b/cpu.max": "10000 100000\n", "a/cpu.max": "90000 100000\n"}, 0.1),
    "v2, the host's path in a container": ("0::/docker/f00\n", {"cpu.max": "70000 100000\n"}, 0.7),
    "v2 beside v1": ("1:cpu:/\n0::/x\n", {"unified/x/cpu.max": "30000 100000\n"}, 0.3),
    "v1": ("4:cpu,cpuacct:/\n", v1("cpu,cpuacct", 20000), 0.2),
    "v1 below the root": ("7:memory:/m\n4:cpuacct,cpu:/a\n", v1("cpu/a", 40000, 50000), 0.8),
    "v1 without a limit": ("4:cpu:/\n", v1("cpu", -1), None),
    "v1, other controller": ("4:cpuset:/\n", v1("cpu", 10000), None),
    "v2 without a limit": ("0::/\n", {"cpu.max": "max 100000\n"}, None),
    "v2, more than there is": ("0::/\n", {"cpu.max": "100000000 100000\n"}, 1000.0),
    "nonsense": ("no colon\n::\n0::\n\n", {"cpu.max": "0 0\n"}, None),
    "no files": ("0::/gone\n", {}, None),
}


@linux
@pytest.mark.parametrize("name", CGROUPS)
def test_the_default_respects_the_quota_of_the_container(name: str, tmp_path: Path):
    line, files, quota = CGROUPS[name]
    count, why = run(COUNT, FASTDL_CGROUP_ROOT=cgroup(tmp_path, line, files)).split("; ")
    assert int(count) == (PLENTY if quota is None else min(PLENTY, max(1, -int(-quota // 1))))
    assert why.endswith("no cgroup quota" if quota is None else f"cgroup quota is {quota:.4g} CPUs")


@linux
@pytest.mark.skipif(PLENTY < 2, reason="needs two CPUs")
@pytest.mark.parametrize("quota, count", [(100000, 1), (100001, 2), (150000, 2), (200000, 2), (99999, 1)])
def test_a_quota_is_rounded_up(quota: int, count: int, tmp_path: Path):
    root = cgroup(tmp_path, "0::/\n", {"cpu.max": f"{quota} 100000\n"})
    assert run(COUNT, FASTDL_CGROUP_ROOT=root).startswith(f"{count}; ")


@linux
@pytest.mark.skipif(not shutil.which("taskset"), reason="needs taskset")
def test_the_default_respects_the_affinity_mask():
    cpu = str(min(os.sched_getaffinity(0)))
    assert run(COUNT, before=["taskset", "-c", cpu]).startswith("1; affinity allows 1 CPU, ")
    assert run(SETUP + "fastdl.set_num_threads(3); work(); print('ok')", before=["taskset", "-c", cpu]) == "ok"


# refused threads

REFUSAL = """
import resource, warnings
def refuse():
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    if os.getuid() == 0:
        os.setuid(65534)  # limits do not hold for root
"""


@linux
@pytest.mark.skipif(SANITIZED, reason="the sanitizer needs its own threads")
def test_refused_threads_are_done_without_and_reported_once():
    code = SETUP + REFUSAL + """
fastdl.set_num_threads(3)
refuse()
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for _ in range(5): work()
    for _ in range(1000): pass
print([str(w.message) for w in caught], fastdl.get_num_threads(), tasks(1))
"""
    said = "the system refused 2 of fastdl's 3 threads; going on with fewer"
    assert run(code, **ONE_BLAS_THREAD) == f"{[said]} 3 1"


# fork

FORK = SETUP + """
import signal
def child():
    status = 1
    try:
        signal.alarm(20)
        work()
        status = 0
    finally:
        os._exit(status)
def fork_and_work(times):
    for i in range(times):
        pid = os.fork()
        if not pid:
            child()
        assert os.waitpid(pid, 0)[1] == 0, f"child {i} failed or hung"
fastdl.set_num_threads(3)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_computes_and_so_does_the_parent_after_it():
    run(FORK + f"work(); fork_and_work({50 * DEEP}); work()", timeout=600, **ONE_BLAS_THREAD)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_forked_while_other_threads_compute_works():
    code = FORK + f"""
import threading
stop = False
def load():
    while not stop: work()
threads = [threading.Thread(target=load) for _ in range(2)]
for t in threads: t.start()
try:
    fork_and_work({50 * DEEP})
finally:
    stop = True
for t in threads: t.join()
"""
    run(code, before=(), timeout=600, PYTHONWARNINGS="ignore", **ONE_BLAS_THREAD)


@linux
def test_a_child_makes_its_own_threads():
    code = FORK + """
work()
pid = os.fork()
if not pid:
    ok = tasks(1) == 1
    work()
    os._exit(0 if ok and tasks(3) == 3 else 1)
assert os.waitpid(pid, 0)[1] == 0
"""
    run(code, **ONE_BLAS_THREAD)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pools_of_processes_train_as_this_one(method: str):
    code = f"""
import multiprocessing as mp
from functools import partial
import fastdl
from tests import families
fastdl.set_num_threads(2)
train = partial(families.digests, {DEEP})
names = [["linear"], ["gru"], ["bert"]]
expected = [train(n) for n in names]
with mp.get_context("{method}").Pool(2) as pool:
    assert pool.map(train, names, chunksize=1) == expected
assert [train(n) for n in names] == expected
"""
    run(code, PYTHONWARNINGS="ignore")


# several Python threads


@pytest.mark.parametrize("n", [1, 2, 3])
def test_four_python_threads_at_once_get_the_right_results(n: int):
    fastdl.set_num_threads(n)
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((120 + 40 * i, 90)).astype(np.float32) for i in range(4)]
    alone = [(fastdl.from_numpy(a) @ fastdl.from_numpy(a).T).numpy() for a in arrays]
    wrong: list[int] = []

    def load(i: int) -> None:
        for _ in range(20 * DEEP):
            x = fastdl.from_numpy(arrays[i])
            if not np.array_equal((x @ x.T).numpy(), alone[i]):
                wrong.append(i)

    threads = [threading.Thread(target=load, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not any(thread.is_alive() for thread in threads)
    assert wrong == []


def test_four_python_threads_that_train_get_the_weights_of_each_alone():
    names = ["linear", "conv", "rnn", "bidirectional"]  # without dropout: the generator is shared
    steps = 10 * DEEP

    def digests(runs: list[families.Run]) -> list[str]:
        fastdl.manual_seed(0)
        return [one.digest() for one in runs]

    alone, together = ([families.Run(name) for name in names] for _ in range(2))
    for one in alone:
        for i in range(steps):
            one.step(i)
    threads = [threading.Thread(target=lambda r=one: [r.step(i) for i in range(steps)]) for one in together]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert digests(together) == digests(alone)


def test_set_num_threads_while_others_compute_is_safe():
    stop = False

    def load() -> None:
        while not stop:
            busy_work()

    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    for i in range(50 * DEEP):
        fastdl.set_num_threads(1 + i % 4)
    stop = True
    for thread in threads:
        thread.join(120)
    assert not any(thread.is_alive() for thread in threads)


# other libraries with threads of their own

TOGETHER = """
import threading, time
{imports}
import numpy as np
from tests import families
torch.manual_seed(0)
fastdl.set_num_threads(2); torch.set_num_threads(2)
a = np.random.default_rng(0).standard_normal((400, 300)).astype(np.float32)
net = torch.nn.Sequential(torch.nn.Linear(300, 200), torch.nn.Tanh(), torch.nn.Linear(200, 3))
start = {{k: v.clone() for k, v in net.state_dict().items()}}
def with_torch():
    net.load_state_dict(start)
    sgd = torch.optim.SGD(net.parameters(), 0.1)
    for _ in range(3):
        sgd.zero_grad()
        net(torch.from_numpy(a)).square().mean().backward()
        sgd.step()
    return [p.detach().numpy().tobytes() for p in net.parameters()]
def with_numpy(): return (a @ a.T).tobytes()
def with_fastdl(): return families.digests(2, ["conv", "gru"])
def product():
    x, y = fastdl.from_numpy(a), torch.from_numpy(a)
    assert np.allclose((x @ x.T).numpy(), (y @ y.T).numpy(), atol=1e-3)
    assert np.allclose((x @ x.T).numpy(), a @ a.T, atol=1e-3)
def seconds(work):
    begin = time.monotonic()
    work()
    return time.monotonic() - begin
works = [with_torch, with_numpy, with_fastdl]
expected = [work() for work in works]
alone = min(seconds(with_fastdl) for _ in range(5))
turns = []
for _ in range({rounds}):
    product()
    for work, result in zip(works, expected):
        assert work() == result, work.__name__
    turns.append(seconds(with_fastdl))
fastdl.set_flush_denormal(False)
wrong = []
def load(work, result):  # all at once
    for _ in range({rounds}):
        if work() != result: wrong.append(work.__name__)
threads = [threading.Thread(target=load, args=pair) for pair in zip(works, expected)]
for t in threads: t.start()
for t in threads: t.join()
print(alone, min(turns), wrong)
"""


@pytest.mark.skipif(SANITIZED, reason="times")
@pytest.mark.parametrize("imports", ["import torch, fastdl", "import fastdl, torch"][: 1 if DEEP == 1 else 2])
def test_torch_and_numpy_in_the_same_process(imports: str):
    pytest.importorskip("torch")
    alone, turns, wrong = run(TOGETHER.format(imports=imports, rounds=2 * DEEP), timeout=600).split(maxsplit=2)
    print(f"a step alone {float(alone):.4f} s, in turns with torch and NumPy {float(turns):.4f} s")
    assert wrong == "[]"
    assert float(turns) < 5 * float(alone) + 0.02


# costs


@pytest.mark.skipif(SANITIZED, reason="times")
def test_idle_workers_sleep():
    fastdl.set_num_threads(3)
    busy_work()
    time.sleep(0.05)
    used = []
    for _ in range(5):
        before = time.process_time()
        time.sleep(0.2)
        used.append(time.process_time() - before)
    assert min(used) < 0.01 * 0.2


@linux
def test_signals_go_to_the_programs_own_threads():
    code = SETUP + """
fastdl.set_num_threads(3); work()
blocked = []
for task in os.listdir("/proc/self/task"):
    if int(task) != os.getpid():
        status = open(f"/proc/self/task/{task}/status").read()
        blocked.append(int(status.split("SigBlk:")[1].split()[0], 16))
assert len(blocked) == 2 and all(mask >> 1 & 1 and mask >> 14 & 1 for mask in blocked), blocked  # SIGINT, SIGTERM
"""
    run(code, **ONE_BLAS_THREAD)


def compiled(program: Path, name: str, cc: str = "cc", *flags: str) -> Path:
    """tests/csrc/<name>.c with the pool and the allocator."""
    sources = [ROOT / f"tests/csrc/{name}.c", *(ROOT / "csrc" / f"{part}.c" for part in ("parallel", "cpus", "alloc"))]
    command = [cc, "-std=gnu11", "-O2", *flags, "-I", ROOT / "csrc", *sources, "-lpthread", "-o", program]
    subprocess.run(command, check=True)
    return program


@pytest.mark.skipif(not shutil.which("cc") or not (ROOT / "csrc").exists(), reason="needs a C compiler and csrc")
def test_the_pool_under_load_in_c(tmp_path: Path):
    program = compiled(tmp_path / "program", "pool_stress")
    result = subprocess.run([program], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr


MACHINES = {"this one": ("cc", [], []), "aarch64": ("aarch64-linux-gnu-gcc", ["-static"], ["qemu-aarch64"])}


@pytest.mark.skipif(not (ROOT / "csrc").exists(), reason="needs csrc")
@pytest.mark.parametrize("name", MACHINES)
def test_the_mode_of_denormals_in_c(name: str, tmp_path: Path):
    cc, flags, emulator = MACHINES[name]
    if not all(map(shutil.which, [cc, *emulator])):
        pytest.skip(f"needs {' and '.join([cc, *emulator])}")
    program = compiled(tmp_path / "program", "denormals", cc, *flags)
    result = subprocess.run([*emulator, program], capture_output=True, text=True, timeout=100)
    assert result.returncode == 0 or (result.returncode == 77 and not emulator), result.stdout + result.stderr
