"""Archives and compressed files: members as files of their own, what is left out, bounds, damage."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from pathlib import Path

import pytest
from reading import Reading

from indexing.sources import inflation
from memgpt_rag.errors import SourceError

NOTE = b"# Pool\n\nThe pool opens at 7.\n"


def zipped(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def tarred(path: Path, *members: tarfile.TarInfo | tuple[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for member in members:
            info = member if isinstance(member, tarfile.TarInfo) else tarfile.TarInfo(member[0])
            content = b"" if isinstance(member, tarfile.TarInfo) else member[1]
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def special(name: str, type: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = type, target
    return info


MEMBERS = {
    "docs/pool.md": NOTE,
    "docs/prices.csv": b"id,text\n7,A day ticket costs 9 euros.\n",
    "docs/.hidden.txt": b"hidden",
    "__MACOSX/docs/._pool.md": b"\x00\x05\x16\x07",
    "读我.txt": "渡船八点开。".encode(),
    "empty.txt": b"",
}


def test_members_are_files_of_their_own(tmp_path):
    read = Reading(zipped(tmp_path / "a.zip", **MEMBERS))
    assert read.texts == [
        ("a.zip/docs/pool.md", "The pool opens at 7."),
        ("a.zip/docs/prices.csv", "A day ticket costs 9 euros."),
        ("a.zip/读我.txt", "渡船八点开。"),
        ("a.zip/empty.txt", ""),
    ]
    assert [(one.title, one.record, one.unit) for one in read.documents[:2]] == [
        ("Pool", "", "line"),
        ("", "7", "line"),
    ]
    assert read.notes == []


@pytest.mark.parametrize(
    "suffix, mode", [("tar", "w"), ("tar.gz", "w:gz"), ("tgz", "w:gz"), ("tar.bz2", "w:bz2"), ("tar.xz", "w:xz")]
)
def test_tar_archives_are_read_as_zip_archives(tmp_path, suffix, mode):
    expected = Reading(zipped(tmp_path / "a.zip", **MEMBERS)).texts
    path = tarred(tmp_path / f"a.{suffix}", *MEMBERS.items(), mode=mode)
    assert Reading(path).texts == [(name.replace("a.zip", path.name), text) for name, text in expected]


@pytest.mark.parametrize("suffix, compress", [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)])
def test_a_compressed_file_is_read_by_the_suffix_below(tmp_path, suffix, compress):
    (tmp_path / f"pool.md.{suffix}").write_bytes(compress(NOTE))
    (tmp_path / f"rows.tsv.{suffix}").write_bytes(compress(b"id\ttext\n7\tNine euros, or ten.\n"))
    (tmp_path / f"log.{suffix}").write_bytes(compress(b"The log says so.\n"))
    (tmp_path / f"more.zip.{suffix}").write_bytes(
        compress(zipped(tmp_path.parent / "m.zip", **{"a.txt": b"More."}).read_bytes())
    )
    read = Reading(tmp_path)
    assert read.texts == [
        (f"log.{suffix}", "The log says so."),
        (f"more.zip.{suffix}/more.zip/a.txt", "More."),
        (f"pool.md.{suffix}", "The pool opens at 7."),
        (f"rows.tsv.{suffix}", "Nine euros, or ten."),
    ]
    assert read.documents[2].title == "Pool"


def test_names_of_old_zip_programs_are_read(tmp_path):
    path = zipped(tmp_path / "a.zip", **{"xxxx.txt": b"One.", "dir1file.txt": b"Two.", "cafX.txt": b"Three."})
    content = path.read_bytes().replace(b"xxxx.txt", "时刻.txt".encode("gb2312"))
    path.write_bytes(content.replace(b"dir1file.txt", b"dir\\file.txt").replace(b"cafX.txt", b"caf\x82.txt"))
    assert [name for name, _ in Reading(path).texts] == ["a.zip/时刻.txt", "a.zip/dir/file.txt", "a.zip/café.txt"]


def test_excluded_members_are_left_out(tmp_path):
    path = zipped(tmp_path / "a.zip", **{"a.txt": b"Text.", "img/b.ico": b"\0\0\1\0"})
    with pytest.raises(SourceError, match=r"a.zip/img/b.ico is a binary file"):
        Reading(path)
    assert Reading(path, exclude=("*.ico",)).texts == [("a.zip/a.txt", "Text.")]


def test_archives_in_archives_are_opened_to_a_depth(tmp_path):
    path = zipped(tmp_path / "in.zip", **{"text.txt": b"Innermost."})
    for level in range(3):
        path = zipped(tmp_path / f"level{level}.zip", **{path.name: path.read_bytes(), f"{level}.txt": b"Text."})
    read = Reading(path)
    assert [name for name, _ in read.texts] == [
        "level2.zip/level1.zip/level0.zip/0.txt",
        "level2.zip/level1.zip/1.txt",
        "level2.zip/2.txt",
    ]
    assert read.notes == [
        (
            "level2.zip/level1.zip/level0.zip/in.zip",
            "was not opened: it lies in 3 archives or mails, and those in up to 2 are",
        )
    ]


def test_a_member_that_cannot_be_read_is_named_and_rejected_alone(tmp_path):
    path = zipped(tmp_path / "a.zip", **{"1.jsonl": b"{broken\n", "2.txt": b"Fine.", "3.txt": b"\0\1", "4.docx": b"no"})
    with pytest.raises(
        SourceError, match=r"a.zip/1.jsonl, line 1: broken JSON.* a.zip/3.txt is a binary file.* a.zip/4.docx "
    ):
        Reading(path)
    read = Reading(path, rejecting=True)
    assert read.texts == [("a.zip/2.txt", "Fine.")]
    assert [one.source for one in read.rejects] == ["a.zip/1.jsonl", "a.zip/3.txt", "a.zip/4.docx"]


def test_an_encrypted_member_is_named(tmp_path):
    path = zipped(tmp_path / "a.zip", **{"a.txt": b"Text.", "b.txt": b"Secret."})
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\1\2") + 8] |= 1  # the flag in the table of contents
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"^a.zip/b.txt is encrypted; unpack the archive, and name the folder\.$"):
        Reading(path)


def test_names_lead_nowhere_and_links_are_left_out(tmp_path):
    outside = tmp_path / "secret.txt"
    outside.write_text("secret")
    (tmp_path / "in").mkdir()
    path = tarred(
        tmp_path / "in" / "a.tar",
        ("../../evil.txt", b"Evil."),
        ("/etc/absolute.txt", b"Absolute."),
        special("link.txt", tarfile.SYMTYPE, str(outside)),
        special("hard.txt", tarfile.LNKTYPE, "../secret.txt"),
        special("pipe", tarfile.FIFOTYPE),
        special("zero", tarfile.CHRTYPE),
    )
    before = sorted(tmp_path.rglob("*"))
    read = Reading(path)
    assert read.texts == [("a.tar/evil.txt", "Evil."), ("a.tar/etc/absolute.txt", "Absolute.")]
    assert read.notes == [("a.tar", "4 links or devices left out: link.txt, hard.txt, pipe, zero")]
    assert sorted(tmp_path.rglob("*")) == before
    link = zipfile.ZipInfo("link.txt")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "l.zip", "w") as archive:
        archive.writestr(link, str(outside))
    read = Reading(tmp_path / "l.zip")
    assert (read.texts, read.notes) == ([], [("l.zip", "1 link or device left out: link.txt")])


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_there_twice_is_named(tmp_path):
    tar = tarred(tmp_path / "a.tar", ("a.txt", b"Old."), ("./a.txt", b"New."))
    with pytest.raises(SourceError, match=r"a.tar/a.txt is there twice: a.tar holds several files of this name"):
        Reading(tar)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.txt", "Old.")
        archive.writestr("a.txt", "New.")
    read = Reading(tmp_path / "a.zip", rejecting=True)
    assert (read.texts, [one.source for one in read.rejects]) == ([("a.zip/a.txt", "Old.")], ["a.zip/a.txt"])


@pytest.mark.parametrize(
    "name, content",
    [
        (name, content)
        for name in ("a.zip", "a.tar", "a.tar.gz", "a.gz", "a.txt.bz2", "a.tar.xz")
        for content in (b"This is plain text, and no archive of any kind at all.\n" * 20, b"PK\x03\x04", b"")
        if content or name != "a.gz"  # an empty file is gzip's form of no text
    ],
)
def test_what_is_no_archive_is_one_sentence(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=rf"^{name} .*leave it out with --exclude\.$") as caught:
        Reading(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_an_archive_that_ends_early_is_an_error_and_not_a_short_archive(tmp_path):
    path = tarred(tmp_path / "a.tar.gz", ("a.txt", b"One."), ("b.txt", bytes(range(65, 91)) * 9_000), mode="w:gz")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(SourceError, match=r"a.tar.gz"):
        Reading(path)


@pytest.fixture
def small_bounds(monkeypatch):
    monkeypatch.setattr(inflation, "MOST_BYTES", 200_000)
    monkeypatch.setattr(inflation, "MOST_MEMBERS", 50)


def bomb(path: Path) -> Path:
    zeros = b" " * 1_000_000
    if path.name.endswith(".zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.txt", zeros)
    elif path.name.endswith(".tar.gz"):
        tarred(path, ("a.txt", zeros), mode="w:gz")
    else:
        path.write_bytes(gzip.compress(zeros))
    return path


@pytest.mark.usefixtures("small_bounds")
@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.txt.gz"])
def test_a_bomb_is_a_sentence(tmp_path, name):
    with pytest.raises(SourceError, match=rf"^{name} inflates to more than 0.0 GiB, the most that is read of it"):
        Reading(bomb(tmp_path / name))


@pytest.mark.usefixtures("small_bounds")
def test_archives_in_an_archive_share_its_bound(tmp_path):
    parts = {
        f"{number}.zip": zipped(tmp_path / "part.zip", **{"a.txt": b"word " * 15_000}).read_bytes()
        for number in range(9)
    }
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    with pytest.raises(SourceError, match=r"^a.zip inflates to more"):
        Reading(path)
    (reject,) = Reading(path, rejecting=True).rejects
    assert reject.reason.startswith("a.zip inflates to more")
    assert reject.position.startswith("after its first")


@pytest.mark.usefixtures("small_bounds")
def test_too_many_members_are_a_sentence(tmp_path):
    path = zipped(tmp_path / "a.zip", **{f"{number}.txt": b"" for number in range(51)})
    with pytest.raises(SourceError, match=r"^a.zip holds more than 50 files, the most that are read of an archive"):
        Reading(path)


def test_documents_that_are_zip_files_have_readers_of_their_own():
    from indexing.sources.formats import file_format

    names = {"a.docx": "word", "a.epub": "epub", "a.zip": "archive", "a.md.gz": "archive", "A.TAR.GZ": "archive"}
    assert {name: file_format(name) for name in names} == names


def test_an_added_archive_is_updated_with_its_members(tmp_path):
    import pyarrow as pa

    from indexing.sources.file_of_source import file_of_source, in_files

    names = {"a.zip", "x.tar/b.eml", "notes.txt"}
    sources = [
        "a.zip/d/m.md",
        "x.tar/b.eml/c.pdf",
        "x.tar/other.txt",
        "notes.txt",
        "notes.txt.bak",
        "a.zip",
        "b/a.zip/m",
    ]
    table = pa.table({"source": sources})
    assert table.filter(in_files(names))["source"].to_pylist() == [
        "a.zip/d/m.md",
        "x.tar/b.eml/c.pdf",
        "notes.txt",
        "a.zip",
    ]
    assert [file_of_source(source, names) for source in sources[:2]] == ["a.zip", "x.tar/b.eml"]
