"""Connectivity-update rules: one paper a file, one registry for ours and for installed ones.

A package adds its own rules through the entry point group ``rewire.rules``.
"""

from __future__ import annotations

import difflib

from ..branches.kinds import (
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
    Signs,
    Transfer,
    WeightNoise,
)
from ..plugins import with_installed
from ..rule import Rule
from .ac_dc import ACDC
from .age_limit import AgeLimit
from .cht import CHT
from .combined import Combined
from .controls import Dense, Static
from .deep_r import DeepR, SoftDeepR
from .diagonal_fisher import DiagonalFisher
from .drop_grow import DropGrow
from .dsr import DSR
from .early_bird import EarlyBird
from .edge_popup import EdgePopup
from .gmp import GMP
from .grad_r import GradR
from .granet import GraNet
from .grasp import GraSP
from .homeostatic import HomeostaticGrowth
from .imp import IMP
from .magnitude import Magnitude
from .mest import MEST
from .movement import MovementPruning
from .nm import NM
from .obd import OBD
from .on_part import On
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
from .sr_ste import SRSTE
from .srigl import SRigL
from .stdp_pruning import STDPPruning
from .str import STR
from .structural_plasticity import StructuralPlasticity
from .supermask import Supermask
from .synaptic_sampling import SynapticSampling
from .synflow import SynFlow
from .top_kast import TopKAST
from .woodfisher import WoodFisher

BUILT_IN: tuple[type[Rule], ...] = (
    Dense, Static, RandomReinit, RandomRewiring, IMP, DeepR, SoftDeepR, StructuralPlasticity, SET,
    RigL, SRigL, CHT, GMP, GraNet, DSR, SNFS, MEST,
    OBD, DiagonalFisher, WoodFisher, EarlyBird,
    Magnitude, SNIP, GraSP, SynFlow, NM,
    EdgePopup, Supermask, STR, SoftThreshold, MovementPruning, TopKAST, SRSTE, ACDC, GradR,
    HomeostaticGrowth, SynapticSampling, STDPPruning,
    RandomMask, RandomTicket, OneShot, FineTune, RateRewind, Signs, Shuffle, WeightNoise,
    Pretrained, Transfer, MaskAlgebra,
    AgeLimit, DropGrow, Combined,
)  # fmt: skip

STRATEGIES = (
    Formation, DistanceDependentFormation, UniformFormation,
    Elimination, WeightDependentElimination, UniformElimination,
)  # fmt: skip

__all__ = [
    "BUILT_IN", "Branch", "On", "available", "get", *(r.__name__ for r in (*BUILT_IN, *STRATEGIES)),
]  # fmt: skip


def available() -> dict[str, type[Rule]]:
    """Every rule by name: the built-in ones, then those of installed packages.

    Raises ValueError where a package's rule takes a built-in name or is no Rule.
    """
    return with_installed("rewire.rules", {r.__name__: r for r in BUILT_IN}, Rule)


def get(name: str) -> type[Rule]:
    """The rule of that name. Raises ValueError with the nearest name where there is none."""
    rules = available()
    if name not in rules:
        close = difflib.get_close_matches(name, rules, 1, cutoff=0.5)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise ValueError(f"there is no rule {name!r}{hint}; the rules are {', '.join(rules)}.")
    return rules[name]
