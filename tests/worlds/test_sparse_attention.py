"""Attention and transformers on lists of edges are those with dense weights and zeros."""

import copy
import warnings

import pytest
import torch
from torch import nn

import rewire
from rewire import every
from rewire.native import sparse as engine

pytestmark = pytest.mark.filterwarnings(
    "ignore:enable_nested_tensor", "ignore:The PyTorch API of nested"
)
E, HEADS, L, S, N = 16, 2, 5, 7, 3


class Attend(nn.Module):
    """Attention by one call; ``call`` has the arguments that are no inputs."""

    def __init__(self, call=None, own=False, cross=False, shared=True, **options):
        super().__init__()
        self.attend = nn.MultiheadAttention(E, HEADS, **options)
        self.call, self.own, self.cross, self.shared = call or {}, own, cross, shared

    def forward(self, x, memory):
        if not self.cross:
            return self.attend(x, x, x, **self.call)
        value = memory if self.shared else memory[..., : self.attend.vdim] * 0.5
        return self.attend(x, memory, value, **self.call)


class Encoder(nn.Module):
    def __init__(self, call=None, **options):
        super().__init__()
        layer = nn.TransformerEncoderLayer(E, HEADS, 24, dropout=0.0, **options)
        self.encoder = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(E))
        self.call = call or {}

    def forward(self, x, memory):
        return self.encoder(x, **self.call)


class Decoder(nn.Module):
    def __init__(self, call=None, **options):
        super().__init__()
        layer = nn.TransformerDecoderLayer(E, HEADS, 24, dropout=0.0, **options)
        self.decoder = nn.TransformerDecoder(layer, 2)
        self.call = call or {}

    def forward(self, x, memory):
        return self.decoder(x, memory, **self.call)


class Both(nn.Module):
    def __init__(self, call=None, **options):
        super().__init__()
        self.both = nn.Transformer(E, HEADS, 1, 1, 24, dropout=0.0, **options)
        self.call = call or {}

    def forward(self, x, memory):
        return self.both(memory, x, **self.call)


def padding(length):
    mask = torch.zeros(N, length, dtype=torch.bool)
    mask[0, -2:] = mask[1, -1:] = True
    return mask


FIRST, SECOND = (L, N, E), (S, N, E)
BATCHED = (N, L, E), (N, S, E)
causal = nn.Transformer.generate_square_subsequent_mask(L, dtype=torch.float64)
holes = torch.zeros(L, S, dtype=torch.bool)
holes[1:3, 2] = holes[0, 4:] = True
per_head = torch.randn(N * HEADS, L, L, generator=torch.Generator().manual_seed(5)).double()
CASES = {
    "self": (lambda: Attend(), FIRST, SECOND),
    "self, batch first": (lambda: Attend(batch_first=True), *BATCHED),
    "self, no batch": (lambda: Attend(), (L, E), (S, E)),
    "self, no bias": (lambda: Attend(bias=False), FIRST, SECOND),
    "self, no weights": (lambda: Attend({"need_weights": False}), FIRST, SECOND),
    "self, each head": (lambda: Attend({"average_attn_weights": False}), FIRST, SECOND),
    "self, causal": (lambda: Attend({"attn_mask": causal, "is_causal": True,
                                     "need_weights": False}), FIRST, SECOND),
    "self, causal, weights": (lambda: Attend({"attn_mask": causal, "is_causal": True}),
                              FIRST, SECOND),
    "self, causal, padded": (lambda: Attend({"attn_mask": causal.isinf(), "is_causal": True,
                                             "key_padding_mask": padding(L),
                                             "need_weights": False}), FIRST, SECOND),
    "self, mask of each head": (lambda: Attend({"attn_mask": per_head}), FIRST, SECOND),
    "self, padded": (lambda: Attend({"key_padding_mask": padding(L)}, batch_first=True), *BATCHED),
    "self, no batch, padded": (lambda: Attend({"key_padding_mask": padding(L)[0]}),
                               (L, E), (S, E)),
    "bias_kv": (lambda: Attend({"attn_mask": causal}, add_bias_kv=True), FIRST, SECOND),
    "zero_attn": (lambda: Attend({"key_padding_mask": padding(L)}, add_bias_kv=True,
                                 add_zero_attn=True), FIRST, SECOND),
    "cross": (lambda: Attend(cross=True), FIRST, SECOND),
    "cross, holes": (lambda: Attend({"attn_mask": holes}, cross=True), FIRST, SECOND),
    "cross, padded": (lambda: Attend({"key_padding_mask": padding(S), "need_weights": False},
                                     cross=True, batch_first=True), *BATCHED),
    "query, key and value": (lambda: Attend(cross=True, shared=False), FIRST, SECOND),
    "kdim, vdim": (lambda: Attend(cross=True, shared=False, kdim=12, vdim=10),
                   FIRST, (S, N, 12)),
    "kdim, no bias": (lambda: Attend(cross=True, shared=False, kdim=12, vdim=10, bias=False,
                                     batch_first=True), (N, L, E), (N, S, 12)),
    "encoder": (lambda: Encoder(batch_first=True), *BATCHED),
    "encoder, norm first": (lambda: Encoder(batch_first=True, norm_first=True,
                                            activation="gelu"), *BATCHED),
    "encoder, time first": (lambda: Encoder(), FIRST, SECOND),
    "encoder, causal": (lambda: Encoder({"mask": causal, "is_causal": True}, batch_first=True),
                        *BATCHED),
    "decoder": (lambda: Decoder(batch_first=True), *BATCHED),
    "decoder, masks": (lambda: Decoder({"tgt_mask": causal, "memory_mask": holes,
                                        "memory_key_padding_mask": padding(S)},
                                       batch_first=True), *BATCHED),
    "both": (lambda: Both({"tgt_mask": causal}, batch_first=True), *BATCHED),
    "both, norm first": (lambda: Both({"tgt_mask": causal,
                                       "memory_key_padding_mask": padding(S)},
                                      norm_first=True), FIRST, SECOND),
}  # fmt: skip
MODES = ("train", "eval", "no_grad", "inference_mode")


def attached(make, world, density=0.3, rule=None, choose=()):
    torch.manual_seed(1)
    model = make().double()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    net = rewire.attach(model, optimizer, rule or rewire.Static(), density=density, seed=4,
                        steps=20, world=world, **dict(choose))  # fmt: skip
    return model, net


def inputs(first, second):
    draw = torch.Generator().manual_seed(2)
    return [torch.randn(shape, generator=draw).double() for shape in (first, second)]


def outputs(model, x, memory):
    out = model(x, memory)
    return [t for t in (out if isinstance(out, tuple) else (out,)) if t is not None]


def same(these, those):
    assert len(these) == len(those)
    for a, b in zip(these, those, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", CASES)
def test_outputs_and_gradients_are_those_of_dense_weights(name, mode):
    make, *shapes = CASES[name]
    results = []
    for world in ("masked", "sparse"):
        model, net = attached(make, world)
        model.train(mode == "train")
        x, memory = inputs(*shapes)
        if mode in ("no_grad", "inference_mode"):
            with getattr(torch, mode)():
                results.append(outputs(model, x, memory))
            continue
        x.requires_grad_()
        memory.requires_grad_()
        made = outputs(model, x, memory)
        draw = torch.Generator().manual_seed(3)
        sum((t * torch.randn(t.shape, generator=draw).double()).sum() for t in made).backward()
        slopes = [p.grad[net.graph.mask(i).view(p.shape)] if p.dim() > 1 else p.grad
                  for i, p in enumerate(net.world.sparse_parameters())]  # fmt: skip
        sparse = {id(p) for p in net.world.sparse_parameters()}
        rest = [p.grad for p in model.parameters() if id(p) not in sparse]
        results.append([*made, x.grad, *slopes, *rest,
                        *([] if memory.grad is None else [memory.grad])])  # fmt: skip
    same(*results)
    assert set(net.world.forms.values()) == {"edges"}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("options", [{}, {"norm_first": True}, {"activation": "gelu"}])
def test_padded_encoders_agree_where_there_is_input(options, mode):
    """Torch's own kernel of evaluation, which dense weights enter, sets the rest to 0."""
    results, real = [], ~padding(L)
    for world in ("masked", "sparse"):
        model, _ = attached(
            lambda: Encoder({"src_key_padding_mask": padding(L)}, batch_first=True, **options),
            world,
        )  # fmt: skip
        model.train(mode == "train")
        x, memory = inputs(*BATCHED)
        with getattr(torch, mode)() if mode.startswith(("no", "in")) else torch.enable_grad():
            results.append([model(x, memory)[real]])
    same(*results)


def test_torchs_kernel_of_evaluation_is_served_beside_lists_of_edges():
    """One layer on edges, one dense: the encoder takes either way, and no warning."""
    model, net = attached(
        lambda: Encoder(batch_first=True), "sparse",
        choose={"exclude": ["encoder.layers.0*"]}.items(),
    )  # fmt: skip
    dense, _ = attached(
        lambda: Encoder(batch_first=True), "masked",
        choose={"exclude": ["encoder.layers.0*"]}.items(),
    )  # fmt: skip
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("error")
        x, memory = inputs(*BATCHED)
        same([model.eval()(x, memory)], [dense.eval()(x, memory)])


@pytest.mark.parametrize("exclude", ["*in_proj_weight", "*out_proj*", "*linear1*"])
def test_part_of_an_attention_can_stay_dense(exclude):
    choose = {"exclude": [exclude]}.items()
    results = []
    for world in ("masked", "sparse"):
        model, net = attached(lambda: Encoder(batch_first=True), world, choose=choose)
        x, memory = inputs(*BATCHED)
        model(x, memory).square().sum().backward()
        net.step()
        with torch.no_grad():
            results.append([model(x, memory), model.eval()(x, memory)])
    same(*results)
    assert "edges" in net.world.forms.values()


@pytest.mark.parametrize("name", ["self", "cross", "query, key and value", "kdim, vdim", "decoder"])
@pytest.mark.parametrize("rule", [rewire.SET, rewire.RigL])
def test_a_rewired_attention_trains_as_the_masked_one(name, rule):
    make, *shapes = CASES[name]
    # so dense that keys have edges: else their queries' gradients are rounding, which SET ranks
    nets = [
        attached(make, world, density=0.55, rule=rule(when=every(2)))[1]
        for world in ("masked", "sparse")
    ]
    for k in range(6):
        for net in nets:
            x, memory = inputs(*shapes)
            model = net.world.model
            model.zero_grad()
            out = outputs(model, x * (k + 1), memory)[0]
            (out - x).square().mean().backward()
            net.step()
        masked, sparse = (net.graph for net in nets)
        assert torch.equal(masked.keys, sparse.keys)
        torch.testing.assert_close(masked["weight"], sparse["weight"], rtol=0, atol=1e-10)
    assert len(nets[1].history) > 2


def test_forms_change_with_the_density_of_an_attention_as_a_whole():
    """Where a dense product is faster, world="auto" holds attention and last layer dense."""
    if engine is None:
        pytest.skip("the crossover is lower without the engine")
    _, thin = attached(lambda: Attend(), "auto", density=0.2)
    assert set(thin.world.forms.values()) == {"edges"}
    model, full = attached(lambda: Attend(), "auto", density=0.9)
    assert set(full.world.forms.values()) == {"masked"}
    assert type(model.attend) is nn.MultiheadAttention


def test_dropout_draws_what_torchs_attention_draws():
    results = []
    for world in ("masked", "sparse"):
        for weights in (True, False):
            model, _ = attached(lambda w=weights: Attend({"need_weights": w}, dropout=0.5), world)
            torch.manual_seed(7)
            results.append(outputs(model, *inputs(FIRST, SECOND))[0])
            assert not torch.allclose(results[-1], model.eval()(*inputs(FIRST, SECOND))[0])
    same(results[:2], results[2:])


def test_a_copy_and_a_dense_twin_are_attentions_again():
    model, net = attached(lambda: Encoder(batch_first=True), "sparse")
    x, memory = inputs(*BATCHED)
    twin = copy.deepcopy(model)
    assert torch.equal(twin(x, memory), model(x, memory))
    state = model.state_dict()
    attention = "encoder.layers.0.self_attn"
    assert len(state[f"{attention}.in_proj_weight_keys"]) == net.counts[0]
    other, _ = attached(lambda: Encoder(batch_first=True), "sparse")
    other.load_state_dict(state)
    assert torch.equal(other(x, memory), model(x, memory))


@pytest.mark.parametrize("change, error, message", [
    (lambda a, x: a(x, x, x, is_causal=True), RuntimeError, "is_causal is a hint"),
    (lambda a, x: a(x, x, x, attn_mask=torch.zeros(2, 3)), RuntimeError, "attn_mask must have"),
    (lambda a, x: a(x, x, x, attn_mask=torch.zeros(N, L, L)), RuntimeError, "attn_mask must have"),
    (lambda a, x: a(x, x, x, key_padding_mask=torch.zeros(N, 2).bool()), (AssertionError,
     RuntimeError), "key_padding_mask"),
    (lambda a, x: a(x.float(), x, x), TypeError, "computes in torch.float64"),
    (lambda a, x: a(*[torch.nested.nested_tensor([t for t in x])] * 3), TypeError, "nested tensor"),
])  # fmt: skip
def test_what_attention_cannot_take_is_refused(change, error, message):
    model, _ = attached(lambda: Attend(), "sparse")
    with pytest.raises(error, match=message):
        change(model.attend, inputs(FIRST, SECOND)[0])
