"""Indexing jobs in processes of their own: `memgpt-index add`, `build` and `delete`, as a user would run them.

A process cannot take the server with it, whatever a document does to its reader, and the library never imports the job.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from memgpt_rag.errors import MemoryFormatError
from memgpt_rag.io.printable import shortened
from memgpt_rag.memory.storage import layout
from memgpt_rag.memory.storage.manifest import read_manifest
from memgpt_rag.memory.versions import BUSY

_REJECTS_STATUS = 3  # the job went on without what it could not read
_NO_TEXT = "holds no text"
_PREFIX = "job-"  # of the folder that a job works in
_BUSY_SECONDS, _MOST_BUSY_SECONDS = 1.0, 600.0  # between two tries, and in all, while another job writes


@dataclass(frozen=True)
class JobResult:
    """What became of a job.

    Attributes:
        problem: the sentence why nothing was committed; empty where it was.
        faults: file id → why nothing of it was read.
    """

    problem: str = ""
    faults: Mapping[str, str] = field(default_factory=dict)


class IndexJobs:
    """Runs indexing jobs, one at a time.

    Args:
        arguments: further arguments of the jobs that read files, such as --encoder NAME.
        sparse_encoder: name of the encoder of sparse vectors. New memories get them, and added entries where the others have them.
    """

    def __init__(self, arguments: Sequence[str] = (), sparse_encoder: str | None = None):
        self._arguments = list(arguments)
        self._sparse_encoder = sparse_encoder
        self._one = asyncio.Lock()

    async def add(self, memory: Path, files: Mapping[str, Path], scratch: Path) -> JobResult:
        """Add files to a memory, or build it from them where there is none.

        Args:
            files: id of each file, under which its entries are cited, → its path.
            scratch: folder on the same device for what the job needs while it runs.
        """
        async with self._one:
            work = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=scratch))
            try:
                for id, path in files.items():
                    (work / "stage" / id).mkdir(parents=True)
                    _link(path, work / "stage" / id / path.name)
                # A first build that was killed leaves a folder without a version, from which the next one goes on.
                command = "add" if (memory / layout.MANIFEST).exists() else "build"
                further = ["--lexical"] if command == "build" else []
                # Another encoder would compute the vectors of all entries again.
                encoder = self._sparse_encoder if command == "build" else _sparse_encoder_name(memory)
                if encoder is not None and encoder == self._sparse_encoder:
                    further += ["--sparse-encoder", encoder]
                status, said = await self._run_when_free(
                    command,
                    str(work / "stage"),
                    *("--memory", str(memory), "--log", str(work / "log"), "--rejects", str(work / "rejects")),
                    *further,
                    *self._arguments,
                )
                faults = _faults(work)
                if status in (0, _REJECTS_STATUS):
                    return JobResult(faults=faults)
                return JobResult(problem=said.replace(f"{work / 'stage'}/", ""), faults=faults)
            finally:
                shutil.rmtree(work, ignore_errors=True)

    async def delete(self, memory: Path, source: str) -> JobResult:
        """Delete the entries of a file from a memory."""
        async with self._one:
            status, said = await self._run_when_free("delete", "--memory", str(memory), "--source", source)
            return JobResult(problem="" if status == 0 else said)

    async def _run_when_free(self, *arguments: str) -> tuple[int, str]:
        """Run a job once no other one writes to its memory: one from the command line, or of a server that was killed."""
        end = time.monotonic() + _MOST_BUSY_SECONDS
        while True:
            status, said = await self._run(*arguments)
            if not said.startswith(BUSY) or time.monotonic() > end:
                return status, said
            await asyncio.sleep(_BUSY_SECONDS)

    async def _run(self, *arguments: str) -> tuple[int, str]:
        """Run a job; return its exit status and the sentence of its error. It ends with whoever waits for it."""
        environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false"}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "indexing", *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
        )
        try:
            _, said = await process.communicate()
        except asyncio.CancelledError:
            process.terminate()
            await process.wait()
            raise
        lines = said.decode("utf-8", "replace").strip().splitlines()
        sentence = next((line for line in reversed(lines) if line.startswith("Error: ")), "")
        problem = sentence.removeprefix("Error: ") or f"The indexing job ended with status {process.returncode}."
        return process.returncode or 0, shortened(problem, 500)


def remove_left_over(scratch: Path) -> None:
    """Remove the folders of jobs whose server was killed. A job that still runs fails without its files, or has read them all."""
    for work in scratch.glob(f"{_PREFIX}*"):
        shutil.rmtree(work, ignore_errors=True)


def _sparse_encoder_name(memory: Path) -> str | None:
    """Return the name of the encoder of a memory's sparse vectors; None where it has none, or is damaged, which the job reports."""
    with contextlib.suppress(MemoryFormatError):
        stored = read_manifest(memory).sparse
        return None if stored is None else stored.name
    return None


def _link(path: Path, to: Path) -> None:
    try:
        os.link(path, to)
    except OSError:  # a file system without links
        shutil.copyfile(path, to)


def _faults(work: Path) -> dict[str, str]:
    """Return the files of which nothing was read, with the reason, from the job's log and its rejects."""
    faults = {}
    for line in _lines(work / "log"):
        if line.get("event") == "note" and line.get("note") == _NO_TEXT:
            faults[_id(line["file"])] = "The file holds no text."
    for line in _lines(work / "rejects"):
        if not line.get("position"):
            faults[_id(line["source"])] = str(line["reason"])
    return faults


def _lines(file: Path) -> list[dict[str, str]]:
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def _id(source: str) -> str:
    return source.partition("/")[0]
