"""Conditions of others: what is said of a long one is short."""

from __future__ import annotations

import pytest

from memgpt_rag.memory.filter import parse_where
from memgpt_rag.memory.storage.layout import values_schema


@pytest.mark.parametrize(
    "where",
    [
        *("year = {}", "{} == 1", 'year == "{}"', "year in {}", "f({})", "'{}' == 1", "year is {}", "year == 9{}"),
        *("year > 1 {}", "year == -{}", "{}", "lang in [{}]"),
    ],
)
def test_what_is_said_of_a_long_filter_is_short(where):
    filler = "9" * 4000 if "9{}" in where else "x" * 9000
    with pytest.raises(ValueError, match="(?i)filter|column|found") as caught:
        parse_where(where.format(filler), values_schema({"year": "integer", "lang": "string"}))
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize(
    "where",
    [
        "ok == (not True)",
        'source == (not "a.txt")',
        "year == ~5",
        "year in (1, ~2)",
        "ok == -True",
        'source == +"a.txt"',
    ],
)
def test_what_stands_before_a_constant_is_not_left_out(where):
    with pytest.raises(ValueError, match=r"^Found ['\"](not|~|-|\+).+ for the column '\w+'; expected "):
        parse_where(where, values_schema({"year": "integer", "ok": "boolean"}))
    schema = values_schema({"year": "integer"})
    assert parse_where("year == +5", schema).equals(parse_where("year == 5", schema))
    assert not parse_where("year == -5", schema).equals(parse_where("year == 5", schema))


def test_many_columns_are_not_all_named():
    with pytest.raises(
        ValueError, match=r"There is no column 'x'; expected one of id, .*… \(\d[\d,]+ characters\)\.$"
    ) as caught:
        parse_where("x == 1", values_schema({f"column_{number}": "integer" for number in range(10_000)}))
    assert len(str(caught.value)) < 700
