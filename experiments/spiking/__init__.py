"""Experiments in the spiking world: simulated time instead of steps, and maps instead of accuracy.

    name = "my-map"
    world = "brian"
    model = { name = "topographic-map", case = 1 }
    seconds = 60                 # simulated
    seeds = 3

    [[rules]]
    rule = "StructuralPlasticity"
    rate = 1e4

    [[rules]]
    rule = "Static"
    label = "without rewiring"
    model = { case = 2 }         # laid over the experiment's

Every rule entry and seed is one cell, simulated for ``seconds`` and planned, pooled, resumed and
shown like all others. IMP shares the time among its trainings, one more than it has rounds.
"""
