"""fastdl in torch's place: PyTorch scripts with `python -m fastdl run`, and `as_torch` within a program."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fastdl
from fastdl import nn
from tests.process import PACKAGES

SCRIPTS = sorted((Path(__file__).parent / "scripts").glob("*.py"))


def python(*words: object, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    inherited = {**os.environ, "PYTHONPATH": PACKAGES, "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1", **env}
    return subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, timeout=120, cwd=cwd,
                          env=inherited)


def run(*words: object, **options) -> subprocess.CompletedProcess[str]:
    return python("-m", "fastdl", "run", *words, **options)


def numbers(text: str) -> list[float]:
    return [float(x) for x in re.findall(r"-?\d+\.\d+(?:e-?\d+)?", text)]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.stem)
def test_a_script_prints_what_it_prints_with_torch(script: Path):
    ours = run(script)
    assert ours.returncode == 0, ours.stderr
    lines = ours.stdout.splitlines()
    losses = [float(x) for line in lines for x in re.findall(r"(?:loss|perplexity|\]) (\d+\.\d+)", line)]
    assert len(losses) >= 3 and losses[2 if script.stem == "resume" else -1] < losses[0]
    if script.stem == "resume":
        assert lines[-1] == "resumed: equal"
    if importlib.util.find_spec("torch") is None:
        return
    theirs = python(script)
    assert theirs.returncode == 0, theirs.stderr
    text = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
    assert text.sub("#", ours.stdout) == text.sub("#", theirs.stdout)
    assert numbers(ours.stdout) == pytest.approx(numbers(theirs.stdout), rel=2e-3, abs=2e-4)


def test_the_script_sees_what_it_sees_with_plain_python(tmp_path: Path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "helper.py").write_text("import torch.nn as nn\nvalue = nn.Linear\n")
    script = tmp_path / "sub" / "script.py"
    script.write_text(
        "import os, sys, pickle, __main__, helper\n"
        "class Thing: pass\n"
        "print(sys.argv, sys.path[0], __name__, __file__, __package__, __spec__, type(__builtins__))\n"
        "print(__main__.Thing is Thing, type(pickle.loads(pickle.dumps(Thing()))) is Thing)\n"
        "names = sorted(n for n in globals() if n.startswith('_') and n != '__annotations__')\n"
        "print(os.getcwd(), type(__loader__).__name__, names)\n"
        "import atexit; atexit.register(lambda: print('at exit', __main__.Thing.__name__))\n"
    )
    for name in ("sub/script.py", str(script)):
        ours, theirs = run(name, "--epochs", "3", "-h", cwd=tmp_path), python(name, "--epochs", "3", "-h", cwd=tmp_path)
        assert ours.stdout.endswith("at exit Thing\n"), ours.stderr
        if importlib.util.find_spec("torch") is not None:
            assert ours.stdout == theirs.stdout


@pytest.mark.parametrize(
    ("code", "status"),
    [("raise SystemExit(7)", 7), ("import sys; sys.exit('words')", 1), ("exit()", 0), ("1 / 0", 1), ("def f(:", 1),
     ("def f():\n    raise KeyError('x')\ntry:\n    1 / 0\nexcept ZeroDivisionError:\n    f()", 1),
     ("import os; os._exit(5)", 5), ("import sys\nsys.excepthook = lambda *e: print('mine', e[0].__name__)\n[][1]", 1)],
)  # fmt: skip
def test_tracebacks_and_exit_statuses_are_those_of_plain_python(tmp_path: Path, code: str, status: int):
    script = tmp_path / "script.py"
    script.write_text(code + "\n")
    ours, theirs = run(script), python(script)
    assert (ours.returncode, ours.stdout, ours.stderr) == (theirs.returncode, theirs.stdout, theirs.stderr)
    assert ours.returncode == status


def test_a_missing_script_and_no_script(tmp_path: Path):
    missing = run("nowhere.py", cwd=tmp_path)
    assert missing.returncode == 2 and "nowhere.py': [Errno 2]" in missing.stderr
    assert run().returncode == 2
    assert "script.py [args ..]" in run("--help").stdout
    assert "expected a script" in run("--fast", "x.py").stderr


def test_a_module_runs_too(tmp_path: Path):
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text("")
    (tmp_path / "pack" / "train.py").write_text(
        "import sys, torch\nfrom . import __name__ as p\nprint(torch.__name__, p, __name__, sys.argv[1:])\n"
        "raise OSError(3)"
    )
    done = run("-m", "pack.train", "--x", cwd=tmp_path)
    assert done.stdout == "fastdl pack __main__ ['--x']\n"
    assert done.stderr.startswith('Traceback (most recent call last):\n  File "' + str(tmp_path))


def test_the_command_line_lists_its_commands():
    text = python("-m", "fastdl", "--help").stdout
    assert re.search(r"^ +info ", text, re.M) and re.search(r"^ +run ", text, re.M)
    assert python("-m", "fastdl").stdout == text
    assert "python -m fastdl run script.py" in fastdl.__doc__ and "python -m fastdl info" in fastdl.__doc__


@pytest.fixture
def torch():
    before = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "torch"}
    with fastdl.as_torch():
        yield importlib.import_module("torch")
    after = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "torch"}
    assert after == before
    assert fastdl.__version__ == importlib.import_module("fastdl._version").__version__


def test_what_scripts_import_for_other_machines_is_there_and_off(torch):
    from torch.cuda.amp import GradScaler, autocast
    from torch.distributed import destroy_process_group, get_rank, init_process_group
    from torch.nn.parallel import DataParallel, DistributedDataParallel

    assert torch.cuda.amp.GradScaler is GradScaler and torch.amp.autocast is autocast
    assert not torch.distributed.is_available() and not torch.distributed.is_initialized()
    assert not GradScaler(enabled=False).is_enabled() and DataParallel is nn.DataParallel
    with pytest.raises(RuntimeError, match="fastdl trains in one process"):
        init_process_group(backend="gloo")
    with pytest.raises(RuntimeError, match="use the module itself"):
        DistributedDataParallel(nn.Linear(1, 1), device_ids=[0])
    with pytest.raises(NotImplementedError, match="safetensors"):
        importlib.import_module("torch.onnx").export(nn.Linear(1, 1), torch.ones(1, 1), "model.onnx")
    for call in (get_rank, destroy_process_group):
        with pytest.raises(ValueError, match="has not been initialized"):
            call()


def test_modules_are_fastdls_own(torch):
    import torch.backends.cudnn as cudnn
    import torch.nn.functional as F
    import torch.nn.utils.rnn
    import torch.optim.lr_scheduler as lr_scheduler
    from torch import nn as their_nn
    from torch import optim
    from torch.nn.modules.rnn import LSTM
    from torch.nn.parameter import Parameter
    from torch.utils.data import DataLoader
    from torch.utils.data.dataloader import default_collate

    assert torch is fastdl and their_nn is nn and F is nn.functional and LSTM is nn.LSTM and optim is fastdl.optim
    assert lr_scheduler is fastdl.optim.lr_scheduler and Parameter is nn.Parameter
    assert DataLoader is fastdl.utils.data.DataLoader and default_collate is fastdl.utils.data.default_collate
    assert torch.nn.modules.batchnorm._BatchNorm is nn.batchnorm._BatchNorm and nn.modules.Linear is nn.Linear
    assert type(nn.Linear(2, 3)) == their_nn.Linear  # noqa: E721
    cudnn.benchmark = True
    assert not torch.cuda.is_available() and torch.cuda.device_count() == 0 and torch.version.cuda is None
    assert not torch.backends.mps.is_available() and not torch.accelerator.is_available()
    assert [int(x) for x in torch.__version__.split("+")[0].split(".")][:2] >= [2, 0]
    assert fastdl.__spec__.name == "fastdl" and importlib.reload  # its own spec is untouched
    assert nn.__spec__.name == "fastdl.nn"


@pytest.mark.parametrize(
    ("code", "kind", "text"),
    [("import torch.fft", ModuleNotFoundError, "fastdl, which runs in torch's place, has no module 'torch.fft'"),
     ("import torch.nn.Linear", ModuleNotFoundError, "fastdl, .* has no module 'torch.nn.Linear'"),
     ("from torch import nothing", ImportError, "cannot import name 'nothing' from 'torch': fastdl.* lacks it"),
     ("from torch.nn import Nothing", ImportError, "cannot import name 'Nothing' from 'torch.nn': fastdl"),
     ("from torch.nn.functional import f", ImportError, "cannot import name 'f' from 'fastdl.nn.functional'"),
     ("from torch.utils.cpp_extension import load", ModuleNotFoundError, "no module 'torch.utils.cpp_extension'"),
     ("import torch; torch.nothing", AttributeError, "module 'fastdl' has no attribute 'nothing'"),
     ("import torch; torch.nn.Nothing", AttributeError, "module 'fastdl.nn' has no attribute 'Nothing'"),
     ("import torch; torch.device('cuda')", RuntimeError, "fastdl runs on the CPU only"),
     ("import torch; torch.cuda.current_device()", RuntimeError, "fastdl runs on the CPU only")],
)  # fmt: skip
def test_a_name_that_is_missing_is_an_error_that_says_whose(torch, code: str, kind: type, text: str):
    with pytest.raises(kind, match=text):
        exec(code, {})


def test_hasattr_and_optional_imports_work(torch):
    assert not hasattr(torch, "nothing") and hasattr(torch, "tensor")
    try:
        import torch.fft as fft
    except ImportError:
        fft = None
    assert fft is None
    assert importlib.util.find_spec("torch") is not None


def test_settings_that_change_nothing():
    net = nn.Linear(2, 2)
    assert fastdl.compile(net) is net and fastdl.compile(mode="default")(net) is net
    fastdl.use_deterministic_algorithms(True, warn_only=True)
    fastdl.set_float32_matmul_precision("high")
    assert fastdl.get_float32_matmul_precision() == "high"
    fastdl.set_float32_matmul_precision("highest")
    with pytest.raises(RuntimeError, match="'medium'"):
        fastdl.set_float32_matmul_precision("low")
    before = fastdl.get_rng_state()
    fastdl.cuda.manual_seed(3)
    fastdl.cuda.manual_seed_all(3)
    assert fastdl.equal(fastdl.get_rng_state(), before)


def test_a_torch_that_was_imported_before_comes_back():
    code = "import torch as t, fastdl\nwith fastdl.as_torch():\n  import torch\n  assert torch is fastdl\n"
    code += "import torch\nassert torch is t and 'fastdl' not in torch.__version__\nprint('back')"
    if importlib.util.find_spec("torch") is None:
        pytest.skip("needs torch")
    assert python("-c", code).stdout == "back\n"
