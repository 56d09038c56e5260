"""A character model in the style of "Dive into Deep Learning": vocabulary, minibatches, clipping, prediction."""
import collections
import math

import torch
from torch import nn
from torch.nn import functional as F

TEXT = "the time traveller for so it will be convenient to speak of him was expounding a recondite matter to us " * 3


class Vocab:
    def __init__(self, tokens):
        counter = collections.Counter(tokens)
        self.idx_to_token = ["<unk>"] + [t for t, _ in sorted(counter.items(), key=lambda x: (-x[1], x[0]))]
        self.token_to_idx = {t: i for i, t in enumerate(self.idx_to_token)}

    def __len__(self):
        return len(self.idx_to_token)

    def __getitem__(self, tokens):
        if not isinstance(tokens, (list, tuple)):
            return self.token_to_idx.get(tokens, 0)
        return [self[t] for t in tokens]


def seq_data_iter_sequential(corpus, batch_size, num_steps):
    num_tokens = (len(corpus) - 1) // batch_size * batch_size
    Xs = torch.tensor(corpus[:num_tokens]).reshape(batch_size, -1)
    Ys = torch.tensor(corpus[1:num_tokens + 1]).reshape(batch_size, -1)
    for i in range(0, Xs.shape[1] // num_steps * num_steps, num_steps):
        yield Xs[:, i:i + num_steps], Ys[:, i:i + num_steps]


class RNNModel(nn.Module):
    def __init__(self, rnn_layer, vocab_size, **kwargs):
        super().__init__(**kwargs)
        self.rnn = rnn_layer
        self.vocab_size = vocab_size
        self.num_hiddens = self.rnn.hidden_size
        self.num_directions = 2 if self.rnn.bidirectional else 1
        self.linear = nn.Linear(self.num_hiddens * self.num_directions, self.vocab_size)

    def forward(self, inputs, state):
        X = F.one_hot(inputs.T.long(), self.vocab_size)
        X = X.to(torch.float32)
        Y, state = self.rnn(X, state)
        return self.linear(Y.reshape((-1, Y.shape[-1]))), state

    def begin_state(self, device, batch_size=1):
        shape = (self.num_directions * self.rnn.num_layers, batch_size, self.num_hiddens)
        if not isinstance(self.rnn, nn.LSTM):
            return torch.zeros(shape, device=device)
        return torch.zeros(shape, device=device), torch.zeros(shape, device=device)


def grad_clipping(net, theta):
    params = [p for p in net.parameters() if p.requires_grad]
    norm = torch.sqrt(sum(torch.sum(p.grad ** 2) for p in params))
    if norm > theta:
        for param in params:
            param.grad[:] *= theta / norm


def predict(prefix, num_preds, net, vocab, device):
    state = net.begin_state(batch_size=1, device=device)
    outputs = [vocab[prefix[0]]]

    def get_input():
        return torch.tensor([outputs[-1]], device=device).reshape((1, 1))

    for y in prefix[1:]:
        _, state = net(get_input(), state)
        outputs.append(vocab[y])
    for _ in range(num_preds):
        y, state = net(get_input(), state)
        outputs.append(int(y.argmax(dim=1).reshape(1)))
    return "".join([vocab.idx_to_token[i] for i in outputs])


def train(net, corpus, vocab, device, lr, epochs):
    loss = nn.CrossEntropyLoss()
    updater = torch.optim.SGD(net.parameters(), lr)
    for epoch in range(epochs):
        state, total, n = None, 0.0, 0
        for X, Y in seq_data_iter_sequential(corpus, 4, 8):
            if state is None:
                state = net.begin_state(batch_size=X.shape[0], device=device)
            elif isinstance(state, tuple):
                for s in state:
                    s.detach_()
            else:
                state.detach_()
            y = Y.T.reshape(-1)
            X, y = X.to(device), y.to(device)
            y_hat, state = net(X, state)
            l = loss(y_hat, y.long()).mean()  # noqa: E741
            updater.zero_grad()
            l.backward()
            grad_clipping(net, 1)
            updater.step()
            total, n = total + float(l) * y.numel(), n + y.numel()
        if (epoch + 1) % 5 == 0:
            print(f"perplexity {math.exp(total / n):.3f}")


tokens = list(TEXT)
vocab = Vocab(tokens)
corpus = vocab[tokens]
device = torch.device("cpu")
for layer in (nn.RNN(len(vocab), 16), nn.GRU(len(vocab), 16), nn.LSTM(len(vocab), 16)):
    net = RNNModel(layer, len(vocab)).to(device)
    with torch.no_grad():
        for k, p in enumerate(net.parameters()):
            p[:] = torch.sin(torch.arange(p.numel()) * 0.37 + k).reshape(p.shape) * 0.3
    train(net, corpus, vocab, device, lr=1, epochs=10)
    print(len(predict("time ", 20, net, vocab, device)))
