"""What a chunk may read: against a search by hand, and against a text that ends sooner."""

from __future__ import annotations

import numpy as np
import pytest

from memgpt_rag.training.chunk_neighbors import earlier_neighbors, token_vectors

CHUNK, WINDOW = 4, 3


def vectors(chunks: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(chunks, 8)).astype(np.float32)


def tokens(chunks: int) -> np.ndarray:
    return np.random.default_rng(0).zipf(1.3, size=chunks * CHUNK) % 50


@pytest.mark.parametrize("block", [1, 5, 1024])
@pytest.mark.parametrize("recent", [0, 1, 2])
def test_neighbors_equal_a_search_by_hand(block, recent):
    chunk_counts = vectors(20)
    found = earlier_neighbors(chunk_counts, 2, WINDOW, recent=recent, block=block)
    for chunk in range(20):
        begins = chunk - chunk % WINDOW
        latest = [begins - 2 * pair for pair in range(1, recent + 1)]
        candidates = [other for other in range(20) if other + 1 < begins - 2 * recent]
        best = sorted(candidates, key=lambda other: -float(chunk_counts[chunk - 1] @ chunk_counts[other]))[:2]
        expected = [*(first if first >= 0 else -1 for first in latest), *best, *[-1] * (2 - len(best))]
        assert found[chunk].tolist() == expected


def test_what_comes_later_changes_no_vector_and_no_neighbour():
    text = tokens(40)
    whole_vectors, first_vectors = token_vectors(text, CHUNK), token_vectors(text[: 21 * CHUNK], CHUNK)
    np.testing.assert_array_equal(whole_vectors[:21], first_vectors)
    found = earlier_neighbors(whole_vectors, 2, WINDOW, recent=1)
    np.testing.assert_array_equal(found[:21], earlier_neighbors(first_vectors, 2, WINDOW, recent=1))
    changed = text.copy()
    changed[20 * CHUNK :] = changed[20 * CHUNK :][::-1] + 1
    after = earlier_neighbors(token_vectors(changed, CHUNK), 2, WINDOW, recent=1)
    np.testing.assert_array_equal(after[:21], found[:21])
    assert (after[21:] != found[21:]).any()


def test_inner_products_are_those_of_weighted_bags_of_tokens():
    text = tokens(60)
    chunk_counts = token_vectors(text, CHUNK, dimension=4096)
    bags = np.zeros((60, 51))
    for number, chunk in enumerate(text.reshape(-1, CHUNK)):
        for token in set(chunk.tolist()):
            so_far = sum(token in earlier for earlier in text.reshape(-1, CHUNK)[: number + 1])
            bags[number, token] = (chunk == token).sum() ** 0.5 * np.log((number + 2) / so_far)
    bags /= np.linalg.norm(bags, axis=1, keepdims=True)
    np.testing.assert_allclose(chunk_counts @ chunk_counts.T, bags @ bags.T, atol=5 / 4096**0.5)


def test_a_rare_token_tells_more_than_a_frequent_one():
    text = np.array([[1, 2, 3, 9], *[[1, 2, 3, 4]] * 5, [5, 6, 7, 9]])
    chunk_counts = token_vectors(text.ravel(), CHUNK)
    scores = chunk_counts[6] @ chunk_counts[:6].T
    assert scores.argmax() == 0
