"""The shared sparse graph: who may connect, who does, and what each synapse carries.

Every possible synapse has one integer **key**: the offset of its projection plus the flat index
into the projection's parameter as it is stored. A :class:`Graph` is the sorted keys of the
synapses that exist and aligned columns (weight, sign, age, ...). For linear, convolutional and
spiking projections that is compressed-sparse-row by postsynaptic unit; a mask is a derived view.
"""

from .edit import NOTHING, PARTS, Birth, Edit, Rewind
from .graph import Graph, edges_of
from .kinds import KINDS, Kind
from .listing import Listing, NotAGraph
from .network import Network
from .places import layout
from .space import NONE, Population, Projection, Space, square_sheet
from .topology import Topology
from .wiring import Joint, Link, Wiring

__all__ = [
    "KINDS", "NONE", "NOTHING", "PARTS", "Birth", "Edit", "Graph", "Joint", "Kind", "Link",
    "Listing", "Network", "NotAGraph", "Population", "Projection", "Rewind", "Space", "Topology",
    "Wiring", "edges_of", "layout", "square_sheet",
]  # fmt: skip
