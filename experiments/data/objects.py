"""Data given from Python: tensors, data sets with a length and items, rows that are mappings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import DataError
from .arrays import Arrays
from .source import Source

TARGETS = ("label", "labels", "target", "targets", "y", "fine_label")
INPUTS = ("image", "img", "pixel_values", "x", "input", "inputs", "features", "input_ids", "tokens")
SEQUENCES = ("input_ids", "tokens")  # without targets: each is followed by the next one
PARTS = {"train": ("train",), "test": ("test",), "validation": ("validation", "valid", "val")}
FORMS = (
    "give (x, y), a data set with a length and items (x, y), one whose items are mappings such as "
    '{"image": ..., "label": ...}, or a mapping of such parts: {"train": ..., "test": ...}'
)


def arrays_of(value: Any, named: str = "the data set") -> Arrays:
    """What was given, as arrays.

    >>> arrays = arrays_of((np.zeros((9, 4)), np.arange(9) % 2))
    >>> type(arrays.task).__name__, arrays.train[0].dtype.name
    ('Classification', 'float32')

    Raises DataError for what is no data set.
    """
    if isinstance(value, Source):
        raw = value.read()
        return Arrays(value.name, (raw.x_train, raw.y_train), (raw.x_test, raw.y_test))
    if isinstance(value, Mapping):
        return _of_parts(value, named)
    if isinstance(value, tuple | list) and len(value) == 4:
        return Arrays(named, (_array(value[0]), _array(value[1])),
                      (_array(value[2]), _array(value[3])))  # fmt: skip
    return Arrays(named, _part(value, named))


def _of_parts(parts: Mapping[str, Any], named: str) -> Arrays:
    known = {alias: part for part, aliases in PARTS.items() for alias in aliases}
    if "train" not in parts or set(parts) - set(known):
        raise DataError(
            f"{named}: its parts are {', '.join(map(str, parts)) or 'none'}, expected train and, "
            "if there are, test and validation"
        )
    if "test" not in parts and len(parts) > 1:
        raise DataError(f"{named}: it has a validation part and no test part: give that as well")
    read = {known[name]: _part(part, f"{named}, {name}") for name, part in parts.items()}
    return Arrays(named, read["train"], read.get("test"), read.get("validation"))


def _part(value: Any, named: str) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets of one part."""
    if isinstance(value, tuple | list) and len(value) == 2 and not isinstance(value[0], tuple):
        return _array(value[0]), _array(value[1])
    if not hasattr(value, "__len__") or not hasattr(value, "__getitem__"):
        hint = "give the data set that it loads" if hasattr(value, "dataset") else FORMS
        raise DataError(f"{named}: it is a {type(value).__name__}: {hint}")
    if isinstance(value, str) or not len(value):
        raise DataError(f"{named}: it is {value!r:.60}, which holds no examples: {FORMS}")
    _refuse_random(value, named)
    pairs = [_pair(row, named) for row in _rows(value)]
    return _stacked([x for x, _ in pairs], named), _stacked([y for _, y in pairs], named)


def _rows(value: Any) -> Iterator[Any]:
    return (value[i] for i in range(len(value)))


def _refuse_random(value: Any, named: str) -> None:
    """Items that are other ones at each look have no digest, and no run that can be resumed."""
    try:
        rows = value[0], value[0]
    except Exception as error:  # a data set of somebody's may fail in any way
        raise DataError(
            f"{named}: a {type(value).__name__} has no item 0 ({type(error).__name__}: {error}): "
            f"{FORMS}"
        ) from error
    first, again = (_pair(row, named) for row in rows)
    if not all(np.array_equal(a, b) for a, b in zip(first, again, strict=True)):
        raise DataError(
            f"{named}: its first item is another one when it is asked for again: leave out random "
            "transforms"
        )


def _pair(row: Any, named: str) -> tuple[np.ndarray, np.ndarray]:
    """Input and target of an item."""
    if isinstance(row, Mapping):
        return _of_columns(row, named)
    if isinstance(row, Sequence | np.ndarray) and not isinstance(row, str) and len(row) == 2:
        return _array(row[0]), _array(row[1])
    raise DataError(
        f"{named}: an item is a {type(row).__name__}"
        + (f" of {len(row)}" if hasattr(row, "__len__") else "")
        + f", expected a pair (x, y): {FORMS}"
    )


def _of_columns(row: Mapping[str, Any], named: str) -> tuple[np.ndarray, np.ndarray]:
    columns = [name for name in row if name != "attention_mask"]
    target = next((name for name in TARGETS if name in columns), None)
    others = [name for name in columns if name != target]
    source = others[0] if len(others) == 1 else next((n for n in INPUTS if n in others), None)
    if target is None and source in SEQUENCES:
        tokens = _array(row[source])
        return tokens[:-1], tokens[1:]
    if target is None or source is None:
        raise DataError(
            f"{named}: its columns are {', '.join(map(str, row))}: rename one to x and one to y "
            "(tokens without targets: input_ids)"
        )
    return _array(row[source]), _array(row[target])


def _stacked(items: Sequence[np.ndarray], named: str) -> np.ndarray:
    shapes = {item.shape for item in items}
    if len(shapes) > 1:
        some = ", ".join(map(str, sorted(shapes)[:3]))
        raise DataError(
            f"{named}: its items are of {len(shapes)} shapes ({some}, ...): give all one shape"
        )
    return np.stack(items)


def _array(value: Any) -> np.ndarray:
    """A tensor, picture, array, list or number as an array; a picture as (channels, H, W)."""
    if hasattr(value, "detach"):  # a tensor of torch
        return value.detach().cpu().numpy()
    if hasattr(value, "getbands"):  # a picture of Pillow
        return pixels(value)
    return np.asarray(value)


def pixels(picture: Any) -> np.ndarray:
    """A picture of Pillow as uint8 (channels, H, W): one channel where it is grey, else three."""
    grey = picture.mode in ("1", "L", "I;16", "I", "F")
    array = np.asarray(picture.convert("L" if grey else "RGB"))
    return array[None] if grey else array.transpose(2, 0, 1)
