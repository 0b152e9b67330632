"""docs/any-model.md: its listings run, its tables are true."""

import re
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

import rewire
from rewire.worlds.torch_model import declared
from rewire.worlds.torch_model.layers import uses

PAGE = (Path(__file__).parents[1] / "docs" / "any-model.md").read_text(encoding="utf-8")


def listings(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.S)


def test_the_page_runs_and_prints_what_it_shows(capsys, monkeypatch) -> None:
    monkeypatch.setattr(declared, "_REGISTERED", dict(declared._REGISTERED))
    namespace: dict[str, object] = {}
    first, train, mixture, *rest = listings("python")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exec(compile(first + train, "docs/any-model.md", "exec"), namespace)
    with pytest.warns(UserWarning, match="only 320 of 864 weights .* 'up' .384: Mixture is no"):
        exec(compile(mixture, "docs/any-model.md", "exec"), namespace)
    (shown,) = listings("text")
    assert capsys.readouterr().out == shown
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for code in rest:
            exec(compile(code, "docs/any-model.md", "exec"), namespace)
    net = namespace["net"]
    assert isinstance(net, rewire.Session) and net.edges == 66


def test_the_table_of_kinds_names_all_that_can_be_declared() -> None:
    table = PAGE.split("| kind | stored as |")[1].split("\n\n")[0]
    named = set(re.findall(r"^\| `\(?\"?([a-z_]+)", table, re.M))
    assert named == set(declared.SIZES) - {"attention"}


@pytest.mark.parametrize("layer, kinds", [
    (nn.Linear(2, 3), {"weight": "linear"}),
    (nn.Conv2d(2, 3, 2), {"weight": "conv"}),
    (nn.ConvTranspose3d(2, 3, 2), {"weight": "conv_transpose"}),
    (nn.LSTM(2, 3, proj_size=1),
     {"weight_ih_l0": "rnn", "weight_hh_l0": "rnn", "weight_hr_l0": "linear"}),
    (nn.GRUCell(2, 3), {"weight_ih": "rnn", "weight_hh": "rnn"}),
    (nn.MultiheadAttention(4, 2), {"in_proj_weight": "attention"}),
    (nn.Embedding(2, 3), {"weight": "embedding"}),
])  # fmt: skip
def test_the_table_of_layers_is_true(layer, kinds) -> None:
    assert {use.attribute: use.kind for use in uses(layer)} == kinds
    assert all(f"`{kind}`" in PAGE for kind in kinds.values())


def test_a_net_of_the_page_trains() -> None:
    """The mixture learns with every weight sparse."""
    namespace: dict[str, object] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for code in listings("python")[2:4]:
            exec(compile(code, "docs/any-model.md", "exec"), namespace)
    model, net = namespace["model"], namespace["net"]
    assert isinstance(model, nn.Module) and isinstance(net, rewire.Session)
    tokens = torch.arange(24).reshape(4, 6) % 20
    losses = []
    for _ in range(120):
        net.optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(tokens).flatten(0, 1), (tokens.flatten() + 1) % 20)
        loss.backward()
        net.step()
        losses.append(loss.item())
    net.check()
    assert losses[-1] < 0.7 * losses[0]
