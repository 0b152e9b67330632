"""docs/coming-from-elsewhere.md: its listings run, and what it calls equal is equal."""

import re
import textwrap
from math import ceil
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.ao.pruning import WeightNormSparsifier
from torch.nn.utils import prune

import rewire
from rewire.graph import Graph
from rewire.when import Clock

PAGE = (Path(__file__).parents[1] / "docs" / "coming-from-elsewhere.md").read_text(encoding="utf-8")
LAYERS = (0, 2)


def net_of() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 10))


def pairs(model: nn.Sequential) -> list[tuple[nn.Module, str]]:
    return [(model[i], "weight") for i in LAYERS]


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1)


def masks_of(model: nn.Sequential) -> dict[str, torch.Tensor]:
    return {f"{i}.weight": model[i].weight_mask.bool() for i in LAYERS}


def same_masks(net: rewire.Session, masks: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(net.masks()[name], mask) for name, mask in masks.items())


@pytest.fixture(scope="module")
def page() -> dict[str, object]:
    namespace: dict[str, object] = {}
    for listing in re.findall(r" *```python\n(.*?)```", PAGE, re.S):
        code = textwrap.dedent(listing)
        exec(compile(code, "docs/coming-from-elsewhere.md", "exec"), namespace)
    return namespace


def test_the_masks_of_torch_are_the_graph_that_training_starts_from(page) -> None:
    net, masks = page["net"], page["masks"]
    assert set(masks) == {"0.weight", "3.weight"} and same_masks(net, masks)
    assert net.edges == 1476 - round(0.8 * 1476)


METHODS = {
    "random": lambda m: prune.random_unstructured(m, "weight", amount=0.7),
    "l1": lambda m: prune.l1_unstructured(m, "weight", amount=0.7),
    "ln": lambda m: prune.ln_structured(m, "weight", amount=0.5, n=2, dim=0),
    "custom": lambda m: prune.custom_from_mask(m, "weight", m.weight > 0),
}


@pytest.mark.parametrize("world", ["masked", "sparse"])
@pytest.mark.parametrize("method", METHODS)
def test_the_masks_of_any_method_come_along(method, world) -> None:
    model = net_of()
    for module, _ in pairs(model):
        METHODS[method](module)
    masks = masks_of(model)
    for pair in pairs(model):
        prune.remove(*pair)
    before = [model[i].weight.detach().clone() for i in LAYERS]
    optimizer = sgd(model)
    initial = Graph.from_masks(rewire.Masked(model, optimizer).space, masks)
    net = rewire.attach(model, optimizer, rewire.Static(), initial=initial, world=world)
    assert same_masks(net, masks)
    for i, weight in enumerate(before):
        assert torch.equal(net.graph.dense(i), weight)


@pytest.mark.parametrize("amount", [0.3, 0.5, 0.9])
def test_magnitude_per_layer_and_over_all_is_torchs(amount) -> None:
    theirs, ours = net_of(), net_of()
    for pair in pairs(theirs):
        prune.l1_unstructured(*pair, amount=amount)
    rule = rewire.Magnitude(scope="layer")
    options = {"density": 1 - amount, "distribution": "uniform"}
    assert same_masks(rewire.attach(ours, sgd(ours), rule, **options), masks_of(theirs))

    theirs, ours = net_of(), net_of()
    prune.global_unstructured(pairs(theirs), prune.L1Unstructured, amount=amount)
    net = rewire.attach(ours, sgd(ours), rewire.Magnitude(), density=1 - amount)
    assert same_masks(net, masks_of(theirs))


@pytest.mark.parametrize("amount", [0.3, 0.5, 0.9])
def test_random_edges_per_layer_are_as_many_as_torchs(amount) -> None:
    theirs, ours = net_of(), net_of()
    for pair in pairs(theirs):
        prune.random_unstructured(*pair, amount=amount)
    options = {"density": 1 - amount, "distribution": "uniform"}
    net = rewire.attach(ours, sgd(ours), rewire.Static(), **options)
    assert net.counts == [int(mask.sum()) for mask in masks_of(theirs).values()]


def kept_by_rounds(rule: rewire.IMP, counts: list[int]) -> list[int]:
    kept, left = [], sum(counts)
    for drop in rule.ladder(counts, ["0.weight", "2.weight"]):
        left -= sum(drop)
        kept.append(left)
    return kept


def test_iterative_pruning_leaves_what_torch_leaves() -> None:
    model, kept = net_of(), []
    for _ in range(8):
        prune.global_unstructured(pairs(model), prune.L1Unstructured, amount=0.2)
        kept.append(sum(int(mask.sum()) for mask in masks_of(model).values()))
    rule = rewire.IMP(fraction=0.2, rounds=8, scope="global", restore="nothing")
    assert kept_by_rounds(rule, [600, 300]) == kept
    assert kept[0] == 900 - round(0.2 * 900)


def test_imp_visits_the_counts_of_open_lth(page) -> None:
    """Its mask is |w| > threshold, the threshold being the ceil(.2 k)-th of k, counted from 0."""
    torch.manual_seed(0)
    weight, mask, kept = torch.randn(900).abs(), torch.ones(900, dtype=torch.bool), []
    for _ in range(6):
        left = int(mask.sum())
        mask &= weight > weight[mask].sort().values[ceil(0.2 * left)]
        kept.append(int(mask.sum()))
    assert page["open_lth_counts"](900, 0.2, 6) == kept
    rule = rewire.IMP(fraction=0.99, to=tuple(k / 900 for k in kept), scope="global")
    assert kept_by_rounds(rule, [600, 300]) == kept
    assert [len(kept_by_rounds(page["rule"], [36, 1440]))] == [5]


SPARSIFIERS = {
    "unstructured": (
        {"sparsity_level": 0.8, "sparse_block_shape": (1, 1), "zeros_per_block": 1},
        rewire.Magnitude(scope="layer"),
        {"density": 0.2, "distribution": "uniform"},
    ),
    "two of four": (
        {"sparsity_level": 1.0, "sparse_block_shape": (1, 4), "zeros_per_block": 2},
        rewire.NM(n=2, m=4),
        {},
    ),
}


@pytest.mark.parametrize("case", SPARSIFIERS)
def test_the_masks_of_the_sparsifier_are_ours(case) -> None:
    settings, rule, options = SPARSIFIERS[case]
    torch.manual_seed(3)
    theirs = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(32, 10))
    ours = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(32, 10))
    ours.load_state_dict(theirs.state_dict())
    sparsifier = WeightNormSparsifier(**settings)
    sparsifier.prepare(theirs, [{"tensor_fqn": f"{i}.weight"} for i in LAYERS])
    sparsifier.step()
    masks = {f"{i}.weight": theirs[i].parametrizations.weight[0].mask.bool() for i in LAYERS}
    net = rewire.attach(ours, sgd(ours), rule, **options)
    assert same_masks(net, masks) and 0 < net.graph.density < 1


def cubic(sparsity: float, progress: float) -> float:
    """Zhu & Gupta's equation 1 from sparsity 0, as both libraries have it."""
    return sparsity * (1 - (1 - progress) ** 3)


def counts_of(rule: rewire.GMP, n: int, span: int) -> dict[int, int]:
    state = {"start": [n], "end": round(rule.to * n)}
    ticks = [clock for t in range(1, span + 1) if rule.when(clock := Clock(t, span=span))]
    return {clock.step: rule.edges(clock, state) for clock in ticks}


@pytest.mark.parametrize(("start", "end", "period"), [(0, 60, 10), (20, 80, 5), (7, 67, 20)])
def test_gmp_keeps_the_counts_of_sparsemls_schedule(start, end, period) -> None:
    rule = rewire.GMP(to=0.15, when=rewire.every(period, first=start + period, stop=end))
    theirs = {
        t: round(10_000 * (1 - cubic(0.85, (t - start) / (end - start))))
        for t in range(start + period, end + 1, period)
    }
    assert counts_of(rule, 10_000, span=100) == theirs and theirs[end] == 1500


def test_gmp_keeps_the_counts_of_jaxpruners_schedule() -> None:
    """It asks at step t, counted from 0, for the sparsity of t + 1 steps."""
    rule = rewire.GMP(to=0.1, when=rewire.every(1, stop=50))
    theirs = {t + 1: round(10_000 * (1 - cubic(0.9, (t + 1) / 50))) for t in range(50)}
    assert counts_of(rule, 10_000, span=100) == theirs and theirs[50] == 1000
