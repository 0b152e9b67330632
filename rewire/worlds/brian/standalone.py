"""Sessions inside a program of Brian2's cpp_standalone device, which knows no Python.

Rules that have a compiled form (:mod:`rewire.compiled`) are part of the program, with the random
numbers of a running simulation: on the same spikes they make the same edits. The program writes
them to a file in the records of :mod:`rewire.edit_log`, from which the session has them afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, floor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...compiled import Ahead, Compiled, compiled_names, compiled_of
from ...rule import Rule
from ...select.capacity import UNLIMITED
from ...streams import Stream, rng_for
from ...when import Clock, Never
from .births import equations_of
from .rates import share_of
from .traces import spikes, whole
from .values import written
from .wiring import POST, PRE
from .world import Brian

NATIVE = Path(__file__).parents[2] / "native"
HEADERS = (
    "attempts.hpp", "normals.hpp", "splitmix.hpp", "walk.hpp",
    *(f"standalone/{path.name}" for path in sorted((NATIVE / "standalone").glob("*.hpp"))),
)  # fmt: skip
FOLDER = "rewire"  # within the project of the program
SOURCE, SETTINGS = "rewire_tick.cpp", "settings.bin"
# among the program's results
LOG, SLOTS, STATE = "rewire_edits.log", "rewire_slots.bin", "rewire_state.bin"
REFUSAL = "rewire_refusal.txt"
NO_END = 2**62

CODE = """\
// Rewiring in this program: written by rewire.worlds.brian.standalone.

#include "objects.h"
#include "network.h"
#include "synapses_classes.h"
#include "{folder}/standalone/program.hpp"

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
        rewire::Network<CSpikeQueue>{{{spikes}, {target_spikes}, brian::{pre}, brian::{w},
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


# The number of the rule that acts in the session, its compiled form, and what it knows beforehand.
Acting = tuple[int, Compiled, Ahead]


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
        (folder / name).parent.mkdir(exist_ok=True)
        _write(folder / name, (NATIVE / name).read_text(encoding="utf-8"))
    seconds = min(float(duration), session.clock.span * wiring.period)
    ticks = min(session.clock.span, floor(seconds / wiring.period + 1e-6))
    acting = _acting(session, ticks)
    with (folder / SETTINGS).open("wb") as file:
        for array in _settings(session, acting, seconds, ticks, seeds):
            file.write(np.int64(array.size).tobytes() + np.ascontiguousarray(array).tobytes())
    _write(project / SOURCE, _code(device, world))
    _run(device, wiring, project, seconds * wiring.brian2.second, run)
    _take_up(session, acting, device, ticks)


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
    reasons = [reason for rule in session.rules for reason in _not_compiled(rule, session.world)]
    if sum(_acts(rule) for rule in session.rules) > 1:
        reasons.append("only one rule that acts is compiled")
    if session.clock.total or len(session.history):
        reasons.append("the session has begun already, and a program starts at step 0")
    if space.limits or space.caps:
        reasons.append("limits are not compiled")
    for name in sorted(session._graph.columns.keys() - {"weight", "slot"}):
        born = session._graph.births[name]
        if callable(born) or (session._graph[name] != born).any():
            reasons.append(f"edges of different {name!r} are not compiled")
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


def _not_compiled(rule: Any, world: Brian) -> Sequence[str]:
    """What of a rule is not compiled, as parts of a sentence."""
    if not _acts(rule):
        return []
    compiled = compiled_of(rule, world.space)
    if compiled is None:
        known = ", ".join(compiled_names(Rule))
        return [f"{rule.name} is not compiled, {known} are, and rules that never act"]
    groups = [world.wiring._ends[world.end_of(name)] for name in compiled.rates]
    uncounted = dict.fromkeys(g.name for g in groups if float(g.clock.dt) != world.wiring.dt)
    return [
        *compiled.not_compiled,
        *(
            f"{rule.name} reads rates, and the time step of {name!r} is not that of the synapses' "
            "sources"
            for name in uncounted
        ),
    ]


# -- what the program is told ---------------------------------------------------------------------


def _settings(
    session: Any, acting: Acting | None, duration: float, ticks: int, seeds: str
) -> list[np.ndarray]:
    """The arrays that ``Program`` of standalone/program.hpp reads, in its order."""
    world: Brian = session.world
    wiring, space, graph = world.wiring, world.space, session._graph
    number, compiled, ahead = acting or (0, Compiled(lambda _: []), None)
    last = ticks if session.clock.span <= ticks else NO_END
    a_second = round(1 / wiring.dt)
    source = wiring.synapses.source
    averaging = [share_of(wiring.period), wiring.period] if compiled.rates else []
    names = [p.name for p in space.populations]
    out: list[Any] = [
        [wiring.null, wiring._offset, source.stop, wiring._ascending[PRE], wiring.steps, last,
         a_second, number],
        [rng_for(session.seed, seeds, second * a_second).key & 0xFFFFFFFF
         for second in range(ceil(duration) + 1)],
        np.array(averaging, float),
        *(_counted(wiring, end) if averaging else [0, 0] for end in (PRE, POST)),
        # the graph
        space.bounds,
        world._widths,
        world._starts,
        world._first,
        world._many,
        space.parallel,
        [p.size for p in space.populations],
        [UNLIMITED if p.most is None else p.most for p in space.populations],
        [names.index(p.target) for p in space.projections],
        world._own,
        np.array([world.most], float),
        graph.array,
        graph.numbers("slot"),
        np.array(wiring.w, np.float64),
        # the rule
        [] if ahead is None else [clock.total for clock in ahead.clocks],
        [] if ahead is None else list(session.rules[number].name.encode()),
        *([] if ahead is None else compiled.settings(ahead)),
    ]  # fmt: skip
    return [x if isinstance(x, np.ndarray) else np.array(x, np.int64) for x in out]


def _counted(wiring: Any, end: int) -> list[int]:
    """The first of an end's neurons whose spikes are counted, and how many they are."""
    group = wiring._ends[end]
    return [group.start, len(group)] if end in wiring._counters else [0, 0]


def _acting(session: Any, ticks: int) -> Acting | None:
    """The rule that acts; None where none does."""
    number = next((i for i, rule in enumerate(session.rules) if _acts(rule)), None)
    if number is None:
        return None
    world, rule, clock = session.world, session.rules[number], session.clock
    compiled = compiled_of(rule, world.space)
    assert compiled is not None  # it was refused

    def stream(at: Clock) -> Stream:
        return Stream(session.seed, session.names[number], at.total)

    def place(population: str) -> tuple[int, int]:
        end = world.end_of(population)
        one = world.wiring._ends[POST] is world.wiring._ends[PRE]
        return PRE if one else end, world.at(end)[population].start

    clocks = (clock._replace(step=tick, total=tick) for tick in range(1, ticks + 1))
    return number, compiled, Ahead(
        session._graph, session.states[number], clock, [c for c in clocks if rule.when(c)], stream,
        lambda weight: float(world.wiring.clipped(weight, world.most)), world.ranges, place,
    )  # fmt: skip


def _code(device: Any, world: Brian) -> str:
    """The source of the program's part that rewires."""
    wiring = world.wiring
    synapses = wiring.synapses

    def array(variable: Any) -> str:
        return device.get_array_name(variable, access_data=False)

    def spikespace(group: Any) -> str:
        if not spikes(group):
            return "nullptr, 0"
        variable = whole(group).variables["_spikespace"]
        return f"brian::{array(variable)}, {variable.size - 1}"

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
        spikes=spikespace(synapses.source),
        target_spikes=spikespace(synapses.target),
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
    if which == "full":
        return ValueError(
            f"at tick {tick} as many synapses as were dropped could not be added: all units with "
            "absent synapses have their slots full. Give units more slots."
        )
    return ValueError(
        f"weights of {wiring.synapses.name!r} were NaN at tick {tick}: look at the equations that "
        "move them."
    )


def _take_up(session: Any, acting: Acting | None, device: Any, ticks: int) -> None:
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
    born = session._graph.births  # which all edges have: others were refused
    constant = {
        name: torch.full((len(slot),), born[name], dtype=column.dtype)
        for name, column in state["columns"].items()
        if name != "slot"
    }
    source_rates, source_spikes, target_rates, target_spikes, *arrays = _read(results / STATE)
    for end, *found in ((PRE, source_rates, source_spikes), (POST, target_rates, target_spikes)):
        if len(found[0]):
            wiring.take_rates(end, *found)
    if acting is not None:
        number, compiled, ahead = acting
        if compiled.state is not None:
            state["states"][number] = compiled.state(ahead, arrays)
    state |= {
        "keys": world.graph().keys,
        "columns": {**constant, "slot": slot},
        "clock": [step + ticks, span, round_, total + ticks],
        "schedule_step": min(state["schedule_step"] + ticks, span - 1),
        "data_step": state["data_step"] + ticks,
        "history": records,
    }
    session.load_state_dict(state)
    churn = session.history.churn()
    session.history.formed, session.history.dropped = churn[:, 1:].sum(0).tolist()


def _read(path: Path) -> list[np.ndarray]:
    """The arrays that ``Results`` of standalone/files.hpp wrote."""
    data, arrays, at = path.read_bytes(), list[np.ndarray](), 0
    while at < len(data):
        n = int(np.frombuffer(data, np.int64, 1, at)[0])
        arrays.append(np.frombuffer(data, np.float64, n, at + 8).copy())
        at += 8 + 8 * n
    return arrays
