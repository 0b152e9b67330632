"""The README's Python runs as it stands, in order, in one namespace."""

import re
from pathlib import Path

import pytest

from rewire.experiments import cli

README = Path(__file__).parents[1] / "README.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), re.S)


SMALL = ("data=digits", "steps=20", "evaluate_every=10", "densities=[0.02]", "seeds=1",
         "contrasts=[]", "rules=[Dense,RigL]", "rules.RigL.when.every=5")  # fmt: skip


def test_the_examples_run_and_say_what_the_readme_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ("--out", "runs/quickstart", "--workers", "0")
    assert cli.main(["run", "quickstart", *SMALL, *options]) == 0  # what the last one reads
    capsys.readouterr()
    examples = blocks("python")
    assert len(examples) == 4
    namespace: dict[str, object] = {}
    for example in examples:
        exec(compile(example, str(README), "exec"), namespace)
    printed = capsys.readouterr().out
    assert "11,910 of 238,200 synapses, density 0.05" in printed
    net = namespace["net"]
    assert net.edges == 11_910  # type: ignore[attr-defined]
    assert "RobinsAlexander  fc1.weight" in printed and (tmp_path / "rigl.graphml").is_file()
    thin = namespace["thin"]
    assert thin.edges == 51_380 + 6_554  # type: ignore[attr-defined]


def test_a_rule_of_the_readme_rewires() -> None:
    namespace: dict[str, object] = {}
    for example in blocks("python")[:3]:
        exec(compile(example, str(README), "exec"), namespace)
    import torch

    model, optimizer, net = (namespace[n] for n in ("model", "optimizer", "net"))
    for _ in range(5):
        optimizer.zero_grad()  # type: ignore[attr-defined]
        model(torch.randn(4, 784)).square().sum().backward()  # type: ignore[operator]
        net.step()  # type: ignore[attr-defined]
    k = [int(0.1 * n) for n in net.counts]  # type: ignore[attr-defined]
    assert net.history.formed == net.history.dropped == sum(k) > 0  # type: ignore[attr-defined]


def test_the_two_commands_make_their_own_environments() -> None:
    text = README.read_text(encoding="utf-8")
    for name in ("quickstart", "test"):
        found = re.search(rf"<!-- command: {name} -->\s*```sh\n(.*?)```", text, re.S)
        assert found, name
        assert "-m venv" in found[1] and "-c constraints.txt" in found[1]
