"""Text: tokens, vocabularies, corpora and minibatches of consecutive tokens."""

from fastdl.text.corpus import SeqDataLoader as SeqDataLoader
from fastdl.text.corpus import load_corpus as load_corpus
from fastdl.text.corpus import load_corpus_time_machine as load_corpus_time_machine
from fastdl.text.corpus import load_data_time_machine as load_data_time_machine
from fastdl.text.corpus import normalize as normalize
from fastdl.text.corpus import read_text as read_text
from fastdl.text.corpus import seq_data_iter_random as seq_data_iter_random
from fastdl.text.corpus import seq_data_iter_sequential as seq_data_iter_sequential
from fastdl.text.vocab import Vocab as Vocab
from fastdl.text.vocab import ngrams as ngrams
from fastdl.text.vocab import tokenize as tokenize
