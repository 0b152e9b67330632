"""What pyproject.toml promises, what the doctor looks for and what the code imports agree."""

import ast
import re
import sys
import tomllib
from functools import cache
from pathlib import Path

from rewire.experiments import doctor

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
NAME = PROJECT["name"]
FOR_DEVELOPERS = {"bench", "test", "integrations", "docs", "dev"}
FOLDERS = ("rewire", "models", "experiments", "benchmarks", "tests")

# What a module is called where its distribution is not.
DISTRIBUTIONS = {
    "sklearn": "scikit-learn", "PIL": "pillow", "mlflow": "mlflow-skinny", "bct": "bctpy",
    "pyNN": "pynn", "xdist": "pytest-xdist",
}  # fmt: skip
# Used without an import of ours, and by whom.
NOT_IMPORTED = {
    "cython": "Brian2 compiles with it",
    "onnx": "torch.onnx writes with it",
    "onnxscript": "torch.onnx writes with it",
    "ruff": ".ci/run",
    "mypy": ".ci/run",
}
# Imported without a promise of ours, and why.
NOT_PROMISED = {
    "timm": "its tests skip where it is not: it wants torchvision, which follows torch's build",
    "norse": "as timm",
    "spikingjelly": "as timm",
    "markupsafe": "jinja2's",
    "pydantic-core": "pydantic's",
    "docutils": "sphinx's",
    "IPython": "a notebook's own, looked for where it runs",
    "sparsimony": "its tests skip where it is not: it asks for versions that others do not stand",
}
LATE = re.compile(r"(importorskip|import_module|peer)$")  # calls that import what they name


def names(requirements):
    """Distributions of a list of requirements, those of our own extras included."""
    named = set()
    for text in requirements:
        distribution, extras = re.match(r"([\w-]+)(?:\[([\w,]+)\])?", text).groups()
        if distribution == NAME:
            for extra in extras.split(","):
                named |= names(PROJECT["optional-dependencies"][extra])
        else:
            named.add(distribution)
    return named


EXTRAS = {name: names(texts) for name, texts in PROJECT["optional-dependencies"].items()}
NEEDED = names(PROJECT["dependencies"])


@cache
def imported(folders=FOLDERS):
    """Distributions of others that our files below these folders import, at any depth."""
    files = [*ROOT.glob("tests/**/*.py")]
    ours = {"rewire", "benchmarks", *(p.stem for p in files), *(p.parent.name for p in files)}
    modules = set()
    paths = [p for folder in folders for p in (ROOT / folder).rglob("*.py")]
    for path in [*paths, ROOT / "setup.py"]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                modules.add(node.module.partition(".")[0])
            elif isinstance(node, ast.Call) and LATE.search(ast.unparse(node.func)):
                if isinstance(node.args[0], ast.Constant):
                    modules.add(node.args[0].value.partition(".")[0])
    others = modules - ours - set(sys.stdlib_module_names)
    return {DISTRIBUTIONS.get(name, name.replace("_", "-")) for name in others if name}


def test_every_extra_is_imported_somewhere():
    for extra, distributions in EXTRAS.items():
        unused = distributions - imported() - NOT_IMPORTED.keys()
        assert not unused, f"nothing imports {unused} of the extra {extra}"


def named(folders, but=()):
    """Distributions whose modules our files name: in imports, or as text that finds them."""
    known = {DISTRIBUTIONS.get(module, module): module for module in MODULES_OF_USERS}
    words = set(imported(folders))
    for path in (p for folder in folders for p in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and path not in but:
                top = node.value.partition(".")[0]
                words |= {d for d, module in known.items() if top in (module, d)}
    return words


MODULES_OF_USERS = {module for modules, _ in doctor.EXTRAS.values() for module in modules}


def test_what_users_install_is_used_by_the_program_and_tested():
    program = named(("rewire", "models", "experiments"), but=[Path(doctor.__file__).resolve()])
    tests = named(("tests",), but=[Path(__file__)])
    for extra in doctor.EXTRAS:
        needed = EXTRAS[extra] - NOT_IMPORTED.keys()
        assert needed <= program, f"no code uses {needed - program} of the extra {extra}"
        assert needed <= tests, f"no test uses {needed - tests} of the extra {extra}"


def test_everything_that_is_imported_is_promised():
    promised = NEEDED.union(*EXTRAS.values(), names(PYPROJECT["build-system"]["requires"]))
    assert imported() - promised <= NOT_PROMISED.keys()


def test_the_doctor_looks_for_what_is_needed_and_for_each_users_extra():
    assert {*doctor.PACKAGES, "cyclopts", "rich"} == NEEDED
    assert doctor.EXTRAS.keys() == EXTRAS.keys() - FOR_DEVELOPERS - {"all"}
    for extra, (modules, _) in doctor.EXTRAS.items():
        distributions = {DISTRIBUTIONS.get(name, name) for name in modules}
        assert distributions == EXTRAS[extra] - NOT_IMPORTED.keys()


def test_all_is_all_that_users_may_want():
    assert EXTRAS["all"] == set().union(*(EXTRAS[extra] for extra in doctor.EXTRAS))


def test_no_page_names_an_extra_that_is_none():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    for path in pages:
        lists = re.findall(rf"(?:{NAME}|\.)\[([a-z,]+)\]", path.read_text(encoding="utf-8"))
        extras = {extra for text in lists for extra in text.split(",")}
        assert extras <= EXTRAS.keys(), path
