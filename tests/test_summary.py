"""summary: figures by hand, and that nothing of the model or the random generator changes."""

from __future__ import annotations

import re

import pytest

import fastdl
from fastdl import nn, summary


def test_figures_of_a_small_net():
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Sequential(nn.Linear(8, 3, bias=False)))
    net[0].bias.requires_grad_(False)
    s = summary(net, fastdl.ones(5, 4))
    assert [(r.path, r.type, r.depth) for r in s] == [
        ("", "Sequential", 0), ("0", "Linear", 1), ("1", "ReLU", 1), ("2", "Sequential", 1), ("2.0", "Linear", 2),
    ]  # fmt: skip
    assert [r.output_shape for r in s] == [(5, 3), (5, 8), (5, 8), (5, 3), (5, 3)]
    assert [r.parameters for r in s] == [0, 40, 0, 0, 24]
    assert [r.macs for r in s] == [5 * 32 + 5 * 24, 5 * 32, 0, 5 * 24, 5 * 24]
    assert [r.activation_bytes for r in s] == [4 * (40 + 40 + 15), 160, 160, 60, 60]
    assert (s.total_parameters, s.trainable_parameters, s.parameter_bytes) == (64, 56, 256)
    assert (s.total_macs, s.activation_bytes) == (280, 380)
    assert s["2.0"].macs == 120 and s["0"].calls == 1
    assert 0 < s["0"].seconds <= s[""].seconds <= s.seconds
    with pytest.raises(KeyError):
        s["3"]


@pytest.mark.parametrize(
    ("module", "shapes", "macs"),
    [(nn.Linear(3, 5), [(2, 7, 3)], 2 * 7 * 3 * 5),
     (nn.Conv2d(4, 6, 3, groups=2), [(2, 4, 8, 9)], 2 * 6 * 6 * 7 * 2 * 9),
     (nn.Conv1d(3, 5, 2), [(2, 3, 6)], 2 * 5 * 5 * 3 * 2), (nn.ConvTranspose2d(3, 2, 2), [(1, 3, 4, 5)], 60 * 2 * 4),
     (nn.LSTM(3, 5, 2, bidirectional=True), [(7, 2, 3)], 14 * 2 * (20 * 3 + 20 * 5 + 20 * 10 + 20 * 5)),
     (nn.GRU(3, 5, batch_first=True), [(2, 7, 3)], 14 * 15 * 8), (nn.RNNCell(3, 5), [(4, 3)], 4 * 5 * 8),
     (nn.MultiheadAttention(8, 2, batch_first=True), [(2, 3, 8), (2, 5, 8), (2, 5, 8)],
      2 * (3 * 64 * 2 + 5 * 64 * 2 + 2 * 3 * 5 * 8)),
     (nn.MultiheadAttention(8, 2, kdim=4, vdim=6), [(3, 2, 8), (5, 2, 4), (5, 2, 6)],
      2 * (3 * 64 * 2 + 5 * 32 + 5 * 48 + 2 * 3 * 5 * 8)),
     (nn.Embedding(10, 4), [], 0), (nn.LayerNorm(4), [(3, 4)], 0)],
)  # fmt: skip
def test_multiplications_of_each_kind_of_layer(module, shapes, macs):
    inputs = [fastdl.ones(*shape) for shape in shapes] or [fastdl.tensor([1, 2])]
    assert summary(module, *inputs).total_macs == macs


def test_shared_layers_and_parameters_count_once():
    layer = nn.Linear(4, 4)
    tied = nn.Linear(4, 4)
    tied.weight = layer.weight
    s = summary(nn.Sequential(layer, layer, tied), fastdl.ones(1, 4))
    assert s.total_parameters == 24 and s["0"].calls == 2 and s["0"].macs == 32 and s.total_macs == 48
    assert [r.path for r in s] == ["", "0", "2"]


class Stateful(nn.Module):
    """Changes its buffers, one in place and one anew, draws random numbers, and returns several things."""

    def __init__(self):
        super().__init__()
        self.register_buffer("count", fastdl.zeros(1))
        self.register_buffer("last", fastdl.zeros(1))
        self.unused = nn.Linear(2, 2)
        self.norm = nn.BatchNorm1d(3)

    def forward(self, x, scale=1.0):
        self.count += 1
        self.last = self.last + 1
        assert not self.training
        return {"y": self.norm(x) * scale, "z": (fastdl.rand(2), None)}


def test_nothing_changes():
    model = Stateful()
    model.norm.eval()
    model.norm.register_forward_hook(lambda *args: None)
    last, state = model.last, {k: v.clone() for k, v in model.state_dict().items()}
    fastdl.manual_seed(3)
    expected = fastdl.rand(4)
    fastdl.manual_seed(3)
    s = summary(model, fastdl.randn(5, 3, generator=fastdl.Generator()), scale=2.0)
    assert fastdl.equal(fastdl.rand(4), expected)
    assert all(fastdl.equal(v, state[k]) for k, v in model.state_dict().items())
    assert model.last is last and model.training and not model.norm.training
    assert len(model.norm._forward_hooks) == 1 and not model._forward_hooks and not model._forward_pre_hooks
    assert all(p.grad is None for p in model.parameters()) and fastdl.is_grad_enabled()
    assert s[""].output_shape == [(5, 3), (2,)] and s["unused"].output_shape is None and s["unused"].calls == 0


def test_nothing_stays_behind_after_an_error():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(4, 5))
    with pytest.raises(RuntimeError):
        summary(model, fastdl.ones(1, 2))
    assert model.training and not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_how_it_prints():
    net = nn.Sequential(nn.Embedding(1000, 64), nn.Linear(64, 32))
    text = str(summary(net, fastdl.zeros(8, 16, dtype=fastdl.int64)))
    lines = [re.sub(r"\d+\.\d+ ms", "T", re.sub(" {2,}", "  ", line)) for line in text.split("\n")]
    assert lines[0] == "layer  output shape  parameters  MACs  activations  time"
    assert lines[2:5] == ["Sequential  [8, 16, 32]  262,144  49.2 KB  T",
                          "  0: Embedding  [8, 16, 64]  64,000  32.8 KB  T",
                          "  1: Linear  [8, 16, 32]  2,080  262,144  16.4 KB  T"]  # fmt: skip
    assert lines[6] == "parameters 66,080, trainable 66,080, 264.3 KB"
    assert lines[7] == "forward pass: 262,144 MACs, activations 49.2 KB, T"
