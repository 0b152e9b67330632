"""What two real processes under gloo run, and how a test starts them.

The functions are called by name in processes of their own, started from a server that has torch
imported: the second pair costs little.
"""

import copy
import multiprocessing
import os
import pickle
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path

import torch
from torch import nn

import rewire
from rewire.torch_loop import masked_only
from rewire.when import every, linear

STEPS, ROWS = 8, 32
WORLDS = ("masked", "sparse")
RULES = {
    "Dense": rewire.Dense(),
    "Static": rewire.Static(),
    "RandomRewiring": rewire.RandomRewiring(fraction=0.3, when=every(2)),
    "IMP": rewire.IMP(fraction=0.3, rounds=2, rewind=3),
    "DeepR": rewire.DeepR(),
    "SoftDeepR": rewire.SoftDeepR(noise=0.3, l1=0.02),
    "StructuralPlasticity": rewire.StructuralPlasticity(attempts=0.5, p_form=0.9, p_elim_dep=0.9),
    "SET": rewire.SET(fraction=0.3, when=every(2)),
    "RigL": rewire.RigL(fraction=0.3, when=every(2)),
    "SRigL": rewire.SRigL(fraction=0.4, min_salient=0.8, when=every(3)),
    "CHT": rewire.CHT(fraction=0.4, when=every(3)),
    "CHTs": rewire.CHTs(fraction=0.4, when=every(3)),
    "CHTss": rewire.CHTss(to=0.1, fraction=0.4, when=every(3)),
    "DSTEE": rewire.DSTEE(fraction=0.3, c=0.1, when=every(2)),
    "Chase": rewire.Chase(channels=0.3, fraction=0.3, when=every(2)),
    "DynaDiag": rewire.DynaDiag(to=0.3, until=0.5, rate=0.1),
    "GroupRigL": rewire.GroupRigL(fraction=0.5, when=every(3)),
    "GMP": rewire.GMP(to=0.1, when=every(2)),
    "L1Shrinkage": rewire.L1Shrinkage(to=0.1, l1=0.05),
    "GraNet": rewire.GraNet(to=0.1, when=every(3)),
    "DSR": rewire.DSR(threshold=0.05, when=every(3)),
    "SNFS": rewire.SNFS(rewires=every(2)),
    "MEST": rewire.MEST(fraction=0.4, when=every(3)),
    "OBD": rewire.OBD(to=0.1, when=every(3)),
    "DiagonalFisher": rewire.DiagonalFisher(to=0.1, when=every(3)),
    "WoodFisher": rewire.WoodFisher(to=0.1, block=20, when=every(3)),
    "EarlyBird": rewire.EarlyBird(to=0.1, distance=0.3, history=3, until=1.0, when=every(1)),
    "Magnitude": rewire.Magnitude(to=0.3),
    "SNIP": rewire.SNIP(to=0.3, rounds=2),
    "FORCE": rewire.FORCE(to=0.3, rounds=3),
    "ProsPr": rewire.ProsPr(to=0.3),
    "GraSP": rewire.GraSP(to=0.3),
    "SynFlow": rewire.SynFlow(to=0.3, rounds=5),
    "PHEW": rewire.PHEW(to=0.3),
    "NM": rewire.NM(undivided="dense"),
    "Wanda": rewire.Wanda(to=0.3, layers=rewire.OWL(outlier=1.5)),
    "SparseGPT": rewire.SparseGPT(to=0.3, block=8),
    "UnitPruning": rewire.UnitPruning(to=0.3, score="input_norm", times_weight=True),
    "EdgePopup": rewire.EdgePopup(to=0.3),
    "Supermask": rewire.Supermask(to=0.3),
    "STR": rewire.STR(to=0.3, initial=-3.0, decay=0.5),
    "SoftThreshold": rewire.SoftThreshold(to=0.1),
    "MovementPruning": rewire.MovementPruning(to=0.1),
    "ContinuousSparsification": rewire.ContinuousSparsification(to=0.3),
    "Powerpropagation": rewire.Powerpropagation(to=0.3),
    "TopKAST": rewire.TopKAST(to=0.3),
    "SRSTE": rewire.SRSTE(n=1, m=4, decay=0.1, undivided="dense"),
    "ACDC": rewire.ACDC(to=0.3, when=every(2)),
    "GradR": rewire.GradR(to=0.3, alpha=0.1),
    "HomeostaticGrowth": rewire.HomeostaticGrowth(
        epsilon=1.5, eta=0.1, growth=0.4, tau=5.0, when=every(2)
    ),
    "SynapticSampling": rewire.SynapticSampling(prior=0.05, mu=-0.8),
    "STDS": rewire.STDS(to=0.3),
    "NDSNN": rewire.NDSNN(to=0.1, when=every(3)),
    "ESLSNN": rewire.ESLSNN(when=every(2)),
    "EarlyTime": rewire.EarlyTime(to=0.1, distance=0.3, history=3, until=1.0, when=every(1)),
    "STDPPruning": rewire.STDPPruning(threshold=0.1, to=0.1, when=every(3)),
    "SynOpsBudget": rewire.SynOpsBudget(most=linear(80.0, 40.0), when=every(2)),
    "AgeLimit": rewire.AgeLimit(most=3, when=every(2)),
    "DropGrow": rewire.DropGrow(drop="random", grow="growth", when=every(2)),
    "Combined": rewire.Combined(
        rules=(
            rewire.On(rule=rewire.RigL(when=every(2)), projections=("0*",)),
            rewire.On(rule=rewire.SET(when=every(3)), projections=("2*",)),
        )
    ),
}
GOING_BACK = {"IMP", "Supermask"}  # which need rewire.train, the loop that can
WHOLE = {"NM", "SRSTE"}  # whose density follows from n and m


def density_of(name):
    """The density to attach with: None where the rule brings its own."""
    rule = RULES[name]
    return None if hasattr(rule, "to") or name in WHOLE | {"Dense"} else 0.3


def model_of(seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 4)).double()
    model.timesteps = 5  # for EarlyTime; the model does not read it
    model.takes_spikes = ("0", "2")  # for SynOpsBudget: numbers that are not 0
    return model


def batch(step):
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(ROWS, 20, generator=generator, dtype=torch.float64)
    return x, torch.randint(4, (ROWS,), generator=generator)


def loss_of(model, part):
    return nn.functional.cross_entropy(model(part[0]), part[1])


def parts(step, rank, ranks):
    """This rank's share of a batch."""
    return tuple(t[rank::ranks] for t in batch(step))


def probe_of(rank, ranks):
    return rewire.Probe([parts(100, rank, ranks)], loss_of)


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def train(
    rule, rank=0, ranks=1, *, density=0.3, steps=STEPS, seed=1, wrap=None, wrap_one=None, **options
):
    """Steps on this rank's part of each batch: the session, and the digest after each."""
    model = model_of()
    optimizer, digests = sgd(model), []
    options.setdefault("probe", probe_of(rank, ranks))
    net = rewire.attach(model, optimizer, rule, density=density, steps=steps, seed=seed, **options)
    trained = (wrap or nn.parallel.DistributedDataParallel)(model) if ranks > 1 else model
    trained = trained if wrap_one is None else wrap_one(model)
    for step in range(steps):
        optimizer.zero_grad()
        loss_of(trained, parts(step, rank, ranks)).backward()
        optimizer.step()
        digests.append(net.graph.digest())
    return net, digests


def train_going_back(rule, rank=0, ranks=1, *, density=None, world="masked"):
    """The same in the loop that goes back."""
    model = model_of()
    optimizer, digests = sgd(model), []
    net = rewire.train(
        nn.parallel.DistributedDataParallel(model) if ranks > 1 else model,
        optimizer,
        rule,
        loss=loss_of,
        data=lambda step: parts(step, rank, ranks),
        steps=STEPS,
        density=density,
        seed=1,
        world=world,
        on_step=lambda net, value: digests.append(net.graph.digest()),
    )
    return net, digests


def run_rule(name, rank=0, ranks=1, **options):
    """A rule of the registry: (keys, weights, digests after each step)."""
    rule, density = RULES[name], density_of(name)
    if name in GOING_BACK:
        net, digests = train_going_back(rule, rank, ranks, density=density, **options)
    else:
        net, digests = train(rule, rank, ranks, density=density, **options)
    graph = net.graph
    return graph.keys, graph["weight"], digests


def error_of(call):
    try:
        call()
    except (ValueError, RuntimeError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def every_rule(rank, world, names):
    """Each by itself; what looks at data while it is attached knows its group at once."""
    group = torch.distributed.group.WORLD
    out = {}
    for name in names:
        options = {"world": world, **({} if name in GOING_BACK else {"group": group})}
        try:
            out[name] = run_rule(name, rank, 2, **options)
        except (ValueError, RuntimeError) as error:
            out[name] = f"{type(error).__name__}: {error}"
    return out


def _broken(rank, rule=None, model_seed=0, **options):
    """The error of a training of two ranks, each with its own of one thing."""

    def run():
        model = model_of(model_seed)
        optimizer = sgd(model)
        options.setdefault("density", 0.3)
        net = rewire.attach(model, optimizer, rule or RULES["SET"], **{"steps": 8, **options})
        trained = nn.parallel.DistributedDataParallel(model)
        loss_of(trained, parts(0, rank, 2)).backward()
        optimizer.step()
        return net

    return error_of(run)


def disagreements(rank):
    """What differs -> the error, where each rank has something else."""
    other = bool(rank)
    world = torch.distributed.group.WORLD
    fractions = rewire.SET(fraction=0.3 + 0.1 * rank, when=every(2))
    caps = [rewire.limits.FanIn(most=40 - rank)]
    silent = rewire.EdgePopup(to=0.3, weights="given")
    named = {"group": world}
    errors = {
        "seeds": _broken(rank, seed=rank, **named),
        "rules": _broken(rank, fractions, **named),
        "lengths": _broken(rank, steps=8 + rank),
        "limits": _broken(rank, limits=caps),
        "sparse weights": _broken(rank, exclude=["2*"] if other else []),
        "edges": _broken(rank, RULES["SNIP"], density=None, probe=probe_of(rank, 2)),
        "columns 'sign'": _broken(rank, RULES["DeepR"], model_seed=rank),
        "weights": _broken(rank, silent, density=None, model_seed=rank),
        "worlds": _broken(rank, world="sparse" if other else "masked", **named),
    }
    return errors


def drift(rank):
    """The error where a rule decides by something of its rank alone."""

    def by_rank(graph, signals):
        return graph["weight"].abs() * (1 if rank else -1)

    rule = rewire.DropGrow(drop=by_rank, grow="random", fraction=0.3, when=every(3))
    return error_of(lambda: train(rule, rank, 2))


def independent(rank):
    """The edges of a run of this process alone, each with its own number of steps."""
    net, digests = train(RULES["SET"], rank, 1, steps=STEPS + 4 * rank, seed=rank)
    return digests[-1]


class Branching(nn.Module):
    """Of two ranks the second does not compute with what is sparse."""

    def __init__(self, rank):
        super().__init__()
        self.rank, self.scale = rank, nn.Parameter(torch.ones(4, dtype=torch.float64))
        self.body = model_of()

    def forward(self, x):
        return (x[:, :4] if self.rank else self.body(x)) * self.scale


def sparse_under_ddp(rank):
    """Errors by name of what cannot be; gradients where one rank has no part; no bias."""
    wrap = nn.parallel.DistributedDataParallel
    model = nn.Sequential(model_of())
    rewire.attach(model[0], sgd(model), RULES["SET"], density=0.3, world="sparse")
    trained = wrap(model)
    out = {"inside": error_of(lambda: loss_of(trained, parts(0, rank, 2)))}
    model = wrap(model_of())
    out["first"] = error_of(
        lambda: rewire.attach(model, sgd(model), RULES["SET"], density=0.3, world="sparse")
    )
    model = Branching(rank)
    optimizer = sgd(model)
    net = rewire.attach(model, optimizer, RULES["SET"], density=0.3, world="sparse")
    loss_of(wrap(model, find_unused_parameters=True), parts(0, rank, 2)).backward()
    optimizer.step()
    out["unused"] = net.graph["weight"]
    torch.manual_seed(0)
    model = nn.Linear(20, 4, bias=False).double()
    optimizer = sgd(model)
    net = rewire.attach(model, optimizer, RULES["SET"], density=0.3, world="sparse")
    out["no bias"] = error_of(lambda: wrap(model))
    net.detach()
    out["detached"] = model._ddp_params_and_buffers_to_ignore
    return out


def wrapped_late(rank):
    """Two steps of each process alone, then the wrapper: the errors, and what came of it."""
    out = {}
    for world in ("masked", "sparse"):
        for same in (True, False):
            model = model_of()
            optimizer = sgd(model)
            net = rewire.attach(
                model, optimizer, RULES["RigL"], density=0.3, steps=STEPS, seed=1, world=world
            )
            for step in range(2):
                optimizer.zero_grad()
                loss_of(model, batch(step) if same else batch(step + 10 * rank)).backward()
                optimizer.step()

            def go_on(net=net, model=model, optimizer=optimizer):
                trained = nn.parallel.DistributedDataParallel(model)
                return steps_of(net, model, trained, optimizer, rank, 2, range(2, STEPS))

            out[world, same] = go_on() if same else error_of(go_on)
    return out


def wrapped_alone(rank):
    """A wrapper around one process, in both worlds."""
    out = {}
    for world in ("masked", "sparse"):
        net, digests = train(
            RULES["RigL"], 0, 1, world=world,
            wrap_one=nn.parallel.DistributedDataParallel,
        )  # fmt: skip
        out[world] = net.graph.keys, net.graph["weight"], digests
    return out


def compiled(rank):
    """Models that torch.compile runs inside and outside of the wrapper."""
    out = {}
    for how in ("inside", "outside"):

        def wrap(model, how=how):
            wrapper = nn.parallel.DistributedDataParallel
            if how == "inside":
                return wrapper(torch.compile(model, backend="eager", fullgraph=True))
            return torch.compile(wrapper(model), backend="eager")

        net, digests = train(RULES["RigL"], rank, 2, wrap=wrap)
        out[how] = net.graph.keys, net.graph["weight"], digests
    return out


def copies(rank):
    """What steps of a deep copy, of a pickle, and of a pickle with a named group come to."""
    out = {}
    for world in ("masked", "sparse"):
        for group in (None, torch.distributed.group.WORLD):
            model = model_of()
            optimizer = sgd(model)
            net = rewire.attach(
                model, optimizer, RULES["RigL"], density=0.3, steps=STEPS, seed=1, world=world,
                group=group,
            )  # fmt: skip
            trained = nn.parallel.DistributedDataParallel(model)
            steps_of(net, model, trained, optimizer, rank, 2, range(2))
            for how, other in (
                ("copied", copy.deepcopy(net)), ("pickled", pickle.loads(pickle.dumps(net)))
            ):  # fmt: skip

                def go_on(net=other):
                    model = net.world.model
                    return steps_of(net, model, model, net.optimizer, 0, 1, range(2, STEPS))

                if group is None:
                    out[world, how] = go_on()
                elif how == "pickled":
                    out[world, "named"] = error_of(go_on)
    return out


def uneven(rank):
    """The error of a training in which ranks may run out of data, by one that has."""
    from torch.distributed.algorithms.join import Join

    model = model_of()
    optimizer = sgd(model)
    rewire.attach(model, optimizer, RULES["SET"], density=0.3, steps=STEPS)
    trained = nn.parallel.DistributedDataParallel(model)

    def run():
        with Join([trained]):
            for step in range(2):
                optimizer.zero_grad()
                loss_of(trained, parts(step, rank, 2)).backward()
                optimizer.step()

    return error_of(run)


def optimizers(rank):
    """The errors of optimisers that keep processes apart."""
    from torch.distributed.algorithms.model_averaging.averagers import PeriodicModelAverager
    from torch.distributed.optim import PostLocalSGDOptimizer, ZeroRedundancyOptimizer

    model = model_of()
    averager = PeriodicModelAverager(period=4, warmup_steps=2)
    apart = {
        "ZeroRedundancyOptimizer": ZeroRedundancyOptimizer(
            model.parameters(), torch.optim.Adam, lr=0.1
        ),
        "PostLocalSGDOptimizer": PostLocalSGDOptimizer(sgd(model), averager),
    }
    return {
        name: error_of(lambda o=o: rewire.attach(model, o, RULES["RigL"], density=0.3))
        for name, o in apart.items()
    }


def sharded(rank):
    """The errors of both worlds where a weight is a DTensor."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    model, mesh = model_of(), init_device_mesh("cpu", (2,))
    whole = model[0].weight.detach()
    model[0].weight = nn.Parameter(distribute_tensor(whole, mesh, [Shard(0)]))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def attach(world):
        rewire.attach(model, optimizer, rewire.Static(), density=0.3, world=world)

    return {world: error_of(lambda world=world: attach(world)) for world in ("masked", "sparse")}


def sharded_late(rank):
    """The errors of models that are sharded after attach, and trained by another optimiser."""
    from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard

    def whole(model):
        return FullyShardedDataParallel(model, device_id=torch.device("cpu"))

    def run(shard, world="masked"):
        model = model_of()
        net = rewire.attach(model, sgd(model), RULES["SET"], density=0.3, world=world)
        trained = shard(model) or model
        optimizer = sgd(trained)
        loss_of(trained, parts(0, rank, 2)).backward()
        optimizer.step()
        return net

    def read(world):
        """Nobody runs the model any more."""
        model = model_of()
        net = rewire.attach(model, sgd(model), RULES["SET"], density=0.3, world=world)
        fully_shard(model)
        return net.graph

    return {
        "fully_shard": error_of(lambda: run(fully_shard)),
        "FSDP": error_of(lambda: run(whole)),
        **{f"{world}, read": error_of(lambda world=world: read(world)) for world in WORLDS},
        **{
            f"{world}, pass": error_of(lambda world=world: run(fully_shard, world=world))
            for world in WORLDS
        },
    }


def sharded_elsewhere(rank):
    """Weights that are left out are sharded; the others are averaged by hand."""
    from torch.distributed.fsdp import fully_shard

    out = {}
    for world in ("masked", "sparse"):
        model = model_of()
        fully_shard(model[0])
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, foreach=False)

        def attach(model=model, optimizer=optimizer, world=world, **options):
            return rewire.attach(
                model, optimizer, RULES["RigL"], density=0.3, steps=STEPS, seed=1, world=world,
                exclude=["0*"], **options,
            )  # fmt: skip

        out[world, "unnamed"] = error_of(attach)
        net = attach(group=torch.distributed.group.WORLD)
        for step in range(STEPS):
            optimizer.zero_grad()
            loss_of(model, parts(step, rank, 2)).backward()
            for p in model[2].parameters():
                torch.distributed.all_reduce(p.grad)
                p.grad /= 2
            optimizer.step()
        out[world, "named"] = net.graph.keys, net.graph["weight"]
    return out


# -- ways to train several processes --------------------------------------------------------------


def _ddp(**options):
    return lambda model: nn.parallel.DistributedDataParallel(model, **options)


def _compressed(hook, state=None):
    def wrap(model):
        trained = nn.parallel.DistributedDataParallel(model)
        trained.register_comm_hook(state, hook)
        return trained

    return wrap


def _low_rank(model):
    from torch.distributed.algorithms.ddp_comm_hooks import powerSGD_hook as power

    state = power.PowerSGDState(None, matrix_approximation_rank=2, start_powerSGD_iter=2)
    return _compressed(power.powerSGD_hook, state)(model)


def _half(model):
    from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import fp16_compress_hook

    return _compressed(fp16_compress_hook)(model)


def _averaged_by_hand(model):
    """No wrapper at all: the loop averages what backward leaves."""
    return model


WRAPS = {
    "static graph": _ddp(static_graph=True),
    "bucket views": _ddp(gradient_as_bucket_view=True),
    "unused parameters": _ddp(find_unused_parameters=True),
    "small buckets": _ddp(bucket_cap_mb=1e-4),
    "half": _half,
    "low rank": _low_rank,
    "by hand": _averaged_by_hand,
}


def accumulating(rule, rank=0, ranks=1, *, wrap=None, sync=False, zero=True, first=False, **how):
    """Two micro-batches a step, the passes of the first without a reduction unless ``sync``.

    zero: gradients are set to None between steps. first: wrapped before it is attached.
    """
    model = model_of()
    optimizer, digests = sgd(model), []
    wrap = wrap or nn.parallel.DistributedDataParallel
    trained = wrap(model) if first and ranks > 1 else model
    net = rewire.attach(trained, optimizer, rule, steps=STEPS, seed=1, **{"density": 0.3, **how})
    if not first and ranks > 1:
        trained = wrap(model)
    for step in range(STEPS):
        optimizer.zero_grad(set_to_none=zero)
        for half in (2 * step, 2 * step + 1):
            last = half % 2
            whole = last or sync or trained is model
            with nullcontext() if whole else trained.no_sync():
                (loss_of(trained, parts(half, rank, ranks)) / 2).backward()
        if ranks > 1 and trained is model:
            for p in model.parameters():
                torch.distributed.all_reduce(p.grad)
                p.grad /= ranks
        optimizer.step()
        digests.append(net.graph.digest())
    assert not net.world.check()
    graph = net.graph
    return graph.keys, graph["weight"], digests


def every_way(rank, world, rules):
    group = torch.distributed.group.WORLD
    out = {}
    for name in rules:
        for how, wrap in WRAPS.items():
            options = {"group": group} if how == "by hand" else {"sync": how == "static graph"}
            out[name, how] = _tried(rank, name, wrap=wrap, world=world, **options)
        out[name, "synchronised"] = _tried(rank, name, sync=True, world=world)
        out[name, "zeroed"] = _tried(
            rank, name, zero=False, wrap=_ddp(gradient_as_bucket_view=True), world=world
        )
        out[name, "wrapped first"] = _tried(rank, name, first=True, world=world)
    return out


def _tried(rank, name, **options):
    try:
        return accumulating(RULES[name], rank, 2, density=density_of(name), **options)
    except (RuntimeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"


# -- going on with another number of ranks -------------------------------------------------------

RESUMED = ("RigL", "HomeostaticGrowth", "SRSTE")


def steps_of(net, model, trained, optimizer, rank, ranks, span):
    digests = []
    for step in span:
        optimizer.zero_grad()
        loss_of(trained, parts(step, rank, ranks)).backward()
        optimizer.step()
        digests.append(net.graph.digest())
    return net.graph.keys, net.graph["weight"], digests


def first_half(rank, ranks, world, name, path):
    """Four steps, then the file that the first rank writes."""
    model = model_of()
    optimizer = sgd(model)
    net = rewire.attach(
        model, optimizer, RULES[name], density=density_of(name), steps=STEPS, seed=1, world=world,
        probe=probe_of(rank, ranks),
    )  # fmt: skip
    trained = nn.parallel.DistributedDataParallel(model) if ranks > 1 else model
    out = steps_of(net, model, trained, optimizer, rank, ranks, range(STEPS // 2))
    if rank == 0:
        rewire.save(net, path)
    return out


def second_half(rank, ranks, path, *, wrapped=False):
    """The other four, by a model that knows nothing of the first; wrapped: before it is loaded."""
    model = model_of(7)
    optimizer = sgd(model)
    wrap = nn.parallel.DistributedDataParallel
    trained = wrap(model) if wrapped else model
    net = rewire.load(path, trained, optimizer, probe=probe_of(rank, ranks))
    if ranks > 1 and not wrapped:
        trained = wrap(model)
    return steps_of(net, model, trained, optimizer, rank, ranks, range(STEPS // 2, STEPS))


def halves(rank, world, folder):
    """First halves of two ranks, and second halves of what one process began."""
    out = {}
    for name in RESUMED:
        if world == "sparse" and masked_only(RULES[name]):
            continue
        first_half(rank, 2, world, name, f"{folder}/of two {name}")
        torch.distributed.barrier()
        out[name] = second_half(rank, 2, f"{folder}/of one {name}")
        if world == "masked":
            out[name, "wrapped"] = second_half(rank, 2, f"{folder}/of one {name}", wrapped=True)
    return out


def example_of_the_page(rank, folder):
    """The edges and weights that the page's script comes to, which writes a file where it runs."""
    os.chdir(folder)
    page = Path(__file__).parents[2] / "docs" / "several-processes.md"
    script = page.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    names = {"__name__": "page"}
    exec(compile(script, str(page), "exec"), names)
    net = names["main"]()
    return net.graph.keys, net.graph["weight"], len(net.history)


CASES = (
    disagreements, drift, independent, sparse_under_ddp, sharded, uneven, optimizers, wrapped_late,
    compiled, copies, sharded_late, sharded_elsewhere,
)  # fmt: skip


def everything(rank, folder):
    """All that two ranks are to show, in one pair of processes: to start them is what costs."""
    worlds = ("masked", "sparse")
    return {
        "rules": {world: every_rule(rank, world, list(RULES)) for world in worlds},
        "ways": {world: every_way(rank, world, ["RigL"]) for world in worlds},
        "halves": {world: halves(rank, world, f"{folder}/{world}") for world in worlds},
        "page": example_of_the_page(rank, folder),
        "cases": {case.__name__: case(rank) for case in CASES},
    }


def one_rank(rank, folder):
    """What a group of one process is to show."""
    return {"page": example_of_the_page(rank, folder), "wrapped": wrapped_alone(rank)}


def _one_rank(rank, ranks, folder, run, arguments):
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", f"file://{folder}/group", rank=rank, world_size=ranks,
        timeout=timedelta(seconds=60),
    )  # fmt: skip
    try:
        torch.save(run(rank, *arguments), f"{folder}/{rank}.pt")
    finally:
        torch.distributed.destroy_process_group()


def on_ranks(folder, run, *arguments, ranks=2):
    """What ``run(rank, *arguments)`` returns in each of these processes."""
    multiprocessing.set_forkserver_preload(["torch._dynamo", "rewire.torch_loop"])
    torch.multiprocessing.start_processes(
        _one_rank, (ranks, str(folder), run, arguments), nprocs=ranks, start_method="forkserver"
    )
    return outcomes(folder, ranks)


def outcomes(folder, ranks=2):
    """What the processes returned that worked in a folder."""
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(ranks)]
