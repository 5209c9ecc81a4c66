"""Third-party JSON: parsed strictly and within limits, replaced atomically.

Python's parser accepts NaN and Infinity, which are not JSON, turns 1e999 into infinity, and raises RecursionError for deep
nesting. All JSON files of users and of model folders are read here.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import stat
from pathlib import Path
from typing import Any, NoReturn

MAX_DEPTH = 64  # far deeper than any file of ours or of a model folder, far below Python's recursion limit
_MAX_DIGITS = 40  # of an integer; every one of them is a float, too
_SHOWN = 60  # characters of an invalid value in a message


def read_json(path: str | Path, *, max_bytes: int) -> Any:
    """Read the value in a JSON file.

    Args:
        max_bytes: limit of the file's size.

    Raises:
        OSError: the file does not exist, or cannot be read.
        ValueError: it is no valid JSON in the sense of `parse_json`, is larger, or is no plain file; the message is a
            reason to put into a sentence with the file's name.
    """
    # Non-blocking: opening a named pipe would wait for a writer.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ValueError("no plain file")
        with os.fdopen(handle, "rb", closefd=False) as file:
            data = file.read(max_bytes + 1)
    finally:
        os.close(handle)
    if len(data) > max_bytes:
        raise ValueError(f"more than {max_bytes:,} bytes")
    return parse_json(data)


def parse_json(text: str | bytes) -> Any:
    """Parse a JSON text; bytes are UTF-8 with or without a byte order mark.

    Raises:
        ValueError: not UTF-8, not JSON, deeper than `MAX_DEPTH`, a number that is not finite (NaN, Infinity, 1e999) or has
            too many digits, or an unpaired surrogate (as the escape "d83d" alone); the message is a reason to put into a
            sentence.
    """
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"not UTF-8 (byte {error.start:,})") from None
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno:,}, " if "\n" in text else ""
        raise ValueError(f"broken JSON ({error.msg} at {line}column {error.colno:,})") from None
    except RecursionError:
        raise ValueError(f"nested more than {MAX_DEPTH} levels deep") from None
    _require_shallow(value)
    if "\\ud" in text or "\\uD" in text:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            half, before = error.object[error.start], error.object[max(0, error.start - _SHOWN) : error.start]
            raise ValueError(f"half of a character ({half!r} after {before!r})") from None
    return value


def number(value: Any, name: str, low: float, high: float) -> float:
    """Return a value from a JSON file as a float, if it is a number in a range.

    Args:
        name: name of the field, for the error.
        low, high: inclusive bounds.

    Raises:
        ValueError: it is of another type, NaN, or out of bounds.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        shown = repr(value)
        raise ValueError(
            f"{name} is {shown if len(shown) <= _SHOWN else shown[:_SHOWN] + '…'}, not a number from {low:g} to {high:g}"
        )
    return value


def replace_json(path: str | Path, value: Any) -> None:
    """Write a value as a JSON file, replacing an existing one atomically.

    Raises:
        OSError: it cannot be written; an existing file is unchanged.
        ValueError: a number is not finite.
    """
    path = Path(path)
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
    try:
        with new.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def _integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"a number of {len(digits.lstrip('-')):,} digits")
    return int(digits)


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"a number that is too large ({digits[:_MAX_DIGITS]})")
    return number


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} where a number is expected")


_DECODER = json.JSONDecoder(parse_int=_integer, parse_float=_finite, parse_constant=_no_number)


def _require_shallow(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        containers = [one for one in level if isinstance(one, dict | list)]
        if not containers:
            return
        level = [part for one in containers for part in (one.values() if isinstance(one, dict) else one)]
    raise ValueError(f"nested more than {MAX_DEPTH} levels deep")
