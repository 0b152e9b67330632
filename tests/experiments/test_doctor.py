"""The doctor: what it finds here, and what it says of what is missing or broken."""

import json
import sys
import types
from importlib.metadata import PackageNotFoundError

import pytest

from rewire.experiments import cli, data, doctor, machine
from rewire.experiments.engines import fork


def test_doctor_finds_this_installation_able(capsys):
    assert cli.main(["doctor"]) == 0
    assert "mnist5k" in capsys.readouterr().out
    assert cli.main(["doctor", "--json"]) == 0
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    assert checks["rewire"]["state"] == "ok" and checks["data: mnist5k"]["state"] == "ok"


def test_doctor_tells_the_foreign_package_of_our_name(monkeypatch):
    monkeypatch.setattr(doctor, "version", lambda name: "1.2" if name == "rewire" else "0")
    assert "unrelated" in doctor._ourselves().found
    foreign = types.ModuleType("rewire")
    foreign.__file__ = "/site-packages/rewire/__init__.py"
    monkeypatch.setitem(sys.modules, "rewire", foreign)
    check = doctor._ourselves()
    assert check.state == "bad" and "pip uninstall rewire" in check.advice


def test_doctor_says_which_extra_brings_what_is_missing(monkeypatch):
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    assert all(check.advice.startswith("pip install") for check in doctor._extras())


def test_doctor_needs_the_data_of_the_quick_start(monkeypatch):
    from rewire.experiments import data

    info = data.DatasetInfo("mnist5k")
    monkeypatch.setattr(data, "available", lambda: {"mnist5k": info})
    assert not doctor.able(list(doctor._data()))


def test_a_missing_package_is_bad_and_keeps_the_quick_start_from_running(monkeypatch):
    def version(name):
        if name == "scipy":
            raise PackageNotFoundError(name)
        return "9.9"

    monkeypatch.setattr(doctor, "version", version)
    checks = {check.name: check for check in doctor._packages()}
    assert (checks["scipy"].state, checks["scipy"].found) == ("bad", "missing")
    assert checks["scipy"].advice == "pip install neurorewire"
    assert not doctor.able(checks.values())
    assert doctor.able([checks["torch"]])


@pytest.mark.parametrize(("brian", "state"), [("2.9.0", "note"), ("2.10.1", "ok")])
def test_a_numpy_that_this_brian2_does_not_import_with_is_noted(monkeypatch, brian, state):
    monkeypatch.setattr(doctor, "version", lambda name: brian if name == "brian2" else "2.4.1")
    monkeypatch.setattr(doctor, "find_spec", lambda name: name)
    check = doctor._package("numpy")
    assert check.state == state
    assert ("numpy<2.4" in check.advice) == (state == "note")


def test_a_folder_that_cannot_be_written_or_a_full_disk_is_noted(monkeypatch, tmp_path):
    assert doctor._writable("here", tmp_path / "not" / "yet", "move").state == "ok"
    usage = types.SimpleNamespace(free=1e6)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage)
    assert doctor._writable("here", tmp_path, "move").advice == "the disk is nearly full"

    def refuse(dir):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refuse)
    check = doctor._writable("here", tmp_path, "move elsewhere")
    assert check.found == f"{tmp_path} cannot be written (Permission denied)"
    assert (check.state, check.advice) == ("note", "move elsewhere")


def test_a_data_folder_that_is_none_is_noted(monkeypatch, tmp_path):
    monkeypatch.setenv("REWIRE_DATA", str(tmp_path / "nowhere"))
    check = next(iter(doctor._data()))
    assert (check.state, check.found) == ("note", f"{tmp_path / 'nowhere'} is not a folder")


def test_a_data_set_of_a_package_that_cannot_be_used_is_noted(monkeypatch):
    info = data.DatasetInfo("bars", problem="cannot be imported: no module mine")
    monkeypatch.setattr(data, "available", lambda: {"bars": info})
    *_, check = doctor._data()
    assert (check.state, check.found) == ("note", "cannot be imported: no module mine")


def test_a_system_that_cannot_fork_and_a_broken_driver_are_noted(monkeypatch):
    import torch

    def broken():
        raise RuntimeError("driver too old")

    monkeypatch.setattr(fork, "fork_available", lambda: False)
    monkeypatch.setattr(machine, "usable_cores", lambda: 3)
    monkeypatch.setattr(torch.cuda, "is_available", broken)
    checks = {check.name: check for check in doctor._machine()}
    assert checks["processor"].found == "3 usable cores"
    assert "cannot fork" in checks["processor"].advice
    assert checks["GPU"].found == "RuntimeError: driver too old"
    assert doctor.able(checks.values())


def test_an_old_python_is_bad(monkeypatch):
    monkeypatch.setattr(doctor.sys, "version_info", (3, 10))
    assert next(doctor._packages()).advice == "rewire needs 3.11 or newer"


def test_the_command_fails_where_the_quick_start_would(monkeypatch, capsys):
    missing = doctor.Check("torch", "bad", "missing [of all]", "pip install neurorewire")
    monkeypatch.setattr(doctor, "examine", lambda: [missing])
    assert cli.main(["doctor"]) == 1
    assert "missing [of all]" in capsys.readouterr().out  # brackets are no markup
