"""Translation: the token that follows each place of a translation, given its source."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, ClassVar

from ..metric import Metric
from .built_in import LARGEST, tally_classes
from .task import IGNORED, Examples, Targets, Task

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from rewire.session import Session
    from rewire.world import Trainable

PADDING, BEGIN, END = 0, 1, 2  # tokens that are no text
LONGER = 20  # tokens that a translation may have beyond its source; Multi30k's have up to 17


@dataclass(frozen=True, kw_only=True)
class Translation(Task):
    """The next token of a translation: cross-entropy, judged by perplexity or BLEU.

    An example is a tensor (2, T): the source, which ends with token 2; and the translation as the
    decoder reads it, which begins with token 1. Both are filled up with token 0. Its target at each
    place is the next token of the translation, token 2 at its end, -100 beyond.

    smoothing: of the labels in training (Szegedy et al. 2016, arXiv:1512.00567); losses and
    perplexities of evaluations are without it.

    BLEU is sacrebleu's, from 0 to 100, of the most likely token at each place, written one after
    the other. The test part has it at the end of a level whatever the metric; with
    ``metric = "bleu"`` validation has it at every evaluation as well, which takes as long.
    """

    kind: ClassVar[str] = "the next token of a translation"
    targets: ClassVar[Targets] = "classes by place of a pair"
    at_once: ClassVar[int] = 100
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("perplexity", "perplexity", lower=True),
        Metric("bleu", "BLEU"),
    )

    smoothing: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"smoothing = {self.smoothing}: choose a share of 0 to below 1")

    @property
    def lacks(self) -> str | None:
        if find_spec("sacrebleu") is not None:
            return None
        return 'measures BLEU by sacrebleu: pip install "neurorewire[language]"'

    # -- its loss and its numbers ---------------------------------------------------------------

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        from torch.nn.functional import cross_entropy

        scores, wanted = outputs.flatten(0, 1), y.flatten()
        return cross_entropy(scores, wanted, ignore_index=IGNORED, label_smoothing=self.smoothing)

    def tally(self, outputs: Tensor, y: Tensor) -> Tensor:
        return tally_classes(outputs, y)

    def metric_of(self, sums: Sequence[float]) -> float:
        return math.exp(min(sums[0] / sums[1], LARGEST))

    def learn(self, net: Session, x: Tensor, y: Tensor) -> float:
        return net.learn(*self.shortened(x, y), loss=self.loss)

    def shortened(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The same examples up to the end of the longest: nothing reads what fills them up."""
        longest = int((x != PADDING).any(1).sum(1).max())
        return x[:, :, :longest], y[:, :longest]

    def measure(self, world: Trainable, split: Examples) -> tuple[float, float]:
        loss, perplexity = super().measure(world, split)
        return loss, self._bleu(world, split) if self.metric == "bleu" else perplexity

    def beside(self, world: Trainable, split: Examples) -> dict[str, float]:
        if self.metric == "bleu":
            return {"perplexity": super().measure(world, split)[1]}
        return {"bleu": self._bleu(world, split)}

    def _bleu(self, world: Trainable, split: Examples) -> float:
        x, y = split.part(slice(0, len(split)))
        written = greedy(world.outputs, x[:, 0], self.at_once)
        references = [[token for token in row if token not in (IGNORED, END)] for row in y.tolist()]
        return bleu([text(row, split.pieces) for row in written],
                    [text(row, split.pieces) for row in references])  # fmt: skip

    # -- shapes ---------------------------------------------------------------------------------

    def output_shape(self, shape: Sequence[int], outputs: int) -> tuple[int, ...]:
        return (shape[-1], outputs)

    def targets_of(self, shape: Sequence[int]) -> int:
        return shape[-1]

    def example(self, info: object, n: int, generator: Generator) -> tuple[Tensor, Tensor]:
        import torch

        shape, classes = info.shape, info.classes  # type: ignore[attr-defined]
        x = torch.randint(END + 1, classes, (n, *shape), generator=generator)
        return x, torch.randint(END + 1, classes, (n, shape[-1]), generator=generator)


def greedy(outputs: Callable[[Tensor], Tensor], sources: Tensor, at_once: int) -> list[list[int]]:
    """What a model writes for each source: the most likely token at each place, up to END.

    outputs: logits (B, T, tokens) of pairs (B, 2, T). sources: (N, T). A translation has at most
    as many tokens as the model has places, and 20 more than its source.
    """
    written: list[list[int]] = [[]] * len(sources)
    # sources of like lengths together: fewer places are computed that nothing reads
    order = (sources != PADDING).sum(1).argsort(stable=True)
    for rows in order.split(at_once):
        for row, tokens in zip(rows.tolist(), _written(outputs, sources[rows]), strict=True):
            written[row] = tokens
    return written


def _written(outputs: Callable[[Tensor], Tensor], sources: Tensor) -> Iterator[list[int]]:
    import torch

    places = sources.shape[1]
    lengths = (sources != PADDING).sum(1)
    most = (lengths + LONGER).clamp(max=places)
    x = torch.stack([sources, torch.full_like(sources, PADDING)], 1)
    x[:, 1, 0] = BEGIN
    tokens = torch.full_like(sources, END)
    rows = torch.arange(len(sources), device=sources.device)  # that are not at their end
    for place in range(places):
        longest = max(int(lengths[rows].max()), place + 1)
        token = outputs(x[rows, :, :longest])[:, place].argmax(1)
        tokens[rows, place] = token
        if place + 1 < places:
            x[rows, 1, place + 1] = token
        rows = rows[(token != END) & (place + 1 < most[rows])]
        if not len(rows):
            break
    for row in tokens.tolist():
        yield row[: row.index(END)] if END in row else row


def text(tokens: Sequence[int], pieces: Sequence[bytes]) -> str:
    """The text that tokens stand for.

    >>> text([3, 4, 3], [b"", b"", b"", b" ein", b" Haus"])
    'ein Haus ein'
    """
    return b"".join(pieces[token] for token in tokens).decode("utf-8", "replace").strip()


def bleu(written: Sequence[str], references: Sequence[str]) -> float:
    """BLEU of a whole part (Papineni et al. 2002), 0 to 100, as sacrebleu computes it by default:
    one reference, case kept, tokens of the international evaluation script 13a.

    >>> round(bleu(["a dog runs in the snow"], ["a dog runs in the grass"]), 2)
    75.98
    """
    from sacrebleu import corpus_bleu

    return corpus_bleu(list(written), [list(references)]).score
