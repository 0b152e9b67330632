"""Which projections make up one block of a deep model."""

from __future__ import annotations

from ...graph import Space


def block_of(name: str) -> str:
    """The block that a projection of that name is in: all up to the first number in it, or, where
    there is none, the name itself.

    >>> block_of("transformer.h.3.attn.c_proj.weight"), block_of("0.weight"), block_of("fc1.weight")
    ('transformer.h.3', '0', 'fc1.weight')
    """
    parts = name.split(".")
    for i, part in enumerate(parts):
        if part.isdigit():
            return ".".join(parts[: i + 1])
    return name


def blocks_of(space: Space) -> list[list[int]]:
    """Numbers of the projections of each block, in the order in which the model lists them."""
    blocks: dict[str, list[int]] = {}
    for i, p in enumerate(space.projections):
        blocks.setdefault(block_of(p.name), []).append(i)
    return list(blocks.values())
