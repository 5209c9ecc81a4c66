"""Which files a source names: in folders here, and at addresses; sentences for those that lead nowhere."""

from __future__ import annotations

import os
import shutil
import socket
import zipfile

import click
import pytest
from click.testing import CliRunner

from indexing.cli.options import reading_options
from indexing.sources import inflation
from indexing.sources.document import Note
from indexing.sources.find_files import find_files
from indexing.sources.read_documents import read_documents
from indexing.sources.read_options import ReadOptions
from memgpt_rag.errors import SourceError


def test_a_folder_is_read_to_the_bottom_in_order_without_hidden_files(tmp_path):
    for name in ("b.txt", "a/z.txt", "a/c.md", ".git/config", "a/.DS_Store", "notes"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"Text of {name}.")
    assert [file.name for file in find_files([tmp_path])] == ["a/c.md", "a/z.txt", "b.txt", "notes"]
    assert [file.name for file in find_files([tmp_path], exclude=["*.md", "notes"])] == ["a/z.txt", "b.txt"]
    assert [file.name for file in find_files([tmp_path / "b.txt", tmp_path / "a"])] == ["b.txt", "c.md", "z.txt"]


def test_sources_that_hold_nothing_are_named(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        SourceError, match=r"empty holds no documents to read; put files there, or name another source\."
    ):
        find_files([tmp_path / "empty"])
    with pytest.raises(SourceError, match=r"gone does not exist; name a file or a folder of documents\."):
        find_files([tmp_path / "gone"])


def test_two_files_of_one_name_are_not_mixed_up(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.txt").write_text(folder)
    with pytest.raises(SourceError, match=r"would both be cited as a.txt; name the folder above them as the source\."):
        find_files([tmp_path / "one", tmp_path / "two"])
    assert [file.name for file in find_files([tmp_path])] == ["one/a.txt", "two/a.txt"]


@pytest.fixture
def archive(tmp_path) -> str:
    """The address of a folder in an archive."""
    path = tmp_path / "documents.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("docs/park.md", "# Park\n\nThe park opens at six.\n")
        file.writestr("docs/more/benches.jsonl", '{"id": "b1", "text": "A bench."}\n{"id": "b2", "text": "Another."}\n')
        file.writestr("docs/more/.hidden.txt", "no")
        file.writestr("docs/bad.jsonl", '{"text": "fine"}\n{broken\n')
    return f"zip://docs::{path}"


def test_what_is_addressed_is_read_as_what_is_here(archive, tmp_path):
    with zipfile.ZipFile(archive.partition("::")[2]) as file:
        file.extractall(tmp_path / "here")
    (tmp_path / "here" / "docs" / "bad.jsonl").unlink()
    found = find_files([archive], exclude=["bad.jsonl"])
    assert [(file.name, file.format, file.bytes > 0) for file in found] == [
        ("more/benches.jsonl", "jsonl", True),
        ("park.md", "markdown", True),
    ]
    here = find_files([tmp_path / "here" / "docs"])
    assert list(read_documents(found)) == list(read_documents(here))
    address = f"file://{tmp_path}/here/docs/park.md"
    assert list(read_documents(find_files([address]))) == list(
        read_documents(find_files([tmp_path / "here/docs/park.md"]))
    )


def test_faults_of_what_is_addressed_name_the_file(archive):
    with pytest.raises(SourceError, match="bad.jsonl, line 2: broken JSON"):
        list(read_documents(find_files([archive])))


def test_addresses_that_lead_nowhere_are_a_sentence_without_secrets(archive, tmp_path):
    for address, match in [
        (archive.replace("docs::", "gone::"), r"zip://gone::.*documents.zip does not exist; name a file or a folder"),
        (archive.replace("documents", "gone"), r"zip://docs::.*gone.zip does not exist"),
        ("nosuch://bucket/docs", r"nosuch://bucket/docs cannot be reached: Protocol not known: nosuch"),
        ("memory://empty", r"memory://empty does not exist"),
    ]:
        with pytest.raises(SourceError, match=match):
            find_files([address])
    with pytest.raises(SourceError, match="nosuch://bucket/docs cannot") as caught:
        find_files(["nosuch://user:secret@bucket/docs?signature=secret"])
    assert "secret" not in str(caught.value)


def test_two_addressed_files_of_one_name_are_refused(archive, tmp_path):
    shutil.copy(archive.partition("::")[2], tmp_path / "other.zip")
    with pytest.raises(SourceError, match="docs/park.md in zip://docs::.* would both be cited as"):
        find_files([archive, archive.replace("documents", "other")], exclude=["*.jsonl"])
    assert len(find_files([archive, archive])) == 3


def files_and_notes(folder, **options) -> tuple[list[str], list[tuple[str, str]]]:
    notes: list[Note] = []
    files = find_files([folder], on_note=notes.append, **options)
    return [file.name for file in files], [(note.source, note.text) for note in notes]


def test_pipes_sockets_and_devices_are_left_out_with_a_note(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("Text.")
    os.mkfifo(tmp_path / "in" / "pipe.txt")
    (tmp_path / "in" / "null.md").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "in" / "s"))
        names, notes = files_and_notes(tmp_path / "in", follow_links=True)
    assert names == ["a.txt"]
    assert notes == [
        ("pipe.txt", "is a named pipe, not a file, and was left out"),
        ("s", "is a socket, not a file, and was left out"),
        ("null.md", "is a device, not a file, and was left out"),
    ]
    assert files_and_notes(tmp_path / "in", exclude=["pipe*", "s", "*.md"]) == (["a.txt"], [])
    with pytest.raises(SourceError, match=r"pipe.txt is a named pipe, not a file; name a file or a folder"):
        find_files([tmp_path / "in" / "pipe.txt"])
    with pytest.raises(SourceError, match=r"/dev/zero is a device, not a file"):
        find_files(["/dev/zero"])


def test_links_that_stay_inside_are_followed_and_each_file_is_taken_once(tmp_path):
    folder = tmp_path / "in"
    (folder / "b" / "c").mkdir(parents=True)
    (folder / ".versions").mkdir()
    for name in ("b/c/deep.txt", "b/note.txt", ".versions/now.txt", ".versions/more.txt"):
        (folder / name).write_text(f"Text of {name}.")
    (folder / "a-link").symlink_to("b")  # a folder that has a name of its own
    (folder / "b" / "c" / "loop").symlink_to("../..")
    (folder / "self").symlink_to("self")
    (folder / "current").symlink_to(".versions")
    (folder / "again").symlink_to(folder / ".versions")
    (folder / "copy.txt").symlink_to("b/note.txt")
    names, notes = files_and_notes(folder, exclude=["self"])
    assert names == ["again/more.txt", "again/now.txt", "b/c/deep.txt", "b/note.txt"]
    assert notes == []
    with pytest.raises(SourceError, match="self cannot be read: Too many levels of symbolic links"):
        list(read_documents(find_files([folder])))


def test_links_that_lead_out_are_left_out_unless_asked_for(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "secret.txt").write_text("Secret.")
    (tmp_path / "file.txt").write_text("Other.")
    (folder / "a.txt").write_text("Text.")
    (folder / "linked").symlink_to("../out")
    (folder / "link.txt").symlink_to(tmp_path / "file.txt")
    (folder / "up").symlink_to(tmp_path)
    why = "is a link that leads out of the folder, and was not followed; --follow-links does"
    assert files_and_notes(folder) == (["a.txt"], [("link.txt", why), ("linked", why), ("up", why)])
    assert files_and_notes(folder, follow_links=True) == (["a.txt", "link.txt", "linked/secret.txt"], [])
    (tmp_path / "alias").symlink_to(folder)
    assert files_and_notes(tmp_path / "alias", exclude=["link*", "up"]) == (["a.txt"], [])


def test_a_name_that_is_no_utf_8_is_named_with_its_bytes_escaped(tmp_path):
    (tmp_path / "good.txt").write_text("Text.")
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_text("Coffee.")
    files = find_files([tmp_path])
    sentence = r"caf\xe9.txt has a name that is no UTF-8; rename it, or leave it out with --exclude."
    with pytest.raises(SourceError) as caught:
        list(read_documents(files))
    assert str(caught.value) == sentence
    rejects = []
    documents = list(read_documents(files, ReadOptions(on_reject=rejects.append)))
    assert [one.source for one in documents] == ["good.txt"]
    assert [(one.source, one.reason) for one in rejects] == [(r"caf\xe9.txt", sentence)]
    assert [file.name for file in find_files([tmp_path], exclude=["caf*"])] == ["good.txt"]


def test_names_in_both_unicode_forms_are_two_files(tmp_path):
    (tmp_path / "\u00e9.txt").write_text("One.")
    (tmp_path / "e\u0301.txt").write_text("Two.")
    read = {one.source: one.blocks[0].text for one in read_documents(find_files([tmp_path]))}
    assert read == {"\u00e9.txt": "One.", "e\u0301.txt": "Two."}
    (tmp_path / "z.txt").write_text("Z.")
    assert [file.name for file in find_files([tmp_path], exclude=["\u00e9.txt"])] == ["z.txt"]


def test_an_addressed_archive_is_bounded_and_opened_once(tmp_path, monkeypatch):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("big.txt", "word " * 100_000)
        for number in range(300):
            file.writestr(f"{number}.txt", "")
    monkeypatch.setattr(inflation, "MOST_BYTES", 100_000)
    opened = []
    original = zipfile.ZipFile._RealGetContents
    monkeypatch.setattr(zipfile.ZipFile, "_RealGetContents", lambda self: (opened.append(self), original(self)))
    with pytest.raises(SourceError, match=r"^big.txt inflates to more than"):
        list(read_documents(find_files([f"zip://::{path}"])))
    assert len(opened) < 3


def test_a_command_gets_notes_for_the_end_of_its_job_and_prints_them_where_no_file_is_found(tmp_path):
    @click.command()
    @reading_options
    def command(reading):
        files, notes = reading.find([tmp_path])
        click.echo(f"{[file.name for file in files]}, {[note.source for note in notes]}")

    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a.txt").write_text("Text.")
    done = CliRunner().invoke(command, [])
    assert (done.stdout, done.stderr) == ("['a.txt'], ['pipe']\n", "")
    (tmp_path / "a.txt").unlink()
    done = CliRunner().invoke(command, [])
    assert "holds no documents to read" in str(done.exception)
    assert done.stderr == "pipe: is a named pipe, not a file, and was left out.\n"
