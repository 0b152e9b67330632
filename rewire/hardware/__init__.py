"""Does a network fit neuromorphic hardware: bytes of its rows, cores, fan-in, bits of its weights.

A package adds a target under the entry point ``rewire.hardware``: a :class:`Target`.

>>> from rewire.analysis.examples import two_layers
>>> print(verdict(fit(two_layers(), "spinnaker1")))
It fits SpiNNaker 1 with sPyNNaker, static synapses.
"""

from .fitting import fit as fit
from .result import Fit as Fit
from .result import Overflow as Overflow
from .result import PopulationFit as PopulationFit
from .result import ProjectionFit as ProjectionFit
from .result import text as text
from .result import verdict as verdict
from .rounding import WeightRounding as WeightRounding
from .targets import GENERIC as GENERIC
from .targets import LOIHI1 as LOIHI1
from .targets import LOIHI2 as LOIHI2
from .targets import SPINNAKER1 as SPINNAKER1
from .targets import SPINNAKER1_STDP as SPINNAKER1_STDP
from .targets import SPINNAKER2 as SPINNAKER2
from .targets import Target as Target
from .targets import known as known
from .targets import named as named
