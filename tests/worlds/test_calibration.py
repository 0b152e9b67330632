"""What reaches each weight, by derivatives: the slope of an output by a weight is its input."""

import pytest
import torch
from torch import nn

import rewire
from rewire.graph import Graph, Population, Projection, Space
from rewire.select.rows import local_of, matrix_of, place_of


def drawn(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Conv1D(nn.Module):
    """As Hugging Face's: a linear layer with the weight (n_pre, n_post)."""

    def __init__(self, nf, nx):
        super().__init__()
        self.nf = nf
        self.weight, self.bias = nn.Parameter(drawn(nx, nf)), nn.Parameter(drawn(nf))

    def forward(self, x):
        return x @ self.weight + self.bias


LAYERS = {
    "linear": (lambda: nn.Linear(5, 4), (3, 5)),
    "linear-of-a-sequence": (lambda: nn.Linear(5, 4), (2, 3, 5)),
    "conv1d-of-hugging-face": (lambda: Conv1D(4, 5), (2, 3, 5)),
    "conv": (lambda: nn.Conv2d(2, 3, 3), (2, 2, 5, 6)),
    "conv-strided": (lambda: nn.Conv2d(2, 3, (3, 2), stride=2, padding=1, dilation=(2, 1)),
                     (2, 2, 7, 6)),
    "conv-in-groups": (lambda: nn.Conv2d(4, 6, 3, padding="same", groups=2), (2, 4, 5, 5)),
    "conv-by-channel": (lambda: nn.Conv1d(4, 8, 3, groups=4), (2, 4, 9)),
    "conv-circular": (lambda: nn.Conv1d(2, 3, 3, padding=2, padding_mode="circular"), (2, 2, 6)),
    "conv-3d": (lambda: nn.Conv3d(2, 2, 2), (1, 2, 3, 4, 3)),
    "conv-transposed": (
        lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2),
        (2, 4, 3, 3),
    ),
    "conv-transposed-1d": (lambda: nn.ConvTranspose1d(2, 3, 4), (2, 2, 5)),
}  # fmt: skip


def asked(model, batches, name, world="masked"):
    """Norms and moments of the inputs of a parameter: at every key, (size,), and for the first row
    of each part, (parts, columns, columns)."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    probe = rewire.Probe(batches, lambda model, x: _total(model(*x)))
    net = rewire.attach(model, optimizer, rewire.Static(), probe=probe, world=world)
    i = net.graph.space.index(name)
    p, signals = net.graph.projections[i], net.world.signals(net.graph)
    lo, hi = net.graph.space.bounds[i : i + 2]
    norms = signals.pair("input_norm", torch.arange(lo, hi))
    rows, columns, parts = matrix_of(p)
    moments = []
    for part in range(parts):
        row = torch.full((columns,), part * (rows // parts))
        keys = lo + local_of(p, row, torch.arange(columns))
        moments.append(signals.pair("input_moments", keys))
    return p, norms, torch.stack(moments)


def _total(output):
    return (output[0] if isinstance(output, tuple) else output).sum()


@pytest.mark.parametrize("world", ["masked", "sparse"])
@pytest.mark.parametrize("name", LAYERS)
def test_norms_and_moments_are_those_of_the_slopes_of_the_outputs(name, world):
    build, shape = LAYERS[name]
    torch.manual_seed(0)
    layer = build().double()
    batches = [(drawn(*shape, seed=seed),) for seed in (1, 2)]
    weight = layer.weight.detach().clone()

    def outputs(w):
        return torch.cat([
            torch.func.functional_call(layer, {"weight": w}, x).movedim(channel, 0).flatten(1)
            for x in batches
        ], 1)  # fmt: skip

    channel = 1 if "conv" in name and "hugging" not in name else -1
    slopes = torch.autograd.functional.jacobian(outputs, weight)  # (rows, samples, *weight)
    slopes = slopes.flatten(2)
    p, norms, moments = asked(nn.Sequential(layer), batches, "0.weight", world=world)
    row, column = place_of(p, torch.arange(p.size))
    rows, columns, parts = matrix_of(p)
    inputs = torch.zeros(rows, slopes.shape[1], columns, dtype=torch.float64)
    for k in range(p.size):  # other rows' outputs know nothing of this weight
        inputs[row[k], :, column[k]] = slopes[row[k], :, k]
        others = torch.arange(rows) != row[k]
        assert not slopes[others, :, k].any()
    torch.testing.assert_close(norms, inputs.norm(dim=1)[row, column], rtol=1e-10, atol=1e-10)
    for part in range(parts):
        x = inputs[part * (rows // parts)]
        torch.testing.assert_close(moments[part], x.T @ x, rtol=1e-10, atol=1e-10)
        for r in range(part * (rows // parts), (part + 1) * (rows // parts)):
            assert torch.equal(inputs[r], x)  # rows of a part share their inputs


@pytest.mark.parametrize("kind", ["linear", "transposed", "conv", "conv_transpose", "rnn",
                                  "stacked", "stacked_transposed"])  # fmt: skip
def test_places_of_a_matrix_are_there_and_back(kind):
    shape = {"conv": (6, 2, 3), "conv_transpose": (4, 3, 2)}.get(kind, (6, 4))
    groups = 2 if kind.startswith("conv") else 3 if kind == "rnn" else 1
    if kind.startswith("stacked"):
        shape, groups = (3, 4, 2), 3
    p = Projection("p", "a", "b", kind, shape, groups=groups)
    local = torch.arange(p.size)
    row, column = place_of(p, local)
    rows, columns, _ = matrix_of(p)
    assert torch.equal(local_of(p, row, column), local)
    assert set(zip(row.tolist(), column.tolist(), strict=True)) == {
        (r, c) for r in range(rows) for c in range(columns)
    }
    n_post = p.locate(local)[1].max().item() + 1  # a row is of one unit's incoming weights
    assert torch.equal(row % n_post, p.locate(local)[1])


RECURRENT = {
    "lstm": (nn.LSTM, {"num_layers": 2, "bidirectional": True, "batch_first": True}),
    "gru": (nn.GRU, {"num_layers": 2}),
    "rnn": (nn.RNN, {"nonlinearity": "relu", "bidirectional": True, "bias": False}),
}


@pytest.mark.parametrize("name", RECURRENT)
@pytest.mark.parametrize("given", [False, True], ids=["zeros", "states"])
def test_recurrent_layers_see_their_inputs_and_their_own_states_of_the_step_before(name, given):
    kind, options = RECURRENT[name]
    torch.manual_seed(0)
    model = kind(3, 4, **options).double()
    directions = 2 if model.bidirectional else 1
    x = drawn(2, 5, 3) if model.batch_first else drawn(5, 2, 3)
    states = tuple(drawn(model.num_layers * directions, 2, 4, seed=s) for s in (2, 3))
    start = (states if name == "lstm" else states[0]) if given else None
    steps = x.transpose(0, 1) if model.batch_first else x
    batch = (x,) if start is None else (x, start)
    cell_of = {nn.LSTM: nn.LSTMCell, nn.GRU: nn.GRUCell, nn.RNN: nn.RNNCell}[kind]
    for layer in range(model.num_layers):
        outputs = []
        for d in range(directions):
            suffix = f"_l{layer}" + ("_reverse" if d else "")
            more = {"nonlinearity": "relu"} if kind is nn.RNN else {}
            cell = cell_of(steps.shape[2], 4, bias=model.bias, **more).double()
            cell.load_state_dict(
                {n: getattr(model, n + suffix) for n, _ in cell.named_parameters()}
            )
            h = torch.zeros(2, 4).double() if start is None else states[0][layer * directions + d]
            c = torch.zeros(2, 4).double() if start is None else states[1][layer * directions + d]
            before, after = [], []
            for step in steps.flip(0) if d else steps:
                before.append(h)
                if kind is nn.LSTM:
                    h, c = cell(step, (h, c))
                else:
                    h = cell(step, h)
                after.append(h)
            outputs.append(torch.stack(after[::-1] if d else after))
            for attribute, seen in (
                ("weight_ih", steps.flatten(0, 1)),
                ("weight_hh", torch.cat(before)),
            ):
                p, norms, moments = asked(copy_of(model), [batch], attribute + suffix)
                column = place_of(p, torch.arange(p.size))[1]
                torch.testing.assert_close(norms, seen.detach().norm(dim=0)[column])
                torch.testing.assert_close(moments[0], (seen.T @ seen).detach())
        steps = torch.cat(outputs, 2)


def copy_of(model):
    import copy

    return copy.deepcopy(model)


class Cell(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.cell, self.kind = kind(3, 4).double(), kind

    def forward(self, x):
        state = None
        for step in x:
            out = self.cell(step, state)
            state = out
        return out[0] if self.kind is nn.LSTMCell else out


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell])
def test_cells_see_their_inputs_and_states_at_every_call(kind):
    torch.manual_seed(0)
    model, x = Cell(kind), drawn(3, 2, 3)
    state, before = None, []
    for step in x:
        hidden = torch.zeros(2, 4).double() if state is None else state
        before.append(hidden[0] if isinstance(hidden, tuple) else hidden)
        state = model.cell(step, state)
    for attribute, seen in ("weight_ih", x.flatten(0, 1)), ("weight_hh", torch.cat(before)):
        p, norms, moments = asked(copy_of(model), [(x,)], f"cell.{attribute}")
        torch.testing.assert_close(norms.view(p.shape)[0], seen.detach().norm(dim=0))
        torch.testing.assert_close(moments[0], (seen.T @ seen).detach())


@pytest.mark.parametrize("sizes", [{}, {"kdim": 3, "vdim": 5}], ids=["one", "three"])
@pytest.mark.parametrize("batch_first", [True, False])
def test_attention_sees_queries_keys_values_and_what_its_heads_make(sizes, batch_first):
    torch.manual_seed(0)
    model = nn.MultiheadAttention(4, 2, batch_first=batch_first, **sizes).double()
    shapes = [(4, 2), (sizes.get("kdim", 4), 3), (sizes.get("vdim", 4), 3)]
    streams = [drawn(2, length, size, seed=i) for i, (size, length) in enumerate(shapes)]
    weights = model._parameters
    three = (
        weights["in_proj_weight"].chunk(3) if not sizes
        else [weights[f"{x}_proj_weight"] for x in "qkv"]
    )  # fmt: skip
    biases = model.in_proj_bias.chunk(3)
    q, k, v = ((s @ w.T + b).unflatten(2, (2, 2)).transpose(1, 2)
               for s, w, b in zip(streams, three, biases, strict=True))  # fmt: skip
    heads = (torch.softmax(q @ k.mT / 2**0.5, 3) @ v).transpose(1, 2).reshape(-1, 4).detach()
    call = [s if batch_first else s.transpose(0, 1) for s in streams]
    flat = [s.reshape(-1, s.shape[2]) for s in streams]
    expected = {"out_proj.weight": [heads]}
    if sizes:
        expected |= {f"{x}_proj_weight": [s] for x, s in zip("qkv", flat, strict=True)}
    else:
        expected["in_proj_weight"] = flat
    for name, inputs in expected.items():
        p, norms, moments = asked(copy_of(model), [tuple(call)], name)
        height = p.shape[0] // len(inputs)
        for part, seen in enumerate(inputs):
            rows = norms.view(p.shape)[part * height : (part + 1) * height]
            torch.testing.assert_close(rows, seen.norm(dim=0).expand_as(rows))
            torch.testing.assert_close(moments[part], seen.T @ seen)


def test_inputs_are_seen_through_the_weights_of_the_graph_that_is_asked():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2)).double()
    x = drawn(6, 5)
    first, bias = model[0].weight.detach().clone(), model[0].bias.detach()
    for world in ("masked", "sparse"):
        twin = copy_of(model)
        probe = rewire.Probe([(x,)], lambda model, batch: model(*batch).sum())
        net = rewire.attach(twin, torch.optim.SGD(twin.parameters(), lr=0.1), rewire.Static(),
                            probe=probe, world=world)  # fmt: skip
        graph = net.graph
        weight = graph["weight"].clone()
        weight[:20] *= 3.0
        smaller = graph.with_columns({"weight": weight}).apply(rewire.Edit(drop=torch.arange(0, 7)))
        changed = 3 * first
        changed.view(-1)[:7] = 0
        seen = torch.relu(x @ changed.T + bias)
        norms = net.world.signals(graph).at(smaller).pair("input_norm", torch.arange(20, 28))
        torch.testing.assert_close(norms, seen.norm(dim=0).repeat(2))


def test_passes_of_calibration_leave_the_model_and_random_numbers_as_they_were():
    model = nn.Sequential(
        nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2)
    ).double()
    before = {n: t.clone() for n, t in model.state_dict().items()}
    x = drawn(6, 4)
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    _, norms, _ = asked(model, [(x,)], "3.weight")
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    assert all(m.training for m in model.modules())
    assert not any(m._forward_pre_hooks for m in model.modules())
    expected = (x @ before["0.weight"].T + before["0.bias"]) / (1 + 1e-5) ** 0.5
    torch.testing.assert_close(norms[:4], expected.norm(dim=0))


class Partly(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.idle = nn.Linear(3, 2), nn.Linear(3, 2)

    def forward(self, x):
        return self.used(x)


class Experts(nn.Module):
    """Three matrices in one parameter."""

    def __init__(self, shape=(3, 4, 3)):
        super().__init__()
        self.up = nn.Parameter(torch.randn(shape))

    def forward(self, x):
        return torch.einsum("bi,...oi->b...o", x, self.up)


@pytest.mark.parametrize(
    ("model", "batch", "options", "message"),
    [
        (Experts, drawn(2, 3).float(), {"projections": {"up": "stacked"}},
         "inputs of 'up' cannot be measured: it stacks the matrices of several experts.*exclude="),
        (lambda: Experts((4, 3)), drawn(2, 3).float(), {"projections": {"up": "linear"}},
         "inputs of 'up' cannot be measured: it belongs to a layer of a kind of its own"),
        (Partly, drawn(2, 3).float(), {}, "no batch of the probe reached 'idle.weight'"),
        (lambda: nn.Embedding(5, 3), torch.arange(4), {"embeddings": True},
         "the inputs of 'weight' cannot be measured: it is a table"),
        (lambda: nn.LSTM(3, 4, proj_size=2), drawn(2, 3).float(), {},
         "belongs to a recurrent layer with projected states. Leave it out with exclude="),
        (lambda: nn.LSTM(3, 4), nn.utils.rnn.pack_sequence([drawn(2, 3).float()]), {},
         "was handed a PackedSequence, not one dense tensor"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("rule", [rewire.Wanda, rewire.SparseGPT])
def test_what_cannot_be_measured_is_refused_by_name_before_step_0(
    model, batch, options, message, rule
):
    model = model()
    probe = rewire.Probe([batch], lambda model, x: _total(model(x)))
    with pytest.raises(ValueError, match=message):
        rewire.attach(model, torch.optim.SGD(model.parameters(), lr=0.1), rule(), density=0.5,
                      probe=probe, **options)  # fmt: skip


def test_without_a_probe_wanda_is_refused_by_name():
    model = nn.Linear(3, 2)
    with pytest.raises(ValueError, match="Wanda needs the signal 'input_norm'.*pass probe="):
        rewire.attach(model, torch.optim.SGD(model.parameters(), lr=0.1), rewire.Wanda(),
                      density=0.5)  # fmt: skip


def test_moments_of_matrices_of_several_widths_are_filled_up_with_zeros():
    model = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 2)).double()
    x = drawn(6, 5)
    probe = rewire.Probe([(x,)], lambda model, batch: model(*batch).sum())
    net = rewire.attach(model, torch.optim.SGD(model.parameters(), lr=0.1), rewire.Static(),
                        probe=probe)  # fmt: skip
    rows = net.world.signals(net.graph).pair("input_moments", torch.tensor([1, 20]))
    hidden = model[0](x).detach()
    assert rows.shape == (2, 5)
    torch.testing.assert_close(rows[0], x.T[1] @ x)
    torch.testing.assert_close(rows[1, :4], hidden.T[0] @ hidden)
    assert rows[1, 4] == 0


def test_rows_are_numbered_over_all_projections():
    from rewire.select.rows import row_numbers

    space = Space(
        [Population("a", 3), Population("b", 4)],
        [Projection("ab", "a", "b", "transposed", (3, 4)), Projection("bb", "b", "b", "rnn", (8, 4),
                                                                      groups=2)],
    )  # fmt: skip
    numbers, firsts = row_numbers(Graph.full(space))
    assert firsts == [0, 4, 12]
    assert numbers.tolist() == [*list(range(4)) * 3, *(4 + r for r in range(8) for _ in range(4))]


@pytest.mark.parametrize("world", ["masked", "sparse"])
@pytest.mark.parametrize("padded", [False, True])
def test_layers_of_an_encoder_see_what_they_see_in_training(padded, world):
    """In evaluation torch runs an encoder fused, and padded batches as nested tensors."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True)
    model = nn.TransformerEncoder(layer, 2).double()
    x, padding = drawn(3, 5, 8), torch.zeros(3, 5, dtype=torch.bool)
    padding[0, 3:] = padded
    mask = padding if padded else None
    inputs = {}

    def note(name):
        def hook(module, args, kwargs):
            inputs[name] = args[0].detach().flatten(0, 1)

        return hook

    twin = copy_of(model)  # in training mode
    for name, module in twin.named_modules():
        if isinstance(module, nn.MultiheadAttention):
            module.register_forward_pre_hook(note(f"{name}.in_proj_weight"), with_kwargs=True)
        elif type(module) is nn.Linear:
            module.register_forward_pre_hook(note(f"{name}.weight"), with_kwargs=True)
    twin(x, src_key_padding_mask=mask)
    probe = rewire.Probe([x], lambda model, x: model(x, src_key_padding_mask=mask).sum())
    net = rewire.attach(model, torch.optim.SGD(model.parameters(), lr=0.1), rewire.Static(),
                        probe=probe, world=world)  # fmt: skip
    norms = net.world.signals(net.graph).pair("input_norm", net.graph.keys)
    assert len(inputs) == 6
    for i, p in enumerate(net.graph.projections):
        if p.name in inputs:
            rows = norms[net.graph.rows(i)].view(p.shape)
            torch.testing.assert_close(rows, inputs[p.name].norm(dim=0).expand_as(rows))
    assert model.use_nested_tensor
