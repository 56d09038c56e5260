import zipfile

import numpy as np
import pytest

import fastdl
from fastdl.text import PairLoader, Vocab, build_array, load_data_nmt, normalize_sentence, read_pairs, truncate_pad

PAIRS = [("Go.", "Va !"), ("Hi, you!", "Salut\u202f!"), ("Go on.", "Va\xa0!")]
TEXT = "".join(f"{a}\t{b}\n" for a, b in PAIRS).encode()


def test_reads_text_and_archive(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbf" + TEXT.replace(b"\n", b"\tCC-BY\r\n") + b"\n\n")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("_about.txt", "notes")
        archive.writestr("fra.txt", TEXT)
    assert read_pairs(tmp_path / "a.txt") == read_pairs(tmp_path / "a.zip") == PAIRS
    assert read_pairs(str(tmp_path / "a.zip"), 2) == PAIRS[:2]


@pytest.mark.parametrize("content, message", [
    (b"a\tb\nc\n", "line 2: expected source and target with a tab between, got 1 column$"),
    (b"a\tb\tc\td\n", "line 1: .* got 4 columns"),
    (b"a\tb\n\nc\td\n", "line 2: empty"),
    (b"a\tb\nc\t \n", "line 2: the target is empty"),
    (b"a\tb\n\tc\n", "line 2: the source is empty"),
    (b"a\tb\nc\tcaf\xe9\n", "line 2: not UTF-8: byte 0xe9 at position 5"),
    (b"\n\n", "no pairs"),
])
def test_errors_name_the_line(tmp_path, content, message):
    (tmp_path / "bad.txt").write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read_pairs(tmp_path / "bad.txt")
    assert "bad.txt" in str(error.value)


def test_broken_archives(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"a\.zip: not a zip archive"):
        read_pairs(tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("a.txt", TEXT)
        archive.writestr("b.txt", TEXT)
    with pytest.raises(ValueError, match=r"expected one text in the archive, got a\.txt, b\.txt"):
        read_pairs(tmp_path / "b.zip")


def test_normalize_sentence():
    assert normalize_sentence("Ça alors\u202f! Oui,\xa0non.") == "ça alors ! oui , non ."
    assert normalize_sentence("Hi!?") == "hi ! ?"


def test_truncate_pad():
    assert truncate_pad([5, 6], 4, 1) == [5, 6, 1, 1] and truncate_pad([5, 6, 7], 2, 1) == [5, 6]


def test_build_array():
    vocab = Vocab(["a"], reserved_tokens=["<pad>", "<bos>", "<eos>"])
    ids, lengths = build_array([["a"], ["a", "b", "a"]], vocab, 3)
    assert ids.tolist() == [[4, 3, 1], [4, 0, 4]] and lengths.tolist() == [2, 3]
    with pytest.raises(ValueError, match="no <pad> and no <eos>"):
        build_array([["a"]], Vocab(["a"]), 3)
    with pytest.raises(ValueError, match="num_steps"):
        build_array([["a"]], vocab, 0)


def test_the_loader_gives_every_pair_once(tmp_path):
    (tmp_path / "a.txt").write_bytes(TEXT)
    loader, source, target = load_data_nmt(tmp_path / "a.txt", 2, 5)
    assert list(source) == ["<unk>", "<pad>", "<bos>", "<eos>", "go", "."]
    assert list(target) == ["<unk>", "<pad>", "<bos>", "<eos>", "!", "va"]
    fastdl.manual_seed(1)
    batches = list(loader)
    assert [len(b.source) for b in batches] == [2, 1] and len(loader) == 2
    for part in range(4):
        got = np.concatenate([b[part].numpy() for b in batches])
        assert sorted(map(str, got)) == sorted(map(str, loader.batch[part].numpy()))
    for b in batches:  # rows stay together
        for row in range(len(b.source)):
            whole = loader.batch.source.tolist().index(b.source[row].tolist())
            assert b.target[row].tolist() == loader.batch.target[whole].tolist()
            assert b.source_lengths[row] == (b.source[row] != 1).sum()
    with pytest.raises(ValueError, match="batch_size"):
        PairLoader(PAIRS, 0)
    with pytest.raises(ValueError, match="got none"):
        PairLoader([])
