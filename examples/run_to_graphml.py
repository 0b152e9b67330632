"""From a run to GraphML, opened by igraph: whose communities follow the layers?

rewire run examples/digits.toml
python examples/run_to_graphml.py runs/digits
"""

import sys

import igraph

import rewire

graph = rewire.open(sys.argv[1]).cell(rule="SET", seed=0).graph()
for lost in graph.save("set.graphml", weight="abs", links=False):
    print("not in the file:", lost)

net = igraph.Graph.Read_GraphML("set.graphml")
communities = net.as_undirected(combine_edges={"weight": "sum"}).community_multilevel(
    weights="weight"
)
print(f"{net.vcount()} units, {net.ecount()} synapses, {len(communities)} communities, "
      f"modularity {communities.modularity:.3f}")  # fmt: skip
for population in sorted(set(net.vs["population"])):
    units = net.vs.select(population=population)
    print(population, sorted({communities.membership[unit.index] for unit in units}))
