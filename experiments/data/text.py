"""Text as sequences of characters, for models that foretell the next one."""

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import places
from .dataset import Raw
from .places import Place

SHAKESPEARE = "tinyshakespeare/input.txt"
SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
LICENCE_SHA256 = "0d542e0c8804e39aa7f37eb00da5a762149dc682d7829451287e11b938e94594"


@dataclass(frozen=True)
class Text:
    """A file of text, cut into windows of ``length`` characters; the last ``test`` are for testing.

    A window's target is the character after each of its places. Characters are numbered in the
    order of their bytes. ``sha256`` is that of the file.
    """

    name: str
    length: int
    test: int
    sha256: str

    def locate(self) -> Place:
        raise NotImplementedError

    def read(self) -> Raw:
        """Windows in the order of the text.

        Raises:
            DataError: the file is missing, or not the one we know.
        """
        place = self.locate()
        if place.path is None:
            raise places.missing(self.name, place)
        x, y = windows(_characters(self.name, place.path, self.sha256), self.length)
        n = len(x) - self.test
        return Raw(x[:n], y[:n], x[n:], y[n:])


class Shakespeare(Text):
    """Plays in one file, in the data folder."""

    def locate(self) -> Place:
        folder, _, file = SHAKESPEARE.partition("/")
        place = places.find([folder], [file])
        return place if place.path is None else Place(place.path / file, place.looked)


class Licence(Text):
    """The licence that comes with the package `packaging`, which matplotlib needs."""

    def locate(self) -> Place:
        try:
            files = importlib.metadata.files("packaging") or []
        except importlib.metadata.PackageNotFoundError:
            return Place(None, ("the package packaging (not installed)",))
        paths = [Path(str(f.locate())) for f in files if f.name == "LICENSE.APACHE"]
        here = next((path for path in paths if path.is_file()), None)
        return Place(here, tuple(map(str, paths)) or ("the package packaging",))


def windows(tokens: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Windows of a stream side by side, (N, length), and what follows each of their places.

    >>> x, y = windows(np.arange(8), 3)
    >>> x.tolist(), y.tolist()
    ([[0, 1, 2], [3, 4, 5]], [[1, 2, 3], [4, 5, 6]])
    """
    n = (len(tokens) - 1) // length
    x, y = tokens[: n * length], tokens[1 : n * length + 1]
    return x.reshape(n, length), y.reshape(n, length)


def _characters(name: str, path: Path, sha256: str) -> np.ndarray:
    """Each character of a file as its number in the sorted list of all of them, (N,) int64."""
    text = places.content(path, sha256, f": it is not the text that {name} stands for")
    return np.unique(np.frombuffer(text, np.uint8), return_inverse=True)[1].astype(np.int64)
