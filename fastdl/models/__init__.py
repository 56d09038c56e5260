"""Whole models."""

from fastdl.models.attention import AdditiveAttention as AdditiveAttention
from fastdl.models.attention import CachedAttention as CachedAttention
from fastdl.models.attention import DotProductAttention as DotProductAttention
from fastdl.models.attention import PositionalEncoding as PositionalEncoding
from fastdl.models.attention import masked_softmax as masked_softmax
from fastdl.models.attention import valid_mask as valid_mask
from fastdl.models.language import LanguageModel as LanguageModel
from fastdl.models.language import detach as detach
from fastdl.models.language import perplexity as perplexity
from fastdl.models.language import predict as predict
from fastdl.models.search import Hypothesis as Hypothesis
from fastdl.models.search import beam_search as beam_search
from fastdl.models.search import greedy_search as greedy_search
from fastdl.models.seq2seq import BahdanauDecoder as BahdanauDecoder
from fastdl.models.seq2seq import Decoder as Decoder
from fastdl.models.seq2seq import Encoder as Encoder
from fastdl.models.seq2seq import EncoderDecoder as EncoderDecoder
from fastdl.models.seq2seq import GRUDecoder as GRUDecoder
from fastdl.models.seq2seq import GRUEncoder as GRUEncoder
from fastdl.models.seq2seq import gru_seq2seq as gru_seq2seq
from fastdl.models.seq2seq import init_xavier as init_xavier
from fastdl.models.seq2seq import translate as translate
from fastdl.models.transformer import TransformerDecoder as TransformerDecoder
from fastdl.models.transformer import TransformerEncoder as TransformerEncoder
from fastdl.models.transformer import transformer_seq2seq as transformer_seq2seq
