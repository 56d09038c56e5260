"""fastdl.utils.tensorboard: tensorboardX with our tensors."""

import struct
import subprocess
import sys
from pathlib import Path

import pytest

import fastdl


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of protobuf
def test_tensors_are_logged(tmp_path: Path):
    pytest.importorskip("tensorboardX")
    from fastdl.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path)) as writer:
        writer.add_scalar("loss", fastdl.tensor(1.5, requires_grad=True), 3)
        writer.add_scalars("both", {"a": fastdl.tensor(1.0), "b": 2.0}, global_step=4)
        writer.add_histogram("w", values=fastdl.randn(20))
        writer.add_image("i", fastdl.rand(3, 4, 5))
    logs = [path.read_bytes() for path in tmp_path.rglob("events*")]
    assert any(b"loss" in log and struct.pack("<f", 1.5) in log for log in logs)
    assert len(logs) == 3  # one for each curve of add_scalars


def test_without_the_package_the_error_names_it():
    code = ("import sys; sys.modules['tensorboardX'] = None\n"
            "try:\n    import fastdl.utils.tensorboard\nexcept ModuleNotFoundError as e:\n    print(e)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install tensorboardX" in done.stdout, done.stderr
