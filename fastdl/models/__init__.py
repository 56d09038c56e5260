"""Whole models."""

from fastdl.models.language import LanguageModel as LanguageModel
from fastdl.models.language import detach as detach
from fastdl.models.language import perplexity as perplexity
from fastdl.models.language import predict as predict
