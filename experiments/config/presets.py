"""Experiment files: TOML or JSON plus ``key=value`` overrides -> one validated `Experiment`.

    name = "my-comparison"
    model = "lenet-300-100"
    data = "mnist5k"
    optimizer = { name = "adam", lr = 1.2e-3 }
    batch = 60
    steps = 600                  # per level; or epochs = 10
    densities = [0.2, 0.05, 0.02]
    seeds = 3                    # or [0, 1, 2]

    [[rules]]
    rule = "IMP"
    fraction = 0.3               # any field of the rule

    [[rules]]
    rule = "DeepR"
    label = "DEEP R, fast"
    l1 = 1e-4
    train = { optimizer = { name = "sgd", lr = 0.05 } }   # what this rule trains with instead

`load` reports every mistake of a file at once: each with its path (written as an override would
name it), what was found, and the nearest name that exists. Torch is imported only when the rules
themselves are looked up, so a file that does not even parse is refused at once.
"""

from dataclasses import dataclass
from pathlib import Path

from rewire.names import did_you_mean

from ..errors import ConfigError
from .toml import read

PRESETS = Path(__file__).parents[1] / "presets"


@dataclass(frozen=True)
class Preset:
    """An experiment that comes with the package."""

    name: str
    path: Path
    title: str
    about: str
    source: str
    time: str  # what the file says of its running time on two cores


def presets() -> dict[str, Preset]:
    """The experiments that come with the package, by name."""
    by_name = {}
    for path in sorted(PRESETS.glob("*.toml")):
        tree = read(path)
        text = {key: str(tree.get(key, "")) for key in ("title", "about", "source", "time")}
        by_name[path.stem] = Preset(path.stem, path, **text)
    return by_name


def locate(source: str | Path) -> Path:
    """The file that ``source`` means: a path, or the name of a preset (``preset:`` may precede)."""
    text = str(source)
    name = text.removeprefix("preset:")
    if (preset := PRESETS / f"{name}.toml").parent == PRESETS and preset.is_file():
        return preset
    path = Path(text)
    if path.exists():
        return path
    names = sorted(p.stem for p in PRESETS.glob("*.toml"))
    raise ConfigError(
        f"there is no experiment file or preset {text!r}{did_you_mean(name, names)}; "
        f"presets: {', '.join(names)}"
    )
