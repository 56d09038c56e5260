"""Encoders and decoders: step by step equals all at once, padding changes nothing, search finds the best."""

import itertools

import numpy as np
import pytest

import fastdl
from fastdl import models, nn
from fastdl.nn import functional as F
from fastdl.text import PairLoader, Vocab

V_SRC, V_TGT, N, S, T = 11, 7, 3, 6, 5
MAKE = {
    "gru": lambda **k: models.gru_seq2seq(V_SRC, V_TGT, 5, 8, 2, 0.1),
    "bahdanau": lambda **k: models.gru_seq2seq(V_SRC, V_TGT, 5, 8, 2, 0.1, attention=True),
    "transformer": lambda **k: models.transformer_seq2seq(V_SRC, V_TGT, 8, 2, 12, 2, 0.1, **k),
    "pre-norm": lambda **k: models.transformer_seq2seq(V_SRC, V_TGT, 8, 2, 12, 2, 0.1, norm_first=True, **k),
}
every_model = pytest.mark.parametrize("name", MAKE)


def make(name, seed=0, **options):
    fastdl.manual_seed(seed)
    model = MAKE[name](**options).eval()
    for p in model.parameters():
        nn.init.uniform_(p, -0.7, 0.7)
    return model


def data(seed=0):
    rng = np.random.default_rng(seed)
    source, target = rng.integers(4, V_SRC, (N, S)), rng.integers(4, V_TGT, (N, T))
    return fastdl.from_numpy(source), fastdl.tensor([6, 2, 4]), fastdl.from_numpy(target)


@every_model
@pytest.mark.parametrize("cut", [[1] * T, [2, 3], [1, 4]])
def test_steps_equal_the_whole(name, cut):
    model = make(name)
    source, lengths, tokens = data()
    with fastdl.no_grad():
        whole = model(source, lengths, tokens).numpy()
        state, parts = model.encode(source, lengths), []
        for piece in tokens.split(cut, 1):
            logits, state = model.decoder(piece, state)
            parts.append(logits.numpy())
    np.testing.assert_allclose(np.concatenate(parts, 1), whole, rtol=1e-5, atol=1e-6)


@every_model
def test_training_mode_without_dropout_equals_evaluation(name):
    model = make(name)
    source, lengths, tokens = data()
    expected = model(source, lengths, tokens).detach().numpy()
    for m in model.modules():
        if isinstance(m, nn.Dropout):
            m.p = 0.0
        elif isinstance(m, (nn.MultiheadAttention, nn.RNNBase)):
            m.dropout = 0.0
    model.train()
    np.testing.assert_allclose(model(source, lengths, tokens).detach().numpy(), expected, rtol=1e-5, atol=1e-6)


@every_model
def test_select_takes_rows_of_the_state(name):
    model = make(name)
    source, lengths, tokens = data()
    rows = fastdl.tensor([2, 0, 2, 1])
    with fastdl.no_grad():
        _, state = model.decoder(tokens[:, :2], model.encode(source, lengths))
        got, _ = model.decoder(tokens[rows][:, 2:], model.decoder.select(state, rows))
        expected = model(source[rows], lengths[rows], tokens[rows])[:, 2:]
    np.testing.assert_allclose(got.numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)


@every_model
def test_padding_of_the_source_changes_nothing(name):
    model = make(name)
    source, lengths, tokens = data()
    other = source.clone()
    for row, length in enumerate(lengths.tolist()):
        other[row, length:] = 1
    np.testing.assert_array_equal(model(source, lengths, tokens).detach().numpy(),
                                  model(other, lengths, tokens).detach().numpy())


@every_model
def test_later_tokens_change_nothing_before_them(name):
    model = make(name)
    source, lengths, tokens = data()
    other = tokens.clone()
    other[:, 3:] = 4
    a, b = (model(source, lengths, t).detach().numpy() for t in (tokens, other))
    np.testing.assert_allclose(a[:, :3], b[:, :3], rtol=1e-5, atol=1e-6)
    assert np.abs(a[:, 3:] - b[:, 3:]).max() > 1e-3


@every_model
def test_the_loss_leaves_padding_out(name):
    model = make(name)
    source, lengths, target = data()
    target[1, 2:] = 1
    bos = fastdl.full((N, 1), 2, dtype=fastdl.int64)
    logits = model(source, lengths, fastdl.cat([bos, target[:, :-1]], 1)).detach().numpy().astype(np.float64)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    each = -np.take_along_axis(log_p, target.numpy()[..., None], 2)[..., 0]
    expected = each[target.numpy() != 1].mean()
    assert model.loss(source, lengths, target, 2, 1).item() == pytest.approx(expected, rel=1e-5)


@every_model
def test_attention_weights_of_every_layer(name):
    model = make(name)
    source, lengths, tokens = data()
    weights = model.attention_weights(source, lengths, tokens)
    assert len(weights) == {"gru": 0, "bahdanau": 1}.get(name, 6)
    for layer, w in weights.items():
        values = w.numpy()
        np.testing.assert_allclose(values.sum(-1), 1, rtol=1e-5)
        if layer.startswith("decoder") and layer.endswith("self_attn"):
            assert w.shape == (N, 2, T, T) and (np.triu(values, 1) == 0).all()
        else:
            assert w.shape[0] == N and w.shape[-1] == S
            for row, length in enumerate(lengths.tolist()):
                assert (values[row, :, :, length:] == 0).all()
    if name not in ("gru", "bahdanau"):  # the matrices give the same results as the fused kernel
        expected = model(source, lengths, tokens).detach().numpy()
        layers = {n: m for n, m in model.named_modules() if isinstance(m, models.CachedAttention)}
        assert all(m.weights is None and not m.keep_weights for m in layers.values())
        for m in layers.values():
            m.keep_weights = True
        np.testing.assert_allclose(model(source, lengths, tokens).detach().numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm_first", [False, True])
def test_blocks_equal_those_of_nn(norm_first):
    from fastdl.models.transformer import DecoderBlock, EncoderBlock

    fastdl.manual_seed(0)
    rng = np.random.default_rng(0)
    memory = fastdl.from_numpy(rng.standard_normal((N, S, 8)).astype(np.float32))
    x = fastdl.from_numpy(rng.standard_normal((N, T, 8)).astype(np.float32))
    lengths = fastdl.tensor([6, 2, 4])
    hidden = ~models.valid_mask(lengths, S)
    options = {"batch_first": True, "norm_first": norm_first}
    ours = EncoderBlock(8, 2, 12, 0.1, norm_first).eval()
    theirs = nn.TransformerEncoderLayer(8, 2, 12, 0.1, **options).eval()
    theirs.load_state_dict(ours.state_dict())
    inside = models.valid_mask(lengths, S).unsqueeze(-1).numpy()
    np.testing.assert_allclose(ours(memory, lengths).detach().numpy() * inside,
                               theirs(memory, src_key_padding_mask=hidden).detach().numpy() * inside, atol=1e-5)
    ours = DecoderBlock(8, 2, 12, 0.1, norm_first).eval()
    theirs = nn.TransformerDecoderLayer(8, 2, 12, 0.1, **options).eval()
    theirs.load_state_dict(ours.state_dict())
    got, _ = ours(x, ours.multihead_attn.keys_and_values(memory), lengths)
    causal = nn.Transformer.generate_square_subsequent_mask(T)
    expected = theirs(x, memory, tgt_mask=causal, memory_key_padding_mask=hidden)
    np.testing.assert_allclose(got.detach().numpy(), expected.detach().numpy(), atol=1e-5)


# search

EOS = 3


def exhaustive(model, source, length, steps, penalty):
    """The best score of all sequences, one forward pass for each."""
    best = (-np.inf, None)
    others = [t for t in range(V_TGT) if t != EOS]
    for count in range(steps + 1):
        for body in itertools.product(others, repeat=count):
            full = list(body) + ([EOS] if count < steps else [])
            logits = model(source, length, fastdl.tensor([[2, *full[:-1]]])).numpy().astype(np.float64)[0]
            log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
            score = log_p[np.arange(len(full)), full].sum() / len(full) ** penalty
            best = max(best, (score, list(body)), key=lambda b: b[0])
    return best


@every_model
@pytest.mark.parametrize("penalty", [0.0, 0.75])
def test_a_full_beam_is_exhaustive(name, penalty):
    model, (source, lengths, _) = make(name, seed=2), data(1)
    with fastdl.no_grad():
        found = models.beam_search(model.decoder, model.encode(source, lengths), [2] * N, EOS, 3, V_TGT**2, penalty)
        for row in range(N):
            score, tokens = exhaustive(model, source[row:row + 1], lengths[row:row + 1], 3, penalty)
            assert found[row][0].tokens == tokens
            assert found[row][0].score == pytest.approx(score, rel=1e-4)
            scores = [h.score for h in found[row]]
            assert scores == sorted(scores, reverse=True)


@every_model
def test_a_beam_of_one_is_greedy_and_rows_do_not_mix(name):
    model, (source, lengths, _) = make(name, seed=3), data(2)

    def greedy(rows):
        return models.greedy_search(model.decoder, model.encode(source[rows], lengths[rows]), [2] * len(rows), EOS, 8)

    def beam(rows, size, penalty=0.0):
        state = model.encode(source[rows], lengths[rows])
        return models.beam_search(model.decoder, state, [2] * len(rows), EOS, 8, size, penalty)

    together = greedy([0, 1, 2])
    assert together == [h[0].tokens for h in beam([0, 1, 2], 1)]
    assert together == [greedy([row])[0] for row in range(N)]
    several = beam([0, 1, 2], 3, 0.75)
    for row in range(N):
        alone = beam([row], 3, 0.75)[0]
        assert [h.tokens for h in alone] == [h.tokens for h in several[row]]
        assert [h.score for h in alone] == pytest.approx([h.score for h in several[row]], rel=1e-4)


class Table:
    """A decoder given by the scores of the next token: greedy goes wrong at the first step."""

    table = np.log(np.array([[1e-9, 0.6, 0.4, 1e-9], [0.26, 0.25, 0.25, 0.24], [1e-9, 1e-9, 1e-9, 1.0]]))

    def __call__(self, tokens, state):
        next_ = {9: 0, 1: 1, 0: 1, 2: 2}
        return fastdl.tensor(self.table[[next_[int(t)] for t in tokens[:, -1]]][:, None]).float(), state

    def select(self, state, rows):
        return state


def test_a_wider_beam_finds_what_greedy_misses():
    assert models.greedy_search(Table(), None, [9], 3, 3) == [[1, 0, 0]]
    best = models.beam_search(Table(), None, [9], 3, 3, 2, 0.0)[0][0]
    assert best.tokens == [2] and best.is_finished and best.score == pytest.approx(np.log(0.4), abs=1e-5)


def test_bad_search_arguments():
    for arguments in ((0, 1, 0.0), (1, 0, 0.0), (1, 1, -1.0), (1, 1, float("nan"))):
        with pytest.raises(ValueError, match="beam_search"):
            models.beam_search(Table(), None, [9], 3, *arguments)
    with pytest.raises(ValueError, match="max_steps"):
        models.greedy_search(Table(), None, [9], 3, 0)
    assert models.beam_search(Table(), None, [], 3, 2) == [] == models.greedy_search(Table(), None, [], 3, 2)


# attention


def test_masked_softmax():
    scores = fastdl.randn(2, 3, 4)
    out = models.masked_softmax(scores, fastdl.tensor([2, 0])).numpy()
    np.testing.assert_allclose(out[0, :, :2], F.softmax(scores[0, :, :2], -1).numpy(), rtol=1e-6)
    assert (out[0, :, 2:] == 0).all() and (out[1] == 0).all()
    out = models.masked_softmax(scores, fastdl.tensor([[1, 2, 3], [4, 4, 4]])).numpy()
    assert (out[0, 0, 1:] == 0).all() and out[0, 2, 2] > 0 and (out[1] > 0).all()


def test_additive_and_dot_product_attention():
    fastdl.manual_seed(0)
    attention = models.AdditiveAttention(2, 5, 7).eval()
    q, k, v, lengths = fastdl.randn(2, 3, 5), fastdl.randn(2, 4, 2), fastdl.randn(2, 4, 6), fastdl.tensor([2, 4])
    got = attention(q, k, v, lengths).detach().numpy()
    hidden = np.tanh(attention.W_q(q).detach().numpy()[:, :, None] + attention.W_k(k).detach().numpy()[:, None])
    for scores, result, weights in [
        (hidden @ attention.w_v.weight.detach().numpy()[0], got, attention.weights),
        (q.numpy() @ q.numpy().swapaxes(1, 2) / 5**0.5, None, None),
    ]:
        values = v.numpy()
        if result is None:
            dot, values = models.DotProductAttention(), values[:, :3]
            lengths = fastdl.tensor([2, 3])
            result, weights = dot(q, q, v[:, :3], lengths).numpy(), dot.weights
        e = np.exp(scores) * (np.arange(scores.shape[-1]) < lengths.numpy()[:, None, None])
        expected = e / e.sum(-1, keepdims=True)
        np.testing.assert_allclose(weights.numpy(), expected, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(result, expected @ values, rtol=1e-4, atol=1e-6)


def test_positions():
    encoding = models.PositionalEncoding(6, 0.0, 20)
    out = encoding(fastdl.zeros(1, 4, 6), 3).numpy()[0]
    for i in range(4):
        for j in range(3):
            angle = (i + 3) / 10000 ** (2 * j / 6)
            np.testing.assert_allclose(out[i, 2 * j:2 * j + 2], [np.sin(angle), np.cos(angle)], atol=1e-6)
    assert "P" not in encoding.state_dict()


# errors and the way from sentences to sentences


def test_a_sequence_longer_than_the_model():
    model = make("transformer", max_len=4)
    source, lengths, _ = data()
    with pytest.raises(ValueError, match="sequence of 6 steps is longer than the model: max_len is 4"):
        model.encode(source, lengths)
    state = model.encode(source[:, :3], fastdl.tensor([3, 2, 3]))
    with pytest.raises(ValueError, match="sequence of 5 steps"):
        models.greedy_search(model.decoder, state, [2] * N, 99, 5)


def test_weights_for_another_vocabulary_do_not_load():
    with pytest.raises(RuntimeError, match=r"(?s)embedding.*7.*8"):
        models.gru_seq2seq(V_SRC, 8, 5, 8).load_state_dict(models.gru_seq2seq(V_SRC, V_TGT, 5, 8).state_dict())


@every_model
def test_learns_to_translate(name):
    pairs = [(f"{a} {b}.", f"{b.upper()}x {a.upper()}x !") for a in "pqr" for b in "stuv"]
    fastdl.manual_seed(0)
    loader = PairLoader(pairs, 12, 5, min_freq=1)
    sizes = len(loader.source_vocab), len(loader.target_vocab)
    if name in ("gru", "bahdanau"):
        model = models.gru_seq2seq(*sizes, 16, 24, 1, 0.0, attention=name == "bahdanau")
    else:
        model = models.transformer_seq2seq(*sizes, 16, 2, 32, 1, 0.0, norm_first=name == "pre-norm")
    model.apply(models.init_xavier)
    optimizer = fastdl.optim.Adam(model.parameters(), lr=0.01)
    bos, pad = loader.target_vocab["<bos>"], loader.target_vocab["<pad>"]
    for _ in range(150):
        for batch in loader:
            loss = model.loss(batch.source, batch.source_lengths, batch.target, bos, pad)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    for beam in (1, 3):
        got = models.translate([a for a, _ in pairs], model, loader.source_vocab, loader.target_vocab, 5, beam)
        assert got == [b.lower() for _, b in pairs]
    assert model.training
    assert models.translate([], model, loader.source_vocab, loader.target_vocab, 5) == []
    with pytest.raises(ValueError, match="5 tokens and <eos> are longer than num_steps 5"):
        models.translate(["p p p p."], model, loader.source_vocab, loader.target_vocab, 5)
    with pytest.raises(ValueError, match="target_vocab of 4 tokens does not fit the model, which has "):
        models.translate(["p q."], model, loader.source_vocab, Vocab(reserved_tokens=("<pad>", "<bos>", "<eos>")), 5)
