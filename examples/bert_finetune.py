"""Fine-tuning BERT for pairs of sentences: does the second follow the first in the text, or come from elsewhere?

    python examples/bert_finetune.py --text timemachine.txt --checkpoint bert-out/bert.safetensors

Without a checkpoint of bert_pretrain.py the encoder begins untrained.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, help="UTF-8 file of paragraphs; default: The Time Machine")
    parser.add_argument("--checkpoint", type=Path, help="of bert_pretrain.py on the same text")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--quick", action="store_true", help="two epochs of a smaller model, on a part of the text")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("bert-out"), help="folder for the fine-tuned model")
    options = parser.parse_args()

    import fastdl
    from fastdl import datasets, models, text
    from fastdl.nn import functional as F

    fastdl.manual_seed(options.seed)
    width, layers = (32, 1) if options.quick else (128, 2)
    try:
        source = text.read_text(options.text) if options.text else datasets.time_machine().text
        source = source[:60_000] if options.quick else source
        data = text.BertData(source, batch_size=64, max_length=64, mask_rate=0.0, seed=options.seed)
        bert = models.BertModel(len(data.vocab), width, layers, 2, 2 * width, 64)
        if options.checkpoint:
            models.BertPretraining(bert).load_state_dict(fastdl.load(options.checkpoint))
        options.out.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError, RuntimeError) as error:
        sys.exit(f"bert_finetune: error: {' '.join(str(error).split())}")
    model = models.BertClassifier(bert, 2)
    optimizer = fastdl.optim.AdamW(model.parameters(), lr=1e-3 if options.checkpoint is None else 2e-4)
    for epoch in range(2 if options.quick else options.epochs):
        total, right, count = 0.0, 0, 0
        for batch in data:
            scores = model(batch.tokens, batch.segments, batch.lengths)
            loss = F.cross_entropy(scores, batch.follows)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(scores)
            right += int((scores.argmax(1) == batch.follows).sum().item())
            count += len(scores)
        print(f"epoch {epoch + 1}: loss {total / count:.3f}, {right / count:.1%} of the training pairs right")
    fastdl.save(model.state_dict(), options.out / "bert_pairs.safetensors")
    return 0


if __name__ == "__main__":
    sys.exit(main())
