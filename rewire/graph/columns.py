"""What edges carry: values aligned with them, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .edit import Birth, Edit

Values = Tensor | np.ndarray
Births = np.ndarray | float  # of new edges: one number, or one for each
Reader = Callable[[Any], Any]  # rows (a slice, or some numbers) -> their values


class Columns:
    """Columns of a graph: arrays or tensors, each (E,), and some that are yet to be read.

    values: as they came: an array becomes a tensor when one is asked for.
    births: value of a newborn edge by column: a number, or a function of its key.
    lazy:   what reads each column that is yet to be read.

    What asks for a lazy column reads it once, for good.
    """

    __slots__ = ("births", "lazy", "values")  # one is made in every step

    def __init__(
        self,
        values: dict[str, Values],
        births: Mapping[str, Birth],
        lazy: dict[str, Reader] | None = None,
    ):
        self.values, self.births = values, births
        self.lazy: dict[str, Reader] = {} if lazy is None else lazy

    # -- reading --------------------------------------------------------------------------------

    def tensor(self, name: str) -> Tensor:
        """A column, (E,). Raises KeyError that names the columns there are."""
        if name in self.lazy:
            self.values[name] = self.lazy.pop(name)(slice(None))
        values = self.values.get(name)
        if isinstance(values, Tensor):
            return values
        if values is None:
            raise KeyError(
                f"the graph has no column {name!r}; it has {sorted(self.read())}. A rule gets a "
                "column by declaring it in Rule.columns."
            )
        tensor = self.values[name] = torch.from_numpy(values)
        return tensor

    def numbers(self, name: str) -> np.ndarray:
        """A column as a numpy array of the same memory, (E,)."""
        values = self.values.get(name)
        return values if isinstance(values, np.ndarray) else self.tensor(name).numpy()

    def some(self, name: str, rows: Sequence[int]) -> Sequence[float]:
        """Some edges' values, (k,); of a lazy column the others are not read."""
        if name in self.lazy:
            return self.lazy[name](rows)
        values: list[float] = self.numbers(name)[np.array(rows, np.int64)].tolist()
        return values

    def read(self) -> dict[str, Values]:
        """All columns as they came, the lazy ones read."""
        for name in list(self.lazy):
            self.tensor(name)
        return self.values

    # -- changing -------------------------------------------------------------------------------

    def replaced(self, columns: Mapping[str, Values], n_edges: int) -> Columns:
        """With these columns replaced or added. Raises ValueError for another length."""
        for name, column in columns.items():
            if column.shape[0] != n_edges:
                raise ValueError(
                    f"column {name!r} has {len(column)} values for {n_edges} edges; a column "
                    "is aligned with the graph that the rule was shown."
                )
        values = self.read() if self.lazy else self.values
        return Columns({**values, **columns}, self.births)

    def with_lazy(self, name: str, reader: Reader) -> Columns:
        """With a column that is read when it is first asked for."""
        others = {n: values for n, values in self.values.items() if n != name}
        return Columns(others, self.births, {**self.lazy, name: reader})

    def with_birth(self, name: str, birth: Birth, keys: Tensor) -> Columns:
        """With a column whose newborn edges get ``birth``; where it is new, all edges get it.

        >>> columns = Columns({}, {}).with_birth("weight", 0.5, torch.tensor([1, 7]))
        >>> columns.tensor("weight").tolist()
        [0.5, 0.5]
        >>> columns.newborn("weight", Edit(add=torch.tensor([3])))
        0.5
        """
        columns = dict(self.read())
        if name not in columns:
            born = birth(keys) if callable(birth) else torch.full((len(keys),), float(birth))
            columns[name] = born
        return Columns(columns, {**self.births, name: birth})

    def checked(self, edit: Edit, n_edges: int) -> Columns:
        """As an edit sets them. Raises KeyError for a column it names that is not there."""
        for name in (*edit.set, *edit.birth):
            if name not in self.values and name not in self.lazy:
                self.tensor(name)  # raises, naming the columns there are
        return self.replaced(edit.set, n_edges) if edit.set else self

    # -- newborn edges --------------------------------------------------------------------------

    def births_of(self, name: str, edit: Edit) -> Births:
        """What new edges hold: what the edit states, in the order of ``add``, else their birth."""
        stated = edit.birth.get(name)
        if stated is None:
            birth = self.births.get(name, 0.0)
            return birth(torch.from_numpy(edit.add)).numpy() if callable(birth) else birth
        if isinstance(stated, np.ndarray) and len(stated) != len(edit.add):
            raise ValueError(
                f"{len(stated)} birth values of {name!r} were given for {len(edit.add)} new edges; "
                "Edit.birth holds one number, or one for each key of Edit.add."
            )
        return stated

    def newborn(self, name: str, edit: Edit) -> Births:
        """The same by rising key, as the edges lie in the graph after the edit."""
        births = self.births_of(name, edit)
        if isinstance(births, np.ndarray):
            return births[np.argsort(edit.add, kind="stable")]
        return births
