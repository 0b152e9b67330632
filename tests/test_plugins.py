"""Classes that installed packages register: found by name, or refused with what is wrong."""

import pytest

from rewire import limits, plugins, rules
from rewire.limits import FanIn, Limit


class Point:
    """An entry point of an installed package."""

    def __init__(self, name, loaded):
        self.name, self.value, self.load = name, f"mine:{name}", lambda: loaded


class EvenKeys(Limit):
    kind = "distance"


def install(monkeypatch, *points):
    monkeypatch.setattr(plugins, "entry_points", lambda group: points)


def test_a_limit_of_a_package_is_known_by_name(monkeypatch):
    install(monkeypatch, Point("EvenKeys", EvenKeys))
    assert limits.available()["EvenKeys"] is EvenKeys
    assert limits.from_tables([{"limit": "EvenKeys"}]) == (EvenKeys(),)
    with pytest.raises(ValueError, match="no limit 'EvenKey' .did you mean 'EvenKeys'"):
        limits.from_tables([{"limit": "EvenKey"}])


@pytest.mark.parametrize("registry", [limits, rules])
def test_what_is_no_class_of_ours_or_takes_a_name_is_refused(monkeypatch, registry):
    install(monkeypatch, Point("Odd", 7))
    with pytest.raises(ValueError, match="'mine:Odd' .rewire.(rules|limits). is not a subclass"):
        registry.available()


@pytest.mark.parametrize(("registry", "name", "own"), [(limits, "FanIn", FanIn),
                                                       (rules, "SET", rules.SET)])  # fmt: skip
def test_a_built_in_name_cannot_be_taken(monkeypatch, registry, name, own):
    install(monkeypatch, Point(name, own))
    with pytest.raises(ValueError, match=f"registers the (rule|limit) '{name}', which is taken"):
        registry.available()
