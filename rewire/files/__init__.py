"""Graphs in files: formats of other programs and our own, read with care and written with notes.

`docs/files.md` lists the formats, and what each does not hold.
"""

from .errors import GraphFileError
from .formats import FORMATS, Format, read_graph, write_graph

__all__ = ["FORMATS", "Format", "GraphFileError", "read_graph", "write_graph"]
