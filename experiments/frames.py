"""Rows as a table of pandas, and as Parquet: what the extra ``tables`` brings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ConfigError

if TYPE_CHECKING:
    import pandas

EXTRA = 'pip install "neurorewire[tables]"'


def frame(rows: Iterable[Mapping[str, Any]]) -> pandas.DataFrame:
    """Rows as a DataFrame, a column per name; a row that lacks one has no value there.

    Raises ConfigError where pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise ConfigError(
            f"a table of pandas was asked for, and pandas cannot be imported ({error}): install "
            f"it by {EXTRA}, or take rows() instead, which needs nothing"
        ) from None
    rows = list(rows)
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pandas.DataFrame.from_records(rows, columns=names)


def write_parquet(rows: Iterable[Mapping[str, Any]], path: str | Path) -> None:
    """Rows as a Parquet file. Raises ConfigError without pandas or pyarrow."""
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"{path} is to be Parquet, and pyarrow cannot be imported ({error}): install it by "
            f"{EXTRA}, or ask for --csv"
        ) from None
    frame(rows).to_parquet(path, engine="pyarrow", index=False)
