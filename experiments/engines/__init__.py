"""Engines: where and how the cells of an experiment are trained.

`run.run_cells` is the run (order, retries, signals, outcomes); `engine.Engine` the interface that
it drives; `pool.Pool` and `in_process.InProcess` are behind the engine ``local``.
"""
