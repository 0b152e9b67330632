"""Neuromorphic platforms as values: limits, the layout of synapses, and where each is published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from ..fields import Count, Steps
from ..names import unknown
from ..plugins import installed_functions
from ..strategy import Plain

WORD = 32  # bits of a word of the SpiNNaker machines
STATED = "stated by the caller"


@dataclass(frozen=True, kw_only=True)
class Target(Plain):
    """Limits of a platform, and how it stores synapses. A limit of None: none that is known.

    platform, title: the name on the command line, and in words.
    neurons_per_core: of a population; a population has cores of its own.
    sources_per_core: units without incoming projections on a core; None: they take no core.
    cores_per_chip, chips, neurons_per_chip, synapses_per_chip: at most.
    core_bytes, chip_bytes: for the rows of a core, and of all cores of a chip.
    fan_in, fan_out: synapses of a neuron, incoming and outgoing.
    input_axons:  presynaptic neurons that reach a core, counted in each projection.
    output_axons: target cores of a core's neurons, counted for each neuron and projection.
    row_bytes: the longest row, its header included.

    A row holds the synapses of one presynaptic neuron on one core, in one projection; the rows of a
    projection on a core are a block.

    header_bits: of a row, or of each ``group`` of its synapses.
    synapse_bits: of a synapse, without its index.
    synapses_round_bits, row_round_bits: synapses of a row, and the row (or group) with its header,
        fill whole multiples of these.
    block_round_bytes: a block fills whole multiples of these.
    padded:  every presynaptic neuron has a row, as long as the longest of the block.
    indexed: each synapse holds the number of its neuron on the core, in `least_index_bits` or
        more; no synapse of a block that is dense does.
    weight_bits: of a weight; sign_bit: the sign is one of them, else it is stored elsewhere.
    power_of_two: the step between weights is a power of two, else it is free. Weights into a
        population share a step; without ``sign_bit`` those of one sign do.
    sources: (field, where its value is published), ``assumptions``: what is not published.

    >>> SPINNAKER1.neurons_per_core, dict(SPINNAKER1.sources)["neurons_per_core"]
    (256, 'sPyNNaker, DEFAULT_MAX_ATOMS_PER_CORE')
    """

    platform: str = "generic"
    title: str = "a platform of stated limits"
    neurons_per_core: Count | None = None
    sources_per_core: Count | None = None
    cores_per_chip: Count | None = None
    chips: Count | None = None
    neurons_per_chip: Count | None = None
    synapses_per_chip: Count | None = None
    core_bytes: Count | None = None
    chip_bytes: Count | None = None
    fan_in: Count | None = None
    fan_out: Count | None = None
    input_axons: Count | None = None
    output_axons: Count | None = None
    row_bytes: Count | None = None
    header_bits: Steps = 0
    synapse_bits: Count = 32
    synapses_round_bits: Count = 1
    row_round_bits: Count = 8
    group: Count | None = None
    block_round_bytes: Count = 1
    padded: bool = False
    indexed: bool = False
    least_index_bits: Steps = 0
    weight_bits: Count = 16
    sign_bit: bool = True
    power_of_two: bool = False
    sources: tuple[tuple[str, str], ...] = ()
    assumptions: tuple[str, ...] = ()

    def _complete(self) -> None:
        least = 2 if self.sign_bit else 1
        if not least <= self.weight_bits <= 32:
            raise ValueError(
                f"Target.weight_bits = {self.weight_bits}: expected a whole number from {least} to "
                "32."
            )

    def with_limits(self, limits: Mapping[str, Any]) -> Self:
        """The same with other values of some fields, whose source is then the caller.

        Raises ValueError for a field that is not there (with the nearest known one), and for a
        value that the field does not take.

        >>> SPINNAKER1.with_limits({"chips": 48}).chips
        48
        >>> SPINNAKER1.with_limits({"chip": 48})
        Traceback (most recent call last):
        ...
        ValueError: Target has no parameter 'chip' (did you mean 'chips'?); it takes ...
        """
        changed = type(self).from_table({**self.to_table(), **limits})
        sources = {**dict(changed.sources), **dict.fromkeys(limits, STATED)}
        return replace(changed, sources=tuple(sources.items()))


_SPYNNAKER_ROWS = "sPyNNaker, synapse_io.py (_N_HEADER_WORDS, get_max_row_info)"
_SPYNNAKER_WEIGHTS = "sPyNNaker, synapse_dynamics_static.py: 16 bits, signs by synapse type"
_TABLE = "sPyNNaker, master_pop_table.py"
_STATE = (
    "memory of a core or chip holds rows of synapses alone: neurons' state, programs, tables, "
    "buffers and recordings are not counted"
)
_ORDER = (
    "neurons are placed in the order of their numbers, each population on cores of its own, which "
    "is divided further where a limit of a core asks for it; cores fill chips in turn"
)

SPINNAKER1 = Target(
    platform="spinnaker1",
    title="SpiNNaker 1 with sPyNNaker, static synapses",
    neurons_per_core=256,
    sources_per_core=500,
    cores_per_chip=16,
    chip_bytes=128 * 2**20,
    row_bytes=(3 + 256) * 4,
    header_bits=3 * WORD,
    synapse_bits=WORD,
    row_round_bits=WORD,
    block_round_bytes=16,
    padded=True,
    weight_bits=16,
    sign_bit=False,
    power_of_two=True,
    sources=(
        ("neurons_per_core", "sPyNNaker, DEFAULT_MAX_ATOMS_PER_CORE"),
        ("sources_per_core", "sPyNNaker, spike_source_poisson.py, DEFAULT_MAX_ATOMS_PER_CORE"),
        ("cores_per_chip", "18 cores (Furber et al. 2013, doi:10.1109/TC.2012.142), of which one "
                           "is the monitor and one is spare"),
        ("chip_bytes", "128 MB SDRAM (Furber et al. 2013, doi:10.1109/TC.2012.142)"),
        ("row_bytes", "sPyNNaker, POP_TABLE_MAX_ROW_LENGTH: 256 words behind the header"),
        ("header_bits", _SPYNNAKER_ROWS),
        ("synapse_bits", "sPyNNaker, synapse_dynamics_static.py: a word"),
        ("block_round_bytes", f"{_TABLE}, _ADDRESS_SCALE"),
        ("padded", _SPYNNAKER_ROWS),
        ("row_round_bits", _SPYNNAKER_ROWS),
        ("weight_bits", _SPYNNAKER_WEIGHTS),
        ("sign_bit", _SPYNNAKER_WEIGHTS),
    ),
    assumptions=(
        _STATE,
        _ORDER,
        "connections are listed one by one (connectors that draw at random reserve more), no delay "
        "is beyond those of a row, and rows of a single synapse are not kept as a direct matrix",
        "the step of the weights is the smallest power of two at which the largest fits; sPyNNaker "
        "takes a larger one where sums of inputs need it",
    ),
)  # fmt: skip

SPINNAKER1_STDP = replace(
    SPINNAKER1,
    platform="spinnaker1-stdp",
    title="SpiNNaker 1 with sPyNNaker, plastic synapses (pair STDP)",
    header_bits=5 * WORD,
    synapses_round_bits=2 * WORD,
    sources=(
        *(pair for pair in SPINNAKER1.sources if pair[0] != "header_bits"),
        ("header_bits", f"{_SPYNNAKER_ROWS}; synapse_dynamics_stdp.py: a time stamp and a trace"),
        ("synapses_round_bits", "sPyNNaker, synapse_dynamics_stdp.py: half a word of each synapse "
                                "in each of two parts, which fill whole words"),
    ),
)  # fmt: skip

SPINNAKER2 = replace(
    SPINNAKER1,
    platform="spinnaker2",
    title="SpiNNaker 2, rows in the memory of the cores",
    sources_per_core=256,
    cores_per_chip=152,
    core_bytes=128 * 2**10,
    chip_bytes=None,
    sources=(
        ("cores_per_chip", "Gonzalez et al. 2024, arXiv:2401.04491"),
        ("core_bytes", "128 kB SRAM (Höppner et al. 2021, arXiv:2103.08392; not verified)"),
    ),
    assumptions=(
        _STATE,
        _ORDER,
        "neurons of a core, rows and weights are those of sPyNNaker on SpiNNaker 1: no layout of "
        "SpiNNaker 2's software is published",
        "rows lie in the cores' own memory; core_bytes=none chip_bytes=2147483648 puts them into "
        "the 2 GB beside the chip",
    ),
)

_NENGO = "nengo-loihi, block.py"
LOIHI1 = Target(
    platform="loihi1",
    title="Loihi 1 as nengo-loihi builds it",
    neurons_per_core=1024,
    cores_per_chip=128,
    core_bytes=2**20 // 8,
    input_axons=4096,
    output_axons=4096,
    header_bits=10,
    synapse_bits=8,
    row_round_bits=64,
    group=64,
    indexed=True,
    least_index_bits=6,
    weight_bits=8,
    sources=(
        ("neurons_per_core", f"{_NENGO}, MAX_COMPARTMENTS; Davies et al. 2018"),
        ("cores_per_chip", "Davies et al. 2018, doi:10.1109/MM.2018.112130359"),
        ("core_bytes", f"{_NENGO}, MAX_SYNAPSE_BITS"),
        ("input_axons", f"{_NENGO}, MAX_IN_AXONS"),
        ("output_axons", f"{_NENGO}, MAX_OUT_AXONS"),
        ("header_bits", f"{_NENGO}, bits_per_axon"),
        ("synapse_bits", f"{_NENGO}, bits_per_axon without delays and tags"),
        ("group", f"{_NENGO}, bits_per_axon: 64 synapses"),
        ("row_round_bits", f"{_NENGO}, bits_per_axon: a memory word"),
        ("indexed", f"{_NENGO}, bits_per_axon at compression 0"),
        ("least_index_bits", f"{_NENGO}, INDEX_BITS_MAP"),
        ("weight_bits", f"{_NENGO}, WEIGHT_BITS_MAP"),
    ),
    assumptions=(
        _ORDER,
        "units without incoming projections are spikes from outside, and take no core",
        "synapses of a block hold their index unless the block is dense",
        "weights of both signs: one of the 8 bits is the sign",
    ),
)

LOIHI2 = Target(
    platform="loihi2",
    title="Loihi 2",
    neurons_per_core=8192,
    cores_per_chip=128,
    synapses_per_chip=120_000_000,
    synapse_bits=8,
    weight_bits=8,
    sources=(
        ("neurons_per_core", "WikiChip, intel/loihi_2; Intel technology brief 2021 (not verified)"),
        ("cores_per_chip", "WikiChip, intel/loihi_2"),
        ("synapses_per_chip", "WikiChip, intel/loihi_2; open-neuromorphic.org, Loihi 2"),
        ("weight_bits", "Intel technology brief 2021 (not verified)"),
    ),
    assumptions=(
        _ORDER,
        "units without incoming projections are spikes from outside, and take no core",
        "bytes are those of the weights alone, and the limit of synapses is the chip's: neither "
        "formats of synapses nor limits of a core's memory and axons are published",
    ),
)

GENERIC = Target(
    assumptions=("limits and layout are those that the caller states", _ORDER),
)

BUILT_IN = (SPINNAKER1, SPINNAKER1_STDP, SPINNAKER2, LOIHI1, LOIHI2, GENERIC)


def known() -> dict[str, Target]:
    """Every target by name, those of installed packages included (``rewire.hardware``).

    Raises ValueError where a package registers a name that is taken, or no target.

    >>> list(known())[:3]
    ['spinnaker1', 'spinnaker1-stdp', 'spinnaker2']
    """
    targets = {target.platform: target for target in BUILT_IN}
    for name, loaded in installed_functions("rewire.hardware").items():
        if not isinstance(loaded, Target):
            if callable(loaded):
                loaded()  # of a broken package: raises the reason
            raise ValueError(f"the entry point {name!r} (rewire.hardware) is no Target.")
        if name in targets:
            raise ValueError(f"an installed package registers the target {name!r}, a taken name.")
        targets[name] = replace(loaded, platform=name)
    return targets


def named(name: str) -> Target:
    """The target of that name. Raises ValueError that lists the known ones.

    >>> named("loihi").platform
    Traceback (most recent call last):
    ...
    ValueError: there is no target 'loihi' (did you mean 'loihi1'?); one of spinnaker1, ...
    """
    targets = known()
    if name not in targets:
        raise ValueError(unknown("target", name, targets))
    return targets[name]
