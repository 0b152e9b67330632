"""What would take a list of edges for a dense weight meets an error that says what to do."""

import copy

import pytest
import torch
import torch.nn.utils.prune
from small_nets import Last
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations

import rewire
from rewire import every

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def mlp(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 5))


def attached(model=None, rule=None, world="sparse"):
    model = mlp() if model is None else model
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    rule = rewire.Static() if rule is None else rule
    return rewire.attach(model, optimizer, rule, density=0.3, seed=3, steps=100, world=world)


def batch(n=4):
    return torch.randn(n, 20, generator=torch.Generator().manual_seed(1))


def step(net, x):
    net.world.model.zero_grad()
    net.world.model(x).square().sum().backward()
    net.step()


class Doubled(nn.Module):
    def forward(self, w):
        return 2 * w


def dense_into(layer):
    layer.weight = nn.Parameter(torch.zeros(16, 20))


def dense_data_into(layer):
    layer.weight.data = torch.zeros(16, 20)


def dense_copied_into(layer):
    with torch.no_grad():
        layer.weight.copy_(torch.zeros(16, 20))


TO_DENSE = r"net\.to_dense\(\)"
OF_MODEL = {
    "quantize_dynamic": lambda m: torch.ao.quantization.quantize_dynamic(m, {nn.Linear}),
    "prepare": lambda m: torch.ao.quantization.propagate_qconfig_(m, {"": None}),
    "fx": torch.fx.symbolic_trace,
    "script": torch.jit.script,
    "export": lambda m: torch.export.export(m, (batch(),)),
    "vmap": lambda m: torch.func.vmap(m)(batch()),
    "func.grad": lambda m: torch.func.grad(lambda x: m(x).sum())(batch()),
    "half": lambda m: m.half(),
    "bfloat16": lambda m: m.to(torch.bfloat16),
    "double": lambda m: m.double(),
    "meta": lambda m: m.to("meta"),
    "reset": lambda m: m.apply(lambda c: getattr(c, "reset_parameters", lambda: None)()),
}
OF_LAYER = {
    "prune": lambda c: torch.nn.utils.prune.l1_unstructured(c, "weight", 0.5),
    "weight_norm": parametrizations.weight_norm,
    "weight_norm of before": torch.nn.utils.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "parametrisation": lambda c: nn.utils.parametrize.register_parametrization(
        c, "weight", Doubled()
    ),
    "another parameter": dense_into,
    "no parameter": lambda c: delattr(c, "weight"),
    "dense data": dense_data_into,
    "dense numbers": dense_copied_into,
    "linear": lambda c: functional.linear(batch(), c.weight),
    "linear of one": lambda c: functional.linear(torch.ones(76), c.weight),
    "matmul": lambda c: batch() @ c.weight,
    "transpose": lambda c: c.weight.T,
    "view": lambda c: c.weight[None],
    "scaled": lambda c: c.weight * torch.ones(16, 1),
    "initialised": lambda c: nn.init.kaiming_uniform_(c.weight),
}


@pytest.mark.parametrize("what", OF_MODEL)
def test_a_tool_that_converts_the_model_is_refused_by_name(what):
    net = attached()
    model = net.world.model
    with pytest.raises((RuntimeError, TypeError), match=TO_DENSE):
        OF_MODEL[what](model)
    step(net, batch())  # the model is as it was
    assert torch.equal(model[0].weight, net.graph["weight"][net.graph.rows(0)])


@pytest.mark.parametrize("what", OF_LAYER)
def test_a_tool_that_takes_the_list_for_the_weight_is_refused_by_name(what):
    net = attached()
    with pytest.raises(RuntimeError, match=f"edges.*{TO_DENSE}"):
        OF_LAYER[what](net.world.model[0])
    if what == "weight_norm of before":  # takes the weight away before it asks for its norm
        with pytest.raises(RuntimeError, match=r"'0.weight' is no longer a parameter.*Attach anew"):
            net.graph.find(torch.tensor([0]))
        attached()  # other sessions do not mind
        return
    step(net, batch())


def test_in_the_masked_world_the_same_model_is_quantised():
    net = attached(world="masked")
    small = torch.ao.quantization.quantize_dynamic(net.world.model, {nn.Linear})
    assert small[0].weight().shape == (16, 20)


def test_forward_derivatives_are_refused_by_name():
    net = attached()
    with torch.autograd.forward_ad.dual_level():
        x = torch.autograd.forward_ad.make_dual(batch(), batch())
        with pytest.raises(RuntimeError, match="backward passes alone"):
            net.world.model(x)


@pytest.mark.parametrize("kind", ["float16", "int64", "float64"])
def test_inputs_of_another_type_are_refused_by_name(kind):
    net = attached()
    with pytest.raises(TypeError, match=f"computes in torch.float32 .* got .*{kind}"):
        net.world.model(batch().to(getattr(torch, kind)))


def test_sums_norms_and_penalties_see_the_edges():
    net = attached()
    w = net.world.model[0].weight
    flat = net.graph["weight"][net.graph.rows(0)]
    for what in (torch.norm, torch.sum, lambda t: t.abs().mean(), lambda t: t.view(-1).max()):
        assert torch.equal(what(w), what(flat))
    vector = nn.utils.parameters_to_vector([w])
    assert torch.equal(vector, flat) and type(vector) is torch.Tensor


@pytest.mark.parametrize("whole", [False, True], ids=["layer by layer", "in one call"])
def test_memory_that_somebody_swaps_is_taken_up(whole):
    """Averages are swapped in by ``p.data``, and out again."""
    net, twin = attached(), attached()
    model, other = net.world.model, twin.world.model
    y = torch.tensor([0, 1, 2, 3])
    if whole:
        net.learn(batch(), y)
        twin.learn(batch(), y)
    kept = [p.data for p in model.parameters()]
    for p in model.parameters():
        p.data = p.data * 2
    with torch.no_grad():
        for p in other.parameters():
            p.mul_(2)
    assert torch.equal(net.graph["weight"], twin.graph["weight"])
    assert torch.equal(model(batch()), other(batch()))
    for p, before in zip(model.parameters(), kept, strict=True):
        p.data = before
    with torch.no_grad():
        for p in other.parameters():
            p.div_(2)
    assert torch.equal(net.graph["weight"], twin.graph["weight"])
    for _ in range(3):
        if whole:
            assert net.learn(batch(), y) == twin.learn(batch(), y)
        else:
            step(net, batch())
            step(twin, batch())
    assert torch.equal(net.graph["weight"], twin.graph["weight"])
    assert torch.equal(model[0].weight, net.graph["weight"][net.graph.rows(0)])


def test_a_shallow_copy_of_a_model_is_the_same_layers():
    net = attached()
    shallow = copy.copy(net.world.model)
    step(net, batch())
    assert torch.equal(shallow(batch()), net.world.model(batch()))


def test_a_shallow_copy_of_a_session_is_refused_by_name():
    with pytest.raises(TypeError, match=r"copy\.deepcopy"):
        copy.copy(attached())


@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_a_trace_is_exact_and_refused_after_an_edit(kind):
    torch.manual_seed(0)
    layer = nn.Linear(20, 16) if kind == "linear" else nn.Conv2d(3, 4, 3)
    x = torch.randn(4, 20) if kind == "linear" else torch.randn(2, 3, 8, 8)
    net = attached(Last(layer), rewire.SET(when=every(1)))
    model = net.world.model
    traced = torch.jit.trace(model, x)
    more = torch.cat([x, 2 * x])
    assert torch.equal(traced(more), model(more))
    step(net, x)
    with pytest.raises(RuntimeError, match="rewired since: trace the model again"):
        traced(x)
    assert torch.equal(torch.jit.trace(model, x)(more), model(more))


def test_a_trace_of_a_recurrent_layer_is_refused_by_name():
    net = attached(Last(nn.LSTM(6, 5)))
    with pytest.raises(RuntimeError, match=f"LSTM .* cannot be traced.*{TO_DENSE}"):
        torch.jit.trace(net.world.model, torch.randn(3, 4, 6))


LAYERS = {
    "linear": (lambda: nn.Linear(20, 16), (4, 20)),
    "conv": (lambda: nn.Conv2d(3, 4, 3), (2, 3, 8, 8)),
    "LSTM": (lambda: nn.LSTM(6, 5), (3, 4, 6)),
}


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("when", ["edit", "step"])
def test_a_loss_of_before_the_step_cannot_be_derived_after_it(kind, when):
    """torch refuses it of dense layers; lists would be derived by other weights, or other edges."""
    torch.manual_seed(0)
    make, shape = LAYERS[kind]
    rule = rewire.SET(when=every(1)) if when == "edit" else rewire.Static()
    net, x = attached(Last(make()), rule), torch.randn(shape, requires_grad=True)
    late = net.world.model(x).square().sum()
    step(net, x)
    with pytest.raises(RuntimeError, match="rewired since|inplace operation"):
        late.backward()


def test_functional_calls_compute_with_what_they_are_given():
    net = attached()
    model = net.world.model
    doubled = {name: 2 * p.detach() for name, p in model.named_parameters()}
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for p in twin.parameters():
            p.mul_(2)
    assert torch.equal(torch.func.functional_call(model, doubled, (batch(),)), twin(batch()))
    step(net, batch())


def test_a_compiled_model_is_exact_before_and_after_edits():
    net = attached(rule=rewire.SET(when=every(1)))
    twin = attached(rule=rewire.SET(when=every(1)))
    compiled = torch.compile(net.world.model, backend="eager")
    for k in range(3):
        x = batch(4 + k)
        out = compiled(x)
        assert torch.equal(out, net.world.model(x))
        out.square().sum().backward()
        net.step()
        net.world.model.zero_grad()
        step(twin, x)
        assert torch.equal(net.graph.keys, twin.graph.keys)
        assert torch.equal(net.graph["weight"], twin.graph["weight"])


# -- autocast -------------------------------------------------------------------------------------


class Small(nn.Module):
    """A convolution and two linear layers, or attention."""

    def __init__(self, attends):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True) if attends else None
        self.read = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 5))

    def forward(self, x):
        t = self.conv(x).flatten(2).transpose(1, 2)
        if self.attend is not None:
            t = t + self.attend(t, t, t, need_weights=False)[0]
        return self.read(t.mean(1))


@pytest.mark.parametrize("attends", [False, True], ids=["layers", "attention"])
def test_autocast_rounds_as_it_does_for_dense_weights(attends):
    x = torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    results = []
    for world in ("masked", "sparse"):
        torch.manual_seed(0)
        net = attached(Small(attends), world=world)
        model = net.world.model
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = model(x)
        assert out.dtype is torch.bfloat16
        out.float().square().sum().backward()
        slopes = [
            p.grad[net.graph.mask(i)] if world == "masked" else p.grad
            for i, p in enumerate(net.world.sparse_parameters())
        ]
        assert all(s.dtype is torch.float32 for s in slopes)
        results.append([out, *slopes])
        net.step()
        full = model(x)
        assert full.dtype is torch.float32
    for masked, sparse in zip(*results, strict=True):
        size = masked.float().abs().max()
        torch.testing.assert_close(sparse.float() / size, masked.float() / size, rtol=0, atol=0.02)


def test_a_layer_under_autocast_is_that_of_rounded_numbers():
    net = attached()
    layer = net.world.model[0]
    dense = layer.wires["weight"].dense(layer.weight.detach())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out, there = layer(batch(64)), functional.linear(batch(64), dense, layer.bias)
    assert out.dtype is there.dtype is torch.bfloat16
    near = (out.float() - there.float()).abs() <= 2**-7 * there.float().abs()  # one last place
    assert near.all() and (out == there).float().mean() > 0.95


def test_the_whole_step_in_one_call_follows_autocast():
    net, twin = attached(), attached()
    y = torch.tensor([0, 1, 2, 3])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        net.learn(batch(), y)
        assert net.world.plan is None
        model = twin.world.model
        functional.cross_entropy(model(batch()), y).backward()
    twin.step()
    assert torch.equal(net.graph["weight"], twin.graph["weight"])
    net.learn(batch(), y)
    assert net.world.plan is not None


def test_autocast_leaves_float64_as_it_is():
    net = attached(mlp().double())
    x = batch().double()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = net.world.model(x)
    assert torch.equal(under, net.world.model(x))


def test_a_recurrent_layer_under_autocast_is_refused_by_name():
    net = attached(Last(nn.GRU(6, 5)))
    with (
        torch.autocast("cpu", dtype=torch.bfloat16),
        pytest.raises(RuntimeError, match="GRU .* not under torch.autocast.*world='masked'"),
    ):
        net.world.model(torch.randn(3, 4, 6))
