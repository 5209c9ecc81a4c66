"""Which files a source names: in folders here, and at addresses; sentences for those that lead nowhere."""

from __future__ import annotations

import shutil
import zipfile

import pytest

from indexing.sources.find_files import find_files
from indexing.sources.read_documents import read_documents
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
