"""Sessions inside a program of Brian2's cpp_standalone device, which knows no Python.

Structural plasticity is compiled into the program, from the same C++ as the kernels of its ticks
and with the same random numbers: on the same spikes it makes the same edits. The program writes
them to a file in the records of :mod:`rewire.edit_log`, from which the session has them afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, floor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...graph import Space
from ...kernels.random import GOLDEN
from ...streams import Stream, rng_for
from ...when import Never
from .births import equations_of
from .traces import whole
from .values import written
from .world import Brian

NATIVE = Path(__file__).parents[2] / "native"
HEADERS = ("standalone.hpp", "attempts.hpp", "splitmix.hpp")
FOLDER = "rewire"  # within the project of the program
SOURCE, SETTINGS = "rewire_tick.cpp", "settings.bin"
# among the program's results
LOG, SLOTS, REFUSAL = "rewire_edits.log", "rewire_slots.bin", "rewire_refusal.txt"
PARTNERS = {"spiked": 0, "uniform": 1, "population": 2}
NO_END = 2**62

CODE = """\
// Rewiring in this program: written by rewire.worlds.brian.standalone.

#include "objects.h"
#include "network.h"
#include "synapses_classes.h"
#include "{folder}/standalone.hpp"

namespace {{

std::unique_ptr<rewire::Program<CSpikeQueue>> program;

void born(int64_t synapse) {{
{born}
}}

void emptied(int64_t synapse) {{
{emptied}
}}

}}  // namespace

void rewire_begin() {{
    program.reset(new rewire::Program<CSpikeQueue>(
        "{folder}/{settings}", brian::results_dir,
        rewire::Network<CSpikeQueue>{{brian::{spikes}, {room}, brian::{pre}, brian::{w},
                                      brian::{outgoing}, {{{moving}}}, {{{purged}}},
                                      born, emptied}}));
    brian::_random_generators[0].seed(program->seed(0));
}}

void rewire_step() {{
    const int64_t step = brian::{timestep}[0];
    if (program->end_of_step(step)) brian::_random_generators[0].seed(program->seed(step + 1));
    if (program->over()) Network::_globally_stopped = true;
}}

void rewire_finish() {{ program->finish(); }}
"""


def drive_standalone(
    sessions: Sequence[Any], duration: Any, seeds: str, run: Mapping[str, Any]
) -> None:
    """Build and run the program of one session's network, and bring the session to its end.

    seeds: the label of the random numbers that seed Brian2's; run: further arguments of
    ``Network.run``.

    Raises ValueError, before anything is built, for what the compiled tick does not do.
    """
    session = _only(sessions)
    world: Brian = session.world
    wiring = world.wiring
    if len(wiring.joined) > 1:
        raise ValueError(
            "slots that several Synapses objects share are not compiled into a standalone program: "
            "use brian2.set_device('runtime')."
        )
    device = wiring.brian2.get_device()
    refuse_what_is_not_compiled(session)
    project = Path(device.build_options.get("directory") or device.project_dir or "output")
    folder = project / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name in HEADERS:
        _write(folder / name, (NATIVE / name).read_text(encoding="utf-8"))
    seconds = min(float(duration), session.clock.span * wiring.period)
    ticks = min(session.clock.span, floor(seconds / wiring.period + 1e-6))
    with (folder / SETTINGS).open("wb") as file:
        for array in _settings(session, seconds, ticks, seeds):
            file.write(np.int64(array.size).tobytes() + np.ascontiguousarray(array).tobytes())
    _write(project / SOURCE, _code(device, world))
    _run(device, wiring, project, seconds * wiring.brian2.second, run)
    _take_up(session, device, ticks)


def _write(path: Path, text: str) -> None:
    """Write a source file, but for one that is so already: what is compiled stays so then."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def _only(sessions: Sequence[Any]) -> Any:
    if len(sessions) > 1:
        raise ValueError(
            f"a standalone program is rewired by one session, and {len(sessions)} were given: use "
            "brian2.set_device('runtime'), or one session."
        )
    return sessions[0]


# -- what is refused ------------------------------------------------------------------------------


def refuse_what_is_not_compiled(session: Any) -> None:
    """Raise ValueError for rules and settings that are not compiled, all that there are."""
    wiring, runtime = session.world.wiring, "use brian2.set_device('runtime')"
    space = session.world.space
    reasons = [reason for rule in session.rules for reason in _not_compiled(rule, space)]
    if sum(_acts(rule) for rule in session.rules) > 1:
        reasons.append("only one rule that acts is compiled")
    if session.clock.total or len(session.history):
        reasons.append("the session has begun already, and a program starts at step 0")
    if space.limits or space.caps:
        reasons.append("limits are not compiled")
    if callable(session._graph.births.get("weight", 0.0)):
        reasons.append("weights at birth that are a function of the pair are not compiled")
    carried = wiring.births
    for name in sorted(n for n, born in carried.items() if callable(born)):
        reasons.append(f"births[{name!r}] is a function, and values alone are compiled")
    for name, delays in wiring._births.delays.items():
        if not callable(carried[name]) and np.any(delays != carried[name]):
            reasons.append(f"synapses of different {name!r} are not compiled")
    if wiring.w.dtype != np.float64:
        reasons.append(f"weights are {wiring.w.dtype}, and float64 is compiled")
    if wiring.brian2.prefs["devices.cpp_standalone.openmp_threads"]:
        reasons.append("several threads (openmp_threads) are not compiled")
    if reasons:
        raise ValueError(
            "this cannot be rewired in a standalone program: " + "; ".join(reasons) + f". {runtime}"
            " for it."
        )


def _acts(rule: Any) -> bool:
    return not isinstance(rule.when, Never)


def _not_compiled(rule: Any, space: Space) -> Sequence[str]:
    """What of a rule is not compiled, as parts of a sentence."""
    if not _acts(rule):
        return []
    if not hasattr(rule, "as_attempts"):
        return [f"{rule.name} is not compiled, StructuralPlasticity and Static are"]
    return rule.as_attempts(space).not_compiled


# -- what the program is told ---------------------------------------------------------------------


def _settings(session: Any, duration: float, ticks: int, seeds: str) -> list[np.ndarray]:
    """The arrays that ``Program`` of standalone.hpp reads, in its order."""
    world: Brian = session.world
    wiring, space, graph = world.wiring, world.space, session._graph
    number = next((i for i, rule in enumerate(session.rules) if _acts(rule)), 0)
    acting: Any = session.rules[number]
    rule = acting.as_attempts(space) if _acts(acting) else None
    birth = rule.birth if rule and rule.birth else graph.births.get("weight", 0.0)
    last = ticks if session.clock.span <= ticks else NO_END
    a_second = round(1 / wiring.dt)
    source = wiring.synapses.source
    whole_numbers = [
        wiring.null, wiring._offset, source.stop, wiring._ascending[0], wiring.steps, last,
        a_second, number, PARTNERS[rule.partner] if rule else 0, space.multapses,
    ]  # fmt: skip
    of_brian = [
        rng_for(session.seed, seeds, second * a_second).key & 0xFFFFFFFF
        for second in range(ceil(duration) + 1)
    ]
    out: list[Any] = [
        whole_numbers,
        np.array([wiring.clipped(birth, world.most)], np.float64),
        of_brian,
        space.bounds,
        world._widths,
        world._starts,
        world._first,
        world._many,
        [space.parallel[i] for i in range(len(space.projections))],
        world._own,
        graph.array,
        graph.numbers("slot"),
        np.array(wiring.w, np.float64),
    ]
    drawn = [] if rule is None else _draws(session, number, rule, ticks)
    out.append([len(drawn)])
    for sheet, n, many, one_more, counters in drawn:
        law = sheet.law
        out += [
            sheet.into, sheet.ends, np.array(law.scale), np.array(law.falls), law.sources,
            law.targets, session.states[number][sheet.slots].numpy(), world.ranges(sheet.sources),
            np.array(counters, np.uint64), np.array([*sheet.by_weight, one_more], np.float64),
            [many, n],
        ]  # fmt: skip
    return [x if isinstance(x, np.ndarray) else np.array(x, np.int64) for x in out]


def _draws(
    session: Any, number: int, rule: Any, ticks: int
) -> list[tuple[Any, int, int, float, list[int]]]:
    """Of each population: its sheet, attempts in a tick, ticks that are drawn at once, the chance
    of the last attempt, and the counter at which each batch of random numbers begins."""
    shapes: list[tuple[Any, int, int, float, list[int]]] = []
    for sheet in rule.sheets:
        slots = int(session.states[number][sheet.slots][-1])
        if slots:
            shapes.append((sheet, *rule.shape(session.clock, slots), list[int]()))
    for tick in sorted({t for _, _, many, _, _ in shapes for t in range(1, ticks + 1, many)}):
        counter = Stream(session.seed, session.names[number], session.clock.total + tick).key >> 64
        for _, n, many, _, counters in shapes:
            if (tick - 1) % many == 0:
                counters.append(counter % 2**64)
                counter += (many + 4 * many * n) * GOLDEN
    return shapes


def _code(device: Any, world: Brian) -> str:
    """The source of the program's part that rewires."""
    wiring = world.wiring
    synapses = wiring.synapses
    source = whole(synapses.source)

    def array(variable: Any) -> str:
        return device.get_array_name(variable, access_data=False)

    variables = synapses.variables
    values = {
        name: value for name, value in wiring.births.items() if name not in wiring._births.delays
    }
    born = [
        f"    brian::{array(variables[n])}[synapse] = {float(v)!r};"  # type: ignore[arg-type]
        for n, v in values.items()
    ]
    if "lastupdate" in variables:
        now = array(synapses.clock.variables["t"])
        born.append(f"    brian::{array(variables['lastupdate'])}[synapse] = brian::{now}[0];")
    emptied = [f"    brian::{array(variables[n])}[synapse] = 0;" for n in equations_of(synapses)]
    queues = {p: f"brian::{p.name}.queue[0]" for p in wiring._queued}
    return CODE.format(
        folder=FOLDER,
        settings=SETTINGS,
        born="\n".join(born) or "    (void)synapse;",
        emptied="\n".join(emptied) or "    (void)synapse;",
        spikes=array(source.variables["_spikespace"]),
        room=source.variables["_spikespace"].size - 1,
        pre=array(variables["_synaptic_pre"]),
        w=array(variables[wiring._weight]),
        outgoing=array(variables["N_outgoing"]),
        moving=", ".join(q for p, q in queues.items() if p.prepost == "pre"),
        purged=", ".join(q for p, q in queues.items() if p.prepost != "pre"),
        timestep=array(synapses.source.clock.variables["timestep"]),
    )


# -- the run --------------------------------------------------------------------------------------


def _run(device: Any, wiring: Any, project: Path, duration: Any, run: Mapping[str, Any]) -> None:
    clock, network = wiring.synapses.source.clock.name, wiring.network.name
    clock = "_clock" if clock == "clock" else clock  # as the device renames it
    device.code_lines["before_network_run"].append(
        "void rewire_begin(); void rewire_step(); rewire_begin();\n"
        f"{network}.add(&{clock}, rewire_step);"
    )
    device.code_lines["after_network_run"].append("void rewire_finish(); rewire_finish();")
    options = {"with_output": True, **device.build_options, "directory": str(project), "run": False}
    options["additional_source_files"] = [*(options.get("additional_source_files") or ()), SOURCE]
    at_once, device.build_on_run = device.build_on_run, False  # what it is built with is said here
    try:
        wiring.network.run(duration, **run)
        device.build(**options)
    finally:
        device.build_on_run = at_once
    results = Path(device.results_dir)
    (results / REFUSAL).unlink(missing_ok=True)
    try:
        device.run(str(project), with_output=options["with_output"])
    except RuntimeError as error:
        raise _explained(results, wiring) or error from error


def _explained(results: Path, wiring: Any) -> ValueError | None:
    """What the program refused, or None where it failed for another reason."""
    if not (results / REFUSAL).exists():
        return None
    which, tick = (results / REFUSAL).read_text(encoding="utf-8").split()
    if which == "null":
        return ValueError(
            f"the null neuron, {wiring.null} of {wiring.synapses.source.name!r}, spiked after tick "
            f"{tick}, and every empty slot with it: it is to be a neuron that never does."
        )
    return ValueError(
        f"weights of {wiring.synapses.name!r} were NaN at tick {tick}: look at the equations that "
        "move them."
    )


def _take_up(session: Any, device: Any, ticks: int) -> None:
    """Let the session, and Brian2's objects, be where the program ended."""
    world: Brian = session.world
    wiring = world.wiring
    variables = wiring.synapses.variables
    for name in ("_synaptic_pre", "N_outgoing", wiring._weight):
        device.array_cache[variables[name]] = written(device, variables[name])
    wiring.look()
    results = Path(device.results_dir)
    slot = torch.from_numpy(np.fromfile(results / SLOTS, np.int32).astype(np.int64))
    data = bytearray((results / LOG).read_bytes())
    state = session.state_dict(saved=False)
    records = torch.frombuffer(data, dtype=torch.uint8) if data else None
    step, span, round_, total = state["clock"]
    state |= {
        "keys": world.graph().keys,
        "columns": {"slot": slot},
        "clock": [step + ticks, span, round_, total + ticks],
        "history": records,
    }
    session.load_state_dict(state)
    churn = session.history.churn()
    session.history.formed, session.history.dropped = churn[:, 1:].sum(0).tolist()
