"""Experiments in a world of an installed package: ``world`` is the name it is registered under.

    name = "my-regression"
    world = "regression"         # an entry point of the group rewire.worlds
    model = { inputs = 20 }      # what the world's `from_options` takes
    steps = 300                  # of the world, in a round
    densities = [0.2]            # left out: every rule begins with every edge
    seeds = 3

    [[rules]]
    rule = "SET"

Every rule, density and seed is one cell: a session in the world, stepped, saved and resumed like
all others. What the world's `measure` returns is in its rows, and in `rewire results`.
"""
