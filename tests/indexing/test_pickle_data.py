"""Pickles read as data: plain values and named instances, and nothing that would run."""

from __future__ import annotations

import pickle

import pytest

from indexing.imports.pickle_data import Instance, read_pickle


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"cos\nsystem\n(S'id'\ntR.", "it names 'os.system', which does not belong there"),
        (b"cposix\nsystem\n.", "it names 'posix.system', which does not belong there"),
        (b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.", "it names 'builtins.eval', which does not belong"),
        (b"ca\nB\n)R.", r"the instruction REDUCE\), and was not run"),
        (b"ca\nB\nK\x01\x85\x81.", "it makes an object with arguments, and was not run"),
        (b"\x80\x04P1\n.", r"the instruction PERSID\), and was not run"),
        (b"\x82\x01.", r"the instruction EXT1\), and was not run"),
        (b"]]\x93.", "a broken pickle"),
        (b"(K\x01K\x02u.", "a broken pickle"),
        (b"K\x01", "pickle exhausted before seeing STOP|a pickle without an end"),
        (b"h\x07.", "a broken pickle"),
        (b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f", "expected"),
        (b"", "pickle exhausted|without an end"),
    ],
)
def test_a_pickle_may_hold_plain_values_only(data, reason):
    with pytest.raises(ValueError, match=reason):
        read_pickle(data, {"a.B"})


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_of_plain_values_is_read_as_it_was_written(protocol):
    shared = ["twice", 1.5]
    value = {
        "a": [1, -2, 2**40, 2**70, None, True, False],
        3: (b"bytes" if protocol > 2 else "text", "文", shared, shared),
        "e": ((), [], {}),
    }
    assert read_pickle(pickle.dumps(value, protocol), ()) == value


def test_what_belongs_there_becomes_an_instance_and_no_object():
    value = read_pickle(b"\x80\x02ca\nB\n)\x81}X\x01\x00\x00\x00xK\x05sb.", {"a.B"})
    assert value == Instance("a.B", {"x": 5})


def test_a_pickle_that_doubles_itself_is_read_in_no_time():
    """Sixty lists, each of which holds the one before it twice."""
    laughs = (
        b"]\x94" + b"".join(b"]\x94h" + bytes([number]) + b"ah" + bytes([number]) + b"a" for number in range(60)) + b"."
    )
    assert len(read_pickle(laughs, ())) == 2
