"""Units' names as text, each once."""

from __future__ import annotations

from ..graph import Listing


def texts(edges: Listing) -> list[str]:
    """Each node's name in a file: its label, or population and number with a colon between.

    >>> import numpy as np
    >>> none = np.empty(0, np.int64)
    >>> texts(Listing([("fc1", 0), "Purkinje"], {}, none, none, {}))
    ['fc1:0', 'Purkinje']
    """
    names = [
        f"{n[0]}:{n[1]}" if isinstance(n, tuple) and len(n) == 2 else str(n) for n in edges.nodes
    ]
    return names if len(set(names)) == len(names) else [f"n{i}" for i in range(len(names))]
