"""``rewire new rule|experiment|model NAME``: a skeleton that works, with its test."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from .errors import ConfigError
from .printing import console

SKELETONS = Path(__file__).parent / "skeletons"
Folder = Annotated[Path, Parameter(["--in"])]
new_app = App(
    name="new",
    help="Begin a rule, an experiment or a model of your own.",
)


@new_app.command
def rule(name: str, /, *, folder: Folder = Path(".")) -> None:
    """A rule in a file of its own, and its test: it works as it is, and is to be changed.

    Parameters
    ----------
    name
        Of the class, as MyRule.
    folder
        Where to write it.
    """
    _check(name, r"[A-Z][A-Za-z0-9]*", "a class, as MyRule")
    file = _snake(name)
    _write(folder, {f"{file}.py": "rule.py", f"test_{file}.py": "test_rule.py"}, name, file)


@new_app.command
def model(name: str, /, *, folder: Folder = Path(".")) -> None:
    """A model in a file of its own, and its test.

    Parameters
    ----------
    name
        Of the function that builds it, as my_net.
    folder
        Where to write it.
    """
    _check(name, r"[a-z][a-z0-9_]*", "a function, as my_net")
    file = f"{name}_model"
    _write(folder, {f"{file}.py": "model.py", f"test_{file}.py": "test_model.py"}, name, file)


@new_app.command
def experiment(name: str, /, *, folder: Folder = Path(".")) -> None:
    """An experiment file, and a test that it can be trained.

    Parameters
    ----------
    name
        Of the file and of its run, as my-comparison.
    folder
        Where to write it.
    """
    _check(name, r"[A-Za-z0-9][A-Za-z0-9-]*", "a file, as my-comparison")
    file = name.replace("-", "_")
    files = {f"{name}.toml": "experiment.toml", f"test_{file}.py": "test_experiment.py"}
    _write(folder, files, name, file)
    console().print(f"Run it with: rewire run {folder / name}.toml", highlight=False)


def _check(name: str, pattern: str, what: str) -> None:
    if not re.fullmatch(pattern, name):
        raise ConfigError(f"{name!r} does not name {what}")


def _snake(name: str) -> str:
    """A class's name as that of its file.

    >>> _snake("MyRule"), _snake("SETLike")
    ('my_rule', 'set_like')
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _write(folder: Path, files: dict[str, str], name: str, file: str) -> None:
    """Write skeletons with the name filled in; ConfigError where one of the files is there."""
    for target in files:
        if (folder / target).exists():
            raise ConfigError(f"{folder / target} is there already: take another name, or --in")
    folder.mkdir(parents=True, exist_ok=True)
    for target, skeleton in files.items():
        text = (SKELETONS / f"{skeleton}.txt").read_text(encoding="utf-8")
        path = folder / target
        path.write_text(text.replace("NAME", name).replace("FILE", file), encoding="utf-8")
        console().print(str(path), soft_wrap=True, highlight=False)
