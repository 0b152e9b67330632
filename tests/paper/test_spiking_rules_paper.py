"""Rules made for spiking networks, against their formulas by hand, in both torch worlds.

None of them looks at a spike: they see weights and gradients, those of a surrogate in a spiking
network. The network here is one: leaky integrate-and-fire units, a sigmoid's slope for the spike's.
"""

import math

import pytest
import torch
from torch import nn

import rewire
from rewire.budget import counts_for

WORLDS = pytest.mark.parametrize("world", ["masked", "sparse"])
SIZES = (16 * 12, 12 * 3)


class Spike(torch.autograd.Function):
    """A step forward, a sigmoid's slope back."""

    @staticmethod
    def forward(ctx, v):
        ctx.save_for_backward(v)
        return (v > 0).to(v)

    @staticmethod
    def backward(ctx, slope):
        s = torch.sigmoid(4 * ctx.saved_tensors[0])
        return slope * 4 * s * (1 - s)


class Spiking(nn.Module):
    """Two layers of leaky integrate-and-fire units, which see the same input for some steps."""

    def __init__(self, timesteps=4):
        super().__init__()
        self.first, self.second = nn.Linear(16, 12), nn.Linear(12, 3)
        self.timesteps = timesteps

    def forward(self, x):
        v, out = 0.0, []
        for _ in range(self.timesteps):
            v = 0.5 * v + self.first(x)
            spikes = Spike.apply(v - 0.5)
            v = v * (1 - spikes.detach())
            out.append(self.second(spikes))
        return torch.stack(out).mean(0)


def net_of(seed=0):
    torch.manual_seed(seed)
    return Spiking().double()


def batch(step):
    g = torch.Generator().manual_seed(100 + step)
    y = torch.randint(3, (30,), generator=g)
    centres = torch.randn(3, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return centres[y] + torch.randn(30, 16, generator=g, dtype=torch.float64), y


def loss(model, step):
    x, y = batch(step)
    return nn.functional.cross_entropy(model(x), y)


class Run:
    """A network under a rule, of which each step can be looked at."""

    def __init__(self, rule, density, world="masked", steps=12, **options):
        self.model = net_of()
        optimizer = torch.optim.SGD(self.model.parameters(), lr=0.2)
        self.optimizer = optimizer
        self.net = rewire.attach(
            self.model, optimizer, rule, density=density, steps=steps, world=world, seed=3,
            **options,
        )  # fmt: skip

    def dense(self):
        """The weights of all possible synapses, 0 where there is none, and where there are some."""
        graph = self.net.graph
        weight = torch.zeros(graph.possible, dtype=torch.float64)
        weight[graph.keys] = graph["weight"].double()
        there = torch.zeros(graph.possible, dtype=torch.bool)
        there[graph.keys] = True
        return weight, there

    def step(self, step):
        """One step: the weights that plain SGD makes of those before, and |dL/dw| of every
        possible synapse, both by autograd on a twin."""
        weight, there = self.dense()
        twin = net_of()
        with torch.no_grad():
            for p, q in zip(twin.parameters(), self.model.parameters(), strict=True):
                if p.dim() == 1:
                    p.copy_(q)
            twin.first.weight.copy_(weight[: SIZES[0]].view(12, 16))
            twin.second.weight.copy_(weight[SIZES[0] :].view(3, 12))
        loss(twin, step).backward()
        slope = torch.cat([twin.first.weight.grad.flatten(), twin.second.weight.grad.flatten()])
        self.optimizer.zero_grad()
        loss(self.model, step).backward()
        self.net.step()
        return torch.where(there, weight - 0.2 * slope, 0.0), there, slope.abs()


def exchanged(weight, there, scores, drop, grow):
    """Which synapses are there after an exchange in each layer, by sorting."""
    after, start = there.clone(), 0
    for size, k, n in zip(SIZES, drop, grow, strict=True):
        keys = torch.arange(start, start + size)
        present = keys[there[keys]]
        after[present[weight[present].abs().argsort(stable=True)[:k]]] = False
        absent = keys[~there[keys]]
        after[absent[scores[absent].argsort(descending=True, stable=True)[:n]]] = True
        start += size
    return after


# -- NDSNN --------------------------------------------------------------------------------------


@WORLDS
def test_ndsnn_drops_and_grows_to_its_falling_number_in_each_layer(world):
    """Huang et al.: deaths are a falling share of what is there, births what the cubic leaves room
    for; more die than are born until the end of pruning."""
    rule = rewire.NDSNN(begins=0.5, when=rewire.every(2), until=8)
    run = Run(rule, 0.3, world)
    space = run.net.graph.space
    first, last = counts_for(space, 0.5, "erk"), counts_for(space, 0.3, "erk")
    assert run.net.counts == first and sum(last) == round(0.3 * sum(SIZES))
    births = deaths = 0
    for step in range(1, 13):
        weight, there, scores = run.step(step)
        if step % 2:
            assert torch.equal(run.dense()[1], there)
            continue
        death = 0.25 * (1 + math.cos(math.pi * step / 12))
        left = max(0.0, 1 - step / 8) ** 3
        have = [int(part.sum()) for part in there.split(SIZES)]
        numbers = [round(end + (begin - end) * left)
                   for begin, end in zip(first, last, strict=True)]  # fmt: skip
        room = [size - n for size, n in zip(SIZES, have, strict=True)]
        fewer = [n - k for n, k in zip(have, numbers, strict=True)]
        grow = [min(max(int(death * n) - f, 0), r)
                for n, f, r in zip(have, fewer, room, strict=True)]  # fmt: skip
        drop = [f + g for f, g in zip(fewer, grow, strict=True)]
        assert torch.equal(run.dense()[1], exchanged(weight, there, scores, drop, grow)), step
        assert run.net.counts == numbers
        births, deaths = births + sum(grow), deaths + sum(drop)
    assert run.net.counts == last and deaths > births == 55


def test_ndsnn_keeps_to_what_another_rule_has_left_and_a_full_layer():
    """A layer that is full at the start has no room for births; nothing is counted that is none."""
    run = Run(rewire.NDSNN(begins=1.0, when=rewire.every(2), until=4), 0.2, distribution="uniform")
    for step in range(1, 13):
        before = run.dense()[1]
        run.step(step)
        if step == 2:
            assert run.net.history.formed == 0
        records = run.net.history.records
        if records and records[-1].total == step:
            assert not before[torch.from_numpy(records[-1].add)].any()
    assert run.net.edges == round(0.2 * sum(SIZES)) and run.net.history.formed > 0


# -- ESL-SNNs -----------------------------------------------------------------------------------


@WORLDS
def test_esl_snn_prunes_the_smallest_and_regrows_by_gradient(world):
    rule = rewire.ESLSNN(fraction=0.25, grow="gradient", when=rewire.every(3))
    run = Run(rule, 0.3, world, distribution="er")
    counts = counts_for(run.net.graph.space, 0.3, "er")
    k = [int(0.25 * n) for n in counts]
    for step in range(1, 13):
        weight, there, scores = run.step(step)
        due = step % 3 == 0 and step < 12  # not after the last step
        expected = exchanged(weight, there, scores, k, k) if due else there
        assert torch.equal(run.dense()[1], expected)
        assert run.net.counts == counts
    assert run.net.history.formed == run.net.history.dropped == 3 * sum(k)


@WORLDS
def test_esl_snns_random_growth_is_uniform_over_what_was_absent(world):
    """In 200 ticks what is absent of a layer comes equally often: the squared deviations of those
    with a chance of 5 times or more are those of a binomial, within 3 standard deviations. What
    is pruned in a tick never comes back in it."""
    run = Run(rewire.ESLSNN(fraction=0.5, when=rewire.every(1)), None, world, steps=200,
              distribution={"first": 0.3, "second": 0.3})  # fmt: skip
    times, chance, spread = (torch.zeros(sum(SIZES)) for _ in range(3))
    for step in range(1, 201):
        there = run.dense()[1]
        run.step(step)
        after = run.dense()[1]
        times += (after & ~there).float()
        for part in (slice(0, SIZES[0]), slice(SIZES[0], None)):
            absent = ~there[part]
            born = int((after[part] & absent).sum())
            assert born == int(0.5 * int(there[part].sum()))
            share = born / absent.sum()
            chance[part] += absent * share
            spread[part] += absent * share * (1 - share)
    terms = ((times - chance) ** 2 / spread)[chance > 5]
    assert len(terms) > 100
    assert abs(float(terms.sum()) - len(terms)) < 3 * math.sqrt(2 * len(terms))


def test_a_layer_without_room_keeps_what_it_has():
    run = Run(rewire.ESLSNN(when=rewire.every(1)), None, distribution=[100, SIZES[1]])
    for step in range(1, 4):
        run.step(step)
        assert run.net.counts == [100, 36]
    assert run.net.history.formed == 3 * 30


# -- STDS ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", ["sine", "linear"])
@pytest.mark.parametrize("threshold", [0.3, None])
def test_stds_is_soft_thresholding_straight_through_under_a_rising_threshold(threshold, schedule):
    """As in the authors' code: sign(theta) relu(|theta| - d), whose gradient passes the relu."""
    rule = rewire.STDS(threshold=threshold, schedule=schedule, until=None)
    run = Run(rule, 0.2 if threshold is None else None)
    twin, d, live = net_of(), 0.0, []
    theta = [twin.first.weight, twin.second.weight]
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.2)
    for step in range(1, 13):
        kept = [w.detach().clone() for w in theta]
        with torch.no_grad():
            for w in theta:
                w.copy_(torch.sign(w) * torch.relu(w.abs() - d))
        optimizer.zero_grad()
        loss(twin, step).backward()
        with torch.no_grad():
            for w, own in zip(theta, kept, strict=True):
                w.copy_(own)
        optimizer.step()
        run.optimizer.zero_grad()
        loss(run.model, step).backward()
        run.net.step()
        t = step / 12
        risen = t if schedule == "linear" else (1 + math.sin(math.pi * (t - 0.5))) / 2
        size = torch.cat([w.detach().abs().flatten() for w in theta])
        end = threshold if threshold is not None else float(size.sort().values[-47])
        d = risen * end
        live.append(int((size > d).sum()))
        assert run.net.edges == live[-1]
        for i, w in enumerate(theta):
            torch.testing.assert_close(run.net.graph.dense(i), w.detach(), rtol=1e-6, atol=1e-7)
    assert live[0] > live[5] > live[-1] and (threshold is not None or live[-1] == 46)
    computed = torch.sign(theta[0]) * torch.relu(theta[0].abs() - d)
    torch.testing.assert_close(run.model.first.weight, computed, rtol=1e-5, atol=1e-6)


def test_stdss_filopodia_become_spines_again():
    """Chen et al.: the transition goes both ways. 23 of the synapses that fell silent came
    back for a while or for good."""
    run, silent, returned = Run(rewire.STDS(until=None), 0.1, steps=60), set(), set()
    for step in range(1, 61):
        run.step(step)
        gain = run.net.graph["gain"]
        returned |= silent & set((gain != 0).nonzero().flatten().tolist())
        silent |= set((gain == 0).nonzero().flatten().tolist())
    assert run.net.edges == 23 and len(returned) == 23


def test_stds_holds_its_threshold_where_fewer_than_the_density_would_be_left():
    run = Run(rewire.STDS(threshold=5.0), 0.1)
    for step in range(1, 13):
        run.step(step)
        assert run.net.edges >= 23
    assert run.net.edges == 23
    with pytest.raises(ValueError, match="STDS cannot live in the sparse world: silent edges"):
        Run(rewire.STDS(), 0.1, "sparse")


# -- Early-Time tickets ---------------------------------------------------------------------------


def early_time(**fields):
    """Eight steps: a tick each second, the number of time steps after the fourth, a ticket by the
    eighth."""
    chosen = {"candidates": (1, 2, 3), "when": rewire.every(2), "until": 8, "history": 9}
    rule, probe = rewire.EarlyTime(**{**chosen, **fields}), rewire.Probe([0, 50], loss)
    return Run(rule, 0.3, steps=12, probe=probe)


def plain_step(run, step):
    run.optimizer.zero_grad()
    loss(run.model, step).backward()
    run.net.step()


def divergences(model):
    """KL of the softmax of the mean outputs at 4 steps and at 1, 2 and 3, over both batches."""
    twin = net_of()
    twin.load_state_dict(model.state_dict())
    x = torch.cat([batch(0)[0], batch(50)[0]])
    logits = []
    for t in (4, 1, 2, 3):
        twin.timesteps = t
        logits.append(twin(x).detach())
    whole = logits[0].softmax(1)
    return [float((whole * (whole.log() - z.log_softmax(1))).sum(1).mean()) for z in logits[1:]]


@pytest.mark.parametrize("threshold", [0.6, 1e-3, 2.0])
def test_early_time_searches_with_the_first_number_of_steps_that_is_near_the_whole(threshold):
    """Kim et al., as in their code: the first of the candidates whose divergence is below the
    threshold's part of the largest; the ticket trains with all time steps."""
    run, expected = early_time(threshold=threshold), 4
    for step in range(1, 13):
        assert run.model.timesteps == (expected if 4 < step <= 8 else 4)
        plain_step(run, step)
        if step == 4:
            apart = divergences(run.model)
            near = [t for t, d in zip((1, 2, 3), apart, strict=True) if d / max(apart) < threshold]
            expected = near[0] if near else 4
            signals = run.net.world.signals(run.net.graph)
            measured = signals.pair("time_divergence", torch.tensor([1, 2, 3]))
            torch.testing.assert_close(measured.tolist(), apart, rtol=1e-9, atol=1e-12)
    assert {0.6: (2, 3), 1e-3: (4,), 2.0: (1,)}[threshold].count(expected) == 1
    assert run.net.edges == round(0.3 * sum(SIZES)) and run.model.timesteps == 4


def test_an_early_time_search_goes_on_where_it_was_saved_and_ends_when_detached():
    run, again = early_time(threshold=2.0), early_time(threshold=2.0)
    for step in range(1, 6):
        plain_step(run, step)
    again.model.load_state_dict(run.model.state_dict())
    again.net.load_state_dict(run.net.state_dict())
    assert run.model.timesteps == again.model.timesteps == 1
    for step in range(6, 13):
        plain_step(run, step), plain_step(again, step)
        assert run.model.timesteps == again.model.timesteps == (1 if step < 8 else 4)
    assert torch.equal(run.net.graph["weight"], again.net.graph["weight"])
    left = early_time(threshold=2.0)
    for step in range(1, 6):
        plain_step(left, step)
    left.net.detach()
    assert left.model.timesteps == 4


def test_early_time_refuses_a_model_without_time_and_the_sparse_world():
    probe = rewire.Probe([torch.ones(2, 3)], lambda model, x: model(x).sum())
    layer = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    attach = {"density": 0.5, "steps": 400, "probe": probe}
    with pytest.raises(ValueError, match="attribute 'timesteps' says: it is missing"):
        rewire.attach(layer, optimizer, rewire.EarlyTime(), **attach)
    layer.timesteps = 4
    with pytest.raises(ValueError, match=r"it is 4, the candidates are \[2, 3, 4\]"):
        rewire.attach(layer, optimizer, rewire.EarlyTime(), **attach)
    with pytest.raises(ValueError, match="EarlyTime needs the signal 'time_divergence'.*masked"):
        rewire.attach(layer, optimizer, rewire.EarlyTime(), world="sparse", **attach)
    with pytest.raises(ValueError, match="EarlyTime.candidates: one number of time steps or more"):
        rewire.EarlyTime(candidates=(3, 2))
