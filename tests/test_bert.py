"""BERT: its data, lengths, heads, and real weights against PyTorch (their folder: FASTDL_MINILM)."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import safetensors.numpy

import fastdl
from fastdl import models, nn, text

TEXT = "\n\n".join(f"The cat {i} sat on the mat. A dog {i % 3} ran away! It was late; they slept." for i in range(12))


def small(**more):
    fastdl.manual_seed(0)
    return models.BertModel(50, 24, 2, 3, 40, 16, dropout=0.0, **more)


def test_batches_mask_words_and_keep_what_was_there():
    data = text.BertData(TEXT, batch_size=8, max_length=32, min_freq=1)
    batch = next(iter(data))
    tokens, segments = batch.tokens.numpy(), batch.segments.numpy()
    special = [data.vocab["<cls>"], data.vocab["<sep>"], data.vocab["<pad>"]]
    assert not np.isin(batch.words.numpy(), special).any()
    assert (tokens[:, 0] == data.vocab["<cls>"]).all()
    for row, kinds, n in zip(tokens, segments, batch.lengths.numpy()):
        assert (row[n:] == data.vocab["<pad>"]).all() and row[n - 1] == data.vocab["<sep>"] and kinds[n - 1] == 1
    assert 0 < batch.follows.numpy().mean() < 1
    with pytest.raises(ValueError, match="two paragraphs"):
        text.BertData("One. Two.")


def test_a_text_is_cut_at_an_empty_line():
    parts = text.split_text(TEXT, 0.25)
    assert "".join(parts) == TEXT and [len(text.paragraphs(p)) for p in parts] == [9, 3]
    assert text.split_text("a\n\nb\n\n")[1] == "b\n\n"
    for source, share, message in (("one\ntwo\n\n", 0.1, "got one paragraph"), (TEXT, 1.0, "between 0 and 1, got 1")):
        with pytest.raises(ValueError, match=message):
            text.split_text(source, share)


def test_labelled_examples_come_once_each_and_padded():
    vocab = text.Vocab([list("abcde")], reserved_tokens=text.bert.RESERVED)
    words = [list("abcde"[:n]) for n in (3, 5, 1, 2, 4)]
    rows = [(*text.tokens_and_segments(w, w[:1]), [-100, *vocab[w], *[-100] * 3]) for w in words]
    data = text.LabelledData(rows, vocab, 2, 10, seed=3)
    assert len(data) == 3
    seen = []
    for tokens, segments, lengths, labels in data:
        assert tokens.shape == segments.shape == labels.shape and tokens.shape[1] == lengths.max().item()
        for row, kinds, n, right in zip(tokens.numpy(), segments.numpy(), lengths.numpy(), labels.numpy()):
            assert (row[n:] == vocab["<pad>"]).all() and (right[n:] == -100).all() and not kinds[n:].any()
            assert row[:n].tolist() == [vocab["<cls>"], *right[1:n - 3], vocab["<sep>"], row[1], vocab["<sep>"]]
            assert kinds[:n].tolist() == [0] * (n - 2) + [1, 1]
            seen.append(n - 4)
    assert sorted(seen) == [1, 2, 3, 4, 5]
    assert [n for b in data for n in b.lengths.tolist()] != [n + 4 for n in seen]  # another order
    classes = [(tokens, kinds, i) for i, (tokens, kinds, _) in enumerate(rows)]
    assert [b.labels.tolist() for b in text.LabelledData(classes, vocab, 3, shuffle=False)] == [[0, 1, 2], [3, 4]]


@pytest.mark.parametrize("examples, message", [
    ([], "expected at least one, got none"),
    ([(["a"], [0], 1), (["a"] * 7, [0] * 7, 1)], "example 1 has 7 tokens, more than max_length 5"),
    ([(["a", "b"], [0, 0], [1])], "example 0: expected a segment and a label for each of its 2 tokens, got 2 and 1"),
])
def test_unusable_examples(examples, message):
    with pytest.raises(ValueError, match=message):
        text.LabelledData(examples, text.Vocab(["ab"], reserved_tokens=["<pad>"]), max_length=5)
    with pytest.raises(ValueError, match="lacks <pad>"):
        text.LabelledData([(["a"], [0], 1)], text.Vocab())


def test_rows_without_padding_equal_padded_ones():
    bert, rng = small().eval(), np.random.default_rng(1)
    sequences = [rng.integers(0, 50, n) for n in (5, 16, 1, 9)]
    rows, lengths = bert.features(sequences)
    padded = np.zeros((4, 16), np.int64)
    for i, s in enumerate(sequences):
        padded[i, :len(s)] = s
    wanted = bert(fastdl.from_numpy(padded), lengths=fastdl.from_numpy(lengths)).detach().numpy()
    wanted = np.concatenate([w[:n] for w, n in zip(wanted, lengths)])
    np.testing.assert_allclose(rows.numpy(), wanted, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="17 tokens is longer"):
        bert.features([[1] * 17])


def test_pretraining_lowers_both_losses():
    fastdl.manual_seed(0)
    data = text.BertData(TEXT, batch_size=24, max_length=32, min_freq=1)
    model = models.BertPretraining(models.BertModel(len(data.vocab), 24, 1, 3, 40, 32, dropout=0.0))
    optimizer, losses = fastdl.optim.Adam(model.parameters(), lr=3e-3), []
    for _ in range(20):
        words, follows = model.loss(next(iter(data)))
        optimizer.zero_grad()
        (words + follows).backward()
        optimizer.step()
        losses.append(words.item())
    assert losses[-1] < 0.8 * losses[0]


def test_heads_have_the_shapes_of_their_tasks():
    tokens = fastdl.zeros(3, 7, dtype=fastdl.int64)
    assert models.BertClassifier(small(), 4)(tokens, tokens).shape == (3, 4)
    assert models.BertTagger(small(), 5)(tokens).shape == (3, 7, 5)
    assert isinstance(models.BertTagger(small(), 5).head[1], nn.Linear)


CONFIG = {"vocab_size": 50, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3,
          "intermediate_size": 40, "max_position_embeddings": 16, "type_vocab_size": 2}


def stored(folder, bert, change=lambda tensors: None):
    (folder / "config.json").write_text(json.dumps(CONFIG))
    tensors = {name: t.detach().numpy().copy() for name, t in bert._targets(dict(bert.named_parameters()))}
    change(tensors)
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")


def test_from_pretrained_reads_what_the_names_say(tmp_path):
    bert = small().eval()
    stored(tmp_path, bert)
    again = models.BertModel.from_pretrained(tmp_path)
    for name, p in again.named_parameters():
        np.testing.assert_array_equal(p.detach().numpy(), bert.get_parameter(name).detach().numpy())


def test_from_pretrained_lists_everything_that_is_wrong(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no config\.json"):
        models.BertModel.from_pretrained(tmp_path)

    def change(tensors):
        del tensors["embeddings.LayerNorm.bias"]
        tensors["encoder.layer.1.output.dense.bias"] = np.zeros(3, np.float32)

    stored(tmp_path, small(), change)
    with pytest.raises(ValueError, match=r"LayerNorm.bias is missing; .*dense.bias: expected \(24,\), got \(3,\)"):
        models.BertModel.from_pretrained(tmp_path)


def test_real_sentence_embeddings_equal_pytorchs():
    folder = os.environ.get("FASTDL_MINILM")
    if not folder:
        pytest.skip("FASTDL_MINILM names no folder")
    torch = pytest.importorskip("torch")
    pytest.importorskip("tokenizers")
    F, model = torch.nn.functional, models.BertModel.from_pretrained(folder)
    sentences = ["A cat sits on the mat.", "Hello", "The quick brown fox jumps over the lazy dog; then it rests."]
    w = {k: torch.from_numpy(v) for k, v in safetensors.numpy.load_file(f"{folder}/model.safetensors").items()}
    wanted = []
    for sentence in sentences:
        ids = torch.tensor(model.tokenizer.encode(sentence).ids)
        e = "embeddings."
        x = w[e + "word_embeddings.weight"][ids] + w[e + "position_embeddings.weight"][:len(ids)]
        x = x + w[e + "token_type_embeddings.weight"][0]
        x = F.layer_norm(x, (384,), w[e + "LayerNorm.weight"], w[e + "LayerNorm.bias"], 1e-12)
        for i in range(6):
            def dense(x, name, i=i):
                return F.linear(x, w[f"encoder.layer.{i}.{name}.weight"], w[f"encoder.layer.{i}.{name}.bias"])

            def norm(x, name, i=i):
                at = f"encoder.layer.{i}.{name}"
                return F.layer_norm(x, (384,), w[at + ".weight"], w[at + ".bias"], 1e-12)

            names = ("query", "key", "value")
            q, k, v = (dense(x, f"attention.self.{n}").view(-1, 12, 32).transpose(0, 1) for n in names)
            a = ((q @ k.mT / 32**0.5).softmax(-1) @ v).transpose(0, 1).reshape(-1, 384)
            x = norm(dense(a, "attention.output.dense") + x, "attention.output.LayerNorm")
            x = norm(dense(F.gelu(dense(x, "intermediate.dense")), "output.dense") + x, "output.LayerNorm")
        wanted.append(F.normalize(x.mean(0), dim=0).numpy())
    np.testing.assert_allclose(model.encode(sentences).numpy(), wanted, atol=1e-5)
