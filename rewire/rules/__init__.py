"""Connectivity-update rules: one paper a file, one registry for ours and for installed ones.

A package adds its own rules through the entry point group ``rewire.rules``.

>>> from rewire import rules
>>> rules.get("RigL")().needs
frozenset({'growth'})
>>> both = {"rule": "Combined", "rules": ["GMP", {"rule": "RigL", "on": ["fc1"]}]}
>>> [rule.name for rule in rules.from_table(both).parts]
['GMP', 'RigL on fc1']
"""

from __future__ import annotations

import builtins  # str.py takes the name of str here
from collections.abc import Mapping
from typing import Any

from ..branches import BUILT_IN as BRANCHES
from ..branches import (  # noqa: F401  # they were listed here once, and are still found here
    Branch,
    FineTune,
    MaskAlgebra,
    OneShot,
    Pretrained,
    RandomMask,
    RandomReinit,
    RandomTicket,
    RateRewind,
    Shuffle,
    Sibling,
    Signs,
    Transfer,
    WeightNoise,
)
from ..names import no_attribute, unknown
from ..plugins import with_installed
from ..rule import Rule
from ..strategy import Plain
from .ac_dc import ACDC
from .age_limit import AgeLimit
from .chase import Chase
from .cht import CHT
from .chts import CHTs
from .chtss import CHTss
from .combined import Combined
from .continuous_sparsification import ContinuousSparsification
from .controls import Dense, Static
from .deep_r import DeepR, SoftDeepR
from .diagonal_fisher import DiagonalFisher
from .drop_grow import DropGrow
from .dsr import DSR
from .dst_ee import DSTEE
from .dyna_diag import DynaDiag
from .early_bird import EarlyBird
from .early_time import EarlyTime
from .edge_popup import EdgePopup
from .esl_snn import ESLSNN
from .force import FORCE
from .gmp import GMP
from .grad_r import GradR
from .granet import GraNet
from .grasp import GraSP
from .group_rigl import GroupRigL
from .homeostatic import HomeostaticGrowth
from .imp import IMP
from .l1_shrinkage import L1Shrinkage
from .lamp import LAMP
from .magnitude import Magnitude
from .mest import MEST
from .movement import MovementPruning
from .ndsnn import NDSNN
from .nm import NM
from .obd import OBD
from .on_part import On
from .owl import OWL
from .phew import PHEW
from .powerpropagation import Powerpropagation
from .prospr import ProsPr
from .random_rewiring import RandomRewiring
from .rigl import RigL
from .set import SET
from .shared.turnover import (
    DistanceDependentFormation,
    Elimination,
    Formation,
    UniformElimination,
    UniformFormation,
    WeightDependentElimination,
)
from .snfs import SNFS
from .snip import SNIP
from .soft_threshold import SoftThreshold
from .sparse_gpt import SparseGPT
from .sr_ste import SRSTE
from .srigl import SRigL
from .stdp_pruning import STDPPruning
from .stds import STDS
from .str import STR
from .structural_plasticity import StructuralPlasticity
from .supermask import Supermask
from .synaptic_sampling import SynapticSampling
from .synflow import SynFlow
from .synops_budget import SynOpsBudget
from .top_kast import TopKAST
from .unit_pruning import UnitPruning
from .wanda import Wanda
from .woodfisher import WoodFisher

BUILT_IN: tuple[type[Rule], ...] = (
    Dense, Static, RandomRewiring, IMP, DeepR, SoftDeepR, StructuralPlasticity, SET,
    RigL, SRigL, GroupRigL, CHT, CHTs, CHTss, DSTEE, Chase, DynaDiag,
    GMP, L1Shrinkage, GraNet, DSR, SNFS, MEST,
    OBD, DiagonalFisher, WoodFisher, EarlyBird,
    Magnitude, SNIP, FORCE, ProsPr, GraSP, SynFlow, PHEW, NM,
    Wanda, SparseGPT, UnitPruning,
    EdgePopup, Supermask, STR, SoftThreshold, MovementPruning, TopKAST, SRSTE, ACDC, GradR,
    ContinuousSparsification, Powerpropagation,
    HomeostaticGrowth, SynapticSampling, STDPPruning, STDS, NDSNN, ESLSNN,
    EarlyTime, SynOpsBudget,
    AgeLimit, DropGrow, Combined,
)  # fmt: skip

STRATEGIES = (
    Formation, DistanceDependentFormation, UniformFormation,
    Elimination, WeightDependentElimination, UniformElimination,
    LAMP, OWL,
)  # fmt: skip

__all__ = [
    "BUILT_IN", "Branch", "On", "available", "from_table", "get", "of_class",
    *(c.__name__ for c in (*BUILT_IN, *STRATEGIES, *BRANCHES)),
]  # fmt: skip


def __getattr__(name: str) -> Any:
    raise no_attribute(__name__, name, __all__)


def available() -> dict[str, type[Rule]]:
    """Every rule by name: the built-in ones, then those of installed packages.

    Raises ValueError where a package's rule takes a built-in name or is no Rule.
    """
    return with_installed("rewire.rules", {r.__name__: r for r in BUILT_IN}, Rule, beside=Branch)


def get(name: str) -> type[Rule]:
    """The rule of that name. Raises ValueError with the nearest name where there is none."""
    rules = available()
    if name not in rules:
        raise ValueError(f"{unknown('rule', name, rules)}.")
    return rules[name]


def from_table(table: str | Mapping[str, Any]) -> Rule:
    """A rule from its table in an experiment file: ``rule`` names it, ``on`` may restrict it.

    Raises ValueError with everything that is wrong.

    >>> from_table({"rule": "SET", "fraction": 0.2})
    SET(when=Every(n=100, first=None, stop=None), fraction=0.2, ...)
    """
    values = dict(table) if isinstance(table, Mapping) else {"rule": table}
    on, name = values.pop("on", None), values.pop("rule", None)
    if name is None:
        raise ValueError("Combined: a part has no 'rule', the name of a rule.")
    rule = of_class(get(name), values)
    if on is None:
        return rule
    if not isinstance(on, list) or not on or not all(isinstance(p, builtins.str) for p in on):
        raise ValueError(f"{name}.on is a list of patterns of projections, not {on!r}.")
    return On(rule=rule, projections=tuple(on))


def of_class(cls: type[Plain], table: Mapping[str, Any]) -> Any:
    """A rule or branch of that class from its fields, where parts of it may be named."""
    if issubclass(cls, Combined):
        table = {**table, "rules": _parts(table.get("rules", ()))}
    return cls.from_table(table)


def _parts(tables: Any) -> tuple[Rule, ...]:
    if not isinstance(tables, list | tuple) or not all(
        isinstance(table, builtins.str | Mapping | Rule) for table in tables
    ):
        raise ValueError(f"Combined.rules is a list of tables {{ rule = ... }}, not {tables!r}.")
    parts, problems = list[Rule](), list[str]()
    for table in tables:
        try:
            parts.append(table if isinstance(table, Rule) else from_table(table))
        except ValueError as error:
            problems.append(f"{error}")
    if problems:
        raise ValueError("\n".join(problems))
    return tuple(parts)
