"""Fine-tuning BERT: classes of sentences, of pairs of sentences, and a tag for each word.

    python examples/bert_finetune.py --task tags --checkpoint out/bert.safetensors

The text itself gives the labels, so that any text will do:

sentence: are the words in their order, or shuffled?
pair:     does the second sentence follow the first one, or come from elsewhere?
tags:     which mark, if any, stood behind each word? All marks are taken out first. F1 counts the marks alone, as four
          words out of five have none.

The last tenth of the text is held out. Without a checkpoint of bert_pretrain.py the encoder begins untrained.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from _common import checkpoint, load_weights, natural, parser, run, saved_after
from tqdm import tqdm

import fastdl
from fastdl import datasets, metrics, models, text, vis
from fastdl.nn import functional as F

MARKS = ("", ",", ".", ";", ":", "?", "!")
MAX_LENGTH = 64
QUICK_SIZES: dict[str, Any] = {"hidden_size": 32, "num_layers": 1, "num_heads": 2, "intermediate_size": 64,
                               "max_positions": MAX_LENGTH}
SIZES = {**QUICK_SIZES, "hidden_size": 128, "num_layers": 2, "intermediate_size": 256}
NO_LABEL = -100
Example = tuple[list[str], list[int], Any]


def sentences(source: str, seed: int) -> list[Example]:
    """Each sentence of four words or more, as it is or shuffled."""
    random, found = np.random.default_rng(seed), []
    for words in (s for p in text.paragraphs(source) for s in p):
        words = [w for w in words if w not in MARKS][:MAX_LENGTH - 2]
        if len(words) >= 4:
            is_shuffled = int(random.random() < 0.5)
            order = random.permutation(len(words)) if is_shuffled else range(len(words))
            found.append((*text.tokens_and_segments([words[i] for i in order]), is_shuffled))
    return found


def pairs(source: str, seed: int) -> list[Example]:
    """Sentences with the next one, or with any other."""
    return list(text.BertData(source, max_length=MAX_LENGTH).pairs(np.random.default_rng(seed)))


def tags(source: str, seed: int) -> list[Example]:
    """Passages of words without marks; the label of each word is the mark that stood behind it."""
    found = []
    for paragraph in text.paragraphs(source):
        words: list[str] = []
        marks: list[int] = []
        for token in (t for sentence in paragraph for t in sentence):
            if token not in MARKS:
                words.append(token)
                marks.append(0)
            elif marks:
                marks[-1] = MARKS.index(token)
        for i in range(0, len(words), MAX_LENGTH - 2):
            part = slice(i, i + MAX_LENGTH - 2)
            found.append((*text.tokens_and_segments(words[part]), [NO_LABEL, *marks[part], NO_LABEL]))
    return found


# name: what makes the examples, classes, epochs
TASKS = {"sentence": (sentences, 2, 10), "pair": (pairs, 2, 10), "tags": (tags, len(MARKS), 30)}


def begin(options: argparse.Namespace, source: str) -> tuple[models.BertModel, text.Vocab]:
    """The encoder and the vocabulary of the checkpoint, or new ones."""
    if options.checkpoint is None:
        vocab = text.BertData(source).vocab
        return models.BertModel(len(vocab), **(QUICK_SIZES if options.quick else SIZES)), vocab
    found = checkpoint(options.checkpoint, "sizes", "vocab", "model")
    vocab = text.Vocab(reserved_tokens=found["vocab"][1:])
    bert = models.BertModel(len(vocab), **found["sizes"])
    load_weights(models.BertPretraining(bert), found["model"], options.checkpoint)
    return bert, vocab


def scores_of(model: Any, batch: text.LabelledBatch) -> tuple[Any, Any]:
    """Scores (M, classes) and labels (M,) of all that has a label."""
    scores = model(batch.tokens, batch.segments, batch.lengths)
    labels = batch.labels.flatten()
    places = (labels != NO_LABEL).nonzero().squeeze(1)
    return scores.reshape(len(labels), -1)[places], labels[places]


@fastdl.no_grad()
def evaluate(model: Any, data: text.LabelledData) -> tuple[Any, Any]:
    """The classes found and the right ones."""
    model.eval()
    found = [(scores.argmax(1), labels) for scores, labels in (scores_of(model, batch) for batch in data)]
    model.train()
    return fastdl.cat([f for f, _ in found]), fastdl.cat([labels for _, labels in found])


def main(options: argparse.Namespace) -> None:
    fastdl.manual_seed(options.seed)
    source = text.read_text(options.text) if options.text else datasets.time_machine().text
    make, classes, usual = TASKS[options.task]
    train_text, test_text = text.split_text(source[:60_000] if options.quick else source)
    bert, vocab = begin(options, train_text)
    train = text.LabelledData(make(train_text, options.seed), vocab, 64, bert.max_positions, seed=options.seed)
    test = text.LabelledData(make(test_text, options.seed + 1), vocab, 64, bert.max_positions, shuffle=False)
    model: Any = (models.BertTagger if options.task == "tags" else models.BertClassifier)(bert, classes)
    optimizer = fastdl.optim.AdamW(model.parameters(), lr=1e-3 if options.checkpoint is None else 3e-4)
    epochs = options.epochs or (2 if options.quick else usual)
    with saved_after(options.out / f"bert_{options.task}.safetensors", model.state_dict), vis.Animator(
            xlabel="epoch", legend=["loss", "accuracy", "accuracy, held out"],
            path=options.out / f"bert_finetune-{options.task}.png") as animator:
        for epoch in tqdm(range(epochs), unit="epoch", dynamic_ncols=True):
            mean = metrics.Mean()
            for batch in train:
                scores, labels = scores_of(model, batch)
                loss = F.cross_entropy(scores, labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                mean.add(loss.item(), metrics.accuracy(scores, labels), count=len(labels))
            found, right = evaluate(model, test)
            animator.add(epoch + 1, (*mean.values, metrics.accuracy(found, right)))
    print(f"{options.task}: {len(train.examples):,} examples, loss {mean.values[0]:.3f}, {mean.values[1]:.1%} right; "
          f"held out, {len(test.examples):,}: {metrics.accuracy(found, right):.1%} right")
    if options.task == "tags":
        nothing = (right == 0).float().mean().item()
        print(f"held out: F1 of the marks {metrics.f1(found, right):.3f}; {nothing:.1%} of the words have none")
        words = test.examples[0][0][1:-1]
        print(" ".join(word + MARKS[mark] for word, mark in zip(words, found.tolist())))


if __name__ == "__main__":
    PARSER = parser(__doc__, quick="two epochs of a smaller model, on a part of the text")
    PARSER.add_argument("--task", choices=TASKS, default="pair", help="(pair)")
    PARSER.add_argument("--text", type=Path, help="UTF-8 file of paragraphs (The Time Machine)")
    PARSER.add_argument("--checkpoint", type=Path, help="of bert_pretrain.py; its vocabulary is taken")
    PARSER.add_argument("--epochs", type=natural, help="passes over the examples (10; tags: 30)")
    run(main, PARSER.parse_args())
