"""What a data set is: where it is found, who made it, and what reads it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from ..errors import ConfigError
from ..tasks import Classification, Task
from .dataset import Raw
from .places import Place


@dataclass(frozen=True)
class Remote:
    """A file to download: ``file`` is where it goes, relative to the data folder.

    ``sha256`` and ``size`` are those of the file as it comes. An archive is checked, opened and
    thrown away: ``members`` maps a name inside it to the (sha256, size) of the file it becomes.
    """

    file: str
    sha256: str
    size: int
    members: Mapping[str, tuple[str, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """A data set that can be loaded; an entry point ``rewire.datasets`` names one of these.

    ``classes`` is how many outputs a model has: classes, numbers, or tokens. ``task`` is what it is
    for, and says what its targets are. ``inputs`` "tokens" are whole numbers below ``classes``,
    "token pairs" two sequences of those, (2, T), as `tasks.Translation` has them, "observations"
    those of an environment, played while a model trains.
    ``train``, ``validation`` and ``test`` are the default numbers of examples. ``mean`` and ``std``
    are per channel (the first dimension of ``shape``), in units of ``peak``, over training and
    validation together; left empty, inputs are used as they are read. ``target_mean`` and
    ``target_std`` are the same of targets that are numbers. ``read`` returns training and
    validation examples still as one, and ``locate`` says cheaply whether ``read`` has something to
    read; None: it needs no file (it computes its examples, or its package holds them), and is
    always here.
    ``split_seed`` None makes the validation set the end of the training file, as papers do; a
    number makes it a stratified draw, as a file sorted by class or writer needs. ``digest`` is that
    of data which no package vouches for: cells are known by it. ``steps``: forward passes of an
    example at most, more than 1 of episodes.
    """

    name: str
    title: str
    shape: tuple[int, ...]
    classes: int
    train: int
    validation: int
    test: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    origin: str
    licence: str
    citation: str
    read: Callable[[], Raw]
    locate: Callable[[], Place] | None = None
    peak: float = 255.0
    split_seed: int | None = None
    remotes: tuple[Remote, ...] = ()
    mirrors: tuple[str, ...] = ()
    task: Task = Classification()
    inputs: Literal["numbers", "tokens", "token pairs", "observations"] = "numbers"
    target_mean: tuple[float, ...] = ()
    target_std: tuple[float, ...] = ()
    digest: str = ""
    steps: int = 1

    def place(self) -> Place:
        """Where its files are; a place without a path where there are none.

        Raises:
            ConfigError: ``locate`` fails, or returns something else.
        """
        if self.locate is None:
            return Place(None, ())
        try:
            place = self.locate()
        except Exception as error:  # a plug-in may fail in any way
            raise ConfigError(
                f"`locate` of the data set {self.name} raises {type(error).__name__}: {error}. "
                "Mend it, or leave it out where `read` needs no file."
            ) from error
        if not isinstance(place, Place):
            raise ConfigError(
                f"`locate` of the data set {self.name} returns a {type(place).__name__}, expected "
                "a rewire.experiments.data.Place. Mend it, or leave it out where `read` needs no "
                "file."
            )
        return place

    @property
    def needs_no_file(self) -> bool:
        return self.locate is None
