import numpy as np
import pytest

import fastdl
from fastdl.models import LanguageModel, detach, perplexity, predict
from fastdl.text import Vocab


def tokens(n, t, below=7):
    return np.random.RandomState(n * 31 + t).randint(below, size=(n, t))


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("kwargs", [{}, {"num_layers": 2, "embedding_dim": 4}])
def test_shapes_and_handing_on_the_state(cell, kwargs):
    fastdl.manual_seed(0)
    model = LanguageModel(7, 5, cell, **kwargs)
    x = tokens(3, 6)
    logits, state = model(fastdl.tensor(x))
    assert tuple(logits.shape) == (18, 7)
    for part in state if cell == "lstm" else [state]:
        assert tuple(part.shape) == (kwargs.get("num_layers", 1), 3, 5)
    first, middle = model(fastdl.tensor(x[:, :4].copy()))
    second, _ = model(fastdl.tensor(x[:, 4:].copy()), detach(middle))
    together = np.concatenate([first.detach().numpy(), second.detach().numpy()])
    np.testing.assert_allclose(together, logits.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_logits_are_time_first():
    model = LanguageModel(7, 5)
    x = tokens(3, 6)
    logits = model(fastdl.tensor(x))[0].detach().numpy().reshape(6, 3, 7)
    alone = model(fastdl.tensor(x[1:2]))[0].detach().numpy()
    np.testing.assert_allclose(logits[:, 1], alone, rtol=1e-5, atol=1e-6)


def test_detached_state_stops_the_gradient():
    model = LanguageModel(7, 5, "lstm")
    _, state = model(fastdl.tensor(tokens(2, 3)))
    assert all(s.requires_grad for s in state)
    assert not any(s.requires_grad for s in detach(state))


def test_generate_is_greedy_and_sees_the_whole_prefix():
    fastdl.manual_seed(3)
    model = LanguageModel(7, 16)
    prefix = [1, 5, 2, 2, 6]
    made = model.generate(prefix, 8)
    ids = list(prefix)
    for _ in range(8):  # anew from the first token each time
        logits, _ = model(fastdl.tensor([ids]))
        ids.append(int(logits[-1].argmax().item()))
    assert made == ids[5:]
    assert model.generate([1], 0) == []
    assert all(p.grad is None for p in model.parameters())


def test_predict_writes_text():
    vocab = Vocab(list("hello world"))
    with pytest.raises(ValueError, match=f"vocab of {len(vocab)} tokens does not fit the model, which has 30"):
        predict("hello", 9, LanguageModel(30, 8), vocab)
    text = predict("hello", 9, LanguageModel(len(vocab), 8), vocab)
    assert text.startswith("hello") and all(c in vocab or c in "<unk>" for c in text)
    assert len(vocab[list(text.replace("<unk>", "?"))]) == 14


def test_errors():
    with pytest.raises(ValueError, match="cell: expected one of rnn, gru, lstm, got 'cnn'"):
        LanguageModel(7, 5, "cnn")
    with pytest.raises(ValueError, match="at least one token"):
        LanguageModel(7, 5).generate([], 3)


def test_perplexity():
    assert perplexity(0.0) == 1.0
    assert perplexity(np.log(28)) == pytest.approx(28)
    assert perplexity(1e6) == float("inf")
