import math

import pytest

from fastdl.text import bleu, corpus_bleu


def test_bleu_of_the_book():
    assert bleu("a b c", "a b c", 2) == 1
    assert bleu("a b b c d", "a b c d e f", 2) == pytest.approx(math.exp(1 - 6 / 5) * (4 / 5) ** 0.5 * (3 / 4) ** 0.25)
    assert bleu("x y", "a b", 2) == 0 and bleu("", "a", 2) == 0 and bleu("", "", 2) == 1


def test_repeated_words_count_as_often_as_in_the_label():
    assert bleu("the the the the", "the cat", 1) == pytest.approx((1 / 4) ** 0.5)


def test_a_prediction_shorter_than_k():
    assert bleu(["a"], ["a"], 4) == 1
    assert bleu("a", "a b c", 4) == pytest.approx(math.exp(-2))


def test_corpus_bleu_adds_up_before_it_divides():
    got = corpus_bleu(["a b c d e", "a b x"], [["a b c d f"], ["a b c", "z a b x y"]], max_n=2)
    # unigrams 4 + 3 of 8, pairs 3 + 2 of 6; lengths 8 and 5 + 3
    assert got == pytest.approx(math.sqrt(7 / 8 * 5 / 6))
    assert corpus_bleu(["a b c d"], [["a b c d e f"]]) == pytest.approx(math.exp(1 - 6 / 4))
    assert corpus_bleu(["a b"], [["a b"]]) == 0  # no run of 4 words
    assert corpus_bleu([], [], 1) == 0


def test_bad_arguments():
    with pytest.raises(ValueError, match="k: expected at least 1"):
        bleu("a", "a", 0)
    with pytest.raises(ValueError, match="2 predictions and references for 1"):
        corpus_bleu(["a", "b"], [["a"]])
    with pytest.raises(ValueError, match=r"references\[0\]"):
        corpus_bleu(["a"], ["a"])
    with pytest.raises(ValueError, match="max_n"):
        corpus_bleu(["a"], [["a"]], 0)
