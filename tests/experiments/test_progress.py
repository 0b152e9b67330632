"""What a run says of itself while it goes: a display, lines, or JSON."""

import io
import json
import os
import re
import subprocess
import sys

import pytest

from rewire.experiments.cells import Cell
from rewire.experiments.engines.outcome import Outcome
from rewire.experiments.event_text import duration, sentence
from rewire.experiments.progress import HEARTBEAT, Progress
from rewire.experiments.tally import Tally


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


CELLS = [
    Cell("d0", "Dense", "Dense", {}, seed=0, density=1.0, weight=1.0),
    Cell("r0", "DeepR", "DeepR", {}, seed=0, density=0.05, weight=1.0),
    Cell("i0", "IMP", "IMP", {}, seed=0, density=None, parents={"dense": "d0"}, weight=2.0),
]
LEVEL = {
    "event": "level",
    "level": 0,
    "density": 0.05,
    "test_accuracy": 0.9512,
    "val_accuracy": 0.96,
}


def ended(status, **more):
    return {"event": "outcome", **vars(Outcome("", status, **more))}


def eval_event(step, level=0, levels=1, **more):
    return {"event": "eval", "step": step, "steps": 100, "level": level, "levels": levels, **more}


def play(progress, clock):
    """A run of three cells: one finished before, one is killed once, one fails."""
    progress.start(CELLS)
    progress.event("d0", ended("skipped"))
    progress.event("r0", {"event": "start", "attempt": 1})
    progress.event("i0", {"event": "start", "attempt": 1})
    progress.event("r0", eval_event(10))
    clock.now += 6
    progress.event("r0", eval_event(50, val_accuracy=0.91))
    progress.tick()
    progress.event("r0", {"event": "start", "attempt": 2})
    progress.event("r0", LEVEL)
    progress.event("r0", ended("finished", seconds=7.0))
    error = {"kind": "Diverged", "message": "loss is [nan] at step 3"}
    progress.event("i0", ended("failed", exit_code=4, **error))
    outcomes = {"d0": Outcome("d0", "skipped"), "r0": Outcome("r0", "finished")}
    progress.finish({**outcomes, "i0": Outcome("i0", "failed", 4, **error)})


def test_lines_tell_levels_ends_failures_and_nothing_of_single_evals(clock):
    stream = io.StringIO()
    progress = Progress("auto", stream=stream, clock=clock)  # no terminal: lines
    play(progress, clock)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "3 cells"
    assert lines[1] == "1 of them finished before"
    text = "\n".join(re.sub(r"^\[.*?\] ", "", line) for line in lines[2:])
    assert text == (
        "2 running, IMP  seed 0 at 0 %\n"
        "DeepR  seed 0  density 0.05: was killed, attempt 2\n"
        "DeepR  seed 0  density 0.05  level 0: density 0.05, test 95.12 %, validation 96.00 %\n"
        "DeepR  seed 0  density 0.05: finished in 7 s\n"
        "IMP  seed 0: FAILED, Diverged: loss is [nan] at step 3\n"
        "1 finished before, 1 finished, 1 failed; 6 s"
    )


def test_a_quiet_time_has_a_heartbeat_and_no_more(clock):
    stream = io.StringIO()
    progress = Progress("plain", stream=stream, clock=clock)
    progress.start(CELLS)
    progress.event("d0", {"event": "start", "attempt": 1})
    for _ in range(200):  # twenty seconds of ticks
        clock.now += 0.1
        progress.tick()
    beats = [line for line in stream.getvalue().splitlines() if "running" in line]
    assert len(beats) == 20 // HEARTBEAT - 1 or len(beats) == 20 // HEARTBEAT


def test_json_is_one_object_a_line_with_cells_and_without_nan(clock):
    stream = io.StringIO()
    progress = Progress("json", stream=stream, clock=clock)
    progress.start(CELLS)
    progress.event("r0", eval_event(10, val_loss=float("nan"), rows=[float("inf"), 1]))
    progress.finish({"r0": Outcome("r0", "finished")})
    first, event, last = map(json.loads, stream.getvalue().splitlines())
    assert [cell["cell"] for cell in first["cells"]] == ["d0", "r0", "i0"]
    assert event["cell"] == "r0"
    assert (event["val_loss"], event["rows"]) == (None, [None, 1])
    assert (last["event"], last["finished"]) == ("done", 1)


def test_the_display_shows_workers_results_and_failures(clock):
    pytest.importorskip("rich")
    from rich.console import Console

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    os.environ.setdefault("TERM", "xterm")
    progress = Progress("rich", stream=stream, clock=clock)
    progress.start(CELLS)
    progress.event("i0", {"event": "start", "attempt": 1})
    progress.event("i0", eval_event(50, level=1, levels=4, val_accuracy=0.912))
    progress.event("r0", LEVEL)
    page = io.StringIO()
    Console(file=page, width=100).print(progress.picture())
    shown = page.getvalue()
    assert "0/3 cells" in shown
    assert re.search(r"IMP +0 +2/4 +50/100 +91.20 %", shown)
    assert re.search(r"DeepR +0 +0 +0.05 +95.12 % +96.00 %", shown)
    message = "loss is [nan] at step 3"
    progress.event("i0", ended("failed", exit_code=4, kind="Diverged", message=message))
    progress.finish({})
    progress.finish({})
    assert message in stream.getvalue()  # brackets are no markup
    assert stream.getvalue().rstrip().endswith("no cells; 0 s")


MAP = {"event": "level", "level": 1, "simulated_seconds": 8.0, "sigma_aff_conn": 2.3456,
       "ad_conn": None, "rate_hz": 21.7, "ff_synapses": 8192}  # fmt: skip
SPIKES = {"event": "level", "level": 2, "density": 0.1, "spiking_accuracy": 0.9,
          "ann_accuracy": 0.95, "images_per_second": 312.4}  # fmt: skip


def test_every_kind_of_cell_says_what_it_measured_in_lines_and_in_the_display(clock):
    assert sentence(CELLS[1], MAP) == (
        "DeepR  seed 0  density 0.05  after 8 s: "
        "sigma 2.35, rate in Hz 21.7, feed-forward synapses 8,192"
    )
    assert sentence(CELLS[1], SPIKES) == (
        "DeepR  seed 0  density 0.05  level 2: "
        "density 0.1, spikes 90.00 %, activations 95.00 %, images/s 312"
    )
    from rich.console import Console

    progress = Progress("rich", stream=io.StringIO(), clock=clock)
    progress.start(CELLS)
    for event in (MAP, SPIKES, LEVEL):
        progress.event("r0", event)
    page = io.StringIO()
    Console(file=page, width=160).print(progress.picture())
    progress.finish({})
    head, *rows = [re.split(r"  +", line.strip()) for line in page.getvalue().splitlines()[-4:]]
    assert head[:4] == ["latest", "seed", "level", "sigma"] and head[-2:] == ["test", "validation"]
    assert rows[0] == ["DeepR", "0", "1", "2.35", "21.7", "8,192", *"------"]
    assert rows[1][-3:] == ["312", "-", "-"] and rows[2][-2:] == ["95.12 %", "96.00 %"]


def test_the_time_left_is_the_work_left_over_the_speed_of_all_workers(clock):
    tally = Tally(CELLS, clock)
    assert tally.seconds_left is None
    tally.note("d0", {"event": "start", "attempt": 1})
    tally.note("r0", {"event": "start", "attempt": 1})
    for name in ("d0", "r0"):
        tally.note(name, eval_event(0))
    clock.now += 10
    for name in ("d0", "r0"):
        tally.note(name, eval_event(50))
    assert tally.fraction == pytest.approx(1 / 4)
    assert tally.seconds_left == pytest.approx(3 * 20 / 2)  # 20 s a unit, two at a time


def test_a_cell_that_continues_from_a_checkpoint_does_not_look_fast(clock):
    tally = Tally(CELLS, clock)
    tally.note("i0", {"event": "start", "attempt": 1})
    clock.now += 1
    tally.note("i0", eval_event(90))
    clock.now += 10
    tally.note("i0", eval_event(100))
    # 0.2 units of weight in 10 s, and 2 units are left
    assert tally.seconds_left == pytest.approx(2 * 10 / 0.2)


def test_all_cells_skipped_is_all_done(clock):
    tally = Tally(CELLS, clock)
    for cell in CELLS:
        tally.note(cell.hash, ended("skipped"))
    assert (tally.done, tally.fraction) == (3, 1.0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "?"), (0.4, "0 s"), (59.6, "1 min 00 s"), (125, "2 min 05 s"), (11400, "3 h 10 min")],
)
def test_durations_read_well(seconds, text):
    assert duration(seconds) == text


def test_a_run_goes_on_when_nobody_reads_its_output(tmp_path):
    script = (
        "import sys, time\n"
        "from rewire.experiments.progress import Progress\n"
        "progress = Progress('json')\n"
        "progress.start([])\n"
        "for i in range(50): progress.tick(); progress._line({'event': 'eval', 'i': i})\n"
        "progress.finish({})\n"
        "print('and so does a later print')\n"
        "open(sys.argv[1], 'w').write('all 50')\n"
    )
    read, write = os.pipe()
    os.close(read)
    mark = tmp_path / "mark"
    run = subprocess.run(
        [sys.executable, "-c", script, str(mark)], stdout=write, stderr=subprocess.PIPE, text=True
    )
    os.close(write)
    assert (run.returncode, run.stderr) == (0, "")
    assert mark.read_text() == "all 50"


def test_rich_and_torch_are_imported_only_where_they_are_needed():
    script = (
        "import sys, rewire.experiments.progress\n"
        "print([name for name in ('rich', 'torch') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="there is no progress 'loud'; one of auto, rich"):
        Progress("loud")
