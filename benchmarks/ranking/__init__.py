"""Rules in order, on one network or several: ``python -m benchmarks.ranking RUN RUN ...``.

RUN is the folder of a run, finished or not: of the presets ``ranking-lenet``, ``ranking-conv`` and
so on, of ``all-rules``, or of any experiment that trains; or a JSON file that this command wrote,
in the place of the runs that it was made of. Runs with the same network, data and training are one
network (more seeds of some rules, say). With ``--tuned RUN`` the same for rules with searched
fields, as ``rewire tune`` writes their experiment. Prints JSON; with ``--markdown`` the tables of
``docs/ranking.md``, with ``--page FILE`` that page written anew between its comments, with
``--picture FILE`` ranks and with ``--frontier FILE`` accuracy against cost as SVG.

In each network and at each density asked for, rules stand from best to worst mean of the test
metric after the last step. Beside it: the density achieved; training FLOPs (``sparse``: live edges
only, ``dense``: as a machine without sparsity counts) and CPU seconds, both with those of the
trainings that a network started from; and the most edges that were held at once, silent ones
included. ``rank`` counts the rules that kept to the density or below it; one that kept over 5 %
more edges has none, and stands where its metric puts it.

A rank's interval (95 %) comes from resamples of the seeds; that of a mean rank from
resamples of the networks, and in each of the seeds. Of a seed that is not finished nothing is used
where another is. Contrasts are those that the runs' experiments name: at each density, differences
of seeds that both rules have, in units of their root mean square on that network, from all networks
together; tested by flipping signs, corrected by Holm over all of them.
"""

from .ranks import changes, frontier, overall
from .runs import command_of, summary

__all__ = ["changes", "command_of", "frontier", "overall", "summary"]
