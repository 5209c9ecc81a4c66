"""JSON of others: what is damaged is refused with a reason, and what is replaced is replaced in one step."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys

import pytest

from memgpt_rag.io.json_file import (
    MAX_DEPTH,
    number,
    parse_json,
    read_json,
    replace_json,
)

DAMAGED = {
    "not JSON": (b'{"a": ', r"broken JSON \(Expecting value at column 7\)"),
    "empty": (b"", r"broken JSON \(Expecting value at column 1\)"),
    "two lines": (b'{"a": 1,\n"b"}', r"broken JSON \(Expecting ':' delimiter at line 2, column 4\)"),
    "binary": (b'"\xff"', r"not UTF-8 \(byte 1\)"),
    "NaN": (b'{"a": NaN}', "NaN where a number is expected"),
    "Infinity": (b"[-Infinity]", "-Infinity where a number is expected"),
    "overflow": (b"[1e999]", r"a number that is too large \(1e999\)"),
    "digits": (b"[-" + b"9" * 5000 + b"]", "a number of 5,000 digits"),
    "deeper than the stack": (b"[" * 200_000 + b"]" * 200_000, f"nested more than {MAX_DEPTH} levels deep"),
    "deeper than any file": (b'{"a":' * 65 + b"1" + b"}" * 65, f"nested more than {MAX_DEPTH} levels deep"),
    "half a character": (b'{"a \\ud83d": 1}', r"half of a character \('.ud83d' after '\{\"a '\)"),
}


@pytest.mark.parametrize("data, reason", DAMAGED.values(), ids=DAMAGED)
def test_damaged_json_is_refused_with_a_short_reason(tmp_path, data, reason):
    (tmp_path / "file.json").write_bytes(data)
    with pytest.raises(ValueError, match=f"^{reason}") as refused:
        read_json(tmp_path / "file.json", max_bytes=2**20)
    assert len(str(refused.value)) < 100


def test_sound_json_is_read_as_it_is(tmp_path):
    value = {"a": [1, -2.5, 1e308, True, None, "é😀"], "b": {"": 10**39}}
    (tmp_path / "file.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(value).encode())
    assert read_json(tmp_path / "file.json", max_bytes=1000) == value
    assert parse_json("[" * MAX_DEPTH + "]" * MAX_DEPTH) is not None


def test_a_file_is_read_up_to_its_bound_only(tmp_path):
    (tmp_path / "file.json").write_text("[1, 2]")
    assert read_json(tmp_path / "file.json", max_bytes=6) == [1, 2]
    with pytest.raises(ValueError, match="more than 5 bytes"):
        read_json(tmp_path / "file.json", max_bytes=5)
    with pytest.raises(ValueError, match="no plain file"):
        read_json("/dev/zero", max_bytes=5)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="no plain file"):
        read_json(tmp_path / "pipe", max_bytes=5)
    with pytest.raises(ValueError, match="no plain file"):
        read_json(tmp_path, max_bytes=5)
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "none", max_bytes=5)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e308, 10**400, -1, True, "1", None, [1], "9" * 1000])
def test_what_is_no_number_in_its_range_is_refused(value):
    with pytest.raises(ValueError, match=r"^scale is .*, not a number from 0 to 1e\+06$") as refused:
        number(value, "scale", 0, 1e6)
    assert len(str(refused.value)) < 150
    assert number(1, "scale", 0, 1e6) == number(1.0, "scale", 0, 1e6)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    file = tmp_path / "made" / "file.json"
    replace_json(file, {"a": "é"})
    assert read_json(file, max_bytes=100) == {"a": "é"}
    with pytest.raises(ValueError, match="JSON compliant"):
        replace_json(file, {"a": float("nan")})

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        replace_json(file, {"b": 1})
    assert read_json(file, max_bytes=100) == {"a": "é"}
    assert list(file.parent.iterdir()) == [file]


def test_a_link_is_replaced_and_what_it_names_left_alone(tmp_path):
    (tmp_path / "other").write_text("keep")
    (tmp_path / "file.json").symlink_to(tmp_path / "other")
    replace_json(tmp_path / "file.json", [1])
    assert (tmp_path / "other").read_text() == "keep"
    assert read_json(tmp_path / "file.json", max_bytes=100) == [1]


def test_reading_json_imports_neither_numpy_nor_torch():
    code = "import sys, memgpt_rag.io.json_file\nassert not {'numpy', 'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
