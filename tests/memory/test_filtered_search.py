"""Search among the entries that a filter matches, against every row of the memory."""

from __future__ import annotations

import numpy as np
import pytest
from benches import build

from memgpt_rag.memory import Memory


def test_filters_give_exactly_k_entries_of_those_that_match(sources, tmp_path, rng):
    build(sources, tmp_path / "memory")
    memory = Memory.open(tmp_path / "memory")
    queries = rng.normal(size=(7, 256)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    for where, matches in [
        ("year == 1913", lambda p: p.metadata.get("year") == 1913),
        (
            'lang in ("zh",) and not year > 1920',
            lambda p: p.metadata.get("lang") == "zh" and p.metadata["year"] <= 1920,
        ),
        ("year is None", lambda p: "year" not in p.metadata),
        ('source == "benches.jsonl" or title == "Park"', lambda p: p.source == "benches.jsonl" or p.title == "Park"),
        ("1905 <= year < 1930", lambda p: 1905 <= p.metadata.get("year", 0) < 1930),
    ]:
        rows = [row for row in memory.rows().tolist() if matches(memory.passages([row])[0])]
        assert memory.rows(where).tolist() == rows
        found = memory.search(queries, 6, where=where)
        scores = queries @ memory.keys(rows).T
        np.testing.assert_allclose(found.scores, -np.sort(-scores, axis=1)[:, :6], atol=1e-5)
        assert found.rows.shape == (7, min(6, len(rows)))
        assert set(found.rows.ravel().tolist()) <= set(rows)
    assert memory.search(queries, 6, where="year > 3000").passages == [[]] * 7


@pytest.mark.parametrize(
    "where, match",
    [
        ("colour == 1", "There is no column 'colour'; expected one of id, text, .*year, lang"),
        ("year = 1", "cannot be read at column 6; expected a condition such as"),
        ('year == "1913"', "Found \"'1913'\" for the column 'year'; expected a number"),
        ("lang > 3", "Found '3' for the column 'lang'; expected a quoted text"),
        ("year", "The column 'year' alone is no condition; compare it with something"),
        ("__import__('os').system('true')", "expected a comparison, and, or, not, or brackets"),
        ("year in 3", r'Found \'3\' after in; expected a list such as \("a", "b"\)'),
        ("year == 10 ** 99", "Found '10 \\*\\* 99' for the column 'year'"),
        ("year == 99999999999999999999", "holds a number that no column can hold"),
        ("(" * 3000 + "year > 1" + ")" * 3000, "cannot be read"),
        ("x" * 20_000, "has 20000 characters; expected at most 10000"),
    ],
    ids=lambda value: value[:20],
)
def test_filters_that_cannot_be_meant_are_refused(sources, tmp_path, where, match):
    build(sources, tmp_path / "memory")
    with pytest.raises(ValueError, match=match):
        Memory.open(tmp_path / "memory").rows(where)
