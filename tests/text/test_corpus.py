from itertools import pairwise

import numpy as np
import pytest

import fastdl
from fastdl import datasets
from fastdl.text import (
    SeqDataLoader,
    Vocab,
    load_corpus,
    load_corpus_time_machine,
    load_data_time_machine,
    normalize,
    read_text,
    seq_data_iter_random,
    seq_data_iter_sequential,
)

ITERATORS = [seq_data_iter_random, seq_data_iter_sequential]
BOOK = "The Time Machine, by H. G. Wells [1898]\n\n\n\nI\nThe Time Traveller (for so\n"


def batches_of(batches):
    return [(np.asarray(x), np.asarray(y)) for x, y in batches]


@pytest.fixture
def book(tmp_path, monkeypatch):
    (tmp_path / "timemachine.txt").write_text(BOOK * 20)
    monkeypatch.setenv("FASTDL_DATA", str(tmp_path))


def test_normalize_keeps_letters_only():
    assert normalize(BOOK)[0] == "the time machine by h g wells"
    assert normalize("  A-b\r\n99\n") == ["a b", ""]


def test_load_corpus_numbers_all_tokens():
    corpus, vocab = load_corpus(["ab", "", "b"])
    assert corpus == [2, 1, 1] and list(vocab) == ["<unk>", "b", "a"]
    corpus, again = load_corpus(["b c"], "word", vocab=vocab)
    assert corpus == [1, 0] and again is vocab


def test_max_tokens_cuts_the_corpus_but_not_the_vocabulary():
    corpus, vocab = load_corpus(["abc"], max_tokens=2)
    assert len(corpus) == 2 and len(vocab) == 4


def test_a_text_without_tokens_is_an_error():
    with pytest.raises(ValueError, match="no char tokens in 2 lines"):
        load_corpus(normalize("1\n2"))


@pytest.mark.parametrize("content, message", [
    (b"", r"no text in it \(0 bytes\)"),
    (b" \n\t\n", r"no text in it \(4 bytes\)"),
    (b"caf\xe9 noir", "byte 0xe9 at position 3"),
    (b"ok\x80", "byte 0x80 at position 2"),
])
def test_read_text_names_file_and_position(tmp_path, content, message):
    path = tmp_path / "input.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read_text(path)
    assert "input.txt" in str(error.value)


def test_read_text_drops_a_byte_order_mark(tmp_path):
    path = tmp_path / "input.txt"
    path.write_bytes("\ufeffété\r\n".encode())
    assert read_text(path) == "été\r\n"


def test_a_missing_file_keeps_its_own_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_text(tmp_path / "nowhere")


def test_load_corpus_time_machine(book):
    corpus, vocab = load_corpus_time_machine(100)
    assert len(corpus) == 100
    assert "".join(vocab.to_tokens(corpus[:29])) == "the time machine by h g wells"
    words, _ = load_corpus_time_machine(token="word")
    assert len(words) == 20 * 13


@pytest.mark.parametrize("make", ITERATORS)
@pytest.mark.parametrize("size, n, t", [(35, 2, 5), (11, 2, 5), (12, 2, 5), (100, 7, 3), (2, 1, 1), (50, 1, 49)])
def test_minibatches_are_runs_of_the_corpus_with_their_successors(make, size, n, t):
    corpus = np.arange(size) * 3
    fastdl.manual_seed(1)
    for _ in range(10):
        batches = batches_of(make(corpus.tolist(), n, t))
        assert batches, "at least one minibatch, whatever the start"
        seen = np.concatenate([x.ravel() for x, _ in batches])
        assert len(np.unique(seen)) == len(seen), "no token twice"
        for x, y in batches:
            assert x.shape == y.shape == (n, t) and x.dtype == y.dtype == np.int64
            np.testing.assert_array_equal(y, x + 3)
            np.testing.assert_array_equal(x - x[:, :1], np.broadcast_to(np.arange(t) * 3, (n, t)))
        assert len(batches) >= (size - 1 - t) // (n * t)


def test_sequential_rows_continue_from_batch_to_batch():
    batches = batches_of(seq_data_iter_sequential(range(100), 3, 4))
    assert len(batches) >= 7
    for (x, _), (after, _) in pairwise(batches):
        np.testing.assert_array_equal(after[:, 0], x[:, -1] + 1)


def test_random_order_is_random_and_starts_vary():
    fastdl.manual_seed(0)
    epochs = [batches_of(seq_data_iter_random(range(1000), 1, 5)) for _ in range(20)]
    firsts = [int(e[0][0][0, 0]) for e in epochs]
    assert len(set(firsts)) > 10
    assert len({f % 5 for f in firsts}) > 2
    assert any(np.any(np.diff([int(x[0, 0]) for x, _ in e]) < 0) for e in epochs)


def test_sequential_starts_vary():
    fastdl.manual_seed(0)
    starts = {int(batches_of(seq_data_iter_sequential(range(200), 2, 5))[0][0][0, 0]) for _ in range(60)}
    assert starts == set(range(6))


@pytest.mark.parametrize("make", ITERATORS)
def test_the_seed_decides(make):
    def epoch(**kw):
        return [x.tolist() for x, _ in batches_of(make(range(500), 4, 6, **kw))]

    fastdl.manual_seed(7)
    first = epoch(), epoch()
    fastdl.manual_seed(7)
    assert (epoch(), epoch()) == first
    own = [epoch(generator=fastdl.Generator().manual_seed(3)) for _ in range(2)]
    assert own[0] == own[1]


@pytest.mark.parametrize("make", ITERATORS)
def test_sizes_that_do_not_fit_are_named_before_iteration(make):
    with pytest.raises(ValueError, match="corpus of 10 tokens is too short: batch_size 2 x num_steps 5 needs 11"):
        make(range(10), 2, 5)
    with pytest.raises(ValueError, match="corpus of 0 tokens"):
        make([], 2, 5)
    with pytest.raises(ValueError, match="at least 1, got 0 and 5"):
        make(range(10), 0, 5)
    with pytest.raises(TypeError, match="one row of integer ids"):
        make([1.0, 2.0, 3.0], 1, 1)
    with pytest.raises(TypeError, match="one row of integer ids"):
        make([[1, 2], [3, 4]], 1, 1)


def test_batches_are_copies():
    corpus = np.arange(40)
    x, y = next(iter(seq_data_iter_sequential(corpus, 2, 5)))
    np.asarray(x)[:] = -1
    assert corpus.min() == 0 and np.asarray(y).min() >= 0


def test_loader_starts_anew_each_time(book):
    fastdl.manual_seed(0)
    loader, vocab = load_data_time_machine(2, 5, max_tokens=1000)
    assert isinstance(vocab, Vocab) and len(loader.corpus) == 1000
    starts = {tuple(batches_of(loader)[0][0][0]) for _ in range(20)}
    assert len(starts) > 1
    x, y = next(iter(SeqDataLoader(2, 5, True, corpus=fastdl.arange(20))))
    np.testing.assert_array_equal(np.asarray(y), np.asarray(x) + 1)


def test_loader_says_when_another_text_stands_in(monkeypatch):
    monkeypatch.setattr(datasets, "time_machine", lambda: datasets.Text("some other text " * 9, "not the novel", True))
    with pytest.warns(UserWarning, match="not the novel"):
        load_corpus_time_machine()
