"""Rules together: in a list, on some projections, by age, and made of two scores in one line."""

import pytest
import torch

import rewire
from rewire import rules, when
from rewire.graph import Edit
from rewire.rule import Rule
from rewire.select.pairs import pair_sign
from rewire.when import Clock

EVERY = when.every(2)


def net(rule, density=0.3, steps=24, world="masked", **more):
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(20, 24), torch.nn.ReLU(), torch.nn.Linear(24, 16), torch.nn.ReLU(),
        torch.nn.Linear(16, 5),
    )  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
    session = rewire.attach(
        model, optimizer, rule=rule, density=density, steps=steps, world=world, **more
    )
    draw = torch.Generator().manual_seed(3)
    session.graphs = [session.graph]
    while not session.done:
        x, y = torch.randn(16, 20, generator=draw), torch.randint(5, (16,), generator=draw)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        session.step()
        session.graphs.append(session.graph)
    return session


def same(a, b):
    return len(a.graphs) == len(b.graphs) and all(
        torch.equal(x.keys, y.keys) and torch.equal(x["weight"], y["weight"])
        for x, y in zip(a.graphs, b.graphs, strict=True)
    )


@pytest.mark.parametrize("kind", ["masked", "sparse"])
def test_gmp_prunes_to_exactly_the_density_while_rigl_rewires(kind):
    parts = [rewire.GMP(when=when.every(3, stop=0.75)), rewire.RigL(when=EVERY)]
    both = net(parts, density=0.1, world=kind)
    assert both.graphs[0].density == 1 and both.edges == round(0.1 * 944)
    acted = {rule: sum(len(r.add) for r in both.history if r.rule == rule) for rule in (0, 1)}
    assert acted[0] == 0 and acted[1] > 50
    counts = [len(g) for g in both.graphs]
    assert counts == sorted(counts, reverse=True)
    assert same(both, net(rewire.Combined(rules=tuple(parts)), density=0.1, world=kind))


def test_a_rule_on_every_projection_is_the_rule_itself():
    for inner in (rewire.RigL(when=EVERY), rewire.GMP(when=EVERY), rewire.Magnitude()):
        assert same(net(inner), net(rewire.On(rule=inner, projections=("*",))))


@pytest.mark.parametrize("kind", ["masked", "sparse"])
def test_two_rules_on_different_projections_leave_each_others_alone(kind):
    parts = [
        rewire.On(rule=rewire.DeepR(noise=0.4, l1=0.02), projections=("0", "4")),
        rewire.On(rule=rewire.RigL(when=EVERY, fraction=0.3), projections=("2",)),
    ]
    both = net(parts, world=kind, seed=5)
    bounds = both.graph.space.bounds
    for record in both.history:
        inside = [bounds[1] <= key < bounds[2] for key in record.add.tolist()]
        assert all(inside) if record.rule == 1 else not any(inside)
    assert {r.rule for r in both.history} == {0, 1}
    assert all(torch.equal(g.counts(), both.graphs[0].counts()) for g in both.graphs)
    # the signs of woken synapses are those of their own keys, not of keys in the part
    seen = torch.cat([g.keys[g.space.which(g.keys) != 1] for g in both.graphs[1:]]).unique()
    first = both.graphs[0]
    new = seen[~torch.isin(seen, first.keys)]
    row, there = both.graph.find(new)
    assert there.sum() > 5
    assert torch.equal(both.graph["sign"][row[there]], pair_sign(new[there], 5))


def test_what_a_part_ranks_over_all_that_it_sees_is_the_best_of_that():
    class Grower(Rule):
        needs = frozenset({"growth"})

        def update(self, graph, signals, state, rng, clock):
            drop = torch.arange(6)
            return Edit(drop=drop, add=signals.largest("growth", 6, without=drop)), state

    class Whole(Rule):
        needs = frozenset({"growth"})

        def update(self, graph, signals, state, rng, clock):
            space, drop = graph.space, torch.arange(graph.bounds[1], graph.bounds[1] + 6)
            gone = torch.zeros(len(graph), dtype=torch.bool)
            gone[drop] = True
            free = torch.ones(space.possible, dtype=torch.bool)
            free[graph.keys[~gone]] = False
            free[: space.bounds[1]] = False
            keys = free.nonzero().squeeze(1)
            best = signals.pair("growth", keys).topk(6).indices
            return Edit(drop=drop, add=keys[best].sort().values), state

    assert same(net(rewire.On(rule=Grower(), projections=("2", "4"))), net(Whole()))


def test_an_age_limit_replaces_each_synapse_when_its_time_has_come():
    session = net(rewire.AgeLimit(most=6, when=when.every(1)), steps=40, distribution="uniform")
    born = dict.fromkeys(session.graphs[0].keys.tolist(), None)
    for record in session.history:
        before = session.graphs[record.total - 1].keys
        for key in before[torch.from_numpy(record.drop).long()].tolist():
            assert born[key] is None or record.total - born[key] == 6
        born |= dict.fromkeys(record.add.tolist(), record.total)
    assert all(torch.equal(g.counts(), session.graphs[0].counts()) for g in session.graphs)
    assert all(40 - born[key] < 6 for key in session.graph.keys.tolist())
    n = session.edges  # places, each emptied 6 or 7 times in 40 steps
    assert 6 * n <= session.history.formed <= 7 * n
    rule = rewire.AgeLimit(most=6, when=when.every(1), spread=False)
    at_once = net(rule, steps=7, distribution="uniform")
    assert [len(r.add) for r in at_once.history] == [at_once.edges]


def test_drop_and_grow_are_the_rules_they_spell():
    rigl = rewire.RigL(when=EVERY)
    spelled = rewire.DropGrow(
        drop="magnitude", grow="growth", fraction=rigl.fraction, when=EVERY, skips=True
    )
    assert spelled.needs == {"growth"} and same(net(rigl), net(spelled))
    written = rewire.DropGrow(
        drop=lambda graph, signals: graph["weight"].abs(),
        grow=lambda graph, signals, keys: signals.pair("growth", keys),
        fraction=rigl.fraction, when=EVERY, skips=True, asks=("growth",), label="mine",
    )  # fmt: skip
    assert written.needs == {"growth"} and written.name == "mine"
    assert same(net(rigl), net(written))
    with pytest.raises(ValueError, match="mine.drop is a function, which no file can hold"):
        written.to_table()
    with pytest.raises(ValueError, match="mine needs the signal 'spikes'"):
        net(rewire.DropGrow(grow="spikes", label="mine"))


def test_combined_rules_round_trip_and_say_what_is_wrong_with_each_part():
    table = {"rules": [{"rule": "GMP", "when": {"every": 10, "stop": 0.75}},
                       {"rule": "RigL", "fraction": 0.2, "on": ["fc1", "fc2*"]}]}  # fmt: skip
    rule = rules.of_class(rewire.Combined, table)
    assert rule.rules[1] == rewire.On(rule=rewire.RigL(fraction=0.2), projections=("fc1", "fc2*"))
    assert rule.to_table() == table and rules.of_class(rewire.Combined, rule.to_table()) == rule
    assert hash(rule) == hash(rules.from_table({"rule": "Combined", **table}))
    assert rule.needs == {"growth"} and rule.skips_step and rule.budget.kept == "cap"
    assert rule.budget.starts_at(0.1) == 1 and rule.rules[1].when(Clock(100, 1000))
    with pytest.raises(ValueError) as refused:
        parts = [{"rule": "RigLL"}, {"rule": "SET", "fractoin": 1}, {"fraction": 1}]
        rules.of_class(rewire.Combined, {"rules": [*parts, {"rule": "SET", "on": "fc1"}]})
    said = str(refused.value)
    assert "did you mean 'RigL'" in said and "did you mean 'fraction'" in said
    assert "a part has no 'rule'" in said and "SET.on is a list of patterns" in said
    with pytest.raises(ValueError, match="Combined takes rules that act in one training, not IMP"):
        rules.from_table({"rule": "Combined", "rules": ["IMP"]})
    with pytest.raises(ValueError, match="Combined takes rules .*, not RandomReinit"):
        rewire.Combined(rules=(rewire.RandomReinit(),))
    with pytest.raises(ValueError, match="Combined.rules is a list of tables .*, not 'SET'"):
        rules.from_table({"rule": "Combined", "rules": "SET"})
    with pytest.raises(
        ValueError, match="Combined.rules holds rules, not 'SET': rewire.rules.from"
    ):
        rewire.Combined.from_table({"rules": ["SET"]})
    with pytest.raises(ValueError, match="SET on fc9: no projection has such a name; there are 0"):
        net(rewire.On(rule=rewire.SET(), projections=("fc9",)))
    assert rules.available()["Combined"] is rewire.Combined


def test_a_part_of_projections_that_share_slots_is_refused():
    from rewire.graph import Graph, Population, Projection, Space

    space = Space(
        [Population("a", 8), Population("b", 4, slots=3)],
        [
            Projection("ff", "a", "b", "spiking", (4, 8)),
            Projection("lat", "b", "b", "spiking", (4, 4)),
        ],
    )
    graph = Graph(space, torch.tensor([0, 1, 9, 40]))
    for names, fine in ((("ff",), False), (("ff", "lat"), True)):
        rule = rewire.On(rule=rewire.SET(), projections=names)
        if fine:
            rewire.Session(rewire.Bare(space), graph, rule)
        else:
            with pytest.raises(ValueError, match="units share their slots over all of them"):
                rewire.Session(rewire.Bare(space), graph, rule)


def test_a_signal_of_everything_is_of_what_the_part_sees():
    """A rule that reads a signal whole must not read another projection's."""

    def run(rule, density=0.3):
        torch.manual_seed(0)
        model = torch.nn.Sequential(
            torch.nn.Linear(12, 10), torch.nn.ReLU(), torch.nn.Linear(10, 8)
        )
        data = [(torch.randn(24, 12), torch.arange(24) % 8)]
        probe = rewire.Probe(data, lambda m, b: torch.nn.functional.cross_entropy(m(b[0]), b[1]))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        return rewire.attach(model, optimizer, rule=rule, density=density, probe=probe)

    whole = run(rewire.SNIP(scope="layer"))
    mine = rewire.SNIP(scope="layer", to=(whole.counts[1],))
    part = run(rewire.On(rule=mine, projections=("2",)), density=None)
    assert part.counts == [120, whole.counts[1]]
    first = whole.graph.space.bounds[1]
    mine, its = (net.graph.keys[net.graph.keys >= first] for net in (part, whole))
    assert torch.equal(mine, its)


SILENCING = [rewire.TopKAST(), rewire.EdgePopup(), rewire.STR(),
             rewire.SoftThreshold(when=EVERY), rewire.MovementPruning(when=EVERY)]  # fmt: skip


@pytest.mark.parametrize("other", [rewire.SET(when=EVERY), rewire.GMP(when=EVERY), rewire.DeepR()],
                         ids=lambda rule: rule.name)  # fmt: skip
@pytest.mark.parametrize("silent", SILENCING, ids=lambda rule: rule.name)
def test_a_rule_that_silences_edges_stands_beside_none_that_adds_or_drops_some(silent, other):
    """SET's newborn edges were live: 656 where Top-KAST keeps 165."""
    for pair in ([silent, other], [other, silent]):
        with pytest.raises(
            ValueError, match=f"{silent.name} keeps a number of live .*{other.name}"
        ):
            net(pair, density=0.175)


def test_a_rule_that_silences_edges_stands_beside_one_that_rests():
    both = net([rewire.Static(), rewire.TopKAST()], density=0.175)
    assert {g.live_counts()[0] + sum(g.live_counts()[1:]) for g in both.graphs} == {165}


@pytest.mark.parametrize(
    "other",
    [rewire.GMP(when=EVERY), rewire.L1Shrinkage(when=EVERY), rewire.GraNet(when=EVERY),
     rewire.SNFS(rewires=EVERY), rewire.DSR(when=EVERY), rewire.DeepR(scope="global"),
     rewire.StructuralPlasticity(), rewire.On(rule=rewire.GMP(when=EVERY), projections=("2",))],
    ids=lambda rule: rule.name,
)  # fmt: skip
def test_a_soft_memory_bound_stands_beside_none_that_changes_layers(other):
    soft = rewire.MEST(soft=True, when=EVERY)
    for pair in ([soft, other], [other, soft]):
        with pytest.raises(ValueError, match="MEST holds each projection to a number"):
            net(pair)


def test_mest_replaces_a_fraction_of_what_another_rule_leaves():
    parts = [rewire.GMP(when=when.every(3)), rewire.MEST(when=EVERY)]
    both = net(parts, density=0.05)
    assert both.edges == round(0.05 * 944)
    assert sum(len(r.add) for r in both.history if r.rule == 1) > 0
    net([rewire.MEST(when=EVERY, soft=True), rewire.SET(when=EVERY)])  # which keeps its counts


def test_a_rule_that_fills_slots_does_not_undo_one_that_prunes():
    with pytest.raises(ValueError, match="StructuralPlasticity adds edges up to .* GMP goes down"):
        net([rewire.GMP(when=EVERY), rewire.StructuralPlasticity()], density=0.1)


def test_what_is_cut_at_the_start_is_cut_before_others_look_at_the_graph():
    """Slots are counted from the edges that are left, whichever stands first."""
    torch.manual_seed(0)
    data = [(torch.randn(24, 20), torch.arange(24) % 5)]
    probe = rewire.Probe(data, lambda m, b: torch.nn.functional.cross_entropy(m(b[0]), b[1]))
    for pair in ([rewire.StructuralPlasticity(), rewire.SNIP()],
                 [rewire.SNIP(), rewire.StructuralPlasticity()]):  # fmt: skip
        session = net(pair, density=0.1, probe=probe)
        assert max(map(len, session.graphs)) <= round(0.1 * 944)
        assert len(session.graphs[0]) == round(0.1 * 944)


def test_the_networks_last_projection_is_its_own_under_on_as_well():
    """SRigL ablates units of a hidden layer that it is alone on, and none of the outputs."""
    rule = rewire.SRigL(min_salient=1.0, fraction=0.2, when=EVERY)
    ablated = {}
    for name in ("0", "2", "4"):
        session = net(rewire.On(rule=rule, projections=(name,)), density=0.3)
        mask = session.masks()[f"{name}.weight"]
        ablated[name] = int((mask.sum(1) == 0).sum())
    assert ablated["0"] > 0 and ablated["2"] > 0 and ablated["4"] == 0
    pair = net(rewire.On(rule=rule, projections=("0", "4")), density=0.3)
    assert (pair.masks()["4.weight"].sum(1) > 0).all()


@pytest.mark.parametrize(
    "rule",
    [rewire.GMP(when=EVERY), rewire.ACDC(when=EVERY), rewire.SynFlow(), rewire.Magnitude(),
     rewire.EarlyBird(when=EVERY)],
    ids=lambda rule: rule.name,
)  # fmt: skip
def test_a_part_that_prunes_stands_under_no_density_of_the_whole(rule):
    """The rest stays whole: [GMP on 2] asked for .1 ended at .66."""
    part = rewire.On(rule=rule, projections=("2",))
    for several in (part, [part, rewire.RigL(when=EVERY)]):
        with pytest.raises(ValueError, match=f"{rule.name} on 2 prunes what it sees alone, and a"):
            net(several, density=0.1)


def test_a_part_that_prunes_has_a_density_of_its_own():
    part = rewire.On(rule=rewire.GMP(when=EVERY, to=0.1), projections=("2",))
    session = net(part, density=None)
    assert session.counts == [480, round(0.1 * 384), 80]


@pytest.mark.parametrize(
    ("pair", "how"),
    [((rewire.GMP(when=EVERY), rewire.L1Shrinkage()), "while training"),
     ((rewire.NM(), rewire.Magnitude()), "before training"),
     ((rewire.IMP(), rewire.Magnitude()), "from every edge down"),
     ((rewire.GMP(when=EVERY), rewire.On(rule=rewire.GraNet(when=EVERY), projections=("2",))),
      "while training")],
    ids=str,
)  # fmt: skip
def test_two_rules_do_not_prune_the_same(pair, how):
    for rules_ in (pair, pair[::-1]):
        names = " and ".join(rule.name for rule in rules_)
        with pytest.raises(ValueError, match=f"{names} both prune {how}, so that one of them"):
            net(list(rules_), density=0.5)
    shares = {"0": 0.5, "2": 0.2}
    parts = [
        rewire.On(rule=rewire.Magnitude(to=share, scope="layer"), projections=(name,))
        for name, share in shares.items()
    ]
    assert net(parts, density=None).counts == [240, 77, 80]


@pytest.mark.parametrize("other", [rewire.DSR(when=EVERY), rewire.DeepR(scope="global")],
                         ids=lambda rule: rule.name)  # fmt: skip
def test_rounds_are_cut_from_counts_that_nothing_else_changes(other):
    """[IMP, GMP]: "cannot choose the 31 smallest of 10 edges" at the end of the first round."""
    layered = rewire.IMP(scope="layer")
    with pytest.raises(ValueError, match=f"IMP goes down by numbers .* {other.name} changes"):
        net([layered, other], density=0.3)


@pytest.mark.parametrize("other", [rewire.SNFS(rewires=EVERY), rewire.DSR(when=EVERY)],
                         ids=lambda rule: rule.name)  # fmt: skip
def test_a_rule_of_numbers_by_projection_stands_beside_none_that_moves_them(other):
    """[NDSNN, SNFS] ended below its density."""
    with pytest.raises(ValueError, match=f"NDSNN holds each projection to .* {other.name} changes"):
        net([rewire.NDSNN(when=EVERY), other], density=0.3)
