"""All steps of spiking units in one call of the engine, against torch going step by step."""

import pytest
import torch
from torch import nn

import rewire
from rewire import models
from rewire.models.spiking.neurons import ALIF, LIF
from rewire.models.spiking.surrogates import SURROGATES
from rewire.models.spiking.trained import over_time
from rewire.native import sparse

pytestmark = pytest.mark.skipif(
    sparse is None or not hasattr(sparse, "spiking_forward"), reason="the engine was not built"
)
UNITS, STEPS = 23, 9


def layer(recurrent, density=0.4, seed=0):
    """A layer with a list of edges that joins the units, or feeds them."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(UNITS, UNITS, bias=True)).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rewire.attach(model, optimizer, rewire.Static(), density=density, world="sparse", steps=5)
    return model[0]


def units_of(kind, reset, surrogate):
    how = {"leak": 0.8, "threshold": 0.7, "reset": reset, "surrogate": surrogate, "steepness": 1.5}
    if kind == "lif":
        return LIF(**how)
    return ALIF(UNITS, adaptation=0.4, recovery=0.9, adaptive=0.6, **how).double()


def both(units, weights, current, rate, batch, recurrent):
    """Spikes and gradients of the engine's pass and of steps by themselves."""
    draw, found = torch.Generator().manual_seed(batch), []
    given = torch.rand(STEPS, batch, UNITS, generator=draw, dtype=torch.float64)
    given = (0.4 + given) * current * (torch.rand(given.shape, generator=draw) < rate)
    slope = torch.randn(STEPS, batch, UNITS, generator=draw, dtype=torch.float64)
    for stepwise in (False, True):
        x = given.clone().requires_grad_()
        weights.zero_grad()
        handle = units.register_forward_hook(lambda *_: None) if stepwise else None
        spikes = over_time(units, x, weights if recurrent else None, weights)
        assert ("Spiking" in type(spikes.grad_fn).__name__) == (not stepwise)
        spikes.backward(slope)
        if handle is not None:
            handle.remove()
        gradients = [x.grad] + [p.grad.clone() for p in weights.parameters() if recurrent]
        found.append((spikes.detach(), gradients))
    return found


@pytest.mark.parametrize("recurrent", [True, False])
@pytest.mark.parametrize("surrogate", SURROGATES)
@pytest.mark.parametrize("reset", ["zero", "subtract"])
@pytest.mark.parametrize("kind", ["lif", "alif"])
def test_spikes_and_gradients_are_those_of_steps(kind, reset, surrogate, recurrent):
    units, weights = units_of(kind, reset, surrogate), layer(recurrent)
    # few spikes go by the edges of those that spiked, many by all edges
    for current, rate, batch in ((1.2, 0.03, 2), (1.2, 0.3, 5), (2.0, 0.9, 33)):
        (spikes, own), (expected, gradients) = both(units, weights, current, rate, batch, recurrent)
        assert torch.equal(spikes, expected)
        assert spikes.any() and (spikes == 0).any()
        for made, wanted in zip(own, gradients, strict=True):
            torch.testing.assert_close(made, wanted, rtol=1e-10, atol=1e-10)
            assert wanted.any()


@pytest.mark.parametrize("name", ["spiking-net", "lsnn"])
@pytest.mark.parametrize("rule", [rewire.RigL(when=rewire.every(3)), rewire.DeepR()], ids=str)
def test_training_is_that_of_steps(name, rule):
    """Rewiring by the dense gradient, too, which the engine's pass notes for all steps at once."""
    runs = []
    for stepwise in (False, True):
        generator = torch.Generator().manual_seed(0)
        model = models.build(name, generator=generator, input_shape=(6, 12), classes=3,
                             hidden=[15, 9], init="kaiming_normal").double()  # fmt: skip
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        net = rewire.attach(model, optimizer, rule, density=0.4, world="sparse", steps=8, seed=1)
        if stepwise:
            for i in (1, 2):
                model.get_submodule(f"lif{i}").register_forward_hook(lambda *_: None)
        draw = torch.Generator().manual_seed(5)
        for _ in range(7):
            x = (torch.rand(10, 6, 12, generator=draw) < 0.3).double()
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), torch.arange(10) % 3).backward()
            net.step()
        runs.append(net)
    engine, steps = runs
    assert engine.history.formed == steps.history.formed
    assert torch.equal(engine.graph.keys, steps.graph.keys)
    torch.testing.assert_close(engine.graph["weight"], steps.graph["weight"], rtol=1e-9, atol=1e-9)


def test_where_the_engine_cannot_the_model_goes_step_by_step():
    weights, x = layer(True), torch.ones(STEPS, 3, UNITS, dtype=torch.float64, requires_grad=True)

    class Own(LIF):
        def forward(self, current, state=()):
            return torch.zeros_like(current), state

    assert not over_time(Own(), x, weights).any()
    units = ALIF(UNITS).double()
    units.adaptation.requires_grad_()
    assert "Stack" in type(over_time(units, x, weights).grad_fn).__name__
    heard = []
    hook = weights.register_forward_pre_hook(lambda module, args: heard.append(args[0]))
    over_time(LIF(), x, weights)
    hook.remove()
    assert len(heard) == STEPS
    with torch.no_grad():
        assert over_time(LIF(), x, weights).grad_fn is None


def test_edges_that_changed_since_are_refused():
    weights = layer(True)
    x = torch.ones(STEPS, 3, UNITS, dtype=torch.float64, requires_grad=True)
    spikes = over_time(LIF(), x, weights)
    weights.wires["weight"].gone = True
    with pytest.raises(RuntimeError, match="rewired since"):
        spikes.sum().backward()


def test_the_engine_refuses_what_it_does_not_know():
    def call(**changes):
        known = {"leak": 0.9, "threshold": 1.0, "subtracts": False, "surrogate": "arctan",
                 "steepness": 1.0, "recovery": 0.0, "adaptation": None, "keep": False}  # fmt: skip
        shape = changes.pop("shape", (2, 3, 4))
        return sparse.spiking_forward(torch.zeros(shape).numpy(), None, **{**known, **changes})

    assert call()[0].shape == (2, 3, 4)
    with pytest.raises(ValueError, match="no surrogate sigmoid"):
        call(surrogate="sigmoid")
    with pytest.raises(ValueError, match="currents must be"):
        call(shape=(3, 4))
    with pytest.raises(ValueError, match="adaptation"):
        call(adaptation=torch.zeros(5).numpy())
