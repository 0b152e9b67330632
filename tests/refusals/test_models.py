"""What the models refuse, and in which words."""

import numpy as np
import pytest
import torch

from rewire import models
from rewire.models.spiking.brian import code_target
from rewire.models.spiking.events import spikes

G = torch.Generator().manual_seed(0)


def test_an_mlp_without_an_output():
    with pytest.raises(ValueError, match=r"sizes = \[784\]: an MLP needs an input and an output"):
        models.MLP([784], generator=G)


def test_pictures_too_small_to_be_halved():
    with pytest.raises(ValueError, match=r"\(1, 4, 4\) are too small to be halved 3 times"):
        models.build("conv-6", generator=G, input_shape=(1, 4, 4), classes=10)


def test_a_depth_that_no_residual_network_has():
    with pytest.raises(ValueError, match="depth = 21: a residual network for CIFAR has 6 n . 2"):
        models.ResNet(21, generator=G)


def test_a_shortcut_that_is_none():
    with pytest.raises(ValueError, match="there is no shortcut 'C'; there are A, B"):
        models.ResNet(20, generator=G, shortcut="C")


def test_stages_that_grow_narrower():
    with pytest.raises(ValueError, match="give the channels of the three stages"):
        models.ResNet(20, generator=G, widths=(64, 32, 16))


def test_a_cell_that_is_none():
    with pytest.raises(ValueError, match="there is no cell 'ltsm'; there are lstm, gru, rnn"):
        models.RowReader(generator=G, input_shape=(1, 8, 8), classes=10, cell="ltsm")


def test_a_dropout_of_every_unit():
    with pytest.raises(ValueError, match="dropout = 1.0: choose the fraction of units left out"):
        models.build("mlp", generator=G, input_shape=(1, 8, 8), classes=10, dropout=1.0)


def test_an_option_that_a_model_lacks():
    with pytest.raises(ValueError, match="mlp has no option 'hiden' .did you mean 'hidden'"):
        models.build("mlp", generator=G, input_shape=(1, 8, 8), classes=10, hiden=[5])


def test_events_outside_the_camera():
    with pytest.raises(ValueError, match="x goes from 0 to 5, but a camera of .2, 4, 4. has 0 to"):
        spikes([0, 5], [0, 0], [0, 1], [0, 1], shape=(2, 4, 4))


def test_events_of_different_lengths():
    with pytest.raises(ValueError, match="x, y, t and polarity differ in length"):
        spikes([0, 1], [0], [0, 1], [0, 1], shape=(2, 4, 4))


def test_an_event_before_the_simulation():
    with pytest.raises(ValueError, match="an event comes 5 steps before the simulation begins"):
        spikes([0], [0], [0], [0], shape=(2, 4, 4), start=-5e-3)


def test_a_way_to_run_code_that_brian_has_not():
    with pytest.raises(ValueError, match="target = 'c': choose one of numpy, cython"):
        with code_target("c"):
            pass


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"case": 4}, "case is 1, 2 or 3, got 4"),
        ({"shape": "round"}, "shape is one of .*, got 'round'"),
        ({"start": "full"}, "start is one of .*, got 'full'"),
        ({"w_0": 5.0}, "w_0 is a weight from 0 to g_max = .*, got 5.0"),
        ({"delay": 0.35}, "delay = 0.35 ms is no multiple of"),
    ],
)
def test_maps_out_of_range(fields, message):
    pytest.importorskip("brian2")
    from rewire.models.spiking.topographic_map import TopographicMap

    with pytest.raises(ValueError, match=message):
        TopographicMap(**fields)


def test_a_layer_that_takes_other_inputs():
    pytest.importorskip("brian2")
    from rewire.models.spiking import rate_coded

    with pytest.raises(ValueError, match=r"layer 0 has weights of shape \(3, 5\), which take 5"):
        rate_coded.simulate([np.ones((3, 5))], np.ones((2, 4)))


def test_a_layer_that_no_spikes_compute():
    pytest.importorskip("brian2")
    from rewire.models.spiking import rate_coded

    with pytest.raises(ValueError, match="'1' is a Tanh; only linear layers with ReLU"):
        rate_coded.matrices(torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.Tanh()))
