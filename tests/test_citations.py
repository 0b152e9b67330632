"""What `rewire cite` prints: one well-formed entry a paper, from what each rule's file says."""

import re

import pytest

from rewire import citations, rules
from rewire.budget import DISTRIBUTIONS
from rewire.experiments import cli
from rewire.rule import Rule

CITED = citations.citable()
PAPERS = {
    name: rule
    for name, rule in CITED.items()
    if not rule.source.startswith(("control:", "definition"))
}


def test_whatever_has_a_source_can_be_cited_by_name():
    classes = [c for c in vars(rules).values() if isinstance(getattr(c, "source", None), str)]
    sources = {c.__name__ for c in classes if c.source}
    assert {"Wanda", "SparseGPT", "UnitPruning", "LAMP", "OWL", "RateRewind"} <= sources
    assert sources <= CITED.keys() and DISTRIBUTIONS.keys() <= CITED.keys()
    assert all(rule.source for rule in CITED.values())


@pytest.mark.parametrize("name", PAPERS)
def test_every_rule_from_a_paper_can_be_cited_and_agrees_with_its_source(name):
    rule = PAPERS[name]
    text = citations.entry(rule)
    assert text is not None and re.match(r"@\w+\{[a-z0-9]+,\n", text) and text.endswith("\n}")
    assert text.count("{") == text.count("}")
    fields = dict(re.findall(r"^  (\w+) += \{(.+?)\},$", text, re.M | re.S))
    assert {"author", "year"} <= fields.keys()
    identifier = fields.get("eprint") or fields.get("doi") or fields["year"]
    assert identifier in rule.source  # the same paper
    first = re.split(r"[ ,]", rule.source)[0]
    assert fields["author"].startswith(first)
    if rule.bibtex:
        assert fields["title"] and "," in fields["author"]


def test_a_rule_that_names_only_its_source_gets_an_entry_of_that():
    class Mine(Rule):
        source = "Ada, Babbage & Curie 2031, arXiv:3101.00001"

    class Journal(Rule):
        source = "Butz & van Ooyen 2013, doi:10.1371/journal.pcbi.1003259"

    class Bare(Rule):
        pass

    text = citations.entry(Mine)
    assert text.startswith("@misc{ada2031,\n") and "{Ada and Babbage and Curie}" in text
    assert "eprint        = {3101.00001}" in text
    assert "{10.1371/journal.pcbi.1003259}" in citations.entry(Journal)
    assert citations.entry(Bare) is None
    assert "% Bare has no paper (no source is given)" in citations.bibliography([Bare, Mine])


def test_the_command_cites_each_paper_once(capsys):
    assert cli.main(["cite", "DeepR", "SoftDeepR", "Static"]) == 0
    said = capsys.readouterr().out
    assert said.count("@") == 1 and "% DeepR, SoftDeepR" in said
    assert "% Static has no paper (control: fixed random connectivity)" in said
    assert cli.main(["cite", "LAMP", "OWL", "erk", "balanced"]) == 0
    said = capsys.readouterr().out
    papers = "2010.07611", "2310.05175", "% erk\n@inproceedings{evci"
    assert all(paper in said for paper in papers)
    assert "% balanced has no paper" in said
    assert cli.main(["cite"]) == 0
    whole = capsys.readouterr().out
    keys = re.findall(r"^@\w+\{(\w+),", whole, re.M)
    assert len(keys) == len(set(keys)) > 12
    assert cli.main(["cite", "DeppR"]) == 2
    assert "there is no rule 'DeppR' (did you mean 'DeepR'?)" in capsys.readouterr().err


def test_settings_with_a_paper_of_their_own_can_be_cited(capsys):
    assert cli.main(["cite", "ITOP", "iterative SNIP", "CHT", "CHTs"]) == 0
    said = capsys.readouterr().out
    papers = "{2102.02887}", "{2006.09081}", "{10.20944/preprints202207.0139}", "{2501.19107}"
    assert all(paper in said for paper in papers)
