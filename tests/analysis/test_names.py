"""Everything public in rewire.analysis has its name there."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import rewire.analysis

FOLDER = Path(rewire.analysis.__file__).parent
# Another module has the name: these stay in their own.
IN_THEIR_MODULE = {("topography", name) for name in ("distances", "Turnover", "turnover")}


def public():
    for path in FOLDER.glob("[a-z]*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                if node.name != path.stem and (path.stem, node.name) not in IN_THEIR_MODULE:
                    yield path.stem, node.name


def test_every_public_function_and_class_is_there_by_name():
    names = list(public())
    assert len(names) > 40
    for module, name in names:
        home = getattr(import_module(f"rewire.analysis.{module}"), name)
        assert getattr(rewire.analysis, name) is home
        assert name in rewire.analysis.__all__ and name in dir(rewire.analysis)


def test_modules_keep_their_names_beside_them():
    code = "from rewire.analysis import overlap, topography; overlap.overlap, topography.turnover"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_package_alone_loads_no_torch():
    code = "import rewire.analysis, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
