"""What each rule does otherwise than its paper stands in one section of its docstring."""

import inspect
import json

import pytest

from rewire import rules
from rewire.experiments import cli

OF_PAPERS = {rule.__name__: rule for rule in rules.BUILT_IN
             if not rule.source.startswith("control:")}  # fmt: skip
# What was done otherwise and not said, a word of each.
SAID = {
    "GraNet": "In the authors' code it becomes 0",
    "CHT": "``soft=True`` is not the soft rule of the 2025 paper",
    "MovementPruning": "ranks the scores within each matrix",
    "GradR": "divides this too by its bias correction",
    "STR": "Silent weights and their moments do not change",
    "SoftThreshold": "Silent weights and their moments do not change",
    "TopKAST": "keep their moments",
    "EdgePopup": "multiplies the fan-in by the share that is *not* live",
    "IMP": "begins each level with an optimiser without moments",
    "StructuralPlasticity": "the row of a presynaptic unit",
    "NM": "permutations of channels",
}


@pytest.mark.parametrize("name", OF_PAPERS)
def test_a_rule_of_a_paper_has_one_section_of_deviations(name):
    text = inspect.getdoc(OF_PAPERS[name]).partition("\n>>>")[0]
    assert text.count("Deviation") == 1 and "\nDeviations:\n- " in text
    items = OF_PAPERS[name].deviations()
    assert items and all(item[-1] == "." and len(item) > 8 for item in items)
    # whole: every line of the section is of an item
    section = text.partition("\nDeviations:\n")[2].partition("\n\n")[0]
    assert " ".join(section.split()) == " ".join(f"- {item}" for item in items)


@pytest.mark.parametrize("name", SAID)
def test_what_was_not_said_is_said(name):
    assert SAID[name] in " ".join(OF_PAPERS[name].deviations())


def test_the_command_shows_all_there_is_to_know_of_a_rule(capsys):
    assert cli.main(["rules", "MEST", "GraNet"]) == 0
    shown = capsys.readouterr().out
    assert "MEST: during training, constant budget; budget exact; needs growth" in shown
    assert "Liu et al. 2021, arXiv:2106.10404" in shown and ">>>" not in shown
    assert "\n- A synapse that (1) prunes" in shown and "code it becomes 0" in shown
    assert cli.main(["rules", "GraNet", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["deviations"] == list(rules.GraNet.deviations())
    assert cli.main(["rules", "GraNat"]) == 2
    assert "did you mean 'GraNet'?" in capsys.readouterr().err
