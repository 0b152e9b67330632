"""One cell: a family, a trainer, a world, a rule and an optimiser, trained and compared."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

import rewire

from .families import FAMILIES, POLICIES, loss_of
from .optimizers import OPTIMIZERS
from .oracle import Recording, Reference, births_of
from .trainers import FOR_OPTIMIZERS, FOR_POLICIES, STEPS, TRAINERS

ALL_TRAINERS = TRAINERS | FOR_OPTIMIZERS | FOR_POLICIES
ALL_FAMILIES = FAMILIES | POLICIES
WORLDS = ("masked", "sparse")
TOLERANCE = {"masked": 1e-6, "sparse": 1e-5}
RULES: dict[str, tuple[Callable[[], Any], float | None]] = {
    "SET": (lambda: rewire.SET(fraction=0.3, when=rewire.every(2)), 0.3),
    "RigL": (lambda: rewire.RigL(fraction=0.3, when=rewire.every(3)), 0.3),
    "GMP": (lambda: rewire.GMP(to=0.2, when=rewire.every(2)), None),
}

_OFTEN = rewire.every(2)
MORE_RULES: dict[str, tuple[Callable[[], Any], float | None]] = {
    "Static": (lambda: rewire.Static(), 0.3),
    "Magnitude": (lambda: rewire.Magnitude(to=0.3), None),
    "SNIP": (lambda: rewire.SNIP(to=0.3), None),
    "GraSP": (lambda: rewire.GraSP(to=0.3), None),
    "SynFlow": (lambda: rewire.SynFlow(to=0.3, rounds=10), None),
    "NM": (lambda: rewire.NM(undivided="dense"), None),
    "DeepR": (lambda: rewire.DeepR(noise=0.01, l1=1e-3), 0.3),
    "SoftDeepR": (lambda: rewire.SoftDeepR(noise=0.01, l1=1e-3), 0.3),
    "StructuralPlasticity": (
        lambda: rewire.StructuralPlasticity(attempts=0.3, p_form=0.9, p_elim_dep=0.9), 0.3),
    "SynapticSampling": (lambda: rewire.SynapticSampling(prior=0.05, mu=-0.8), 0.3),
    "HomeostaticGrowth": (
        lambda: rewire.HomeostaticGrowth(epsilon=1.5, eta=0.1, growth=0.4, tau=5.0, when=_OFTEN),
        0.3),
    "GraNet": (lambda: rewire.GraNet(to=0.2, when=_OFTEN), None),
    "DSR": (lambda: rewire.DSR(threshold=0.05, when=_OFTEN), 0.3),
    "SNFS": (lambda: rewire.SNFS(rewires=_OFTEN), 0.3),
    "MEST": (lambda: rewire.MEST(when=_OFTEN, fraction=0.3), 0.3),
    "SRigL": (lambda: rewire.SRigL(when=_OFTEN, fraction=0.3), 0.3),
    "CHT": (lambda: rewire.CHT(when=_OFTEN, fraction=0.3), 0.3),
    "OBD": (lambda: rewire.OBD(to=0.1, when=_OFTEN), None),
    "DiagonalFisher": (lambda: rewire.DiagonalFisher(to=0.1, when=_OFTEN), None),
    "WoodFisher": (lambda: rewire.WoodFisher(to=0.1, when=_OFTEN, block=20), None),
    "EarlyBird": (
        lambda: rewire.EarlyBird(
            to=0.1, when=rewire.every(1), until=1.0, distance=0.3, history=3), None),
    "RandomRewiring": (lambda: rewire.RandomRewiring(when=_OFTEN, fraction=0.3), 0.3),
    "AgeLimit": (lambda: rewire.AgeLimit(most=2, when=_OFTEN), 0.3),
    "DropGrow": (lambda: rewire.DropGrow(drop="random", grow="growth", when=_OFTEN), 0.3),
    "Combined": (
        lambda: rewire.Combined(rules=(
            rewire.GMP(to=0.1, when=rewire.every(3)), rewire.SET(when=_OFTEN))), None),
    "IMP": (lambda: rewire.IMP(), None),
}  # fmt: skip
# Rules in a form that counts no signs: a weight whose gradient is 0 but for rounding (a head that
# attention leaves without keys) is positive in one world and negative in the other.
SIGNLESS = {"SET": lambda: rewire.SET(fraction=0.3, when=rewire.every(2), drop="magnitude")}
SETS_FIRST_WEIGHTS = ("SynapticSampling",)  # it draws those that it begins with


class Cell(NamedTuple):
    family: str
    trainer: str
    world: str
    rule: str
    optimizer: str = "AdamW"


class Outcome(NamedTuple):
    """verdict: "exact", "refused" or "fault". why: of a refusal, or what is wrong. apart: the
    largest difference from plain torch. keys, weights: of the edges at the end."""

    verdict: str
    why: str = ""
    apart: float = 0.0
    keys: Any = None
    weights: Any = None


def run(cell: Cell, *, double: bool = False, signless: bool = False) -> Outcome:
    """Train a cell and compare it with plain torch. double: in float64. signless: by a rule of
    SIGNLESS."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _run(cell, double, signless)


def run_pair(pair: list[Cell]) -> dict[str, Outcome]:
    """The outcomes of a cell in both worlds, by world. Where rounding in float32 decides which of
    two equal synapses a rule takes, both are trained in float64; where it decides signs that the
    rule counts, by a form of the rule that counts none."""
    outcomes = _agreed({cell.world: run(cell) for cell in pair})
    if "other edges" in outcomes["sparse"].why and not ALL_FAMILIES[pair[0].family].double:
        outcomes = _agreed({cell.world: run(cell, double=True) for cell in pair})
    if "other edges" in outcomes["sparse"].why and pair[0].rule in SIGNLESS:
        outcomes = _agreed({cell.world: run(cell, double=True, signless=True) for cell in pair})
    return outcomes


def _run(cell: Cell, double: bool, signless: bool) -> Outcome:
    family, trainer, make = (
        ALL_FAMILIES[cell.family],
        ALL_TRAINERS[cell.trainer],
        OPTIMIZERS[cell.optimizer],
    )
    family = family._replace(double=family.double or double)
    rule, density = (RULES | MORE_RULES)[cell.rule]
    rule = SIGNLESS[cell.rule] if signless else rule
    model, plain = family.model(), family.model()
    optimizer = make.make(list(model.parameters()))
    batches = family.batches(STEPS * trainer.micro)
    seeing = {}
    if cell.rule in MORE_RULES:
        seeing["probe"] = rewire.Probe(family.batches(2, seed=5), loss_of)
    torch.manual_seed(0)
    try:
        net = rewire.attach(
            model, optimizer, rule(), density=density, steps=STEPS, seed=3, world=cell.world,
            **family.options, **seeing,
        )  # fmt: skip
    except (ValueError, TypeError) as e:
        return Outcome("refused", str(e))
    recording = Recording(net)
    try:
        trainer.train(model, optimizer, batches, net)
    except Exception as e:
        at = f"step {net.clock.step}"
        if isinstance(e, RuntimeError | ValueError) and _ours(e) and not recording.steps:
            return Outcome("refused", str(e))
        return Outcome("fault", f"{type(e).__name__} at {at}: {e} ({_place(e)})")
    expected = STEPS - (cell.trainer == "GradScaler")
    if net.clock.total != expected or len(recording.steps) != expected:
        return Outcome("fault", f"{net.clock.total} steps, {expected} were made")
    by_hand = make.make(list(plain.parameters()))
    reference = Reference(
        plain, by_hand, recording, mixed=make.mixed, births=lambda rate: births_of(make.make, rate),
        drawn=cell.rule in SETS_FIRST_WEIGHTS,
        tolerance=TOLERANCE[cell.world],
    )  # fmt: skip
    trainer.train(plain, by_hand, batches, None)
    if reference.at != expected:
        reference.problems.append(f"plain torch made {reference.at} steps")
    if reference.problems:
        why = "; ".join(reference.problems[:3])
        return Outcome("fault", f"{len(reference.problems)} differences: {why}", reference.worst)
    graph = net.graph
    return Outcome("exact", "", reference.worst, graph.keys.clone(), graph["weight"].clone())


def _ours(error: BaseException) -> bool:
    return "/rewire/" in traceback.extract_tb(error.__traceback__)[-1].filename


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return " < ".join(f"{f.filename.rsplit('/', 1)[-1]}:{f.lineno}" for f in frames[:-4:-1])


def _agreed(outcomes: dict[str, Outcome]) -> dict[str, Outcome]:
    """The same outcomes; a fault where both worlds are exact and end at other edges or weights."""
    masked, sparse = outcomes["masked"], outcomes["sparse"]
    if masked.keys is None or sparse.keys is None:
        return outcomes
    if not torch.equal(masked.keys, sparse.keys):
        return {**outcomes, "sparse": Outcome("fault", "other edges than in the masked world")}
    apart = float((masked.weights - sparse.weights).abs().max()) if len(masked.keys) else 0.0
    apart /= max(1.0, float(masked.weights.abs().max()) if len(masked.keys) else 1.0)
    if apart > 2e-5:
        why = f"weights differ from the masked world's by {apart:.0e}"
        return {**outcomes, "sparse": Outcome("fault", why)}
    return outcomes


ALL = [
    [Cell(family, trainer, world, rule) for world in WORLDS]
    for family in FAMILIES for trainer in TRAINERS for rule in RULES
    if trainer == "optimizer.step()" or rule == "RigL"  # the hardest: it looks at gradients
] + [
    [Cell("Conv1d, Conv3d", made.trainer, world, "SET", name) for world in WORLDS]
    for name, made in OPTIMIZERS.items() if name != "AdamW"
] + [
    [Cell(family, "stable-baselines3", world, rule) for world in WORLDS]
    for family in POLICIES for rule in RULES
] + [
    [Cell("MLP", trainer, world, rule) for world in WORLDS]
    for rule in (*MORE_RULES, "SET", "GMP") for trainer in ("optimizer.step()", "GradScaler")
    if rule in MORE_RULES or trainer == "GradScaler"
]  # fmt: skip
