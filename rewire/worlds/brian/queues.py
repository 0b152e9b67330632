"""Spike queues of Brian2's pathways, in which synapses move."""

from __future__ import annotations

from typing import Any

from ...native import kernels


def own_queue(pathway: Any) -> None:
    """Give a pathway a queue in which single synapses move, where it can be read: the same spikes.

    Brian2's must be prepared anew, over all synapses, when one has moved.
    """
    # from 2.10 on compiled code reads the C++ object behind Brian2's own queue, its capsule
    readable = hasattr(pathway.queue, "peek") and not hasattr(pathway.queue, "get_capsule")
    if kernels is None or not readable or hasattr(pathway.queue, "retarget"):
        return
    queue = kernels.SlotQueue(pathway.source.start, pathway.source.stop)
    queue._restore_from_full_state(pathway.queue._full_state())
    pathway.queue = queue
    pathway.variables.add_object("_queue", queue)


def prepare_again(pathway: Any, moved: set[int]) -> None:
    """Brian2's own queue, with synapses that have moved and whose spikes in flight are gone."""
    offset, buckets = pathway.queue._full_state()
    if not all(map(moved.isdisjoint, buckets)):
        staying = [[k for k in bucket if k not in moved] for bucket in buckets]
        pathway.queue._restore_from_full_state((offset, staying))
    prepare(pathway)


def prepare(pathway: Any) -> None:
    """Tell a queue the delays and the source of every synapse; spikes in flight stay."""
    ends = pathway.synapse_sources.get_value()
    pathway.queue.prepare(pathway._delays.get_value(), pathway.source.clock.dt_, ends)
