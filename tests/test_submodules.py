"""`import rewire` alone gives every public module, each imported when it is first asked for."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import rewire
from rewire.experiments.engines import fork

ROOT = Path(__file__).parents[1]
# nobody's to import
INTERNAL = {
    "__main__", "arguments", "atomic", "calls", "compiled", "fields", "kernels", "loop_checks",
    "names", "native", "offer", "plugins", "rates",
}  # fmt: skip


def public() -> list[str]:
    paths = [*(ROOT / "rewire").glob("*.py"), *(ROOT / "rewire").glob("*/__init__.py")]
    stems = {p.parent.name if p.name == "__init__.py" else p.stem for p in paths} - {"rewire"}
    return sorted(stems - INTERNAL | {"models", "experiments"})


def fresh(code: str) -> str:
    command = [sys.executable, "-c", code]
    # a folder without a folder `rewire`, which would pass for the package
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT / "docs")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def given() -> dict[str, str]:
    """What each name gives to a process that has imported `rewire` alone, forked from one that has
    imported torch: that takes longer than all the rest."""
    if not fork.fork_available():
        pytest.skip("needs fork")
    code = f"""
import os, torch
for name in {public()}:
    if (pid := os.fork()) == 0:
        import rewire
        print(name, getattr(rewire, name).__name__, name in dir(rewire), flush=True)
        os._exit(0)
    os.waitpid(pid, 0)
"""
    return dict(line.split(" ", 1) for line in fresh(code).splitlines())


@pytest.mark.parametrize("name", public())
def test_import_rewire_alone_gives_the_module(name: str, given: dict[str, str]) -> None:
    assert given.get(name) == f"rewire.{name} True"


def test_import_rewire_imports_no_torch_and_no_module_of_its_own() -> None:
    code = (
        "import rewire, sys; print([m for m in sys.modules if m.startswith(('torch', 'rewire.'))])"
    )
    assert fresh(code).strip() == "[]"


def test_the_listing_on_adding_a_rule_runs_in_a_fresh_interpreter() -> None:
    page = (ROOT / "docs" / "adding-a-rule.md").read_text(encoding="utf-8")
    listing, *_ = re.findall(r"```python\n(.*?)```", page, re.S)
    lines = "\n".join(line.removeprefix("   ") for line in listing.splitlines())
    signal = "\nimport rewire\nrewire.signals.dense_signal('x')\nprint(Restless().when)"
    code = f"import sys\nsys.modules['__main__'].__file__ = 'mine.py'\n{lines}{signal}"
    assert "100" in fresh(code)


def test_an_unknown_attribute_is_refused() -> None:
    with pytest.raises(AttributeError, match="module 'rewire' has no attribute 'signalz'"):
        rewire.signalz  # noqa: B018
