"""Faults of the machine: what the commands say of a full disk, of a pipe that nobody reads, of an interrupt, and when they stay quiet."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from commands import command_line, environment
from conftest import ROOT
from hashing import HashEncoder, passage

from memgpt_rag.io.system_errors import at_path, system_sentence
from memgpt_rag.memory import Memory, MemoryWriter
from memgpt_rag.memory.storage import files

NOTHING = subprocess.DEVNULL


@pytest.fixture(scope="module")
def memory(tmp_path_factory) -> Path:
    folder, encoder = tmp_path_factory.mktemp("console") / "memory", HashEncoder()
    written = [passage(number, f"Text {number} about boats and kites. {'Word ' * 40}") for number in range(300)]
    with MemoryWriter(folder) as writer:
        writer.add_values(written)
        writer.add_keys(encoder.encode_passages([one.titled_text for one in written]))
        writer.commit(encoder.fingerprint, splitting={"tokenizer": "t", "max_tokens": 160}, job={"name": "build"})
    return folder


def ended(*arguments: str | Path, **streams: object) -> tuple[int, str]:
    """Exit status and standard error of a command."""
    done = subprocess.run(
        command_line(*arguments), cwd=ROOT, env=environment(), timeout=600, **{"stderr": subprocess.PIPE, **streams}
    )
    return done.returncode, (done.stderr or b"").decode()


@contextlib.contextmanager
def broken_pipe():
    """The end of a pipe whose reader has gone."""
    read, write = os.pipe()
    os.close(read)
    yield write
    os.close(write)


def test_a_pipe_that_nobody_reads_ends_a_command_without_a_word(memory):
    for command in (["memgpt-index", "export", "--help"], ["memgpt-index", "versions", memory]):
        with broken_pipe() as pipe:
            assert ended(*command, stdout=pipe) == (141, "")
    with broken_pipe() as pipe:
        assert ended("memgpt-index", "verify", memory / "gone", stdout=NOTHING, stderr=pipe) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_device_behind_standard_output_is_reported(memory):
    with Path("/dev/full").open("wb") as full:
        status, shown = ended("memgpt-index", "versions", memory, stdout=full)
    assert status == 1
    assert shown.startswith("Error: standard output: No space left on device; free some")
    assert shown.count("\n") == 1


@pytest.mark.parametrize("closed", [(1,), (2,), (0, 1, 2)], ids=str)
def test_streams_that_are_closed_at_the_start_harm_nothing(memory, tmp_path, closed):
    """What is opened next gets the number of a stream that is closed: a file must not become what some library prints to."""
    code = (
        "import os, sys; from indexing.cli.main import main\n"
        "@main.command()\n"
        "def noisy():\n"
        "    with open(sys.argv[-1], 'w') as file:\n"
        "        file.write('sound'); file.flush(); os.write(1, b'noise'); os.write(2, b'noise')\n"
        "sys.argv[1:1] = ['noisy', '--']; main.commands['noisy'].allow_extra_args = True; main()"
    )
    file = tmp_path / "file"
    subprocess.run(
        [sys.executable, "-c", code, str(file)],
        preexec_fn=lambda: [os.close(one) for one in closed],
        env=environment(),
        cwd=ROOT,
        capture_output=True,
    )
    assert file.read_text() == "sound"
    status, shown = ended("memgpt-index", "versions", memory, preexec_fn=lambda: [os.close(one) for one in closed])
    assert (status, shown) == (0, "")


def limited(kind: int, most: int):
    def limit() -> None:
        resource.setrlimit(kind, (most, most))

    return limit


@pytest.mark.parametrize(
    "command, file",
    [
        (["memgpt-index", "export", "MEMORY", "OUT/e.jsonl"], "OUT/e.jsonl"),
        (["memgpt-index", "export", "MEMORY", "OUT/e.parquet", "--keys"], "OUT/e.parquet"),
        (["memgpt-index", "compact", "MEMORY"], "MEMORY/segments/000002/"),
        (["memgpt-index", "lexical", "MEMORY"], None),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)
def test_a_limit_on_files_is_reported_with_the_file_and_leaves_the_memory(memory, tmp_path, command, file):
    """A real fault, of writing: RLIMIT_FSIZE."""
    words = [word.replace("MEMORY", str(memory)).replace("OUT", str(tmp_path)) for word in command]
    status, shown = ended(*words, preexec_fn=limited(resource.RLIMIT_FSIZE, 20_000), stdout=NOTHING)
    assert status == 1
    place = ".*" if file is None else re.escape(file.replace("MEMORY", str(memory)).replace("OUT", str(tmp_path)))
    assert re.fullmatch(rf"Error: {place}.*: File too large; raise the limit \(ulimit -f\), .*\.\n", shown), shown
    assert list(tmp_path.iterdir()) == [], "half of an export is no export"
    assert len(Memory.open(memory)) == 300
    assert [path.name for path in (memory / "segments").iterdir()] == ["000001"]


def test_too_few_open_files_are_not_reported_as_a_damaged_memory(memory):
    """At each number of files that is too low, which another file of the memory is the first to find out."""
    code = (
        "import os, resource, sys, memgpt_rag.memory; from memgpt_rag.cli.main import main\n"
        "most = len(os.listdir('/proc/self/fd')) - 1 + int(sys.argv.pop())\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (most, most)); main()"
    )
    shown = []
    for more in range(3):
        words = [sys.executable, "-c", code, "info", str(memory), str(more)]
        done = subprocess.run(words, capture_output=True, text=True, env=environment(), cwd=ROOT)
        if done.returncode:
            shown.append(done.stderr)
    assert len(shown) >= 2
    for sentence in shown:
        assert re.fullmatch(
            r"Error: .+: Too many open files; raise the limit of this process \(ulimit -n\)\.\n", sentence
        )


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT], ids=os.strerror)
@pytest.mark.parametrize("name", ["write", "fsync"])
def test_a_fault_of_the_disk_names_the_file(tmp_path, monkeypatch, number, name):
    """Also where it comes late: in a library's buffer, or when the file is closed."""
    real, encoder = getattr(os, name), HashEncoder()

    def fail(handle, *rest):
        if Path(f"/proc/self/fd/{handle}").readlink().name == "values.arrow":
            raise OSError(number, os.strerror(number))
        return real(handle, *rest)

    monkeypatch.setattr(files.os, name, fail)
    with pytest.raises(OSError, match=re.escape(os.strerror(number))) as caught, MemoryWriter(tmp_path / "m") as writer:
        writer.add_values([passage(0)])
        for block in writer.value_blocks(8):
            writer.add_keys(encoder.encode_passages([one.titled_text for one in block]))
    monkeypatch.undo()
    shown = system_sentence(caught.value)
    assert shown.startswith(f"{tmp_path / 'm' / 'segments' / '000001' / 'values.arrow'}: {os.strerror(number)}; ")
    assert not (tmp_path / "m").exists(), "the folder is as it was before"
    with MemoryWriter(tmp_path / "m"):
        pass  # the lock was let go of


@pytest.mark.parametrize(
    "error, shown",
    [
        (
            RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
            "No space left on device",
        ),
        (RuntimeError("write error in /x: 0 != 4 (Input/output error)"), "Input/output error"),
        (type("OperationalError", (Exception,), {})("database or disk is full"), "No space left on device"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 160000000000 bytes."),
            "Memory ran out",
        ),
        (
            MemoryError("Unable to allocate 160. GiB for an array"),
            r"Memory ran out \(Unable to allocate 160. GiB for an array\)",
        ),
        (FileNotFoundError(2, "No such file or directory", "/gone"), "/gone: No such file or directory"),
    ],
)
def test_faults_in_the_words_of_libraries_are_sentences(error, shown):
    assert re.search(shown, system_sentence(error))
    assert system_sentence(KeyError("lost")) is None


def test_what_fails_at_a_path_names_it():
    with pytest.raises(OSError, match="No space left") as caught, at_path("/full/file"):
        raise RuntimeError("I/O error: No space left on device (os error 28)")
    assert (caught.value.filename, caught.value.errno) == ("/full/file", errno.ENOSPC)
    with pytest.raises(KeyError, match="lost"), at_path("/full/file"):
        raise KeyError("lost")


ENTRIES = re.findall(r'^memgpt-\w+ = "(.+):(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)


@pytest.mark.parametrize("module, function", ENTRIES)
def test_an_interrupt_while_a_command_is_imported_leaves_no_traceback(tmp_path, module, function):
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # jobs in the background begin without it
        "class Lookup:\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'click': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Lookup())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"from {module} import {function}; {function}()", "--help"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"},
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


def test_an_interrupt_later_is_reported_in_a_word(memory):
    code = "import os, signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "from memgpt_rag.__main__ import start; import memgpt_rag.memory as m\n"
    code += "m.list_versions = lambda folder: os.kill(os.getpid(), signal.SIGINT)\nstart('indexing.cli.main')"
    done = subprocess.run(
        [sys.executable, "-c", code, "versions", str(memory)],
        capture_output=True,
        text=True,
        env=environment(),
        cwd=ROOT,
    )
    assert (done.returncode, done.stdout, done.stderr.strip()) == (1, "", "Aborted!")


@pytest.mark.parametrize("chosen", [{}, {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "1024"}])
def test_commands_keep_few_compiled_products(tmp_path, chosen):
    """Where a processor computes in bf16, each length of input has a compiled product; 400 of them take 300 MB."""
    (tmp_path / "products.py").write_text(
        "import os, torch\n"
        "def multiply(lengths):\n"
        "    for length in lengths:\n"
        "        torch.ones(length, 640, dtype=torch.bfloat16) @ right\n"
        "    return int(open('/proc/self/statm').read().split()[1]) * os.sysconf('SC_PAGE_SIZE')\n"
        "right = torch.ones(640, 640, dtype=torch.bfloat16)\n"
        "def main():\n"
        "    before = multiply(range(1, 100))\n"
        "    print(os.environ.get('ONEDNN_PRIMITIVE_CACHE_CAPACITY'), multiply(range(100, 500)) - before)\n"
    )
    code = "from memgpt_rag.__main__ import start; start('products')"
    kept, grown = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **chosen, "PYTHONPATH": f"{tmp_path}:{ROOT}", "OMP_NUM_THREADS": "1"},
    ).stdout.split()
    if chosen:
        assert kept == "1024", "what a user has set goes before"
    else:
        assert int(grown) < 100e6
