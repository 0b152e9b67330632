"""Models with a forward of their own, and an independent pass of ones through any of them."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class ResNet(nn.Module):
    """A strided stem with max pooling, a block with a projection shortcut, one without."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 5, stride=2, padding=2, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.a1, self.a2 = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.b1 = nn.Conv2d(8, 12, 3, stride=2, padding=1)
        self.b2 = nn.Conv2d(12, 12, 3, padding=1, groups=2)
        self.short = nn.Conv2d(8, 12, 1, stride=2)
        self.fc = nn.Linear(12, 5)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.norm(self.stem(x))), 3, 2, 1)
        x = F.relu(x + self.a2(F.relu(self.a1(x))))
        y = self.b2(F.relu_(self.b1(x)))
        y += self.short(x)
        return self.fc(y.relu().mean((2, 3)))


class VGG(nn.Module):
    def __init__(self):
        super().__init__()
        widths = (3, 6, 8, 8)
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=1) for a, b in zip(widths, widths[1:], strict=False)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(b) for b in widths[1:])
        self.head = nn.Sequential(nn.Linear(8 * 2 * 2, 10), nn.ReLU(), nn.Linear(10, 4))

    def forward(self, x):
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.max_pool2d(torch.relu(norm(conv(x))), 2)
        return self.head(torch.flatten(x, 1))


class UNet(nn.Module):
    """Skips by concatenation, a transposed convolution up, bilinear and nearest upsampling."""

    def __init__(self):
        super().__init__()
        self.down1 = nn.Conv2d(2, 5, 3, padding=1)
        self.down2 = nn.Conv2d(5, 7, 3, padding=2, dilation=2)
        self.bottom = nn.Conv2d(7, 9, 3, padding=1)
        self.up2 = nn.ConvTranspose2d(9, 7, 2, stride=2)
        self.mend2 = nn.Conv2d(14, 6, 3, padding=1, padding_mode="reflect")
        self.mend1 = nn.Conv2d(11, 4, 3, padding="same")
        self.out = nn.Conv2d(4, 1, 1)

    def forward(self, x):
        a = F.leaky_relu(self.down1(x))
        b = F.leaky_relu(self.down2(F.avg_pool2d(a, 2)))
        c = F.silu(self.bottom(F.max_pool2d(b, 2)))
        b = self.mend2(torch.cat([self.up2(c), b], 1))
        up = F.interpolate(b, scale_factor=2, mode="bilinear") + F.interpolate(
            b, size=a.shape[2:], mode="nearest"
        )
        return self.out(self.mend1(torch.cat([a, up], 1)).sigmoid())


class ViT(nn.Module):
    """Patches by a strided convolution, torch's own encoder layers with one in_proj for q, k, v."""

    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(1, 8, 4, stride=4)
        self.cls = nn.Parameter(torch.randn(1, 1, 8))
        self.place = nn.Parameter(torch.randn(1, 5, 8))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)
            for _ in range(2)
        )
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], 1) + self.place
        for layer in self.layers:
            x = layer(x)
        return self.head(x[:, 0])


class EncoderDecoder(nn.Module):
    """A GRU whose last state begins an LSTM-like decoder of cells, with attention by hand."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.encoder = nn.GRU(6, 7, batch_first=True)
        self.cell = nn.LSTMCell(6, 7)
        self.score = nn.Linear(7, 7, bias=False)
        self.out = nn.Linear(14, 11)

    def forward(self, source, target):
        memory, last = self.encoder(self.embed(source))
        h, c = last[0], torch.zeros_like(last[0])
        steps = []
        for t in range(target.shape[1]):
            h, c = self.cell(self.embed(target[:, t]), (h, c))
            weight = torch.softmax(torch.einsum("bth,bh->bt", memory, self.score(h)), -1)
            context = torch.einsum("bt,bth->bh", weight, memory)
            steps.append(self.out(torch.cat([h, context], -1)))
        return torch.stack(steps, 1)


class BiLSTM(nn.Module):
    def __init__(self, projected=0):
        super().__init__()
        self.rnn = nn.LSTM(
            4, 5, num_layers=2, bidirectional=True, batch_first=True, proj_size=projected
        )
        self.fc = nn.Linear(2 * (projected or 5), 3)

    def forward(self, x):
        out, _ = self.rnn(x)
        return self.fc(out.max(1).values)


class TiedGPT(nn.Module):
    """Tokens and head share one table, which is sparse; attention written out."""

    def __init__(self):
        super().__init__()
        self.token = nn.Embedding(13, 8)
        self.qkv, self.proj = nn.Linear(8, 24), nn.Linear(8, 8)
        self.up, self.down = nn.Linear(8, 16), nn.Linear(16, 8)
        self.norms = nn.ModuleList(nn.LayerNorm(8) for _ in range(3))
        self.head = nn.Linear(8, 13, bias=False)
        self.head.weight = self.token.weight

    def forward(self, tokens):
        x = self.token(tokens)
        n, t, _ = x.shape
        q, k, v = (
            part.view(n, t, 2, 4).transpose(1, 2)
            for part in self.qkv(self.norms[0](x)).split(8, -1)
        )
        score = (q @ k.transpose(-2, -1)) / 2
        score = score.masked_fill(torch.ones(t, t).tril() == 0, float("-inf"))
        x = x + self.proj((score.softmax(-1) @ v).transpose(1, 2).reshape(n, t, 8))
        x = x + self.down(F.gelu(self.up(self.norms[1](x))))
        return self.head(self.norms[2](x))


class Gated(nn.Module):
    """Products of activations, indexing, splitting, a write into a part, sub-pixel upsampling."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(2, 8, 3, padding=1)
        self.gate = nn.Linear(8, 8)
        self.b = nn.Conv2d(8, 8, 3, stride=2)
        self.c = nn.Conv2d(2, 6, 1)
        self.register_buffer("order", torch.tensor([3, 0, 5, 1]))

    def forward(self, x):
        x = self.a(x)
        x = x * torch.sigmoid(self.gate(x.mean((2, 3))))[:, :, None, None]
        value, gate = self.b(x).chunk(2, 1)
        whole = torch.zeros(len(x), 8, *value.shape[2:], dtype=x.dtype)
        whole[:, 2:6] = value * gate.sigmoid()
        whole[:, ::4] += gate[:, :2]
        y = self.c(F.pixel_shuffle(whole, 2))
        return y[:, self.order].roll(1, -1)[..., 1:-1]


class Linearised(TorchFunctionMode):
    """The same model with norms and activations left out, pooling by means, products as sums."""

    SAME = {
        "relu", "relu_", "gelu", "silu", "tanh", "sigmoid", "leaky_relu", "softmax", "layer_norm",
        "batch_norm", "masked_fill", "dropout",
    }  # fmt: skip

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in self.SAME:
            return args[0]
        if name == "scaled_dot_product_attention":
            q, k, v = args[:3]
            mixed = q.sum(-1, keepdim=True) + k.sum((-2, -1), keepdim=True)
            return mixed + v.sum(-2, keepdim=True)
        if name in ("max_pool2d", "boolean_dispatch"):
            return _pool(*args, **kwargs)
        if name == "embedding":
            rows, table = (args[0], args[1]) if args[0].dtype == torch.int64 else args[:2][::-1]
            return table.sum(0).expand(*rows.shape, -1)
        if name in ("mul", "__mul__", "mul_") and all(isinstance(a, Tensor) for a in args):
            return args[0] + args[1]
        if name == "max" and len(args) == 2:
            return torch.return_types.max((args[0].sum(args[1]), None))
        if name == "matmul" and not any(isinstance(a, nn.Parameter) for a in args):
            a, b = args
            return a.sum(-1, keepdim=True) + b.sum(-2, keepdim=True)
        if name == "einsum":
            return _einsum(*args)
        if name in ("lstm", "gru") and len(args) == 9:
            return _recurrent(name, *args)
        if name == "multi_head_attention_forward":
            return _attention(*args[:6], args[11]), None
        if name == "lstm_cell":
            return _cell(*args)
        return func(*args, **kwargs)


def _attention(query, key, value, width, heads, w_in, w_out):
    """Time, batch, width: queries and keys reach all of their head, values mix over time."""
    q, k, v = (
        (x @ w.T).unflatten(-1, (heads, -1))
        for x, w in zip((query, key, value), w_in.chunk(3), strict=True)
    )
    mixed = q.sum(-1, keepdim=True) + k.sum((0, -1), keepdim=True) + v.sum(0, keepdim=True)
    return mixed.flatten(-2) @ w_out.T


def _pool(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, **others):
    assert dilation == 1 or [*dilation] == [1, 1]
    return F.avg_pool2d(x, kernel_size, stride, padding, ceil_mode)


def _einsum(how, a, b):
    if how == "bth,bh->bt":
        return a.sum(-1) + b.sum(-1, keepdim=True)
    assert how == "bt,bth->bh"
    return a.sum(-1, keepdim=True) + b.sum(1)


def _cell(x, state, w_in, w_hid, *biases):
    h, c = state
    i, f, g, o = (x @ w_in.T + h @ w_hid.T).chunk(4, -1)
    c = c + i + f + g
    return c + o, c


def _recurrent(mode, x, hx, weights, bias, layers, dropout, train, both, batch_first):
    """One step after the other, all gates added; batch first."""
    first = hx if isinstance(hx, tuple) else (hx,)
    ways = 2 if both else 1
    each = len(weights) // (layers * ways)
    ends_h, ends_c = [], []
    for layer in range(layers):
        outs = []
        for way in range(ways):
            own = weights[(layer * ways + way) * each :][:each]
            w_in, w_hid = own[0], own[1]
            project = own[-1] if each in (3, 5) else None
            h = first[0][layer * ways + way]
            c = x.new_zeros(len(x), w_hid.shape[0] // 4) if mode == "lstm" else None
            seen = {}
            for t in range(x.shape[1]) if way == 0 else reversed(range(x.shape[1])):
                gates = (x[:, t] @ w_in.T + h @ w_hid.T).chunk(4 if mode == "lstm" else 3, -1)
                if mode == "lstm":
                    c = c + gates[0] + gates[1] + gates[2]
                    h = c + gates[3]
                    h = h if project is None else h @ project.T
                else:
                    h = h + gates[0] + gates[1] + gates[2]
                seen[t] = h
            outs.append(torch.stack([seen[t] for t in range(x.shape[1])], 1))
            ends_h.append(h)
            ends_c.append(c)
        x = torch.cat(outs, -1)
    last = torch.stack(ends_h)
    return (x, last, torch.stack(ends_c)) if mode == "lstm" else (x, last)


def pass_of_ones(model, parameters, graph, example) -> Tensor:
    """Whether each edge has a gradient in a pass of ones through absolute weights, (E,) bool.

    Parameters that only add something, and the numbers of whole batches, are 0; in float64, scaled
    between the layers by nothing: the models here are small.
    """
    names = {id(p): n for n, p in model.named_parameters()}
    model = copy.deepcopy(model).double().eval()
    own = dict(model.named_parameters())
    sparse = [own[names[id(p)]] for p in parameters]
    with torch.no_grad():
        for name, p in own.items():
            constant = p.dim() < 2 or any(
                k in name for k in ("cls", "place", "position", "summary")
            )
            p.fill_(0.0 if constant else 1.0)
        for i, p in enumerate(sparse):
            p.copy_(graph.mask(i))
    inputs = [x.double().fill_(1.0) if x.is_floating_point() else x for x in example]
    with Linearised():
        out = model(*inputs)
    out.sum().backward()
    assert bool(torch.isfinite(out).all())
    rows = []
    for i, p in enumerate(sparse):
        g = torch.zeros_like(p) if p.grad is None else p.grad
        rows.append(g.reshape(-1)[graph.local(i)] > 0)
    return torch.cat(rows)
