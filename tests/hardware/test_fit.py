"""What networks take on neuromorphic platforms: bytes by hand, and limits that are broken."""

import json

import numpy as np
import pytest
import torch

from rewire import models
from rewire.graph import Graph, Population, Projection, Space
from rewire.hardware import GENERIC, LOIHI1, SPINNAKER1, SPINNAKER2, Target, fit, known


def joined(mask, weights=None, **population) -> Graph:
    """One projection ``p`` from ``a`` to ``b``, of a mask (n_post, n_pre)."""
    mask = torch.as_tensor(mask, dtype=torch.bool)
    n_post, n_pre = mask.shape
    space = Space(
        [Population("a", n_pre), Population("b", n_post, **population)],
        [Projection("p", "a", "b", "linear", (n_post, n_pre))],
    )
    graph = Graph.from_masks(space, {"p": mask})
    return graph if weights is None else graph.with_columns({"weight": torch.as_tensor(weights)})


def full(n_post: int, n_pre: int) -> Graph:
    return joined(torch.ones(n_post, n_pre, dtype=torch.bool))


def ticket() -> Graph:
    """LeNet at a density of .05, as large weights are kept."""
    generator = torch.Generator().manual_seed(0)
    model = models.build("lenet-300-100", generator=generator, input_shape=(1, 28, 28), classes=10)
    with torch.no_grad():
        for weight in (p for p in model.parameters() if p.dim() == 2):
            least = weight.abs().flatten().kthvalue(int(0.95 * weight.numel())).values
            weight *= weight.abs() > least
    return Graph.of(model)


# --- bytes of rows ---


def test_static_rows_of_spinnaker_by_hand():
    # 3 sources onto 4 neurons: the longest row has 2 synapses, so each has 3 + 2 words
    p = fit(joined([[1, 0, 1], [1, 0, 0], [0, 0, 0], [0, 0, 0]])).projections[0]
    assert p.longest_row == 4 * (3 + 2)
    assert p.bytes == 64  # 3 x 20 = 60, and blocks begin at multiples of 16
    assert p.padding == 4 * (0 + 2 + 1)


def test_rows_of_spinnaker_are_as_long_as_the_longest_of_their_core():
    mask = torch.zeros(300, 2, dtype=torch.bool)
    mask[:100, 0], mask[256:, 1] = True, True
    placed = fit(joined(mask))
    first, second = 2 * 4 * (3 + 100), 2 * 4 * (3 + 44)
    assert placed.projections[0].bytes == -(-first // 16) * 16 + -(-second // 16) * 16
    assert [p.cores for p in placed.populations] == [1, 2]


def test_a_core_without_synapses_of_a_projection_has_no_rows_of_it():
    mask = torch.zeros(512, 3, dtype=torch.bool)
    mask[0, 0] = True
    assert fit(joined(mask)).projections[0].bytes == 48  # 3 x 16, of the first core alone


@pytest.mark.parametrize(("synapses", "words"), [(1, 7), (2, 7), (3, 9), (32, 37)])
def test_plastic_rows_of_spinnaker_by_hand(synapses, words):
    # a header of 3 words, time stamp and trace in 2, and twice half a word for each synapse
    p = fit(full(synapses, 1), "spinnaker1-stdp").projections[0]
    assert p.longest_row == 4 * words


def test_the_slots_of_the_topographic_map_are_room_in_every_row():
    sheet, slots = 256, 32
    target = Population("target", sheet, slots=slots)
    kinds = [("forward", "source"), ("lateral", "target")]
    space = Space(
        [Population("source", sheet), target],
        [Projection(n, s, "target", "spiking", (sheet, sheet), multapses=True) for n, s in kinds],
    )
    one_to_one = torch.arange(sheet) * (sheet + 1)
    graph = Graph(space, one_to_one)
    placed = fit(graph, "spinnaker1-stdp")
    # 5 words of headers and 32 of synapses; lateral rows have room although they are empty
    assert [p.bytes for p in placed.projections] == [256 * 4 * 37] * 2
    assert placed.populations[1].fan_in == 1 and placed.cores == 2
    static = fit(graph)
    assert static.bytes == 2 * 256 * 4 * (3 + 32)


def test_the_map_of_brian2_takes_what_its_longest_rows_take():
    pytest.importorskip("brian2")
    from rewire.models.spiking.topographic_map import TopographicMap
    from rewire.worlds.brian import Brian, Wiring

    built = TopographicMap().build(seed=3)
    wiring = Wiring(built.network, built.synapses, null=built.null, w_max=0.2, traces=("r", "o"))
    ends = {"in": built.sources[0], "out": built.targets[0]}
    ways = {"ff": ("in", "out"), "lat": ("out", "out")}
    graph = Brian(wiring, sources=ends, targets={"out": ends["out"]}, projections=ways).graph()
    placed = fit(graph, "spinnaker1-stdp")
    assert placed.fits and [p.fan_in for p in placed.populations] == [0, 32]
    for i, p in enumerate(placed.projections):
        _, pre, _ = (x[graph.rows(i)] for x in graph.locate())
        longest = max(32, int(pre.bincount().max()))
        assert p.bytes == 256 * 4 * (5 + longest + longest % 2)
        assert p.synapses == 256 * 16


def test_axons_of_loihi_1_by_hand():
    # sparse: 8 bits of weight and 6 of index for each, 10 for up to 64, in words of 64 bits
    sparse = joined([[1, 0], [1, 1], [0, 1], [1, 0]])
    assert fit(sparse, "loihi1").projections[0].bytes == 8 + 8  # 3 x 14 + 10 = 52, 2 x 14 + 10
    # dense: no index; 64 x 8 + 10 = 522 bits in 9 words, then 36 x 8 + 10 = 298 in 5
    assert fit(full(100, 2), "loihi1").projections[0].bytes == 2 * (9 + 5) * 8
    # 700 neurons: 10 bits of index, 4 x 18 + 10 = 82 bits in 2 words
    mask = torch.zeros(700, 1, dtype=torch.bool)
    mask[[0, 1, 2, 699]] = True
    assert fit(joined(mask), "loihi1").projections[0].bytes == 16


def test_a_generic_layout_is_the_callers():
    mask = [[1, 0, 1], [1, 0, 0]]
    layout = {"header_bits": 16, "synapse_bits": 12}
    assert fit(joined(mask), "generic").bytes == 3 * 4
    assert fit(joined(mask), "generic", layout).bytes == 5 + 4  # 40 and 28 bits, in bytes
    assert fit(joined(mask), "generic", {**layout, "padded": True}).bytes == 3 * 5


def test_synapses_that_do_not_compute_are_not_counted():
    graph = joined([[1, 1], [1, 1]], [1.0, 2.0, 3.0, 4.0])
    silent = graph.with_columns({"gain": torch.tensor([1.0, 0.0, 1.0, 0.0])})
    assert fit(silent).synapses == 2
    assert fit(silent).bytes == fit(joined([[1, 0], [1, 0]])).bytes


# --- cores and chips ---


def test_a_population_is_divided_until_its_rows_fit_a_core():
    graph = full(300, 784)
    placed = fit(graph, SPINNAKER2)
    fullest = placed.populations[1].neurons_per_core
    assert 784 * 4 * (3 + fullest) <= 128 * 1024 < 784 * 4 * (3 + fullest + 1)
    assert placed.populations[1].cores == -(-300 // fullest)
    assert placed.fits


def test_a_population_is_divided_for_the_axons_that_leave_its_cores():
    chain = Space(
        [Population(name, 8) for name in "abc"],
        [
            Projection("ab", "a", "b", "linear", (8, 8)),
            Projection("bc", "b", "c", "linear", (8, 8)),
        ],
    )
    graph = Graph.full(chain)
    limits = {"neurons_per_core": 4, "output_axons": 4}  # each unit of b reaches both cores of c
    placed = fit(graph, "generic", limits)
    assert [p.cores for p in placed.populations] == [0, 4, 2] and placed.fits
    less = fit(graph, "generic", {**limits, "output_axons": 1})
    (overflow,) = less.overflows
    assert (overflow.limit, overflow.where, overflow.value, overflow.count) == (
        "output_axons", "b", 2, 8,
    )  # fmt: skip


def test_cores_fill_chips_in_turn():
    graph = full(1000, 10)
    assert fit(graph, SPINNAKER1).cores == 5
    assert fit(graph, SPINNAKER1.with_limits({"cores_per_chip": 2})).chips == 3
    by_neurons = fit(graph, GENERIC, {"neurons_per_core": 100, "neurons_per_chip": 250})
    assert (by_neurons.cores, by_neurons.chips) == (10, 5)
    by_synapses = fit(graph, GENERIC, {"neurons_per_core": 100, "synapses_per_chip": 3000})
    assert by_synapses.chips == 4


def test_a_core_is_never_larger_than_a_chip():
    placed = fit(full(100, 10), GENERIC, {"neurons_per_chip": 30})
    assert placed.populations[1].neurons_per_core == 30 and placed.chips == 4
    placed = fit(full(100, 10), GENERIC, {"synapses_per_chip": 95})
    assert placed.populations[1].neurons_per_core == 9


# --- what does not fit ---


def test_a_neuron_that_hears_too_many_says_where_and_by_how_much():
    placed = fit(full(3, 5000), LOIHI1)
    (overflow,) = placed.overflows
    assert placed.fits is False
    assert (overflow.limit, overflow.where, overflow.value, overflow.most, overflow.count) == (
        "input_axons", "b", 5000, 4096, 3,
    )  # fmt: skip
    assert "904 more than 4,096" in str(placed)


def test_the_density_that_would_fit_fits_and_a_larger_one_does_not():
    graph = full(50, 400)
    limits = {"synapses_per_chip": 5000, "chips": 1}
    placed = fit(graph, "generic", limits)
    assert placed.overflows[0].limit == "chips" and 0.23 < placed.fitting_density <= 0.25
    assert f"density of about {placed.fitting_density:g} (now 1)" in str(placed)
    thinner = torch.randperm(len(graph), generator=torch.Generator().manual_seed(1))
    kept = graph.keys[thinner[: int(len(graph) * placed.fitting_density)].sort().values]
    assert fit(Graph(graph.space, kept), "generic", limits).fits


def test_neurons_alone_may_be_too_many():
    placed = fit(full(1000, 10), "spinnaker1", {"chips": 1, "cores_per_chip": 2})
    assert placed.fitting_density is None and "At no density does it fit" in str(placed)


def test_a_density_far_below_is_found():
    placed = fit(full(200, 200), "generic", {"fan_in": 1})
    assert 0 < placed.fitting_density < 0.005


def test_fan_in_and_fan_out_are_held_against_limits():
    graph = joined([[1, 1, 1], [0, 0, 1]])
    placed = fit(graph, "generic", {"fan_in": 2, "fan_out": 1})
    found = [(o.limit, o.where, o.value, o.most, o.count) for o in placed.overflows]
    assert found == [("fan_out", "a", 2, 1, 1), ("fan_in", "b", 3, 2, 1)]


def test_a_convolution_is_counted_at_one_place_and_says_so():
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU())
    placed = fit(Graph.of(model))
    assert placed.fits is None and placed.synapses == 36
    assert "every place of an image" in str(placed)


def test_pieces_that_nothing_joins_are_not_taken_for_a_network():
    model = torch.nn.ModuleDict({"a": torch.nn.Linear(4, 3), "b": torch.nn.Linear(3, 2)})
    graph = Graph.of(model)
    assert len(graph.pieces) == 2
    placed = fit(graph)
    assert placed.fits is None and "2 pieces" in placed.unknown[0]


# --- bits of weights ---


def test_weights_are_rounded_at_the_step_of_their_sign():
    weights = [1.0, 0.5, 0.1, -3.0]
    target = SPINNAKER1.with_limits({"weight_bits": 2})  # levels 0 to 3
    w = fit(joined([[1, 1], [1, 1]], weights), target).projections[0].weights
    # positive: steps of 1/2 hold 1; negative: steps of 1 hold 3. .1 becomes 0
    assert (w.distinct, w.levels, w.to_zero, w.largest, w.mean) == (4, 4, 1, 1.0, 0.25)


def test_weights_with_a_sign_bit_share_a_free_step():
    weights = [1.27, -0.635, 0.004, 0.0]
    w = fit(joined([[1, 1], [1, 1]], weights), "loihi1").projections[0].weights
    steps = np.array([127, -64, 0, 0]) * 0.01  # -63.5 goes to the even neighbour
    errors = np.abs(steps - np.float32(weights))[:3] / np.abs(np.float32(weights))[:3]
    assert w.to_zero == 1 and w.largest == 1.0
    assert w.mean == pytest.approx(errors.mean(), rel=1e-5)


def test_projections_into_a_population_share_a_step():
    space = Space(
        [Population("a", 1), Population("b", 1), Population("c", 1)],
        [
            Projection("ac", "a", "c", "linear", (1, 1)),
            Projection("bc", "b", "c", "linear", (1, 1)),
        ],
    )
    graph = Graph(space, torch.tensor([0, 1]), {"weight": torch.tensor([127.0, 0.4])})
    assert fit(graph, "loihi1").projections[1].weights.to_zero == 1


@pytest.mark.parametrize("target", sorted(known()))
def test_weights_on_levels_are_kept(target):
    bits = known()[target].weight_bits
    weights = torch.tensor([1.0, 2.0, 4.0, 2.0 ** (bits - 1) - 1], dtype=torch.float64) / 64
    w = fit(joined([[1, 1], [1, 1]], weights), target).projections[0].weights
    assert w.largest < 1e-12 and w.levels == w.distinct == 4


def test_a_graph_without_weights_has_no_errors_of_them():
    assert fit(joined([[1]])).projections[0].weights is None


def test_weights_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="1 of 1 weights are NaN or infinite"):
        fit(joined([[1]], [float("nan")]))


# --- targets ---


def test_every_limit_has_a_source_that_names_a_field():
    for target in known().values():
        assert {name for name, _ in target.sources} <= Target.__dataclass_fields__.keys()
        assert all(words for _, words in target.sources) and target.assumptions


def test_a_limit_of_the_caller_says_so():
    placed = fit(full(2, 2), "spinnaker1", {"chips": 48})
    assert dict(placed.target.sources)["chips"] == "stated by the caller"
    assert "chips 48 (stated by the caller)" in str(placed)


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"no target 'spinnaker' \(did you mean 'spinnaker1'"):
        fit(full(1, 1), "spinnaker")
    with pytest.raises(ValueError, match=r"'core_byte' \(did you mean 'core_bytes'\?\)"):
        fit(full(1, 1), "loihi1", {"core_byte": 3})
    with pytest.raises(ValueError, match="weight_bits = 1: expected a whole number from 2"):
        fit(full(1, 1), "loihi1", {"weight_bits": 1})


def test_installed_targets_are_known(monkeypatch):
    from rewire.hardware import targets

    board = Target(neurons_per_core=2, cores_per_chip=3)
    monkeypatch.setattr(targets, "installed_functions", lambda group: {"board": board})
    assert fit(full(5, 1), "board").cores == 3
    monkeypatch.setattr(targets, "installed_functions", lambda group: {"loihi2": board})
    with pytest.raises(ValueError, match="'loihi2', a taken name"):
        known()
    monkeypatch.setattr(targets, "installed_functions", lambda group: {"board": 3})
    with pytest.raises(ValueError, match="'board' .* is no Target"):
        known()


# --- whole networks ---


def test_a_ticket_of_lenet_on_every_target():
    graph = ticket()
    synapses = len(graph)
    assert synapses == pytest.approx(0.05 * 266_200, rel=0.01)
    for name in known():
        placed = fit(graph, name)
        assert placed.fits and placed.chips == 1 and placed.synapses == synapses
        assert json.loads(json.dumps(placed.to_dict()))["bytes"] == placed.bytes
    spinnaker = fit(graph)
    # 784 units of the image on two cores of sources, 300 units on two cores, 100 and 10 on one
    assert [p.cores for p in spinnaker.populations] == [2, 2, 1, 1]
    first = graph.mask(0)
    lengths = [int(first[part].sum(0).max()) for part in (slice(0, 256), slice(256, 300))]
    assert spinnaker.projections[0].bytes == sum(-(-784 * 4 * (3 + n) // 16) * 16 for n in lengths)
    assert fit(graph, "loihi2").bytes == synapses
