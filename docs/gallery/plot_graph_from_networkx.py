"""
Graphs from networkx, and their null models
===========================================

A graph from anywhere can be measured against chance: here the karate club, against directed
graphs with as many edges at random places.
"""

import matplotlib.pyplot as plt
import networkx as nx

import rewire
from rewire.measures import measure

graph = rewire.Graph.from_networkx(nx.karate_club_graph())
print(graph)
table = measure(
    graph, ["DegreeAssortativity", "DegreeGini", "NODF"], null="counts", draws=100, seed=0
)
print(table)

# %%

rows = [row for row in table if row.value is not None and row.z is not None]
figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
axes.barh([f"{row.measure} {row.part}" for row in rows], [row.z for row in rows])
axes.set(xlabel="z against graphs with as many edges")
plt.show()
