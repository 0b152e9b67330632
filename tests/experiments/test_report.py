"""The report of made-up runs of trainings."""

import base64
import csv
import html
import io
import json
import re
import time
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from pages import LOOKS, Page, barriers, driven, in_a_browser, numbers_of, on_a_phone, scripts_of
from synthetic_run import RULES, config_of, make_run

from rewire.edit_log import Record
from rewire.experiments import compare, store
from rewire.experiments.errors import StoreError
from rewire.experiments.exporting import export
from rewire.experiments.report import axes, figure_svg, frame, lives, style, write_report
from rewire.experiments.report.run import load
from rewire.experiments.report.trainings import chance, crowded, figures
from rewire.measures import measure
from rewire.pictures.style import new_figure


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    out = make_run(tmp_path_factory.mktemp("report") / "full")
    return out, write_report(out)


@pytest.fixture(scope="module")
def page(full):
    return Page(full[1].read_text())


def test_the_page_refers_to_nothing_outside(full, page):
    text = full[1].read_text()
    assert full[1] == full[0] / "report.html"
    assert "http" not in text.split("</head>")[1]
    assert {tag for tag, _ in page.tags}.isdisjoint({"link", "iframe", "object", "base"})
    assert scripts_of(text) == [""]  # it sorts tables
    for _, attrs in page.tags:
        for name, value in attrs.items():
            if name in ("src", "href", "xlink:href", "srcset", "poster", "action", "data"):
                assert value.startswith(("#", "data:image/png;base64,"))
            assert not name.startswith("on")
            assert "url(" not in (value or "") or "url(#" in value
    assert "@import" not in text
    assert "default-src 'none'" in text


@pytest.mark.slow
@pytest.mark.parametrize(("width", "dark"), LOOKS)
def test_axe_finds_no_serious_barrier(full, tmp_path, width, dark):
    assert not barriers(full[1].read_text(), tmp_path, width, dark)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    """The page of more rules than lines can show."""
    labels = [*RULES, *(f"SET:{i}" for i in range(10))]
    folder = tmp_path_factory.mktemp("crowd") / "run"
    return write_report(make_run(folder, labels=labels, seeds=1, densities=(0.2,))).read_text()


@pytest.mark.slow
@pytest.mark.parametrize(("width", "dark"), LOOKS)
def test_axe_finds_no_serious_barrier_on_a_page_of_many_rules(crowd, tmp_path, width, dark):
    assert not barriers(crowd, tmp_path, width, dark)


@pytest.mark.slow
def test_a_phone_scrolls_the_pictures_of_many_rules_and_not_the_page(crowd, tmp_path):
    assert crowd.count(' sideways"') >= 4
    content, window = on_a_phone(crowd, tmp_path)
    assert content == window <= 360


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


def test_every_rule_is_in_the_legend_and_in_the_table(page):
    rows = [attrs for attrs, _ in page.rows if "data-label" in attrs]
    assert {attrs["data-label"] for attrs in rows} == {*RULES}
    assert len(rows) == 1 + 3 * (len(RULES) - 1)
    swatches = [attrs for tag, attrs in page.tags if tag == "svg" and "aria-hidden" in attrs]
    assert len(swatches) >= len(RULES)
    legend = page.text.split("Each line follows one rule")[0]
    for rule in RULES:
        assert rule in legend


def test_numbers_of_the_table_are_those_of_the_rows(full, page):
    by_label = compare.points(store.results(full[0]))
    seen = 0
    for attrs, cells in page.rows:
        if "data-label" not in attrs:
            continue
        density = float(attrs["data-density"])
        point = compare.at_density(by_label[attrs["data-label"]], density)
        accuracies = [r["test_accuracy"] for r in point.rows]
        (main,) = [(a, text) for a, text in cells if a.get("class") == "main"]
        assert float(main[0]["data-value"]) == pytest.approx(np.mean(accuracies), abs=1e-15)
        assert main[1] == f"{100 * np.mean(accuracies):.2f}"
        texts = [text.replace("\u202f", "") for _, text in cells]
        assert str(point.rows[0]["edges"]) in texts
        summary = compare.summarise(accuracies)
        assert f"{100 * summary.low:.2f} to {100 * summary.high:.2f}" in texts
        costs = [float(a["data-value"]) for a, t in cells if "data-value" in a][-2:]
        assert costs == pytest.approx(
            [point.mean("train_flops_sparse"), point.mean("train_flops_dense")]
        )
        seen += 1
    assert seen == 25


def test_headline_is_made_of_the_means_and_claims_nothing(full, page):
    by_label = compare.points(store.results(full[0]))
    means = {
        label: compare.at_density(p, 0.02).mean("test_accuracy") for label, p in by_label.items()
    }
    best = max((label for label in means if label != "Dense"), key=means.get)
    said = page.text.replace("\u202f", " ")
    assert f"With 2 % of the edges, {best} has the highest mean test accuracy" in said
    assert (
        f"{100 * means[best]:.1f} %; Dense, with all of them, {100 * means['Dense']:.1f} %" in said
    )
    assert "Means of 3 seeds: no claim of significance" in said
    assert "With 3 seeds no difference is called significant" in said
    assert not re.search(r"\bp =", said)


def test_contrasts_are_the_named_ones_at_every_density(full, page):
    rows = [(a, c) for a, c in page.rows if "data-a" in a]
    made = compare.contrasts(store.results(full[0]), [("IMP", "RandomReinit"), ("DeepR", "Static")])
    assert [(a["data-a"], a["data-b"]) for a, _ in rows] == [(c.a, c.b) for c in made]
    for (_, cells), expected in zip(rows, made, strict=True):
        texts = [text for _, text in cells]
        assert f"{100 * expected.mean:+.2f}".replace("-", "−") in texts
        assert expected.verdict in texts


def test_how_it_was_made_is_on_the_page(page):
    assert "rewire run quickstart --out runs/synthetic" in page.text
    assert "2.13.0+cpu" in page.text
    assert 'name = "synthetic"' in page.text
    assert "2026-11-23T09:00:00+00:00" in page.text


def test_maps_show_the_input_grid_and_pictures_have_a_text(page):
    images = [attrs for tag, attrs in page.tags if tag == "img"]
    assert len(images) == 3 * (len(RULES) - 1)
    assert all(attrs["alt"].startswith("Input degree map of") for attrs in images)
    figures = [a for tag, a in page.tags if tag == "svg" and a.get("role") == "img"]
    assert len(figures) > 15
    assert all(len(a["aria-label"]) > 20 for a in figures)


def test_the_same_folder_gives_the_same_bytes_and_stays_small(full, tmp_path):
    again = write_report(full[0], tmp_path / "again.html")
    assert again.read_bytes() == full[1].read_bytes()
    assert again.stat().st_size < 3_000_000


def test_overlap_of_a_ticket_with_its_reinitialisation_is_complete(full, page):
    cells = [a for (a,) in ((a,) for tag, a in page.tags if tag == "td" and "title" in a)]
    titles = [a["title"] for a in cells]
    twins = [t for t in titles if t.startswith("IMP and RandomReinit, same seed")]
    assert len(twins) == 3
    assert all("Jaccard 1.000" in t for t in twins)
    static = [t for t in titles if t.startswith("Static and Static, different seeds")]
    ratios = [float(re.search(r"([\d.]+) times", t)[1]) for t in static]
    assert ratios == pytest.approx([1.0] * 3, abs=0.45)


# --- odd runs ---


@pytest.fixture
def undrawn(monkeypatch):
    """A page of which a test reads no picture: figures are made, and not turned into paths."""
    monkeypatch.setattr(style, "to_svg", lambda figure: '<svg viewBox="0 0 1 1"></svg>')


def test_a_hostile_label_stays_text(tmp_path):
    evil = "Static:<script>alert(1)</script>$\\frac"
    out = make_run(
        tmp_path / "run", labels=["Dense", "IMP", evil], contrasts=[["IMP", evil]], seeds=2
    )
    text = write_report(out).read_text()
    assert "<script>alert" not in text
    page = Page(text)
    assert evil in [text for _, cells in page.rows for _, text in cells]
    assert evil in [attrs.get("data-label") for attrs, _ in page.rows]
    assert page.text.count("$\\frac") > 5
    assert "<script" not in figure_svg(out, "accuracy")


def test_a_single_seed_has_no_interval_and_says_so(tmp_path):
    out = make_run(tmp_path / "run", labels=["Dense", "IMP", "Static"], seeds=1, contrasts=())
    page = Page(write_report(out).read_text())
    assert page.text.count("one seed: no interval") == 7
    assert "One seed says nothing about the spread between seeds" in page.text
    assert "One seed: no claim of significance" in page.text
    assert "The experiment names no contrast: every rule against Dense" in page.text


def test_missing_and_failed_cells_are_named_and_the_rest_is_drawn(tmp_path):
    out = make_run(
        tmp_path / "run",
        finished=lambda label, density, seed: (
            not (
                label == "SET" or (label == "RigL" and seed == 2) or (label == "IMP" and seed == 1)
            )
        ),
    )
    config = config_of("SET", 0, 0.2)
    cell = store.Run(out).cell(store.cell_hash(config))
    cell.create({"config": config})
    cell.write_error("Diverged", "the loss is not finite at step 3", 4)
    page = Page(write_report(out).read_text())
    assert "13 of 63 cells have not finished" in page.text
    assert "SET: 8 cells not begun" in page.text
    assert "SET, seed 0, failed: the loss is not finite at step 3" in page.text
    assert "IMP: 1 cell not begun" in page.text
    labels = {attrs["data-label"] for attrs, _ in page.rows if "data-label" in attrs}
    assert labels == {*RULES} - {"SET"}
    counts = {
        attrs["data-label"]: cells[7][1] for attrs, cells in page.rows if "data-label" in attrs
    }
    assert (counts["IMP"], counts["RigL"], counts["DeepR"]) == ("2", "2", "3")


def test_nothing_finished_still_gives_a_page(tmp_path):
    out = make_run(tmp_path / "run", finished=lambda *_: False)
    page = Page(write_report(out).read_text())
    assert "Nothing has finished yet." in page.text
    assert "63 of 63 cells have not finished" in page.text


def test_a_damaged_level_is_named_and_left_out(tmp_path, undrawn):
    out = make_run(tmp_path / "run", labels=["Dense", "Static", "SET"], seeds=2, contrasts=())
    row = next(r for r in store.results(out) if r["label"] == "SET")
    path = out / "cells" / row["cell"] / "levels" / f"{row['level']:02d}.safetensors"
    blob = bytearray(path.read_bytes())
    blob[-1] ^= 1
    path.write_bytes(bytes(blob))
    page = Page(write_report(out).read_text())
    assert "the connectivity of SET, seed 0" in page.text
    assert "do not match its digest" in page.text


def logged(tmp_path, labels=("Static", "SET")):
    """A run in which SET has an edit log: of 10 edges 2 die, of 2 formed 1 does."""
    out = make_run(tmp_path / "run", labels=labels, densities=(0.2,), seeds=1,
                   contrasts=())  # fmt: skip
    row = next(r for r in store.results(out) if r["label"] == "SET")
    cell = store.Run(out).cell(row["cell"])
    cell.write_start(0, {"keys": torch.arange(10)})
    edits = [
        (100, [0, 1], [100, 101]),  # 2 .. 9, 100, 101
        (150, [8], []),
        (row["step"], [0, 1, 2], [7000]),  # at the last step: after the level was written down
    ]
    for total, drop, add in edits:
        record = Record(total, total, 0, 0, np.array(drop, np.int32), np.array(add, np.int64))
        cell.edit_log.append(record.to_bytes())
    cell.close()
    return out, cell


def test_survival_is_of_the_edges_of_the_start_and_of_those_formed(tmp_path, undrawn):
    out, _ = logged(tmp_path)
    (lives,) = load(out).lives("SET", 0.2)
    first = lives.where(lives.born == 0)
    assert [x.tolist() for x in first.survival()] == [[100, 600], [0.8, 0.8]]
    assert sorted(lives.key[lives.born > 0].tolist()) == [100, 101]
    assert load(out).lives("Static", 0.2) == []
    run = load(out)  # 10 edges at the start, and two more
    assert run.explored(run.point("SET", 0.2)) == pytest.approx(12 / run.rows[0]["possible"])
    assert run.explored(run.point("Static", 0.2)) is None  # no start was kept of it
    page = Page(write_report(out).read_text())
    pictures = [a["aria-label"] for t, a in page.tags if t == "svg" and "aria-label" in a]
    told = [text for text in pictures if "Survival" in text]
    assert ["at the end: SET 80.0" in told[0], "at the end: SET 50.0" in told[1]] == [True, True]
    assert "never dropped an edge" in page.text


def test_what_formed_and_dropped_is_drawn_from_step_0_on_where_one_evaluation_is(undrawn, tmp_path):
    out = make_run(tmp_path / "run")
    run = load(out)
    (row, *_) = (r for r in run.rows if r["label"] == "SET")
    events = run.curves[row["cell"], row["level"]]
    run.curves[row["cell"], row["level"]] = events[-1:]
    rates = figures.churn_of(run, "SET", row["requested_density"])[row["seed"]]
    ends, formed, dropped = rates
    assert ends.tolist() == [0, events[-1]["total"]]
    assert (ends[1] * formed[0], ends[1] * dropped[0]) == (
        events[-1]["formed"], events[-1]["dropped"],
    )  # fmt: skip
    drawn = axes.turnover_panel({0: rates}, "SET", run.looks["SET"], 10.0)
    assert [patch.get_data().edges.tolist() for patch in drawn.axes[0].patches] == [[*ends]] * 2


def test_a_damaged_edit_log_is_named_and_left_out(tmp_path, undrawn):
    out, cell = logged(tmp_path)
    blob = bytearray(cell.edit_log.read())
    blob[40] ^= 1
    (cell.path / "edits.bin").write_bytes(bytes(blob))
    page = Page(write_report(out).read_text())
    assert "the edits of SET, seed 0: the edit log is damaged" in page.text
    assert "No edge of a finished cell has been dropped" in page.text


def test_a_rule_over_its_budget_is_not_ranked_at_it(tmp_path, undrawn):
    out = make_run(tmp_path / "run", labels=["Dense", "Static", "SoftDeepR"], densities=(0.02,),
                   contrasts=[["SoftDeepR", "Static"]])  # fmt: skip
    for cell in store.Run(out).cells():
        events = list(cell.events())
        if events[-2]["label"] != "SoftDeepR":
            continue
        (cell.path / "metrics.jsonl").unlink()
        for event in events:
            if event["event"] == "level":
                event |= {"density": 0.2, "edges": event["possible"] // 5, "test_accuracy": 0.99}
            cell.append(event)
        cell.close()
    page = Page(write_report(out).read_text())
    assert "of the edges, Static has the highest mean test accuracy" in page.text
    assert (
        "Not ranked, because more edges were kept than asked for: SoftDeepR (density 0.2)."
        in page.text
    )
    verdicts = [text for attrs, cells in page.rows if "data-a" in attrs for _, text in cells]
    assert any(v.startswith("not at equal edges: density 0.2 against 0.01") for v in verdicts)


def test_claims_appear_from_six_seeds_on(tmp_path, undrawn):
    out = make_run(
        tmp_path / "run", labels=["Dense", "IMP", "Static"], densities=(0.02,), seeds=6,
        contrasts=[["IMP", "Static"]],
    )  # fmt: skip
    page = Page(write_report(out).read_text())
    assert "IMP is higher (p = 0.031 after Holm)" in page.text
    assert "Contrasts that the seeds tell apart: IMP against Static at density 0.02." in page.text


def test_no_run_is_an_error_that_says_so(tmp_path):
    with pytest.raises(StoreError, match="no run is here"):
        write_report(tmp_path)


# --- figures as files, and how a report looks ---


@pytest.mark.parametrize("which", ["accuracy", "cost"])
def test_a_figure_of_its_own_is_a_whole_document_with_outlined_text(full, which):
    svg = figure_svg(full[0], which)
    assert svg.startswith("<?xml")
    assert svg.rstrip().endswith("</svg>")
    assert "<text" not in svg
    assert "var(--" not in svg
    assert figure_svg(full[0], which) == svg


def test_an_unknown_figure_is_refused(full):
    with pytest.raises(ValueError, match="no figure 'acuracy' of this run; one of accuracy, cost"):
        figure_svg(full[0], "acuracy")


def test_drawing_leaves_the_callers_matplotlib_alone(full):
    import matplotlib

    with matplotlib.rc_context({"font.size": 17.0}):
        figure_svg(full[0])
        assert matplotlib.rcParams["font.size"] == 17.0


def test_rules_keep_their_look_and_no_two_share_one():
    from rewire.experiments.report.style import looks

    some = looks({"IMP": "IMP", "my IMP": "IMP", "x": "Mine", "DeepR": "DeepR"})
    assert some["IMP"] == looks({"a": "Dense", "IMP": "IMP"})["IMP"]
    many = looks({str(i): f"Rule{i}" for i in range(100)})
    assert len({*many.values()}) == 100
    assert len({*some.values()}) == 4


def test_a_run_of_many_rules_shows_each_in_a_row_of_its_own(tmp_path):
    labels = [*RULES, *(f"SET:{i}" for i in range(10))]
    out = make_run(tmp_path / "run", labels=labels, seeds=1, densities=(0.2, 0.05))
    run = load(out)
    page = write_report(out).read_text()
    (figure,) = re.findall(r'<div class="wide">(.*?)</svg>', page, flags=re.S)
    height = float(re.search(r'viewBox="0 0 \S+ ([\d.]+)"', figure)[1])
    # a row each, in the order of accuracy
    names = [n for n in re.findall(r">([^<]+)</text>", figure) if n.split("  ")[0] in labels]
    accuracy = {
        label: (run.point(label, 0.05) or found[-1]).mean(compare.ACCURACY.test)
        for label, found in run.points.items()
    }
    assert sorted(names, key=lambda n: -accuracy[n.split("  ")[0]]) == names
    assert len(names) == len(labels) and height > 12 * len(labels)
    assert "Every rule, from best to worst" in page and "Accuracy against density</h2>" not in page
    # each rule in the panel of its family, of accuracy and of loss
    section = page.split('<section id="curves">')[1].split("</section>")[0]
    assert "during training, constant budget (1 of 2)</text>" in section
    assert sorted(re.findall(r'<li data-rule="([^"]+)">', section)) == sorted(2 * labels)
    # a row for each rule beside the matrix, with the rule most like it
    rows = {cells[0][1]: cells for _, cells in Page(page).rows if len(cells) == 5}
    assert {*rows} >= {*labels} - {"Dense"}
    assert rows["IMP"][2][1] == "RandomReinit" and rows["IMP"][4][1] == "1.000"
    assert re.findall(r"<option>([^<]+)</option>", page) == labels
    assert 'class="scroll tall"' in page  # 2 rows for each rule


def test_the_lives_of_many_rules_are_drawn_by_families(tmp_path):
    out, _ = logged(tmp_path, labels=("Static", "SET", "RigL"))
    run = load(out)
    by_label = {"SET": run.lives("SET", 0.2)}
    families = {"fixed": ["Static"], "rewiring": ["SET", "RigL"]}
    shown = lives.survival(by_label, run.looks, "edges", "steps", families=families)
    assert [[panel.labels for panel in part["panels"]] for part in shown["parts"]] == [
        [["SET"]]
    ] * 2
    assert {row["label"] for row in shown["parts"][0]["panels"][0].svg.numbers} == {"SET"}


def test_the_range_of_curves_that_move_in_steps_has_their_corners():
    """Survival stays until an edge dies: no rule is on the line from one death to the next."""
    curves = [(np.array([1.0, 8.0, 9.0]), np.array([100.0, low, low])) for low in (5.0, 100.0)]
    inside = []
    for steps in (False, True):
        figure = new_figure(3, 2)
        axes.draw_range(figure.add_subplot(), curves, steps=steps)
        (path,) = figure.axes[0].collections[0].get_paths()
        inside.append([path.contains_point(at) for at in ((7.0, 60.0), (8.5, 60.0))])
    assert inside == [[True, True], [False, True]]


def test_a_picture_of_the_overlaps_of_many_rules_says_what_its_colours_are():
    ratios = np.array([[1.0, 8.0], [0.5, np.nan]])
    families = {"one": ["a"], "other": ["b"]}
    figure = crowded.overlap_matrix(ratios, ["a", "b"], families, [])
    matrix, scale = figure.axes
    colours, shown = (np.asarray(one.images[0].get_array()) for one in (matrix, scale))
    assert [t.get_text() for t in scale.get_xticklabels()] == ["1/8", "1", "8"]
    assert (shown[0, 64] == colours[0, 0]).all() and (shown[0, -1] == colours[0, 1]).all()
    assert len({tuple(colour) for colour in shown[0]}) > 100


@pytest.mark.parametrize(("count", "sideways"), [(6, False), (7, True)])
def test_many_pictures_stand_beside_each_other_on_a_phone(count, sideways):
    """What scrolls is reached by the keyboard and has a name."""
    template = frame.environment("rewire.experiments.report").from_string(
        "{% import 'macros.html' as macros with context %}{{ macros.panels(pictures, 'two') }}"
    )
    text = template.render(pictures=["<i></i>"] * count, section={"title": "Spikes"}, legend=[])
    attributes = Page(text).tags[0][1]
    assert ("sideways" in attributes["class"].split()) == sideways
    assert {"panels", "two"} <= {*attributes["class"].split()}
    named = {"tabindex": "0", "role": "region", "aria-label": "Spikes, one beside the other"}
    assert (attributes.items() >= named.items()) == sideways


def test_many_seeds_are_a_band(full, monkeypatch):
    run = load(full[0])
    drawn = [figures.learning_curves(run, run.looks, 0.2, "val_accuracy").axes[0]]
    monkeypatch.setattr(figures, "MOST_SEEDS", 2)
    drawn.append(figures.learning_curves(run, run.looks, 0.2, "val_accuracy").axes[0])
    assert [len(one.lines) for one in drawn] == [len(RULES) * 4, len(RULES)]
    assert [len(one.collections) for one in drawn] == [0, 2 * len(RULES)]


def test_captions_say_what_is_drawn_of_few_and_of_many_seeds(full):
    values = {"panels": [{"step": 1}], "parts": [], "empty": ""}
    values["section"] = {"name": "curves", "title": "Learning curves"}
    lines, bands = "thin lines are single seeds", "bands are the range of the seeds"
    for seeds, said, silent in ((3, lines, bands), (50, bands, lines)):
        run = load(full[0])
        run.seeds = [*range(seeds)]
        caption = frame._Frame(run).fill("trainings/curves.html", **values)
        assert said in caption and silent not in caption


def test_few_rules_keep_their_lines(full):
    assert "Every rule, from best to worst" not in full[1].read_text()


@pytest.mark.slow
def test_quickstart_size_takes_less_than_six_seconds(tmp_path):
    out = make_run(tmp_path / "run", sizes=(784, 300, 100, 10))
    write_report(out)  # imports
    start = time.process_time()
    path = write_report(out)
    assert time.process_time() - start < 6
    assert path.stat().st_size < 3_000_000


@pytest.mark.slow
def test_a_phone_scrolls_tables_and_not_the_page(full, tmp_path):
    content, window = on_a_phone(full[1].read_text(), tmp_path)
    assert content == window <= 360


def test_the_head_says_how_many_of_the_models_weights_are_sparse(tmp_path, undrawn):
    """Rows of before it was recorded say nothing."""
    options = {"labels": ["Dense", "SET"], "densities": (0.2,), "seeds": 1}
    shown = {}
    for name, weights in (("old", None), ("part", 10_000), ("all", 2720)):
        out = make_run(tmp_path / name, **options, weights=weights)
        shown[name] = Page(write_report(out).read_text()).text
    assert "sparse weights" not in shown["old"]
    assert "2 720 of 10 000 (0.272)" in shown["part"]
    assert "all 2 720" in shown["all"]


# -- the networks and their rewiring, in the page's own scripts ------------------------------------


def test_the_animation_counts_the_edges_of_the_log(tmp_path, undrawn):
    out, _ = logged(tmp_path)
    text = write_report(out).read_text()
    assert scripts_of(text) == [' type="application/json" id="rewiring-data"', "", ""]
    (stages,) = (a for _, a in Page(text).tags if a.get("id") == "rewiring-stages")
    assert "wide" not in stages["class"].split()  # a phone hides what is
    data = json.loads(re.search(r'id="rewiring-data">(.*?)</script>', text, re.S)[1])
    run = load(out)
    assert [rule["label"] for rule in data["rules"]] == ["SET"]  # the others never formed an edge
    for rule in data["rules"]:
        lives = run.lives(rule["label"], run.focus)[0]
        counts, young = (
            np.frombuffer(base64.b64decode(rule[name]), "<u2").reshape(data["frames"], -1)
            for name in ("counts", "young")
        )
        for i, step in enumerate(rule["steps"]):
            alive = (lives.born <= step) & ((lives.died > step) | lives.alive)
            assert counts[i].sum() == alive.sum()
            assert young[i].sum() == (alive & (lives.born > lives.born.min())).sum()
        assert (young <= counts).all() and not young[0].any() and young[-1].any()


DRIVER = """
const row = (table) => [...table.tBodies[0].rows].map((r) => r.cells[0].textContent.trim());
const sortable = (table) => table.tHead.querySelectorAll(".sort").length;
const table = [...document.querySelectorAll("table")].find(sortable);
const before = row(table), button = table.tHead.querySelectorAll(".sort")[0];
button.click();
const up = row(table);
button.click();
const down = row(table);
const slider = document.getElementById("rewiring-when");
const told = () => document.querySelector("#rewiring-stages canvas").getAttribute("aria-label");
const end = told();
slider.value = 0;
slider.dispatchEvent(new Event("input"));
document.title = JSON.stringify({ before, up, down, end, start: told(), errors: window.failures });
"""


@pytest.mark.slow
def test_tables_sort_and_the_slider_moves_in_a_browser(tmp_path):
    out, _ = logged(tmp_path, labels=("Static", "RigL", "DeepR", "SET"))
    text = re.sub(r"<meta http-equiv[^>]*>", "", write_report(out).read_text())
    listen = "window.failures = []; window.onerror = (e) => window.failures.push(String(e));"
    text = text.replace("<head>", f"<head><script>{listen}</script>")
    path = tmp_path / "driven.html"
    path.write_text(text.replace("</body>", f"<script>{DRIVER}</script></body>"))
    dom = in_a_browser(path, tmp_path)
    seen = json.loads(html.unescape(re.search(r"<title>(.*?)</title>", dom, re.S)[1]))
    assert seen["errors"] == []
    assert sorted(seen["before"]) == sorted(seen["up"]) and seen["up"] != seen["before"]
    assert [*reversed(seen["up"])] == seen["down"]
    assert "step 0: 10 edges, 0.0 % formed" in seen["start"]
    assert seen["start"] != seen["end"]


# -- figures and tables as files -------------------------------------------------------------------


def test_the_page_has_the_numbers_that_export_writes(full, tmp_path):
    export(full[0], tmp_path, data="csv")
    text = full[1].read_text()
    for name in ("accuracy", "cost"):
        written = (tmp_path / f"{name}.csv").read_text()
        shown = numbers_of(text, name)
        # the page's figure of costs has a second panel
        assert shown == written or name == "cost" and shown.startswith(written)
    rows = {(r["label"], r["requested_density"], r["seed"]): r for r in store.results(full[0])}
    for row in csv.DictReader(io.StringIO(numbers_of(text, "accuracy"))):
        density = float(row["requested_density"]) if row["requested_density"] else None
        found = rows[row["label"], density, int(row["seed"])]
        if density is not None:  # rungs of a ladder have none
            assert float(row["test_accuracy"]) == pytest.approx(found["test_accuracy"], rel=1e-6)
            assert float(row["low"]) <= float(row["mean"]) <= float(row["high"])


def test_every_figure_has_its_numbers_in_one_table(tmp_path):
    out, _ = logged(tmp_path)
    text = write_report(out).read_text()
    figures = re.findall(r"<figure([^>]*)>", text)
    names = [re.search(r'data-name="([^"]+)"', figure)[1] for figure in figures]
    assert {"accuracy", "curves", "churn", "survival", "degrees", "networks", "rewiring"} < {*names}
    for name in names:
        first, *rows = csv.reader(io.StringIO(numbers_of(text, name)))
        assert first[0] in ("label", "density") and rows
        assert all(len(row) == len(first) and all(row) for row in rows if name != "accuracy")


@pytest.mark.slow
def test_a_click_saves_a_figure_and_its_numbers(tmp_path):
    out, _ = logged(tmp_path, labels=("Dense", "Static", "SET"))
    page = write_report(out)
    text = page.read_text()
    with driven(page, tmp_path) as (script, saved):
        count = script("return document.querySelectorAll('figure').length")
        for i in range(count):
            name = script(f"return document.querySelectorAll('figure')[{i}].dataset.name")
            bar = f'figure[data-name="{name}"] .files button'
            drawn = ElementTree.fromstring(saved(bar).read_bytes())
            kinds = {one.tag.rpartition("}")[2] for one in drawn.iter()}
            assert kinds & {"path", "image", "rect"} and "foreignObject" not in kinds
            assert float(drawn.get("width")) > 100 and float(drawn.get("height")) > 50
            numbers = saved(f"{bar}:last-of-type")
            assert numbers.name == f"{name}.csv"
            assert numbers.read_text() == numbers_of(text, name)
        legend = (tmp_path / "files" / "curves.svg").read_text()
        assert all(f">{label}</text>" in legend for label in ("Dense", "Static", "SET"))
        assert "var(--" not in legend
        table = saved('[aria-label="CSV: the table all results"]').read_text()
        rows = [*csv.DictReader(io.StringIO(table))]
        point = compare.at_density(compare.points(store.results(out))["SET"], 0.2)
        (mine,) = (row for row in rows if row["rule"] == "SET")
        assert mine["accuracy"] == f"{100 * point.mean('test_accuracy'):.2f}"
        assert mine["edges"] == str(point.rows[0]["edges"])


# -- structure against chance ----------------------------------------------------------------------


def test_structure_is_held_against_graphs_of_the_same_degrees(tmp_path):
    out = make_run(tmp_path / "run", labels=["Static", "SET"], seeds=1)
    first = write_report(out).read_bytes()
    run = load(out)
    shown = chance.show(run)
    assert shown["draws"] == 20 and shown["left_out"] == 0
    scores = json.loads((out / "chance.json").read_text())["scores"]
    graph = run.graphs_at("SET", run.focus)[0]
    expected = measure(graph, ["RobinsAlexander"], null="degrees", draws=20)
    by_part = next(z for key, z in scores.items() if key.startswith(graph.digest()))
    kept = {key: z for key, z in by_part.items() if key.startswith("RobinsAlexander")}
    assert kept and kept == {f"RobinsAlexander {r.part}": r.z for r in expected if r.z is not None}
    for damaged in ("{", "[]", '{"version": 1, "scores": {"a": {"b": "c"}}}', '{"version": 0}'):
        (out / "chance.json").write_text(damaged)
        assert write_report(out).read_bytes() == first
        assert json.loads((out / "chance.json").read_text())["scores"] == scores


def test_large_networks_are_not_drawn_anew_for_a_page(tmp_path, monkeypatch):
    out = make_run(tmp_path / "run", labels=["Static"], densities=(0.2,), seeds=1)
    monkeypatch.setattr(chance, "LARGEST", 10)
    assert chance.show(load(out)) is None
