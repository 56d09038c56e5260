"""The sentence encoder in ONNX Runtime: PyTorch's model, exported, with every optimisation switched on."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import models as m
from .rows import ENCODERS


def single_operators(model: Any) -> Any:
    """The encoder's layers written in the operators from which ONNX Runtime's optimizer makes its fused attention."""
    from torch import nn, no_grad

    class Layer(nn.Module):
        def __init__(self, layer: Any) -> None:
            super().__init__()
            attention, width = layer.self_attn, m.ENCODER["width"]
            self.layer, self.projections = layer, nn.ModuleList([nn.Linear(width, width) for _ in range(3)])
            with no_grad():
                for linear, weight, bias in zip(self.projections, attention.in_proj_weight.chunk(3),
                                                attention.in_proj_bias.chunk(3)):
                    linear.weight.copy_(weight)
                    linear.bias.copy_(bias)

        def forward(self, x: Any) -> Any:
            layer, heads = self.layer, m.ENCODER["heads"]
            size = m.ENCODER["width"] // heads
            q, k, v = (linear(x).view(x.shape[0], x.shape[1], heads, size).permute(0, 2, 1, 3)
                       for linear in self.projections)
            y = (q @ k.transpose(-1, -2) / size**0.5).softmax(-1) @ v
            y = y.permute(0, 2, 1, 3).contiguous().view(x.shape)
            x = layer.norm1(layer.self_attn.out_proj(y) + x)
            return layer.norm2(layer.linear2(layer.activation(layer.linear1(x))) + x)

    model.encoder = nn.Sequential(*[Layer(layer) for layer in model.encoder.layers])
    return model


def encoder(threads: int, batch: int, steps: int, folder: str) -> m.Work:
    import onnxruntime
    import torch
    from onnxruntime.transformers.optimizer import optimize_model

    model, tokens = m.sentence_encoder(torch, batch, steps, folder)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    with tempfile.TemporaryDirectory() as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter without more packages is the old one
        path = str(Path(temporary) / "encoder.onnx")
        torch.onnx.export(single_operators(model).eval(), (tokens,), path, input_names=["tokens"], dynamo=False)
        optimize_model(path, "bert", m.ENCODER["heads"], m.ENCODER["width"], opt_level=1).save_model_to_file(path)
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feed = {"tokens": tokens.numpy()}
    return m.Work(lambda: session.run(None, feed)[0])


TABLE: dict[str, Callable[[float, int], m.Work]] = {
    key: lambda drop, threads, sizes=sizes: encoder(threads, *sizes) for key, sizes in ENCODERS.items()
}
