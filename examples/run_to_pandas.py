"""From a run to one long table of pandas: every cell, every measure, against its own null model.

rewire run examples/digits.toml
python examples/run_to_pandas.py runs/digits
"""

import sys

import pandas as pd

import rewire
from rewire.measures import measure

MEASURES = ["LayerDensity", "RobinsAlexander", "NODF", "EdgesOnPath"]

run = rewire.open(sys.argv[1])
tables = []
for cell in run.cells:
    table = measure(cell.graph(), MEASURES, null="degrees", draws=20, seed=0).to_pandas()
    tables.append(table.assign(rule=cell.label, seed=cell.seed, density=cell.graph().density))
long = pd.concat(tables, ignore_index=True)
long.to_csv("measures.csv", index=False)
print(long.groupby(["rule", "measure", "part"])[["value", "mean", "z"]].mean().round(3))
