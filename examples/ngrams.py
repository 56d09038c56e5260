"""What a text is made of: tokenizers, the vocabulary, Zipf's law, and an n-gram model as the baseline.

1. One line in characters, in words, and in words and marks by a tokenizer of one's own; the most frequent words.
2. Words, pairs and triples by falling frequency: near to straight lines in a picture with two logarithmic axes
   (frequency ~ rank^-a). Most triples occur once: counting them alone will not do, so counts are smoothed.
3. Laplace-smoothed models of n characters on nine tenths of the text: their perplexity on the last tenth is what a
   trained model has to beat. Above five characters it rises again: such runs were seen too seldom.

The picture ngrams.png goes to --out.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from pathlib import Path

import numpy as np
from _common import parser, run
from tqdm import tqdm

from fastdl import datasets, text, vis

WORDS_AND_MARKS = re.compile(r"\w+|[^\w\s]")
LENGTHS = range(1, 8)


def frequencies(tokens: list[str], n: int) -> list[int]:
    """How often each run of n tokens occurs, the most frequent first."""
    return sorted(Counter(text.ngrams(tokens, n)).values(), reverse=True)


def slope(counts: list[int]) -> float:
    """a of frequency ~ rank^-a, fitted to the ranks from 10 on that occur more than once."""
    used = np.array([c for c in counts if c > 1], float)[9:]
    if len(used) < 2:
        return float("nan")
    return float(-np.polyfit(np.log(np.arange(10, 10 + len(used))), np.log(used), 1)[0])


def main(options: argparse.Namespace) -> None:
    if options.text:
        source, content = str(options.text), text.read_text(options.text)
    else:
        book = datasets.time_machine()
        source, content = book.source, book.text
    content = content[:30_000] if options.quick else content
    lines = text.normalize(content)
    print(f"text: {source}, {len(lines):,} lines")

    line = next(line for line in content.splitlines() if len(line.split()) > 3)
    for name, way in (("char", "char"), ("word", "word"), ("own", WORDS_AND_MARKS.findall)):
        print(f"{name}: {text.tokenize([line], way)[0][:9]}")
    tokens = [word for words in text.tokenize(lines, "word") for word in words]
    vocab = text.Vocab(tokens)
    print(f"{len(tokens):,} words, {len(vocab):,} in the vocabulary; ids of {tokens[:4]}: {vocab[tokens[:4]]}")
    print("most frequent:", ", ".join(f"{word} {count}" for word, count in vocab.token_freqs[:8]))

    counts = {name: frequencies(tokens, n) for n, name in enumerate(("words", "pairs", "triples"), 1)}
    for name, found in counts.items():
        print(f"{name}: {len(found):,} different, {found.count(1) / len(found):.0%} of them occur once, "
              f"frequency ~ rank^-{slope(found):.2f}")

    corpus, characters = text.load_corpus(lines)
    cut = len(corpus) * 9 // 10
    seen, unseen = [], []
    for n in tqdm(LENGTHS, unit="model", leave=False):
        model = text.NGramModel(corpus[:cut], len(characters), n)
        seen.append(model.perplexity(corpus[:cut]))
        unseen.append(model.perplexity(corpus[cut:]))
        written = "".join(characters.to_tokens(model.generate(corpus[:n], 50, seed=options.seed)))
        tqdm.write(f"n = {n}: perplexity {seen[-1]:6.2f}, held out {unseen[-1]:6.2f}; writes: {written}")
    best = int(np.argmin(unseen))
    print(f"the baseline: perplexity {unseen[best]:.2f} with n = {LENGTHS[best]}, {np.log(unseen[best]):.3f} nats per "
          f"character")

    figure, axes = vis.panels(1, 2, figsize=(10, 3.8))
    vis.plot([range(1, len(c) + 1) for c in counts.values()], list(counts.values()), legend=list(counts),
             xlabel="rank", ylabel="frequency", xscale="log", yscale="log", axes=axes[0, 0])
    vis.plot(LENGTHS, [seen, unseen], legend=["seen", "held out"], xlabel="n (characters)", ylabel="perplexity",
             axes=axes[0, 1])
    vis.show(figure, options.out / "ngrams.png")
    print(f"picture: {options.out}/ngrams.png")


if __name__ == "__main__":
    PARSER = parser(__doc__, quick="the first 30,000 characters")
    PARSER.add_argument("--text", type=Path, metavar="FILE", help="another text in UTF-8 (The Time Machine)")
    run(main, PARSER.parse_args())
