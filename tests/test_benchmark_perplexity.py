"""The benchmark of perplexity against density: its numbers are there, and its pieces are right."""

import math
import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parents[1]))  # benchmarks are not installed
from benchmarks import perplexity as bench  # noqa: E402


def test_a_quick_run_has_every_number(tmp_path, monkeypatch):
    (tmp_path / "tinyshakespeare").mkdir()
    text = "To be, or not to be, that is the question:\n" * 40
    (tmp_path / "tinyshakespeare" / "input.txt").write_text(text, encoding="utf-8")
    monkeypatch.setenv("REWIRE_DATA", str(tmp_path))
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)
    few = {name: bench.RULES[name] for name in ("magnitude-lamp", "wanda-owl", "sparse-gpt")}
    monkeypatch.setattr(bench, "RULES", few)
    monkeypatch.setattr(bench, "DENSITIES", (0.5, 0.2))
    result = bench.measure(quick=True)
    names = [f"{rule}.{d:g}" for rule in bench.RULES for d in bench.DENSITIES]
    numbers = [result[name] for name in ("dense", *names, *bench.TWO_OF_FOUR)]
    assert all(1 < x < 2 * len(set(text)) for x in numbers) and len(set(numbers)) == 10


def test_without_the_text_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("REWIRE_DATA", str(tmp_path))
    assert bench.measure()["why"] == "not measured: there is no input.txt of tiny shakespeare"


def test_perplexity_of_a_model_that_knows_nothing_is_the_number_of_characters():
    class Even(torch.nn.Module):
        def forward(self, tokens):
            return torch.zeros(*tokens.shape, 7)

    text = torch.arange(1000) % 7
    assert bench.perplexity(Even(), text) == pytest.approx(7)


def test_targets_are_the_characters_that_follow_and_the_rate_warms_up_and_falls():
    x, y = bench.windows(torch.arange(200), torch.tensor([0, 17]))
    assert torch.equal(y, x + 1) and x[1, 0] == 17 and x.shape == (2, bench.CONTEXT)
    rates = [bench.rate(step, 100) for step in range(100)]
    assert rates[0] == 0.1 and rates[9] == 1.0 == max(rates) and rates[99] < 0.11
    assert math.isclose(bench.rate(55, 100), 0.55)
