"""The whole job on real files, with an encoder small enough to check: rows pair, failures leave nothing."""

from __future__ import annotations

import dataclasses
import json
import math
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hashing import HashEncoder, LetterEncoder

from indexing.engines.local import LocalEngine
from indexing.job_log import JobLog
from indexing.jobs.build_memory import NewMemory, PassageStream, build_memory
from indexing.passages.split_passages import PassageSplitter
from indexing.planning import forecast as forecasts
from indexing.planning import forecast_index
from indexing.planning.forecast import Constraints, forecast, forecast_table
from indexing.planning.plan import Plan, plan_memory, size
from indexing.sources.document import Note
from indexing.sources.find_files import find_files
from indexing.sources.read_options import ReadOptions
from memgpt_rag.errors import SourceError
from memgpt_rag.memory import Memory, add_lexical_index, add_sparse_vectors
from memgpt_rag.memory.dense.index_kinds import building_bytes, lists_for
from memgpt_rag.memory.storage import layout


@pytest.fixture
def sources(tmp_path) -> Path:
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "park.md").write_text(
        "# Park 公园\n\n## Boats\n\nA boat costs forty yuan an hour at the east gate of the park.\n\n## 门票\n\n门票免费，早上六点开门。\n"
    )
    records = [
        {"id": f"r{number}", "text": f"Bench number {number} was given by family number {number} of the town."}
        for number in range(700)
    ]
    records.append({"id": "again", "text": records[3]["text"]})
    (folder / "benches.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def build(sources: Path, memory: Path, encoder: HashEncoder, **settings):
    return build_memory(
        find_files([sources]),
        memory,
        engine=LocalEngine(encoder, PassageSplitter(encoder.count_tokens)),
        tokenizer_name="hash",
        **settings,
    )


def planned(sources: Path) -> Plan:
    encoder = HashEncoder()
    engine = LocalEngine(encoder, PassageSplitter(encoder.count_tokens))
    return plan_memory(PassageStream(find_files([sources]), engine, ReadOptions()), dimension=64)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_every_row_pairs_a_text_with_its_own_key(sources, tmp_path, metric):
    encoder = HashEncoder(dimension=512, normalized=metric == "cosine")
    report = build(sources, tmp_path / "memory", encoder, new=NewMemory(metric))
    assert (report.files, report.documents, report.passages, report.entries) == (2, 702, 703, 702)
    assert (report.exact_duplicates, report.near_duplicates) == (1, 0)
    assert (
        report.sentence()
        == "read 2 files: 702 documents, 703 passages; dropped 1 exact and 0 near duplicates; 702 entries"
    )
    memory = Memory.open(tmp_path / "memory", encoder=encoder.fingerprint)
    passages = memory.passages(range(len(memory)))
    assert len({passage.id for passage in passages}) == len(passages) == 702
    np.testing.assert_array_equal(memory.keys(), encoder.encode_passages([passage.titled_text for passage in passages]))
    found = memory.search(encoder.encode_queries(["Bench number 431 was given by family number 431 of the town."]), 1)
    assert found.passages[0][0].record == "r431"


def test_a_build_is_repeatable_to_the_byte(sources, tmp_path):
    for name in ("one", "two"):
        build(sources, tmp_path / name, HashEncoder())
    one, two = (
        {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.is_file()
        }
        for name in ("one", "two")
    )
    assert one == two


def test_a_broken_source_leaves_nothing_behind(sources, tmp_path):
    with (sources / "benches.jsonl").open("a") as file:
        file.write("{broken\n")
    encoder = HashEncoder()
    with pytest.raises(SourceError, match=r"benches.jsonl, line 702: broken JSON"):
        build(sources, tmp_path / "new" / "memory", encoder)
    assert not (tmp_path / "new").exists()
    assert encoder.calls == 0, "nothing may be embedded before everything has been read"


def test_an_encoder_that_fails_leaves_nothing_behind(sources, tmp_path):
    class Failing(HashEncoder):
        def encode_passages(self, texts):
            vectors = super().encode_passages(texts)
            if len(texts) > 10:
                vectors[7] = np.nan
            return vectors

    with pytest.raises(
        ValueError, match=r"The encoder gave 16 vectors for 16 texts, and NaN or infinity for 'Bench number"
    ):
        build(sources, tmp_path / "memory", Failing())
    assert not (tmp_path / "memory").exists()


def test_an_engine_that_loses_keys_stops_the_job_and_pairs_nothing_wrongly(sources, tmp_path):
    class Losing(LocalEngine):
        def keys(self, blocks):
            return (pair for number, pair in enumerate(super().keys(blocks)) if number != 1)

    class Short(LocalEngine):
        def keys(self, blocks):
            return ((texts, keys[:-1]) for texts, keys in super().keys(blocks))

    encoder = HashEncoder(dimension=512)
    for kind, match in [
        (Losing, r"32 texts, the first .*Bench number 16 .*, came back without keys"),
        (Short, "gave 31 vectors for 32 texts"),
    ]:
        with pytest.raises(ValueError, match=match):
            engine = kind(encoder, PassageSplitter(encoder.count_tokens))
            build_memory(find_files([sources]), tmp_path / "memory", engine, tokenizer_name="hash")
        assert not (tmp_path / "memory" / layout.MANIFEST).exists()
    build(sources, tmp_path / "memory", encoder)  # goes on from the keys that did come back
    memory = Memory.open(tmp_path / "memory")
    texts = [passage.titled_text for passage in memory.passages(memory.rows())]
    np.testing.assert_array_equal(memory.keys(), encoder.encode_passages(texts))


def test_files_without_any_text_are_refused(tmp_path):
    (tmp_path / "blank.txt").write_text(" \n\n")
    with pytest.raises(SourceError, match=r"^\S+ holds no text; name a source that does"):
        build(tmp_path / "blank.txt", tmp_path / "memory", HashEncoder())


def test_a_plan_tells_the_sizes_of_the_memory_to_come(sources, tmp_path):
    encoder, plan = HashEncoder(), planned(sources)
    report = build(sources, tmp_path / "memory", encoder)
    assert plan.report.sentence() == report.sentence()
    assert plan.entries_by_file == {"park.md": 2, "benches.jsonl": 700}
    segment = next((tmp_path / "memory" / layout.SEGMENTS).iterdir())
    actual = {path.name: path.stat().st_size for path in segment.iterdir()}
    assert plan.keys_bytes == pytest.approx(actual[layout.KEYS], abs=100)
    assert plan.values_bytes == pytest.approx(actual[layout.VALUES], rel=0.01)


def test_a_forecast_is_in_proportion_to_what_was_measured(sources):
    encoder, plan = HashEncoder(), planned(sources)
    assert 48 <= len(plan.sample) <= 192
    assert {passage.source for passage in plan.sample} <= {"park.md", "benches.jsonl"}
    one = forecast(plan, encoder, {})
    assert min(one.embedding_seconds, one.writing_seconds, one.peak_bytes) > 0
    assert (one.states, one.index.kind) == ({}, "exact")
    assert one.disk_bytes == plan.keys_bytes + plan.values_bytes
    assert one.disk_with(None) == one.disk_bytes + one.index.disk_bytes + one.words[0] > one.disk_bytes
    assert one.seconds > one.words[1] > 0
    shown = forecast_table(plan, one)
    assert [line.split()[0] for line in shown.splitlines()] == [
        *("values", "keys", "journal", "search", "lexical", "memory", "all")
    ]
    assert size(plan.keys_bytes) in shown


def test_a_forecast_tells_what_words_and_sparse_vectors_take(tmp_path):
    subjects, verbs = (
        ["ferry", "harbour", "garden", "library", "museum", "tower"],
        ["opens", "closes", "repairs", "welcomes", "sells"],
    )
    lines = [
        {"text": f"The {a} of district {number} {verb} every {b} beside number {number * 7 % 400}."}
        for number, (a, verb, b) in enumerate(product(subjects * 5, verbs, subjects))
    ]
    (tmp_path / "lines.jsonl").write_text("\n".join(map(json.dumps, lines)))
    plan = planned(tmp_path / "lines.jsonl")
    build(tmp_path / "lines.jsonl", tmp_path / "memory", HashEncoder())
    manifest = add_lexical_index(Memory.open(tmp_path / "memory"))
    actual = manifest.segments[0].file("words")
    assert actual is not None
    letters = LetterEncoder()
    sparse = add_sparse_vectors(
        Memory.open(tmp_path / "memory"),
        letters.fingerprint,
        lambda block: letters.encode_passages([one.titled_text for one in block]),
    ).segments[0]
    expected = forecast(plan, HashEncoder(), {}, sparse_encoder=letters)
    alone = dataclasses.replace(expected, sparse=None)
    for (bytes_, seconds), stored in (
        (expected.words, manifest.segments[0].files[actual]),
        (expected.sparse, sparse.files[sparse.file("sparse")]),
    ):
        assert bytes_ == pytest.approx(stored.bytes, rel=0.25)
        assert seconds > 0
    assert expected.disk_with(None) - alone.disk_with(None) == pytest.approx(expected.sparse[0])
    assert expected.seconds - alone.seconds == pytest.approx(expected.sparse[1])


@pytest.mark.slow
def test_what_is_wished_for_decides_the_index_and_the_states(sources, monkeypatch):
    """Searches of twenty thousand keys take as long as is said here: all of them half a millisecond, an index a hundredth."""
    taken, entries = 700e6, 200_000
    monkeypatch.setattr(forecasts, "anonymous_bytes", lambda: taken)
    monkeypatch.setattr(
        forecast_index, "_milliseconds", lambda search, _: 0.005 if isinstance(search, partial) else 0.5
    )
    plan = planned(sources)
    many = dataclasses.replace(plan, report=dataclasses.replace(plan.report, entries=entries))
    least = {kind: building_bytes(kind, entries, 64) for kind in ("ivf", "hnsw")}
    for room, kind in [(least["hnsw"], "HNSW32_SQ8"), (least["ivf"], f"IVF{lists_for(entries)},SQ8"), (0, "exact")]:
        constraints = Constraints(milliseconds=1, memory_bytes=taken + room)
        fast = forecast(many, HashEncoder(), {}, constraints)
        assert (fast.exact_milliseconds, fast.index.kind) == (pytest.approx(5), kind)
        assert (fast.index.memory_bytes > 0) == (room > 0)
    shown = forecast_table(many, fast, constraints)
    assert "latency               1.0 ms  cannot be kept: 5.0 ms is the least that was found" in shown
    assert forecast(many, HashEncoder(), {}, Constraints(milliseconds=5.1)).index.kind == "exact"

    states = {"quality": (6e6, 9.0), "compact": (1e6, 3.0)}
    expected = dataclasses.replace(fast, entries=1000, disk_bytes=1e6, words=(0.0, 0.0), states=states)
    expected = dataclasses.replace(expected, index=dataclasses.replace(fast.index, disk_bytes=0.0))
    for most_bytes, preset, most in [
        (math.inf, "quality", math.inf),
        (7e6, "quality", 1000),
        (4e6, "compact", 2000),
        (1.5e6, None, 1500),
    ]:
        constraints = Constraints(disk_bytes=most_bytes)
        assert expected.preset(constraints) == preset
        assert expected.most_entries(constraints, preset) == pytest.approx(most)
    assert "fit with compact states, as would 2,000 entries" in forecast_table(
        plan, expected, Constraints(disk_bytes=4e6)
    )
    assert "do not fit; 500 entries like these would, without states" in forecast_table(
        plan, expected, Constraints(disk_bytes=5e5)
    )


@pytest.mark.parametrize(
    "count, words", [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2_345_678, "2.3 MB"), (3e12, "3.0 TB")]
)
def test_sizes_are_for_people(count, words):
    assert size(count) == words


def test_notes_and_files_without_text_are_reported(sources, tmp_path):
    (sources / "blank.txt").write_text(" \n\n")
    (sources / "broken.jsonl").write_text("{broken\n")
    notes, seen = [], []
    options = ReadOptions(on_note=notes.append, on_progress=seen.append)
    with JobLog("build", rejects=tmp_path / "rejects", log=tmp_path / "log") as log:
        report = build(sources, tmp_path / "memory", HashEncoder(), options=options, log=log)
    assert report.notes == notes == [Note("blank.txt", "holds no text")], "a reject speaks for itself"
    assert report.rejected == 1
    logged = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [(line["file"], line["note"]) for line in logged if line["event"] == "note"] == [
        ("blank.txt", "holds no text")
    ]
