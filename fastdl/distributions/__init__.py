"""Probability distributions: samples, log-probabilities, moments and entropies."""

from .bernoulli import Bernoulli
from .categorical import Categorical, OneHotCategorical
from .distribution import Distribution
from .exponential import Exponential
from .kl import kl_divergence
from .laplace import Laplace
from .multinomial import Multinomial
from .normal import LogNormal, Normal
from .uniform import Uniform

__all__ = [
    "Bernoulli",
    "Categorical",
    "Distribution",
    "Exponential",
    "Laplace",
    "LogNormal",
    "Multinomial",
    "Normal",
    "OneHotCategorical",
    "Uniform",
    "kl_divergence",
]
