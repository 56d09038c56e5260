"""The models of the rows, written once for every library with PyTorch's names: `lib` is fastdl or torch.

Each function builds a model with given weights and data and returns the Work to be timed. `drop` is a factor for the
rates of dropout: 1 when timing, 0 when results are compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np


@dataclass
class Work:
    """One piece of work.

    forward: gives the loss, or the result.
    after: what follows: backward, clipping, the optimizer.
    leaves: their gradients are compared beside what forward gives.
    """

    forward: Callable[[], Any]
    after: Callable[[Any], None] | None = None
    leaves: Sequence[Any] = ()

    def step(self) -> Any:
        value = self.forward()
        if self.after:
            self.after(value)
        return value


# Data and weights ------------------------------------------------------------------------------------------------


def normal(lib: Any, *shape: int, seed: int = 1) -> Any:
    return lib.from_numpy(np.random.default_rng(seed).standard_normal(shape, dtype=np.float32))


def integers(lib: Any, below: int, *shape: int, seed: int = 1) -> Any:
    return lib.from_numpy(np.random.default_rng(seed).integers(below, size=shape))


def weights(names_and_shapes: Iterable[tuple[str, tuple[int, ...]]]) -> list[np.ndarray]:
    """The same weights for every library: uniform in ±1/sqrt(last size), factors of norms around 1."""
    rng, arrays = np.random.default_rng(0), []
    for name, shape in names_and_shapes:
        value = rng.random(shape, dtype=np.float32)
        value -= 0.5
        value *= 2 * shape[-1] ** -0.5
        is_factor = len(shape) == 1 and name.endswith("weight")  # of a layer norm
        arrays.append(value + np.float32(1) if is_factor else value)
    return arrays


def fill(lib: Any, model: Any, arrays: list[np.ndarray] | None = None) -> Any:
    """Copies arrays, given in the order of the parameters, or `weights`, into the model."""
    named = list(model.named_parameters())
    with lib.no_grad():
        for (_, p), value in zip(named, arrays or weights((name, tuple(p.shape)) for name, p in named)):
            p.copy_(lib.from_numpy(value))
    return model


def training(lib: Any, model: Any, forward: Callable[[], Any], optimizer: Any, clip: float | None = None) -> Work:
    """forward, loss, backward, clip, optimizer."""
    parameters = list(model.parameters())

    def after(loss: Any) -> None:
        optimizer.zero_grad()
        loss.backward()
        if clip:
            lib.nn.utils.clip_grad_norm_(parameters, clip)
        optimizer.step()

    return Work(forward, after, parameters)


def gradient(forward: Callable[[], Any], leaves: Sequence[Any], dy: Any = None) -> Work:
    """forward and backward of one function; dy is the gradient of the result."""

    def after(value: Any) -> None:
        for leaf in leaves:
            leaf.grad = None
        value.backward(dy)

    return Work(forward, after, leaves)


def inference(lib: Any, model: Any, *inputs: Any) -> Work:
    model.eval()

    def forward() -> Any:
        with lib.inference_mode():
            return model(*inputs)

    return Work(forward)


# Linear models and perceptrons -----------------------------------------------------------------------------------


def linear_regression(lib: Any, drop: float, batch: int, inputs: int) -> Work:
    model = fill(lib, lib.nn.Linear(inputs, 1))
    x, y = normal(lib, batch, inputs), normal(lib, batch, 1, seed=2)
    return training(lib, model, lambda: lib.nn.functional.mse_loss(model(x), y),
                    lib.optim.SGD(model.parameters(), lr=0.03))


def mlp(lib: Any, drop: float, sizes: Sequence[int], batch: int, optimizer: str = "SGD", dropout: float = 0.0) -> Work:
    """Layers with ReLU between them (none for two sizes: softmax regression), cross-entropy."""
    nn, layers = lib.nn, []
    for i, (inputs, outputs) in enumerate(pairwise(sizes)):
        layers.append(nn.Linear(inputs, outputs))
        if i < len(sizes) - 2:
            layers.append(nn.ReLU())
            if dropout:
                layers.append(nn.Dropout(dropout * drop))
    model = fill(lib, nn.Sequential(*layers))
    x, y = normal(lib, batch, sizes[0]), integers(lib, sizes[-1], batch)
    return training(lib, model, lambda: nn.functional.cross_entropy(model(x), y),
                    getattr(lib.optim, optimizer)(model.parameters(), lr=1e-3))


# Language models -------------------------------------------------------------------------------------------------

VOCAB, BATCH, STEPS = 28, 32, 35  # the character models


def random_lengths(batch: int, steps: int) -> np.ndarray:
    """Uniform in 1..steps."""
    return np.random.default_rng(3).integers(1, steps + 1, size=batch)


def char_model(lib: Any, drop: float, cell: str, hidden: int, layers: int = 1, bidirectional: bool = False,
               lengths: bool = False) -> Work:
    """Predicts the next character from one-hot characters; with `lengths`, sequences of 1..STEPS."""
    nn, F = lib.nn, lib.nn.functional
    directions = 2 if bidirectional else 1
    rnn = getattr(nn, cell)(VOCAB, hidden, num_layers=layers, bidirectional=bidirectional)
    linear = nn.Linear(directions * hidden, VOCAB)
    model = fill(lib, nn.ModuleList([rnn, linear]))
    text = np.random.default_rng(1).integers(VOCAB, size=(STEPS + 1, BATCH))
    if lengths:
        steps = random_lengths(BATCH, STEPS)
        text[1:][np.arange(STEPS)[:, None] >= steps] = -100  # no target there
    x, y = lib.from_numpy(np.maximum(text[:-1], 0)), lib.from_numpy(text[1:].copy())

    def forward() -> Any:
        inputs = F.one_hot(x, VOCAB).to(lib.float32)
        outputs = run_lengths(lib, rnn, inputs, steps) if lengths else rnn(inputs)[0]
        return F.cross_entropy(linear(outputs.reshape(-1, directions * hidden)), y.reshape(-1))

    return training(lib, model, forward, lib.optim.SGD(model.parameters(), lr=1e-3), clip=1)


def run_lengths(lib: Any, rnn: Any, inputs: Any, lengths: np.ndarray) -> Any:
    if lib.__name__ == "fastdl":
        return rnn(inputs, lengths=lib.from_numpy(lengths))[0]
    packing = lib.nn.utils.rnn
    packed = packing.pack_padded_sequence(inputs, lib.from_numpy(lengths), enforce_sorted=False)
    return packing.pad_packed_sequence(rnn(packed)[0], total_length=len(inputs))[0]


def word_model(lib: Any, drop: float, vocab: int, width: int, layers: int, batch: int, steps: int,
               dropout: float) -> Work:
    nn = lib.nn

    class WordModel(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(vocab, width)
            self.dropout = nn.Dropout(dropout * drop)
            self.rnn = nn.LSTM(width, width, layers, dropout=dropout * drop)
            self.linear = nn.Linear(width, vocab)

        def forward(self, tokens: Any) -> Any:
            outputs, _ = self.rnn(self.dropout(self.embedding(tokens)))
            return self.linear(self.dropout(outputs).reshape(-1, width))

    model = fill(lib, WordModel())
    tokens = integers(lib, vocab, steps + 1, batch)
    x, y = tokens[:-1], tokens[1:].reshape(-1)
    return training(lib, model, lambda: nn.functional.cross_entropy(model(x), y),
                    lib.optim.SGD(model.parameters(), lr=1.0), clip=5)


def rnn_inference(lib: Any, drop: float, cell: str, batch: int, steps: int, inputs: int, hidden: int) -> Work:
    model = fill(lib, getattr(lib.nn, cell)(inputs, hidden))
    x = normal(lib, steps, batch, inputs)
    work = inference(lib, model, x)
    return Work(lambda: work.forward()[0])


# Translation: encoders and decoders ------------------------------------------------------------------------------

PAIRS = {"batch": 64, "steps": 10, "vocab": 200, "width": 32, "layers": 2, "dropout": 0.1}


def translation(lib: Any, encoder: Any, decoder: Any) -> Work:
    """A training step on pairs of sequences of different lengths; the decoder is fed with the targets."""
    F = lib.nn.functional
    model = fill(lib, lib.nn.ModuleList([encoder, decoder]))
    batch, steps, vocab = PAIRS["batch"], PAIRS["steps"], PAIRS["vocab"]
    source, target = integers(lib, vocab, batch, steps), integers(lib, vocab, batch, steps + 1, seed=2)
    lengths = lib.from_numpy(random_lengths(batch, steps))
    x, y = target[:, :-1], target[:, 1:].clone()
    real = (lib.arange(steps).unsqueeze(0) < lengths.flip(0).unsqueeze(1)).to(lib.float32)

    def forward() -> Any:
        scores = decoder(x, encoder(source, lengths), lengths)
        losses = F.cross_entropy(scores.reshape(-1, vocab), y.reshape(-1), reduction="none")
        return (losses.reshape(batch, steps) * real).sum() / real.sum()

    return training(lib, model, forward, lib.optim.Adam(model.parameters(), lr=0.005), clip=1)


def gru_translation(lib: Any, drop: float, attention: bool) -> Work:
    """GRU encoder and decoder; the context is the encoder's last state, or chosen by additive attention."""
    nn, vocab, width, layers = lib.nn, PAIRS["vocab"], PAIRS["width"], PAIRS["layers"]
    dropout = PAIRS["dropout"] * drop

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(vocab, width)
            self.rnn = nn.GRU(width, width, layers, dropout=dropout)

        def forward(self, source: Any, lengths: Any) -> Any:
            return self.rnn(self.embedding(source).permute(1, 0, 2))

    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(vocab, width)
            self.rnn = nn.GRU(2 * width, width, layers, dropout=dropout)
            self.dense = nn.Linear(width, vocab)

        def forward(self, x: Any, encoded: Any, lengths: Any) -> Any:
            x, state = self.embedding(x).permute(1, 0, 2), encoded[1]
            context = state[-1].repeat(x.shape[0], 1, 1)
            outputs, _ = self.rnn(lib.cat((x, context), 2), state)
            return self.dense(outputs).permute(1, 0, 2)

    class AdditiveAttention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w_k = nn.Linear(width, width, bias=False)
            self.w_q = nn.Linear(width, width, bias=False)
            self.w_v = nn.Linear(width, 1, bias=False)
            self.dropout = nn.Dropout(dropout)

        def forward(self, queries: Any, keys: Any, values: Any, blocked: Any) -> Any:
            features = lib.tanh(self.w_q(queries).unsqueeze(2) + self.w_k(keys).unsqueeze(1))
            scores = self.w_v(features).squeeze(-1).masked_fill(blocked, -1e6)
            return lib.bmm(self.dropout(nn.functional.softmax(scores, dim=-1)), values)

    class AttentionDecoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = AdditiveAttention()
            self.embedding = nn.Embedding(vocab, width)
            self.rnn = nn.GRU(2 * width, width, layers, dropout=dropout)
            self.dense = nn.Linear(width, vocab)

        def forward(self, x: Any, encoded: Any, lengths: Any) -> Any:
            keys, state = encoded[0].permute(1, 0, 2), encoded[1]
            blocked = (lib.arange(keys.shape[1]) >= lengths.unsqueeze(1)).unsqueeze(1)
            outputs = []
            for step in self.embedding(x).permute(1, 0, 2):
                context = self.attention(state[-1].unsqueeze(1), keys, keys, blocked)
                inputs = lib.cat((context, step.unsqueeze(1)), -1)
                output, state = self.rnn(inputs.permute(1, 0, 2), state)
                outputs.append(output)
            return self.dense(lib.cat(outputs, 0)).permute(1, 0, 2)

    return translation(lib, Encoder(), AttentionDecoder() if attention else Decoder())


# Transformers ----------------------------------------------------------------------------------------------------


def blocks(lib: Any) -> tuple[Any, Any]:
    """(MultiHeadAttention, Block) of a library: the parts of a Transformer that normalises after each sum."""
    nn, F = lib.nn, lib.nn.functional

    class MultiHeadAttention(nn.Module):
        def __init__(self, width: int, heads: int, dropout: float, bias: bool) -> None:
            super().__init__()
            self.heads, self.dropout = heads, dropout
            self.w_q = nn.Linear(width, width, bias=bias)
            self.w_k = nn.Linear(width, width, bias=bias)
            self.w_v = nn.Linear(width, width, bias=bias)
            self.w_o = nn.Linear(width, width, bias=bias)

        def split(self, x: Any) -> Any:
            """(B, T, W) -> (B, heads, T, W / heads)"""
            return x.reshape(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)

        def forward(self, queries: Any, keys: Any, mask: Any = None, causal: bool = False) -> Any:
            q, k, v = self.split(self.w_q(queries)), self.split(self.w_k(keys)), self.split(self.w_v(keys))
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal,
                                               dropout_p=self.dropout if self.training else 0.0)
            return self.w_o(y.transpose(1, 2).reshape(queries.shape[0], queries.shape[1], -1))

    class Block(nn.Module):
        """Self-attention, for a decoder also attention to the encoder's outputs, and two layers for each position."""

        def __init__(self, width: int, heads: int, inner: int, dropout: float, bias: bool = False, gelu: bool = False,
                     decoder: bool = False) -> None:
            super().__init__()
            self.attention, self.norm1 = MultiHeadAttention(width, heads, dropout, bias), nn.LayerNorm(width)
            self.decoder = decoder
            if decoder:
                self.cross, self.norm2 = MultiHeadAttention(width, heads, dropout, bias), nn.LayerNorm(width)
            self.dense1, self.dense2 = nn.Linear(width, inner), nn.Linear(inner, width)
            self.activation = nn.GELU() if gelu else nn.ReLU()
            self.dropout, self.norm3 = nn.Dropout(dropout), nn.LayerNorm(width)

        def forward(self, x: Any, mask: Any = None, encoded: Any = None, encoded_mask: Any = None) -> Any:
            x = self.norm1(x + self.dropout(self.attention(x, x, mask, causal=self.decoder)))
            if self.decoder:
                x = self.norm2(x + self.dropout(self.cross(x, encoded, encoded_mask)))
            return self.norm3(x + self.dropout(self.dense2(self.activation(self.dense1(x)))))

    return MultiHeadAttention, Block


def positions(lib: Any, steps: int, width: int) -> Any:
    """Sines and cosines, (1, steps, width)."""
    angle = np.arange(steps)[:, None] / 10000 ** (np.arange(0, width, 2) / width)
    return lib.from_numpy(np.stack((np.sin(angle), np.cos(angle)), -1).reshape(1, steps, width).astype(np.float32))


def transformer_translation(lib: Any, drop: float, heads: int, inner: int) -> Work:
    nn, vocab, width, layers = lib.nn, PAIRS["vocab"], PAIRS["width"], PAIRS["layers"]
    dropout, (_, Block) = PAIRS["dropout"] * drop, blocks(lib)
    where = positions(lib, PAIRS["steps"], width)

    class Encoder(nn.Module):
        def __init__(self, decoder: bool = False) -> None:
            super().__init__()
            self.embedding, self.dropout = nn.Embedding(vocab, width), nn.Dropout(dropout)
            self.blocks = nn.ModuleList([Block(width, heads, inner, dropout, decoder=decoder) for _ in range(layers)])

        def embed(self, tokens: Any) -> Any:
            return self.dropout(self.embedding(tokens) * math.sqrt(width) + where)

        def forward(self, source: Any, lengths: Any) -> Any:
            x, mask = self.embed(source), seen(lengths)
            for block in self.blocks:
                x = block(x, mask)
            return x

    class Decoder(Encoder):
        def __init__(self) -> None:
            super().__init__(decoder=True)
            self.dense = nn.Linear(width, vocab)

        def forward(self, x: Any, encoded: Any, lengths: Any) -> Any:
            x, mask = self.embed(x), seen(lengths)
            for block in self.blocks:
                x = block(x, None, encoded, mask)
            return self.dense(x)

    def seen(lengths: Any) -> Any:
        """The keys that count, (B, 1, 1, T)."""
        return (lib.arange(PAIRS["steps"]) < lengths.unsqueeze(1)).unsqueeze(1).unsqueeze(1)

    return translation(lib, Encoder(), Decoder())


def bert(lib: Any, drop: float, layers: int, width: int, heads: int, inner: int, vocab: int, batch: int, steps: int,
         dropout: float, gelu: bool = False) -> Work:
    """Masked words (15 in 100) and whether the second sentence follows the first."""
    nn, F, (_, Block) = lib.nn, lib.nn.functional, blocks(lib)
    masked = masked_words(steps)

    class Bert(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token_embedding, self.segment_embedding = nn.Embedding(vocab, width), nn.Embedding(2, width)
            self.pos_embedding = nn.Parameter(lib.zeros(1, steps, width))
            self.blocks = nn.ModuleList([Block(width, heads, inner, dropout * drop, bias=True, gelu=gelu)
                                         for _ in range(layers)])
            activation = nn.GELU() if gelu else nn.ReLU()
            self.words = nn.Sequential(nn.Linear(width, width), activation, nn.LayerNorm(width),
                                       nn.Linear(width, vocab))
            self.sentence = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 2))

        def forward(self, tokens: Any, segments: Any, mask: Any, where: Any) -> tuple[Any, Any]:
            x = self.token_embedding(tokens) + self.segment_embedding(segments) + self.pos_embedding
            for block in self.blocks:
                x = block(x, mask)
            chosen = x[lib.arange(batch).unsqueeze(1), where]
            return self.words(chosen.reshape(-1, width)), self.sentence(x[:, 0, :])

    model = fill(lib, Bert())
    lengths = lib.from_numpy(np.random.default_rng(3).integers(steps // 2, steps + 1, size=batch))
    mask = (lib.arange(steps) < lengths.unsqueeze(1)).unsqueeze(1).unsqueeze(1)
    inputs = (integers(lib, vocab, batch, steps), integers(lib, 2, batch, steps, seed=2), mask,
              integers(lib, steps // 2, batch, masked, seed=4))
    words, follows = integers(lib, vocab, batch * masked, seed=5), integers(lib, 2, batch, seed=6)

    def forward() -> Any:
        word_scores, sentence_scores = model(*inputs)
        return F.cross_entropy(word_scores, words) + F.cross_entropy(sentence_scores, follows)

    return training(lib, model, forward, lib.optim.Adam(model.parameters(), lr=1e-3))


def masked_words(steps: int) -> int:
    return round(0.15 * steps)


ENCODER = {"layers": 6, "width": 384, "heads": 12, "inner": 1536, "vocab": 30522, "positions": 512}


def pretrained(folder: str) -> list[np.ndarray]:
    """The tensors of all-MiniLM-L6-v2 in the order of `sentence_encoder`'s parameters."""
    from safetensors.numpy import load_file

    found = load_file(f"{folder}/model.safetensors")

    def both(*names: str) -> list[np.ndarray]:
        return [np.concatenate([found[f"{name}.{kind}"] for name in names]) for kind in ("weight", "bias")]

    arrays = [found[f"embeddings.{kind}_embeddings.weight"] for kind in ("word", "token_type", "position")]
    arrays += both("embeddings.LayerNorm")
    for i in range(ENCODER["layers"]):
        at = f"encoder.layer.{i}."
        arrays += both(*(f"{at}attention.self.{name}" for name in ("query", "key", "value")))
        for name in ("attention.output.dense", "intermediate.dense", "output.dense", "attention.output.LayerNorm",
                     "output.LayerNorm"):
            arrays += both(at + name)
    return arrays


def sentence_encoder(lib: Any, batch: int, steps: int, folder: str = "") -> tuple[Any, Any]:
    """(model, tokens): BERT's encoder of the library's own layers, the mean over the positions scaled to length 1.

    folder: of all-MiniLM-L6-v2's weights.
    """
    nn, width = lib.nn, ENCODER["width"]
    places, segments = lib.arange(steps), lib.zeros(batch, steps, dtype=lib.int64)

    class SentenceEncoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token_embedding, self.segment_embedding = nn.Embedding(ENCODER["vocab"], width), nn.Embedding(2, width)
            self.pos_embedding = nn.Embedding(ENCODER["positions"], width)
            self.norm = nn.LayerNorm(width, eps=1e-12)
            layer = nn.TransformerEncoderLayer(width, ENCODER["heads"], ENCODER["inner"], 0.0, "gelu", 1e-12,
                                               batch_first=True)
            self.encoder = nn.TransformerEncoder(layer, ENCODER["layers"])

        def forward(self, tokens: Any) -> Any:
            x = self.token_embedding(tokens) + self.segment_embedding(segments) + self.pos_embedding(places)
            x = self.encoder(self.norm(x))
            mean = x.mean(dim=1)
            return mean / mean.square().sum(dim=1, keepdim=True).sqrt()

    model = fill(lib, SentenceEncoder(), pretrained(folder) if folder else None)
    return model, integers(lib, ENCODER["vocab"], batch, steps)


def sentence_inference(lib: Any, drop: float, batch: int, steps: int, folder: str = "") -> Work:
    return inference(lib, *sentence_encoder(lib, batch, steps, folder))


# Single functions ------------------------------------------------------------------------------------------------


def cross_entropy(lib: Any, drop: float, rows: int, classes: int) -> Work:
    logits, target = normal(lib, rows, classes).requires_grad_(), integers(lib, classes, rows)
    return gradient(lambda: lib.nn.functional.cross_entropy(logits, target), [logits])


def attention(lib: Any, drop: float, batch: int, heads: int, steps: int, width: int, causal: bool) -> Work:
    q, k, v, dy = (normal(lib, batch, heads, steps, width, seed=seed) for seed in range(4))
    leaves = [x.requires_grad_() for x in (q, k, v)]
    return gradient(lambda: lib.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal), leaves, dy)


def layer_norm(lib: Any, drop: float, rows: int, width: int) -> Work:
    x, dy = normal(lib, rows, width).requires_grad_(), normal(lib, rows, width, seed=2)
    weight, bias = normal(lib, width, seed=3).requires_grad_(), normal(lib, width, seed=4).requires_grad_()
    return gradient(lambda: lib.nn.functional.layer_norm(x, (width,), weight, bias), [x, weight, bias], dy)


def gelu(lib: Any, drop: float, rows: int, width: int) -> Work:
    x, dy = normal(lib, rows, width).requires_grad_(), normal(lib, rows, width, seed=2)
    return gradient(lambda: lib.nn.functional.gelu(x), [x], dy)


def matmul(lib: Any, drop: float, size: int) -> Work:
    a, b = normal(lib, size, size), normal(lib, size, size, seed=2)
    return Work(lambda: a @ b)


def small_adds(lib: Any, drop: float, count: int, size: int) -> Work:
    """`count` recorded additions."""
    x, y = normal(lib, size).requires_grad_(), normal(lib, size, seed=2)

    def forward() -> Any:
        for _ in range(count):
            z = x + y
        return z

    return Work(forward)
