"""A Transformer encoder that classifies padded sequences: positional encoding as a buffer, masks, AdamW, warm-up."""
import math

import torch
import torch.nn as nn
from torch.optim.lr_scheduler import LambdaLR


class PositionalEncoding(nn.Module):
    def __init__(self, d_model, max_len=50):
        super().__init__()
        position = torch.arange(max_len).unsqueeze(1)
        div_term = torch.exp(torch.arange(0, d_model, 2) * (-math.log(10000.0) / d_model))
        pe = torch.zeros(1, max_len, d_model)
        pe[0, :, 0::2] = torch.sin(position * div_term)
        pe[0, :, 1::2] = torch.cos(position * div_term)
        self.register_buffer("pe", pe)

    def forward(self, x):
        return x + self.pe[:, :x.size(1)]


class Classifier(nn.Module):
    def __init__(self, vocab, d_model=16, classes=2):
        super().__init__()
        self.embedding = nn.Embedding(vocab, d_model, padding_idx=0)
        self.position = PositionalEncoding(d_model)
        layer = nn.TransformerEncoderLayer(d_model, nhead=4, dim_feedforward=32, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, num_layers=2, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, classes)

    def forward(self, tokens):
        padding = tokens == 0
        x = self.position(self.embedding(tokens) * math.sqrt(self.embedding.embedding_dim))
        x = self.encoder(x, src_key_padding_mask=padding)
        x = x.masked_fill(padding.unsqueeze(-1), 0.0).sum(1) / (~padding).sum(1, keepdim=True)
        return self.head(self.norm(x))


def data(n=64, length=12, vocab=20):
    i = torch.arange(n * length).reshape(n, length)
    tokens = (i * 7919 + (i // 5) * 104729) % (vocab - 1) + 1
    lengths = torch.arange(n) % (length - 3) + 4
    tokens[torch.arange(length)[None, :] >= lengths[:, None]] = 0
    return tokens, ((tokens > 10).sum(1) * 2 > lengths).long()


torch.manual_seed(0)
x, y = data()
model = Classifier(20)
with torch.no_grad():
    for name, p in sorted(model.named_parameters()):
        if p.dim() > 1:
            p.copy_(torch.cos(torch.arange(p.numel(), dtype=torch.float32).view(p.shape) ** 1.1) * (1 / p.shape[-1]) ** 0.5)
        elif "bias" in name:
            nn.init.constant_(p, 0.01)
print(sum(p.numel() for p in model.parameters() if p.requires_grad), "parameters")
criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.01)
scheduler = LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 4))
for step in range(12):
    logits = model(x)
    loss = criterion(logits, y)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
    optimizer.step()
    scheduler.step()
    if step % 3 == 2:
        accuracy = (logits.argmax(-1) == y).float().mean()
        print(f"step {step}: loss {loss.item():.4f} lr {scheduler.get_last_lr()[0]:.5f} acc {accuracy:.2f}")
