"""Receptive fields as pictures: of sample neurons, and of all neurons laid over each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import axes, rounding
from .maps import Sheet

Ends = Mapping[str, tuple[Sheet, Sheet]]  # by label: at the start and at the end

SAMPLES = ((0.5, 0.5), (0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75), (0.0, 0.0))
WHEN = ("start", "end")


def sample_fields(ends: Ends) -> list[dict[str, Any]]:
    """Receptive fields of the same sample neurons, start and end, all labels on one scale."""
    neurons = {label: samples(pair[0].side) for label, pair in ends.items()}
    fields = {
        (label, i): sheet.fields("weight")[neurons[label]] / sheet.w_max
        for label, pair in ends.items()
        for i, sheet in enumerate(pair)
    }
    largest = max((float(values.max()) for values in fields.values()), default=0)
    most = 2 if largest > 1 + 1e-6 else 1
    pictures = []
    for label, pair in ends.items():
        rows = [
            {
                "when": when,
                "tiles": _tiles(label, when, sheet, neurons[label], fields[label, i], most),
            }
            for i, (sheet, when) in enumerate(zip(pair, WHEN, strict=True))
        ]
        clipped = largest > most + 1e-6
        numbers = [
            {"label": label, "at": when, "neuron_row": round(place[0]),
             "neuron_column": round(place[1]), **row}
            for i, (sheet, when) in enumerate(zip(pair, WHEN, strict=True))
            for place, field in zip(sheet.places[neurons[label]], fields[label, i], strict=True)
            for row in axes.picture_rows(field)
        ]  # fmt: skip
        pictures.append(
            {"label": label, "rows": rows, "most": most, "clipped": clipped, "numbers": numbers}
        )
    return pictures


def _tiles(
    label: str, when: str, sheet: Sheet, neurons: list[int], fields: np.ndarray, most: float
) -> list[dict[str, Any]]:
    map_ = sheet.map("weight")
    tiles = []
    for neuron, field in zip(neurons, fields, strict=True):
        place, preferred, sigma = sheet.places[neuron], map_.preferred[neuron], map_.sigma[neuron]
        connected = np.isfinite(sigma)
        numbers = f"spread {sigma:.2f} cells, {map_.deviation[neuron]:.2f} from its place"
        tiles.append(
            {
                "source": axes.heat(field, most),
                "place": _position(place, sheet.side),
                "preferred": _position(preferred, sheet.side) if connected else None,
                "alt": f"Receptive field at the {when} under {label} of the neuron in row "
                f"{round(place[0])}, column {round(place[1])}: "
                f"{numbers if connected else 'no synapse'}.",
            }
        )
    return tiles


def mean_fields(ends: Ends) -> list[dict[str, Any]]:
    """The mean field of all neurons, each with its own place in the middle, on one scale."""
    fields = {label: [centred(sheet) for sheet in pair] for label, pair in ends.items()}
    most = max((float(field.max()) for pair in fields.values() for field in pair), default=0)
    return [
        {
            "label": label,
            "tiles": [
                _mean_tile(label, when, field, most) for field, when in zip(pair, WHEN, strict=True)
            ],
            "most": f"{most:.2g}",
            "numbers": [
                {"label": label, "at": when, **row}
                for field, when in zip(pair, WHEN, strict=True)
                for row in axes.picture_rows(field)
            ],
        }
        for label, pair in fields.items()
    ]


def _mean_tile(label: str, when: str, field: np.ndarray, most: float) -> dict[str, Any]:
    middle = len(field) // 2
    centre = field[middle - 1 : middle + 2, middle - 1 : middle + 2]
    near = centre.sum() / max(field.sum(), 1e-12)
    return {
        "when": when,
        "source": axes.heat(field, most),
        "near": near,
        "place": _position(np.array([middle, middle]), len(field)),
        "alt": f"Mean receptive field at the {when} under {label}: "
        f"{rounding.percent(near, 0)} of the weight within one cell of the own place.",
    }


def centred(sheet: Sheet) -> np.ndarray:
    """Mean of all receptive fields by weight, in units of the largest weight, (side, side).

    Each is moved over the torus until the neuron's own place is in the middle, at side // 2.
    """
    fields, side = sheet.fields("weight") / sheet.w_max, sheet.side
    rows = (np.arange(side) - side // 2 + sheet.places[:, :1].round().astype(int)) % side
    columns = (np.arange(side) - side // 2 + sheet.places[:, 1:].round().astype(int)) % side
    moved = fields[np.arange(len(fields))[:, None, None], rows[:, :, None], columns[:, None, :]]
    return moved.mean(0)


def samples(side: int) -> list[int]:
    """Numbers of the sample neurons: the middle, four between it and the corners, and a corner.

    >>> samples(4)
    [10, 5, 7, 13, 15, 0]
    """
    places = [(int(row * side), int(column * side)) for row, column in SAMPLES]
    return [*dict.fromkeys(row * side + column for row, column in places)]


def _position(location: np.ndarray, side: int) -> tuple[str, str]:
    """A row and a column in per cent of a picture, from its top and left."""
    top, left = (100 * ((float(x) + 0.5) % side) / side for x in location)
    return f"{top:.2f}", f"{left:.2f}"
