"""What two real processes run under Lightning's DDP strategy."""

import os
import sys
from pathlib import Path

import torch
from torch import nn

import rewire

sys.path.append(str(Path(__file__).parents[1] / "worlds"))
import several_ranks as several  # noqa: E402

QUIET = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "accelerator": "cpu",
    "use_distributed_sampler": False,
}


def classifier(rank, ranks, world, *, early):
    """early: attached in setup(), before there is a wrapper."""
    import lightning

    class Classifier(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = several.model_of()
            self.session = None

        def setup(self, stage):
            if early:
                self.optimizer = several.sgd(self)
                self.session = rewire.attach(
                    self, self.optimizer, several.RULES["RigL"], density=0.3, seed=1, world=world
                )

        def training_step(self, batch, number):
            return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self):
            return self.optimizer if early else several.sgd(self)

        def train_dataloader(self):
            parts = [several.parts(step, rank, ranks) for step in range(several.STEPS)]
            return torch.utils.data.DataLoader(parts, batch_size=None)

    return Classifier()


def fitted(rank, ranks, world, *, early):
    """Keys and weights after the training, or the words of a refusal."""
    import lightning
    from lightning.pytorch.strategies import DDPStrategy

    from rewire.integrations.lightning import Rewiring

    callback = Rewiring(several.RULES["RigL"], density=0.3, seed=1, world=world)
    many = {"devices": 2, "strategy": DDPStrategy(process_group_backend="gloo")}
    trainer = lightning.Trainer(
        max_steps=several.STEPS, callbacks=[] if early else [callback],
        **(many if ranks > 1 else {"devices": 1}), **QUIET,
    )  # fmt: skip
    module = classifier(rank, ranks, world, early=early)
    try:
        trainer.fit(module)
    except RuntimeError as error:
        return str(error)
    graph = (module.session or callback.session).graph
    return graph.keys, graph["weight"]


WAYS = {
    ("masked", "callback"): {"world": "masked", "early": False},
    ("sparse", "callback"): {"world": "sparse", "early": False},
    ("masked", "setup"): {"world": "masked", "early": True},
    ("sparse", "setup"): {"world": "sparse", "early": True},
}


def fitted_every_way(rank, folder):
    """All of them, as torchrun would start the processes; the group is there."""
    os.environ.update(
        RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE="2", GROUP_RANK="0",
        MASTER_ADDR="127.0.0.1", MASTER_PORT="29500", TORCHELASTIC_RUN_ID="ranks",
    )  # fmt: skip
    os.chdir(folder)
    return {way: fitted(rank, 2, **options) for way, options in WAYS.items()}
