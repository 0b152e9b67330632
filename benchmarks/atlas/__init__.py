"""What each rule leaves behind: ``python -m benchmarks.atlas RUN [RUN ...] > results.json``.

RUN is a run of the preset ``atlas`` or ``atlas-conv`` (or of another experiment with trained
networks), finished or not: its finished cells are measured; or a JSON file that this command wrote.
With ``--markdown`` the page ``docs/atlas.md`` in the place of JSON, with ``--pictures FOLDER`` its
figures as SVG.

Every network at a density asked for is measured at its end, against draws of a null model that
keeps the degrees of both sides of every layer (or, for measures of the degrees themselves, the
number of edges of every layer). Topologies at the start, at every ``--every`` steps and at the end
are measured without one. What is measured is kept in ``RUN/atlas.jsonl``, a line for each cell, and
read back by the next call.

Which measure goes with accuracy: across rules, Spearman's rank correlation of means over seeds,
with a bootstrap interval over rules, and the probability that any of all the measures and steps
comes as far by chance (accuracies permuted among the rules); within rules, of deviations from the
rule's means; and a ridge regression that predicts each rule's accuracy from the others' (leave one
out).
Rules that kept over 5 % more edges than were asked for are measured, and left out of correlations.
"""
