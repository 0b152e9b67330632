"""What optimisers do to absent synapses."""

import pytest
import torch

import rewire
import rewire.when
from rewire.worlds.masked import memory
from rewire.worlds.torch_model import optimizers

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def numbers_that_a_product_leaves(p):
    """NaN, and both infinities, in a tensor like p."""
    each = torch.tensor([float("nan"), float("inf"), -float("inf"), -1.0], dtype=p.dtype)
    return each.repeat(p.numel() // 4 + 1)[: p.numel()].view_as(p).clone()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("compiled", (True, False))
@pytest.mark.parametrize("density", (0.03, 0.4))
def test_numbers_that_are_not_finite_are_cleared_where_nothing_is(
    dtype, compiled, density, monkeypatch
):
    if not compiled:
        monkeypatch.setattr(memory, "kernels", None)
    model = torch.nn.Linear(30, 20).to(dtype)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    net = rewire.attach(model, optimizer, rewire.Static(), density=density, seed=0)
    weight, mask = model.weight, net.masks()["weight"]
    for step in range(2):
        weight.grad = torch.zeros_like(weight) if step else numbers_that_a_product_leaves(weight)
        weight.grad[mask] = 1.0
        net.step()
        assert weight.isfinite().all() and (weight[~mask] == 0).all()
        moments = optimizer.state[weight]["momentum_buffer"]
        assert moments.isfinite().all() and (moments[~mask] == 0).all()
    for tensor in (weight.data, moments, moments.double(), moments.bfloat16()):
        tensor.copy_(numbers_that_a_product_leaves(weight))
        before = tensor[mask].clone()
        net.world.weights.mask([tensor], [0])
        assert (tensor[~mask] == 0).all() and torch.equal(tensor[mask].isnan(), before.isnan())


class Soap(torch.optim.Optimizer):
    """Adam in the eigenbasis of the gradients' rows."""

    def __init__(self, params, lr=0.01):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                g, state = p.grad.view(len(p), -1), self.state[p]
                if not state:
                    state["bases"] = [g @ g.T]
                    state["exp_avg"] = torch.zeros_like(p)
                    state["exp_avg_sq"] = torch.zeros_like(p)
                state["bases"][0].lerp_(g @ g.T, 0.1)
                basis = torch.linalg.eigh(state["bases"][0])[1]
                turned = (basis.T @ g).view_as(p)
                state["exp_avg"].lerp_(turned, 0.1)
                state["exp_avg_sq"].lerp_(turned**2, 0.01)
                move = state["exp_avg"] / (state["exp_avg_sq"].sqrt() + 1e-8)
                p.sub_((basis @ move.view(len(p), -1)).view_as(p), alpha=group["lr"])


class Each(torch.optim.Optimizer):
    """Steps parameter by parameter."""

    def __init__(self, params, lr=0.01, **options):
        super().__init__(params, {"lr": lr, **options})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self.one(p, p.grad, self.state[p], group)


class Lion(Each):
    def one(self, p, g, state, group):
        m = state.setdefault("exp_avg", torch.zeros_like(p))
        p.sub_(torch.lerp(m, g, 0.1).sign(), alpha=group["lr"])
        m.lerp_(g, 0.01)


class Lamb(Each):
    def one(self, p, g, state, group):
        m = state.setdefault("exp_avg", torch.zeros_like(p)).lerp_(g, 0.1)
        v = state.setdefault("exp_avg_sq", torch.zeros_like(p)).lerp_(g**2, 0.01)
        move = m / (v.sqrt() + 1e-6)
        p.sub_(move * (p.norm() / (move.norm() + 1e-6)), alpha=group["lr"])


class Muon(Each):
    def one(self, p, g, state, group):
        m = state.setdefault("momentum_buffer", torch.zeros_like(p)).mul_(0.9).add_(g)
        u, _, v = torch.linalg.svd(m.view(len(m), -1), full_matrices=False)
        p.sub_((u @ v).view_as(p), alpha=group["lr"])


class Born(Each):
    """Keeps a step size for each weight that starts at 0.5."""

    def one(self, p, g, state, group):
        size = state.setdefault("size", torch.full_like(p, 0.5))
        size.mul_(1 + 0.1 * g.sign())
        p.sub_(size * g, alpha=group["lr"])


class Factored(Each):
    def one(self, p, g, state, group):
        row = state.setdefault("exp_avg_sq_row", torch.zeros(len(p)))
        row.lerp_(g.view(len(p), -1).pow(2).mean(1), 0.1)
        p.sub_(g / row.sqrt().view(-1, *[1] * (p.dim() - 1)), alpha=group["lr"])


class MyAdam(torch.optim.Adam):
    pass


class Closed(Each):
    """Cannot step without a closure."""

    def step(self, closure):
        with torch.enable_grad():
            closure()
        super().step()

    one = Lion.one


class Unsteppable(Each):
    def one(self, p, g, state, group):
        raise RuntimeError("only on a tuesday")


class Outer(torch.optim.Optimizer):
    """Wraps another: every third step it goes half of the way back."""

    def __init__(self, optimizer):
        self.optimizer = optimizer
        super().__init__(optimizer.param_groups, {})
        self.param_groups = optimizer.param_groups
        self.count = 0

    @torch.no_grad()
    def step(self, closure=None):
        self.optimizer.step()
        self.count += 1
        for group in self.param_groups:
            for p in group["params"]:
                slow = self.state[p].setdefault("slow", p.detach().clone())
                if self.count % 3 == 0:
                    p.copy_(slow.lerp_(p, 0.5))


class Proxy(torch.optim.Optimizer):
    """Hands on everything, as accelerate's does."""

    def __init__(self, optimizer):
        self.optimizer = optimizer

    param_groups = property(lambda self: self.optimizer.param_groups)
    state = property(lambda self: self.optimizer.state)
    defaults = property(lambda self: self.optimizer.defaults)

    def zero_grad(self, set_to_none=True):
        self.optimizer.zero_grad(set_to_none)

    def step(self, closure=None):
        return self.optimizer.step(closure)


MAKE = {
    "soap": (lambda p: Soap(p), {"exp_avg", "exp_avg_sq"}),
    "lion": (lambda p: Lion(p), set()),
    "lamb": (lambda p: Lamb(p), set()),
    "muon": (lambda p: Muon(p), set()),
    "born": (lambda p: Born(p), set()),
    "my adam": (lambda p: MyAdam(p, lr=0.01), set()),
    "decay": (lambda p: MyAdam(p, lr=0.01, weight_decay=0.1, amsgrad=True), set()),
    "lr tensor": (lambda p: MyAdam(p, lr=torch.tensor(0.01)), set()),
    "outer": (lambda p: Outer(MyAdam(p, lr=0.01)), set()),
    "proxy": (lambda p: Proxy(torch.optim.Adam(p, lr=0.01)), set()),
}


def model_of():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(2, 4, 3), torch.nn.Flatten(), torch.nn.Linear(16, 12, bias=False),
        torch.nn.ReLU(), torch.nn.Linear(12, 3),
    )  # fmt: skip


@pytest.mark.parametrize("name", MAKE)
def test_absent_weights_are_0_after_every_step(name):
    make, mixed = MAKE[name]
    model = model_of()
    optimizer = make(list(model.parameters()))
    numbers = torch.get_rng_state()
    net = rewire.attach(
        model, optimizer, rewire.SET(when=rewire.when.Every(3)), density=0.4, seed=0
    )
    fresh = torch.get_rng_state()
    assert torch.equal(numbers, fresh) and not optimizer.state
    masked = dict(model.named_parameters())
    states = [link.state for link in optimizers.chain(optimizer)]
    for step in range(10):
        optimizer.zero_grad()
        torch.manual_seed(step)
        model(torch.randn(8, 2, 4, 4)).square().sum().backward()
        net.step()
        for key, mask in net.masks().items():
            p = masked[key]
            assert (p[~mask] == 0).all() and p.isfinite().all()
            for state in states:
                for kind, v in state.get(p, {}).items():
                    if isinstance(v, torch.Tensor) and v.shape == p.shape:
                        if name == "born":
                            assert v.isfinite().all()
                        elif kind not in mixed:
                            assert (v[~mask] == 0).all(), kind
    assert net.history.formed


def test_state_in_another_basis_is_left_alone():
    model, twin = model_of(), model_of()
    optimizer, plain = Soap(model.parameters()), Soap(twin.parameters())
    net = rewire.attach(model, optimizer, rewire.Static(), density=0.4, seed=0)
    masks = net.masks()
    twin.load_state_dict(model.state_dict())
    for step in range(6):
        torch.manual_seed(step)
        x = torch.randn(8, 2, 4, 4)
        for each in (model, twin):
            each.zero_grad()
            each(x).square().sum().backward()
        net.step()
        for key, p in twin.named_parameters():
            if key in masks:
                p.grad.mul_(masks[key])
        plain.step()
        for key, p in twin.named_parameters():
            if key in masks:
                p.data.mul_(masks[key])
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a, b)
        for key in ("exp_avg", "exp_avg_sq"):
            torch.testing.assert_close(optimizer.state[a][key], plain.state[b][key])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Factored, r"Factored keeps 'exp_avg_sq_row' of shape \(4,\)"),
        (type("MyFactor", (torch.optim.Adafactor,), {}), "MyFactor cannot train sparse weights"),
        (type("MyBFGS", (torch.optim.LBFGS,), {}), "MyBFGS cannot train sparse weights"),
        (Unsteppable, r"Unsteppable cannot be tried .*only on a tuesday"),
    ],
)
@pytest.mark.parametrize("world", ("masked", "sparse"))
def test_what_cannot_be_kept_clean_is_refused_at_attach(make, message, world):
    model = model_of()
    with pytest.raises(ValueError, match=message):
        rewire.attach(model, make(list(model.parameters())), rewire.Static(), world=world)


@pytest.mark.parametrize("make", (Soap, Lamb, Muon))
def test_what_mixes_weights_is_refused_in_the_sparse_world(make):
    model = model_of()
    with pytest.raises(ValueError, match=f"cannot know how {make.__name__} mixes weights"):
        rewire.attach(model, make(model.parameters()), rewire.Static(), world="sparse")


@pytest.mark.parametrize("make", (MyAdam, Lion, Born))
def test_what_steps_each_weight_by_itself_is_the_same_in_both_worlds(make):
    weights = []
    for world in ("masked", "sparse"):
        model = model_of()
        optimizer = make(list(model.parameters()), lr=0.01)
        net = rewire.attach(
            model,
            optimizer,
            rewire.SET(when=rewire.when.Every(2)),
            density=0.4,
            world=world,
            seed=1,
        )
        for step in range(6):
            optimizer.zero_grad()
            torch.manual_seed(step)
            model(torch.randn(8, 2, 4, 4)).square().sum().backward()
            net.step()
        weights.append((net.graph.keys.clone(), net.graph["weight"].clone()))
    assert torch.equal(weights[0][0], weights[1][0])
    torch.testing.assert_close(weights[0][1], weights[1][1], atol=1e-5, rtol=1e-4)


def test_moments_at_absent_synapses_are_0_after_an_edit_whatever_they_start_with():
    for make in (
        lambda p: torch.optim.Adagrad(p, initial_accumulator_value=0.5),
        lambda p: Born(p),
    ):
        model = model_of()
        optimizer = make(list(model.parameters()))
        net = rewire.attach(model, optimizer, rewire.SET(when=rewire.when.Every(2)), density=0.4)
        for _ in range(2):
            optimizer.zero_grad()
            model(torch.randn(8, 2, 4, 4)).square().sum().backward()
            before = {k: m.clone() for k, m in net.masks().items()}
            net.step()
        for key, p in model.named_parameters():
            if key in before:
                (v,) = (s for s in optimizer.state[p].values() if s.shape == p.shape)
                mask = net.masks()[key]
                assert (v[~mask] == 0).all() and (v[mask & ~before[key]] == 0.5).all()


def test_an_optimiser_that_needs_a_closure_is_tried_with_one():
    model = model_of()
    optimizer = Closed(model.parameters())
    net = rewire.attach(model, optimizer, rewire.Static(), density=0.4)

    def closure():
        optimizer.zero_grad()
        loss = model(torch.ones(1, 2, 4, 4)).sum()
        loss.backward()
        return loss

    net.step(closure=closure)
    for name, p in model.named_parameters():
        if name in net.masks():
            assert (p[~net.masks()[name]] == 0).all()


def test_a_chain_goes_from_the_outermost_to_the_innermost():
    model = model_of()
    inner = torch.optim.SGD(model.parameters(), lr=0.1)
    outer = Outer(inner)
    proxy = Proxy(outer)
    assert optimizers.chain(proxy) == [proxy, outer, inner]
    assert optimizers.innermost(proxy) is inner and optimizers.innermost(inner) is inner
    inner.optimizer = outer  # round and round
    assert optimizers.chain(outer) == [outer, inner]
    other = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    inner.optimizer = other  # of other parameters
    assert optimizers.innermost(outer) is inner


@pytest.mark.parametrize("world", ("masked", "sparse"))
def test_what_is_no_optimiser_is_refused_by_name(world):
    model = model_of()
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    for optimizer, message in (
        ([sgd, sgd], "takes one optimizer, got a list of 2"),
        (model, "got an object of type Sequential"),
        (torch.optim.SGD, "got the class SGD"),
        (None, "got an object of type NoneType"),
    ):
        with pytest.raises(TypeError, match=message):
            rewire.attach(model, optimizer, rewire.Static(), world=world)
    del sgd.param_groups[0]["lr"]
    with pytest.raises(ValueError, match="group 0 of SGD has no 'lr'"):
        rewire.attach(model, sgd, rewire.Static(), world=world)


@pytest.mark.parametrize("make", (torch.optim.Adamax, torch.optim.Rprop))
def test_state_that_moves_without_a_gradient_is_0_at_absent_synapses(make):
    """Adamax adds its eps to every |gradient|, Rprop begins with a step size everywhere."""
    model = model_of()
    optimizer = make(model.parameters(), lr=0.01)
    net = rewire.attach(model, optimizer, rewire.SET(when=rewire.when.Every(2)), density=0.4)
    masked = dict(model.named_parameters())
    for _ in range(4):
        optimizer.zero_grad()
        model(torch.randn(8, 2, 4, 4)).square().sum().backward()
        optimizer.step()
        for key, mask in net.masks().items():
            for v in optimizer.state[masked[key]].values():
                assert v.dim() == 0 or (v[~mask] == 0).all()
        net.check()


class Subset(torch.optim.Optimizer):
    """Chooses the numbers that it steps when it is made, and keeps a moment of those alone."""

    def __init__(self, params, lr=0.01):
        super().__init__(params, {"lr": lr})
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p]["chosen"] = torch.ones_like(p, dtype=torch.bool)

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                chosen = self.state[p].get("chosen")
                g = p.grad if chosen is None else p.grad[chosen]
                m = self.state[p].setdefault("exp_avg", torch.zeros_like(g)).lerp_(g, 0.1)
                if chosen is None:
                    p.sub_(m, alpha=group["lr"])
                else:
                    p[chosen] -= group["lr"] * m


class Curved(torch.optim.Optimizer):
    """Divides by the curvature, of which it derives the gradients again."""

    def __init__(self, params, lr=0.01):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        params = [p for group in self.param_groups for p in group["params"]]
        with torch.enable_grad():
            along = torch.autograd.grad([p.grad.sum() for p in params], params)
        for p, curvature in zip(params, along, strict=True):
            p.sub_(p.grad / (1 + curvature.abs()), alpha=self.param_groups[0]["lr"])


class Slow(Proxy):
    """Hands on its groups, and keeps state of its own."""

    state = None

    def __init__(self, optimizer):
        self.optimizer, self.state = optimizer, {}
        self._optimizer_step_pre_hooks = {}
        self._optimizer_step_post_hooks = {}

    @torch.no_grad()
    def step(self, closure=None):
        self.optimizer.step()
        for group in self.param_groups:
            for p in group["params"]:
                slow = self.state.setdefault(p, {}).setdefault("slow", p.detach().clone())
                p.lerp_(slow, 0.1)


@pytest.mark.parametrize("world", ("masked", "sparse"))
def test_state_made_before_the_first_step_is_part_of_the_trial(world):
    model = model_of()
    with pytest.raises(ValueError, match=r"Subset keeps 'exp_avg' of shape \(\d+,\)"):
        rewire.attach(model, Subset(model.parameters()), rewire.Static(), world=world)


def test_gradients_that_are_derived_again_are_those_of_the_edges():
    model, twin = model_of().double(), model_of().double()
    optimizer, plain = Curved(model.parameters()), Curved(twin.parameters())
    net = rewire.attach(model, optimizer, rewire.Static(), density=0.4, seed=0)
    masks = net.masks()
    twin.load_state_dict(model.state_dict())
    for step in range(4):
        torch.manual_seed(step)
        x = torch.randn(8, 2, 4, 4, dtype=torch.float64)
        for each in (model, twin):
            each.zero_grad()
            each(x).square().sum().backward(create_graph=True)
        for key, p in twin.named_parameters():
            if key in masks:
                p.grad = torch.where(masks[key], p.grad, 0.0)
        optimizer.step()
        plain.step()
        for key, p in twin.named_parameters():
            if key in masks:
                p.data.mul_(masks[key])
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: Curved(p), "Curved derives gradients again"),
        (lambda p: Slow(torch.optim.SGD(p, lr=0.1)), "cannot know how Slow mixes weights"),
    ],
)
def test_the_sparse_world_refuses_at_attach_what_fails_there_later(make, message):
    model = model_of()
    with pytest.raises(ValueError, match=message):
        rewire.attach(model, make(list(model.parameters())), rewire.Static(), world="sparse")
