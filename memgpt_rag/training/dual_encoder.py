"""Trains a dual encoder on pictures and their texts, with the contrastive loss of CLIP, in minutes on one core."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from memgpt_rag.encoders.base import Encoder, Vectors, mean_margin
from memgpt_rag.encoders.dual_encoder import DualEncoder, DualNetwork, seen_pictures
from memgpt_rag.limits import LEAST_PICTURES, require_between
from memgpt_rag.memory.caches.keys import KeyCache

_NEAREST = 10  # pictures among which a text is to find its own
_BLOCK = 256  # texts that are embedded between two looks at the cache
_TEMPERATURE, _MOST_SCALE = 0.1, 30.0
_WEIGHT_DECAY = 0.05


@dataclass(frozen=True)
class DualTraining:
    """Settings of a training.

    Attributes:
        epochs: how often every picture is seen.
        width: channels of the first convolution.
        dimension: of the vectors.
        batch_size: pictures that are compared with each other's texts.
        learning_rate: its highest value, in the cycle of Smith & Topin 2018.
        held_back: share of the pictures that are not trained on, by which the training is judged; none of fewer than 100.
        seed: of weights, order and augmentation.
    """

    epochs: int = 60
    width: int = 24
    dimension: int = 128
    batch_size: int = 128
    learning_rate: float = 2e-3
    held_back: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        for name, most in (("epochs", 10_000), ("width", 256), ("dimension", 4096), ("batch_size", 4096)):
            require_between(name, getattr(self, name), 1, most)


@dataclass(frozen=True)
class TrainedDual:
    """What a training gave.

    Attributes:
        encoder: the dual encoder.
        judged: number of pictures by which it was judged.
        held_back: whether these were held back.
        recall: share of their first texts that have their picture among the `nearest` of all pictures.
        nearest: 10, or a third of the pictures where that is fewer.
    """

    encoder: DualEncoder
    judged: int
    held_back: bool
    recall: float
    nearest: int


def train_dual_encoder(
    pictures: Sequence[bytes],
    texts: Sequence[Sequence[str]],
    text_encoder: Encoder,
    settings: DualTraining,
    *,
    cache: Path | None = None,
    on_epoch: Callable[[float], object] = lambda loss: None,
) -> TrainedDual:
    """Train a dual encoder; the text encoder stays as it is.

    In each epoch a picture meets one of its texts, drawn at random. Both sides are to find their partner in the batch:
    L = ½ (CE(S / T) + CE(Sᵀ / T)), S the cosines, T trained (Radford et al. 2021, figure 3).

    Args:
        pictures: as `kept_picture` returns them.
        texts: of each picture, in any language that the text encoder reads.
        cache: folder that keeps the text encoder's vectors; None keeps none.
        on_epoch: called with the mean loss of each epoch.

    Raises:
        ValueError: fewer than 8 pictures, or one without a text.
    """
    if len(pictures) < LEAST_PICTURES or not all(texts) or len(pictures) != len(texts):
        raise ValueError(
            f"Found {len(pictures):,} pictures with {sum(map(bool, texts)):,} that have a text; expected at least {LEAST_PICTURES}, "
            "and a text for each."
        )
    generator = torch.Generator().manual_seed(settings.seed)
    vectors = _text_vectors([text for some in texts for text in some], text_encoder, cache)
    ends = np.cumsum([len(some) for some in texts])
    spans = list(zip(ends - [len(some) for some in texts], ends, strict=True))
    order = torch.randperm(len(pictures), generator=generator).tolist()
    held = order[: int(settings.held_back * len(order))] if len(order) >= 100 else []
    network = _fit(seen_pictures(pictures), vectors, spans, order[len(held) :], settings, generator, on_epoch)
    encoder = DualEncoder(network, text_encoder, 1.0)
    judged = held or order
    # Among all pictures: of the few held back, nearly every one would be near.
    scores = (
        encoder.embed_vectors(vectors[[spans[place][0] for place in judged]].numpy())
        @ encoder.encode_pictures(pictures).T
    )
    better = (scores > scores[np.arange(len(judged)), judged][:, None]).sum(axis=1)
    encoder.score_scale = max(round(mean_margin(scores[:, judged]), 4), 1e-4)
    nearest = min(_NEAREST, len(pictures) // 3)
    return TrainedDual(encoder, len(judged), bool(held), float((better < nearest).mean()), nearest)


def _text_vectors(texts: Sequence[str], encoder: Encoder, folder: Path | None) -> Tensor:
    """Return the text encoder's vectors of texts, those in the cache without computing them."""
    cache = None if folder is None else KeyCache(folder, encoder.fingerprint)
    known: dict[str, Vectors] = {}
    distinct = list(dict.fromkeys(texts))
    for start in range(0, len(distinct), _BLOCK):
        block = distinct[start : start + _BLOCK]
        found = [None] * len(block) if cache is None else cache.get(block)
        missing = [text for text, vector in zip(block, found, strict=True) if vector is None]
        if missing:
            computed = encoder.encode_queries(missing)
            known |= dict(zip(missing, computed, strict=True))
            if cache is not None:
                cache.put(missing, computed)
        known |= {text: vector for text, vector in zip(block, found, strict=True) if vector is not None}
    return torch.from_numpy(np.stack([known[text] for text in texts]).astype(np.float32))


def _fit(
    seen: Tensor,
    vectors: Tensor,
    spans: Sequence[tuple[int, int]],
    trained: Sequence[int],
    settings: DualTraining,
    generator: torch.Generator,
    on_epoch: Callable[[float], object],
) -> DualNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)  # of dropout and first weights, which take no generator
        network = DualNetwork(settings.width, settings.dimension, vectors.shape[1]).train()
        network.center.copy_(torch.cat([vectors[slice(*spans[place])] for place in trained]).mean(dim=0))
        scale = nn.Parameter(torch.tensor(math.log(1 / _TEMPERATURE)))
        size = min(settings.batch_size, len(trained))
        optimizer = torch.optim.AdamW([*network.parameters(), scale], weight_decay=_WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, settings.learning_rate, total_steps=settings.epochs * (len(trained) // size) + 1
        )
        for _ in range(settings.epochs):
            losses = []
            for places, chosen in _batches(spans, trained, size, generator):
                pictures = network.embed_pictures(augmented(seen[places].float() / 255, generator))
                scores = pictures @ network.embed_texts(vectors[chosen]).T * scale.exp().clamp(max=_MOST_SCALE)
                loss = contrastive_loss(scores)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
                losses.append(loss.item())
            on_epoch(float(np.mean(losses)))
    return network.eval()


def _batches(
    spans: Sequence[tuple[int, int]], trained: Sequence[int], size: int, generator: torch.Generator
) -> Iterator[tuple[list[int], list[int]]]:
    """Yield pictures of a batch, and a text of each, so that each picture comes once; a rest that is no whole batch waits."""
    order = torch.randperm(len(trained), generator=generator).tolist()
    for start in range(0, len(order) - size + 1, size):
        places = [trained[one] for one in order[start : start + size]]
        drawn = torch.rand(size, generator=generator).tolist()
        yield (
            places,
            [begin + int(one * (end - begin)) for one, (begin, end) in zip(drawn, (spans[place] for place in places))],
        )


def contrastive_loss(scores: Float[Tensor, "batch batch"]) -> Float[Tensor, ""]:
    """Return the mean cross-entropy with which rows find their columns and columns their rows, on the diagonal."""
    own = torch.arange(len(scores))
    return (nn.functional.cross_entropy(scores, own) + nn.functional.cross_entropy(scores.T, own)) / 2


def augmented(seen: Float[Tensor, "n 3 side side"], generator: torch.Generator) -> Float[Tensor, "n 3 side side"]:
    """Return pictures turned, scaled, moved and mirrored a little, on white, and with other brightness and colors."""

    def between(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(len(seen), *shape, generator=generator)

    angle, size, mirror = between(-0.25, 0.25), between(0.8, 1.2), between(-1, 1).sign()
    turn = torch.zeros(len(seen), 2, 3)
    turn[:, 0, 0], turn[:, 0, 1] = angle.cos() * size * mirror, -angle.sin() * size
    turn[:, 1, 0], turn[:, 1, 1] = angle.sin() * size * mirror, angle.cos() * size
    turn[:, :, 2] = between(-0.15, 0.15, 2)
    grid = nn.functional.affine_grid(turn, list(seen.shape), align_corners=False)
    moved = 1 - nn.functional.grid_sample(1 - seen, grid, align_corners=False)  # what comes from outside is white
    return moved * between(0.85, 1.15, 3, 1, 1) + between(-0.075, 0.075, 3, 1, 1)
