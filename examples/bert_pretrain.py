"""BERT's pre-training on a text of paragraphs: masked words and next sentences; then features of a sentence.

    python examples/bert_pretrain.py --text timemachine.txt

The last tenth of the text is held out, as in bert_finetune.py, so that the encoder has not seen what it is tested on
there. The folder --out gets bert.safetensors, which that program begins with, and the curves.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from _common import natural, parser, run, saved_after
from tqdm import tqdm

import fastdl
from fastdl import datasets, metrics, models, text, vis


@fastdl.no_grad()
def evaluate(model: models.BertPretraining, data: text.BertData) -> tuple[float, ...]:
    """The mean losses of masked words and of next sentences."""
    model.eval()
    mean = metrics.Mean()
    for batch in data:
        mean.add(*(loss.item() for loss in model.loss(batch)), count=len(batch.tokens))
    model.train()
    return mean.values


def main(options: argparse.Namespace) -> None:
    fastdl.manual_seed(options.seed)
    source = text.read_text(options.text) if options.text else datasets.time_machine().text
    source = source[:60_000] if options.quick else source
    train_text, test_text = text.split_text(source)
    data = text.BertData(train_text, batch_size=64, max_length=64, seed=options.seed)
    held_out = text.BertData(test_text, batch_size=64, max_length=64, vocab=data.vocab)
    print(f"{len(data.paragraphs)} paragraphs, {len(held_out.paragraphs)} held out; vocabulary of {len(data.vocab)}")
    width, layers = (32, 1) if options.quick else (128, 2)
    sizes: dict[str, Any] = {"hidden_size": width, "num_layers": layers, "num_heads": 2, "intermediate_size": 2 * width,
                             "max_positions": 64}
    model = models.BertPretraining(models.BertModel(len(data.vocab), **sizes))
    optimizer = fastdl.optim.Adam(model.parameters(), lr=1e-3)
    epochs = options.epochs or (3 if options.quick else 60)
    path = options.out / "bert.safetensors"
    begin = time.perf_counter()
    with saved_after(path, lambda: {"sizes": sizes, "vocab": list(data.vocab), "model": model.state_dict()}), tqdm(
            total=epochs, unit="epoch", dynamic_ncols=True) as bar, vis.Animator(
            xlabel="epoch", ylabel="loss", legend=["masked words", "next sentence", "masked words, held out"],
            path=options.out / "bert_pretrain.png") as animator:
        for epoch in range(epochs):
            mean = metrics.Mean()
            for batch in data:
                words, follows = model.loss(batch)
                optimizer.zero_grad()
                (words + follows).backward()
                optimizer.step()
                mean.add(words.item(), follows.item())
            test = evaluate(model, held_out)
            animator.add(epoch + 1, (*mean.values, test[0]))
            bar.update()
    print(f"loss of masked words {mean.values[0]:.3f}, of next sentences {mean.values[1]:.3f} after {epochs} epochs; "
          f"held out {test[0]:.3f} and {test[1]:.3f}; {time.perf_counter() - begin:.1f} s")
    tokens, _ = text.tokens_and_segments(["the", "time", "traveller", "smiled"])
    features, _ = model.bert.features([data.vocab[tokens]])
    print(f"features of {' '.join(tokens)}: {tuple(features.shape)}, of <cls> {features[0, :3].tolist()} ...")


if __name__ == "__main__":
    PARSER = parser(__doc__, quick="three short epochs of a smaller model")
    PARSER.add_argument("--text", type=Path, help="UTF-8 file of paragraphs (The Time Machine)")
    PARSER.add_argument("--epochs", type=natural, help="passes over the text (60)")
    run(main, PARSER.parse_args())
