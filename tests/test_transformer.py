"""Multi-head attention and transformers against PyTorch, with its weights, both ways; hints, printing, errors."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import fastdl
from fastdl import nn
from fastdl.nn import functional as F

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")  # PyTorch's about nested tensors and mismatched masks

E, HEADS, L, S, N = 12, 3, 7, 5, 4


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def both(ours, theirs):
    """The two modules with the weights of theirs, moved away from their special first values."""
    torch.manual_seed(0)
    with torch.no_grad():
        for p in theirs.parameters():
            p.add_(torch.randn_like(p) * 0.1)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict({k: fastdl.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    back = copy.deepcopy(theirs)
    back.load_state_dict({k: torch.from_numpy(v.numpy().copy()) for k, v in ours.state_dict().items()})
    return ours, theirs


def compare(ours, theirs, inputs, call, atol=2e-5):
    """Outputs and gradients of parameters and inputs, for the same upstream gradients."""
    a = [fastdl.tensor(x).requires_grad_() for x in inputs]
    b = [torch.tensor(x, requires_grad=True) for x in inputs]
    found = []
    for module, values, library in ((ours, a, fastdl), (theirs, b, torch)):
        out = call(module, *values, library)
        outs = [o for o in (out if isinstance(out, tuple) else (out,)) if o is not None]
        loss = sum((o * library.tensor(normal(*o.shape, seed=5 + i))).sum() for i, o in enumerate(outs))
        module.zero_grad()
        loss.backward()
        grads = {n: p.grad for n, p in module.named_parameters() if p.grad is not None}
        found.append(
            ([o.detach().numpy() for o in outs], {n: g.numpy() for n, g in grads.items()}, [v.grad for v in values])
        )
    (outs, grads, dx), (wanted, wanted_grads, wanted_dx) = found
    assert len(outs) == len(wanted)
    for o, w in zip(outs, wanted):
        np.testing.assert_allclose(o, w, rtol=1e-4, atol=atol)
    assert grads.keys() == wanted_grads.keys()
    for n in grads:
        np.testing.assert_allclose(grads[n], wanted_grads[n], rtol=1e-4, atol=atol * 10, err_msg=n)
    for g, w in zip(dx, wanted_dx):
        assert (g is None) == (w is None)
        if g is not None:
            np.testing.assert_allclose(g.numpy(), w.numpy(), rtol=1e-4, atol=atol * 10)


def masks(kind, library, batch_first=False, length=L, source=L):
    """Keyword arguments of MultiheadAttention.forward."""
    rng = np.random.default_rng(3)
    hidden = rng.random((length, source)) > 0.6
    hidden[:, 0] = False
    padding = np.arange(source) >= np.array([[source], [source - 1], [2], [1]])
    causal = ~np.tri(length, source, dtype=bool)
    of = library.tensor
    number = np.where(hidden, -np.inf, rng.standard_normal(hidden.shape)).astype(np.float32)
    return {
        "none": {},
        "bool": {"attn_mask": of(hidden)},
        "float": {"attn_mask": of(number)},
        "heads": {"attn_mask": of(np.broadcast_to(hidden, (N * HEADS, length, source)).copy())},
        "padding": {"key_padding_mask": of(padding)},
        "float padding": {"key_padding_mask": of(np.where(padding, -np.inf, 0).astype(np.float32))},
        "both": {"attn_mask": of(causal), "key_padding_mask": of(padding)},
        "mixed": {"attn_mask": of(number), "key_padding_mask": of(padding)},
        "causal": {"attn_mask": of(causal), "is_causal": True},
        "causal padding": {"attn_mask": of(causal), "is_causal": True, "key_padding_mask": of(padding)},
    }[kind]


KINDS = ["none", "bool", "float", "heads", "padding", "float padding", "both", "mixed", "causal", "causal padding"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weights", ["no", "averaged", "each"])
@pytest.mark.parametrize("batch_first", [False, True])
def test_self_attention(kind, weights, batch_first):
    ours, theirs = both(*(lib.MultiheadAttention(E, HEADS, batch_first=batch_first) for lib in (nn, torch.nn)))
    x = normal(*((N, L, E) if batch_first else (L, N, E)))
    options = {"need_weights": weights != "no", "average_attn_weights": weights == "averaged"}
    compare(ours, theirs, [x], lambda m, x, lib: m(x, x, x, **options, **masks(kind, lib)))


VARIANTS = [{}, {"bias": False}, {"add_bias_kv": True}, {"add_zero_attn": True}, {"kdim": 5, "vdim": 9}, {"kdim": 5},
            {"add_bias_kv": True, "add_zero_attn": True, "kdim": 7, "vdim": 7}]  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_attention_to_other_sequences(variant, need_weights, batch_first):
    options = {"batch_first": batch_first, **variant}
    ours, theirs = both(*(lib.MultiheadAttention(E, HEADS, **options) for lib in (nn, torch.nn)))
    shapes = [(L, N, E), (S, N, ours.kdim), (S, N, ours.vdim)]
    inputs = [normal(*((s[1], s[0], s[2]) if batch_first else s), seed=i) for i, s in enumerate(shapes)]
    for kind in ("none", "both"):
        compare(ours, theirs, inputs,
                lambda m, q, k, v, lib: m(q, k, v, need_weights=need_weights, **masks(kind, lib, source=S)))  # noqa: B023
    if ours.kdim == ours.vdim:
        compare(ours, theirs, inputs[:2], lambda m, q, k, lib: m(q, k, k, need_weights=need_weights))
    if variant.get("add_bias_kv") and ours._qkv_same_embed_dim is False:
        return
    if ours.kdim == ours.vdim == E:
        compare(ours, theirs, inputs[:1], lambda m, x, lib: m(x, x, x, need_weights=need_weights))


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("need_weights", [False, True])
def test_a_single_sequence(batch_first, need_weights):
    ours, theirs = both(*(lib.MultiheadAttention(E, HEADS, batch_first=batch_first) for lib in (nn, torch.nn)))
    hidden = ~np.tri(L, S, dtype=bool)
    inputs = [normal(L, E), normal(S, E, seed=1), normal(S, E, seed=2)]
    compare(ours, theirs, inputs,
            lambda m, q, k, v, lib: m(q, k, v, need_weights=need_weights, attn_mask=lib.tensor(hidden)))
    compare(ours, theirs, inputs[:1], lambda m, x, lib: m(x, x, x, need_weights=need_weights))


def test_given_keys_and_values():
    theirs = torch.nn.MultiheadAttention(E, HEADS)
    x, k, v = normal(L, N, E), normal(N * HEADS, S, E // HEADS, seed=1), normal(N * HEADS, S, E // HEADS, seed=2)
    found = []
    for lib, function in ((torch, torch.nn.functional), (fastdl, F)):
        weights = [lib.tensor(p.detach().numpy()) for p in theirs.parameters()]
        out, w = function.multi_head_attention_forward(
            lib.tensor(x), lib.tensor(x), lib.tensor(x), E, HEADS, weights[0], weights[1], None, None, False, 0.0,
            weights[2], weights[3], static_k=lib.tensor(k), static_v=lib.tensor(v),
        )  # fmt: skip
        found.append((out.numpy(), w.numpy()))
    for a, b in zip(*found):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_dropout_is_of_the_weights_and_only_in_training():
    layer = nn.MultiheadAttention(E, HEADS, dropout=0.5)
    x = fastdl.tensor(normal(L, N, E))
    _, weights = layer(x, x, x, average_attn_weights=False)
    dropped = weights.detach().numpy() == 0
    assert 0.3 < dropped.mean() < 0.7
    fastdl.manual_seed(1)
    first = layer(x, x, x, need_weights=False)[0]
    fastdl.manual_seed(1)
    assert (layer(x, x, x, need_weights=False)[0] == first).all()
    assert (layer(x, x, x, need_weights=False)[0] != first).any()
    layer.eval()
    np.testing.assert_allclose(
        layer(x, x, x, need_weights=False)[0].detach().numpy(), layer(x, x, x)[0].detach().numpy(), rtol=1e-5, atol=1e-6
    )


LAYERS = [{}, {"norm_first": True}, {"activation": "gelu"}, {"activation": "tanh"},
          {"bias": False, "batch_first": True}]  # fmt: skip


def activation(options, library):
    return {**options, "activation": library.tanh} if options.get("activation") == "tanh" else options


@pytest.mark.parametrize("options", LAYERS, ids=str)
@pytest.mark.parametrize("kind", ["none", "both", "causal", "mixed"])
def test_encoder_layer(options, kind):
    ours, theirs = both(
        *(lib.nn.TransformerEncoderLayer(E, HEADS, 20, 0.0, **activation(options, lib)) for lib in (fastdl, torch))
    )
    x = normal(*((N, L, E) if options.get("batch_first") else (L, N, E)))

    def call(m, x, lib):
        given = masks(kind, lib)
        return m(x, given.get("attn_mask"), given.get("key_padding_mask"), given.get("is_causal", False))

    compare(ours, theirs, [x], call)


@pytest.mark.parametrize("name", ["linear1", "norm1", "norm2"])
def test_hooks_run_and_replaced_parts_are_called(name):
    layer, x, seen = fastdl.nn.TransformerEncoderLayer(E, HEADS, 20, 0.0), fastdl.randn(L, N, E), []
    expected = layer(x).detach().numpy()
    part = getattr(layer, name)
    handle = part.register_forward_hook(lambda module, args, out: seen.append(tuple(out.shape)))
    assert np.array_equal(layer(x).detach().numpy(), expected)
    assert seen == [(L, N, 20 if name == "linear1" else E)]
    handle.remove()
    forward, calls = part.forward, []
    part.forward = lambda given: calls.append(1) or forward(given) * 2
    assert not np.array_equal(layer(x).detach().numpy(), expected)
    assert calls == [1]


@pytest.mark.parametrize("options", LAYERS, ids=str)
@pytest.mark.parametrize("kind", ["none", "both", "causal"])
def test_decoder_layer(options, kind):
    ours, theirs = both(
        *(lib.nn.TransformerDecoderLayer(E, HEADS, 20, 0.0, **activation(options, lib)) for lib in (fastdl, torch))
    )
    shape = (lambda n: (N, n, E)) if options.get("batch_first") else (lambda n: (n, N, E))

    def call(m, x, memory, lib):
        own, other = masks(kind, lib), masks("padding" if kind == "both" else "none", lib, source=S)
        return m(x, memory, tgt_mask=own.get("attn_mask"), tgt_key_padding_mask=own.get("key_padding_mask"),
                 tgt_is_causal=own.get("is_causal", False), memory_key_padding_mask=other.get("key_padding_mask"))

    compare(ours, theirs, [normal(*shape(L)), normal(*shape(S), seed=1)], call)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("norm_first", [False, True])
def test_the_whole_model(batch_first, norm_first):
    sizes = {"d_model": E, "nhead": HEADS, "num_encoder_layers": 2, "num_decoder_layers": 2, "dim_feedforward": 20,
             "dropout": 0.0, "batch_first": batch_first, "norm_first": norm_first}  # fmt: skip
    ours, theirs = both(nn.Transformer(**sizes), torch.nn.Transformer(**sizes))
    assert repr(ours) == repr(theirs)
    shape = (lambda n: (N, n, E)) if batch_first else (lambda n: (n, N, E))

    def call(m, src, tgt, lib):
        padding = masks("padding", lib, source=S)["key_padding_mask"]
        return m(src, tgt, tgt_mask=type(m).generate_square_subsequent_mask(L), src_key_padding_mask=padding,
                 memory_key_padding_mask=padding, tgt_is_causal=True)

    compare(ours, theirs, [normal(*shape(S)), normal(*shape(L), seed=1)], call, atol=1e-4)


def test_encoder_looks_at_the_mask_itself():
    """A causal mask is found, others are not taken for one; with and without the hint the results are the same."""
    layer = nn.TransformerEncoderLayer(E, HEADS, 20, 0.0)
    encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(E))
    x = fastdl.tensor(normal(L, N, E))
    causal = nn.Transformer.generate_square_subsequent_mask(L)
    almost = causal.clone()
    almost[3, 1] = -1.0
    seen = []
    for module in encoder.layers:
        module.register_forward_pre_hook(lambda m, a, k: seen.append(k["is_causal"]), with_kwargs=True)
    outs = {}
    for name, mask in (("float", causal), ("bool", causal < 0), ("almost", almost), ("none", None)):
        outs[name] = encoder(x, mask).detach().numpy()
    assert seen == [True] * 4 + [False] * 4
    np.testing.assert_array_equal(outs["float"], outs["bool"])
    np.testing.assert_array_equal(outs["float"], encoder(x, causal, is_causal=False).detach().numpy())
    assert (outs["float"] != outs["almost"]).any()


def test_printing_and_parameters_are_as_in_pytorch():
    for make in (
        lambda lib: lib.MultiheadAttention(E, HEADS, add_bias_kv=True),
        lambda lib: lib.TransformerEncoderLayer(E, HEADS, 20, activation="gelu"),
        lambda lib: lib.TransformerDecoder(lib.TransformerDecoderLayer(E, HEADS, 20), 2),
    ):
        assert repr(make(nn)) == repr(make(torch.nn))
        ours, theirs = (sorted((n, tuple(p.shape)) for n, p in make(lib).named_parameters()) for lib in (nn, torch.nn))
        assert ours == theirs


def test_first_values():
    fastdl.manual_seed(0)
    layer = nn.MultiheadAttention(64, 4, add_bias_kv=True)
    bound = np.sqrt(6 / (64 + 192))
    weight = layer.in_proj_weight.detach().numpy()
    assert 0.95 * bound < np.abs(weight).max() <= bound
    assert not layer.in_proj_bias.detach().numpy().any() and not layer.out_proj.bias.detach().numpy().any()
    assert layer.bias_k.detach().numpy().std() > 0
    model = nn.Transformer(16, 2, 1, 1, 32)
    assert np.abs(model.encoder.layers[0].linear1.weight.detach().numpy()).max() <= np.sqrt(6 / 48)


def test_copies_of_a_layer_have_their_own_parameters():
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(E, HEADS, 20), 2)
    first, second = (layer.linear1.weight for layer in encoder.layers)
    assert first.data_ptr() != second.data_ptr()


def attention(*shapes, **options):
    return lambda: nn.MultiheadAttention(E, HEADS)(*[fastdl.zeros(*s) for s in shapes], **options)


def transformer(src, tgt):
    return lambda: nn.Transformer(E, HEADS, 1, 1, 8)(fastdl.zeros(*src), fastdl.zeros(*tgt))


X = (L, N, E)


@pytest.mark.parametrize(
    "call, error, text",
    [
        (lambda: nn.MultiheadAttention(E, 5), AssertionError, "embed_dim must be divisible by num_heads"),
        (lambda: nn.MultiheadAttention(0, 1), ValueError, "greater than 0"),
        (attention((L, N, 6), X, X), AssertionError, "expecting embedding dimension of 12, but got 6"),
        (attention(X, (S, N, E), X), AssertionError, "does not match value shape"),
        (attention((1, *X), X, X), AssertionError, "unbatched 2D or batched 3D tensor but received 4-D"),
        (attention(X, (S, E), X), AssertionError, "expected `key` to be 3-D but found 2-D"),
        (attention(X, X, X, is_causal=True), RuntimeError, "Need attn_mask if specifying the is_causal hint"),
        (attention(X, X, X, attn_mask=fastdl.zeros(L, 3)), RuntimeError, "but should be"),
        (attention(X, X, X, key_padding_mask=fastdl.zeros(N, 3)), AssertionError, "key_padding_mask shape of"),
        (attention(X, X, X, attn_mask=fastdl.zeros(L, L, dtype=fastdl.int64)), AssertionError, "only bool and float"),
        (lambda: nn.TransformerEncoderLayer(E, HEADS, activation="sin"), RuntimeError, "should be relu/gelu, not sin"),
        (transformer((5, 2, E), (5, 3, E)), RuntimeError, "batch number"),
        (transformer((5, 2, 6), (5, 2, 6)), RuntimeError, "feature number"),
    ],
)  # fmt: skip
def test_errors(call, error, text):
    with pytest.raises(error, match=text):
        call()


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_a_layer_without_gradients_gives_what_it_gives_with_them(activation, batch_first):
    layer = nn.TransformerEncoderLayer(E, HEADS, 20, 0.0, activation, batch_first=batch_first)
    x = fastdl.tensor(normal(N, L, E))
    wanted = layer(x).detach().numpy()
    with fastdl.no_grad():
        np.testing.assert_allclose(layer(x).numpy(), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("lengths", [[5, 1, 17, 0, 3], [600, 2, 50], [16, 16], []])
def test_rows_without_padding_attend_within_their_sequence(lengths, causal):
    from fastdl.ops.attention import packed_attention

    qkv = fastdl.tensor(normal(sum(lengths), 3 * HEADS * 4))
    out, at = packed_attention(qkv, HEADS, lengths=np.array(lengths, np.int64), is_causal=causal).numpy(), 0
    for n in filter(None, lengths):
        alone = packed_attention(qkv[at:at + n].unsqueeze(0), HEADS, is_causal=causal)[0].numpy()
        np.testing.assert_array_equal(out[at:at + n], alone)
        at += n
    with pytest.raises(ValueError, match="rows in all"):
        packed_attention(fastdl.zeros(3, 3 * HEADS * 4), HEADS, lengths=[1, 1])
