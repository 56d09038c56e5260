import numpy as np
import pytest

import fastdl
from fastdl.models import TransformerLM, predict, sample
from fastdl.text import Vocab


@pytest.fixture
def model():
    fastdl.manual_seed(1)
    return TransformerLM(11, width=24, heads=3, num_layers=2, max_length=13)


def ids(n, t):
    return np.random.RandomState(n * 31 + t).randint(11, size=(n, t))


@pytest.mark.parametrize("parts", [[1] * 13, [4, 1, 1, 7], [5, 8], [12, 1]])
def test_steps_with_kept_keys_equal_full_recomputation(model, parts):
    x = ids(3, 13)
    whole = model(fastdl.tensor(x))[0].detach().numpy().reshape(13, 3, 11)
    state, at = None, 0
    for size in parts:
        logits, state = model(fastdl.tensor(x[:, at:at + size].copy()), state)
        np.testing.assert_allclose(logits.detach().numpy().reshape(size, 3, 11), whole[at:at + size], rtol=1e-4,
                                   atol=1e-5)
        at += size
    assert model.room(state) == 0


def test_the_future_is_not_seen(model):
    x = ids(2, 9)
    before = model(fastdl.tensor(x))[0].detach().numpy().reshape(9, 2, 11)
    x[:, 6] = (x[:, 6] + 1) % 11
    after = model(fastdl.tensor(x))[0].detach().numpy().reshape(9, 2, 11)
    np.testing.assert_array_equal(before[:6], after[:6])
    assert np.abs(before[6:] - after[6:]).max(axis=(1, 2)).min() > 0


def test_longer_than_the_model(model):
    with pytest.raises(ValueError, match=r"\[TransformerLM\] 0 \+ 14 tokens are more than max_length 13"):
        model(fastdl.tensor(ids(1, 14)))
    _, state = model(fastdl.tensor(ids(1, 12)))
    with pytest.raises(ValueError, match=r"12 \+ 2 tokens"):
        model(fastdl.tensor(ids(1, 2)), state)


def test_generating_goes_on_when_the_model_is_full(model):
    prefix = ids(1, 20)[0].tolist()  # longer than the model: its last 13 count
    made = model.generate(prefix, 30)
    row, start = prefix + made, 7
    for i in range(20, 50):
        if i - start > 13:
            start = i - 7
        logits, _ = model(fastdl.tensor([row[start:i]]))
        assert row[i] == int(logits[-1].argmax().item())


def test_heads_must_fit():
    with pytest.raises(ValueError, match="multiple of 2 x 3 heads, got 22"):
        TransformerLM(5, width=22, heads=3)


def test_it_learns_to_count():
    fastdl.manual_seed(0)
    model = TransformerLM(7, width=16, heads=2, num_layers=1, max_length=12, dropout=0.1)
    optimizer = fastdl.optim.AdamW(model.parameters(), lr=1e-2)
    row = np.arange(13) % 7
    for _ in range(60):
        logits, _ = model(fastdl.tensor(np.stack([row[:-1], (row[:-1] + 3) % 7])))
        loss = fastdl.nn.functional.cross_entropy(logits, fastdl.tensor(
            np.stack([row[1:], (row[1:] + 3) % 7], 1).reshape(-1)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert model.generate([2, 3], 20) == [(4 + i) % 7 for i in range(20)]


def test_sampling_follows_the_scores():
    fastdl.manual_seed(0)
    logits = fastdl.tensor([0.0, 2.0, 1.0, -1.0])
    assert sample(logits, 0) == 1 and sample(logits, 1.0, top_k=1) == 1
    draw = np.bincount([sample(logits, 0.5) for _ in range(2000)], minlength=4) / 2000
    expected = np.exp(np.array([0, 4, 2, -2.0]))
    np.testing.assert_allclose(draw, expected / expected.sum(), atol=0.03)
    assert set(sample(logits, 5.0, top_k=2) for _ in range(200)) == {1, 2}


def test_one_seed_gives_one_text(model):
    vocab = Vocab(list("abcdefghij"))
    texts = [predict("ab", 20, model, vocab, temperature=1.0, top_k=5,
                     generator=fastdl.Generator().manual_seed(seed)) for seed in (4, 4, 5)]
    assert texts[0] == texts[1] != texts[2] and texts[0].startswith("ab")


@pytest.mark.parametrize("options", [{"temperature": -1.0}, {"top_k": 0}])
def test_unusable_options(model, options):
    with pytest.raises(ValueError, match=r"\[generate\] expected temperature >= 0 and top_k >= 1"):
        model.generate([1], 3, **options)
