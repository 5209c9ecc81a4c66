"""Addresses of sources: what of them is shown, and that no message, log or citation holds a password, a key or a signature."""

from __future__ import annotations

import json
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from indexing.job_log import JobLog
from indexing.sources import encodings
from indexing.sources.addresses import shown_address, without_secrets
from indexing.sources.find_files import find_files
from indexing.sources.read_documents import read_documents
from indexing.sources.read_options import ReadOptions
from memgpt_rag.errors import SourceError


@pytest.mark.parametrize(
    "address, shown",
    [
        ("https://user:SECRET@host/docs", "https://host/docs"),
        ("ftp://alice:SECRET/SECRET@host/docs", "ftp://…@host/docs"),
        ("s3://AKIASECRET/SECRET:SEC+RET@bucket/docs", "s3://…@bucket/docs"),
        ("ftp://alice:p@SECRET@host/docs", "ftp://host/docs"),
        ("ftp://alice:SECRET?SECRET@host/docs", "ftp://…"),
        ("ftp://alice:SECRET#SECRET@host/docs", "ftp://…"),
        ("ftp://alice:SECRET::SECRET@host/docs", "ftp://host/docs"),
        ("ftp://alice:SECRET::/SECRET@host/docs", "ftp://…@host/docs"),
        ("ftp://alice:SECRET", "ftp://alice:…"),
        ("https://host/a.txt?X-Amz-Signature=SECRET&X-Amz-Date=1", "https://host/a.txt"),
        ("https://host/a.txt?sig=SECRET@SECRET", "https://…"),
        ("https://host?token=SECRET#SECRET", "https://host"),
        ("https://host:8443/a.txt", "https://host:8443/a.txt"),
        ("https://[::1", "https://[::1"),
        ("https://[::1]:80/docs?sig=SECRET", "https://[::1]:80/docs"),
        ("zip::https://user:SECRET@host/a.zip", "zip::https://host/a.zip"),
        ("zip://docs::s3://KEYSECRET:SECRET@bucket/a.zip?versionId=SECRET", "zip://docs::s3://bucket/a.zip"),
        ("simplecache::zip://docs::ftp://user:SECRET/@host/a.zip", "simplecache::zip://docs::ftp://…@host/a.zip"),
        ("zip://", "zip://"),
        ("zip://docs::/home/me@work/a.zip", "zip://docs::/home/me@work/a.zip"),
        ("file:///home/me@work/a?.txt", "file:///home/me@work/a?.txt"),
    ],
)
def test_no_form_of_address_shows_a_secret(address, shown):
    assert shown_address(address) == shown
    if "SECRET" in address:
        assert "SECRET" not in without_secrets(f"Port 'SECRET' of {address} is wrong", address)


def test_what_a_client_says_is_shown_without_parts_of_the_address():
    said = "403 for 'https://other/x?sig=SIGNED' and url: /p?token=SIGNED (S3%2FCRET, S3/CRET)"
    assert without_secrets(said, "https://u:S3%2FCRET@host/p") == "403 for 'https://other/x' and url: /p (…, …)"


class Refusing(MemoryFileSystem):
    """A store whose client says of every refusal that the file does not exist, as fsspec's of web servers does."""

    protocol = "refusing"
    cause: Exception

    def info(self, path, **settings):
        raise FileNotFoundError(path) from self.cause


class ResponseError(Exception):
    """As aiohttp's ClientResponseError: an error that knows its status."""

    def __init__(self, status: int, words: str):
        super().__init__(f"{status}, message='{words}', url='refusing://host/docs?sig=SECRET'")
        self.status = status


@pytest.mark.parametrize(
    "cause, shown",
    [
        (ResponseError(403, "Forbidden"), "cannot be reached: 403, message='Forbidden', url='refusing://host/docs'"),
        (ConnectionRefusedError(111, "Connection refused"), r"cannot be reached: \[Errno 111\] Connection refused"),
        (TimeoutError("no answer"), "cannot be reached: no answer"),
        (ResponseError(404, "Not Found"), "does not exist; name a file or a folder"),
        (None, "does not exist; name a file or a folder"),
    ],
    ids=str,
)
def test_a_refusal_is_not_reported_as_a_missing_file(tmp_path, cause, shown):
    fsspec.register_implementation("refusing", Refusing, clobber=True)
    Refusing.cause = cause
    address = "refusing://alice:SECRET@host/docs?sig=SECRET"
    with pytest.raises(SourceError, match=f"^refusing://host/docs {shown}"), JobLog("build", log=tmp_path / "log"):
        find_files([address])
    assert "SECRET" not in (tmp_path / "log").read_text()
    assert json.loads((tmp_path / "log").read_text().splitlines()[-1])["event"] == "failed"


class Web(MemoryFileSystem):
    """A store whose paths are whole addresses, as those of web servers are."""

    protocol = "web"

    @classmethod
    def _strip_protocol(cls, path):
        return path

    def info(self, path, **settings):
        return {"name": path, "type": "file" if ".txt" in path else "directory", "size": 5}

    def find(self, path, **settings):
        return {f"{path}/{name}?sig=SECRET": self.info(name) for name in ("a.txt", "b.txt")}

    def get_file(self, path, local, **settings):
        assert "SECRET" in path
        Path(local).write_text("Text.")


def test_names_in_citations_hold_no_signatures():
    fsspec.register_implementation("web", Web, clobber=True)
    files = find_files(["web://host/note.txt?sig=SECRET", "web://host/docs"])
    assert [(file.name, file.format) for file in files] == [
        ("note.txt", "plain_text"),
        ("a.txt", "plain_text"),
        ("b.txt", "plain_text"),
    ]
    assert [document.source for document in read_documents(files)] == ["note.txt", "a.txt", "b.txt"]


def test_an_address_that_is_none_is_named():
    with pytest.raises(SourceError, match=r"^https://\[::1 cannot be reached: .+; see to its address"):
        find_files(["https://[::1"])
    with pytest.raises(SourceError, match=r"^zip:// cannot be reached: .+; see to its address"):
        find_files(["zip://"])


def test_a_file_that_goes_while_the_folder_is_read_is_named(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("Text.")
    path = tmp_path / "b.txt"
    path.write_text("Text.")
    real = type(path).stat

    def stat(self, **settings):
        found = real(self, **settings)
        if self == path:
            self.unlink()
        return found

    monkeypatch.setattr(type(path), "stat", stat)
    files = find_files([tmp_path])
    monkeypatch.undo()
    with pytest.raises(SourceError, match=r"^b.txt cannot be read: No such file or directory"):
        list(read_documents(files))


def test_a_file_that_changes_while_it_is_read_is_named(tmp_path, monkeypatch):
    path, looked = tmp_path / "a.jsonl", encodings._is_text
    path.write_text('{"text": "Text."}')

    def look(*arguments):
        found = looked(*arguments)
        path.write_bytes(b"\xff\xfe")
        return found

    monkeypatch.setattr(encodings, "_is_text", look)
    with pytest.raises(SourceError, match=r"^a.jsonl cannot be read: .* it may have changed while it was read"):
        list(read_documents(find_files([path]), ReadOptions(limits=None)))
