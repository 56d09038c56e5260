import math

import pytest

import fastdl
from fastdl import metrics, models


def test_accuracy_of_scores_and_of_ids():
    scores = fastdl.tensor([[0.1, 0.9], [0.8, 0.2], [0.3, 0.4]])
    assert metrics.accuracy(scores, fastdl.tensor([1, 0, 0])) == pytest.approx(2 / 3)
    assert metrics.accuracy(fastdl.tensor([1, 0, 2, 3]), fastdl.tensor([1, 1, 2, 2])) == 0.5
    assert metrics.accuracy(fastdl.rand(2, 3, 5), fastdl.zeros(2, 3, dtype=fastdl.int64)) <= 1
    with pytest.raises(ValueError, match=r"expected shape \(3,\) or \(3, 'C'\), got \(2, 3\)"):
        metrics.accuracy(fastdl.zeros(2, 3), fastdl.tensor([1, 0, 0]))
    with pytest.raises(ValueError, match="at least one row"):
        metrics.accuracy(fastdl.zeros(0, 3), fastdl.zeros(0))


def test_f1_counts_what_is_tagged():
    target = fastdl.tensor([[0, 1, 2, 0], [3, 0, 1, 1]])
    assert metrics.f1(target, target) == 1 and metrics.f1(fastdl.zeros_like(target), target) == 0
    predicted = fastdl.tensor([[1, 1, 0, 0], [2, 0, 1, 0]])  # 4 tagged, 2 of them right; 5 were to be tagged
    assert metrics.f1(predicted, target) == pytest.approx(2 / (1 / (2 / 4) + 1 / (2 / 5)))
    assert metrics.f1(predicted, target, none=1) == pytest.approx(2 * 2 / (5 + 5))
    with pytest.raises(ValueError, match=r"expected shape \(2, 4\), got \(4,\)"):
        metrics.f1(fastdl.zeros(4), target)


def test_means_are_weighted():
    mean = metrics.Mean()
    assert math.isnan(mean.value) and mean.values == ()
    mean.add(fastdl.tensor(0.5), 1, count=30)
    mean.add(0.1, fastdl.tensor([0.0]), count=10)
    assert mean.values == pytest.approx((0.4, 0.75)) and mean.value == mean.values[0] and mean.count == 40
    with pytest.raises(ValueError, match="expected 2 as before, got 1"):
        mean.add(3.0)
    mean.reset()
    mean.add(3.0)
    assert mean.values == (3.0,)


def test_perplexity():
    assert metrics.perplexity(math.log(27)) == pytest.approx(27) and metrics.perplexity(1e9) == math.inf
    assert models.perplexity is metrics.perplexity
