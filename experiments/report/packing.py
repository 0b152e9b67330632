"""What a page's animation is made of: its script, and numbers packed into JSON for it."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

import numpy as np
from markupsafe import Markup


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


def unpacked(text: str, kind: Any) -> np.ndarray:
    """What `packed` packed.

    >>> unpacked("AQACAA==", np.uint16).tolist()
    [1, 2]
    """
    return np.frombuffer(base64.b64decode(text), np.dtype(kind).newbyteorder("<"))


def animation(package: str | None, name: str) -> Markup:
    """The script of an animation in a package's folder, after that of its button and slider."""
    files = [resources.files(__package__) / "player.js", resources.files(package or "") / name]
    return Markup("".join(file.read_text() for file in files))
