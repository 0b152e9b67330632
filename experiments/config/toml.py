"""Trees from TOML and JSON files, ``key=value`` overrides on them, and trees back to TOML.

A tree is what a TOML file holds: tables, lists, text, numbers, true and false.
"""

import copy
import json
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rewire.names import short, unknown

from ..errors import ConfigError
from .problems import Problems
from .schema import named

MAX_BYTES = 1_000_000
MAX_DEPTH = 16
# keys of which an override replaces the other; `substrate` is the old word for a world
INSTEAD = {"steps": "epochs", "epochs": "steps", "world": "substrate", "substrate": "world"}


def odd_values(tree: Mapping[str, Any]) -> Problems:
    """Dates, infinities, bottomless nesting: what JSON could not hold."""
    problems = Problems()
    waiting: list[tuple[Any, str, int]] = [(tree, "", 0)]
    while waiting:
        value, path, depth = waiting.pop()
        if depth > MAX_DEPTH:
            problems.append((path[:60] + "...", f"is nested more than {MAX_DEPTH} deep"))
        elif isinstance(value, Mapping):
            below = [(f"{path}.{key}".lstrip("."), item) for key, item in value.items()]
            waiting += [(item, where, depth + 1) for where, item in below]
        elif isinstance(value, list):
            waiting += [(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]
        elif not isinstance(value, str | bool | int | float | None):
            kind = type(value).__name__
            problems.append((path, f"is a {kind}; give a number, text, true or false"))
        elif isinstance(value, float) and not math.isfinite(value):
            problems.append((path, f"should be a finite number, found {value}"))
        elif type(value) is int and abs(value) >= 2**63:
            problems.append((path, f"is too large a number: {short(value)}"))
    return problems


def read(path: str | Path) -> dict[str, Any]:
    """The tree in a TOML or JSON file. Raises ConfigError naming file, line and reason."""
    path = Path(path)

    def refuse(reason: str, line: int | str | None = None) -> ConfigError:
        return ConfigError(f"{path}{f':{line}' if line else ''}: {reason}")

    if not path.is_file():
        raise refuse("is not a regular file; give a TOML or JSON file")
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise refuse(f"cannot be read: {error.strerror}") from None
    if len(raw) > MAX_BYTES:
        raise refuse(f"is larger than {MAX_BYTES:,} bytes; that is no experiment file")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise refuse(f"is not UTF-8 text (byte 0x{raw[error.start]:02x})", line) from None
    try:
        if path.suffix == ".json":
            tree = json.loads(text, object_pairs_hook=_no_duplicates)
        else:
            tree = tomllib.loads(text)
    except RecursionError:
        raise refuse("is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise refuse(f"is not JSON: {error.msg} (column {error.colno})", error.lineno) from None
    except _Duplicate as error:
        where = [m.start() for m in re.finditer(rf"{re.escape(json.dumps(error.key))}\s*:", text)]
        second = text.count("\n", 0, where[1]) + 1 if len(where) == 2 else None
        raise refuse(f"the key {error.key!r} is given twice in one table", second) from None
    except ValueError as error:  # TOMLDecodeError, or an integer of thousands of digits
        message = str(error)
        at = re.search(r"\(at line (\d+), column (\d+)\)", message)
        end = text.count("\n") + 1 if "end of document" in message else None
        if "Cannot overwrite a value" in message or "Cannot declare" in message:
            message = f"a key is given twice: {message}"
        raise refuse(f"is not TOML: {message}", at.group(1) if at else end) from None
    if not isinstance(tree, dict):
        raise refuse(f"should hold a table, found {short(tree)}")
    if problems := odd_values(tree):
        raise refuse("; ".join(f"{where} {sentence}" for where, sentence in problems[:10]))
    return tree


class _Duplicate(ValueError):
    def __init__(self, key: str) -> None:
        self.key = key


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for key, value in pairs:
        if key in table:
            raise _Duplicate(key)
        table[key] = value
    return table


def override(
    tree: Mapping[str, Any], overrides: Sequence[str], problems: Problems
) -> dict[str, Any]:
    """``tree`` with ``key=value`` overrides applied in the order given.

    ``optimizer.lr=0.01`` reaches into tables, ``rules.IMP.fraction=.3`` into the rule labelled (or
    named) IMP, ``rules=[IMP,DeepR]`` keeps only the rules named (and adds, with its defaults, one
    that the file does not have), ``schedule=none`` removes a key. What means none
    of that goes to ``problems``.

    >>> problems = Problems()
    >>> override({"steps": 600, "rules": ["IMP"]}, ["epochs=2", "rules.IMP.fraction=.3"], problems)
    {'rules': [{'rule': 'IMP', 'fraction': 0.3}], 'epochs': 2}
    """
    changed = copy.deepcopy(dict(tree))
    for text in overrides:
        key, equals, raw = text.partition("=")
        parts = key.strip().split(".")
        if not equals or not all(parts):
            problems.append((text, "should read key=value, for example optimizer.lr=0.01"))
            continue
        value = literal(raw)
        if isinstance(value, str) and value[:1] in ("[", "{"):
            quoted = 'text in tables needs quotes, as in [{rule = "IMP", fraction = 0.5}, "SET"]'
            problems.append(
                (key.strip(), f"is no list or table of TOML ({quoted}): {short(value)}")
            )
        elif parts == ["rules"]:
            _keep_rules(changed, value)
        elif parts[0] == "rules":
            _set_in_rule(changed, parts[1:], value, problems)
        else:
            _set(changed, parts, value, problems)
    return changed


def literal(text: str) -> Any:
    """The value of an override: TOML where it is TOML, kinder where shells and habits differ.

    >>> literal(".1"), literal("[.2, .05]"), literal("[IMP, DeepR]"), literal("adam")
    (0.1, [0.2, 0.05], ['IMP', 'DeepR'], 'adam')
    """
    text = text.strip()
    if text.lower() in ("none", "null"):
        return None
    for attempt in (text, re.sub(r"(?<![\w.\"'])([-+]?)\.(?=\d)", r"\g<1>0.", text)):
        try:
            tree = tomllib.loads(f"value = {attempt}")
        except (ValueError, RecursionError):
            continue
        if list(tree) == ["value"]:
            return tree["value"]
    if text in ("True", "False"):
        return text == "True"
    if text.startswith("[") and text.endswith("]") and "[" not in text[1:] and "{" not in text:
        return [literal(item) for item in text[1:-1].split(",") if item.strip()]
    return text


def _keep_rules(tree: dict[str, Any], names: Any) -> None:
    listed = tree.get("rules")
    if isinstance(names, str):
        names = [name.strip() for name in names.split(",")]
    if not isinstance(listed, list) or not isinstance(names, list):
        tree["rules"] = names
        return
    tables: list[Any] = []
    for want in names:
        if isinstance(want, str):
            same = [t for t in listed if _label(t) == want] or [
                t for t in listed if isinstance(t, Mapping) and t.get("rule") == want
            ]
            tables += same or [{"rule": want}]
        else:
            tables.append(want)
    tree["rules"] = tables
    removed = {_label(t) for t in listed} - {_label(t) for t in tables}
    if isinstance(pairs := tree.get("contrasts"), list):
        tree["contrasts"] = [
            p for p in pairs if not (isinstance(p, list) and any(item in removed for item in p))
        ]


def _label(table: Any) -> Any:
    return table.get("label", table.get("rule")) if isinstance(table, Mapping) else table


def _set_in_rule(tree: dict[str, Any], parts: list[str], value: Any, problems: Problems) -> None:
    listed = tree.get("rules")
    listed = listed if isinstance(listed, list) else []
    tree["rules"] = listed = [{"rule": t} if isinstance(t, str) else t for t in listed]
    tables = [t for t in listed if isinstance(t, dict)]
    name, rest = parts[0], parts[1:]
    for n in range(len(parts) - 1, 0, -1):  # a label may hold dots
        if any(_label(t) == ".".join(parts[:n]) for t in tables):
            name, rest = ".".join(parts[:n]), parts[n:]
            break
    labelled = [t for t in tables if _label(t) == name]
    matching = labelled or [t for t in tables if t.get("rule") == name]
    labels = [str(_label(t)) for t in tables]
    path = ".".join(["rules", *parts])
    if not matching:
        problems.append((path, unknown("rule of this experiment labelled", name, labels)))
    elif not rest:
        problems.append((path, f"names a rule, not a field; say {path}.FIELD=value"))
    for table in matching if rest else []:
        _set(table, rest, value, problems)


def _set(tree: dict[str, Any], parts: list[str], value: Any, problems: Problems) -> None:
    *above, last = parts
    for part in above:
        below = tree.get(part)
        if part in ("model", "data", "optimizer"):
            below = named(below)
        if below is None:
            below = {}
        if not isinstance(below, dict):
            problems.append((".".join(parts), f"{part!r} is {short(below)}, not a table"))
            return
        tree[part] = below
        tree = below
    if value is None:
        tree.pop(last, None)
    else:
        tree[last] = value
        if last in INSTEAD:
            tree.pop(INSTEAD[last], None)


def to_toml(tree: Mapping[str, Any]) -> str:
    """A tree as TOML: plain keys first, nested tables inline, lists of tables as [[key]].

    >>> print(to_toml({"model": {"name": "mlp"}, "rules": [{"rule": "SET"}], "steps": 600}), end="")
    model = { name = "mlp" }
    steps = 600
    <BLANKLINE>
    [[rules]]
    rule = "SET"
    """
    lines = []
    blocks = {
        k: v for k, v in tree.items() if isinstance(v, list) and v and isinstance(v[0], Mapping)
    }
    lines += [f"{_key(k)} = {_value(v)}" for k, v in tree.items() if k not in blocks]
    for key, tables in blocks.items():
        for table in tables:
            lines += [
                "",
                f"[[{_key(key)}]]",
                *(f"{_key(k)} = {_value(v)}" for k, v in table.items()),
            ]
    return "\n".join(lines) + "\n"


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _value(key)


def _value(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    return str(value).lower() if isinstance(value, bool) else repr(value)
