"""BibTeX of rules, branches, layer budgets, distributions, starting topologies and measures.

A class brings ``source`` ("Evci et al. 2020, arXiv:1911.11134") and, for the full entry,
``bibtex``. Where it brings only the first, an entry is made of that. Sources that name no year
("control: ...", "definition") have nothing to cite.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

ITOP = """
@inproceedings{liu2021we,
  title = {Do We Actually Need Dense Over-Parameterization? In-Time Over-Parameterization in Sparse
    Training},
  author = {Liu, Shiwei and Yin, Lu and Mocanu, Decebal Constantin and Pechenizkiy, Mykola},
  booktitle = {International Conference on Machine Learning},
  pages = {6989--7000},
  eprint = {2102.02887},
  archiveprefix = {arXiv},
  year = {2021},
}
"""
_SOURCE = re.compile(r"(?P<who>.+?),? (?P<year>(?:19|20)\d\d)\w?(?:,? (?P<where>.*))?$")


def citable() -> dict[str, Any]:
    """All that has a source, by name: rules, settings of rules with a paper of their own, branches,
    layer budgets, distributions, topologies to start from, and measures.

    >>> [name in citable() for name in ("RigL", "OWL", "RateRewind", "erk", "Latapy", "no_such")]
    [True, True, True, True, True, False]
    """
    from . import branches, measures, rules, starts
    from .budget import DISTRIBUTIONS
    from .rules.shared.layer_budget import LayerBudget

    budgets = {s.__name__: s for s in rules.STRATEGIES if issubclass(s, LayerBudget)}
    papers = {"er": rules.SET, "erk": rules.RigL}  # which brought them
    controls = {
        name: SimpleNamespace(source="control: shares of no paper", bibtex="")
        for name in DISTRIBUTIONS
    }
    settings = {  # of rules, that have a paper of their own
        "ITOP": SimpleNamespace(source="Liu et al. 2021, arXiv:2102.02887", bibtex=ITOP),
        "iterative SNIP": rules.FORCE,
    }
    others = {**rules.available(), **branches.available(), **budgets, **controls, **papers,
              **settings}  # fmt: skip
    return {**measures.known(), **starts.BUILT_IN, **others}


def entry(rule: Any) -> str | None:
    """The BibTeX entry of a rule's paper, or of anything else with ``source`` and ``bibtex``; None
    where it has none.

    >>> from rewire import RigL, Static
    >>> entry(RigL).split(",")[0]
    '@inproceedings{evci2020rigging'
    >>> entry(Static) is None
    True
    """
    if rule.bibtex:
        return rule.bibtex.strip()
    match = _SOURCE.match(rule.source)
    if match is None:
        return None
    who, year, where = match["who"], match["year"], match["where"] or ""
    authors = who.replace(" et al.", " and others").replace(" & ", " and ").replace(", ", " and ")
    fields = {"author": authors, "year": year}
    if arxiv := re.search(r"arXiv:([\w.-]+/?\d+)", where):
        fields |= {"eprint": arxiv[1], "archiveprefix": "arXiv"}
    if doi := re.search(r"doi:(\S+?)[.,;]?(?:\s|$)", where):
        fields["doi"] = doi[1]
    if not arxiv and not doi and where:
        fields["note"] = where
    first = re.sub(r"[^a-z]", "", who.split(" ")[0].lower())
    lines = [f"  {name:13} = {{{value}}}," for name, value in fields.items()]
    return "\n".join([f"@misc{{{first}{year},", *lines, "}"])


def bibliography(rules: Sequence[type[Any]] | Mapping[str, Any]) -> str:
    """One entry a paper, each under a comment with the rules it is the source of.

    rules: classes, or whatever has ``source`` and ``bibtex`` by name.

    >>> from rewire import DeepR, SoftDeepR
    >>> bibliography([DeepR, SoftDeepR]).splitlines()[0]  # both are of one paper
    '% DeepR, SoftDeepR'
    """
    named = rules if isinstance(rules, Mapping) else {rule.__name__: rule for rule in rules}
    by: dict[str, list[str]] = {}
    silent = []
    for name, rule in named.items():
        text = entry(rule)
        if text is None:
            silent.append(f"% {name} has no paper ({rule.source or 'no source is given'})")
        else:
            by.setdefault(text, []).append(name)
    return "\n\n".join([*silent, *(f"% {', '.join(names)}\n{text}" for text, names in by.items())])
