"""A server that is killed, and a disk that is full: what was acknowledged is there afterwards, and the rest is done or named."""

from __future__ import annotations

import contextlib
import io
import os
import random
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from commands import command_line, environment
from served import free_port, make_client, saved_models, wait_until, wait_until_ready

from indexing.jobs.verify_memory import verify_memory

SUBJECTS = ["ferry", "harbour", "garden", "library", "museum", "tower", "bakery", "bridge"]


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> list[str]:
    """Options that name tiny models."""
    folder = tmp_path_factory.mktemp("models")
    return saved_models(folder)


class Process:
    """A server in a process of its own, with the jobs that it starts."""

    def __init__(self, files: Path, models: list[str], *prefix: str):
        self.port = free_port()
        command = command_line("memgpt-rag", "serve", "--files", files, "--port", str(self.port), "--no-cache", *models)
        self.log = files.parent / f"log-{self.port}"
        with self.log.open("w") as log:
            self._process = subprocess.Popen([*prefix, *command], env=environment(), stderr=log, start_new_session=True)
        self.client = make_client(self.port)

    def wait_until_ready(self) -> None:
        wait_until_ready(self._process, self.port, self.log)

    def kill(self, *, with_jobs: bool) -> None:
        """Kill the server at once, alone or with the jobs that it has started."""
        self.client.close()
        if with_jobs:
            os.killpg(self._process.pid, signal.SIGKILL)
        else:
            self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        self.client.close()
        self._process.terminate()
        assert self._process.wait(60) == 0


@contextlib.contextmanager
def served(files: Path, models: list[str], *prefix: str) -> Iterator[Process]:
    server = Process(files, models, *prefix)
    try:
        server.wait_until_ready()
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server._process.pid, signal.SIGKILL)
        server._process.wait()
        server.client.close()


def place_text(number: int) -> str:
    return (
        f"The {SUBJECTS[number % 8]} of district {number} opens at {number % 12 + 6} and has {number * 37 % 101} seats."
    )


def upload(server: Process, store: str, number: int) -> str:
    file = server.client.files.create(
        file=(f"{number}.txt", io.BytesIO(place_text(number).encode())), purpose="assistants"
    )
    server.client.vector_stores.files.create(vector_store_id=store, file_id=file.id)
    return file.id


def statuses(server: Process, store: str) -> dict[str, str]:
    return {one.id: one.status for one in server.client.vector_stores.files.list(store, limit=100)}


def newly_completed(server: Process, store: str, known: set[str]) -> set[str]:
    """The files that are complete as soon as more are than those that are known."""
    found: set[str] = set()

    def more() -> bool:
        found.update(one for one, status in statuses(server, store).items() if status == "completed")
        return found > known

    wait_until(more, 120)
    return found


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("with_jobs", [True, False], ids=["with its jobs", "alone"])
def test_a_server_killed_while_it_indexes_loses_nothing_that_it_acknowledged(tmp_path, models, with_jobs):
    chance, texts, completed, store = random.Random(0), {}, set(), ""
    for turn in range(5):
        with served(tmp_path / "files", models) as server:
            if not store:
                store = server.client.vector_stores.create(name="kept").id
            now = statuses(server, store)
            assert set(now) == set(texts), "every file that was attached is still attached"
            assert all(now[one] == "completed" for one in completed), "what was acknowledged is"
            for _ in range(3):
                number = len(texts)
                texts[upload(server, store, number)] = place_text(number)
            if turn % 2 == 0:  # in the midst of a job, the first build among them, or right after one has ended
                time.sleep(chance.uniform(0.5, 8))
            else:
                completed |= newly_completed(server, store, completed)
            server.kill(with_jobs=with_jobs)
    with served(tmp_path / "files", models) as server:
        wait_until(lambda: "in_progress" not in statuses(server, store).values(), 300)
        assert set(statuses(server, store).values()) == {"completed"}
        for file, text in texts.items():
            (found,) = server.client.vector_stores.search(store, query=text, max_num_results=1)
            assert (found.file_id, found.content[0].text) == (file, text)
        server.stop()
    assert completed, "some were acknowledged before a kill"
    memory = tmp_path / "files" / "stores" / store / "memory"
    assert verify_memory(memory) == []
    assert sorted(one.name for one in (tmp_path / "files" / "stores").iterdir()) == [store], (
        "no job leaves anything behind"
    )


def on_small_disk(folder: Path, megabytes: int) -> list[str]:
    """What starts a command for which a folder is a disk of its own, of so many megabytes."""
    mounted = f"mount -t tmpfs -o size={megabytes}m none {shlex.quote(str(folder))}"
    prefix = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    if shutil.which("unshare") is None or subprocess.run([*prefix, mounted], capture_output=True).returncode:
        pytest.skip("no disk can be mounted here without the rights of an administrator")
    return [*prefix, f'{mounted} && exec "$@"', "sh"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_full_disk_is_named_and_nothing_is_lost(tmp_path, models):
    (tmp_path / "disk").mkdir()
    prefix = on_small_disk(tmp_path / "disk", 8)
    with served(tmp_path / "disk" / "files", models, *prefix) as server:
        client, store = server.client, server.client.vector_stores.create(name="kept").id
        first = upload(server, store, 0)
        client.vector_stores.files.poll(first, vector_store_id=store)
        with pytest.raises(openai.InternalServerError, match="No space left on device") as refused:
            client.files.create(file=("large.txt", io.BytesIO(b"Kites fly. " * 900_000)), purpose="assistants")
        assert refused.value.status_code == 503
        assert [one.id for one in client.files.list()] == [first], "what did not fit takes no space"
        fillers = []
        with pytest.raises(openai.InternalServerError, match="No space left on device"):
            for size in (2**20, 2**18, 2**16, 2**14, 2**12):
                for _ in range(40):
                    try:
                        content = io.BytesIO(os.urandom(size))
                        fillers.append(client.files.create(file=("filler.txt", content), purpose="assistants").id)
                    except openai.InternalServerError:
                        if size == 2**12:
                            raise
                        break
        client.files.delete(fillers.pop())  # enough to note a file, not to index it
        with contextlib.suppress(openai.InternalServerError):  # where not even that much is left
            found = client.vector_stores.files.poll(upload(server, store, 1), vector_store_id=store)
            assert found.status == "failed"
            assert "No space left on device" in found.last_error.message
        (hit,) = client.vector_stores.search(store, query=place_text(0), max_num_results=1)
        assert hit.file_id == first, "what was indexed is still found"
        for filler in fillers:
            client.files.delete(filler)
        again = upload(server, store, 2)
        assert client.vector_stores.files.poll(again, vector_store_id=store).status == "completed"
        found = {one.file_id for one in client.vector_stores.search(store, query=place_text(2), max_num_results=5)}
        assert found == {first, again}
