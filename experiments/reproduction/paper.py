"""A published figure or table as a file: experiments, two protocols, and rows to check.

    title = "Winning tickets in LeNet-300-100"
    source = "Frankle & Carbin 2019, arXiv:1803.03635, figure 3"

    [experiments.lenet]            # what both protocols share: the tables of an experiment file
    model = "lenet-300-100"
    rules = [{ rule = "Dense" }, { rule = "IMP" }]

    [full.lenet]                   # the paper's protocol: keys that replace those above
    steps = 50000

    [short.lenet]                  # the same effect in CPU minutes
    steps = 2000

    [[rows]]
    name = "ticket-above-dense"
    claim = "A ticket of 21.1 % of the weights tests higher than the dense network."
    of = { experiment = "lenet", label = "IMP", density = 0.211 }
    minus = { experiment = "lenet", label = "Dense" }
    unit = "pp"
    published = 0.5
    least = 0.0
    certainty = "mem"

A protocol runs the experiments that it names. `docs/adding-a-paper.md` describes every key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError, model_validator

from rewire.names import did_you_mean

from ..config.toml import read
from ..config.values import Name, Table
from ..errors import ConfigError

PAPERS = Path(__file__).parents[1] / "papers"
Protocol = Literal["short", "full"]
PROTOCOLS: tuple[Protocol, ...] = ("short", "full")
Number = float | dict[Protocol, float]
Place = dict[str, Any]
UNITS = {"%": 100.0, "pp": 100.0}  # what a measured value is multiplied by; 1 for any other
CERTAINTIES = {
    "text": "read in the paper or a quotation of it",
    "code": "read in the authors' or a reference program",
    "R": "a repository's published result file",
    "M": "measured for this project by another program",
    "mem": "remembered, not checked: a hint",
}


class Selector(Table):
    """Rows of a run's results, or of an analysis: every other key is a column and its value.

    density: the one asked for, or "best", the one of the best mean.
    """

    model_config = ConfigDict(extra="allow", strict=True, frozen=True, allow_inf_nan=False)
    experiment: str | None = None
    analysis: str | None = None
    density: float | Literal["best"] | None = None
    column: str | None = None

    @model_validator(mode="after")
    def _of_one(self) -> Selector:
        if (self.experiment is None) == (self.analysis is None):
            raise ValueError("give either 'experiment' or 'analysis'")
        return self

    @property
    def columns(self) -> dict[str, Any]:
        return dict(self.model_extra or {})

    @property
    def table(self) -> str:
        """The name of the table that it reads."""
        return self.experiment or f"analysis {self.analysis}"

    def __str__(self) -> str:
        density = {} if self.density is None else {"density": self.density}
        return ", ".join(
            [self.table, *(f"{k} {v}" for k, v in {**self.columns, **density}.items())]
        )


class Row(Table):
    """A claim that can be checked: a number of the runs, and what it should be."""

    name: Name
    claim: Annotated[str, Field(min_length=1)]
    of: Selector | None = None
    minus: Selector | None = Field(default=None, description="difference, paired by seed")
    over: Selector | None = Field(default=None, description="ratio of the means of common seeds")
    order: Annotated[list[Selector], Field(min_length=2)] | None = Field(
        default=None, description="each above the next: the smallest difference of neighbours"
    )
    column: str | None = None
    unit: str = ""
    published: float | str | None = None
    expected: Number | None = None
    tolerance: Number | None = None
    least: Number | None = None
    most: Number | None = None
    between: list[float] | dict[Protocol, list[float]] | None = None
    certainty: Literal["text", "code", "R", "M", "mem"]
    tested: Annotated[
        bool,
        Field(description="whether it is one of the few claims that are tested, from six seeds"),
    ] = False
    protocols: list[Protocol] = list(PROTOCOLS)
    note: str = ""

    @model_validator(mode="after")
    def _one_question(self) -> Row:
        if (self.of is None) == (self.order is None):
            raise ValueError("give either 'of' or 'order'")
        if self.minus is not None and self.over is not None:
            raise ValueError("give 'minus' or 'over', not both")
        if self.order is not None and (self.minus or self.over):
            raise ValueError("'order' goes with neither 'minus' nor 'over'")
        asked = [self.expected, self.least, self.most, self.between]
        if sum(value is not None for value in asked) != 1:
            raise ValueError("give one of 'expected', 'least', 'most' and 'between'")
        if (self.expected is None) != (self.tolerance is None):
            raise ValueError("'expected' and 'tolerance' go together")
        if self.tested and (self.order is None and self.minus is None):
            raise ValueError("'tested' is of a difference: give 'minus' or 'order'")
        if self.tested and self.least is None and self.most is None:
            raise ValueError("'tested' is of a claim with one side: give 'least' or 'most'")
        for protocol in self.protocols:
            low, high = self.bounds(protocol)
            if not low <= high:
                raise ValueError(f"the bounds {low:g} to {high:g} hold no number")
        return self

    @property
    def selectors(self) -> Iterator[Selector]:
        yield from (s for s in (self.of, self.minus, self.over, *(self.order or ())) if s)

    @property
    def scale(self) -> float:
        return UNITS.get(self.unit, 1.0)

    def bounds(self, protocol: Protocol) -> tuple[float, float]:
        """What holds, in the row's unit; both ends are in.

        >>> row = Row(name="a", claim="b", of=Selector(experiment="c"), least=1.0,
        ...           certainty="text")
        >>> row.bounds("short")
        (1.0, inf)
        """
        infinity = float("inf")
        if self.between is not None:
            pair = self.between[protocol] if isinstance(self.between, dict) else self.between
            if len(pair) != 2:
                raise ValueError(f"'between' is two numbers, found {len(pair)}")
            return pair[0], pair[1]
        if self.expected is not None and self.tolerance is not None:
            middle, away = _at(self.expected, protocol), _at(self.tolerance, protocol)
            return middle - away, middle + away
        if self.least is not None:
            return _at(self.least, protocol), infinity
        assert self.most is not None
        return -infinity, _at(self.most, protocol)


def _at(value: Number, protocol: Protocol) -> float:
    if not isinstance(value, dict):
        return value
    if protocol not in value:
        raise ValueError(f"no bound is given for the protocol {protocol}")
    return value[protocol]


class Published(Table):
    """Points of the paper's own figure."""

    label: str
    points: Annotated[list[list[float]], Field(min_length=1)]


class Figure(Table):
    """A panel: lines over density, steps, or a column of an analysis."""

    title: str
    x: str = "density"
    y: str | None = None
    lines: Annotated[list[Selector], Field(min_length=1)]
    published: list[Published] = []
    log: bool | None = Field(default=None, description="the axis of x; by default for densities")
    xlabel: str = ""
    ylabel: str = ""
    protocols: list[Protocol] = list(PROTOCOLS)


class AnalysisTable(Table):
    """Something measured on trained cells: a class by name, its other keys its fields."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True, allow_inf_nan=False)
    name: Name
    analysis: str
    experiment: str

    @property
    def fields(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class ProtocolTable(Table):
    """Experiments that a protocol runs, and the keys in which each differs."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True, allow_inf_nan=False)
    about: str = ""

    @property
    def experiments(self) -> dict[str, dict[str, Any]]:
        return dict(self.model_extra or {})


class Paper(Table):
    """A file of `experiments.papers`."""

    name: Name
    title: str
    source: str
    about: str = ""
    experiments: dict[str, dict[str, Any]]
    full: ProtocolTable
    short: ProtocolTable
    analyses: list[AnalysisTable] = []
    rows: Annotated[list[Row], Field(min_length=1)]
    figures: list[Figure] = []

    @model_validator(mode="after")
    def _names_exist(self) -> Paper:
        problems = list(self._problems())
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _problems(self) -> Iterator[str]:
        names = [row.name for row in self.rows]
        for name in {n for n in names if names.count(n) > 1}:
            yield f"the row {name!r} is there twice"
        analyses = {a.name: a.experiment for a in self.analyses}
        for protocol in PROTOCOLS:
            own = getattr(self, protocol).experiments
            for name, table in own.items():
                if name not in self.experiments:
                    hint = did_you_mean(name, self.experiments)
                    yield f"{protocol}.{name}: there is no experiment {name!r}{hint}"
                elif not isinstance(table, dict):
                    yield f"{protocol}.{name}: should be a table of keys to replace"
            for where, selectors in self.asked(protocol):
                for s in selectors:
                    if s.analysis is not None and s.analysis not in analyses:
                        yield f"{where}: there is no analysis {s.analysis!r}"
                        continue
                    experiment = s.experiment or analyses[s.analysis or ""]
                    if experiment not in own:
                        yield f"{where}: the protocol {protocol} runs no experiment {experiment!r}"
        for name, experiment in analyses.items():
            if experiment not in self.experiments:
                yield f"analysis {name}: there is no experiment {experiment!r}"

    def asked(self, protocol: Protocol) -> Iterator[tuple[str, list[Selector]]]:
        """What each row and figure of a protocol reads, under its name."""
        for row in self.rows:
            if protocol in row.protocols:
                yield f"row {row.name}", list(row.selectors)
        for figure in self.figures:
            if protocol in figure.protocols:
                yield f"figure {figure.title!r}", figure.lines

    def trees(self, protocol: Protocol) -> dict[str, dict[str, Any]]:
        """The experiments of a protocol as trees that `kinds.load` reads, by name."""
        return {
            name: {
                **self.experiments[name],
                **changes,
                "name": f"{self.name}-{name}",
                "source": self.source,
            }
            for name, changes in getattr(self, protocol).experiments.items()
        }

    def on_device(self, protocol: Protocol, device: str | None) -> dict[str, dict[str, Any]]:
        """The same trees with another device, where one is named."""
        trees = self.trees(protocol)
        return trees if device is None else {n: {**t, "device": device} for n, t in trees.items()}

    def shortened(self) -> list[str]:
        """What the short protocol does otherwise than the full one, a sentence for each key."""
        sentences = []
        full, short = self.trees("full"), self.trees("short")
        for name in self.experiments:
            if name not in short:
                if name in full:
                    sentences.append(f"{name}: not run")
                continue
            if name not in full:
                sentences.append(f"{name}: in the short protocol alone")
                continue
            for key in dict.fromkeys((*full[name], *short[name])):
                before, after = full[name].get(key), short[name].get(key)
                if before != after:
                    sentences.append(f"{name}: {key} {_words(after)} instead of {_words(before)}")
        return sentences

    def digest(self, protocol: Protocol) -> str:
        """Of what is run and analysed, not of the rows that are read from it."""
        ran = [self.trees(protocol), [a.model_dump() for a in self.analyses]]
        text = json.dumps(ran, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _words(value: Any) -> str:
    if value is None:
        return "the default"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k} {_words(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_words(v) for v in value) + "]"
    return str(value)


def names(folder: Path = PAPERS) -> list[str]:
    """Of all papers, in order.

    >>> "lth-lenet" in names()
    True
    """
    return sorted(path.stem for path in folder.glob("*.toml"))


def load(name: str) -> Paper:
    """The paper of that name, or of a file.

    Raises ConfigError for a name that is none, and with every mistake of the file.
    """
    path = PAPERS / f"{name}.toml"
    if not (path.parent == PAPERS and path.is_file()):
        path = Path(name)
        if path.suffix != ".toml" or not path.is_file():
            known = names()
            raise ConfigError(
                f"there is no paper {name!r}{did_you_mean(name, known)}; there are "
                f"{', '.join(known)}"
            )
    tree = read(path)
    tree.setdefault("name", path.stem)
    try:
        return Paper.model_validate(tree)
    except ValidationError as error:
        lines = [_sentence(problem) for problem in error.errors()]
        raise ConfigError(f"{path.name}:\n" + "\n".join(f"  {line}" for line in lines)) from None


def _sentence(problem: Mapping[str, Any]) -> str:
    place = ".".join(str(part) for part in problem["loc"]) or "the file"
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"{place}: {message[:1].lower()}{message[1:]}"
