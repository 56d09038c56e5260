"""A classifier on random data: argparse, Dataset and DataLoader, train and test loops."""
import argparse

import torch
import torch.nn.functional as F
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset, random_split


class Net(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.fc1 = nn.Linear(20, hidden)
        self.dropout = nn.Dropout(0.0)
        self.fc2 = nn.Linear(hidden, 3)

    def forward(self, x):
        x = F.relu(self.fc1(x))
        return F.log_softmax(self.fc2(self.dropout(x)), dim=1)


def init_weights(m):
    if type(m) == nn.Linear:  # noqa: E721
        n = m.weight.numel()
        m.weight.data = (torch.arange(n) % 17 - 8).float().reshape(m.weight.shape) / 40
        nn.init.zeros_(m.bias)


def train(args, model, device, loader, optimizer, epoch):
    model.train()
    total = 0.0
    for data, target in loader:
        data, target = data.to(device), target.to(device)
        optimizer.zero_grad()
        loss = F.nll_loss(model(data), target)
        loss.backward()
        optimizer.step()
        total += loss.item()
    print(f"epoch {epoch}: loss {total / len(loader):.5f}")


@torch.no_grad()
def test(model, device, loader):
    model.eval()
    loss, correct = 0.0, 0
    for data, target in loader:
        data, target = data.to(device), target.to(device)
        output = model(data)
        loss += F.nll_loss(output, target, reduction="sum").item()
        correct += output.argmax(dim=1, keepdim=True).eq(target.view_as(output[:, :1].long())).sum().item()
    print("test: loss {:.5f}, {}/{} correct".format(loss / len(loader.dataset), correct, len(loader.dataset)))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--lr", type=float, default=0.5)
    parser.add_argument("--hidden", type=int, default=32)
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(1)

    i = torch.arange(300 * 20, dtype=torch.float32).reshape(300, 20)
    x = torch.sin(i * 0.7) + torch.cos(i * i * 0.01)
    y = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
    train_set, test_set = TensorDataset(x[:256], y[:256]), TensorDataset(x[256:], y[256:])
    assert len(random_split(train_set, [200, 56])[1]) == 56

    model = Net(args.hidden).to(device)
    model.apply(init_weights)
    print(model)
    optimizer = optim.SGD(model.parameters(), lr=args.lr, momentum=0.5)
    train_loader = DataLoader(train_set, batch_size=64, shuffle=False)
    test_loader = DataLoader(test_set, batch_size=100)
    for epoch in range(1, args.epochs + 1):
        train(args, model, device, train_loader, optimizer, epoch)
    test(model, device, test_loader)


if __name__ == "__main__":
    main()
