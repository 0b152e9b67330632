"""What the library refuses, and in which words: one test for each refusal."""

import numpy as np
import pytest
import torch
from torch import nn

import rewire
from rewire import branches, limits, rules, select
from rewire.analysis import lifetimes, metrics
from rewire.budget import allot
from rewire.edit_log import Record
from rewire.graph import Edit, Graph, Population, Projection, Space
from rewire.rules.shared.turnover import Formation
from rewire.streams import rng_for


def a_space():
    populations = [Population("in", 6), Population("out", 4)]
    return Space(populations, [Projection("w", "in", "out", "linear", (4, 6))])


def a_graph():
    return Graph(a_space(), torch.tensor([0, 5, 7, 20]), {"weight": torch.arange(4.0)})


def attached(rule, **options):
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return rewire.attach(model, optimizer, rule=rule, **options)


# -- graphs and edits ----------------------------------------------------------------------------


def test_two_populations_of_one_name():
    with pytest.raises(ValueError, match="two populations are named 'a'; names must differ"):
        Space([Population("a", 1), Population("a", 2)], [])


def test_a_projection_of_no_known_kind():
    with pytest.raises(ValueError, match="has the kind 'dense'; it must be one of linear"):
        Projection("w", "in", "out", "dense", (4, 6))


def test_a_projection_that_is_not_there():
    with pytest.raises(KeyError, match="there is no projection 'v'; there are w"):
        a_space().index("v")


def test_a_column_of_another_length():
    with pytest.raises(ValueError, match="column 'age' has 3 values for 4 edges"):
        a_graph().with_columns({"age": torch.zeros(3)})


def test_a_column_that_is_not_there():
    with pytest.raises(KeyError, match="no column 'age'; it has .'weight'.*Rule.columns"):
        a_graph()["age"]


def test_a_mask_where_rows_belong():
    with pytest.raises(ValueError, match="is a mask of 4 booleans; it holds row numbers"):
        a_graph().apply(Edit(drop=torch.ones(4, dtype=torch.bool)))


def test_a_row_that_is_dropped_twice():
    with pytest.raises(ValueError, match="cannot drop row 2 twice: 3 rows were given, 2"):
        a_graph().apply(Edit(drop=torch.tensor([2, 1, 2])))


def test_a_row_that_is_not_there():
    with pytest.raises(ValueError, match="cannot drop row 9: the graph has rows 0 to 3"):
        a_graph().apply(Edit(drop=torch.tensor([9])))


def test_a_key_beyond_the_last():
    with pytest.raises(ValueError, match="cannot add key 24: keys run from 0 to 23"):
        a_graph().apply(Edit(add=torch.tensor([24])))


def test_birth_values_of_another_number():
    edit = Edit(add=torch.tensor([1, 2]), birth={"weight": torch.zeros(3)})
    with pytest.raises(ValueError, match="3 birth values of 'weight' were given for 2 new edges"):
        a_graph().apply(edit)


def test_a_matrix_of_another_shape():
    from scipy.sparse import coo_array

    with pytest.raises(ValueError, match=r"'w' needs a matrix \(4, 6\), got \(6, 4\)"):
        Graph.from_scipy(a_space(), {"w": coo_array((6, 4))})


def test_a_mask_of_another_shape():
    with pytest.raises(ValueError, match=r"mask of 'w' has shape \(6, 4\); its parameter has"):
        Graph.from_masks(a_space(), {"w": np.ones((6, 4), bool)})


def test_an_incoming_edge_that_a_unit_does_not_have():
    with pytest.raises(IndexError, match="unit 2 of 'out' has no incoming edge of that number"):
        a_graph().incoming_edge("out", 2, 5)


def test_a_rewind_of_a_part_that_is_none():
    with pytest.raises(ValueError, match="cannot restore .'weights'.; the parts are"):
        rewire.Rewind(0, frozenset({"weights"}))


# -- choosing ------------------------------------------------------------------------------------


def test_a_scope_that_is_none():
    with pytest.raises(ValueError, match="scope must be 'layer' or 'global', got 'unit'"):
        select.groups(a_graph(), "unit")


def test_counts_for_another_number_of_groups():
    with pytest.raises(ValueError, match="2 counts were given for 1 groups; give one for each"):
        select.smallest(torch.arange(4.0), [1, 1], [(0, 4)])


def test_more_edges_than_there_are_to_choose():
    with pytest.raises(ValueError, match="cannot choose the 5 smallest by score of 4 edges"):
        select.smallest(torch.arange(4.0), 5)


def test_more_edges_of_a_group_than_it_has():
    with pytest.raises(ValueError, match="cannot choose the 3 smallest by score of 2 edges .group"):
        select.smallest(torch.arange(4.0), [1, 3], torch.tensor([0, 0, 1, 1]))


def test_more_synapses_than_are_absent():
    with pytest.raises(ValueError, match="cannot (add|draw) .*only 20 are free"):
        select.sample_absent(a_graph(), 21, rng_for(0, "refused"))


def test_edges_that_have_no_room():
    with pytest.raises(ValueError, match="cannot share out 7 edges: there is room for 6"):
        allot(7, [1.0, 1.0], [3, 3])


# -- rules and their fields ----------------------------------------------------------------------


def test_a_rule_without_an_update():
    class Empty(rewire.Rule):
        pass

    net = attached(Empty(), density=0.5)
    net.world.model(torch.randn(2, 6)).sum().backward()
    with pytest.raises(NotImplementedError, match="Empty does not say what it does.*update"):
        net.step()


@pytest.mark.parametrize(
    ("rule", "fields", "message"),
    [
        ("GradR", {"alpha": 0.0}, "GradR.alpha = 0.0: expected a number above 0"),
        ("HomeostaticGrowth", {"eta": 0.8}, "eta = 0.8 must be below epsilon = 0.7"),
        ("HomeostaticGrowth", {"curve": "linear", "epsilon": 0.0}, "epsilon is above 0 for a lin"),
        ("HomeostaticGrowth", {"tau": 0.0}, "tau is a time above 0, got 0.0"),
        ("HomeostaticGrowth", {"tau_vacant": 2.0}, "tau_vacant is a fraction, got 2.0"),
        ("L1Shrinkage", {"l1": -1.0}, "L1Shrinkage's l1 is 0 or more, got -1.0"),
        ("NM", {"n": 5, "m": 4}, "keeps n of every m weights, 1 <= n <= m; got n=5, m=4"),
        ("SynapticSampling", {"sigma": 0.0}, "SynapticSampling.sigma is above 0, got 0.0"),
        ("SynapticSampling", {"temperature": -1.0}, "a temperature is 0 or more, got -1.0"),
        ("Magnitude", {"to": 1.5}, r"Magnitude cuts to a density in \(0, 1\], got to=1.5"),
    ],
)
def test_fields_out_of_range(rule, fields, message):
    with pytest.raises(ValueError, match=message):
        rules.get(rule)(**fields)


def test_a_probability_above_one():
    with pytest.raises(ValueError, match="p_form is a probability, got 1.5"):
        rewire.StructuralPlasticity(p_form=1.5)


def test_a_formation_with_a_field_that_it_lacks():
    with pytest.raises(ValueError, match="DistanceDependentFormation has no 'sigme'; it takes"):
        Formation.from_table({"kind": "DistanceDependentFormation", "sigme": 2.0})


def test_a_function_as_a_score_in_a_file():
    rule = rewire.DropGrow(drop=lambda graph, signals: graph["weight"].abs())
    with pytest.raises(ValueError, match="DropGrow.drop is a function, which no file can hold"):
        rule.to_table()


def test_a_rule_that_prunes_without_a_density():
    with pytest.raises(ValueError, match="Magnitude cuts to a density, and none was given"):
        attached(rewire.Magnitude())


def test_a_rule_that_prunes_with_two_densities():
    with pytest.raises(ValueError, match="names its own budget, to=0.2, and a density was asked"):
        attached(rewire.Magnitude(to=0.2), density=0.1)


def test_two_rules_that_silence():
    with pytest.raises(ValueError, match="EdgePopup and STR both set the gain of every edge"):
        attached([rewire.EdgePopup(), rewire.STR()], density=0.5)


# -- limits --------------------------------------------------------------------------------------


def test_a_limit_of_nothing():
    with pytest.raises(ValueError, match="FanIn.most must be above 0, got 0"):
        attached(rewire.SET(), density=0.2, limits=[rewire.FanIn(most=0)])


def test_a_limit_whose_pattern_fits_nothing():
    with pytest.raises(ValueError, match="FanIn: 'hidden' names no population; there are"):
        attached(rewire.SET(), density=0.2, limits=[rewire.FanIn(most=3, to="hidden")])


def test_a_limit_that_is_none():
    with pytest.raises(ValueError, match="no limit 'FanInn' .did you mean 'FanIn'"):
        limits.from_tables([{"limit": "FanInn", "most": 3}])


def test_more_bits_than_a_weight_has():
    with pytest.raises(ValueError, match="FixedPoint has 2 to 24 bits and a fraction from 0 up"):
        attached(rewire.SET(), density=0.2, limits=[rewire.FixedPoint(bits=32)])


# -- sessions ------------------------------------------------------------------------------------


def test_a_step_after_the_last():
    net = attached(rewire.Static(), density=0.5, steps=1)
    net.world.model(torch.randn(2, 6)).sum().backward()
    net.step()
    with pytest.raises(RuntimeError, match="ended after 1 of 1 steps; nothing is left to do"):
        net.step()


def test_a_scaler_beside_a_closure():
    net = attached(rewire.Static(), density=0.5)
    with pytest.raises(ValueError, match="a scaler and a closure cannot be used together"):
        net.step(scaler=object(), closure=lambda: None)


def test_an_edit_of_ones_own_that_adds_synapses():
    net = attached(rewire.Static(), density=0.5)
    with pytest.raises(ValueError, match="synapses come and go by rules.*set columns only"):
        net.edit(Edit(drop=torch.tensor([0])))


def test_an_unknown_argument_of_train():
    model = nn.Linear(6, 4)
    with pytest.raises(TypeError, match="train.. does not take 'densty'"):
        rewire.train(model, torch.optim.SGD(model.parameters(), lr=0.1), rewire.Static(),
                     loss=lambda model, batch: model(batch).sum(), data=[torch.zeros(2, 6)],
                     steps=1, densty=0.5)  # fmt: skip


def test_a_start_that_is_none():
    with pytest.raises(ValueError, match="initial must be 'random', 'magnitude' or a Graph"):
        attached(rewire.Static(), density=0.5, initial="largest")


def test_a_starting_graph_of_another_model():
    with pytest.raises(ValueError, match="the initial graph joins .*, the model has"):
        attached(rewire.Static(), initial=a_graph())


def test_data_without_a_batch():
    model = nn.Linear(6, 4)
    with pytest.raises(ValueError, match="data is empty: train.. needs at least one batch"):
        rewire.train(model, torch.optim.SGD(model.parameters(), lr=0.1), rewire.Static(),
                     loss=lambda model, batch: model(batch).sum(), data=[], steps=1)  # fmt: skip


def test_a_node_signal_asked_of_pairs():
    class Curious(rewire.Rule):
        needs = frozenset({"activity"})

        def update(self, graph, signals, state, rng, clock):
            signals.pair("activity", graph.keys)

    net = attached(Curious(), density=0.5)
    net.world.model(torch.randn(2, 6)).sum().backward()
    with pytest.raises(KeyError, match="'activity' is a node signal: ask node"):
        net.step()


# -- branches and analysis -----------------------------------------------------------------------


def test_a_scope_of_random_masks_that_is_none():
    with pytest.raises(ValueError, match="scope must be 'layer', 'global' or 'even', got 'unit'"):
        branches.random_mask(a_graph(), rng_for(0, "refused"), "unit")


def test_a_scope_of_shuffles_that_is_none():
    with pytest.raises(ValueError, match="'network', 'layer' or 'filter', got 'unit'"):
        branches.shuffled(a_graph(), torch.zeros(4), rng_for(0, "refused"), "unit")


def test_images_that_are_none():
    with pytest.raises(ValueError, match=r"only images \(N, channels, height, width\) can be"):
        branches.blurred(torch.zeros(3, 64))


def test_a_log_of_another_start():
    record = Record(total=7, step=7, round=0, rule=0, drop=np.array([9]), add=np.array([], int))
    with pytest.raises(ValueError, match="the record at step 7 drops row 9 of 4"):
        lifetimes.lifetimes(np.array([0, 5, 7, 20]), [record], end=9)


def test_a_picture_of_a_population_that_has_none():
    with pytest.raises(ValueError, match="the 6 units of .in. fill no picture"):
        metrics.input_map(a_graph(), "in")
