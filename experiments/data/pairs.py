"""Sentences and their translations as pairs of token sequences: Multi30k.

Tokens are pieces of words of both languages, learned from the training sentences by byte pair
encoding (Sennrich et al. 2016, arXiv:1508.07909; of bytes, so that no text is unknown) when the
data are read: `tokenizers` learns the same pieces from the same text, which the digest proves.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from ..tasks import IGNORED, Translation
from ..tasks.translation import BEGIN, END, PADDING
from . import places
from .dataset import Raw
from .places import Place
from .source import Remote, Source

FOLDER = "multi30k"
PARTS = ("train", "val", "test_2016_flickr")
FILES = {  # name -> (sha256, bytes), of the gzipped file
    "train.en": ("d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f", 568_929),
    "train.de": ("726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6", 637_044),
    "val.en": ("14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28", 21_650),
    "val.de": ("f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a", 24_681),
    "test_2016_flickr.en": (
        "611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9",
        21_077,
    ),
    "test_2016_flickr.de": (
        "9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8",
        22_890,
    ),
}
TOKENS, LENGTH = 2_000, 74  # of the vocabulary, and of the longest sentence with its end
# of the vocabulary and the tokens of all six files
DIGEST = "cb03611b8d1a9f8cc91bb1a0ff4a76d02221f01dc310dd92cc7dc1d276a5af6d"
WITHOUT_TEXT = ("<padding>", "<begin>", "<end>")  # the tokens 0, 1 and 2


@dataclass(frozen=True)
class Pairs:
    """Parallel text, one sentence a line, in files PART.LANGUAGE.gz of a folder.

    languages: that of sources, and that of translations. files: name -> sha256 of what is gzipped
    in it. tokens: the size of the vocabulary. length: places of an example, which hold the longest
    sentence. digest: of the vocabulary and of every sentence's tokens.
    """

    name: str
    languages: tuple[str, str]
    files: Mapping[str, str]
    tokens: int
    length: int
    digest: str

    def locate(self) -> Place:
        return places.find([FOLDER], [f"{name}.gz" for name in self.files])

    def read(self) -> Raw:
        """Pairs in the order of the files, (N, 2, length), as `tasks.Translation` has them.

        Raises:
            DataError: `tokenizers` is not installed; a file is missing or not the one that is
                known; the text is cut into other tokens.
        """
        if find_spec("tokenizers") is None:
            raise DataError(
                f'{self.name} is cut into tokens by tokenizers: pip install "neurorewire[language]"'
            )
        place = self.locate()
        if place.path is None:
            raise places.missing(self.name, place)
        lines = {name: _lines(place.path / f"{name}.gz", sha256)
                 for name, sha256 in self.files.items()}  # fmt: skip
        with _alone():
            of_training = [texts for name, texts in lines.items() if name.startswith("train.")]
            tokenizer = learned([text for texts in of_training for text in texts], self.tokens)
            tokens = {name: [tokenizer.encode(text).ids for text in texts]
                      for name, texts in lines.items()}  # fmt: skip
        pieces = pieces_of(tokenizer)
        self._check(place.path, pieces, tokens)
        (x_train, y_train), (x_val, y_val), (x_test, y_test) = (
            self._pairs(*(tokens[f"{part}.{language}"] for language in self.languages))
            for part in PARTS
        )
        x, y = np.concatenate([x_train, x_val]), np.concatenate([y_train, y_val])
        return Raw(x, y, x_test, y_test, pieces)

    def _check(
        self, folder: Path, pieces: Sequence[bytes], tokens: Mapping[str, Sequence[Sequence[int]]]
    ) -> None:
        digest = hashlib.sha256(b"\n".join(pieces))
        for name in sorted(tokens):
            for row in tokens[name]:
                digest.update(np.array([*row, END], "<i4").tobytes())
        if digest.hexdigest() != self.digest:
            raise DataError(
                f"{folder}: tokenizers {version('tokenizers')} cuts the text into tokens of sha256 "
                f"{digest.hexdigest()}, expected {self.digest}: install another version of it."
            )

    def _pairs(
        self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]
    ) -> tuple[np.ndarray, np.ndarray]:
        x = np.full((len(sources), 2, self.length), PADDING, np.int64)
        y = np.full((len(sources), self.length), IGNORED, np.int64)
        for i, (source, target) in enumerate(zip(sources, targets, strict=True)):
            x[i, 0, : len(source) + 1] = [*source, END]
            x[i, 1, : len(target) + 1] = [BEGIN, *target]
            y[i, : len(target) + 1] = [*target, END]
        return x, y


def learned(texts: Sequence[str], tokens: int) -> Any:
    """A tokenizer of byte pair encoding with ``tokens`` tokens; the first three are no text.

    >>> tokenizer = learned(["ein Hund", "ein Haus"] * 9, 265)
    >>> tokenizer.encode("ein Haus").tokens
    ['Ġein', 'ĠH', 'au', 's']
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = trainers.BpeTrainer(
        vocab_size=tokens,
        special_tokens=list(WITHOUT_TEXT),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def pieces_of(tokenizer: Any) -> tuple[bytes, ...]:
    """The bytes that each token of a vocabulary stands for; none for those that are no text."""
    numbers = tokenizer.get_vocab()
    names = sorted(numbers, key=numbers.__getitem__)[len(WITHOUT_TEXT) :]
    of_letter = _bytes_of_letters()
    return (*[b""] * len(WITHOUT_TEXT), *(bytes(of_letter[c] for c in name) for name in names))


def _bytes_of_letters() -> dict[str, int]:
    """The byte that each letter of a token's name stands for: printable ones for themselves, the
    others, in order, for the letters from 256 on (Radford et al. 2019)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {chr(byte): byte for byte in printable}
    return letters | {chr(256 + i): byte for i, byte in enumerate(others)}


@contextmanager
def _alone() -> Iterator[None]:
    """Without threads of `tokenizers`, which processes that are forked later could not use."""
    name = "TOKENIZERS_PARALLELISM"
    before = os.environ.get(name)
    os.environ[name] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _lines(path: Path, sha256: str) -> list[str]:
    """The sentences of a gzipped file, without blanks around them."""
    remedy = " (`rewire data fetch` downloads a checked copy into the cache folder)"
    content = places.content(path, sha256, remedy)
    try:
        text = gzip.decompress(content).decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error}). Remove or replace it.") from error
    return [line.strip() for line in text.removesuffix("\n").split("\n")]


def _multi30k(source: str, target: str) -> Source:
    titles = {"en": "English", "de": "German"}
    pairs = Pairs(
        name=f"multi30k-{source}-{target}",
        languages=(source, target),
        files={name: sha256 for name, (sha256, _) in FILES.items()},
        tokens=TOKENS,
        length=LENGTH,
        digest=DIGEST,
    )
    return Source(
        name=pairs.name,
        title=f"Multi30k, 31,014 captions of photographs, {titles[source]} to {titles[target]}",
        shape=(2, LENGTH),
        classes=TOKENS,
        train=29_000,
        validation=1_014,
        test=1_000,
        mean=(),
        std=(),
        origin=f"{FOLDER}/PART.LANGUAGE.gz of the authors' task 1, raw; tested on flickr 2016. "
        f"{TOKENS:,} tokens by byte pair encoding of the training text in both languages",
        licence="none stated; captions of Flickr30k, for research",
        citation="Elliott, Frank, Sima'an, Specia 2016 (Multi30K, arXiv:1605.00459)",
        read=pairs.read,
        locate=pairs.locate,
        remotes=tuple(
            Remote(f"{FOLDER}/{name}.gz", sha256, size) for name, (sha256, size) in FILES.items()
        ),
        mirrors=("https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw/",),
        task=Translation(),
        inputs="token pairs",
    )


MULTI30K = (_multi30k("en", "de"), _multi30k("de", "en"))
