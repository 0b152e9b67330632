"""Experiments in the spiking world: their files, their cells, what a simulation leaves behind."""

import json
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from scipy import io as scipy_io

from rewire.experiments import kinds

pytest.importorskip("brian2")

from rewire.analysis import topography  # noqa: E402
from rewire.analysis.lifetimes import lifetimes  # noqa: E402
from rewire.edit_log import parse  # noqa: E402
from rewire.experiments import cli, store  # noqa: E402
from rewire.experiments.cells import Cell  # noqa: E402
from rewire.experiments.errors import ConfigError, exit_code_of  # noqa: E402
from rewire.experiments.report.graphs import graph_of  # noqa: E402
from rewire.experiments.spiking import cells, simulation, trainer  # noqa: E402
from rewire.models.spiking.connectivity_file import ConnectivityFileError  # noqa: E402

PLASTIC = {
    "rule": "StructuralPlasticity", "rate": 2e4, "slots": 32, "initial": "given",
    "partner": "spiked", "threshold": 0.1, "birth": 0.2, "p_form": 1.0, "p_elim_dep": 0.3,
}  # fmt: skip
BASE = {
    "name": "small",
    "world": "brian",
    "model": {"name": "topographic-map", "side": 6, "sigma_stim": 1.0},
    "seconds": 3,
    "record_every": 1,
    "seeds": 1,
    "rules": [PLASTIC, {"rule": "Static", "model": {"case": 2}}],
}


def experiment(**changes):
    tree = {key: value for key, value in {**BASE, **changes}.items() if value is not None}
    return kinds.parse(tree)


def planned(**changes):
    return kinds.plan(experiment(**changes))


def refusal(**changes):
    with pytest.raises(ConfigError) as error:
        experiment(**changes)
    return str(error.value)


# -- the file -------------------------------------------------------------------------------------


def test_every_mistake_is_told_at_once_with_the_nearest_name():
    said = refusal(
        model={"name": "topographic-map", "sid": 6, "case": "one"},
        second=60,
        rules=[
            {"rule": "StructuralPlastisity"},
            {"rule": "SET", "fractoin": 0.3},
            {"rule": "Static", "model": {"slts": 3}},
            {"rule": "Static"},
            "Dense",
        ],
    )
    for part in (
        "second: unknown key (did you mean 'seconds'?)",
        "model.sid: unknown option (did you mean 'side'?)",
        "model.case: ",
        "rules.StructuralPlastisity.rule: there is no rule 'StructuralPlastisity' (did you mean",
        "rules.SET: SET has no parameter 'fractoin' (did you mean 'fraction'?)",
        "rules.Static.model.slts: unknown option (did you mean 'slots'?)",
        "rules.Static: two rules have this label",
        "rules.Dense: the slots of a spiking network bound its fan-in",
    ):
        assert part in said


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"rule": "DeepR"}, "rules.DeepR: DeepR needs a learning rate here: set its field eta"),
        ({"rule": "OBS"}, "rules.OBS.rule: there is no rule 'OBS'"),
        ({"rule": "SNIP"}, "rules.SNIP: SNIP needs the signal 'connection_sensitivity'"),
        ({"rule": "RandomReinit"}, "RandomReinit is a branch, not a rule"),
        ({**PLASTIC, "slots": 4}, "starts with 32 synapses, but has 4 slots"),
        ({"rule": "IMP", "rounds": 3000, "fraction": 1e-3, "model": {"side": 16}},
         "IMP trains 3001 times in 3000 ticks: simulate longer"),
    ],
)  # fmt: skip
def test_a_rule_that_cannot_live_there_is_refused_before_anything_runs(rule, said):
    assert said in refusal(rules=[rule])


def test_what_the_model_and_the_network_refuse_is_told_once():
    assert "model.start: should be 'kernel', 'random'" in refusal(
        model={**BASE["model"], "start": "ful"}
    )
    assert "model: delay = 1.5 ms is no multiple of 1.0" in refusal(
        model={**BASE["model"], "delay": 1.5}
    )
    assert "no rule with the label 'Statik' (did you mean 'Static'?)" in refusal(
        contrasts=[["StructuralPlasticity", "Statik"]]
    )
    assert refusal(period=1.5).count("no multiple of the time step") == 1
    assert "world: there is no world 'nest'" in refusal(world="nest")


def test_an_experiment_reads_back_from_its_own_tree():
    asked = experiment(period=2.0, contrasts=[["StructuralPlasticity", "Static"]])
    again = kinds.parse(asked.as_tree())
    assert again == asked and again.as_tree() == asked.as_tree()


def test_without_brian2_the_message_says_what_to_install_and_the_rest_works():
    code = f"""
        import sys
        sys.modules["brian2"] = None  # as if it were not installed
        from rewire.experiments import cli, kinds
        from rewire.experiments.config import presets
        from rewire.experiments.errors import ConfigError
        assert {{"quickstart", "topographic-map"}} <= set(presets.presets())
        try:
            kinds.parse({BASE!r})
        except ConfigError as error:
            assert 'pip install "neurorewire[spiking]"' in str(error), error
        else:
            raise AssertionError
        assert cli.main(["models"]) == 0
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


# -- cells ----------------------------------------------------------------------------------------


def test_cells_are_one_for_each_rule_and_seed_named_by_what_decides_their_result():
    listed = planned(seeds=[4, 2])
    assert [(c.label, c.seed) for c in listed] == [
        ("StructuralPlasticity", 4), ("Static", 4), ("StructuralPlasticity", 2), ("Static", 2),
    ]  # fmt: skip
    assert len({c.hash for c in listed}) == 4 and all(not c.parents for c in listed)
    assert listed[0].config["kind"] == "spiking" and listed[0].weight == 3000
    assert "codegen" not in listed[0].config and listed[1].config["model"]["case"] == 2

    def names(**changes):
        return [c.hash for c in planned(**changes)]

    here = names()
    assert here == names(codegen="numpy", threads=2, title="x", name="y", period=1.0)
    assert here == names(model={**BASE["model"], "sigma_stim": 1, "g_max": 0.2})
    for change in ({"codegen": "cython"}, {"period": 2.0}, {"seconds": 4}, {"record_every": 2}):
        assert not set(here) & set(names(**change))


def test_options_at_their_defaults_leave_a_cells_name_as_it_was():
    every = {**BASE["model"], "start": "kernel", "start_file": "", "lag_0": True,
             "deferred": False, "dead_tick": False, "early_input": False}  # fmt: skip
    names = {c.hash for c in planned()}
    assert names == {c.hash for c in planned(model=every)}
    for option in ({"lag_0": False}, {"deferred": True}, {"dead_tick": True}, {"early_input": True},
                   {"start": "matched"}):  # fmt: skip
        assert not names & {c.hash for c in planned(model={**BASE["model"], **option})}


def cell_from(path):
    return planned(model={**BASE["model"], "start": "bamford", "start_file": str(path)})[0]


def test_another_file_to_start_from_is_another_cell_and_no_such_file_exits_with_3(tmp_path):
    path = tmp_path / "InitialConnectivity.mat"

    def from_file(partner):
        sources = np.full((32, 36), partner, np.uint16)
        scipy_io.savemat(path, {"ConnPostToPre": sources, "WeightPostToPre": 0.1 + 0.0 * sources})
        return cell_from(path)

    one = from_file(1)
    assert one.hash == cell_from(path).hash != from_file(2).hash
    with pytest.raises(ConnectivityFileError, match="not the file that this simulation started"):
        simulation.Simulation(cells.settings(one.config))
    path.write_bytes(b"MATLAB 5.0 MAT-file, cut short")
    with pytest.raises(ConnectivityFileError, match="no MATLAB 5 file") as error:
        cell_from(path)
    assert exit_code_of(error.value) == 3


def test_a_cells_config_is_read_back_to_what_it_was_made_of():
    cell = planned(period=2.0)[1]
    s = cells.settings(json.loads(json.dumps(cell.config)))
    assert (s.seed, s.seconds, s.period, s.record_every, s.codegen) == (0, 3, 2.0, 1, "numpy")
    assert s.model.side == 6 and s.model.case == 2 and s.rule.name == "Static" and s.ticks == 1500
    with pytest.raises(ConfigError, match="newer version"):
        cells.settings({**cell.config, "schema": 99})


def test_two_entries_that_ask_for_the_same_are_refused():
    with pytest.raises(ConfigError, match="same simulation as rules.a"):
        planned(rules=[{"rule": "Static", "label": "a"}, {"rule": "Static", "label": "b"}])


# -- a simulation ---------------------------------------------------------------------------------


def run(cell: Cell, folder, should_stop=lambda: False):
    folder = folder / "cells" / cell.hash
    folder.mkdir(parents=True, exist_ok=True)
    told = []
    trainer.run_cell(cell, folder, told.append, should_stop)
    return store.CellStore(folder), told


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    return [run(cell, out) for cell in planned()], out


def test_rows_are_written_at_the_start_and_at_the_end(finished):
    (_, told), *_ = finished[0]
    rows = [r for r in store.results(finished[1]) if r["label"] == "StructuralPlasticity"]
    start, end = rows
    assert tuple(start) == tuple(end) == store.SPIKING_ROW_FIELDS
    assert (start["level"], start["simulated_seconds"], start["step"]) == (0, 0, 0)
    assert (end["level"], end["simulated_seconds"], end["step"]) == (1, 3, 3000)
    assert start["ff_synapses"] == start["lateral_synapses"] == 16
    assert start["weight_proportion"] == start["mean_weight_proportion"] == 1
    assert start["rate_hz"] is None
    # by the sum of weights, and by their mean: what they differ by is the number of synapses
    synapses = end["ff_synapses"] / start["ff_synapses"]
    assert end["weight_proportion"] == pytest.approx(end["mean_weight_proportion"] * synapses)
    assert synapses != 1
    assert end["ff_synapses"] + end["lateral_synapses"] == end["edges"] / 36
    assert end["events_per_s"] == (end["formed"] + end["dropped"]) / 3 > 30
    assert start["edges"] + end["formed"] - end["dropped"] == end["edges"]
    assert all(0 <= end[f"p_{m}_{w}"] <= 1 for m in ("ad", "sigma_aff") for w in ("conn", "weight"))
    assert told[-1] == {"event": "end"}


def test_rows_of_older_versions_get_their_mean_weight(finished, tmp_path):
    shutil.copytree(finished[1], tmp_path, dirs_exist_ok=True)
    for index in tmp_path.glob("index.sqlite*"):
        index.unlink()
    for cell in (tmp_path / "cells").iterdir():
        log = store.CellStore(cell)
        older = [{k: v for k, v in event.items() if k not in ("mean_weight_proportion", "crc")}
                 for event in log.events()]  # fmt: skip
        (cell / "metrics.jsonl").unlink()
        for event in older:
            store.CellStore(cell).append(event)
    for rows in (store.results, store.evals):
        ours, theirs = rows(finished[1]), rows(tmp_path)
        assert len(ours) == len(theirs) > 3
        for one, other in zip(ours, theirs, strict=True):
            mean = other.pop("mean_weight_proportion")
            assert mean == pytest.approx(one["mean_weight_proportion"], rel=1e-12)


def test_the_stretches_of_a_run_add_up_to_it(finished):
    end = store.results(finished[1])[1]
    stretches = [e for e in store.evals(finished[1]) if e["cell"] == end["cell"]]
    assert [e["simulated_seconds"] for e in stretches] == [1, 2, 3]
    assert tuple(stretches[0]) == store.SPIKING_EVAL_FIELDS
    for name in ("rate_hz", "events_per_s"):
        assert np.mean([e[name] for e in stretches]) == pytest.approx(end[name])
    assert stretches[-1]["sigma_aff_conn"] == end["sigma_aff_conn"]


def test_the_map_that_was_kept_is_the_one_that_was_measured(finished):
    (cell, _), (static, _) = finished[0]
    rows = [e for e in cell.events() if e["event"] == "level"]
    for row in rows:
        tree, meta = cell.read_level(row["level"])
        graph = graph_of(tree["keys"], meta).with_columns({"weight": tree["weight"]})
        assert len(graph) == row["edges"]
        measured = topography.quality(graph, "ff")
        assert measured == {name: row[name] for name in measured}
    start, end = (static.read_level(n)[0] for n in (0, 1))
    assert torch.equal(start["keys"], end["keys"])
    assert not torch.equal(start["weight"], end["weight"])


def test_the_edit_log_leads_from_the_start_to_the_end(finished):
    cell = finished[0][0][0]
    start = cell.read_start(0)[0]["keys"]
    lives = lifetimes(start, parse(cell.edit_log.read()), 3000)
    assert len(lives.key) - int((lives.died < 3000).sum()) == pytest.approx(
        len(cell.read_level(1)[0]["keys"]), abs=3
    )


def test_the_raster_holds_the_last_seconds_of_both_sheets(finished):
    cell, _ = finished[0][0]
    tree, meta = cell.read_level(1)
    last = [e for e in cell.events() if e["event"] == "eval"][-2:]
    assert meta["raster"] == {"start": 1, "dt": 0.001} and meta["w_max"] == 0.2
    for name, hertz in (("target", None), ("source", 20)):
        unit, step = tree["spikes"][name]["unit"], tree["spikes"][name]["step"]
        assert 0 <= unit.min() and unit.max() < 36 and 0 <= step.min() and step.max() < 2000
        if hertz is None:
            assert len(unit) / 36 / 2 == pytest.approx(np.mean([e["rate_hz"] for e in last]))
        else:
            assert len(unit) / 36 / 2 == pytest.approx(hertz, rel=0.15)


def test_imp_shares_the_seconds_among_its_trainings_and_rewinds_weights(tmp_path):
    (cell,) = planned(rules=[{"rule": "IMP", "rounds": 2, "fraction": 0.5}], seconds=4)
    kept, _ = run(cell, tmp_path)
    rounds = [(e["simulated_seconds"], e["round"]) for e in kept.events() if e["event"] == "eval"]
    assert rounds == [(1.0, 0), (2.0, 1), (3.0, 2), (3.999, 2)]  # 1,333 ticks each
    edges = [e["edges"] for e in kept.events() if e["event"] == "level"]
    assert edges == [1152, 288]


def left(kept):
    """All that a finished cell left, without times."""
    out = kept.path.parent.parent
    rows = store.without_times(store.results(out)), store.without_times(store.evals(out))
    tensors = [kept.read_level(n)[0] for n in (0, 1)]
    graphs = [(t["keys"].tolist(), t["weight"].tolist()) for t in tensors]
    spikes = {name: s["step"].tolist() for name, s in tensors[1]["spikes"].items()}
    return rows, kept.edit_log.read(), graphs, spikes


@pytest.mark.parametrize("rule", [PLASTIC, {"rule": "IMP", "rounds": 2, "fraction": 0.5}])
def test_a_cell_stopped_at_every_second_ends_as_if_nobody_had_asked(tmp_path, monkeypatch, rule):
    (cell,) = planned(rules=[rule], record_every=2, seconds=4)
    stops = 0
    while True:
        asked = iter([False, True])  # before the first second, and at its end
        kept, _ = run(cell, tmp_path / "stopped", lambda asked=asked: next(asked, True))
        if kept.finished:
            break
        stops += 1
        assert list(kept.path.glob("checkpoint-*"))
    assert stops >= 3
    monkeypatch.setenv("REWIRE_CHECKPOINT_SECONDS", "1000")
    assert left(kept) == left(run(cell, tmp_path / "at once")[0])


# -- commands -------------------------------------------------------------------------------------


def test_a_run_is_shown_resumed_estimated_and_reported_like_all_others(tmp_path, capsys):
    path = tmp_path / "small.json"
    path.write_text(json.dumps(BASE))
    out = tmp_path / "out"
    command = ["run", str(path), "--out", str(out), "--workers", "0"]
    assert cli.main([*command, "--dry-run"]) == 0
    assert "2 of 2 cells to train" in capsys.readouterr().out
    assert cli.main(command) == 0
    said = capsys.readouterr().out
    assert "after 3 s: sigma" in said and "The map at the end" in said
    assert cli.main(command) == 0
    assert "2 of them finished before" in capsys.readouterr().out
    assert "StructuralPlasticity" in (out / "report.html").read_text()
    assert cli.main(["results", str(out)]) == 0
    assert "sigma aff conn" in capsys.readouterr().out
    assert cli.main(["results", str(out), "--csv"]) == 0
    head = capsys.readouterr().out.splitlines()[0].split(",")
    assert head == list(store.SPIKING_ROW_FIELDS) and "test_accuracy" not in head
    assert "brian2" in json.loads((out / "experiment.json").read_text())["versions"]


def test_the_estimate_grows_with_the_time_simulated():
    longer = planned(seconds=300)
    by = kinds.estimate(experiment(seconds=300), longer)
    assert all(0.3 < by[c.hash].seconds < 3000 for c in longer)
    assert simulation.RASTER * by[longer[0].hash].bytes > 5000


@pytest.mark.parametrize("name", ["topographic-map", "bogdan_2018_cases", "rules-in-spikes"])
def test_the_presets_are_right_and_every_rule_in_them_can_live(name):
    asked = kinds.load(name)
    assert asked.about and asked.time and asked.source
    assert len(kinds.plan(asked)) == len(asked.rules) * len(asked.seeds)
