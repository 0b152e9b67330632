"""May these rules run here? One answer, for a session that refuses and a file that is checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import combinations
from numbers import Integral
from typing import Any, NamedTuple

from .branches import Branch
from .graph import Graph
from .limits import Limit
from .names import did_you_mean, short
from .offer import Offer
from .rule import Rule, silences
from .rule_budget import Budget, Falling, budget_of
from .strategy import derived
from .when import AtEnd, Last, Schedule, When, never


class Problem(NamedTuple):
    """One reason why a rule cannot run, as a sentence that names the rule.

    limit: the limit that it cannot live under, where that is the reason.
    """

    rule: Rule
    text: str
    limit: Limit | None = None


def as_rules(rules: Any) -> tuple[Rule, ...]:
    """The rules of what a user passed: one, or several in a sequence.

    Raises TypeError for what is no rule (a class, a name) and ValueError for a branch, each with
    what to write instead.

    >>> from rewire import RigL
    >>> as_rules("RigL")
    Traceback (most recent call last):
    ...
    TypeError: 'RigL' is the name of a rule, not a rule: write rewire.RigL().
    >>> as_rules(RigL)
    Traceback (most recent call last):
    ...
    TypeError: RigL is a class of rules, not a rule: write RigL().
    """
    several = not isinstance(rules, str) and isinstance(rules, Sequence)
    if isinstance(rules, set | frozenset):
        raise TypeError("rules act in an order, which a set does not have: give them in a list.")
    listed = tuple(rules) if several else (rules,)
    if not listed:
        raise ValueError(
            "no rule was given: the list is empty. rewire.Static() keeps the first edges."
        )
    for rule in listed:
        if isinstance(rule, Branch):
            raise ValueError(
                f"{rule.name} is a branch, not a rule: it starts anew from a finished run's "
                "edges. Attach Static() with initial=<that graph>, or use it in an experiment."
            )
        if not isinstance(rule, Rule):
            raise TypeError(_no_rule(rule))
    return listed


def _no_rule(value: Any) -> str:
    if isinstance(value, type) and issubclass(value, Rule):
        return f"{value.__name__} is a class of rules, not a rule: write {value.__name__}()."
    if isinstance(value, type) and issubclass(value, Branch):
        return (
            f"{value.__name__} is a class of branches, which are no rules: they start anew "
            "from a finished run's edges, in an experiment."
        )
    if isinstance(value, Mapping) and "rule" in value:
        return (
            f"{short(value)} is the table of a rule, not a rule: write "
            f"rewire.rules.from_table({short(dict(value))})."
        )
    if isinstance(value, Limit):
        return f"{value!r} is a limit, not a rule: give it as limits=[{value!r}]."
    if not isinstance(value, str):
        return (
            f"{short(value)} is no rule: pass an instance of a class derived from rewire.Rule, "
            "such as rewire.RigL(), or a list of some."
        )
    names = [cls.__name__ for cls in derived(Rule)]
    if value in names:
        return f"{value!r} is the name of a rule, not a rule: write rewire.{value}()."
    return (
        f"{value!r} is a text, not a rule{did_you_mean(value, names)}: pass an instance, such as "
        "rewire.RigL(); rewire.rules.get finds the class of a name."
    )


def check_numbers(span: Any, seed: Any) -> None:
    """Raise ValueError for a length of a round, or a seed, that is none.

    >>> check_numbers(0, 7)
    Traceback (most recent call last):
    ...
    ValueError: steps (a session's span) is a whole number from 1 up, or None; got 0.
    """
    whole = isinstance(span, Integral) and not isinstance(span, bool) and int(span) > 0
    if span is not None and not whole:
        raise ValueError(
            f"steps (a session's span) is a whole number from 1 up, or None; got {short(span)}."
        )
    if not isinstance(seed, Integral) or isinstance(seed, bool):
        raise ValueError(f"seed is a whole number, got {short(seed)}.")


def problems(
    rules: Sequence[Rule],
    world: Offer,
    limits: Sequence[Limit] = (),
    *,
    span: int | None,
    rewinds: bool,
) -> list[Problem]:
    """Every reason why these rules cannot run in a world, under limits, in a loop.

    span: steps of a round, None where the loop's length is not known. rewinds: whether the loop
    can go back to saved states.

    >>> import rewire
    >>> space = rewire.Space([rewire.Population("a", 4), rewire.Population("b", 4)],
    ...                      [rewire.Projection("ab", "a", "b", "linear", (4, 4))])
    >>> bare = rewire.Bare(space)
    >>> [p.text for p in problems([rewire.RigL()], bare, span=1000, rewinds=False)]
    ["RigL needs the signal 'growth', which the bare world does not offer here (it offers [...])."]
    """
    parts = [part for rule in rules for part in rule.parts]
    silencing = [rule for rule in parts if silences(rule)]
    reasons = list[Problem]()
    if len(silencing) > 1:
        names = " and ".join(rule.name for rule in silencing)
        text = f"{names} both set the gain of every edge: one rule may."
        reasons.append(Problem(silencing[1], text))
    reasons += _twice(parts)
    reasons += _side_by_side(parts)
    for rule in parts:
        reasons += (Problem(rule, text) for text in _of_world(rule, world))
        reasons += (Problem(rule, text) for text in _of_loop(rule, span, rewinds))
        for limit in limits:
            if (why := limit.unsuited(rule, world)) is not None:
                text = f"{rule.name} cannot live under {limit!r}: {why}."
                reasons.append(Problem(rule, text, limit))
    return reasons


def _side_by_side(parts: Sequence[Rule]) -> Iterator[Problem]:
    """Rules that cannot keep what they promise beside each other."""
    for rule in parts:
        budget = _whole(budget_of(rule))
        others = [o for o in parts if o is not rule and not silences(o) and not _apart(rule, o)]
        if silences(rule):
            keeps = type(budget) is not Budget  # a density of its own of live edges
            for other in others if keeps else ():
                if other.when != never or budget_of(other).at_start:
                    yield Problem(other, f"{rule.name} keeps a number of live edges by silencing "
                                  f"the others, and {other.name} adds or drops edges beside it, "
                                  "so that neither holds its number: use one of them.")  # fmt: skip
        elif isinstance(budget, Falling):
            for other in others:
                own = _whole(budget_of(other))
                if type(own) is Budget and own.kept == "cap":
                    yield Problem(other, f"{other.name} adds edges up to the number that it starts "
                                  f"with, and {rule.name} goes down to a density beside it: use "
                                  "one of them.")  # fmt: skip
        if budget.starting:
            for other in others:
                if not _keeps_counts(other):
                    yield Problem(rule, f"{rule.name} holds each projection to a number of edges "
                                  f"that it knows before training, which {other.name} changes: "
                                  "use one of them.")  # fmt: skip
        elif budget.visits:
            wide = getattr(rule, "scope", "layer") == "global"
            for other in others:
                if not _keeps_counts(other, wide=wide):
                    yield Problem(rule, f"{rule.name} goes down by numbers of edges that it knows "
                                  f"before training, which {other.name} changes: use one of "
                                  "them.")  # fmt: skip


def _twice(parts: Sequence[Rule]) -> Iterator[Problem]:
    """Rules that would prune what another prunes: both to the density, or both before training."""
    for rule, other in combinations(parts, 2):
        ways = [_prunes(r) for r in (rule, other)]
        same = ways[0] == ways[1] or set(ways) == {"before training", "round by round"}
        if None not in ways and same and not _apart(rule, other):
            how = ways[0] if ways[0] == ways[1] else "from every edge down"
            yield Problem(other, f"{rule.name} and {other.name} both prune {how}, so that one of "
                          "them would find nothing left to prune: use one of them.")  # fmt: skip


def _prunes(rule: Rule) -> str | None:
    """When a rule goes down to a density; None where it does not, or lets edges fall silent."""
    budget = _whole(budget_of(rule))
    if budget.at_start:
        return "before training"
    if budget.visits:
        return "round by round"
    return "while training" if isinstance(budget, Falling) and not silences(rule) else None


def _whole(budget: Budget) -> Budget:
    """The budget of a rule that acts on some projections, as it were on all."""
    while isinstance(inner := getattr(budget, "inner", None), Budget):
        budget = inner
    return budget


def _apart(rule: Rule, other: Rule) -> bool:
    """Whether two rules act on projections of their own, as far as the patterns tell."""
    names: Any = [getattr(r, "projections", None) for r in (rule, other)]
    if None in names:
        return False
    return not any(fnmatchcase(a, b) or fnmatchcase(b, a) for a in names[0] for b in names[1])


def _keeps_counts(rule: Rule, *, wide: bool = False) -> bool:
    """Whether a rule leaves as many edges in each projection as there are when training starts.

    wide: whether it is enough to keep their number in all.
    """
    if isinstance(part := getattr(rule, "rule", None), Rule):  # one that acts on some projections
        return _keeps_counts(part, wide=wide)
    budget = budget_of(rule)
    layered = wide or getattr(rule, "scope", "layer") != "global"
    at_start = budget.at_start or rule.when == never
    return at_start or (budget.kept == "exact" and type(budget) is Budget and layered)


def _of_world(rule: Rule, world: Offer) -> Iterator[str]:
    missing = sorted(rule.needs - world.offers)
    if missing:
        yield (
            f"{rule.name} needs the signal {', '.join(map(repr, missing))}, which the "
            f"{world.name} world does not offer here (it offers {sorted(world.offers)})."
            + world.remedy(missing)
        )
    if rule.timed and world.dt is None:
        yield (
            f"{rule.name} has a rate per second, and a step of the {world.name} world "
            "stands for no time: give it a number per step instead (StructuralPlasticity: "
            "attempts= for rate=)."
        )
    if (why := world.unsupported(frozenset(rule.columns))) is not None:
        yield f"{rule.name} cannot live in the {world.name} world: {why}."
    if not getattr(rule, "keeps_slots", True) and (slotted := _with_few_slots(world)):
        yield (
            f"{rule.name} grows without counting the slots of units, of which those of "
            f"{', '.join(map(repr, slotted))} have fewer than partners: use one that does (RigL, "
            "SET), or as many slots as partners, without multapses."
        )
    weighted = getattr(world, "weighted", True)
    if not weighted and (rule._writes_weights or getattr(rule, "birth", False)):
        yield (
            f"{rule.name} writes weights, and the synapses of this {world.name} world have none: "
            "give them one, or take a rule that moves none (and leave its birth at 0)."
        )
    if rule.saves and not world.can_go_back:
        yield (
            f"{rule.name} goes back to saved states of training, and the "
            f"{world.name} world saves none: define its method state()."
        )


def _with_few_slots(world: Offer) -> list[str]:
    """The populations whose units may have more synapses than slots, of a world that exists."""
    space: Any = getattr(world, "space", None)
    few = list[str]()
    for population in [] if space is None else space.receiving:
        into = [p for p in space.projections if p.target == population.name]
        partners = sum(space.population[p.source].size for p in into)
        many = any(p.multapses for p in into)
        if population.slots is not None and (many or population.slots < partners):
            few.append(population.name)
    return few


def _of_loop(rule: Rule, span: int | None, rewinds: bool) -> Iterator[str]:
    budget = budget_of(rule)
    if (rule.saves or budget.visits) and not rewinds:
        yield (
            f"{rule.name} goes back to saved steps of training, which a loop of your own "
            "cannot do for it. Use rewire.train, or an experiment file."
        )
    if span is None and _needs_span(rule):
        yield (
            f"{rule.name} acts at the end, or at a fraction, of the training, whose length "
            "is not known: pass steps= to attach."
        )
    elif (why := budget.unsuited(rule, span)) is not None:
        yield f"{rule.name} cannot be trained so: {why}."


def _needs_span(rule: Rule) -> bool:
    def relative(value: Any) -> bool:
        if isinstance(value, Rule):  # one that acts on some projections
            return _needs_span(value)
        if isinstance(value, AtEnd | Last):
            return True
        if isinstance(value, When | Schedule):
            bounds = (vars(value).get(name) for name in ("begin", "stop"))
            return any(isinstance(bound, float) and bound <= 1 for bound in bounds)
        return False

    return any(relative(value) for value in vars(rule).values())


LEAST_RATE = 1e-3  # of a schedule's largest factor: below it a last one moves no weight


def no_last_rate(rule: Any, schedule: Callable[[int], float], span: int) -> str | None:
    """Why a rule, or a branch, cannot train on at the rate of the last of ``span`` steps, or None.

    schedule: step, from 0 -> factor on the learning rate.

    >>> import rewire
    >>> no_last_rate(rewire.IMP(restore="nothing"), lambda step: 1 - step / 100, 100) is None
    True
    >>> print(no_last_rate(rewire.IMP(restore="nothing"), lambda step: 0.9**step, 100))
    IMP trains on at the learning rate of a round's last step, and the schedule leaves 3e-05 ...
    """
    branch = isinstance(rule, Branch)
    if not (rule.at_last_rate if branch else budget_of(rule).at_last_rate(rule)):
        return None
    last, highest = schedule(span - 1), max(map(schedule, range(0, span, max(1, span // 100))))
    if last >= LEAST_RATE * highest and last > 0:
        return None
    return (
        f"{rule.name} trains on at the learning rate of a round's last step, and the schedule "
        f"leaves {last:.2g} of the rate there, where its largest factor is {highest:.2g}: hardly a "
        "weight would move. Take a schedule that ends at a rate to fine-tune at (a constant one, "
        "or steps), or rewind the rate: IMP(restore='learning_rate'), the branch RateRewind."
    )


def refuse_no_last_rate(rules: Sequence[Rule], schedule: Callable[[int], float], span: int) -> None:
    """Raise ValueError, before step 0, for a rule that would train on at no rate."""
    for rule in rules:
        if (why := no_last_rate(rule, schedule, span)) is not None:
            raise ValueError(why)


def beyond_limits(graph: Graph, rules: Sequence[Rule], limits: Sequence[Limit]) -> str | None:
    """Why the first edges of these rules break a limit, or None."""
    if not limits:
        return None
    try:
        graph.check_limits()
    except ValueError as error:
        names = " and ".join(rule.name for rule in rules)
        return (
            f"{names} cannot live under {', '.join(map(repr, limits))} from these edges: {error} "
            "Start from fewer edges, or allow more."
        )
    return None


def unreachable(
    rule: Rule, densities: Sequence[float], counts: Sequence[int], names: Sequence[str]
) -> str | None:
    """Why a rule cannot have these densities, or cut its way down to them, or None.

    counts: edges of each projection at the start of the way; names: of those projections.

    >>> import rewire
    >>> unreachable(rewire.NM(), [0.1], [100], ["fc1"])
    'NM keeps 2 of every 4 weights, density 0.5, and was asked for 0.1: ask for 0.5, ...'
    """
    budget = budget_of(rule)
    try:
        if budget.visits:
            budget.rungs(budget.towards(rule, densities), counts, names)
        else:
            for density in densities:
                budget.towards(rule, (density,))
    except ValueError as error:
        return str(error)
    return None
