"""Each operation between two layers, against gradients of the same model with ones for weights."""

import pytest
import torch
import traced_models as own
from torch import nn
from torch.nn import functional as F

from rewire.analysis import metrics
from rewire.graph import Graph, Space
from rewire.worlds.torch_model.layers import discover
from rewire.worlds.torch_model.tracing import trace

ORDER = torch.tensor([5, 0, 3])


def shift(x):
    y = torch.zeros_like(x)
    y[:, :, 1:] = x[:, :, :-1]
    y[..., ORDER] += x[..., (ORDER + 1) % 6]
    return y


def strided(x):
    return x.contiguous().as_strided((1, 4, 4, 4), (1, 40, 9, 1), 2)


OPERATIONS = {
    "flip": lambda x: x.flip(2, 3),
    "roll": lambda x: x.roll((1, -2), (2, 3)) + x.roll(1, 1),
    "repeat": lambda x: x.repeat(1, 2, 1, 1)[:, 2:9],
    "repeat_interleave": lambda x: x.repeat_interleave(2, 1)[:, :5],
    "unfold": lambda x: x.unfold(2, 3, 2)[..., 1],
    "im2col": lambda x: F.unfold(x, 3, dilation=2, stride=2)[:, 4:20],
    "col2im": lambda x: F.fold(x.reshape(1, 8, -1)[..., :25], (6, 6), 2),
    "tril": lambda x: x.tril(1),
    "triu": lambda x: x.triu(),
    "diagonal": lambda x: x.diagonal(1, 2, 3),
    "pixel_shuffle": lambda x: F.pixel_shuffle(x, 2)[..., 3:],
    "pixel_unshuffle": lambda x: F.pixel_unshuffle(x, 2)[:, 1:9],
    "channel_shuffle": lambda x: F.channel_shuffle(x, 4)[:, 2:5],
    "cumsum": lambda x: x.cumsum(1)[:, :4],
    "adaptive pooling": lambda x: F.adaptive_avg_pool2d(x, (4, 1)),
    "adaptive pooling of a row": lambda x: F.adaptive_avg_pool1d(x.flatten(2), 5),
    "average pooling beyond the edge": lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True),
    "average pooling of units": lambda x: F.avg_pool1d(x.flatten(2).transpose(1, 2), 2, 3),
    "linear upsampling": lambda x: F.interpolate(x.flatten(2), size=50, mode="linear"),
    "bilinear upsampling": lambda x: F.interpolate(x, size=(9, 5), mode="bilinear"),
    "corners": lambda x: F.interpolate(x, size=(3, 8), mode="bilinear", align_corners=True),
    "nearest": lambda x: F.interpolate(x, scale_factor=1.5),
    "reflection": lambda x: F.pad(x, (2, 0, 1, 3), mode="reflect")[..., :4],
    "replication": lambda x: F.pad(x, (2, 0, 1, 3), mode="replicate")[..., :2, :],
    "circular": lambda x: F.pad(x, (2, 1, 0, 3), mode="circular")[..., :4],
    "crop": lambda x: F.pad(x, (-1, -2, 2, -3)),
    "gather": lambda x: x.gather(3, torch.tensor([0, 4, 4]).expand(1, 8, 6, 3)),
    "index": lambda x: x[:, ORDER][:, :, [1, 2, 0], ORDER],
    "mask": lambda x: x[:, torch.arange(8) % 3 == 1],
    "writes": shift,
    "strides": strided,
    "stack": lambda x: torch.stack([x[:, 0], x[:, 3] + x[:, 4], torch.zeros_like(x[:, 0])], 2),
    "unbind": lambda x: sum(x.unbind(1)[2:5]),
    "index_add": lambda x: x.index_add(1, ORDER, x[:, :3]),
    "slice_scatter": lambda x: x.slice_scatter(x[:, 4:6], 1, 0, 2),
    "dense": lambda x: F.linear(x.transpose(1, 3), torch.ones(3, 8, dtype=x.dtype)),
    "sum": lambda x: x.sum((1, 3), keepdim=True).expand(-1, 2, -1, 4),
    "view": lambda x: x.permute(0, 2, 3, 1).reshape(1, -1, 12).unflatten(2, (3, 4)).mT,
}
LAYERS = {
    "conv1d": lambda: nn.Sequential(nn.Flatten(2), nn.Conv1d(8, 6, 5, 3, 2, groups=2)),
    "conv3d": lambda: nn.Sequential(nn.Unflatten(1, (4, 2)), nn.Conv3d(4, 3, (2, 3, 1), padding=1)),
    "even kernel": lambda: nn.Conv2d(8, 4, 4, padding="same"),
    "dilated": lambda: nn.Conv2d(8, 4, 3, dilation=3, padding=1),
    "transposed": lambda: nn.ConvTranspose2d(8, 4, 3, 2, 1, output_padding=1, groups=4),
    "transposed, dilated": lambda: nn.ConvTranspose2d(8, 4, 2, 3, dilation=2, padding=2),
    "depthwise": lambda: nn.Conv2d(8, 8, 3, 2, groups=8),
}  # fmt: skip


class Between(nn.Module):
    """A convolution, an operation, and a linear layer on what it gives."""

    def __init__(self, operation):
        super().__init__()
        self.first = nn.Conv2d(2, 8, 3, padding=1, stride=2)
        self.operation = operation
        with torch.no_grad():
            size = operation(torch.zeros(1, 8, 6, 6)).numel()
        self.last = nn.Linear(size, 3)

    def forward(self, x):
        return self.last(self.operation(self.first(x)).flatten(1))


@pytest.mark.parametrize("what", [*OPERATIONS, *LAYERS])
def test_an_operation_passes_on_what_its_derivative_says(what):
    operation = OPERATIONS[what] if what in OPERATIONS else LAYERS[what]()
    model, example = Between(operation), torch.ones(1, 2, 12, 12)
    space, parameters, _ = discover(model)
    space = Space(
        space.populations, space.projections, wiring=trace(model, space, parameters, example)
    )
    assert Graph.full(space).network.joined
    for density in (0.3, 0.06):
        g = torch.Generator().manual_seed(3)
        keys = (torch.rand(space.possible, generator=g) < density).nonzero().squeeze(1)
        graph = Graph(space, keys)
        ones = own.pass_of_ones(model, parameters, graph, (example,)).numpy()
        assert ones.any() and (metrics.effective_edges(graph) == ones).all()
        units = metrics.effective_edges(graph, *metrics.ends(graph))
        assert not (ones & ~units).any()
