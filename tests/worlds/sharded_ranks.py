"""What two real processes under gloo run on models that ``fully_shard`` spread over them."""

import copy
import pickle
import warnings

import several_ranks as several
import torch
from several_ranks import RULES, STEPS, density_of, error_of, loss_of, parts, probe_of
from torch import nn

import rewire
from rewire.when import every

# Of weights with rows for two processes that are not as many for each: 5 = 3 + 2.
CLASSES, HIDDEN = 5, 28


def model_of(seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(20, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CLASSES)).double()
    model.timesteps = 5  # for EarlyTime; the model does not read it
    return model


def by_layer(model, **options):
    from torch.distributed.fsdp import fully_shard

    for module in [m for m in model.modules() if not list(m.children()) and list(m.parameters())]:
        fully_shard(module, **options)
    return fully_shard(model, **options)


def at_once(model, **options):
    from torch.distributed.fsdp import fully_shard

    return fully_shard(model, **options)


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def outcome(net, digests=()):
    """What is compared: keys, weights, digests, and all of the model as one process has it."""
    dense = net.to_dense()
    state = {name: t.detach().clone() for name, t in dense.state_dict().items()}
    return net.graph.keys, net.graph["weight"], list(digests), state


def train(
    rule,
    rank=0,
    ranks=1,
    *,
    model=model_of,
    optimizer=sgd,
    shard=by_layer,
    loss=loss_of,
    data=parts,
    density=0.3,
    steps=STEPS,
    each=None,
    **options,
):
    """Steps on this rank's part of each batch; each(net, model, optimizer, step): in the place of
    the optimizer's step."""
    trained = model()
    if ranks > 1:
        shard(trained)
    steps_by, digests = optimizer(trained), []
    options.setdefault("probe", probe_of(rank, ranks))
    net = rewire.attach(trained, steps_by, rule, density=density, steps=steps, seed=1, **options)
    for step in range(steps):
        steps_by.zero_grad()
        loss(trained, data(step, rank, ranks)).backward()
        (_step if each is None else each)(net, trained, steps_by, step)
        digests.append(net.graph.digest())
    net.check()
    return net, digests


def _step(net, model, optimizer, step):
    optimizer.step()


def run_rule(name, rank=0, ranks=1):
    rule, density = RULES[name], density_of(name)
    if name not in several.GOING_BACK:
        return outcome(*train(rule, rank, ranks, density=density))
    model, digests = model_of(), []
    if ranks > 1:
        by_layer(model)
    net = rewire.train(
        model, sgd(model), rule, loss=loss_of, data=lambda step: parts(step, rank, ranks),
        steps=STEPS, density=density, seed=1,
        on_step=lambda net, value: digests.append(net.graph.digest()),
    )  # fmt: skip
    return outcome(net, digests)


# -- ways to train it: each a training of (rank, ranks) -------------------------------------------

OPTIMIZERS = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1),
    "SGD, one by one": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, foreach=False),
    "SGD, Nesterov": lambda p: torch.optim.SGD(
        p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01
    ),
    "Adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "Adam, fused": lambda p: torch.optim.Adam(p, lr=0.01, fused=True),
    "Adam, AMSGrad": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
    "NAdam": lambda p: torch.optim.NAdam(p, lr=0.01),
    "RAdam": lambda p: torch.optim.RAdam(p, lr=0.01),
    "Adamax": lambda p: torch.optim.Adamax(p, lr=0.01),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=0.01, centered=True, momentum=0.5),
    "Adadelta": lambda p: torch.optim.Adadelta(p, lr=1.0),
    "ASGD": lambda p: torch.optim.ASGD(p, lr=0.1),
    "Adagrad": lambda p: torch.optim.Adagrad(p, lr=0.1, initial_accumulator_value=0.1),
}


def by_optimizer(name):
    def run(rank, ranks):
        return outcome(
            *train(RULES["RigL"], rank, ranks, optimizer=lambda m: OPTIMIZERS[name](m.parameters()))
        )

    return run


class Images(nn.Module):
    """A convolution of three filters, and a layer without a bias of five rows."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(1, 3, 3, padding=1)
        self.out = nn.Linear(60, CLASSES, bias=False)
        self.double()

    def forward(self, x):
        return self.out(self.conv(x.view(-1, 1, 4, 5)).relu().flatten(1))


class Tied(nn.Module):
    """One weight that two layers share."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.other = nn.Linear(20, 20), nn.Linear(20, 20)
        self.other.weight = self.inner.weight
        self.out = nn.Linear(20, CLASSES)
        self.double()

    def forward(self, x):
        return self.out(self.other(self.inner(x).relu()).relu())


class Words(nn.Module):
    """A table of seven rows, an encoder's layer and a recurrent one."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(7, 8)
        self.encoder = nn.TransformerEncoderLayer(8, 2, 10, dropout=0.0, batch_first=True)
        self.recurrent = nn.GRU(8, 3, batch_first=True)
        self.out = nn.Linear(3, CLASSES)
        self.double()

    def forward(self, x):
        words = (x[:, :6].abs() * 3).long().clamp(max=6)
        return self.out(self.recurrent(self.encoder(self.table(words)))[0][:, -1])


def of_model(kind, rule="RigL", **options):
    return lambda rank, ranks: outcome(*train(RULES[rule], rank, ranks, model=kind, **options))


def kept_whole(rank, ranks):
    """Whole weights stay between the passes."""
    return outcome(
        *train(RULES["RigL"], rank, ranks, shard=lambda m: by_layer(m, reshard_after_forward=False))
    )


def looked_at(rank, ranks):
    """Evaluations between steps, after which torch leaves the root's weights whole."""

    def each(net, model, optimizer, step):
        optimizer.step()
        with torch.no_grad():
            model(parts(step, rank, ranks)[0])
        net.check()
        assert net.enforce() == 0

    return outcome(*train(RULES["SET"], rank, ranks, shard=at_once, each=each))


def accumulated(*, sync):
    def run(rank, ranks):
        """Two passes for each step; sync: gradients are averaged in both."""
        model = model_of()
        if ranks > 1:
            by_layer(model)
        optimizer, digests = sgd(model), []
        net = rewire.attach(model, optimizer, RULES["RigL"], density=0.3, steps=STEPS, seed=1)
        for step in range(STEPS):
            optimizer.zero_grad()
            for half in (2 * step, 2 * step + 1):
                if ranks > 1:
                    model.set_requires_gradient_sync(sync or half % 2 == 1)
                (loss_of(model, parts(half, rank, ranks)) / 2).backward()
            optimizer.step()
            digests.append(net.graph.digest())
        return outcome(net, digests)

    return run


def thrown_away(*, in_place):
    """A pass is thrown away before each step. in_place: gradients are set to 0, not dropped."""

    def run(rank, ranks):
        model = model_of()
        if ranks > 1:
            by_layer(model)
        optimizer, digests = sgd(model), []
        net = rewire.attach(model, optimizer, RULES["RigL"], density=0.3, steps=STEPS, seed=1)
        for step in range(STEPS):
            for batch in (step + 50, step):
                optimizer.zero_grad(set_to_none=not in_place)
                loss_of(model, parts(batch, rank, ranks)).backward()
            optimizer.step()
            digests.append(net.graph.digest())
        return outcome(net, digests)

    return run


def clipped(*, own):
    """By torch's function or the session's; the norms are compared too."""

    def run(rank, ranks):
        norms = []

        def each(net, model, optimizer, step):
            norm = (
                net.clip(0.05) if own
                else torch.nn.utils.clip_grad_norm_(model.parameters(), 0.05)
            )  # fmt: skip
            norms.append(float(getattr(norm, "full_tensor", lambda: norm)()))
            optimizer.step()

        keys, weight, digests, state = outcome(*train(RULES["RigL"], rank, ranks, each=each))
        return keys, weight, digests, {**state, "norms": torch.tensor(norms)}

    return run


def by_session(rank, ranks):
    return outcome(
        *train(RULES["RigL"], rank, ranks, each=lambda net, model, optimizer, step: net.step())
    )


def by_closure(rank, ranks):
    def each(net, model, optimizer, step):
        def closure():
            optimizer.zero_grad()
            loss = loss_of(model, parts(step, rank, ranks))
            loss.backward()
            return loss

        optimizer.step(closure)

    return outcome(*train(RULES["RigL"], rank, ranks, each=each))


def scaled(*, own):
    """By a GradScaler, which finds an overflow in the last row at the third step."""

    def run(rank, ranks):
        scaler, skipped = torch.amp.GradScaler("cpu", init_scale=8.0), []
        scaled = lambda model, part: scaler.scale(loss_of(model, part))  # noqa: E731

        def each(net, model, optimizer, step):
            if step == 2 and rank == ranks - 1:
                gradient = model[0].weight.grad
                getattr(gradient, "to_local", lambda: gradient)()[-1, -1] = float("inf")
            if own:
                net.step(scaler=scaler)
            else:
                scaler.step(optimizer)
                scaler.update()
            skipped.append(scaler.get_scale())

        keys, weight, digests, state = outcome(
            *train(RULES["RigL"], rank, ranks, each=each, loss=scaled)
        )
        return keys, weight, digests, {**state, "scales": torch.tensor(skipped)}

    return run


def half_precision(rank, ranks):
    """Passes in bfloat16, whose sums over the ranks differ from those of one process: the ranks
    are one network all the same."""
    from torch.distributed.fsdp import MixedPrecisionPolicy

    def data(step, rank, ranks):
        x, y = parts(step, rank, ranks)
        return x.float(), y

    def shard(model):
        by_layer(model, mp_policy=MixedPrecisionPolicy(param_dtype=torch.bfloat16))

    return outcome(
        *train(RULES["RigL"], rank, ranks, model=lambda: model_of().float(), shard=shard, data=data,
               probe=None)
    )  # fmt: skip


def bfloat16_throughout(rank, ranks):
    """Weights in bfloat16: the ranks are one network, as inexact as their type."""

    def data(step, rank, ranks):
        x, y = parts(step, rank, ranks)
        return x.bfloat16(), y

    return outcome(
        *train(
            RULES["RigL"], rank, ranks, model=lambda: model_of().bfloat16(), data=data, probe=None
        )
    )


def in_pair(rank, ranks):
    pair = [rewire.GMP(to=0.15, when=every(2)), rewire.SET(fraction=0.3, when=every(3))]
    return outcome(*train(pair, rank, ranks, density=None))


def limited(rank, ranks):
    limits = [rewire.limits.FanIn(most=24), rewire.limits.Dale(excitatory=0.5)]
    return outcome(*train(RULES["SET"], rank, ranks, limits=limits))


def largest(rank, ranks):
    return outcome(*train(RULES["SET"], rank, ranks, initial="magnitude"))


def compiled(rank, ranks):
    def shard(model):
        by_layer(model)
        model.compile(backend="eager")

    return outcome(*train(RULES["RigL"], rank, ranks, shard=shard))


def checkpointed(rank, ranks):
    """Passes that are run again in the backward pass."""
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    def model():
        plain = model_of()
        plain[0] = checkpoint_wrapper(plain[0])
        return plain

    return outcome(*train(RULES["HomeostaticGrowth"], rank, ranks, model=model))


def of_a_whole_state(rank, ranks):
    """torch puts a dense state into the shards, which is projected."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

    def each(net, model, optimizer, step):
        optimizer.step()
        if step == 2:
            options = StateDictOptions(full_state_dict=True)
            set_model_state_dict(model, dict(model_of(3).state_dict()), options=options)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return outcome(*train(RULES["SET"], rank, ranks, each=each))


def grouped(rank, ranks):
    """Two layers in one group of fully_shard's."""
    from torch.distributed.fsdp import fully_shard

    def shard(model):
        fully_shard([model[0], model[2]])
        fully_shard(model)

    return outcome(*train(RULES["RigL"], rank, ranks, shard=shard))


def averaged(rank, ranks):
    """An average over the steps is compared in the place of the model."""
    model = model_of()
    if ranks > 1:
        by_layer(model)
    optimizer = sgd(model)
    net = rewire.attach(model, optimizer, RULES["RigL"], density=0.3, steps=STEPS, seed=1)
    average = net.averaged(decay=0.8, each_step=True)
    for step in range(STEPS):
        optimizer.zero_grad()
        loss_of(model, parts(step, rank, ranks)).backward()
        optimizer.step()
    state = {name: t.detach().clone() for name, t in average.model.state_dict().items()}
    return net.graph.keys, net.graph["weight"], [], state


WAYS = {
    **{f"optimizer {name}": by_optimizer(name) for name in OPTIMIZERS},
    "images": of_model(Images),
    "tied": of_model(Tied, shard=at_once),
    "words": of_model(Words, embeddings=True, shard=at_once),
    "at once": of_model(model_of, shard=at_once),
    "kept whole": kept_whole,
    "looked at": looked_at,
    "accumulated": accumulated(sync=True),
    "accumulated, averaged once": accumulated(sync=False),
    "zeroed": thrown_away(in_place=True),
    "dropped": thrown_away(in_place=False),
    "clipped": clipped(own=False),
    "clipped by the session": clipped(own=True),
    "by the session": by_session,
    "closure": by_closure,
    "scaler": scaled(own=False),
    "scaler of the session": scaled(own=True),
    "bfloat16": half_precision,
    "bfloat16 throughout": bfloat16_throughout,
    "pair": in_pair,
    "limits": limited,
    "largest": largest,
    "compiled": compiled,
    "checkpointed": checkpointed,
    "of a whole state": of_a_whole_state,
    "grouped": grouped,
    "averaged": averaged,
}


# -- saving ---------------------------------------------------------------------------------------


def half(rank, ranks, name, path, *, first):
    """The first four steps and their file, or the other four of a file."""
    model = model_of() if first else model_of(7)
    if ranks > 1:
        by_layer(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    probe, digests = probe_of(rank, ranks), []
    if first:
        net = rewire.attach(
            model, optimizer, RULES[name], density=density_of(name), steps=STEPS, seed=1,
            probe=probe,
        )  # fmt: skip
    else:
        net = rewire.load(path, model, optimizer, probe=probe)
    for step in range(STEPS // 2) if first else range(STEPS // 2, STEPS):
        optimizer.zero_grad()
        loss_of(model, parts(step, rank, ranks)).backward()
        optimizer.step()
        digests.append(net.graph.digest())
    if first:
        rewire.save(net, path, extra={"epoch": 3})  # all ranks: the first one writes
    return outcome(net, digests)


SAVED = ("RigL", "SRSTE", "SoftThreshold")


def saved(rank, folder):
    """Files of two ranks loaded by two, and files of one process loaded by two."""
    out = {}
    for name in SAVED:
        half(rank, 2, name, f"{folder}/of two {name}", first=True)
        out[name, "two"] = half(rank, 2, name, f"{folder}/of two {name}", first=False)
        out[name, "one"] = half(rank, 2, name, f"{folder}/of one {name}", first=False)
    return out


def crossed(rank, folder):
    """A file of the sparse world, loaded by sharded ranks."""
    model = model_of(7)
    by_layer(model)
    net = rewire.load(
        f"{folder}/of sparse", model, torch.optim.Adam(model.parameters(), lr=0.01), world="masked"
    )
    return outcome(net, steps_of(net, model, rank, 2, range(STEPS // 2, STEPS)))


def steps_of(net, model, rank, ranks, span):
    digests = []
    for step in span:
        net.optimizer.zero_grad()
        loss_of(model, parts(step, rank, ranks)).backward()
        net.optimizer.step()
        digests.append(net.graph.digest())
    return digests


def of_sparse(path, *, world=None):
    """One process: the first half in the sparse world, or the second of a file of it."""
    model = model_of(0 if world is None else 7)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    if world is None:
        net = rewire.attach(
            model, optimizer, RULES["RigL"], density=0.3, steps=STEPS, seed=1, world="sparse"
        )
        steps_of(net, model, 0, 1, range(STEPS // 2))
        rewire.save(net, path)
        return None
    net = rewire.load(path, model, optimizer, world=world)
    digests = steps_of(net, model, 0, 1, range(STEPS // 2, STEPS))
    return net.graph.keys, net.graph["weight"], digests


def chosen(rank):
    """What world is chosen, and a group that is the model's."""
    world = torch.distributed.group.WORLD
    out = []
    for options in ({"world": "auto"}, {"group": world}):
        model = by_layer(model_of())
        net = rewire.attach(model, sgd(model), RULES["SET"], density=0.3, **options)
        out.append((net.world.name, net.world.sharded))
    return out


def gone_back(rank, folder):
    """net.load in the middle: equal to the steps that were made before."""
    model = model_of()
    by_layer(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    net = rewire.attach(model, optimizer, RULES["RigL"], density=0.3, steps=STEPS, seed=1)

    def steps():
        for step in range(3, 6):
            optimizer.zero_grad()
            loss_of(model, parts(step, rank, 2)).backward()
            optimizer.step()
        return net.graph["weight"], net.graph.digest()

    rewire.save(net, f"{folder}/early")
    first = steps()
    net.load(f"{folder}/early")
    return first, steps()


# -- what others write, and what is refused -------------------------------------------------------


def written(rank):
    """Numbers at absent synapses of the second rank's rows: what is said, what is left of them."""
    out = {}
    model = model_of()
    by_layer(model)
    optimizer = sgd(model)
    net = rewire.attach(model, optimizer, RULES["SET"], density=0.3, steps=STEPS, seed=1)

    def step(number):
        optimizer.zero_grad()
        loss_of(model, parts(number, rank, 2)).backward()
        optimizer.step()

    def spoil(value):
        if rank == 1:
            rows = model[0].weight.to_local().detach()
            rows[net.world.masks[0] == 0] = value

    step(0)
    spoil(float("nan"))
    out["check"] = error_of(net.check)
    out["enforce"] = net.enforce(), net.enforce()
    out["clean"] = error_of(net.check)
    optimizer.zero_grad()
    loss_of(model, parts(1, rank, 2)).backward()
    if rank == 1:
        gradient = model[0].weight.grad.to_local()
        gradient[net.world.masks[0] == 0] = float("inf")
    optimizer.step()
    out["after"] = error_of(net.check), bool(net.graph["weight"].isfinite().all())
    spoil(3.0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        step(2)
    out["warned"] = [str(w.message) for w in caught]
    out["projected"] = error_of(net.check)
    state = model.state_dict()
    model.load_state_dict(state)
    step(3)
    out["loaded"] = error_of(net.check)
    model.load_state_dict(state)
    for number in range(4, 6):
        step_error = error_of(lambda number=number: step(number))
    out["other edges"] = step_error
    return out


def edges_that_are_nan(rank):
    """The error where one rank's edge is NaN."""
    model = model_of()
    by_layer(model)
    net = rewire.attach(model, sgd(model), RULES["SET"], density=0.3, steps=STEPS, seed=1)
    if rank == 0:
        rows = model[0].weight.to_local().detach()
        rows[net.world.masks[0] != 0] = float("nan")
    return error_of(net.check)


class Own(torch.optim.SGD):
    """Of a class that nobody knows."""


def refused(rank):
    """The errors of what cannot be, before the first step."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import Shard

    def attach(model, optimizer=sgd, **options):
        return rewire.attach(model, optimizer(model), RULES["SET"], density=0.3, **options)

    def of(shard, **options):
        def run():
            model = model_of()
            shard(model)
            attach(model, **options)

        return error_of(run)

    net = attach(by_layer(model_of()))
    bare = model_of()
    fully_shard(bare[0])
    out = {
        "Rprop": of(by_layer, optimizer=lambda m: torch.optim.Rprop(m.parameters(), lr=0.1)),
        "sparse": of(by_layer, world="sparse"),
        "a part": error_of(lambda: attach(bare)),
        "a bias": of(lambda m: fully_shard(m, ignored_params={m[0].bias})),
        "columns": of(lambda m: fully_shard(m[0], shard_placement_fn=lambda p: Shard(p.dim() - 1))),
        "hybrid": of(
            lambda m: at_once(m, mesh=init_device_mesh("cpu", (1, 2), mesh_dim_names=("r", "s")))
        ),
        "Own": of(by_layer, optimizer=lambda m: Own(m.parameters(), lr=0.1)),
        "Muon": of(
            by_layer, optimizer=lambda m: torch.optim.Muon([m[0].weight, m[2].weight], lr=0.1)
        ),
        "group": of(
            by_layer, group=torch.distributed.new_group([rank], use_local_synchronization=True)
        ),
        "copy": error_of(lambda: copy.deepcopy(net)),
        "pickle": error_of(lambda: pickle.dumps(net)),
        "adopt": error_of(lambda: net.adopt(net.world.model.state_dict())),
    }
    return out


def runs(rank, rules, ways, ranks=2):
    """What these rules and ways to train come to."""
    out = {}
    for name in rules:
        out["rule", name] = _tried(lambda name=name: run_rule(name, rank, ranks))
    for name in ways:
        out["way", name] = _tried(lambda name=name: WAYS[name](rank, ranks))
    return out


def _tried(run):
    try:
        return run()
    except (ValueError, RuntimeError, TypeError) as error:
        return f"{type(error).__name__}: {error}"


def everything(rank, folder, rules, ways):
    """What two ranks are to show, in one pair of processes."""
    return {
        "runs": runs(rank, rules, ways),
        "saved": saved(rank, folder),
        "back": gone_back(rank, folder),
        "crossed": crossed(rank, folder),
        "chosen": chosen(rank),
        "written": written(rank),
        "nan": edges_that_are_nan(rank),
        "refused": refused(rank),
    }
