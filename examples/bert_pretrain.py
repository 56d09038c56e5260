"""BERT's pre-training on a text of paragraphs: masked words and next sentences; then features of a sentence.

    python examples/bert_pretrain.py --text timemachine.txt
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, help="UTF-8 file of paragraphs; default: The Time Machine")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help="three short epochs of a smaller model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("bert-out"), help="folder for the checkpoint and the curves")
    options = parser.parse_args()

    import fastdl
    from fastdl import datasets, models, text

    try:
        source = text.read_text(options.text) if options.text else datasets.time_machine().text
        source = source[:60_000] if options.quick else source
        data = text.BertData(source, batch_size=64, max_length=64, seed=options.seed)
        options.out.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        sys.exit(f"bert_pretrain: error: {error}")
    fastdl.manual_seed(options.seed)
    width, layers = (32, 1) if options.quick else (128, 2)
    model = models.BertPretraining(models.BertModel(len(data.vocab), width, layers, 2, 2 * width, 64))
    optimizer = fastdl.optim.Adam(model.parameters(), lr=1e-3)
    curves: dict[str, list[float]] = {"masked words": [], "next sentence": []}
    begin = time.perf_counter()
    for epoch in range(3 if options.quick else options.epochs):
        sums, count = [0.0, 0.0], 0
        for batch in data:
            words, follows = model.loss(batch)
            optimizer.zero_grad()
            (words + follows).backward()
            optimizer.step()
            sums, count = [sums[0] + words.item(), sums[1] + follows.item()], count + 1
        for curve, total in zip(curves.values(), sums):
            curve.append(total / count)
        print(f"epoch {epoch + 1}: " + ", ".join(f"{name} {curve[-1]:.3f}" for name, curve in curves.items()))
    print(f"{time.perf_counter() - begin:.1f} s, vocabulary of {len(data.vocab)}")
    fastdl.save(model.state_dict(), options.out / "bert.safetensors")
    tokens, _ = text.tokens_and_segments(["the", "time", "traveller", "smiled"])
    features, _ = model.bert.features([data.vocab[tokens]])
    print(f"features of {' '.join(tokens)}: {tuple(features.shape)}, of <cls> {features[0, :3].tolist()} ...")
    try:
        from fastdl import vis
    except ImportError:
        return 0
    names = list(curves)
    epochs = list(range(1, len(curves[names[0]]) + 1))
    vis.plot(epochs, list(curves.values()), xlabel="epoch", ylabel="loss", legend=names,
             path=options.out / "bert_pretrain.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
