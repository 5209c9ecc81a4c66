"""A dual encoder learns pairs in seconds where they are few, and its loss is that of CLIP."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import ROOT
from hashing import HashEncoder

from memgpt_rag.tasks.images.pairs import read_pairs
from memgpt_rag.training.dual_encoder import DualTraining, augmented, contrastive_loss, train_dual_encoder

SMALL = DualTraining(epochs=25, width=8, dimension=32, learning_rate=1e-2)


@pytest.fixture(scope="module")
def shapes():
    pairs = read_pairs(ROOT / "examples" / "images" / "pairs.jsonl")
    return [pair.read() for pair in pairs], [pair.texts for pair in pairs]


def test_training_makes_texts_find_their_pictures(shapes, tmp_path):
    pictures, texts = shapes
    encoder, losses = HashEncoder(dimension=256), []
    trained = train_dual_encoder(pictures, texts, encoder, SMALL, cache=tmp_path, on_epoch=losses.append)
    assert len(losses) == SMALL.epochs and np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])
    assert (trained.judged, trained.held_back) == (36, False) and trained.recall == 1.0
    for language in (0, 1):
        scores = (
            trained.encoder.encode_queries([some[language] for some in texts])
            @ trained.encoder.encode_pictures(pictures).T
        )
        ranks = (scores > np.diag(scores)[:, None]).sum(axis=1)
        assert (ranks < 3).mean() > 0.8, language  # 3 of 36 by chance
    own = np.eye(36, dtype=bool)
    scores = trained.encoder.encode_queries([some[0] for some in texts]) @ trained.encoder.encode_pictures(pictures).T
    assert trained.encoder.fingerprint.score_scale == pytest.approx(scores[own].mean() - scores[~own].mean(), abs=1e-3)


def test_the_same_seed_gives_the_same_weights_and_the_cache_spares_the_text_encoder(shapes, tmp_path):
    pictures, texts = shapes
    short = DualTraining(epochs=1, width=4, dimension=8)
    random = torch.random.get_rng_state()
    first = train_dual_encoder(pictures, texts, HashEncoder(), short, cache=tmp_path)
    assert torch.equal(torch.random.get_rng_state(), random)  # nobody's generator was touched
    again, counting = HashEncoder(), HashEncoder()
    _ = again.fingerprint, counting.fingerprint
    before = again.calls
    second = train_dual_encoder(pictures, texts, again, short, cache=tmp_path)
    spared = again.calls - before
    train_dual_encoder(pictures, texts, counting, short)
    assert spared + 72 == counting.calls - before  # every text once
    for one, other in zip(first.encoder.network.parameters(), second.encoder.network.parameters(), strict=True):
        assert torch.equal(one, other)
    other = train_dual_encoder(pictures, texts, HashEncoder(), DualTraining(epochs=1, width=4, dimension=8, seed=1))
    assert not torch.equal(other.encoder.network.texts[1].weight, first.encoder.network.texts[1].weight)


def test_of_a_hundred_pictures_some_are_held_back(shapes):
    pictures, texts = shapes
    trained = train_dual_encoder(
        pictures * 3, list(texts) * 3, HashEncoder(), DualTraining(epochs=1, width=4, dimension=8)
    )
    assert (trained.judged, trained.held_back, trained.nearest) == (5, True, 10)
    # Their texts are compared with all pictures: of the five, every one is among the ten nearest.
    scores = (
        trained.encoder.encode_queries([some[0] for some in texts] * 3) @ trained.encoder.encode_pictures(pictures).T
    )
    held = torch.randperm(108, generator=torch.Generator().manual_seed(0))[:5].tolist()
    ranks = [
        3 * int((scores[place] > scores[place, place % 36]).sum()) for place in held
    ]  # every picture is there thrice
    assert trained.recall == pytest.approx(np.mean([rank < 10 for rank in ranks]))


def test_the_loss_is_the_mean_of_both_directions():
    scores = torch.tensor([[2.0, 1.0, 0.0], [0.5, 3.0, 1.0], [1.0, 1.0, 1.5]])
    expected = [
        -(row[place] - torch.logsumexp(row, 0)).item()
        for matrix in (scores, scores.T)
        for place, row in enumerate(matrix)
    ]
    assert contrastive_loss(scores).item() == pytest.approx(np.mean(expected), rel=1e-6)


def test_augmented_pictures_stay_on_white_and_near_what_they_were():
    seen = torch.ones(40, 3, 64, 64)
    seen[:, :, 24:40, 24:40] = 0.0
    changed = augmented(seen, torch.Generator().manual_seed(0))
    dark = (changed.mean(dim=1) < 0.5).float().mean(dim=(1, 2))
    assert ((dark > 0.5 * 0.0625) & (dark < 2 * 0.0625)).all()
    assert changed[:, :, 0, 0].min() > 0.7 and not torch.equal(changed[0], changed[1])


def test_too_few_pictures_and_one_without_a_text_are_refused(shapes):
    pictures, texts = shapes
    with pytest.raises(ValueError, match="Found 3 pictures with 3 that have a text; expected at least 8"):
        train_dual_encoder(pictures[:3], texts[:3], HashEncoder(), SMALL)
    with pytest.raises(ValueError, match="Found 9 pictures with 8 that have a text"):
        train_dual_encoder(pictures[:9], [*texts[:8], ()], HashEncoder(), SMALL)
    with pytest.raises(ValueError, match="epochs is 0; expected 1 to 10,000"):
        DualTraining(epochs=0)
