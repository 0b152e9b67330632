"""Numbers packed into the JSON text that a page's script reads."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np


def text(values: Mapping[str, Any]) -> str:
    """As JSON that may stand inside a script element.

    >>> print(text({"label": "</script>"}))
    {"label":"\\u003c/script>"}
    """
    return json.dumps(values, separators=(",", ":")).replace("<", "\\u003c")


def packed(values: Any, kind: Any) -> str:
    """Integers as the bytes of ``kind``, little-endian, in base64.

    >>> packed([1, 2], np.uint16)
    'AQACAA=='
    """
    array = np.asarray(values).astype(np.dtype(kind).newbyteorder("<"))
    return base64.b64encode(array.tobytes()).decode()
