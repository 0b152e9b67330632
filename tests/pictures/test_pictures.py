"""Pictures: figures of any graph, the same for the same graph, true to what they show."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex, to_rgba
from matplotlib.figure import Figure
from matplotlib.path import Path

import rewire
from rewire import pictures
from rewire.analysis import effective_edges
from rewire.analysis.examples import two_layers
from rewire.graph import Graph, Joint, Link, Population, Projection, Space, Wiring
from rewire.pictures.panels import GREY, NEGATIVE, POSITIVE
from rewire.pictures.style import MUTED_ON_PIXELS, THEME, contrast, drawing, ink_on, to_svg


def recurrent() -> Graph:
    """Inputs into units that feed each other, and nothing else."""
    space = Space(
        [Population("in", 5), Population("units", 4)],
        [
            Projection("ff", "in", "units", "linear", (4, 5)),
            Projection("lateral", "units", "units", "linear", (4, 4)),
        ],
    )
    return Graph(space, torch.tensor([0, 7, 21, 26, 33]))


def joined_by_a_sum(edges: int = 12) -> Graph:
    """Two projections whose outputs are added, and a third that reads the sum."""
    pre = np.arange(3)
    wiring = Wiring(
        joints=[Joint("sum", 3)],
        links=[Link("a", "sum", pre, pre), Link("b", "sum", pre, pre), Link("sum", "c", pre, pre)],
        inputs=["input"],
        outputs=["out"],
    )
    names = ("input", "a", "b", "c", "out")
    space = Space(
        [Population(n, 3) for n in names],
        [
            Projection("wa", "input", "a", "linear", (3, 3)),
            Projection("wb", "input", "b", "linear", (3, 3)),
            Projection("wo", "c", "out", "linear", (3, 3)),
        ],
        wiring=wiring,
    )
    return Graph(space, torch.arange(0, 27, 27 // edges))


def weighted() -> Graph:
    graph = two_layers()
    return graph.with_columns({"weight": torch.linspace(-1, 1, len(graph))})


FIGURES = {
    "network": pictures.network,
    "adjacency": lambda g: pictures.sorted_adjacency(g, g.projections[0].name),
    "fields": lambda g: pictures.receptive_fields(g, g.projections[0].name, shape=(1, 1)),
    "singular values": lambda g: pictures.singular_values(g, g.projections[0].name),
}
GRAPHS = {
    "layers": two_layers,
    "weighted": weighted,
    "recurrent": recurrent,
    "sum": joined_by_a_sum,
    "empty": lambda: Graph.empty(two_layers().space),
}


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("figure", FIGURES)
def test_every_picture_draws_every_graph_and_the_same_twice(figure: str, graph: str):
    first, second = (FIGURES[figure](GRAPHS[graph]()) for _ in range(2))
    assert isinstance(first, Figure)
    with drawing():
        assert to_svg(first) == to_svg(second)


def bundles(figure: Figure) -> dict[str, int]:
    """Number of bundles by colour."""
    (collection,) = (
        c
        for c in figure.axes[0].collections
        if isinstance(c, PathCollection) and c.get_alpha() is not None
    )
    counts: dict[str, int] = {}
    for path, colour in zip(collection.get_paths(), collection.get_edgecolors(), strict=True):
        name = to_hex(colour)
        counts[name] = counts.get(name, 0) + int((path.codes == Path.MOVETO).sum())
    return counts


def test_the_network_shows_signs_and_what_is_on_no_path():
    # the fourth edge of two_layers leads to a unit without an output
    assert bundles(pictures.network(two_layers())) == {POSITIVE: 6, GREY: 1}
    graph = weighted()  # the first three are negative, the fourth is 0 and on no path
    assert bundles(pictures.network(graph)) == {NEGATIVE: 3, POSITIVE: 3, GREY: 1}


def grey_dots(figure: Figure) -> int:
    """Number of grey dots of all layers."""
    layers = [
        c
        for c in figure.axes[0].collections
        if isinstance(c, PathCollection) and c.get_alpha() is None
    ]
    return sum(to_hex(colour) == GREY for c in layers for colour in c.get_facecolors())


def test_dots_without_an_edge_on_a_path_are_grey():
    assert grey_dots(pictures.network(two_layers())) == 3  # inputs 2 and 3, hidden unit 2
    assert grey_dots(pictures.network(Graph.empty(two_layers().space))) == 9
    graph = joined_by_a_sum(edges=4)
    network = graph.network
    populations = [p.name for p in graph.populations]
    units = np.unique(network.units(populations))
    alive = effective_edges(graph)
    used = np.union1d(network.pre[alive], network.post[alive])
    assert grey_dots(pictures.network(graph)) == len(np.setdiff1d(units, used)) > 0
    assert bundles(pictures.network(graph)).get(GREY, 0) == (~alive).sum() > 0


def test_nothing_is_grey_where_the_network_falls_into_pieces():
    populations = [Population(name, 2) for name in "abcd"]
    projections = [
        Projection("ab", "a", "b", "linear", (2, 2)),
        Projection("cd", "c", "d", "linear", (2, 2)),
    ]
    figure = pictures.network(Graph(Space(populations, projections), torch.tensor([0])))
    assert grey_dots(figure) == 0 and bundles(figure) == {POSITIVE: 1}


def test_layers_stand_in_the_order_of_the_way_through_a_sum():
    figure = pictures.network(joined_by_a_sum())
    place = {t.get_text().split("\n")[0]: t.get_position()[0] for t in figure.axes[0].texts}
    assert place == {"input": 0, "a": 1, "b": 1, "c": 2, "out": 3}  # c is the sum itself


def test_communities_are_blocks_of_the_sorted_matrix():
    space = Space(
        [Population("a", 4), Population("b", 4)], [Projection("p", "a", "b", "linear", (4, 4))]
    )
    labels = np.array([0, 1, 0, 1])
    edges = [post * 4 + pre for post in range(4) for pre in range(4) if labels[post] == labels[pre]]
    figure = pictures.sorted_adjacency(
        Graph(space, torch.tensor(edges)), "p", post=labels, pre=labels
    )
    shown = figure.axes[0].images[0].get_array()
    filled = np.abs(shown[..., :3] - to_rgba(POSITIVE)[:3]).max(-1) < 1e-6
    assert filled.tolist() == np.kron(np.eye(2, dtype=bool), np.ones((2, 2), bool)).tolist()


def test_singular_values_stand_beside_the_ramanujan_bound():
    space = Space(
        [Population("a", 4), Population("b", 4)], [Projection("p", "a", "b", "linear", (4, 4))]
    )
    values, bound = pictures.singular_values(Graph.full(space), "p").axes[0].lines
    assert values.get_ydata() == pytest.approx([4, 0, 0, 0], abs=1e-9)
    assert bound.get_ydata()[0] == pytest.approx(2 * np.sqrt(3))  # of degree 4 on both sides


def test_mistakes_are_told():
    with pytest.raises(ValueError, match="post gives the communities of 2 units; the projection"):
        pictures.sorted_adjacency(two_layers(), "fc1", post=np.zeros(2))
    with pytest.raises(ValueError, match="the 3 units of 'hidden' fill no picture"):
        pictures.receptive_fields(two_layers(), "fc2", shape=(2, 2))
    with pytest.raises(KeyError, match="no projection 'fc9'"):
        pictures.singular_values(two_layers(), "fc9")


def test_a_table_of_z_greys_what_chance_gives():
    figure = pictures.measures_by_rule({"SET": {"a": 1.0, "b": 5.0}, "RigL": {"a": -66.0}})
    texts = {t.get_text(): t.get_color() for t in figure.axes[0].texts}
    assert set(texts) == {"1.0", "5.0", "-66"}
    assert MUTED_ON_PIXELS == texts["1.0"] != texts["5.0"]


def test_text_on_every_background_has_the_contrast_of_wcag():
    for background in itertools.product(range(0, 256, 15), repeat=3):
        assert contrast(ink_on(background), background) >= 4.5


def test_z_can_be_read_on_its_colour_and_in_the_dark():
    """A page in the dark has another colour for each of the theme: inks on pixels are none."""
    z = {f"rule {i}": {"clustering": float(value)} for i, value in enumerate(range(-30, 31))}
    axes = pictures.measures_by_rule(z).axes[0]
    pixels = 255 * np.asarray(axes.images[0].get_array())[:, 0, :3]
    for text, pixel in zip(axes.texts, pixels, strict=True):
        assert contrast(text.get_color(), pixel) >= 4.5, text.get_text()
    assert not {to_hex(t.get_color()) for t in axes.texts} & {light for light, _ in THEME.values()}


def test_a_trained_model_is_drawn_with_its_weights():
    model = torch.nn.Sequential(torch.nn.Linear(40, 30), torch.nn.ReLU(), torch.nn.Linear(30, 3))
    net = rewire.attach(
        model, torch.optim.SGD(model.parameters(), 0.1), rule=rewire.Static(), density=0.2
    )
    assert set(bundles(pictures.network(net.graph))) >= {POSITIVE, NEGATIVE}
