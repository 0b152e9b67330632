"""Seeds of single parts of a training: two runs from one initialisation, on other noise."""

from typing import Annotated

from pydantic import Field, model_validator

from .values import Table

Seed = Annotated[int, Field(ge=0, lt=2**63)]


class SeedsApart(Table):
    """The table ``seeds_apart``: what is drawn by another seed than the cell's.

    >>> apart = SeedsApart.model_validate({"data": 7, "from": 100})
    >>> apart.of("data", 0, step=99), apart.of("data", 0, step=100), apart.of("init", 0)
    (0, 7, 0)
    """

    init: Annotated[
        Seed | None, Field(description="first weights, and where edges begin that begin at random")
    ] = None
    data: Annotated[Seed | None, Field(description="order of the examples, and dropout")] = None
    augment: Annotated[Seed | None, Field(description="augmentation of the examples")] = None
    since: Annotated[
        int,
        Field(alias="from", ge=1, lt=2**63, description="step of a level from which 'data' and "
              "'augment' hold; before it they are the cell's seed"),
    ] = 0  # fmt: skip

    @model_validator(mode="after")
    def _names_a_seed(self) -> "SeedsApart":
        if self.data is None and self.augment is None:
            if self.since:
                raise ValueError("'from' says since when 'data' or 'augment' hold: give one")
            if self.init is None:
                raise ValueError("give 'init', 'data' or 'augment', e.g. { data = 100 }")
        return self

    def of(self, part: str, seed: int, step: int = 0) -> int:
        """The seed of a part ("init", "data", "augment") at a step, in a cell of ``seed``."""
        own = getattr(self, part)
        return seed if own is None or (part != "init" and step < self.since) else own


NONE_APART = SeedsApart.model_construct()
