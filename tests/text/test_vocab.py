import json

import numpy as np
import pytest

from fastdl.text import Vocab, ngrams, tokenize


def test_tokenize_by_word_and_by_character():
    assert tokenize(["the  time\tmachine", "", " by "]) == [["the", "time", "machine"], [], ["by"]]
    assert tokenize(["ab", "", " c"], "char") == [["a", "b"], [], [" ", "c"]]


def test_tokenize_refuses_other_units_and_bare_strings():
    with pytest.raises(ValueError, match="expected 'word', 'char' or a function, got 'syllable'"):
        tokenize(["a"], "syllable")
    with pytest.raises(TypeError, match="got one str"):
        tokenize("a b")


def test_ngrams():
    assert ngrams(["a", "b", "c", "d"], 3) == [("a", "b", "c"), ("b", "c", "d")]
    assert ngrams([5, 6], 1) == [(5,), (6,)]
    assert ngrams([5, 6], 3) == []
    with pytest.raises(ValueError, match="at least 1, got 0"):
        ngrams([5, 6], 0)


def test_ids_fall_with_frequency_and_ties_keep_first_appearance():
    vocab = Vocab([["z", "b", "a"], ["a", "c", "z"]])
    assert list(vocab) == ["<unk>", "z", "a", "b", "c"]
    assert vocab.token_freqs == [("z", 2), ("a", 2), ("b", 1), ("c", 1)]


def test_reserved_tokens_come_first_and_ignore_min_freq():
    vocab = Vocab(["x", "x", "<eos>", "y"], min_freq=2, reserved_tokens=["<pad>", "<eos>"])
    assert list(vocab) == ["<unk>", "<pad>", "<eos>", "x"]
    assert (vocab["<pad>"], vocab["x"], vocab["y"], vocab.unk) == (1, 3, 0, 0)
    assert "y" not in vocab and "x" in vocab and len(vocab) == 4
    assert dict(vocab.token_freqs)["y"] == 1


def test_a_token_spelt_like_unk_is_unk():
    vocab = Vocab(["<unk>", "a"])
    assert list(vocab) == ["<unk>", "a"] and vocab["<unk>"] == 0


def test_indexing_by_token_list_and_nested_list():
    vocab = Vocab(["b", "b", "a"])
    assert vocab["b"] == 1
    assert vocab[["a", "nothing", "b"]] == [2, 0, 1]
    assert vocab[[["a"], ["b", "b"]]] == [[2], [1, 1]]
    assert vocab[[]] == []


def test_word_tuples_can_be_counted():
    pairs = ngrams(["a", "b", "a", "b"], 2)
    vocab = Vocab(pairs)
    assert vocab.token_freqs == [(("a", "b"), 2), (("b", "a"), 1)]
    assert vocab.to_tokens(1) == ("a", "b")


def test_to_tokens_takes_ints_lists_and_arrays():
    vocab = Vocab(["b", "b", "a"])
    assert vocab.to_tokens(1) == "b"
    assert vocab.to_tokens(np.int64(2)) == "a"
    assert vocab.to_tokens([2, 0]) == ["a", "<unk>"]
    assert vocab.to_tokens(np.array([[1], [2]])) == [["b"], ["a"]]


@pytest.mark.parametrize("bad", [3, -1, 10**20])
def test_ids_out_of_range_name_the_id_and_the_size(bad):
    vocab = Vocab(["b", "a"])
    with pytest.raises(IndexError, match=rf"id {bad} is outside \[0, 3\)"):
        vocab.to_tokens([0, bad])
    assert vocab.to_tokens(2) == "a"


def test_ids_that_are_no_integers_are_refused():
    with pytest.raises(TypeError, match=r"expected an integer id, got 1\.5"):
        Vocab(["a"]).to_tokens(1.5)


def test_construction_errors():
    with pytest.raises(ValueError, match="token '<pad>' is listed twice"):
        Vocab(["a"], reserved_tokens=["<pad>", "<pad>"])
    with pytest.raises(TypeError, match="expected a list of strings, got the string '<pad>'"):
        Vocab(["a"], reserved_tokens="<pad>")
    with pytest.raises(TypeError, match="use tokenize"):
        Vocab("abc")


def test_empty_vocabulary():
    vocab = Vocab()
    assert len(vocab) == 1 and vocab["a"] == 0 and vocab.token_freqs == []


def test_save_and_load_give_an_equal_vocabulary(tmp_path):
    vocab = Vocab(tokenize(["œuvre \"x\" œuvre é", "日本"]), reserved_tokens=["<pad>"])
    vocab.save(tmp_path / "vocab.json")
    loaded = Vocab.load(tmp_path / "vocab.json")
    assert loaded == vocab and loaded.token_freqs == vocab.token_freqs and loaded["œuvre"] == vocab["œuvre"]
    assert [p.name for p in tmp_path.iterdir()] == ["vocab.json"]
    assert loaded != Vocab(["other"])


def test_a_failed_save_leaves_the_old_file(tmp_path):
    path = tmp_path / "vocab.json"
    Vocab(["a"]).save(path)
    with pytest.raises(TypeError):
        Vocab([object()]).save(path)
    assert Vocab.load(path) == Vocab(["a"])
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("content, message", [
    (b"", "cut off"),
    (b'{"format": "fastdl.vocab.1", "tok', "cut off"),
    (b"\xff\xfe", "not UTF-8 at byte 0"),
    (b"[1, 2]", "'format' is not"),
    (b'{"format": "other"}', "'format' is not"),
    (json.dumps({"format": "fastdl.vocab.1", "tokens": ["a"], "frequencies": []}).encode(), "begins with '<unk>'"),
    (json.dumps({"format": "fastdl.vocab.1", "tokens": ["<unk>", 3], "frequencies": []}).encode(), "list of strings"),
    (json.dumps({"format": "fastdl.vocab.1", "tokens": ["<unk>"]}).encode(), "'frequencies' is not"),
    (json.dumps({"format": "fastdl.vocab.1", "tokens": ["<unk>", "a", "a"], "frequencies": []}).encode(), "twice"),
])
def test_load_says_what_is_wrong_with_a_file(tmp_path, content, message):
    path = tmp_path / "vocab.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        Vocab.load(path)
    assert "vocab.json" in str(error.value)


def test_a_function_of_ones_own_may_tokenize():
    assert tokenize(["a-b", "", "c"], lambda line: line.split("-")) == [["a", "b"], [""], ["c"]]
