"""The table of docs/works-with.md: a part of it is measured again, and the page shows what is.

``pytest -m slow tests/matrix`` measures all of it; ``python tests/matrix/write.py`` writes it.
"""

import pytest
from works_with import table
from works_with.cells import ALL, ALL_FAMILIES, ALL_TRAINERS, MORE_RULES, Cell, run, run_pair
from works_with.optimizers import OPTIMIZERS
from works_with.ranks import RANKED, run_ranks

OWN = ("net.step()", "optimizer.step()", "closure", "GradScaler")
TURNS = {rule: OWN[1 + 2 * (i % 2)] for i, rule in enumerate(MORE_RULES)}  # one for each
PART = [
    *(p for p in ALL if p[0].family == "MLP" and p[0].trainer in OWN
      and p[0].trainer == TURNS.get(p[0].rule, p[0].trainer)),
    *(p for p in ALL if p[0].rule == "RigL" and p[0].trainer in ("optimizer.step()", "GradScaler")
      and p[0].family in ("Conv2d, BatchNorm", "LSTM", "GRUCell", "TransformerEncoder",
                          "EmbeddingBag")),
    *(p for p in ALL if p[0].rule == "RigL" and p[0].family == "MLP" and p[0].trainer not in OWN),
    *(p for p in ALL if p[0].rule == "SET" and p[0].trainer == "optimizer.step()"
      and p[0].family in ("GPT-2", "NFNet (standardised convolutions)", "snnTorch Leaky")),
]  # fmt: skip
PACKAGES = {"pytorch-optimizer": "pytorch_optimizer", "stable-baselines3": "stable_baselines3"}


def measure(pair):
    cell = pair[0]
    for what in (ALL_FAMILIES[cell.family], ALL_TRAINERS[cell.trainer], OPTIMIZERS[cell.optimizer]):
        pytest.importorskip(PACKAGES.get(what.package, what.package), exc_type=ImportError)
    written = table.load()
    outcomes = run_pair(pair)
    for cell in pair:
        outcome = outcomes[cell.world]
        assert outcome.verdict != "fault", outcome.why
        assert table.noted(outcome)["verdict"] == written[table.name_of(cell)]["verdict"]
        assert outcome.verdict == "exact" or outcome.why == written[table.name_of(cell)]["why"]


def names(pairs):
    return [" ".join(p[0]) for p in pairs]


@pytest.mark.parametrize("pair", PART, ids=names(PART))
def test_a_part_of_the_table(pair):
    measure(pair)


@pytest.mark.slow
@pytest.mark.parametrize("pair", ALL, ids=names(ALL))
def test_the_whole_table(pair):
    measure(pair)


@pytest.mark.slow
def test_two_ranks():
    written = table.load()
    for cell, outcome in run_ranks().items():
        assert outcome.verdict == written[table.name_of(cell)]["verdict"], outcome.why


def test_the_page_shows_what_was_measured():
    assert table.PAGE.read_text(encoding="utf-8") == table.page()


def test_no_cell_is_silent():
    written = table.load()
    assert [n for n, c in written.items() if c["verdict"] not in ("exact", "refused")] == []
    assert all(c["why"] for c in written.values() if c["verdict"] == "refused")
    assert {table.name_of(cell) for pair in [*ALL, RANKED] for cell in pair} == set(written)


def test_the_oracle_finds_what_is_wrong(monkeypatch):
    """Moments that an edit forgets to clear, and absent weights that are trained, are faults."""
    from rewire.worlds.masked.moments import Moments
    from rewire.worlds.masked.weights import MaskedWeights

    cell = Cell("MLP", "optimizer.step()", "masked", "SET")
    assert run(cell).verdict == "exact"
    with monkeypatch.context() as m:
        m.setattr(Moments, "forget", lambda *_: None)
        assert "exp_avg" in run(cell).why
    with monkeypatch.context() as m:
        m.setattr(MaskedWeights, "mask_gradients", lambda *_: None)
        m.setattr("rewire.worlds.masked.backward.clear_one", lambda *_: None)
        assert run(cell).verdict == "fault"
