import math

import numpy as np
import pytest

from fastdl.text import NGramModel


def test_one_token_is_laplaces_rule():
    model = NGramModel([1, 1, 2, 1], 4, n=1, smoothing=4.0)
    np.testing.assert_allclose(model.distribution(), [1 / 8, 4 / 8, 2 / 8, 1 / 8])
    assert model.perplexity([1, 2]) == pytest.approx(math.sqrt(8))


def test_pairs_lean_on_single_tokens():
    model = NGramModel([0, 1, 0, 2, 0, 1], 3, n=2, smoothing=1.0)
    single = [(3 + 1 / 3) / 7, (2 + 1 / 3) / 7, (1 + 1 / 3) / 7]
    assert model.probability(1, [2, 0]) == pytest.approx((2 + single[1]) / 4)
    assert model.probability(2, [1]) == pytest.approx((0 + single[2]) / 2)
    assert model.probability(2, []) == pytest.approx(single[2])


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_probabilities_sum_to_one_and_agree(n):
    corpus = np.random.RandomState(n).randint(6, size=300)
    model = NGramModel(corpus, 7, n, smoothing=0.7)
    for context in ([], [3], [6, 6, 6, 6, 6], corpus[40:47].tolist()):
        p = model.distribution(context)
        assert p.sum() == pytest.approx(1) and (p > 0).all()
        np.testing.assert_allclose(p, [model.probability(i, context) for i in range(7)])
    assert model.perplexity([6]) > 7


def test_longer_runs_fit_better_and_seeds_decide():
    corpus = [0, 1, 2, 1] * 30
    scores = [NGramModel(corpus, 3, n, 0.1).perplexity(corpus) for n in (1, 2, 3)]
    assert scores[0] > scores[1] > scores[2] and scores[2] < 1.02
    model = NGramModel(corpus, 3, 3, 1e-9)
    assert model.generate([0, 1], 6, seed=0) == [2, 1, 0, 1, 2, 1]
    loose = NGramModel(corpus, 3, 1)
    assert loose.generate([0], 40, seed=1) == loose.generate([0], 40, seed=1) != loose.generate([0], 40, seed=2)


@pytest.mark.parametrize("arguments, message", [
    (([1], 2, 0), "n=0"), (([1], 2, 1, 0.0), "smoothing=0"), (([], 2), "at least one token"),
    (([1, 2], 2), r"ids in \[0, 2\), got 1 to 2"), (([-1, 1], 2), "got -1 to 1"),
])
def test_unusable_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        NGramModel(*arguments)
    with pytest.raises(ValueError, match="at least one token"):
        NGramModel([1], 2).perplexity([])
