"""An equal search for the fields of every rule of an experiment: what ``rewire tune`` does.

Every rule gets the same number of trials and the same budget of training FLOPs. Trials are
ordinary cells of ordinary runs, a run for each generation of trials; they are chosen by validation
data, on seeds that the final runs do not use. Draws follow from the search's seed, the trial's
number and the results of earlier generations: neither the number of workers nor a kill changes
them.

    OUT/  search.json  generations/00/ (a run)  generations/00.json  ...
          trials.json  tuned.toml  tuning.html
"""

from .search import asks_for_search, run_tuned, tune
from .tuned import Tuned

__all__ = ["Tuned", "asks_for_search", "run_tuned", "tune"]
