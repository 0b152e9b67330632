"""What is wrong with an experiment, gathered while it is read and refused once, at the top."""

from __future__ import annotations

from typing import Any

from ..errors import ConfigError

MOST = 50  # problems that a refusal lists


class Problems(list[tuple[str, str]]):
    """Pairs of a path, as an override would write it, and a sentence about what is there.

    >>> problems = Problems()
    >>> problems.add("optimizer.lr", "should be greater than 0, found -1")
    >>> problems.refuse("mine")
    Traceback (most recent call last):
        ...
    rewire.experiments.errors.ConfigError: the experiment 'mine' has a problem:
      optimizer.lr: should be greater than 0, found -1
    """

    def add(self, path: str, sentence: str) -> None:
        self.append((path, sentence))

    def refuse(self, name: Any) -> None:
        """Raises ConfigError with all problems of the experiment called ``name``, if there are any.

        A name that is none itself is left out.
        """
        if not self:
            return
        named = isinstance(name, str) and len(name) < 65
        subject = f"the experiment {name!r}" if named else "the experiment"
        count = "a problem" if len(self) == 1 else f"{len(self)} problems"
        lines = [f"  {path}: {text}" if path else f"  {text}" for path, text in self[:MOST]]
        if len(self) > MOST:
            lines.append(f"  ... and {len(self) - MOST} more")
        raise ConfigError("\n".join([f"{subject} has {count}:", *lines]))
