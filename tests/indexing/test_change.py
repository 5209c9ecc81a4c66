"""A memory that changes: only what is new is embedded, nothing is lost or paired wrongly."""

from __future__ import annotations

import multiprocessing
import zipfile
from pathlib import Path

import pytest
from benches import OPTIONS, build, change, entries, record, require_pairs, write_records
from commands import run
from hashing import HashEncoder

from indexing.engines.local import LocalEngine
from indexing.jobs import encode_passages
from indexing.jobs.build_memory import NewMemory, build_memory
from indexing.jobs.verify_memory import difference
from indexing.passages.split_passages import PassageSplitter
from indexing.sources.find_files import find_files
from memgpt_rag.errors import (
    BusyError,
    MismatchError,
    SourceError,
)
from memgpt_rag.memory import Memory, list_versions, roll_back
from memgpt_rag.memory.changes import compact, delete_entries
from memgpt_rag.memory.storage import layout
from memgpt_rag.memory.versions import writing


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


def test_the_keys_of_a_stopped_build_survive_other_jobs(sources, tmp_path, monkeypatch):
    """A build that was stopped goes on from its journal, whatever was done to the memory in between."""
    memory, asked = tmp_path / "memory", []
    monkeypatch.setattr(encode_passages, "BLOCK", 8)
    build(sources, memory)
    write_records(sources / "benches.jsonl", [record(number) for number in range(80)])

    class Stopping(HashEncoder):
        def encode_passages(self, texts):
            bench_texts = [text for text in texts if text.startswith("Bench")]
            asked.extend(bench_texts)
            if "number 61 " in "".join(bench_texts):
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


def _hold(memory: Path, held, done) -> None:
    with writing(memory):
        held.set()
        done.wait(300)


def test_a_second_writer_is_reported_and_readers_are_not_stopped(sources, tmp_path):
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
