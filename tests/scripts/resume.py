"""A Dataset of one's own, a collate function, a scheduler, and a checkpoint from which training goes on."""
import os
import sys
import tempfile

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence
from torch.optim import Adam
from torch.optim.lr_scheduler import MultiStepLR
from torch.utils.data import DataLoader, Dataset


class Waves(Dataset):
    """Sequences of different lengths, and the last value that follows each."""

    def __init__(self, n):
        self.items = [torch.sin(torch.arange(5 + k % 7, dtype=torch.float32) * (0.3 + 0.01 * k)) for k in range(n)]

    def __len__(self):
        return len(self.items)

    def __getitem__(self, k):
        return {"x": self.items[k][:-1, None], "y": self.items[k][-1]}


def collate(batch):
    batch = sorted(batch, key=lambda item: -len(item["x"]))
    lengths = torch.tensor([len(item["x"]) for item in batch])
    return pad_sequence([item["x"] for item in batch], batch_first=True), lengths, torch.stack([item["y"] for item in batch])


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(1, 12, batch_first=True)
        self.out = nn.Sequential(nn.Linear(12, 6), nn.Tanh(), nn.Linear(6, 1))

    def forward(self, x, lengths):
        _, (h, _) = self.lstm(pack_padded_sequence(x, lengths, batch_first=True))
        return self.out(h[-1]).squeeze(-1)


def build():
    model = Model()
    for k, p in enumerate(model.parameters()):
        nn.init.constant_(p, 0.05)
        p.data += 0.2 * torch.cos(torch.arange(p.numel()) * 1.3 + k).reshape(p.shape)
    optimizer = Adam([{"params": model.lstm.parameters()}, {"params": model.out.parameters(), "lr": 0.02}], lr=0.01)
    return model, optimizer, MultiStepLR(optimizer, milestones=[2, 4], gamma=0.5)


def train(model, optimizer, scheduler, epochs):
    loader = DataLoader(Waves(40), batch_size=8, collate_fn=collate)
    loss_fn = nn.MSELoss()
    for epoch in epochs:
        running = 0.0
        for x, lengths, y in loader:
            loss = loss_fn(model(x, lengths), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            running += loss.item()
        scheduler.step()
        print(f"[{epoch}] {running / len(loader):.5f} {[group['lr'] for group in optimizer.param_groups]}")


path = os.path.join(tempfile.mkdtemp() if len(sys.argv) < 2 else sys.argv[1], "checkpoint.pt")
model, optimizer, scheduler = build()
train(model, optimizer, scheduler, range(3))
torch.save({"epoch": 3, "model": model.state_dict(), "optimizer": optimizer.state_dict(),
            "scheduler": scheduler.state_dict()}, path)
train(model, optimizer, scheduler, range(3, 6))

model2, optimizer2, scheduler2 = build()
checkpoint = torch.load(path, map_location="cpu", weights_only=True)
print(model2.load_state_dict(checkpoint["model"]))
optimizer2.load_state_dict(checkpoint["optimizer"])
scheduler2.load_state_dict(checkpoint["scheduler"])
train(model2, optimizer2, scheduler2, range(checkpoint["epoch"], 6))
same = all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), model2.state_dict().values()))
print("resumed:", "equal" if same else "different")
