"""Learns to translate English into French: GRU, GRU with Bahdanau's attention, or Transformer.

By default the setting of "Dive into Deep Learning": the first 600 pairs, 300 epochs, sentences of at most 10 tokens,
Adam with learning rate 0.005. Above 10,000 pairs the models are larger and BLEU is that of 1,000 sentences held out.
The folder --out gets a checkpoint (--load translates with it), after Ctrl-C, too, and the heat maps of all attentions.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

from _common import checkpoint, fail, load_weights, natural, parser, run, saved_after
from tqdm import tqdm

import fastdl
from fastdl import models, nn, text, vis

MODELS = ("gru", "bahdanau", "transformer")
SENTENCES = ("go .", "i lost .", "he's calm .", "i'm home .")
SMALL = {"hidden": 32, "ffn": 64, "layers": 2, "batch": 64, "steps": 10, "lr": 0.005, "dropout": 0.1, "epochs": 300}
LARGE = {"hidden": 256, "ffn": 512, "layers": 2, "batch": 128, "steps": 16, "lr": 0.001, "dropout": 0.1, "epochs": 20}
HELD_OUT = 1000
ORIGIN = "manythings.org/anki has it as fra-eng.zip; put it into the folder that FASTDL_DATA names, or give --data FILE"
DIGITS = (("zero", "zéro"), ("one", "un"), ("two", "deux"), ("three", "trois"), ("four", "quatre"), ("five", "cinq"),
          ("six", "six"), ("seven", "sept"), ("eight", "huit"), ("nine", "neuf"))


def arguments() -> argparse.Namespace:
    made = parser(__doc__, quick="few epochs, to see that all works")
    made.add_argument("--model", choices=MODELS, default="gru", help="(gru)")
    made.add_argument("--norm-first", action="store_true", help="the Transformer's norms stand before its branches")
    made.add_argument("--data", type=Path, metavar="FILE", help="pairs, tab separated: text or zip")
    made.add_argument("--pairs", type=natural, default=600, help="lines of it (600)")
    made.add_argument("--epochs", type=natural, help="passes over the pairs (300; above 10,000 pairs 20)")
    made.add_argument("--seconds", type=float, help="stops training after this time")
    made.add_argument("--beam", type=natural, default=1, help="beam size; 1: greedy search (1)")
    made.add_argument("--load", type=Path, metavar="CHECKPOINT", help="translates with this model, without training")
    options = made.parse_args()
    options.sizes = SMALL if options.pairs <= 10_000 else LARGE
    if options.epochs is None:
        options.epochs = 10 if options.quick else options.sizes["epochs"]
    return options


def read(path: Path | None, count: int) -> list[tuple[str, str]]:
    """The pairs; without a file two-digit numbers read out digit by digit stand in for them."""
    if path is None and (folder := os.environ.get("FASTDL_DATA")):
        path = next(iter(sorted(Path(folder).glob("fra-eng*.zip"))), None)
    if path is None:
        print(f"no pairs: numbers stand in for them ({ORIGIN})")
        return [(f"{a[0]} {b[0]}.", f"{a[1]} {b[1]} !") for a in DIGITS for b in DIGITS][:count]
    return text.read_pairs(path, count)


def references(loader: Any) -> dict[str, list[str]]:
    """Every translation of each source sentence."""
    found: dict[str, list[str]] = {}
    for source, target in zip(loader.source_words, loader.target_words):
        found.setdefault(" ".join(source), []).append(" ".join(target))
    return found


def known_sentences(loader: Any) -> list[str]:
    """The book's four, or where the pairs do not hold one, the first that begins alike, is as long and whose
    translation has no rare word; else any."""
    found = references(loader)
    chosen: list[str] = []
    for sentence in SENTENCES:
        words = sentence.split()
        near = [s for s in found if len(s.split()) == len(words) and s.split()[0] == words[0]
                and all(w in loader.target_vocab for w in found[s][0].split())]
        others = [s for s in [*near, *found] if s not in (*SENTENCES, *chosen)]
        chosen.append(sentence if sentence in found or not others else others[0])
    return chosen


def build(kind: str, norm_first: bool, sizes: dict[str, Any], source: int, target: int) -> Any:
    if kind == "transformer":
        return models.transformer_seq2seq(source, target, sizes["hidden"], 4, sizes["ffn"], sizes["layers"],
                                          sizes["dropout"], norm_first, max_len=sizes["steps"])
    return models.gru_seq2seq(source, target, sizes["hidden"], sizes["hidden"], sizes["layers"], sizes["dropout"],
                              attention=kind == "bahdanau")


def train(model: Any, loader: Any, options: argparse.Namespace) -> None:
    optimizer = fastdl.optim.Adam(model.parameters(), lr=options.sizes["lr"])
    bos, pad = loader.target_vocab["<bos>"], loader.target_vocab["<pad>"]
    begin, tokens, loss = time.perf_counter(), 0, 0.0
    with tqdm(total=options.epochs, unit="epoch", dynamic_ncols=True) as bar:
        for epoch in range(options.epochs):
            for i, batch in enumerate(loader):
                value = model.loss(batch.source, batch.source_lengths, batch.target, bos, pad)
                optimizer.zero_grad()
                value.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                loss = value.item() if not epoch and not i else 0.98 * loss + 0.02 * value.item()
                tokens += int(batch.target_lengths.sum().item())
                if options.seconds and time.perf_counter() - begin > options.seconds:
                    break
            bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
            bar.update()
            if options.seconds and time.perf_counter() - begin > options.seconds:
                break
    seconds = time.perf_counter() - begin
    print(f"loss {loss:.3f}; {seconds:.1f} s, {tokens / seconds:,.0f} tokens/s, {fastdl.get_num_threads()} threads")


def draw(model: Any, loader: Any, sentence: str, translation: str, folder: Path, kind: str) -> None:
    """Heat maps of all attentions while the model reads the sentence and writes the translation."""
    source, lengths = text.build_array([sentence.split()], loader.source_vocab, loader.num_steps)
    words = translation.split()[: loader.num_steps - 1]
    tokens = fastdl.tensor([loader.target_vocab[["<bos>", *words]]])
    weights = model.attention_weights(source, lengths, tokens)
    if not weights:
        return
    n = int(lengths.item())
    for part in ("encoder self_attn", "decoder self_attn", "decoder multihead_attn", "decoder attention"):
        side, name = part.split()
        maps = [w[0] for layer, w in weights.items() if layer.startswith(side) and layer.endswith(f".{name}")]
        if maps:
            maps = [m[:, :n, :n] if side == "encoder" else m[..., :n] if name != "self_attn" else m for m in maps]
            path = folder / f"{kind}-{side}-{name}.png"
            vis.show_heatmaps(fastdl.stack(maps), xlabel="key", ylabel="query", path=path,
                              titles=[f"head {i + 1}" for i in range(len(maps[0]))])
            print(f"heat maps (a row for each layer): {path}")


def evaluate(model: Any, loader: Any, held_out: dict[str, list[str]], options: argparse.Namespace) -> None:
    vocabs = (loader.source_vocab, loader.target_vocab)
    if not held_out:
        sentences, found = known_sentences(loader), references(loader)
        outputs = models.translate(sentences, model, *vocabs, loader.num_steps, options.beam)
        scores = [max((text.bleu(output, r) for r in found[s]), default=0.0) for s, output in zip(sentences, outputs)]
        for sentence, output, score in zip(sentences, outputs, scores):
            print(f"{sentence} => {output}  (BLEU {score:.3f})")
        print(f"mean BLEU {sum(scores) / len(scores):.3f}")
        draw(model, loader, sentences[-1], outputs[-1], options.out, options.model)
        return
    sources, outputs = list(held_out), []
    for i in range(0, len(sources), 100):
        outputs += models.translate(sources[i:i + 100], model, *vocabs, loader.num_steps, options.beam)
    for source, output in list(zip(sources, outputs))[:5]:
        print(f"{source} => {output}  (for instance: {held_out[source][0]})")
    print(f"BLEU of {len(sources)} sentences held out: {100 * text.corpus_bleu(outputs, list(held_out.values())):.1f}")
    draw(model, loader, sources[0], outputs[0], options.out, options.model)


def main(options: argparse.Namespace) -> None:
    fastdl.manual_seed(options.seed)
    sizes, held_out = options.sizes, {}
    path = options.out / f"translate-{options.model}.safetensors"
    pairs = read(options.data, options.pairs)
    if len(pairs) > 10_000:
        short = [p for p in pairs if max(len(text.normalize_sentence(s).split()) for s in p) < sizes["steps"]]
        by_source: dict[str, list[str]] = {}
        for a, b in short:
            by_source.setdefault(text.normalize_sentence(a), []).append(text.normalize_sentence(b))
        names = list(by_source)
        order = fastdl.randperm(len(names), generator=fastdl.Generator().manual_seed(options.seed)).tolist()
        held_out = {names[i]: by_source[names[i]] for i in order[:HELD_OUT]}
        pairs = [p for p in short if text.normalize_sentence(p[0]) not in held_out]
    loader = text.PairLoader(pairs, sizes["batch"], sizes["steps"])
    vocabs = [list(loader.source_vocab), list(loader.target_vocab)]
    print(f"{len(pairs):,} pairs, {len(vocabs[0]):,} English and {len(vocabs[1]):,} French words")
    model = build(options.model, options.norm_first, sizes, len(vocabs[0]), len(vocabs[1]))
    settings = {"model": options.model, "norm_first": options.norm_first, **sizes}
    if options.load:
        found = checkpoint(options.load, "settings", "vocabs", "weights")
        if found["vocabs"] != vocabs:
            theirs = " and ".join(str(len(v)) for v in found["vocabs"])
            fail(f"{options.load}: its vocabularies ({theirs} words) do not fit those of the pairs ({len(vocabs[0])} "
                 f"and {len(vocabs[1])})")
        if found["settings"] != settings:
            fail(f"{options.load}: made with {found['settings']}, not {settings}")
        load_weights(model, found["weights"], options.load)
    else:
        model.apply(models.init_xavier)
        with saved_after(path, lambda: {"settings": settings, "vocabs": vocabs, "weights": model.state_dict()}):
            train(model, loader, options)
    evaluate(model, loader, held_out, options)


if __name__ == "__main__":
    run(main, arguments())
