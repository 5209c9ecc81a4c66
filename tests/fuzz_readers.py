"""Files as chance makes them, for as long as asked: no reader crashes, hangs or takes more than it may.

    python tests/fuzz_readers.py --seconds 1800                     all formats in turn
    python tests/fuzz_readers.py --seconds 1800 --format markdown
    python tests/fuzz_readers.py --format markdown --first 4711 --files 1      one file again
    python tests/fuzz_readers.py --format markdown --guided         with Atheris, guided by coverage, until it is stopped

Each file has its number: a seed of `tests/seeds`, mutated; of zip files, a member is mutated as often as the whole. A finding is a
reader that ends its process, gives no text for 10 seconds, takes 1 GB, or fails with an error that is no sentence of ours
about the file. Findings are kept in --findings. Prints a table and one JSON line.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import sys
import tempfile
import time
import zipfile
from collections import Counter
from pathlib import Path
from random import Random

sys.path[:0] = [str(Path(__file__).parents[1])]

from indexing.sources import reading_process
from indexing.sources.formats import FORMATS, file_format, read_path, reader
from indexing.sources.frames import Fault
from indexing.sources.read_options import ReadLimits, ReadOptions
from memgpt_rag.errors import SourceError

SEEDS = Path(__file__).parent / "seeds"
OPTIONS = ReadOptions(limits=ReadLimits(seconds=10))
# Errors that tell of a mistake of ours, or of a library's that should have become a sentence about the file.
_MISTAKE = re.compile(
    r"\((?:Type|Attribute|Index|Key|Assertion|Recursion|UnboundLocal|Name|Overflow|ZeroDivision|NotImplemented|UnicodeEncode)Error"
)
_TOKENS = [b"\0", b"\xff\xfe", b"\n\n", b"---\n", b"```", b"|", b"[[", b"](", b"<table>", b"<td colspan=9999999>", b"</", b"<!--", b"&#x110000;",
           b"{\\*", b"\\u-1?", b"\xed\xa0\xbd", "公园\u0301\u202e".encode(), b"9" * 400, b"  " * 200, b"(" * 500, b"=?utf-8?b?", b'"', b"%PDF", b"1e999", b"\x1b]0;"]  # fmt: skip


def seeds(format_name: str) -> list[Path]:
    """Return the seeds of a format."""
    return [path for path in sorted(SEEDS.iterdir()) if file_format(path.name) == format_name]


def mutate(content: bytes, others: list[bytes], random: Random) -> bytes:
    """Return a mutated file; of a zip file, every second time a member's content."""
    if content.startswith(b"PK") and random.random() < 0.7:
        try:
            return _mutated_member(content, others, random)
        except (zipfile.BadZipFile, ValueError, NotImplementedError):
            pass
    return _mutated(content, others, random)


def _mutated_member(content: bytes, others: list[bytes], random: Random) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as given, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        names = given.namelist()
        chosen = random.choice(names)
        for name in names:
            member = given.read(name)
            made.writestr(name, _mutated(member, others, random) if name == chosen else member)
    return out.getvalue()


def _mutated(content: bytes, others: list[bytes], random: Random) -> bytes:
    data = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 4, 16))):
        start = random.randrange(len(data) + 1)
        end = min(len(data), start + random.choice((1, 2, 8, 64, 1024)))
        kind = random.randrange(8)
        if kind == 0 and data:
            data[start % len(data)] = random.randrange(256)
        elif kind == 1:
            del data[start:end]
        elif kind == 2:
            data[start:start] = random.choice(_TOKENS) * random.choice((1, 1, 3, 100))
        elif kind == 3:
            data[start:start] = data[start:end] * random.choice((1, 2, 50))
        elif kind == 4:
            other = random.choice(others)
            at = random.randrange(len(other) + 1)
            data[start:end] = other[at : at + random.choice((8, 64, 1024))]
        elif kind == 5:
            del data[start:]
        elif kind == 6:
            numbers = list(re.finditer(rb"\d+", bytes(data[start : start + 4096])))
            if numbers:
                found = random.choice(numbers)
                number = random.choice((b"0", b"-1", b"2147483648", b"99999999999", b"1e9"))
                data[start + found.start() : start + found.end()] = number
        else:
            data[start:start] = bytes(random.randrange(256) for _ in range(random.choice((1, 4, 32))))
    return bytes(data)


def read(path: Path) -> str:
    """Read a file in a process of its own; returns what came of it."""
    process = reading_process.begin(path, path.name, OPTIONS, rejecting=False)
    items = list(process.items(10, path.name))
    reading_process.release(process)
    faults = [item.reason for item in items if isinstance(item, Fault)]
    if not faults:
        return "read"
    reason = faults[0]
    for what, words in (("crash", "it ended the process"), ("hang", "was given up"), ("memory", "of memory to read")):
        if words in reason:
            return f"{what}: {reason}"
    return f"mistake: {reason}" if _MISTAKE.search(reason) else "refused"


def guided(format_name: str) -> None:
    """Mutate with Atheris, which keeps what reaches new code; a finding ends it."""
    import atheris

    suffix = FORMATS[format_name][0]
    with atheris.instrument_imports(include=["indexing"]):
        reader(format_name)

    def try_one(data: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"file{suffix}"
            path.write_bytes(data)
            try:
                for _ in read_path(path, path.name, ReadOptions(limits=None)):
                    pass
            except (SourceError, OSError, UnicodeDecodeError):
                pass

    corpus = tempfile.mkdtemp()
    for seed in seeds(format_name):
        (Path(corpus) / seed.name).write_bytes(seed.read_bytes())
    atheris.Setup([sys.argv[0], corpus, "-timeout=30", "-rss_limit_mb=4096"], try_one)
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--format", dest="formats", action="append", choices=list(FORMATS))
    parser.add_argument("--seconds", type=float, default=float("inf"), help="of each format")
    parser.add_argument("--files", type=int, default=sys.maxsize, help="of each format")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--findings", type=Path, help="folder to keep files in that are findings")
    parser.add_argument("--guided", action="store_true")
    asked = parser.parse_args()
    formats = [name for name in asked.formats or FORMATS if seeds(name)]
    if asked.guided:
        guided(formats[0])
    totals: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in formats:
            contents = [path.read_bytes() for path in seeds(name)]
            counts = totals[name] = Counter[str]()
            began, number = time.monotonic(), asked.first
            while number < asked.first + asked.files and time.monotonic() - began < asked.seconds:
                random = Random(f"{name} {number}")
                path = Path(folder) / f"{number}{''.join(seeds(name)[0].suffixes)}"
                path.write_bytes(mutate(random.choice(contents), contents, random))
                outcome = read(path)
                counts[outcome.partition(":")[0]] += 1
                if ":" in outcome:
                    print(f"{name} {number}: {outcome[:300]}", flush=True)
                    if asked.findings:
                        asked.findings.mkdir(parents=True, exist_ok=True)
                        path.rename(asked.findings / f"{name}-{path.name}")
                path.unlink(missing_ok=True)
                number += 1
    kinds = ["read", "refused", "mistake", "crash", "hang", "memory"]
    print(f"{'format':<18}" + "".join(f"{kind:>9}" for kind in kinds))
    for name, counts in totals.items():
        print(f"{name:<18}" + "".join(f"{counts[kind]:>9,}" for kind in kinds))
    findings = sum(counts[kind] for counts in totals.values() for kind in kinds[2:])
    print(json.dumps({"files": sum(counts.total() for counts in totals.values()), "findings": findings}))
    raise SystemExit(bool(findings))


if __name__ == "__main__":
    main()
