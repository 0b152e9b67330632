"""BibTeX of rules: what each rule's own file says of its source.

A rule class brings ``source`` ("Evci et al. 2020, arXiv:1911.11134") and, for the full entry,
``bibtex``. Where it brings only the first, an entry is made of that. Sources that name no year
("control: ...") have nothing to cite.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from .rule import Rule

_SOURCE = re.compile(r"(?P<who>.+?),? (?P<year>(?:19|20)\d\d)\w?(?:,? (?P<where>.*))?$")


def entry(rule: type[Rule] | Rule) -> str | None:
    """The BibTeX entry of a rule's paper; None where it has none.

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


def bibliography(rules: Sequence[type[Rule]]) -> str:
    """One entry a paper, each under a comment with the rules it is the source of.

    >>> from rewire import DeepR, SoftDeepR
    >>> bibliography([DeepR, SoftDeepR]).splitlines()[0]  # both are of one paper
    '% DeepR, SoftDeepR'
    """
    by: dict[str, list[str]] = {}
    silent = []
    for rule in rules:
        text = entry(rule)
        if text is None:
            silent.append(f"% {rule.__name__} has no paper ({rule.source or 'no source is given'})")
        else:
            by.setdefault(text, []).append(rule.__name__)
    return "\n\n".join([*silent, *(f"% {', '.join(names)}\n{text}" for text, names in by.items())])
