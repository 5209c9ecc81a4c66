"""A memory that changes: only what is new is embedded, nothing is lost or paired wrongly, and every version can come back."""

from __future__ import annotations

import json
import multiprocessing
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from commands import run
from hashing import HashEncoder

from indexing.engines.local import LocalEngine
from indexing.job_log import JobLog
from indexing.jobs import encode_passages
from indexing.jobs.build_memory import NewMemory, build_memory
from indexing.jobs.change_memory import add_sources
from indexing.jobs.export_memory import export_memory
from indexing.jobs.verify_memory import difference, verify_memory
from indexing.passages.split_passages import PassageSplitter
from indexing.sources.find_files import find_files
from indexing.sources.read_options import ReadOptions
from memgpt_rag.errors import (
    BusyError,
    MemoryFormatError,
    MismatchError,
    SourceError,
)
from memgpt_rag.memory import Memory, expire, list_versions, roll_back
from memgpt_rag.memory.changes import compact, delete_entries
from memgpt_rag.memory.storage import layout
from memgpt_rag.memory.versions import writing

METADATA = {"year": "integer", "lang": "string"}
OPTIONS = ReadOptions(metadata=METADATA)


def record(number: int, **fields) -> dict:
    text = f"Bench number {number} was given by family number {number} of the town in {1900 + number}."
    return {"id": f"r{number}", "text": text, "year": 1900 + number, "lang": "en" if number % 2 else "zh"} | fields


def write_records(path: Path, records: list[dict]) -> None:
    path.write_text("".join(json.dumps(one) + "\n" for one in records))


@pytest.fixture
def sources(tmp_path) -> Path:
    folder = tmp_path / "sources"
    folder.mkdir()
    write_records(folder / "benches.jsonl", [record(number) for number in range(40)])
    (folder / "park.md").write_text("# Park\n\nA boat costs forty yuan an hour.\n\n## Gate\n\nThe gate opens at six.\n")
    return folder


def build(sources: Path, memory: Path, encoder: HashEncoder | None = None, **settings):
    encoder = encoder or HashEncoder(dimension=256)
    return build_memory(
        find_files([sources]),
        memory,
        engine=LocalEngine(encoder, PassageSplitter(encoder.count_tokens)),
        tokenizer_name="hash",
        options=OPTIONS,
        **settings,
    )


def change(sources: Path, memory: Path, encoder: HashEncoder | None = None, **settings):
    encoder = encoder or HashEncoder(dimension=256)
    splitter = PassageSplitter(encoder.count_tokens)
    return add_sources(
        find_files([sources]), memory, engine=LocalEngine(encoder, splitter), options=OPTIONS, **settings
    )


def entries(memory: Path, version: int | None = None) -> dict[str, str]:
    opened = Memory.open(memory, version=version)
    return {passage.record + passage.title: passage.text for passage in opened.passages(opened.rows())}


def require_pairs(memory: Path) -> None:
    """Every key is that of its own text, and finds it."""
    opened, encoder = Memory.open(memory), HashEncoder(dimension=256)
    passages = opened.passages(opened.rows())
    keys = encoder.encode_passages([passage.titled_text for passage in passages])
    np.testing.assert_array_equal(opened.keys(), keys)
    assert opened.search(keys, 1).rows[:, 0].tolist() == opened.rows().tolist()
    assert verify_memory(memory) == []


def test_a_second_build_embeds_only_what_changed(sources, tmp_path):
    memory = tmp_path / "memory"
    build(sources, memory)
    assert build(sources, memory).changes() == "0 added, 42 kept, 0 deleted, 0 embedded; nothing to commit"
    records = [record(number) for number in range(40) if number not in (3, 4)]
    records[10] = record(12, text="Bench number twelve is new, of oak, and stands beside the pond.")
    write_records(sources / "benches.jsonl", records)
    asked = []

    class Recording(HashEncoder):
        def encode_passages(self, texts):
            asked.extend(text for text in texts if text.startswith("Bench"))
            return super().encode_passages(texts)

    report = build(sources, memory, Recording(dimension=256))
    assert (report.added, report.deleted, report.embedded) == (38 - 3, 40 - 3, 1), "34 others moved up two lines"
    assert asked == ["Bench number twelve is new, of oak, and stands beside the pond."]
    require_pairs(memory)
    build(sources, tmp_path / "fresh")
    assert entries(memory) == entries(tmp_path / "fresh")
    assert len(entries(memory, version=1)) == 42


def test_a_changed_title_is_another_text(sources, tmp_path):
    build(sources, tmp_path / "memory")
    (sources / "park.md").write_text(
        "# Garden\n\nA boat costs forty yuan an hour.\n\n## Gate\n\nThe gate opens at six.\n"
    )
    assert build(sources, tmp_path / "memory").embedded == 2
    require_pairs(tmp_path / "memory")


def test_what_was_built_in_another_way_is_refused(sources, tmp_path):
    build(sources, tmp_path / "memory")
    encoder = HashEncoder(dimension=256)
    with pytest.raises(MismatchError, match="max_tokens 160 against 80. Build it in the same way, or all anew with"):
        build_memory(
            find_files([sources]),
            tmp_path / "memory",
            engine=LocalEngine(encoder, PassageSplitter(encoder.count_tokens, 80)),
            tokenizer_name="hash",
            options=OPTIONS,
        )
    with pytest.raises(MismatchError, match="was embedded with 'hash' and this job embeds with 'other'"):
        build(sources, tmp_path / "memory", HashEncoder(dimension=64, name="other"))
    assert (
        build(sources, tmp_path / "memory", HashEncoder(dimension=64, name="other"), new=NewMemory(replace=True)).added
        == 42
    )
    assert [one.commit for one in list_versions(tmp_path / "memory")] == [2]


def test_sources_are_added_and_brought_up_to_date(sources, tmp_path):
    memory, more = tmp_path / "memory", tmp_path / "more"
    build(sources, memory)
    more.mkdir()
    (more / "kite.md").write_text("# Kites\n\nChildren under twelve can borrow a kite.\n")
    (more / "copy.md").write_text("# Park\n\nA boat costs forty yuan an hour.\n")
    report = change(more, memory)
    assert (report.added, report.kept, report.exact_duplicates, report.commit) == (1, 0, 1, 2)
    unchanged = change(more / "kite.md", memory)
    assert (unchanged.kept, unchanged.commit) == (1, None), "it is there as it is"
    (more / "kite.md").write_text("# Kites\n\nEverybody can borrow a kite.\n")
    with pytest.raises(
        SourceError, match=r"holds another text of kite\.md; bring it up to date with: memgpt-index upd"
    ):
        change(more / "kite.md", memory)
    assert change(more / "kite.md", memory, update=True, dry_run=True).commit is None
    assert entries(memory)["Kites"] == "Children under twelve can borrow a kite."
    report = change(more / "kite.md", memory, update=True)
    assert (report.added, report.deleted, report.embedded) == (1, 1, 1)
    assert entries(memory)["Kites"] == "Everybody can borrow a kite."
    require_pairs(memory)
    added, gone = difference(memory, 2, None)
    assert len(added) == len(gone) == 1
    assert added[0].startswith("kite.md#")
    assert added != gone, "the id of a text is never that of another"


def test_entries_are_deleted_and_come_back(sources, tmp_path):
    memory = tmp_path / "memory"
    build(sources, memory)
    opened = Memory.open(memory)
    rows = opened.rows('year < 1910 and lang == "zh"')
    assert [passage.record for passage in opened.passages(rows)] == ["r0", "r2", "r4", "r6", "r8"]
    delete_entries(memory, rows, opened.manifest)
    assert len(Memory.open(memory)) == 37
    require_pairs(memory)
    with pytest.raises(MemoryFormatError, match="has changed since the entries were chosen; choose them again"):
        delete_entries(memory, rows, opened.manifest)
    now = Memory.open(memory)
    with pytest.raises(MemoryFormatError, match="hold no entry; they may be deleted already"):
        delete_entries(memory, rows, now.manifest)
    with pytest.raises(MemoryFormatError, match=r"All 37 entries of .* would be deleted; remove the folder"):
        delete_entries(memory, now.rows(), now.manifest)
    assert build(sources, memory).embedded == 5, "what is deleted has no key any more"
    require_pairs(memory)
    assert roll_back(memory, 2).commit == 4
    assert entries(memory) == entries(memory, version=2)
    with pytest.raises(MemoryFormatError, match="has no version 9; it has 1, 2, 3, 4"):
        Memory.open(memory, version=9)
    with pytest.raises(MemoryFormatError, match="is at version 4 already; name an earlier one"):
        roll_back(memory, 4)


def test_compaction_leaves_the_entries_and_expiry_frees_the_rest(sources, tmp_path):
    memory = tmp_path / "memory"
    build(sources, memory)
    opened = Memory.open(memory)
    delete_entries(memory, opened.rows("year < 1920"), opened.manifest)
    (sources / "kite.md").write_text("# Kites\n\nChildren under twelve can borrow a kite.\n")
    build(sources, memory)
    before, held = entries(memory), Memory.open(memory)
    texts = held.passages(held.rows())
    assert len(compact(memory).segments) == 1
    assert entries(memory) == before
    assert Memory.open(memory).num_rows == len(before)
    require_pairs(memory)
    assert expire(memory, 1) == [1, 2, 3]
    assert len(list((memory / layout.SEGMENTS).iterdir())) == 1
    assert held.passages(held.rows()) == texts, "a reader keeps what it opened"
    require_pairs(memory)


def test_the_keys_of_a_stopped_build_survive_other_jobs(sources, tmp_path, monkeypatch):
    """A build that was stopped goes on from its journal, whatever was done to the memory in between."""
    memory, asked = tmp_path / "memory", []
    monkeypatch.setattr(encode_passages, "BLOCK", 8)
    build(sources, memory)
    write_records(sources / "benches.jsonl", [record(number) for number in range(80)])

    class Stopping(HashEncoder):
        def encode_passages(self, texts):
            of_benches = [text for text in texts if text.startswith("Bench")]
            asked.extend(of_benches)
            if "number 61 " in "".join(of_benches):
                raise KeyboardInterrupt
            return super().encode_passages(texts)

    with pytest.raises(KeyboardInterrupt):
        build(sources, memory, Stopping(dimension=256))
    assert len(asked) == 24, "two blocks were computed, and the third one stopped it"
    journal = (memory / layout.JOURNAL).read_bytes()
    change(sources, memory, update=True, dry_run=True)
    opened = Memory.open(memory)
    delete_entries(memory, opened.rows("year == 1903"), opened.manifest)
    compact(memory)
    assert (memory / layout.JOURNAL).read_bytes() == journal
    # With r3 gone, blocks are of other texts, which the journal must not answer for; without that, of the same.
    roll_back(memory, 1)
    asked.clear()

    class Recording(HashEncoder):
        def encode_passages(self, texts):
            asked.extend(text for text in texts if text.startswith("Bench"))
            return super().encode_passages(texts)

    build(sources, memory, Recording(dimension=256))
    assert len(asked) == 24
    assert "number 56 " in asked[0], "the first two blocks came from the journal"
    assert not (memory / layout.JOURNAL).exists()
    require_pairs(memory)


def test_files_that_cannot_be_written_are_one_sentence(sources, tmp_path):
    for settings in ({"log": tmp_path / "no" / "log"}, {"metrics": tmp_path}, {"rejects": tmp_path / "no" / "rejects"}):
        with pytest.raises(SourceError, match="cannot be written: name a file in a folder that exists"):
            JobLog("build", **settings)
    build(sources, tmp_path / "memory")
    with pytest.raises(SourceError, match="cannot be written: .* is no folder; make it, or name another file"):
        export_memory(Memory.open(tmp_path / "memory"), tmp_path / "no" / "out.jsonl")


def test_filters_give_exactly_k_entries_of_those_that_match(sources, tmp_path, rng):
    build(sources, tmp_path / "memory")
    memory = Memory.open(tmp_path / "memory")
    queries = rng.normal(size=(7, 256)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    for where, matches in [
        ("year == 1913", lambda p: p.metadata.get("year") == 1913),
        (
            'lang in ("zh",) and not year > 1920',
            lambda p: p.metadata.get("lang") == "zh" and p.metadata["year"] <= 1920,
        ),
        ("year is None", lambda p: "year" not in p.metadata),
        ('source == "benches.jsonl" or title == "Park"', lambda p: p.source == "benches.jsonl" or p.title == "Park"),
        ("1905 <= year < 1930", lambda p: 1905 <= p.metadata.get("year", 0) < 1930),
    ]:
        rows = [row for row in memory.rows().tolist() if matches(memory.passages([row])[0])]
        assert memory.rows(where).tolist() == rows
        found = memory.search(queries, 6, where=where)
        scores = queries @ memory.keys(rows).T
        np.testing.assert_allclose(found.scores, -np.sort(-scores, axis=1)[:, :6], atol=1e-5)
        assert found.rows.shape == (7, min(6, len(rows)))
        assert set(found.rows.ravel().tolist()) <= set(rows)
    assert memory.search(queries, 6, where="year > 3000").passages == [[]] * 7


@pytest.mark.parametrize(
    "where, match",
    [
        ("colour == 1", "There is no column 'colour'; expected one of id, text, .*year, lang"),
        ("year = 1", "cannot be read at column 6; expected a condition such as"),
        ('year == "1913"', "Found \"'1913'\" for the column 'year'; expected a number"),
        ("lang > 3", "Found '3' for the column 'lang'; expected a quoted text"),
        ("year", "The column 'year' alone is no condition; compare it with something"),
        ("__import__('os').system('true')", "expected a comparison, and, or, not, or brackets"),
        ("year in 3", r'Found \'3\' after in; expected a list such as \("a", "b"\)'),
        ("year == 10 ** 99", "Found '10 \\*\\* 99' for the column 'year'"),
        ("year == 99999999999999999999", "holds a number that no column can hold"),
        ("(" * 3000 + "year > 1" + ")" * 3000, "cannot be read"),
        ("x" * 20_000, "has 20000 characters; expected at most 10000"),
    ],
    ids=lambda value: value[:20],
)
def test_filters_that_cannot_be_meant_are_refused(sources, tmp_path, where, match):
    build(sources, tmp_path / "memory")
    with pytest.raises(ValueError, match=match):
        Memory.open(tmp_path / "memory").rows(where)


def test_metadata_of_another_type_stops_the_job_with_its_line(sources, tmp_path):
    write_records(sources / "benches.jsonl", [record(0), record(1, year="long ago")])
    with pytest.raises(SourceError, match=r"benches.jsonl, line 2: its year is 'long ago', expected an integer"):
        build(sources, tmp_path / "memory")
    assert not (tmp_path / "memory").exists()


def _hold(memory: Path, held, done) -> None:
    with writing(memory):
        held.set()
        done.wait(300)


def test_a_second_writer_is_told_and_readers_are_not_stopped(sources, tmp_path):
    memory = tmp_path / "memory"
    build(sources, memory)
    context = multiprocessing.get_context("spawn")
    held, done = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(memory, held, done))
    other.start()
    assert held.wait(300)
    with pytest.raises(BusyError, match="Another job is writing to .*; wait until it is done, or stop it"):
        build(sources, memory)
    assert len(Memory.open(memory)) == 42
    done.set()
    other.join()
    assert build(sources, memory).commit is None


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_what_is_exported_is_what_is_there(sources, tmp_path, kind):
    build(sources, tmp_path / "memory")
    memory, file = Memory.open(tmp_path / "memory"), tmp_path / f"out.{kind}"
    assert export_memory(memory, file, where="year < 1905", keys=True) == 5
    rows = (
        pq.read_table(file).to_pylist()
        if kind == "parquet"
        else [json.loads(line) for line in file.read_text().splitlines()]
    )
    wanted = memory.rows("year < 1905")
    assert [row["text"] for row in rows] == [passage.text for passage in memory.passages(wanted)]
    assert [row["year"] for row in rows] == [1900, 1901, 1902, 1903, 1904]
    np.testing.assert_allclose([row["key"] for row in rows], memory.keys(wanted), atol=1e-7)
    with pytest.raises(SourceError, match="is there already; name another file"):
        export_memory(memory, file)
    with pytest.raises(SourceError, match=r"is neither \.jsonl nor \.parquet"):
        export_memory(memory, tmp_path / "out.txt")


def test_rejects_are_kept_beside_and_what_happened_is_told(sources, tmp_path):
    with (sources / "benches.jsonl").open("a") as file:
        file.write('{broken\n[1]\n{"id": "r3", "text": "An id that is there already."}\n{"id": "x", "year": 1}\n')
        file.write(json.dumps(record(77, year="long ago")) + "\n" + json.dumps(record(77)) + "\n")
    (sources / "photo.txt").write_bytes(b"\x89PNG\x00\x00\x01")
    with JobLog("build", log=tmp_path / "log", metrics=tmp_path / "metrics", rejects=tmp_path / "rejects") as log:
        report = build(sources, tmp_path / "memory", log=log)
    rejects = [json.loads(line) for line in (tmp_path / "rejects").read_text().splitlines()]
    assert [(one["source"], one["position"]) for one in rejects] == [
        *(("benches.jsonl", f"line {number}") for number in (41, 42, 43, 44, 45)),
        ("photo.txt", ""),
    ]
    reasons = [
        "broken JSON",
        "found a JSON list",
        "its id 'r3' is that of line 4",
        "none that is usual for a text",
        "its year",
    ]
    assert all(one["reason"].startswith(("found the fields", reason)) for one, reason in zip(rejects, reasons))
    assert report.rejected == 6
    assert len(entries(tmp_path / "memory")) == report.entries == 43
    require_pairs(tmp_path / "memory")
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["started", "read", "read", "read", "committed", "finished"]
    assert (lines[-1]["rejects"], lines[-1]["entries_embedded"], lines[-2]["added"]) == (6, 43, 43)
    assert 'memgpt_index_entries_embedded_total{job="build"} 43' in (tmp_path / "metrics").read_text()


def test_an_archive_is_brought_up_to_date_with_its_members(tmp_path):
    folder, memory = tmp_path / "sources", tmp_path / "memory"
    folder.mkdir()

    def write(**members: str) -> None:
        with zipfile.ZipFile(folder / "docs.zip", "w") as archive:
            for name, text in members.items():
                archive.writestr(f"in/{name}.md", text)

    def stored() -> dict[str, str]:
        opened = Memory.open(memory)
        return {passage.source: passage.text for passage in opened.passages(opened.rows())}

    write(boat="A boat costs forty yuan an hour.", gate="The gate opens at six in the morning.")
    (folder / "docs.zip.txt").write_text("The archive is packed on Mondays by the clerk.")
    build(folder, memory)
    write(boat="A boat costs fifty yuan an hour now.", pier="The pier is closed in the winter months.")
    with pytest.raises(SourceError, match=r"holds another text of docs.zip; bring it up to date with"):
        change(folder / "docs.zip", memory)
    report = change(folder / "docs.zip", memory, update=True)
    assert (report.added, report.deleted) == (2, 2)
    assert stored() == {
        "docs.zip/in/boat.md": "A boat costs fifty yuan an hour now.",
        "docs.zip/in/pier.md": "The pier is closed in the winter months.",
        "docs.zip.txt": "The archive is packed on Mondays by the clerk.",
    }
    report = change(folder / "docs.zip", memory)
    assert (report.added, report.kept, report.commit) == (0, 2, None)
    done = run("memgpt-index", "delete", "--memory", memory, "--source", "docs.zip")
    assert done.returncode == 0, done.stderr
    assert stored() == {"docs.zip.txt": "The archive is packed on Mondays by the clerk."}
