import json

import pytest
import torch
import traced_models as own

from rewire import models
from rewire.analysis import metrics
from rewire.graph import Graph, Space
from rewire.graph.wiring import wiring_from_plain
from rewire.worlds.torch_model.layers import discover
from rewire.worlds.torch_model.tracing import trace

DENSITIES = (0.5, 0.1, 0.05, 0.01, 0.002)
TOKENS = torch.randint(0, 10, (1, 6), generator=torch.Generator().manual_seed(0))


def built(name, shape, **options):
    g = torch.Generator().manual_seed(0)
    return models.build(name, generator=g, input_shape=shape, classes=10, **options)


ARCHITECTURES = {
    "mlp": (lambda: built("mlp", (1, 6, 6), hidden=[20, 12]), torch.ones(1, 1, 6, 6)),
    "lenet": (lambda: built("lenet-300-100", (1, 8, 8)), torch.ones(1, 1, 8, 8)),
    "conv-2": (lambda: built("conv-2", (1, 6, 6)), torch.ones(1, 1, 6, 6)),
    "resnet-20": (
        lambda: built("resnet-20", (3, 12, 12), widths=(8, 8, 12)), torch.ones(1, 3, 12, 12)),
    "resnet-20 B": (
        lambda: built("resnet-20", (3, 8, 8), widths=(4, 8, 12), shortcut="B"),
        torch.ones(1, 3, 8, 8)),
    "lstm": (lambda: built("lstm", (1, 7, 5), hidden=9, layers=2), torch.ones(1, 1, 7, 5)),
    "gru both ways": (
        lambda: built("gru", (1, 7, 5), hidden=8, layers=2, bidirectional=True),
        torch.ones(1, 1, 7, 5)),
    "vgg-11": (
        lambda: built("vgg-11", (3, 16, 16), width=0.0625), torch.ones(1, 3, 16, 16)),
    "resnet-50": (
        lambda: built("resnet-50", (3, 12, 12), width=0.03125), torch.ones(1, 3, 12, 12)),
    "lstm-frames": (lambda: built("lstm-frames", (6, 4), hidden=7), torch.ones(1, 6, 4)),
    "lstm-lm": (lambda: built("lstm-lm", (6,), hidden=8), TOKENS),
    "lstm-lm tied": (lambda: built("lstm-lm", (6,), hidden=8, tied=True), TOKENS),
    "vit": (
        lambda: built("vit", (1, 8, 8), width=16, heads=2, layers=2), torch.ones(1, 1, 8, 8)),
    "gpt": (lambda: built("gpt", (6,), width=16, heads=2, layers=2), TOKENS),
    "gpt untied": (lambda: built("gpt", (6,), width=16, heads=4, layers=1, tied=False), TOKENS),
    "transformer": (
        lambda: built("transformer", (6,), width=16, heads=2, layers=1), (TOKENS, TOKENS[:, :4])),
    "own resnet": (own.ResNet, torch.ones(1, 3, 17, 17)),
    "own vgg": (own.VGG, torch.ones(1, 3, 16, 16)),
    "own unet": (own.UNet, torch.ones(1, 2, 12, 12)),
    "own vit": (own.ViT, torch.ones(1, 1, 8, 8)),
    "own encoder-decoder": (own.EncoderDecoder, (TOKENS, TOKENS[:, :3])),
    "own lstm both ways": (own.BiLSTM, torch.ones(1, 6, 4)),
    "own lstm with projections": (lambda: own.BiLSTM(3), torch.ones(1, 6, 4)),
    "own tied gpt": (own.TiedGPT, TOKENS),
    "own gates and writes": (own.Gated, torch.ones(1, 2, 9, 9)),
}  # fmt: skip


@pytest.fixture(params=ARCHITECTURES, scope="module")
def followed(request):
    """A model, its parameters, an example, and its space with the wiring that was traced."""
    make, example = ARCHITECTURES[request.param]
    torch.manual_seed(0)
    model = make()
    space, parameters, _ = discover(model, embeddings="tied" in request.param)
    wiring = trace(model, space, parameters, example)
    space = Space(space.populations, space.projections, wiring=wiring)
    return model, parameters, example if isinstance(example, tuple) else (example,), space


def drawn(space: Space, density: float, seed: int = 0) -> Graph:
    g = torch.Generator().manual_seed(seed)
    return Graph(space, (torch.rand(space.possible, generator=g) < density).nonzero().squeeze(1))


@pytest.mark.parametrize("density", DENSITIES)
def test_edges_on_a_path_are_those_of_a_pass_of_ones(followed, density):
    model, parameters, example, space = followed
    graph = drawn(space, density)
    ones = own.pass_of_ones(model, parameters, graph, example).numpy()
    assert (metrics.effective_edges(graph) == ones).all()
    dead = metrics.dead_units(graph)
    which, pre, _ = (x.numpy() for x in graph.locate())
    for i, p in enumerate(graph.projections):
        assert not dead[p.source].off_path[pre[ones & (which == i)]].any()


def test_the_whole_model_is_one_network(followed):
    *_, space = followed
    network = Graph.full(space).network
    assert network.joined and len(network.inputs) and len(network.outputs)


def test_following_units_alone_loses_no_edge_on_a_path(followed):
    """Without places more can be reached, never less."""
    *_, space = followed
    for density in (0.5, 0.1, 0.05):
        graph = drawn(space, density)
        exact = metrics.effective_edges(graph)
        units = metrics.effective_edges(graph, *metrics.ends(graph))
        assert not (exact & ~units).any()


def test_a_wiring_comes_back_from_json(followed):
    *_, space = followed
    plain = json.loads(json.dumps(space.wiring.plain()))
    again = wiring_from_plain(space, plain)
    assert again.program == space.wiring.program
    graph = drawn(space, 0.1)
    other = Graph(Space(space.populations, space.projections, wiring=again), graph.keys)
    assert (metrics.effective_edges(other) == metrics.effective_edges(graph)).all()
    assert other.network.starts == graph.network.starts
    assert (other.network.link_pre == graph.network.link_pre).all()
