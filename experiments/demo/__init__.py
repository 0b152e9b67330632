"""``rewire demo``: two small runs of real data, and one page that tells what they show."""

from __future__ import annotations

from .story import demo

__all__ = ["demo"]
