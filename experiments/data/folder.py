"""Data in files of one's own: ``folder:PATH``."""

from __future__ import annotations

import csv
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..errors import DataError
from .arrays import Arrays
from .objects import pixels
from .text import windows

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".pgm", ".ppm")
TABLES = (".npz", ".safetensors", ".csv", ".txt")
WINDOW = 64  # characters of a text
PARTS = ("train", "test", "validation")
LAYOUTS = (
    "train/CLASS/*.png and test/CLASS/*.png, or CLASS/*.png; train.npz and test.npz, or one file, "
    "with arrays x and y (.npz or .safetensors), with the target in the last column (.csv), or of "
    "text (.txt)"
)
Part = tuple[np.ndarray, np.ndarray]


def read_folder(path: Path) -> Arrays:
    """The data in a folder, or in a file; read once as long as no file of it changes.

    Raises DataError where there are none, or they do not fit together.
    """
    if not path.exists():
        raise DataError(f"folder:{path}: there is no such folder or file")
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    stamps = ((str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in files)
    return _read(path, tuple(stamps))


@functools.lru_cache(maxsize=2)
def _read(path: Path, stamps: tuple[tuple[str, int, int], ...]) -> Arrays:
    named = f"folder:{path}"
    files = [Path(file) for file, _, _ in stamps if not Path(file).name.startswith(".")]
    tables = [f for f in files if f.suffix.lower() in TABLES and f.parent in (path, path.parent)]
    if any(f.suffix.lower() in IMAGES for f in files):
        return _pictures(path, named)
    if not tables:
        raise DataError(f"{named}: it holds no data; expected {LAYOUTS}")
    if len(tables) == 1:
        return _one_file(tables[0], named)
    by_part = {file.stem: file for file in tables}
    if len(by_part) < len(tables) or set(by_part) - set(PARTS) or "train" not in by_part:
        names = ", ".join(file.name for file in tables[:6])
        raise DataError(f"{named}: it holds {names}; expected {LAYOUTS}")
    if "test" not in by_part:
        raise DataError(f"{named}: it has a validation file and no test file: add that as well")
    return _several_files(by_part, named)


# --- tables ---


def _one_file(file: Path, named: str) -> Arrays:
    if file.suffix.lower() == ".csv":
        x, columns, _ = _csv(file)
        targets, classes = _targets([columns])
        return Arrays(named, (x, targets[0]), classes=classes)
    if file.suffix.lower() == ".txt":
        tokens, characters = _tokens([file])
        x, y = windows(tokens[0], WINDOW)
        k = max(1, round(0.1 * len(x)))  # the end of a text is for testing, what comes before it
        parts = (x[: -2 * k], y[: -2 * k]), (x[-k:], y[-k:]), (x[-2 * k : -k], y[-2 * k : -k])
        if len(x) < 3 * k:
            raise DataError(f"{named}: it has {len(tokens[0])} characters, too few for a text")
        return Arrays(named, *parts, classes=characters)
    arrays = _arrays(file)
    if "x_train" in arrays:
        test = _xy(arrays, file, "_test") if "x_test" in arrays else None
        return Arrays(named, _xy(arrays, file, "_train"), test)
    return Arrays(named, _xy(arrays, file, ""))


def _several_files(by_part: Mapping[str, Path], named: str) -> Arrays:
    parts: dict[str, Part] = {}
    names: tuple[str, ...] = ()
    kinds = {file.suffix.lower() for file in by_part.values()}
    if kinds == {".csv"}:
        tables = {part: _csv(file) for part, file in by_part.items()}
        heads = {header for _, _, header in tables.values()}
        if len(heads) > 1:
            raise DataError(
                f"{named}: its files have other columns: {' and '.join(map(str, heads))}"
            )
        y, names = _targets([columns for _, columns, _ in tables.values()])
        parts = {part: (tables[part][0], own) for part, own in zip(tables, y, strict=True)}
    if kinds == {".txt"}:
        tokens, names = _tokens(list(by_part.values()))
        parts = {p: windows(own, WINDOW) for p, own in zip(by_part, tokens, strict=True)}
    if not parts:
        parts = {part: _xy(_arrays(file), file, "") for part, file in by_part.items()}
    return Arrays(named, parts["train"], parts["test"], parts.get("validation"), names)


def _arrays(file: Path) -> Mapping[str, np.ndarray]:
    """The arrays of a file, by name."""
    try:
        if file.suffix.lower() == ".npz":
            with np.load(file, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        if file.suffix.lower() == ".safetensors":
            from safetensors.numpy import load_file

            return load_file(file)
    except Exception as error:  # a damaged file may fail in any way
        raise DataError(f"{file}: cannot be read ({type(error).__name__}: {error})") from error
    raise DataError(f"{file}: files of one folder are of one kind; expected {LAYOUTS}")


def _xy(arrays: Mapping[str, np.ndarray], file: Path, suffix: str) -> Part:
    missing = [name for name in (f"x{suffix}", f"y{suffix}") if name not in arrays]
    if missing:
        raise DataError(
            f"{file}: it holds {', '.join(arrays) or 'nothing'} and no {' and no '.join(missing)}: "
            "name the inputs x and the targets y"
        )
    return arrays[f"x{suffix}"], arrays[f"y{suffix}"]


def _csv(file: Path) -> tuple[np.ndarray, list[str], tuple[str, ...]]:
    """Inputs, the texts of the last column, and the header of a table."""
    try:
        with open(file, newline="", encoding="utf-8-sig") as lines:
            rows = [row for row in csv.reader(lines) if row]
    except (OSError, UnicodeError, csv.Error) as error:
        raise DataError(f"{file}: cannot be read ({error})") from error
    header: tuple[str, ...] = ()
    if rows and not all(_is_number(cell) for cell in rows[0][:-1]):
        header = tuple(rows.pop(0))
    if not rows or len(rows[0]) < 2:
        raise DataError(f"{file}: it has no row of two columns or more, the last for the target")
    for i, row in enumerate(rows, 1 + bool(header)):
        if len(row) != len(rows[0]) or not all(_is_number(cell) for cell in row[:-1]):
            raise DataError(
                f"{file}: row {i} is {','.join(row)[:60]!r}, expected {len(rows[0]) - 1} numbers "
                "and a target"
            )
    x = np.array([[float(cell) for cell in row[:-1]] for row in rows], np.float32)
    return x, [row[-1].strip() for row in rows], header


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _targets(columns: Sequence[Sequence[str]]) -> tuple[list[np.ndarray], tuple[str, ...]]:
    """Targets of several tables alike: whole numbers, numbers with a point, or names of classes."""
    cells = [cell for column in columns for cell in column]
    if all(cell.isdecimal() for cell in cells):
        return [np.array([int(cell) for cell in column]) for column in columns], ()
    if all(_is_number(cell) for cell in cells):
        return [np.array([float(cell) for cell in column]) for column in columns], ()
    names = sorted(set(cells))
    number = {name: i for i, name in enumerate(names)}
    return [np.array([number[cell] for cell in column]) for column in columns], tuple(names)


def _tokens(files: Sequence[Path]) -> tuple[list[np.ndarray], tuple[str, ...]]:
    """Characters of texts as their numbers in the sorted list of all that occur."""
    try:
        texts = [file.read_text(encoding="utf-8") for file in files]
    except (OSError, UnicodeError) as error:
        raise DataError(f"{files[0].parent}: cannot be read ({error})") from error
    characters = sorted(set("".join(texts)))
    number = {character: i for i, character in enumerate(characters)}
    tokens = [np.array([number[c] for c in text], np.int64) for text in texts]
    return tokens, tuple(characters)


# --- pictures ---


def _pictures(path: Path, named: str) -> Arrays:
    parts = [part for part in PARTS if (path / part).is_dir()]
    if not parts:
        names = _classes(path, named)
        return Arrays(named, _of_classes(path, names, named), classes=names)
    if "train" not in parts or (len(parts) > 1 and "test" not in parts):
        raise DataError(f"{named}: it has the folders {', '.join(parts)}; expected train and test")
    names = _classes(path / "train", named)
    for part in parts[1:]:
        if more := sorted(set(_classes(path / part, named)) - set(names)):
            raise DataError(f"{named}: {part} has the class {more[0]!r}, which train has not")
    train, test, validation = (
        _of_classes(path / part, names, named) if part in parts else None for part in PARTS
    )
    assert train is not None
    return Arrays(named, train, test, validation, names)


def _classes(path: Path, named: str) -> tuple[str, ...]:
    """The names of a folder's classes: of the folders in it that hold pictures."""
    names = tuple(sorted(p.name for p in path.iterdir() if p.is_dir() and _files(p)))
    if len(names) < 2:
        where = ", ".join(names) or "no folder with pictures"
        raise DataError(f"{named}: {path} holds {where}; expected a folder for each class")
    return names


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGES)


def _of_classes(path: Path, names: Sequence[str], named: str) -> Part:
    try:
        from PIL import Image
    except ImportError as error:
        raise DataError(f'{named} needs Pillow: pip install "neurorewire[data]"') from error
    pictures: list[np.ndarray] = []
    labels: list[int] = []
    first: tuple[Path, tuple[int, ...]] | None = None
    for label, name in enumerate(names):
        for file in _files(path / name) if (path / name).is_dir() else []:
            try:
                with Image.open(file) as image:
                    picture = pixels(image)
            except Exception as error:  # a damaged picture may fail in any way
                raise DataError(f"{file}: is no readable picture ({error})") from error
            first = first or (file, picture.shape)
            if picture.shape != first[1]:
                raise DataError(
                    f"{named}: {first[0].name} is (channels, height, width) {first[1]} and "
                    f"{file.relative_to(path)} {picture.shape}: bring all to one size and to grey "
                    "or colour"
                )
            pictures.append(picture)
            labels.append(label)
    return np.stack(pictures), np.array(labels)
