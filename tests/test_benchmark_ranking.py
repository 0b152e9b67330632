"""The ranking of rules: its numbers are the runs', its ranks those of equal edges, its page is
written from them and from nothing else."""

import json
import shutil
import sys
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1]))  # benchmarks are not installed
from benchmarks import ranking  # noqa: E402
from benchmarks.ranking import __main__ as command  # noqa: E402
from benchmarks.ranking import drawing, page, ranks  # noqa: E402
from rewire.experiments import kinds, runner, store  # noqa: E402
from rewire.experiments.config.presets import presets  # noqa: E402

SMALL = ("data=digits", "steps=110", "evaluate_every=55", "densities=[0.2]")
FAMILY = [name for name in presets() if name.startswith("ranking-")]


def run(folder, *overrides, hidden=(24, 16)):
    model = f"model={{name='mlp',hidden={list(hidden)}}}"
    with pytest.MonkeyPatch.context() as patch:  # nobody reads these reports
        patch.setattr("rewire.experiments.report.write_report", lambda out: None)
        asked = [*SMALL, model, *overrides]
        runner.run_experiment("ranking-lenet", asked, out=folder, workers=0, progress="quiet")
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One network; a rule's other seeds; the rule with another field; another network."""
    out = tmp_path_factory.mktemp("ranking")
    return {
        "first": run(out / "a", "rules=[Dense,Static,RigL,GradR]", "seeds=2"),
        "more": run(out / "b", "rules=[Static]", "seeds=[2]"),
        "tuned": run(out / "c", "rules=[RigL]", "seeds=2", "rules.RigL.fraction=0.1"),
        "other": run(out / "d", "rules=[Dense,Static,RigL]", "seeds=2", hidden=[16]),
    }


@pytest.fixture(scope="module")
def results(runs):
    return ranking.summary([runs["first"], runs["more"], runs["other"]], [runs["tuned"]])


def test_means_are_those_of_the_runs_and_fall_from_first_to_last(runs, results):
    network = results["networks"][0]
    assert network["seeds"] == [0, 1, 2] and list(network["densities"]) == ["0.2"]
    rows = [row for name in ("first", "more") for row in store.results(runs[name])]
    for density, entries in network["densities"].items():
        assert {e["label"] for e in entries} == {"Static", "RigL", "GradR"}
        for e in entries:
            own = [r for r in rows if (r["label"], r["requested_density"])
                   == (e["label"], float(density))]  # fmt: skip
            accuracy = [r["test_accuracy"] for r in own]
            assert len(accuracy) == (3 if e["label"] == "Static" else 2)
            assert e["test"] == {"values": accuracy, "mean": mean(accuracy), "sd": stdev(accuracy)}
            assert e["train_flops"]["sparse"] == mean(r["train_flops_sparse"] for r in own)
            silent = e["label"] == "GradR"  # it keeps what it silences
            held = 1.0 if silent else float(density)
            assert e["most_held"] == pytest.approx(held, rel=1e-3)
        means = [e["test"]["mean"] for e in entries]
        assert means == sorted(means, reverse=True)
    dense = [r["test_accuracy"] for r in rows if r["label"] == "Dense"]
    assert network["dense"]["test"]["mean"] == mean(dense)


def test_a_rule_that_kept_more_edges_has_no_rank(results):
    for entries in results["networks"][0]["densities"].values():
        places = {e["label"]: e["rank"] for e in entries}
        assert places.pop("GradR") is None
        assert sorted(places.values()) == [1, 2]
    ranked = ranking.overall(results["networks"])
    assert ranked["left_out"] == ["GradR"]
    assert {rule["label"] for rule in ranked["rules"]} == {"Static", "RigL"}


def test_tuned_runs_stand_beside_the_same_network_alone(runs, results):
    first, second = results["networks"]
    assert "tuned" not in second
    for row in ranks.by_tuning(first):
        assert row["label"] == "RigL" and row["after"] == {"fraction": 0.1}
        usual, tuned = (next(e for e in first[key][row["density"]] if e["label"] == "RigL")
                        for key in ("densities", "tuned"))  # fmt: skip
        assert row["gain"] == pytest.approx(tuned["test"]["mean"] - usual["test"]["mean"])
    with pytest.raises(ValueError, match="none of the other runs has this network"):
        ranking.summary([runs["other"]], [runs["tuned"]])


def entry(label, *values, flops=1.0, edges=1.0, over=False):
    return {"label": label, "rule": label, "over": over, "edges": edges, "most_held": 1.0,
            "train_flops": {"sparse": flops}, "seeds": list(range(len(values))),
            "test": {"values": list(values), "mean": mean(values), "sd": None}}  # fmt: skip


def network(name, entries, lower=False, contrasts=()):
    ranked = ranks.add_ranks(entries, lower)
    metric = {"key": "accuracy", "title": "accuracy", "lower": lower, "percent": True}
    return {"name": name, "metric": metric, "dense": None, "densities": {"0.1": ranked},
            "contrasts": [list(pair) for pair in contrasts]}  # fmt: skip


def test_ranks_apart_have_intervals_of_one_place_and_ranks_that_mix_have_wider_ones():
    apart = ranks.add_ranks([entry("A", 0.9, 0.91), entry("B", 0.5, 0.51)], lower=False)
    assert [(e["label"], e["rank"], e["interval"]) for e in apart] == [
        ("A", 1, [1, 1]),
        ("B", 2, [2, 2]),
    ]
    mixed = ranks.add_ranks([entry("A", 0.9, 0.1), entry("B", 0.5, 0.49)], lower=True)
    assert [e["label"] for e in mixed] == ["B", "A"]  # the lower is better
    assert all(e["interval"] == [1, 2] for e in mixed)


def test_of_one_seed_no_interval_is_told():
    alone = ranks.add_ranks([entry("A", 0.9), entry("B", 0.5, 0.51)], lower=False)
    assert [(e["rank"], e["interval"]) for e in alone] == [(1, None), (2, None)]
    upside = ranks.add_ranks([entry("A", 0.1), entry("B", 0.5, 0.51)], lower=False)
    nets = [network("here", alone), network("there", upside)]
    assert ranking.changes(ranking.overall(nets)) == []
    assert "What changes cannot be said: here, there has rules" in "\n".join(page._moved(nets))


def test_resampled_means_spread_as_means_of_as_many_seeds_do():
    rng = np.random.default_rng(0)
    spreads = [ranks._means(rng.normal(size=3), rng).var() for _ in range(400)]
    assert np.mean(spreads) == pytest.approx(1 / 3, rel=0.1)


def test_the_mean_rank_and_its_change_are_those_of_the_networks():
    here = network("here", [entry("A", 0.9, 0.91), entry("B", 0.5, 0.51), entry("C", 0.1, 0.1)])
    there = network("there", [entry("A", 0.1, 0.1), entry("B", 0.5, 0.51), entry("C", 0.9, 0.91)])
    ranked = ranking.overall([here, there])
    assert {rule["label"]: rule["mean"] for rule in ranked["rules"]} == {"A": 2, "B": 2, "C": 2}
    by_label = {rule["label"]: rule["interval"] for rule in ranked["rules"]}
    assert by_label["A"] == [1, 3] and by_label["B"] == [2, 2]
    assert ranked["agreement"][0]["rho"] == -1
    moved = {row["label"]: (row["best"]["network"], row["worst"]["network"])
             for row in ranking.changes(ranked)}  # fmt: skip
    assert moved == {"A": ("here", "there"), "C": ("there", "here")}


def test_the_frontier_is_what_nothing_as_cheap_passes():
    entries = [
        entry("cheap", 0.5, 0.5, flops=1.0), entry("dear", 0.9, 0.9, flops=9.0),
        entry("beaten", 0.4, 0.4, flops=1.0), entry("waste", 0.9, 0.9, flops=10.0),
        entry("unsure", 0.5, 0.3, flops=0.9),
    ]  # fmt: skip
    found = ranking.frontier(network("n", entries), "training FLOPs")
    assert [(p["label"], p["share"]) for p in found if p["label"] != "cheap"] == [
        ("unsure", 1.0),
        ("dear", 1.0),
    ]
    (cheap,) = (p for p in found if p["label"] == "cheap")
    assert 0.6 < cheap["share"] < 0.9  # where "unsure" draws its better seed twice it is as good


def test_contrasts_are_tested_over_all_networks_together_from_six_differences_on():
    rng = np.random.default_rng(0)
    seeds = [rng.normal(0.02, 0.002, 6), rng.normal(2.0, 0.2, 6)]  # of another size
    nets = [
        network(name, [entry("A", *(0.5 + sign * d)), entry("B", *[0.5] * 6)], lower, [("A", "B")])
        for name, d, lower, sign in [("x", seeds[0], False, 1), ("y", seeds[1], True, -1)]
    ]
    (found,) = ranks.contrasts(nets)
    assert found["n"] == 12 and found["p_holm"] == pytest.approx(2 / 2**12)
    assert found["by_network"]["y"]["mean"] == pytest.approx(seeds[1].mean())  # lower is better
    few = network("x", [entry("A", 0.9, 0.9), entry("B", 0.5, 0.5)], contrasts=[("A", "B")])
    assert ranks.contrasts([few])[0]["p"] is None


def test_the_page_is_written_between_its_comments_from_the_result_file(
    runs, results, tmp_path, capsys
):
    file, where = tmp_path / "results.json", tmp_path / "ranking.md"
    file.write_text(json.dumps(results))
    where.write_text(f"Before.\n{page.BEGIN}\nold\n{page.END}\nAfter.\n")
    pictures = ["--picture", str(tmp_path / "r.svg"), "--frontier", str(tmp_path / "f.svg")]
    assert command.main([str(file), "--page", str(where), "--markdown", *pictures]) == 0
    text = where.read_text()
    assert text.startswith("Before.\n") and text.endswith("After.\n") and "\nold\n" not in text
    assert capsys.readouterr().out.strip() in text
    best = results["networks"][0]["densities"]["0.2"][0]
    assert f"{100 * best['test']['mean']:.2f} ± {100 * best['test']['sd']:.2f}" in text
    assert "in none of the runs: " in text and "## Default and tuned" in text
    assert (tmp_path / "r.svg").read_text() == drawing.ranks(results)
    assert "</svg>" in (tmp_path / "f.svg").read_text()
    assert command.main([str(file), str(runs["first"])]) == 2
    assert "it stands alone" in capsys.readouterr().err


def test_of_a_run_that_is_not_finished_the_finished_seeds_are_ranked(runs, tmp_path):
    """A run that was asked for a third seed, and stopped before it trained."""
    half = store.Run(shutil.copytree(runs["other"], tmp_path / "half"))
    described = store.read_json(runs["other"] / "experiment.json")
    described["cells"].append({"hash": "0" * 16, "label": "RigL", "seed": 2})
    half.write_experiment("", described)
    (network,) = ranking.summary([half.path])["networks"]
    assert network["seeds"] == [0, 1]
    assert network["left_out"] == ["seeds begun, not finished: 2"]
    empty = store.Run(tmp_path / "none")
    described["cells"] = described["cells"][-1:]
    empty.write_experiment("", described)
    with pytest.raises(ValueError, match="no finished training yet"):
        ranking.summary([empty.path])


@pytest.mark.parametrize("name", FAMILY)
def test_the_family_differs_in_the_network_alone(name, monkeypatch):
    """All rules, no field of any changed but IMP's fraction; and the main ones can be had alone."""
    experiment = kinds.load(name, ["data=digits"])
    other = kinds.load(FAMILY[0], ["data=digits"])
    assert [e.label for e in experiment.rules] == [e.label for e in other.rules]
    assert experiment.contrasts == other.contrasts
    assert {key for e in experiment.rules for key in e.fields} <= {"fraction"}
    assert 0.1 in experiment.densities and len(experiment.densities) >= 2


def test_the_command_is_told_without_the_folder_it_was_given():
    assert ranking.command_of("rewire run all-rules -o /here/runs seeds=2 -j 1") == (
        "rewire run all-rules seeds=2 -j 1"
    )
    assert ranking.command_of("rewire run /here/runs/tune-lstm/tuned.toml seeds=2") == (
        "rewire run tune-lstm/tuned.toml seeds=2"
    )


def test_the_page_of_the_documentation_is_that_of_its_result():
    root = Path(__file__).parents[1]
    newest = sorted((root / "benchmarks/results").glob("*-ranking.json"))[-1]
    text = (root / "docs/ranking.md").read_text()
    assert page.filled(text, json.loads(newest.read_text())) == text
    assert newest.name in text
