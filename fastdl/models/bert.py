"""BERT: the encoder, its two heads for pre-training, heads for fine-tuning, and sentence embeddings."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import fastdl
from fastdl import nn, serialization
from fastdl.nn import functional as F

# HuggingFace's names -> ours; {} is the layer's number; query, key and value lie on top of each other in one matrix
_EMBEDDINGS = {
    "embeddings.word_embeddings.weight": "tokens.weight",
    "embeddings.position_embeddings.weight": "positions.weight",
    "embeddings.token_type_embeddings.weight": "segments.weight",
    "embeddings.LayerNorm.weight": "norm.weight",
    "embeddings.LayerNorm.bias": "norm.bias",
}
_LAYER = {
    "attention.self.query": "self_attn.in_proj_",
    "attention.self.key": "self_attn.in_proj_",
    "attention.self.value": "self_attn.in_proj_",
    "attention.output.dense": "self_attn.out_proj.",
    "attention.output.LayerNorm": "norm1.",
    "intermediate.dense": "linear1.",
    "output.dense": "linear2.",
    "output.LayerNorm": "norm2.",
}
_CONFIG = {
    "vocab_size": "vocab_size", "hidden_size": "hidden_size", "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_heads", "intermediate_size": "intermediate_size",
    "max_position_embeddings": "max_positions", "type_vocab_size": "num_segments",
}  # fmt: skip


class BertModel(nn.Module):
    """Token, position and segment embeddings, layer norm, and a stack of Transformer encoder layers.

    Args:
        vocab_size: number of tokens; hidden_size: width (W); num_layers, num_heads: of the encoder.
        intermediate_size: hidden size of the feed-forward nets; None: 4 W.
        max_positions: the longest sequence; num_segments: kinds of segments.
        dropout: after the embeddings and in the layers.  activation: "gelu" or "relu".
    """

    tokenizer: Any = None
    max_tokens: int | None = None  # to which `encode` cuts sentences

    def __init__(self, vocab_size: int, hidden_size: int = 768, num_layers: int = 12, num_heads: int = 12,
                 intermediate_size: int | None = None, max_positions: int = 512, num_segments: int = 2,
                 dropout: float = 0.1, activation: str = "gelu", layer_norm_eps: float = 1e-12) -> None:
        super().__init__()
        self.vocab_size, self.hidden_size, self.max_positions = vocab_size, hidden_size, max_positions
        self.tokens = nn.Embedding(vocab_size, hidden_size)
        self.positions = nn.Embedding(max_positions, hidden_size)
        self.segments = nn.Embedding(num_segments, hidden_size)
        self.norm = nn.LayerNorm(hidden_size, eps=layer_norm_eps)
        self.dropout = nn.Dropout(dropout)
        layer = nn.TransformerEncoderLayer(hidden_size, num_heads, intermediate_size or 4 * hidden_size, dropout,
                                           activation, layer_norm_eps, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, num_layers)
        for name, parameter in self.named_parameters():  # normal(0, 0.02), as BERT begins
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, tokens: Any, segments: Any = None, lengths: Any = None) -> Any:
        """Features of every token.

        Args:
            tokens: ids (N, T).  segments: (N, T); None: all of segment 0.
            lengths: (N,) how many tokens of each row are real; None: all. Those behind are seen by nobody.
        Returns:
            (N, T, W).
        Raises:
            ValueError: more than max_positions tokens.
        """
        steps = tokens.shape[1]
        self._check_length(steps)
        x = self._embed(tokens, fastdl.arange(steps), segments)
        hidden = None if lengths is None else fastdl.arange(steps) >= lengths.unsqueeze(1)
        return self.encoder(x, src_key_padding_mask=hidden)

    def _check_length(self, steps: int) -> None:
        if steps > self.max_positions:
            raise ValueError(f"[BertModel] {steps} tokens is longer than the model's {self.max_positions} positions")

    def _embed(self, tokens: Any, positions: Any, segments: Any) -> Any:
        kinds = self.segments.weight[0] if segments is None else self.segments(segments)
        return self.dropout(self.norm(self.tokens(tokens) + self.positions(positions) + kinds))

    def features(self, sequences: Sequence[Sequence[int]]) -> tuple[Any, np.ndarray]:
        """Features of sequences of any lengths without work for padding and without gradients.

        Returns:
            (sum of lengths, W), the rows of all sequences one after another, and their lengths.
        Raises:
            ValueError: no sequence, an empty one, or one longer than max_positions.
        """
        lengths = np.array([len(s) for s in sequences], np.int64)
        if not len(lengths) or not lengths.min():
            raise ValueError("[BertModel.features] sequences: expected at least one, and none of them empty")
        self._check_length(int(lengths.max()))
        tokens = fastdl.from_numpy(np.concatenate([np.asarray(s, np.int64) for s in sequences]))
        places = fastdl.from_numpy(np.concatenate([np.arange(n) for n in lengths]))
        was = self.training
        if was:
            self.eval()
        try:
            with fastdl.inference_mode():
                x = self._embed(tokens, places, None)
                layers: Any = self.encoder.layers
                parts = [layer.inference_parts() for layer in layers]
                if all(parts):
                    for layer, part in zip(layers, parts):
                        x = layer.infer(x, part, lengths)
                else:  # hooked or changed layers: one sequence after another
                    bounds = np.cumsum(lengths)
                    x = fastdl.cat([self.encoder(x[end - n:end].unsqueeze(0))[0] for n, end in zip(lengths, bounds)])
        finally:
            if was:
                self.train()
        return x, lengths

    def encode(self, sentences: str | Sequence[str], normalize: bool = True, batch_size: int = 32) -> Any:
        """Sentence embeddings: the mean of the features of each sentence's tokens, scaled to length 1.

        Sentences of similar length are computed together; those of more than `max_tokens` tokens are cut.

        Returns:
            (N, W), or (W,) for one string.
        Raises:
            RuntimeError: the model has no tokenizer (see from_pretrained).
        """
        if self.tokenizer is None:
            raise RuntimeError("[BertModel.encode] the model has no tokenizer: from_pretrained reads tokenizer.json "
                               "with the package tokenizers")
        if isinstance(sentences, str):
            return self.encode([sentences], normalize, batch_size)[0]
        ids = [encoding.ids for encoding in self.tokenizer.encode_batch(list(sentences))]
        out = np.empty((len(ids), self.hidden_size), np.float32)
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        for begin in range(0, len(order), batch_size):
            chosen = order[begin:begin + batch_size]
            x, lengths = self.features([ids[i] for i in chosen])
            starts = np.cumsum(lengths) - lengths
            out[chosen] = np.add.reduceat(x.numpy(), starts) / lengths[:, None].astype(np.float32)
        if normalize:
            out /= np.maximum(np.sqrt(np.square(out).sum(1, keepdims=True)), 1e-12)
        return fastdl.from_numpy(out)

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str]) -> BertModel:
        """The encoder in a folder with config.json, model.safetensors and, for `encode`, tokenizer.json.

        Raises:
            FileNotFoundError: config.json or the weights are missing.
            ValueError: not a BERT, or tensors that are missing or of other shapes (all are listed).
        """
        folder = Path(folder)
        for name in ("config.json", "model.safetensors"):
            if not (folder / name).is_file():
                raise FileNotFoundError(f"[BertModel.from_pretrained] {folder} has no {name}")
        config = _read_json(folder / "config.json")
        kind = config.get("model_type", "bert"), config.get("position_embedding_type", "absolute")
        if kind != ("bert", "absolute"):
            raise ValueError(f"[BertModel.from_pretrained] {folder}: expected a BERT with absolute positions, got "
                             f"{kind}")
        if missing := [name for name in _CONFIG if not isinstance(config.get(name), int)]:
            raise ValueError(f"[BertModel.from_pretrained] {folder / 'config.json'} lacks {', '.join(missing)}")
        if config.get("hidden_act", "gelu") not in ("gelu", "relu"):
            raise ValueError("[BertModel.from_pretrained] hidden_act: expected gelu or relu, got "
                             f"{config['hidden_act']!r}")
        model = cls(**{ours: config[theirs] for theirs, ours in _CONFIG.items()},
                    activation=config.get("hidden_act", "gelu"), dropout=config.get("hidden_dropout_prob", 0.1),
                    layer_norm_eps=config.get("layer_norm_eps", 1e-12))
        model._take(serialization.load_tensors(folder / "model.safetensors"), folder)
        model.max_tokens = model.max_positions
        if (folder / "sentence_bert_config.json").is_file():
            limit = _read_json(folder / "sentence_bert_config.json").get("max_seq_length") or model.max_positions
            model.max_tokens = min(limit, model.max_positions)
        if (folder / "tokenizer.json").is_file():
            with contextlib.suppress(ImportError):  # the weights are of use without it
                from tokenizers import Tokenizer

                model.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
                model.tokenizer.no_padding()
                model.tokenizer.enable_truncation(model.max_tokens)
        model.eval()
        return model

    def _take(self, found: dict[str, Any], folder: Path) -> None:
        """Copies HuggingFace's tensors into the parameters."""
        found = {name.removeprefix("bert."): value for name, value in found.items()}
        own, wrong = dict(self.named_parameters()), []
        with fastdl.no_grad():
            for theirs, target in self._targets(own):
                value = found.get(theirs)
                if value is None:
                    wrong.append(f"{theirs} is missing")
                elif tuple(value.shape) != tuple(target.shape):
                    wrong.append(f"{theirs}: expected {tuple(target.shape)}, got {tuple(value.shape)}")
                else:
                    target.copy_(value)
        if wrong:
            more = f" and {len(wrong) - 8} more" if len(wrong) > 8 else ""
            raise ValueError(f"[BertModel.from_pretrained] {folder}: {'; '.join(wrong[:8])}{more}")

    def _targets(self, own: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        for theirs, ours in _EMBEDDINGS.items():
            yield theirs, own[ours]
        for i in range(self.encoder.num_layers):
            for theirs, ours in _LAYER.items():
                for kind in ("weight", "bias"):
                    target = own[f"encoder.layers.{i}.{ours}{kind}"]
                    if "attention.self" in theirs:
                        part = ("query", "key", "value").index(theirs.rpartition(".")[2])
                        target = target[part * self.hidden_size:(part + 1) * self.hidden_size]
                    yield f"encoder.layer.{i}.{theirs}.{kind}", target


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: not JSON: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a JSON object")
    return content


class BertPretraining(nn.Module):
    """BERT with its two heads: the masked tokens, and whether the second segment follows the first."""

    def __init__(self, bert: BertModel) -> None:
        super().__init__()
        width = bert.hidden_size
        self.bert = bert
        self.words = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width),
                                   nn.Linear(width, bert.vocab_size))
        self.follows = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 2))

    def forward(self, tokens: Any, segments: Any, lengths: Any, masked: Any) -> tuple[Any, Any]:
        """Scores (M, V) of the tokens at `masked`, places (M,) in tokens.reshape(-1), and (N, 2) for the sentence."""
        x = self.bert(tokens, segments, lengths)
        return self.words(x.reshape(-1, self.bert.hidden_size)[masked]), self.follows(x[:, 0])

    def loss(self, batch: Any) -> tuple[Any, Any]:
        """Mean cross-entropies (masked tokens, next sentence) of a `fastdl.text.BertBatch`; their sum is trained."""
        words, follows = self(batch.tokens, batch.segments, batch.lengths, batch.masked)
        return F.cross_entropy(words, batch.words), F.cross_entropy(follows, batch.follows)


class BertClassifier(nn.Module):
    """Scores (N, classes) of a sentence, or of a pair as two segments, from the features of its first token."""

    def __init__(self, bert: BertModel, classes: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.bert = bert
        self.head = nn.Sequential(nn.Linear(bert.hidden_size, bert.hidden_size), nn.Tanh(), nn.Dropout(dropout),
                                  nn.Linear(bert.hidden_size, classes))

    def forward(self, tokens: Any, segments: Any = None, lengths: Any = None) -> Any:
        return self.head(self.bert(tokens, segments, lengths)[:, 0])


class BertTagger(nn.Module):
    """Scores (N, T, classes) of every token."""

    def __init__(self, bert: BertModel, classes: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.bert = bert
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(bert.hidden_size, classes))

    def forward(self, tokens: Any, segments: Any = None, lengths: Any = None) -> Any:
        return self.head(self.bert(tokens, segments, lengths))
