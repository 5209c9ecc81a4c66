"""Files that are made to crash, hang or fill the machine: each is read within its bounds or named, and the job goes on.

    python tests/hostile_files.py
    python tests/hostile_files.py --only zip_bomb

Each file of `tests/hostile_inputs.py` is made and read by a job of its own, without keys. Takes 2 GB of disk and some minutes. Prints a table
(outcome, seconds, peak memory of the job and of its reading process, which includes that of the job when it was started) and one
JSON line; ends with 1 if a job crashed, a file was not named, or a bound was passed.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT)]

from hostile_inputs import FILES

SECONDS, BYTES = 60, 2**30


def read_one(path: Path) -> dict[str, object]:
    """Read one file as a job does, without keys; returns what came of it."""
    from hashing import HashEncoder

    from indexing.engines.local import LocalEngine
    from indexing.job_log import JobLog
    from indexing.jobs.build_memory import PassageStream
    from indexing.passages.split_passages import PassageSplitter
    from indexing.sources import reading_process
    from indexing.sources.find_files import find_files
    from indexing.sources.read_options import ReadOptions
    from memgpt_rag.errors import MemgptRagError

    encoder, began = HashEncoder(), time.monotonic()
    rejects = Path(tempfile.mkstemp()[1])
    outcome, passages = "read", 0
    try:
        with JobLog("build", rejects=rejects) as log:
            engine = LocalEngine(encoder, PassageSplitter(encoder.count_tokens))
            stream = PassageStream(find_files([path]), engine, ReadOptions(), log=log)
            passages = sum(map(len, stream))
    except MemgptRagError as error:
        outcome = f"refused: {error}"
    rejected = [json.loads(line) for line in rejects.read_text().splitlines()]
    if rejected:
        outcome = f"rejected: {rejected[0]['position']} {rejected[0]['reason']}"
    elif outcome == "read" and stream.report.notes:
        outcome = f"read; {stream.report.notes[0].text}"
    reading_process._stop_all()
    rejects.unlink()
    peaks = [resource.getrusage(who).ru_maxrss * 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {
        "outcome": outcome,
        "passages": passages,
        "seconds": time.monotonic() - began,
        "job": peaks[0],
        "reader": peaks[1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="files whose names contain this")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(read_one(asked.one)))
        return
    wrong, results = [], {}
    print(f"{'file':<24}{'size':>8}{'seconds':>9}{'job, MB':>9}{'reader':>8}{'passages':>10}  outcome")
    with tempfile.TemporaryDirectory() as folder:
        for name, make in FILES.items():
            if asked.only and asked.only not in name:
                continue
            path = Path(folder) / name
            make(path)
            done = subprocess.run(
                [sys.executable, __file__, "--one", path],
                capture_output=True,
                text=True,
                timeout=20 * SECONDS,
                check=False,
            )
            if done.returncode:
                found = {
                    "outcome": f"CRASH {done.returncode}: {done.stderr[-300:]}",
                    "passages": 0,
                    "seconds": 0,
                    "job": 0,
                    "reader": 0,
                }
            else:
                found = json.loads(done.stdout.splitlines()[-1])
            named = name in found["outcome"] or found["outcome"].startswith(("read", "rejected"))
            # The reader's bounds are on top of what its process and libraries take.
            if done.returncode or not named or found["seconds"] > 2 * SECONDS or found["reader"] > BYTES + 2**28:
                wrong.append(name)
            results[name] = found
            size = path.lstat().st_size
            print(
                f"{name:<24}{size / 1e6:>7.1f}M{found['seconds']:>9.1f}{found['job'] / 1e6:>9.0f}{found['reader'] / 1e6:>8.0f}"
                f"{found['passages']:>10,}  {'WRONG ' if name in wrong else ''}{found['outcome'][:150]}",
                flush=True,
            )
            path.unlink()
    print(
        json.dumps(
            {"files": len(results), "wrong": wrong, "most_seconds": max(one["seconds"] for one in results.values())}
        )
    )
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
