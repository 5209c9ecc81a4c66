"""Filter objects of the OpenAI API: the conditions that they become, and what is no filter."""

from __future__ import annotations

import pyarrow as pa
import pytest

from memgpt_rag.memory.filter import matching, parse_where
from memgpt_rag.serving.api_errors import ApiError
from memgpt_rag.serving.filters import condition

TABLE = pa.table(
    {
        "source": ['a "b".txt', "c.txt", "d.txt"],
        "year": pa.array([2019, 2020, None], pa.int64()),
        "draft": pa.array([True, False, None], pa.bool_()),
    }
)


def one(kind, key, value):
    return {"type": kind, "key": key, "value": value}


@pytest.mark.parametrize(
    ("given", "rows"),
    [
        (one("eq", "source", 'a "b".txt'), [0]),
        (one("ne", "source", "c.txt"), [0, 2]),
        (one("gt", "year", 2019), [1]),
        (one("gte", "year", 2019), [0, 1]),
        (one("lt", "year", 2019.5), [0]),
        (one("lte", "year", 2020), [0, 1]),
        (one("in", "source", ["c.txt", "d.txt"]), [1, 2]),
        (one("nin", "year", [2019]), [1]),
        (one("eq", "draft", True), [0]),
        ({"type": "and", "filters": [one("gt", "year", 1), one("eq", "draft", False)]}, [1]),
        (
            {
                "type": "or",
                "filters": [
                    one("eq", "year", 2019),
                    {"type": "and", "filters": [one("eq", "year", 2020), one("eq", "draft", False)]},
                ],
            },
            [0, 1],
        ),
        ("year == 2020", [1]),
    ],
)
def test_a_filter_matches_the_rows_that_it_says(given, rows):
    found = matching(TABLE, parse_where(condition(given, "filters"), TABLE.schema))
    assert found.nonzero()[0].tolist() == rows


def nested(depth):
    given = one("eq", "year", 1)
    for _ in range(depth):
        given = {"type": "and", "filters": [given]}
    return given


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "no filter of type 'None'"),
        (one("near", "year", 1), "no filter of type 'near'"),
        (one(["and"], "year", 1), "no filter of type"),
        (one("eq", "", 1), "has no key"),
        (one("eq", "year == 1 or year", 1), "cannot be the name of a column"),
        (one("eq", "year", None), "a text, a number"),
        (one("eq", "year", [1]), "a text, a number"),
        (one("in", "year", 1), "a list of texts"),
        (one("in", "year", []), "a list of texts"),
        ({"type": "and", "filters": []}, "no list of filters"),
        ({"type": "or", "filters": ["year == 1"]}, "no object"),
        (nested(100), "no object"),
    ],
)
def test_what_is_no_filter_is_refused(given, says):
    with pytest.raises(ApiError, match=says) as refused:
        condition(given, "filters")
    assert (refused.value.status, refused.value.param) == (400, "filters")


def test_filters_by_attributes_become_their_sources():
    files = {"x.txt": {"team": "a"}, "y.txt": {"team": "b"}, "z.txt": {}}

    class Attributes:
        def has(self, key):
            return key == "team"

        def sources(self, matches, key):
            return [name for name, own in files.items() if key in own and matches(own[key])]

    def found(given):
        return condition(given, "filters", Attributes())

    assert found(one("eq", "team", "a")) == "source in ('x.txt', )"
    assert found(one("ne", "team", "a")) == "source in ('y.txt', )"
    assert found(one("in", "team", ["a", "b"])) == "source in ('x.txt', 'y.txt', )"
    assert found(one("gt", "team", 3)) == "source in ()"
    assert found(one("eq", "year", 3)) == "year == 3"
