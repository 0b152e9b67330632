"""Rewiring networks: pruning, Deep Rewiring and structural plasticity on one sparse graph.

>>> import rewire
>>> net = rewire.attach(model, optimizer, rule=rewire.DeepR(), density=0.05)  # doctest: +SKIP
>>> net.step()  # where optimizer.step() was                                  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Where each public name lives; torch is imported with the first of them.
_HOMES = {
    "Population": "graph", "Projection": "graph", "Space": "graph", "Graph": "graph",
    "Edit": "graph", "Rewind": "graph",
    "Rule": "rule", "Budget": "rule_budget", "Tunable": "tunable", "Clock": "when",
    "every": "when", "between": "when", "at_steps": "when", "at_end": "when", "never": "when",
    "cosine": "when", "linear": "when", "cubic": "when",
    "smallest": "select", "largest": "select", "sample_absent": "select", "groups": "select",
    "replace_at_random": "select", "pair_sign": "select",
    "counts_for": "budget",
    "FanIn": "limits", "FanOut": "limits", "Distance": "limits", "Memory": "limits",
    "NoAutapses": "limits", "Dale": "limits", "FixedPoint": "limits",
    "signal": "signals", "Signals": "signals",
    "World": "world", "attach": "torch_loop", "train": "torch_loop", "Session": "session",
    "recompute_norms": "norms",
    "save": "saving", "load": "loading", "open": "experiments.opened",
    "runs": "experiments.opened", "compare": "experiments.opened",
    "experiment": "experiments.scripted",
    "History": "edit_log", "read_graph": "files", "write_graph": "files",
    "rng_for": "streams", "Stream": "streams",
    "layer": "worlds.torch_model.declared",
    "Probe": "worlds.torch_model.probe", "Masked": "worlds.masked.world", "Bare": "worlds.bare",
    "Dense": "rules", "Static": "rules", "RandomReinit": "branches", "IMP": "rules",
    "DeepR": "rules", "SoftDeepR": "rules", "StructuralPlasticity": "rules", "SET": "rules",
    "RigL": "rules", "Magnitude": "rules", "SNIP": "rules", "GraSP": "rules", "SynFlow": "rules",
    "PHEW": "rules",
    "FORCE": "rules", "ProsPr": "rules",
    "ContinuousSparsification": "rules", "Powerpropagation": "rules",
    "STDS": "rules", "NDSNN": "rules", "ESLSNN": "rules", "EarlyTime": "rules",
    "SynOpsBudget": "rules",
    "GMP": "rules", "GraNet": "rules", "DSR": "rules", "SNFS": "rules", "MEST": "rules",
    "HomeostaticGrowth": "rules", "SynapticSampling": "rules", "STDPPruning": "rules",
    "RandomRewiring": "rules", "AgeLimit": "rules", "DropGrow": "rules", "Combined": "rules",
    "On": "rules",
    "OBD": "rules", "DiagonalFisher": "rules", "WoodFisher": "rules", "EarlyBird": "rules",
    "SRigL": "rules", "CHT": "rules", "CHTs": "rules", "CHTss": "rules", "DSTEE": "rules",
    "Chase": "rules", "DynaDiag": "rules", "GroupRigL": "rules",
    "NM": "rules", "EdgePopup": "rules", "Supermask": "rules", "STR": "rules",
    "SoftThreshold": "rules", "MovementPruning": "rules", "TopKAST": "rules", "SRSTE": "rules",
    "ACDC": "rules", "GradR": "rules", "L1Shrinkage": "rules",
    "Wanda": "rules", "SparseGPT": "rules", "UnitPruning": "rules", "LAMP": "rules", "OWL": "rules",
}  # fmt: skip

# Public modules and packages, imported when they are first asked for as attributes.
_MODULES = frozenset({
    "analysis", "averaging", "loading", "saving",
    "branches", "budget", "caveats", "checkpoint", "citations", "compatibility", "coverage",
    "edit_log", "experiments", "files", "graph", "graph_of", "hardware",
    "integrations", "limits", "listening",
    "measures", "models",
    "networkx_backend", "norms", "nulls", "pictures", "rewinding", "rule",
    "rule_budget",
    "rules", "select", "session", "signals", "starting_graph", "starts", "strategy", "streams",
    "substrates",
    "torch_loop", "trackers", "tunable", "when", "world", "worlds",
})  # fmt: skip

__all__ = ["__version__", *(name for name in _HOMES if name != "open")]  # `*` hides no builtin

if TYPE_CHECKING:
    from .branches import RandomReinit as RandomReinit
    from .budget import counts_for as counts_for
    from .edit_log import History as History
    from .files import read_graph as read_graph
    from .files import write_graph as write_graph
    from .graph import Edit as Edit
    from .graph import Graph as Graph
    from .graph import Population as Population
    from .graph import Projection as Projection
    from .graph import Rewind as Rewind
    from .graph import Space as Space
    from .limits import Dale as Dale
    from .limits import Distance as Distance
    from .limits import FanIn as FanIn
    from .limits import FanOut as FanOut
    from .limits import FixedPoint as FixedPoint
    from .limits import Memory as Memory
    from .limits import NoAutapses as NoAutapses
    from .loading import load as load
    from .norms import recompute_norms as recompute_norms
    from .rule import Rule as Rule
    from .rule_budget import Budget as Budget
    from .rules import ACDC as ACDC
    from .rules import CHT as CHT
    from .rules import DSR as DSR
    from .rules import DSTEE as DSTEE
    from .rules import ESLSNN as ESLSNN
    from .rules import FORCE as FORCE
    from .rules import GMP as GMP
    from .rules import IMP as IMP
    from .rules import LAMP as LAMP
    from .rules import MEST as MEST
    from .rules import NDSNN as NDSNN
    from .rules import NM as NM
    from .rules import OBD as OBD
    from .rules import OWL as OWL
    from .rules import PHEW as PHEW
    from .rules import SET as SET
    from .rules import SNFS as SNFS
    from .rules import SNIP as SNIP
    from .rules import SRSTE as SRSTE
    from .rules import STDS as STDS
    from .rules import STR as STR
    from .rules import AgeLimit as AgeLimit
    from .rules import Chase as Chase
    from .rules import CHTs as CHTs
    from .rules import CHTss as CHTss
    from .rules import Combined as Combined
    from .rules import ContinuousSparsification as ContinuousSparsification
    from .rules import DeepR as DeepR
    from .rules import Dense as Dense
    from .rules import DiagonalFisher as DiagonalFisher
    from .rules import DropGrow as DropGrow
    from .rules import DynaDiag as DynaDiag
    from .rules import EarlyBird as EarlyBird
    from .rules import EarlyTime as EarlyTime
    from .rules import EdgePopup as EdgePopup
    from .rules import GradR as GradR
    from .rules import GraNet as GraNet
    from .rules import GraSP as GraSP
    from .rules import GroupRigL as GroupRigL
    from .rules import HomeostaticGrowth as HomeostaticGrowth
    from .rules import L1Shrinkage as L1Shrinkage
    from .rules import Magnitude as Magnitude
    from .rules import MovementPruning as MovementPruning
    from .rules import On as On
    from .rules import Powerpropagation as Powerpropagation
    from .rules import ProsPr as ProsPr
    from .rules import RandomRewiring as RandomRewiring
    from .rules import RigL as RigL
    from .rules import SoftDeepR as SoftDeepR
    from .rules import SoftThreshold as SoftThreshold
    from .rules import SparseGPT as SparseGPT
    from .rules import SRigL as SRigL
    from .rules import Static as Static
    from .rules import STDPPruning as STDPPruning
    from .rules import StructuralPlasticity as StructuralPlasticity
    from .rules import Supermask as Supermask
    from .rules import SynapticSampling as SynapticSampling
    from .rules import SynFlow as SynFlow
    from .rules import SynOpsBudget as SynOpsBudget
    from .rules import TopKAST as TopKAST
    from .rules import UnitPruning as UnitPruning
    from .rules import Wanda as Wanda
    from .rules import WoodFisher as WoodFisher
    from .saving import save as save
    from .select.choose import groups as groups
    from .select.choose import largest as largest
    from .select.choose import smallest as smallest
    from .select.grow import replace_at_random as replace_at_random
    from .select.grow import sample_absent as sample_absent
    from .select.pairs import pair_sign as pair_sign
    from .session import Session as Session
    from .signals import Signals as Signals
    from .signals import signal as signal
    from .streams import Stream as Stream
    from .streams import rng_for as rng_for
    from .torch_loop import attach as attach
    from .torch_loop import train as train
    from .tunable import Tunable as Tunable
    from .when import Clock as Clock
    from .when import at_end as at_end
    from .when import at_steps as at_steps
    from .when import between as between
    from .when import cosine as cosine
    from .when import cubic as cubic
    from .when import every as every
    from .when import linear as linear
    from .when import never as never
    from .world import World as World
    from .worlds.bare import Bare as Bare
    from .worlds.masked.world import Masked as Masked
    from .worlds.torch_model.declared import layer as layer
    from .worlds.torch_model.probe import Probe as Probe


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    from .names import no_attribute

    raise no_attribute(__name__, name, [*_HOMES, *_MODULES])


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_MODULES})
