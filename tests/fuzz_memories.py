"""Memories as a stranger might send them, for as long as asked: nothing crashes, nothing outside is touched, no code runs.

    python tests/fuzz_memories.py --memories 20000
    python tests/fuzz_memories.py --seconds 600 --first 20000

Each memory has its number, which makes it again: `--first NUMBER --memories 1`. It is mutated, digests recomputed half the
time, links and pipes put in every place, with an index of every kind in turn; then it is opened, searched, verified, changed
and compacted as a user would, in a process of its own that may take 8 GB and 30 seconds. Prints a table and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from queue import Empty
from random import Random

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

import faiss
from hashing import passage
from mutations import ENCODER, INDEXES, make_memory, mutate, use

from indexing.jobs.verify_memory import verify_memory
from memgpt_rag.encoders.load import load_memory_encoder
from memgpt_rag.errors import MemgptRagError
from memgpt_rag.memory import Memory, MemoryWriter, add_lexical_index, expire, list_versions, roll_back
from memgpt_rag.memory.changes import compact, delete_entries
from memgpt_rag.memory.storage import layout

SECONDS, BYTES = 30, 8 * 2**30
_MARKER = "import pathlib\npathlib.Path({marker!r}).touch()\nclass Evil: pass\n"


def add(memory: Path) -> None:
    Memory.open(memory)
    with MemoryWriter(memory) as writer:
        assert writer.base is not None
        writer.add_values([passage(1000 + writer.base.num_rows)])
        journal = writer.journal(ENCODER.fingerprint)
        for block in writer.value_blocks(9):
            texts = [one.titled_text for one in block]
            journal.add(texts, ENCODER.encode_passages(texts))
            writer.add_keys(journal.keys(texts))
        writer.commit(ENCODER.fingerprint, splitting=writer.base.manifest.splitting, job={"name": "add"})


def delete(memory: Path) -> None:
    opened = Memory.open(memory)
    delete_entries(memory, opened.rows()[:1], opened.manifest)


def load_what_it_names(memory: Path) -> None:
    """As `ask` does. A name that comes as a package would be loaded, which takes long and is nobody's harm."""
    manifest = Memory.open(memory).manifest
    if not manifest.encoder.name.startswith(("multilingual-e5", "all-MiniLM")):
        load_memory_encoder(manifest.encoder, memories=[memory])


ACTIONS = {
    "use": use,
    "verify": verify_memory,
    "load": load_what_it_names,
    "versions": list_versions,
    "add": add,
    "delete": delete,
    "words": lambda memory: add_lexical_index(Memory.open(memory)),
    "compact": compact,
    "roll back": lambda memory: roll_back(memory, 1),
    "expire": lambda memory: expire(memory, 1),
}


def make_victim(outside: Path) -> dict[str, bytes | None]:
    """A folder of the user's, and what is in it."""
    (outside / "sub").mkdir(parents=True)
    (outside / ".bashrc").write_text("export EDITOR=vi\n")
    (outside / "00000099.json").write_text("{}")
    (outside / "sub" / "photo.jpg").write_bytes(b"\xff\xd8")
    return contents(outside)


def contents(folder: Path) -> dict[str, bytes | None]:
    return {str(one.relative_to(folder)): one.read_bytes() if one.is_file() else None for one in folder.rglob("*")}


def attack(number: int, bases: list[Path], scratch: Path, marker: Path) -> tuple[str, str, str | None]:
    """Mutate one memory and do all that may be done with it.

    Returns:
        How it was mutated, how it went ("refused", "used"), and what was found.
    """
    random, memory, outside = Random(number), scratch / "memory", scratch / "home"
    shutil.rmtree(scratch, ignore_errors=True)
    before = make_victim(outside)
    shutil.copytree(bases[number % len(bases)], memory)
    times = range(random.choice([1, 1, 1, 2]))
    kinds = [mutate(memory, random, outside, intact=not time) for time in times] if number % 50 else ["code"]
    if kinds == ["code"]:
        _name_code(memory, marker)
    refused = 0
    for name, action in ACTIONS.items():
        try:
            action(memory)
        except MemgptRagError as error:
            if not str(error).strip() or "\n" in str(error):
                return "+".join(kinds), "used", f"{name} is refused without a sentence: {error!r}"
            refused += 1
        except Exception as error:  # anything else is a finding
            return "+".join(kinds), "used", f"{name}: {type(error).__name__}: {error}"
    if contents(outside) != before:
        return "+".join(kinds), "used", "something outside was changed"
    if marker.exists():
        return "+".join(kinds), "used", "code of the memory ran"
    return "+".join(kinds), "refused" if refused else "used", None


def _name_code(memory: Path, marker: Path) -> None:
    """An encoder that lies in the memory and brings code of its own."""
    model = memory / "model"
    model.mkdir()
    (model / "evil.py").write_text(_MARKER.format(marker=str(marker)))
    (model / "modules.json").write_text(json.dumps([{"idx": 0, "name": "0", "path": "", "type": "evil.Evil"}]))
    auto = {"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil", "AutoTokenizer": ["evil.Evil", None]}
    (model / "config.json").write_text(json.dumps({"model_type": "evil", "auto_map": auto}))
    (model / "tokenizer_config.json").write_text(json.dumps({"auto_map": auto}))
    sys.path[:0] = [str(model)]
    path = memory / layout.MANIFEST
    fields = json.loads(path.read_text())
    fields["encoder"]["name"] = fields["splitting"]["tokenizer"] = str(model)
    path.write_text(json.dumps(fields))


def _work(first: int, end: int, bases: list[Path], scratch: Path, results) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    faiss.omp_set_num_threads(1)
    for number in range(first, end):
        results.put((number, *attack(number, bases, scratch / "case", scratch / "marker")))
    results.put(None)


def fuzz(first: int, memories: int, seconds: float, scratch: Path) -> tuple[Counter[tuple[str, str]], list[str]]:
    """Attack memories by their numbers; a process that ends or hangs is a finding, and another goes on after it."""
    bases = [make_memory(scratch / f"base{place}", index) for place, index in enumerate(INDEXES)]
    context, began = multiprocessing.get_context("fork"), time.monotonic()
    counts: Counter[tuple[str, str]] = Counter()
    findings: list[str] = []
    number, end = first, first + memories
    while number < end:
        results = context.Queue()
        process = context.Process(target=_work, args=(number, end, bases, scratch, results))
        process.start()
        while True:
            result = _next(results, process)
            if result == ():
                process.kill()
                process.join()
                findings.append(f"memory {number}: the process hangs or ends (exit code {process.exitcode})")
                number += 1
                break
            if result is None:
                process.join()
                return counts, findings
            number, kind, outcome, found = result
            counts[kind.split("+")[0], outcome] += 1
            findings += [] if found is None else [f"memory {number} ({kind}): {found}"]
            number += 1
            if time.monotonic() - began > seconds:
                process.kill()
                process.join()
                return counts, findings
    return counts, findings


def _next(results, process) -> tuple | None:
    """What comes next; an empty tuple where nothing does, since the process ended or hangs."""
    for _ in range(SECONDS):
        try:
            return results.get(timeout=1)
        except Empty:
            if not process.is_alive():
                break
    return () if results.empty() else results.get()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memories", type=int, default=20_000, help="how many at most")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="how long at most")
    parser.add_argument("--first", type=int, default=0, help="number of the first one")
    options = parser.parse_args()
    began = time.monotonic()
    shared = Path("/dev/shm")  # where syncing a file costs nothing
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        counts, findings = fuzz(options.first, options.memories, options.seconds, Path(folder))
    print(f"{'mutation':<10}{'refused':>10}{'used':>10}")
    for kind in sorted({kind for kind, _ in counts}):
        print(f"{kind:<10}{counts[kind, 'refused']:>10,}{counts[kind, 'used']:>10,}")
    for finding in findings[:50]:
        print(finding)
    known = {"faiss": faiss.__version__, "seconds": round(time.monotonic() - began)}
    print(json.dumps({"memories": counts.total(), "findings": len(findings), **known}))
    sys.exit(bool(findings))


if __name__ == "__main__":
    main()
