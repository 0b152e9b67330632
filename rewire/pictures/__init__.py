"""Pictures of connectivity: functions that return matplotlib figures, for pages and for print.

Colours are safe for the colour-blind; every figure is legible at 380 pixels of width.
"""

from __future__ import annotations

from .adjacency import sorted_adjacency as sorted_adjacency
from .fields import receptive_fields as receptive_fields
from .layers import network as network
from .measured import measure_over_time as measure_over_time
from .measured import measures_by_rule as measures_by_rule
from .measured import percolation as percolation
from .measured import survival_by_module as survival_by_module
from .spectrum import singular_values as singular_values
