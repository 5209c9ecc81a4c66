"""First builds of one folder at the same time, refused and killed at random: one wins, and its bytes are right.

pytest tests/indexing/test_concurrent_builds.py --thorough      fifty rounds of two, three and twenty jobs
"""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path
from random import Random

import pytest
from children import heard
from hashing import HashEncoder
from jobs import build, contents, write_sources

from indexing.jobs.verify_memory import verify_memory
from memgpt_rag.errors import BusyError, MemgptRagError
from memgpt_rag.memory import MemoryWriter
from memgpt_rag.memory.storage import layout

# Only in a process that has no threads: a fork may get a lock that a thread holds, and wait for it for ever.
_CONTEXT = multiprocessing.get_context("fork")


def _job(sources: Path, memory: Path, begin: float, outcome: Path) -> None:
    """Build once the time has come. Nothing is shared with other jobs: who is killed with a lock in hand holds up all others."""
    time.sleep(max(0.0, begin - time.monotonic()))
    try:
        build(sources, memory)
        outcome.write_text("built")
    except BusyError:
        outcome.write_text("refused")
    except BaseException as error:
        outcome.write_text(f"{type(error).__name__}: {error}")
        raise


def _rounds(jobs: int, rounds: int, scratch: Path, done) -> None:
    """So many first builds at once, some of them killed, again and again."""
    sources = write_sources(scratch / "sources", range(40))
    build(sources, scratch / "alone")
    whole = contents(scratch / "alone")
    for number in range(rounds):
        memory, random = scratch / f"memory{number}", Random(100 * jobs + number)
        folder = scratch / f"outcomes{number}"
        folder.mkdir()
        begin = time.monotonic() + 0.01 * jobs  # when all of them have been started, more or less
        processes = [
            _CONTEXT.Process(target=_job, args=(sources, memory, begin + 0.02 * random.random(), folder / str(place)))
            for place in range(jobs)
        ]
        for process in processes:
            process.start()
        time.sleep(max(0.0, begin - time.monotonic()))
        killed = random.sample(processes, random.randrange(jobs))
        for process in killed:
            time.sleep(random.random() * 0.01)
            process.kill()
        for process in processes:
            process.join(60)
            assert process.exitcode is not None, f"round {number}: a job hangs"
        spared = [process for process in processes if process not in killed]
        outcomes = [file.read_text() for file in folder.iterdir()]
        assert all(process.exitcode == 0 for process in spared), f"round {number}: {outcomes}"
        if not (memory / layout.MANIFEST).exists():  # the one that was not refused was killed
            build(sources, memory)
        assert verify_memory(memory) == [], f"round {number}"
        build(sources, memory)  # nothing to do but to clear up what killed jobs left
        # Keys of a job that was killed right after its commit stay for the next one that embeds, which removes them.
        (memory / layout.JOURNAL).unlink(missing_ok=True)
        assert contents(memory) == whole, f"round {number}"
        done.put(number)
    done.put(None)


@pytest.mark.parametrize("jobs", [2, 20])
def test_of_first_builds_at_the_same_time_one_wins(jobs, tmp_path, pytestconfig):
    rounds = 50 if pytestconfig.getoption("--thorough") else 3
    assert list(heard(_rounds, jobs, rounds, tmp_path)) == list(range(rounds))


def test_a_job_that_is_refused_leaves_the_running_one_alone(tmp_path):
    """Also before that one has written anything by which it could be distinguished from leftovers."""
    memory = tmp_path / "memory"
    with MemoryWriter(memory) as running:
        before = sorted(memory.rglob("*"))
        for _ in range(2):
            with pytest.raises(BusyError, match="Another job is writing to"), MemoryWriter(memory):
                pass
        assert sorted(memory.rglob("*")) == before
        assert running.base is None
    assert not memory.exists()


def test_a_build_that_is_killed_among_its_first_passages_goes_on(tmp_path, monkeypatch):
    """Fewer than a whole block of texts were embedded when the machine went down."""
    sources, memory = write_sources(tmp_path / "sources", range(40)), tmp_path / "memory"
    embedded, encode = [], HashEncoder.encode_passages

    class StoppedError(MemgptRagError):
        pass

    def failing(self, texts):
        if any(text.startswith("Bench") for text in texts):
            embedded.append(len(texts))
            if sum(embedded) > 20:
                raise StoppedError
        return encode(self, texts)

    monkeypatch.setattr(HashEncoder, "encode_passages", failing)
    with pytest.raises(StoppedError):
        build(sources, memory)
    monkeypatch.setattr(
        HashEncoder, "encode_passages", lambda self, texts: embedded.append(len(texts)) or encode(self, texts)
    )
    first = embedded[0]
    embedded.clear()
    build(sources, memory)
    assert first >= 16
    assert (
        sum(number for number in embedded if number > 8) == 40 - first
    )  # the fingerprint's own texts come in twos to eights
