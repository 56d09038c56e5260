"""The sentence encoder in ONNX Runtime: PyTorch's model, exported, with every optimisation switched on."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

from . import models as m


def encoder(batch: int, steps: int, threads: int) -> m.Work:
    import onnxruntime
    import torch

    model, tokens = m.sentence_encoder(torch, batch, steps)
    torch.backends.mha.set_fastpath_enabled(False)  # its fused layer cannot be exported
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter without more packages is the old one
        path = str(Path(folder) / "encoder.onnx")
        torch.onnx.export(model.eval(), (tokens,), path, input_names=["tokens"], dynamo=False)
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feed = {"tokens": tokens.numpy()}
    return m.Work(lambda: session.run(None, feed)[0])


TABLE: dict[str, Callable[[float, int], m.Work]] = {
    "encoder-1x16": lambda drop, threads: encoder(1, 16, threads),
    "encoder-8x128": lambda drop, threads: encoder(8, 128, threads),
}
