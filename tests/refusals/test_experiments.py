"""What experiments refuse, and in which words."""

import gzip
import struct

import numpy as np
import pytest

from rewire.experiments import data, statistics, store
from rewire.experiments.data import idx
from rewire.experiments.errors import ConfigError, DataError, Locked
from rewire.experiments.store.folder import cell_hash


def test_a_seed_that_no_data_set_has():
    with pytest.raises(ConfigError, match="seed = -1 of the data set digits: choose 0 to"):
        data.load("digits", seed=-1)


def test_a_validation_set_of_everything():
    with pytest.raises(ConfigError, match="validation = 99999, but digits has .* examples"):
        data.load("digits", validation=99999)


def test_a_way_to_normalise_that_is_none():
    with pytest.raises(ConfigError, match="no way to normalise 'standart'.*'standard'"):
        data.load("digits", normalise="standart")


def test_a_data_set_that_is_none():
    with pytest.raises(ConfigError, match="no data set .*digit.*did you mean 'digits'"):
        data.load("digit")


def test_a_file_that_ends_inside_its_header(tmp_path):
    path = tmp_path / "images"
    path.write_bytes(bytes([0, 0, 8, 3, 0, 0]))
    with pytest.raises(DataError, match="ends inside its header, after 6 bytes"):
        idx.read_idx(path, (2, 4, 4))


def test_a_file_that_is_cut_short(tmp_path):
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(struct.pack(">BBBB3I", 0, 0, 8, 3, 2, 4, 4) + bytes(31)))
    with pytest.raises(DataError, match="announces 32 bytes of values, only 31 follow"):
        idx.read_idx(path, (2, 4, 4))


def test_a_file_that_goes_on_after_its_end(tmp_path):
    path = tmp_path / "labels"
    path.write_bytes(struct.pack(">BBBBI", 0, 0, 8, 1, 2) + bytes(3))
    with pytest.raises(DataError, match="announces 2 bytes of values, more follow"):
        idx.read_idx(path, (2,))


def test_a_config_with_an_infinite_number():
    with pytest.raises(ConfigError, match="lr is inf: a config holds finite numbers"):
        cell_hash({"lr": float("inf")})


def test_a_config_with_a_key_that_is_no_text():
    with pytest.raises(TypeError, match="has the key 3: keys of a config are strings"):
        cell_hash({3: "three"})


def test_a_config_with_a_value_that_json_does_not_know():
    with pytest.raises(TypeError, match="is a ndarray, which JSON does not know"):
        cell_hash({"x": np.ones(2)})


def test_a_run_that_somebody_else_writes(tmp_path):
    run = store.Run(tmp_path / "run")
    with run.lock():
        with pytest.raises(Locked, match="is in use by .*; wait for it, or stop it"):
            with store.Run(tmp_path / "run").lock():
                pass


def test_an_effect_size_of_two_seeds():
    with pytest.raises(ValueError, match="Hedges' g needs 3 paired differences or more, got 2"):
        statistics.hedges_g([0.1, 0.2])
