"""The report of runs of the spiking world: one small real run, shown whole and in parts."""

import base64
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pages import LOOKS, Page, barriers, in_a_browser, on_a_phone, scripts_of

pytest.importorskip("brian2")

from rewire import plugins  # noqa: E402
from rewire.analysis import topography  # noqa: E402
from rewire.edit_log import parse  # noqa: E402
from rewire.experiments import cli, compare, store  # noqa: E402
from rewire.experiments.report import figure_svg, write_report  # noqa: E402
from rewire.experiments.report.graphs import graph_of  # noqa: E402
from rewire.experiments.report.run import RunData, load  # noqa: E402
from rewire.experiments.report.spiking import animation, fields, sentences, tables  # noqa: E402
from rewire.experiments.report.spiking import page as spiking  # noqa: E402
from rewire.experiments.report.spiking.figures import _wrapped_lines, turnover_of  # noqa: E402
from rewire.experiments.report.spiking.maps import Change, MapRun, Sheet, simulated  # noqa: E402
from rewire.experiments.spiking.published import CASES, PUBLISHED, published  # noqa: E402
from rewire.graph import Edit, Graph, Population, Projection, Space, square_sheet  # noqa: E402

EVIL = "Static <script>alert(1)</script>$\\frac"
PLASTIC = {
    "rule": "StructuralPlasticity", "rate": 1e4, "slots": 32, "initial": "given",
    "partner": "spiked", "threshold": 0.1, "birth": 0.2, "p_form": 1.0, "p_elim_dep": 0.3,
}  # fmt: skip
NAMES = ("StructuralPlasticity", EVIL, "no lateral", "from nothing")
EXPERIMENT = {
    "name": "small-map",
    "title": "A small map",
    "about": "Four by four neurons.",
    "world": "brian",
    "model": {"name": "topographic-map", "side": 4, "sigma_stim": 1.0},
    "seconds": 2,
    "record_every": 1,
    "seeds": 2,
    "contrasts": [["StructuralPlasticity", EVIL]],
    "rules": [
        PLASTIC,
        {"rule": "Static", "label": EVIL},
        {**PLASTIC, "label": "no lateral", "model": {"lateral": False}},
        {**PLASTIC, "label": "from nothing", "model": {"start": "empty"}},
    ],
}
SECTIONS = {
    "map": "The map at the start and at the end",
    "fields": "Receptive fields at the start and at the end",
    "torus": "The map on the torus",
    "frames": "Animation of the connectivity",
    "time": "Spread (σ) and displacement (AD) over time",
    "spikes": "Spikes and rates",
    "weights": "Distribution of weights",
    "turnover": "Synapses formed and eliminated",
    "survival": "Survival of synapses",
    "controls": "Comparison with shuffled maps",
    "contrasts": "Contrasts and their limits",
    "made": "Definitions and provenance",
}


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spiking")
    (folder / "small.json").write_text(json.dumps(EXPERIMENT))
    made = folder / "out"
    code = cli.main(["run", str(folder / "small.json"), "--out", str(made), "--workers", "0"])
    assert code == 0
    return made


@pytest.fixture(scope="module")
def text(out):
    return (out / "report.html").read_text()


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def part(out, to, keep, rewrite=None):
    """A copy of the run that lists some cells only; ``rewrite`` changes a cell's folder."""
    made = to / "part"
    shutil.copytree(out, made, ignore=shutil.ignore_patterns("report.html", "index.sqlite*"))
    experiment = store.read_json(made / "experiment.json")
    experiment["cells"] = [c for c in experiment["cells"] if keep(c["label"], c["seed"])]
    (made / "experiment.json").write_text(json.dumps(experiment))
    for cell in experiment["cells"]:
        if rewrite is not None:
            rewrite(cell, made / "cells" / cell["hash"])
    return made


def shown(made) -> Page:
    return Page(write_report(made).read_text())


def section(text: str, name: str) -> str:
    return re.search(rf'<section id="{name}">.*?</section>', text, re.S)[0]


def pictures(text: str, name: str) -> list[str]:
    """What is told of each picture of a section to those who cannot see it."""
    tags = Page(section(text, name)).tags
    told = [a["aria-label"] for t, a in tags if t == "svg" and a.get("role") == "img"]
    return told + [a["alt"] for t, a in tags if t == "img"]


def test_many_rules_are_drawn_by_families_over_the_range_of_all(out, monkeypatch):
    monkeypatch.setattr("rewire.experiments.report.run.MOST_LINES", 3)
    maps = MapRun.of(load(out))
    time, rates, survival = (spiking.SECTIONS[i].show(maps) for i in (4, 5, 8))
    parts = {part["title"]: part["panels"] for part in (*time["parts"], rates["rates"])}
    assert [*parts] == ["σ by count", "AD by count", "σ by weight", "AD by weight",
                        "mean rate of the targets"]  # fmt: skip
    for panels in parts.values():
        drawn = [label for panel in panels for label in panel.labels]
        assert sorted(drawn) == sorted(NAMES)
        for panel in panels:
            assert {row["label"] for row in panel.svg.numbers} == {*panel.labels}
            assert len({maps.looks[label] for label in panel.labels}) == len(panel.labels)
    assert not survival["panels"] and survival["parts"]


def test_a_file_of_many_rules_tells_each_apart(out, monkeypatch):
    monkeypatch.setattr("rewire.experiments.report.run.MOST_LINES", 3)
    (axes,) = spiking.figure(load(out), "map").axes
    lines = [one for one in axes.lines if one.get_label() in NAMES]
    assert len({(one.get_color(), one.get_linestyle()) for one in lines}) == len(NAMES)


# -- the whole page -------------------------------------------------------------------------------


def test_every_section_is_there_under_its_heading_and_in_the_contents(text, page):
    for name, heading in SECTIONS.items():
        assert f"<h2>{heading}</h2>" in section(text, name)
    links = [a["href"] for t, a in page.tags if t == "a"]
    assert links == [f"#{name}" for name in SECTIONS]
    assert 'class="empty">N' not in text


def test_the_page_refers_to_nothing_outside_and_runs_only_its_own_script(text, page):
    body = text.split("</head>")[1]
    assert "http:" not in body and "https:" not in body.split('id="made"')[0]
    for tag, attrs in page.tags:
        assert tag not in ("link", "iframe", "object", "base")
        for name, value in attrs.items():
            if name in ("src", "href", "xlink:href", "srcset", "action", "data"):
                assert value.startswith(("#", "data:image/png;base64,"))
            assert not name.startswith("on")
    assert scripts_of(text) == [' type="application/json" id="replay"', "", ""]


def test_ids_are_unique_and_every_reference_has_one(page):
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len({*ids})
    used = {
        reference
        for _, attrs in page.tags
        for value in attrs.values()
        for reference in re.findall(r"^#([\w-]+)$|url\(#([\w-]+)\)", value or "")
    }
    assert {a or b for a, b in used} - {*ids} == set()


def test_a_hostile_label_stays_text(text, page):
    assert "<script>alert" not in text and "\\u003cscript>alert" in text
    assert EVIL in [attrs.get("data-label") for attrs, _ in page.rows]
    assert any(EVIL in told for told in pictures(text, "torus"))


def test_the_same_folder_gives_the_same_bytes(out, text, tmp_path):
    assert write_report(out, tmp_path / "again.html").read_text() == text


def test_how_it_was_made_is_on_the_page(out, page):
    made = page.section(SECTIONS["made"])
    experiment = store.read_json(out / "experiment.json")
    assert experiment["versions"]["brian2"] in made and experiment["created"] in made
    assert 'name = "small-map"' in made


# -- numbers --------------------------------------------------------------------------------------


def test_numbers_of_the_table_are_means_of_the_rows(out, page):
    rows = {(r["label"], r["level"], r["seed"]): r for r in store.results(out)}
    found = [(a["data-label"], c) for a, c in page.rows if "data-label" in a]
    assert [label for label, _ in found] == list(NAMES)
    seen = 0
    for label, cells in found:
        assert cells[1][1] == "2"
        for attrs, shown_text in cells:
            if "data-column" not in attrs:
                continue
            texts = []
            for level, name in ((0, "data-start"), (1, "data-value")):
                values = [rows[label, level, seed][attrs["data-column"]] for seed in (0, 1)]
                if None in values:
                    assert attrs[name] == "nan"
                    texts.append("–")
                else:
                    assert float(attrs[name]) == pytest.approx(np.mean(values), abs=1e-12)
                    digits = 1 if attrs["data-column"].endswith("synapses") else 2
                    texts.append(f"{float(attrs[name]):.{digits}f}")
            assert shown_text == " → ".join(texts)
            seen += 1
    assert seen == 4 * 8


def row(label, seed, **values):
    return {"label": label, "rule": "X", "seed": seed, "density": 0.1, "ff_synapses": 16.0,
            "sigma_aff_conn": 2.4, "ad_conn": 0.8, **values}  # fmt: skip


def change(label, start, end, seeds=2):
    points = [
        compare.Point(
            label, "X", None, level, tuple(row(label, seed, **values) for seed in range(seeds))
        )
        for level, values in enumerate((start, end))
    ]
    return label, Change(label, *points)


def said(*changes, contrasts=()):
    run = RunData(Path(), {"contrasts": contrasts}, [], [], [])
    headline, qualified = sentences.headline(run, dict(changes))
    return " ".join([headline, *qualified])


def test_the_headline_names_the_rule_that_narrowed_fields_most_from_the_common_start():
    told = said(
        change("a", {}, {"sigma_aff_conn": 2.2}),
        change("b", {}, {"sigma_aff_conn": 1.9, "ad_conn": 0.9, "ff_synapses": 11.0}),
        change("c", {}, {"ad_conn": 5.1}),
        change(
            "random", {"sigma_aff_conn": 3.8, "ad_conn": 6}, {"sigma_aff_conn": 3, "ad_conn": 3}
        ),
        change("nothing", {"sigma_aff_conn": None, "ad_conn": None}, {"sigma_aff_conn": 1.5}),
    )
    assert told.startswith(
        "The map was refined most under b: receptive fields narrowed from σ = 2.40 to 1.90 cells, "
        "and their distance from their own place (AD) went from 0.80 to 0.90."
    )
    assert "At the end b has 11.0 feed-forward synapses a neuron, 16.0 at the start." in told
    assert "The map left its place most under c: AD from 0.80 to 5.10." in told
    assert "Rules with another start: random, σ from 3.80 to 3.00, AD from 6.00 to 3.00." in told
    assert "Maps that grew from no synapse: nothing, σ = 1.50 and AD = 0.80." in told
    assert told.endswith("Means of 2 seeds: no claim of significance.")


def test_where_no_rule_narrows_fields_none_is_said_to_refine():
    told = said(change("a", {}, {"sigma_aff_conn": 2.6}, seeds=1))
    assert told == (
        "No rule refined the map: receptive fields (σ) went from 2.40 to 2.60 under a. "
        "One seed: no claim of significance."
    )
    nothing = {"sigma_aff_conn": None, "ad_conn": None}
    assert said(change("a", nothing, nothing)).startswith("No rule started from a map")


def test_a_claim_takes_six_seeds_and_a_named_contrast():
    rng = np.random.default_rng(0)

    def told(seeds, contrasts):
        ends = {}
        for label, sigma in (("a", 1.7), ("b", 2.2)):
            points = [
                compare.Point(label, "X", None, level, tuple(
                    row(label, s, sigma_aff_conn=sigma + rng.normal(0, 0.01)) for s in range(seeds)
                )) for level in (0, 1)
            ]  # fmt: skip
            ends[label] = Change(label, *points)
        return said(*ends.items(), contrasts=contrasts)

    claim = "Contrasts that the seeds tell apart: a against b (σ)."
    assert claim in told(7, [["a", "b"]])
    assert claim not in told(7, []) and claim not in told(5, [["a", "b"]])


def test_the_named_contrast_is_of_both_measures_and_too_few_seeds_are_not_tested(page):
    rows = [cells for attrs, cells in page.rows if "data-contrast" in attrs]
    assert [cells[1][1] for cells in rows] == ["σ", "AD"]
    assert all("no test below 6 seeds" in cells[-1][1] for cells in rows)
    assert "With 2 seeds no difference is called significant" in page.text


def test_published_numbers_belong_to_the_same_network_rule_and_time_only():
    from rewire.experiments.config.presets import PRESETS
    from rewire.experiments.config.toml import read

    preset = read(PRESETS / "bogdan_2018_cases.toml")
    found = published({**preset, "seeds": 2, "name": "mine"})
    assert list(found) == list(CASES)
    assert found["case 3"] == {name: values[2] for name, values in PUBLISHED.items()}
    assert published({**preset, "seconds": 60}) == {} == published(EXPERIMENT)
    other = [{**preset["rules"][0], "rate": 1e3}, {**preset["rules"][1], "label": "still"}]
    assert list(published({**preset, "rules": other})) == ["still"]
    for start, counts in ((None, True), ("kernel", True), ("bamford", True), ("empty", False)):
        model = {"name": "topographic-map"} | ({"start": start} if start else {})
        assert bool(published({**preset, "model": model})) is counts
    assert published({**preset, "model": {"name": "topographic-map", "side": 8}}) == {}


def test_published_numbers_stand_beside_ours(out, monkeypatch, page):
    assert "Comparison with published numbers" not in page.text
    case = {name: values[0] for name, values in PUBLISHED.items()}
    monkeypatch.setattr(tables, "published", lambda config: {"StructuralPlasticity": case})
    (table,) = re.findall(r'<table class="published">.*?</table>', spiking.render(load(out)), re.S)
    cells = next(c for _, c in Page(table).rows if c[0][1] == "σ by count")
    ours, theirs = (float(a["data-value"]) for a, _ in cells[1:3])
    ends = [r for r in store.results(out) if r["label"] == "StructuralPlasticity" and r["level"]]
    assert ours == pytest.approx(np.mean([r["sigma_aff_conn"] for r in ends]))
    assert (theirs, cells[3][1]) == (1.61, f"{ours / 1.61:.2f}")


def test_a_measure_of_a_package_stands_in_the_table_at_the_start_and_at_the_end(out, monkeypatch):
    points = {"rewire.measures": [SimpleNamespace(name="n_edges", load=lambda: len)]}
    monkeypatch.setattr(plugins, "entry_points", lambda group: points.get(group, []))
    rows = {(r["label"], r["level"], r["seed"]): r for r in store.results(out)}
    cells = {
        attrs["data-label"]: cell
        for attrs, cells in Page(spiking.render(load(out))).rows if "data-label" in attrs
        for cell in cells if cell[0].get("data-measure") == "n_edges"
    }  # fmt: skip
    assert list(cells) == list(NAMES)
    for label, (attrs, shown_text) in cells.items():
        start, end = (
            np.mean([rows[label, level, seed]["edges"] for seed in (0, 1)]) for level in (0, 1)
        )
        assert float(attrs["data-value"]) == end
        assert shown_text == f"{start:.3g} → {end:.3g}"


# -- pictures -------------------------------------------------------------------------------------


def test_receptive_fields_are_of_the_same_neurons_at_both_ends_of_every_rule(out, text):
    told = [t for t in pictures(text, "fields") if t.startswith("Receptive field at")]
    assert len(told) == len(NAMES) * 2 * 6
    one = simulated(load(out))["StructuralPlasticity"][0]
    map_ = one.after.map("weight")
    assert (
        "Receptive field at the end under StructuralPlasticity of the neuron in row 2, column 2: "
        f"spread {map_.sigma[10]:.2f} cells, {map_.deviation[10]:.2f} from its place." in told
    )
    assert sum("no synapse" in t and "at the start under from nothing" in t for t in told) == 6


def sheet(side, pre, post, weight=None):
    """A sheet with these feed-forward synapses."""
    size = side**2
    space = Space(
        [Population(n, size, square_sheet(size)) for n in ("source", "target")],
        [Projection("ff", "source", "target", "linear", (size, size))],
    )
    keys = torch.from_numpy(np.sort(np.asarray(post) * size + np.asarray(pre)))
    graph = Graph(space, keys).with_columns({"weight": torch.full((len(keys),), 0.2).double()})
    return Sheet(graph, 0.2, 0.0, 1e-3)


def test_fields_laid_over_each_other_have_each_neurons_own_place_in_the_middle():
    side, every = 6, np.arange(36)
    expected = np.zeros((side, side))
    expected[3, 3] = 1
    assert np.allclose(fields.centred(sheet(side, every, every)), expected)
    right = every // side * side + (every + 1) % side  # one to the right, over the edge too
    expected = np.roll(expected, 1, axis=1)
    assert np.allclose(fields.centred(sheet(side, right, every)), expected)


def test_a_perfect_map_is_a_lattice_whose_lines_cross_the_edges():
    side, every = 6, np.arange(36)
    lines = _wrapped_lines(sheet(side, every, every).map().preferred, side)
    segments = np.concatenate([np.stack([x, y], 1).reshape(-1, 3, 2) for x, y in lines])
    lengths = np.hypot(*(segments[:, 1] - segments[:, 0]).T)
    assert np.allclose(lengths, 1)
    inside = ((segments[:, :2] > -0.5) & (segments[:, :2] < side - 0.5)).all((1, 2))
    assert inside.sum() == 2 * side * (side - 1)
    # each line over an edge is there twice: where it leaves and where it comes in
    assert len(segments) - inside.sum() == 2 * 2 * side


def test_neurons_without_synapses_have_no_place_in_the_mesh():
    lines = _wrapped_lines(sheet(6, [0, 1], [0, 1]).map().preferred, 6)
    assert sum(len(x) for x, _ in lines) == 3
    assert _wrapped_lines(np.full((36, 2), np.nan), 6) == []


def test_curves_are_the_evaluations_from_the_start_on(out):
    (one, _) = simulated(load(out))["StructuralPlasticity"]
    seconds, sigma = one.over_time("sigma_aff_conn")
    assert seconds.tolist() == [0, 1, 2]
    assert sigma[-1] == one.last["sigma_aff_conn"] and sigma[0] == one.first["sigma_aff_conn"]
    assert np.isnan(one.over_time("rate_hz")[1]).tolist() == [True, False, False]
    at, formed, dropped = turnover_of(one)
    assert at.tolist() == [0, 1, 2]
    assert (formed.sum(), dropped.sum()) == (one.last["formed"], one.last["dropped"])


def test_rasters_tell_the_spikes_that_were_kept(out, text):
    told = pictures(text, "spikes")
    for label, (one, _) in simulated(load(out)).items():
        counts = {name: len(unit) for name, (unit, _) in one.after.spikes.items()}
        assert counts["source"] > 100
        assert (
            f"Raster of the last seconds under {label}: {counts['source']} spikes of sources, "
            f"{counts['target']} spikes of targets." in told
        )
    assert section(text, "spikes").count("data:image/png;base64,") == len(NAMES)


def test_bimodality_stands_under_the_weights_it_is_of(out, text):
    cells = simulated(load(out))["StructuralPlasticity"]
    weights = np.concatenate([one.after.weights("ff") for one in cells])
    found = topography.bimodality(weights, 1.0)
    assert 0 < found.coefficient <= 1
    assert f"in the highest; bimodality {found.coefficient:.2f}" in section(text, "weights")
    assert sentences.bimodality(np.ones(3)) == "all 1.00"
    assert sentences.bimodality(np.empty(0)) == "no synapse"


def test_survival_is_of_the_synapses_of_the_start_and_of_those_formed(out, text):
    first, later = pictures(text, "survival")
    (one, two) = simulated(load(out))["StructuralPlasticity"]
    lives = [cell.lives_in_seconds() for cell in (one, two)]
    assert max(x.died.max() for x in lives) == 2
    kept = np.concatenate([x.alive[x.born == 0] for x in lives]).mean()
    assert f"StructuralPlasticity {100 * kept:.1f}" in first and EVIL not in first + later
    assert "from nothing" in later and "from nothing" not in first


# -- the animation --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def replayed(text):
    return json.loads(re.search(r'id="replay">(.*?)</script>', text, re.S)[1])


def unpacked(packed):
    """Counts of each pair, frame by frame, as the page's script has them."""
    kind = np.dtype(f"<u{packed['bytes']}")
    start, gone, come = (
        np.frombuffer(base64.b64decode(packed[name]), kind) for name in ("start", "gone", "come")
    )
    counts = np.bincount(start, minlength=256).astype(int)
    frames, at = [counts.copy()], [0, 0]
    for steps in zip(packed["n_gone"], packed["n_come"], strict=True):
        for i, (pairs, n, sign) in enumerate(zip((gone, come), steps, (-1, 1), strict=True)):
            np.add.at(counts, pairs[at[i] : at[i] + n], sign)
            at[i] += n
        frames.append(counts.copy())
    assert at == [len(gone), len(come)]
    return frames


def test_frames_are_the_replayed_graph_at_their_times(out, replayed):
    assert replayed["seconds"][0] == 0 and replayed["seconds"][-1] == 2
    assert [rule["label"] for rule in replayed["rules"]] == list(NAMES)
    for rule in replayed["rules"]:
        one = simulated(load(out))[rule["label"]][0]
        cell = store.CellStore(out / "cells" / one.first["cell"])
        records = parse(cell.edit_log.read())
        tree, meta = cell.read_level(1)
        graph = graph_of(cell.read_start(0)[0]["keys"], meta)
        frames = {name: unpacked(rule[name]) for name in ("ff", "lateral") if rule[name]}
        assert ("lateral" in frames) == (rule["label"] != "no lateral")
        preferred = np.frombuffer(base64.b64decode(rule["preferred"]), np.uint8).reshape(-1, 16, 2)
        done = 0
        for frame, seconds in enumerate(replayed["seconds"]):
            while done < len(records) and records[done].total <= round(seconds * 1000):
                record = records[done]
                graph = graph.apply(
                    Edit(
                        drop=torch.from_numpy(record.drop).long(), add=torch.from_numpy(record.add)
                    )
                )
                done += 1
            for i, name in enumerate(frames):
                local = graph.keys[graph.rows(i)] - graph.space.bounds[i]
                assert (frames[name][frame] == np.bincount(local, minlength=256)).all()
            map_ = topography.topography(graph, "ff")
            apart = np.abs(preferred[frame] / 256 * 4 - map_.preferred)
            known = np.isfinite(map_.preferred)
            assert (np.minimum(apart, 4 - apart)[known] <= 4 / 512 + 1e-9).all()
            for name, value in (("sigma", map_.sigma_aff), ("ad", map_.ad)):
                assert rule[name][frame] == (
                    pytest.approx(value, abs=6e-4) if np.isfinite(value) else None
                )
        assert done == len(records) and torch.equal(graph.keys, tree["keys"])


def test_a_page_that_would_be_too_large_has_fewer_frames_or_none(out, replayed, monkeypatch):
    size = len(animation.text(replayed))
    monkeypatch.setattr(animation, "MOST", size // 2)
    run = load(out)
    fewer = animation.data(simulated(run), run.looks)
    assert (
        len(fewer["seconds"]) < len(replayed["seconds"]) and len(animation.text(fewer)) <= size // 2
    )
    ends = [unpacked(found["rules"][0]["ff"])[-1] for found in (replayed, fewer)]
    assert (ends[0] == ends[1]).all()
    monkeypatch.setattr(animation, "MOST", 100)
    page = Page(spiking.render(run))
    assert "their animation would make this page too large" in page.text
    assert "replay" not in [attrs.get("id") for tag, attrs in page.tags if tag == "script"]


@pytest.mark.slow
def test_the_script_draws_what_it_replayed(out, text, replayed, tmp_path):
    dom = in_a_browser(out / "report.html", tmp_path)
    told = [a["aria-label"] for t, a in Page(dom).tags if t == "canvas"]
    for label, canvas in zip(NAMES, told, strict=True):
        end = simulated(load(out))[label][0].last
        expected = (
            f"{label} after 2 s: σ {end['sigma_aff_conn']:.2f}, AD {end['ad_conn']:.2f}; "
            f"{end['ff_synapses']:.1f} feed-forward"
        )
        if label != "no lateral":
            expected += f" + {end['lateral_synapses']:.1f} lateral"
        assert canvas == expected + " a neuron"


@pytest.mark.slow
@pytest.mark.parametrize(("width", "dark"), LOOKS)
def test_axe_finds_no_serious_barrier(text, tmp_path, width, dark):
    assert not barriers(text, tmp_path, width, dark)


@pytest.mark.slow
def test_a_phone_scrolls_tables_and_not_the_page(text, tmp_path):
    content, window = on_a_phone(text, tmp_path)
    assert content == window <= 360


# -- parts of a run -------------------------------------------------------------------------------


def test_one_seed_of_one_rule_makes_a_page_that_claims_nothing(out, tmp_path):
    page = shown(part(out, tmp_path, lambda label, seed: (label, seed) == (NAMES[0], 0)))
    assert "One seed: no claim of significance." in page.text
    assert "One seed says nothing about the spread between seeds" in page.text
    assert [a["data-label"] for a, _ in page.rows if "data-label" in a] == [NAMES[0]]
    assert not [a for a, _ in page.rows if "data-contrast" in a]


def test_without_lateral_synapses_none_are_shown(out, tmp_path):
    page = shown(part(out, tmp_path, lambda label, _: label == "no lateral"))
    text = (tmp_path / "part" / "report.html").read_text()
    assert "feed-forward synapses" in section(text, "weights")
    assert "lateral synapses" not in section(text, "weights")
    assert 'value="lateral"' not in text and 'value="ff"' in text
    assert page.text.count("Lateral") == 0


def test_where_nothing_is_rewired_there_is_no_script_to_run(out, tmp_path):
    page = shown(part(out, tmp_path, lambda label, _: label == EVIL))
    assert "No synapse of a finished simulation has been formed or eliminated." in page.text
    assert "No synapse of a finished simulation has been eliminated." in page.text
    assert scripts_of((tmp_path / "part" / "report.html").read_text()) == [""]  # it sorts tables


def cut(lines):
    """Rewrites a cell of seed 1, or of all, as if it had been killed after so many events."""

    def rewrite(cell, folder):
        if cell["label"] == NAMES[0] and cell["seed"] == 1 or lines == 1:
            path = folder / "metrics.jsonl"
            path.write_text("".join(path.read_text().splitlines(True)[:lines]))

    return rewrite


def test_an_unfinished_simulation_is_named_and_drawn_as_far_as_it_came(out, tmp_path):
    made = part(out, tmp_path, lambda label, _: label in NAMES[:2], cut(2))
    page = shown(made)
    assert "1 of 4 cells have not finished" in page.text
    assert "StructuralPlasticity: 1 cell not finished (seed 1)" in page.text
    counts = {a["data-label"]: cells[1][1] for a, cells in page.rows if "data-label" in a}
    assert counts == {NAMES[0]: "1", EVIL: "2"}
    assert "Means of 1 to 2 seeds: no claim of significance." in page.text
    assert [len(one.evals) for one in simulated(load(made))[NAMES[0]]] == [2, 1]


def test_nothing_finished_still_gives_a_page(out, tmp_path):
    page = shown(part(out, tmp_path, lambda *_: True, cut(1)))
    assert "No simulation has finished yet." in page.text
    assert "8 of 8 cells have not finished" in page.text


def test_damaged_files_are_named_and_left_out(out, tmp_path):
    def damage(cell, folder):
        path = folder / ("edits.bin" if cell["label"] == NAMES[0] else "levels/01.safetensors")
        blob = bytearray(path.read_bytes())
        blob[-1] ^= 1
        path.write_bytes(bytes(blob))

    made = part(out, tmp_path, lambda label, seed: label in NAMES[:2] and seed == 0, damage)
    page = shown(made)
    assert "Some files could not be read" in page.text
    assert "the edits of StructuralPlasticity, seed 0: the edit log is damaged" in page.text
    assert f"the connectivity of {EVIL}, seed 0" in page.text


def test_a_run_of_maps_has_a_figure_of_its_own(out):
    svg = figure_svg(out, "map")
    assert svg.startswith("<?xml") and "<text" not in svg and "var(--" not in svg
    with pytest.raises(ValueError, match="no figure 'accuracy' of this run; one of map"):
        figure_svg(out, "accuracy")
