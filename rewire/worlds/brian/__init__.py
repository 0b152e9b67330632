"""A Brian2 network as a world: synapses that move while it runs. Brian2 is imported when used."""

from . import signals as signals  # registered as they are imported
from .from_synapses import Rewirable, rewirable
from .loop import drive
from .sharing import share_slots
from .wiring import Wiring
from .world import Brian

__all__ = ["Brian", "Rewirable", "Wiring", "drive", "rewirable", "share_slots"]
