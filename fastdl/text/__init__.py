"""Text: tokens, vocabularies, corpora, minibatches of consecutive tokens, pairs of sentences, BLEU."""

from fastdl.text.bert import BertBatch as BertBatch
from fastdl.text.bert import BertData as BertData
from fastdl.text.bert import tokens_and_segments as tokens_and_segments
from fastdl.text.bleu import bleu as bleu
from fastdl.text.bleu import corpus_bleu as corpus_bleu
from fastdl.text.corpus import SeqDataLoader as SeqDataLoader
from fastdl.text.corpus import load_corpus as load_corpus
from fastdl.text.corpus import load_corpus_time_machine as load_corpus_time_machine
from fastdl.text.corpus import load_data_time_machine as load_data_time_machine
from fastdl.text.corpus import normalize as normalize
from fastdl.text.corpus import read_text as read_text
from fastdl.text.corpus import seq_data_iter_random as seq_data_iter_random
from fastdl.text.corpus import seq_data_iter_sequential as seq_data_iter_sequential
from fastdl.text.ngram_model import NGramModel as NGramModel
from fastdl.text.translation import Batch as Batch
from fastdl.text.translation import PairLoader as PairLoader
from fastdl.text.translation import build_array as build_array
from fastdl.text.translation import load_data_nmt as load_data_nmt
from fastdl.text.translation import normalize_sentence as normalize_sentence
from fastdl.text.translation import read_pairs as read_pairs
from fastdl.text.translation import truncate_pad as truncate_pad
from fastdl.text.vocab import Vocab as Vocab
from fastdl.text.vocab import ngrams as ngrams
from fastdl.text.vocab import tokenize as tokenize
