"""Encoders and decoders: the interface, GRU sequence to sequence, and the decoder with Bahdanau's attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import fastdl
from fastdl import nn
from fastdl.models.attention import AdditiveAttention, CachedAttention, valid_mask
from fastdl.models.search import beam_search, greedy_search
from fastdl.nn import functional as F
from fastdl.text import Vocab
from fastdl.text.translation import BOS, EOS, PAD, build_array, normalize_sentence


class Encoder(nn.Module):
    """Turns source sentences into whatever the decoder's `init_state` takes: `forward(tokens (N, S), lengths (N,))`."""


class Decoder(nn.Module):
    """Scores the next token of sequences, some steps at a time.

    A subclass has the three methods that raise here, and `output`, the linear layer that makes scores of features.
    """

    output: Any

    def init_state(self, memory: Any, lengths: Any) -> Any:
        """The state before the first token: memory is the encoder's result, lengths (N,) those of the sources."""
        raise NotImplementedError

    def features(self, tokens: Any, state: Any) -> tuple[Any, Any]:
        """What `output` reads (N, T, H) at each of the next tokens (N, T), and the state after them.

        Steps may come all at once or one by one: the results are the same.
        """
        raise NotImplementedError

    def forward(self, tokens: Any, state: Any) -> tuple[Any, Any]:
        """Scores (N, T, V) of the token behind each of the next tokens (N, T), and the state after them."""
        x, state = self.features(tokens, state)
        return self.output(x), state

    def select(self, state: Any, rows: Any) -> Any:
        """The state of these rows of the batch (int64), in their order, any number of times."""
        raise NotImplementedError


class EncoderDecoder(nn.Module):
    """An encoder and the decoder that reads its result."""

    def __init__(self, encoder: Encoder, decoder: Decoder) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def encode(self, source: Any, lengths: Any) -> Any:
        """The decoder's first state for sources (N, S) of these lengths (N,)."""
        return self.decoder.init_state(self.encoder(source, lengths), lengths)

    def forward(self, source: Any, lengths: Any, inputs: Any) -> Any:
        """Scores (N, T, V) of what follows each of the tokens `inputs` (N, T)."""
        return self.decoder(inputs, self.encode(source, lengths))[0]

    def loss(self, source: Any, lengths: Any, target: Any, bos: int, pad: int) -> Any:
        """Mean cross-entropy of the target tokens (N, T) that are not `pad`.

        Each is predicted from the true ones before it (teacher forcing), the first from `bos`.
        """
        inputs = fastdl.cat([fastdl.full((target.shape[0], 1), bos, dtype=fastdl.int64), target[:, :-1]], 1)
        x, _ = self.decoder.features(inputs, self.encode(source, lengths))
        output = self.decoder.output
        return F.linear_cross_entropy(x.reshape(-1, x.shape[-1]), output.weight, target.reshape(-1),
                                      linear_bias=output.bias, ignore_index=pad)

    @fastdl.no_grad()
    def attention_weights(self, source: Any, lengths: Any, inputs: Any) -> dict[str, Any]:
        """The weights of every attention of the model, by its name, for sources and the tokens read by the decoder.

        Each is (N, heads, Tq, Tk); dropout is off.
        """
        layers = {name: m for name, m in self.named_modules() if isinstance(m, (CachedAttention, AdditiveAttention))}
        training = self.training
        self.eval()
        try:
            self._keep_weights(layers, True)
            state = self.encode(source, lengths)
            if not any(isinstance(layer, AdditiveAttention) for layer in layers.values()):
                self.decoder(inputs, state)
                return {name: layer.weights for name, layer in layers.items()}
            rows: dict[str, list[Any]] = {name: [] for name in layers}  # these attend anew in each step
            for t in range(inputs.shape[1]):
                _, state = self.decoder(inputs[:, t:t + 1], state)
                for name, layer in layers.items():
                    rows[name].append(layer.weights.unsqueeze(1))
            return {name: fastdl.cat(steps, 2) for name, steps in rows.items()}
        finally:
            self._keep_weights(layers, False)
            self.train(training)

    @staticmethod
    def _keep_weights(layers: dict[str, Any], keep: bool) -> None:
        for layer in layers.values():
            if isinstance(layer, CachedAttention):
                layer.keep_weights = keep
                if not keep:
                    layer.weights = None


class GRUEncoder(Encoder):
    """Embedding and GRU over the source.

    Args:
        vocab_size: tokens (V); embed_size: of the embedding; num_hiddens: H; num_layers: L.
        dropout: probability, between the layers.
    Returns:
        Outputs of the last layer (N, S, H), zeros behind each sentence's end, and the states at the ends (L, N, H).
    """

    def __init__(self, vocab_size: int, embed_size: int, num_hiddens: int, num_layers: int,
                 dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embed_size)
        self.rnn = nn.GRU(embed_size, num_hiddens, num_layers, dropout=dropout)

    def forward(self, tokens: Any, lengths: Any = None) -> tuple[Any, Any]:
        outputs, state = self.rnn(self.embedding(tokens.T), lengths=lengths)
        return outputs.transpose(0, 1), state


class GRUState(NamedTuple):
    """Hidden states (L, N, H), and the context that every step reads (N, H)."""

    hidden: Any
    context: Any


class GRUDecoder(Decoder):
    """GRU that reads each token's embedding with the encoder's last state beside it; arguments as GRUEncoder."""

    def __init__(self, vocab_size: int, embed_size: int, num_hiddens: int, num_layers: int,
                 dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embed_size)
        self.rnn = nn.GRU(embed_size + num_hiddens, num_hiddens, num_layers, dropout=dropout)
        self.output = nn.Linear(num_hiddens, vocab_size)

    def init_state(self, memory: Any, lengths: Any = None) -> GRUState:
        return GRUState(memory[1], memory[1][-1])

    def features(self, tokens: Any, state: GRUState) -> tuple[Any, GRUState]:
        embedded = self.embedding(tokens.T)
        context = state.context.expand(embedded.shape[0], *state.context.shape)
        outputs, hidden = self.rnn(fastdl.cat([embedded, context], 2), state.hidden)
        return outputs.transpose(0, 1), GRUState(hidden, state.context)

    def select(self, state: GRUState, rows: Any) -> GRUState:
        return GRUState(state.hidden.index_select(1, rows), state.context.index_select(0, rows))


class BahdanauState(NamedTuple):
    """Hidden states (L, N, H); the source's outputs (N, S, H), their keys (N, S, H), and which are there (N, 1, S)."""

    hidden: Any
    outputs: Any
    keys: Any
    keep: Any


class BahdanauDecoder(Decoder):
    """GRU that in each step attends over the source with its state before as the query; arguments as GRUEncoder."""

    def __init__(self, vocab_size: int, embed_size: int, num_hiddens: int, num_layers: int,
                 dropout: float = 0.0) -> None:
        super().__init__()
        self.attention = AdditiveAttention(num_hiddens, num_hiddens, num_hiddens, dropout)
        self.embedding = nn.Embedding(vocab_size, embed_size)
        self.rnn = nn.GRU(embed_size + num_hiddens, num_hiddens, num_layers, dropout=dropout)
        self.output = nn.Linear(num_hiddens, vocab_size)

    def init_state(self, memory: Any, lengths: Any = None) -> BahdanauState:
        outputs, hidden = memory
        keep = None if lengths is None else valid_mask(lengths, outputs.shape[1]).unsqueeze(1)
        return BahdanauState(hidden, outputs, self.attention.W_k(outputs), keep)

    def features(self, tokens: Any, state: BahdanauState) -> tuple[Any, BahdanauState]:
        hidden, outputs, keys, keep = state
        steps = []
        for embedded in self.embedding(tokens.T).split(1):  # (1, N, E)
            context = self.attention.attend(hidden[-1].unsqueeze(1), keys, outputs, keep)
            step, hidden = self.rnn(fastdl.cat([embedded, context.transpose(0, 1)], 2), hidden)
            steps.append(step)
        return fastdl.cat(steps, 0).transpose(0, 1), state._replace(hidden=hidden)

    def select(self, state: BahdanauState, rows: Any) -> BahdanauState:
        hidden, *others = state
        return BahdanauState(hidden.index_select(1, rows),
                             *(None if part is None else part.index_select(0, rows) for part in others))


def gru_seq2seq(source_size: int, target_size: int, embed_size: int = 32, num_hiddens: int = 32, num_layers: int = 2,
                dropout: float = 0.1, attention: bool = False) -> EncoderDecoder:
    """GRU encoder and GRU decoder for vocabularies of these sizes; `attention`: Bahdanau's decoder."""
    decoder = BahdanauDecoder if attention else GRUDecoder
    return EncoderDecoder(GRUEncoder(source_size, embed_size, num_hiddens, num_layers, dropout),
                          decoder(target_size, embed_size, num_hiddens, num_layers, dropout))


def init_xavier(module: nn.Module) -> None:
    """Xavier-uniform weights for linear and recurrent layers, as the book trains them: `model.apply(init_xavier)`."""
    if isinstance(module, (nn.Linear, nn.RNNBase)):
        for name, weight in module.named_parameters():
            if name.startswith("weight"):
                nn.init.xavier_uniform_(weight)


@fastdl.no_grad()
def translate(sentences: Sequence[str], model: EncoderDecoder, source_vocab: Vocab, target_vocab: Vocab,
              num_steps: int, beam_size: int = 1, length_penalty: float = 0.75) -> list[str]:
    """Translations of sentences, all in one batch, in evaluation mode.

    Args:
        num_steps: longest source and longest translation, in tokens.
        beam_size: 1: greedy search; else beam search with this length_penalty.
    Raises:
        ValueError: a sentence has more than num_steps - 1 tokens, or the target vocabulary is not as large as the
            model's.
    """
    if (size := model.decoder.output.out_features) != len(target_vocab):
        raise ValueError(f"[translate] target_vocab of {len(target_vocab)} tokens does not fit the model, which has "
                         f"{size}")
    words = [normalize_sentence(sentence).split() for sentence in sentences]
    for sentence, tokens in zip(sentences, words):
        if len(tokens) >= num_steps:
            raise ValueError(f"[translate] {len(tokens)} tokens and {EOS} are longer than num_steps {num_steps}: "
                             f"{sentence!r}")
    if not words:
        return []
    source, lengths = build_array(words, source_vocab, num_steps)
    starts, eos = [target_vocab[BOS]] * len(words), target_vocab[EOS]
    training = model.training
    model.eval()
    try:
        state = model.encode(source, lengths)
        if beam_size == 1:
            found = greedy_search(model.decoder, state, starts, eos, num_steps)
        else:
            found = [best[0].tokens for best in
                     beam_search(model.decoder, state, starts, eos, num_steps, beam_size, length_penalty)]
    finally:
        model.train(training)
    return [" ".join(target_vocab.to_tokens([t for t in tokens if t != target_vocab[PAD]])) for tokens in found]
