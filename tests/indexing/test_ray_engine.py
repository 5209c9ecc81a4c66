"""Ray's workers give what one process gives: the same memory to the byte, the same rejects, the same sentences."""

from __future__ import annotations

import filecmp
import json
import os
import shutil
from functools import partial
from pathlib import Path

import pytest
from hashing import HashRecipe
from tiny import TinyReader

from indexing.engines import ray_cluster
from indexing.engines.base import SplitterRecipe
from indexing.engines.local import LocalEngine
from indexing.engines.ray_engine import RayEngine, ray_states
from indexing.job_log import JobLog
from indexing.jobs import encode_passages
from indexing.jobs.build_memory import build_memory
from indexing.jobs.change_memory import add_sources
from indexing.jobs.compute_states import compute_states
from indexing.sources.find_files import find_files
from memgpt_rag.errors import ClusterError, SourceError
from memgpt_rag.memory import Memory
from memgpt_rag.memory.storage import layout

SPLITTER = SplitterRecipe(None, 40)
RECIPE = HashRecipe(os.getpid())


@pytest.fixture(scope="module", autouse=True)
def cluster():
    ray = pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))  # workers have to find `hashing` and `tiny`
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture
def sources(tmp_path) -> Path:
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "a-park.md").write_text(
        "# Park 公园\n\n## Boats\n\n"
        + "\n\n".join(f"Boat {number} costs {number} yuan an hour at gate {number}." for number in range(1, 60))
        + "\n\n## 门票\n\n门票免费，早上六点开门。\n"
    )
    write_records(folder / "b-benches.jsonl", range(300))
    (folder / "c-weather.txt").write_text("It rains in May.\n\nIt snows in December and in January.\n")
    return folder


def write_records(path: Path, numbers) -> None:
    texts = (f"Bench number {number} was given by family number {number} of the town." for number in numbers)
    records = ({"id": f"r{number}", "text": text} for number, text in zip(numbers, texts, strict=True))
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def local() -> LocalEngine:
    encoder = RECIPE()
    return LocalEngine(encoder, SPLITTER(lambda: encoder))


def build(sources: Path, memory: Path, engine, **settings):
    return build_memory(find_files([sources]), memory, engine, tokenizer_name="hash", **settings)


def require_same(one: Path, other: Path) -> None:
    names = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file() and path.name != layout.LOCK)
    assert names == sorted(
        path.relative_to(other) for path in other.rglob("*") if path.is_file() and path.name != layout.LOCK
    )
    assert names
    for name in names:
        assert filecmp.cmp(one / name, other / name, shallow=False), name


@pytest.mark.slow
def test_a_memory_does_not_depend_on_who_built_it(sources, tmp_path, monkeypatch):
    monkeypatch.setattr(encode_passages, "BLOCK", 32)
    monkeypatch.setattr("indexing.engines.ray_cluster.WINDOW", 8)
    reports = [build(sources, tmp_path / "local", local())]
    with RayEngine(RECIPE, SPLITTER) as engine:
        reports.append(build(sources, tmp_path / "ray", engine))
        require_same(tmp_path / "local", tmp_path / "ray")
        write_records(sources / "b-benches.jsonl", range(40, 330))
        reports.append(add_sources(find_files([sources]), tmp_path / "local", local(), update=True))
        reports.append(add_sources(find_files([sources]), tmp_path / "ray", engine, update=True))
    require_same(tmp_path / "local", tmp_path / "ray")
    for one, other in (reports[:2], reports[2:]):
        assert one.sentence() == other.sentence()
        assert one.changes() == other.changes()
    assert (reports[3].added, reports[3].deleted, reports[3].embedded) == (290, 300, 30), "lines have moved"


@pytest.mark.slow
def test_rejects_come_in_the_same_order(sources, tmp_path):
    lines = (sources / "b-benches.jsonl").read_text().splitlines()
    for place in (7, 120, 121, 299):
        lines[place] = "{broken"
    (sources / "b-benches.jsonl").write_text("\n".join(lines))
    (sources / "d-latin.txt").write_bytes("Caf\xe9 in the park".encode("latin-1"))
    with RayEngine(RECIPE, SPLITTER) as engine:
        for name, doing in (("local", local()), ("ray", engine)):
            with JobLog("build", rejects=tmp_path / f"{name}.rejects") as log:
                assert build(sources, tmp_path / name, doing, log=log).rejected == 5
    shown = (tmp_path / "ray.rejects").read_text()
    assert shown == (tmp_path / "local.rejects").read_text()
    assert [json.loads(line)["position"] for line in shown.splitlines()] == [
        "line 8",
        "line 121",
        "line 122",
        "line 300",
        "",
    ]
    require_same(tmp_path / "local", tmp_path / "ray")


@pytest.mark.slow
def test_files_that_cannot_be_read_are_named_together(sources, tmp_path):
    (sources / "b-benches.jsonl").write_text('{"text": "fine"}\n{broken\n')
    (sources / "d-latin.txt").write_bytes(b"Caf\xe9")
    shown = []
    with RayEngine(RECIPE, SPLITTER) as engine:
        for doing in (local(), engine):
            with pytest.raises(SourceError, match="b-benches.jsonl, line 2: broken JSON") as caught:
                build(sources, tmp_path / "memory", doing)
            shown.append(str(caught.value))
            assert not (tmp_path / "memory").exists()
    assert shown[0] == shown[1]
    assert "d-latin.txt" in shown[0]


@pytest.mark.slow
def test_a_job_whose_worker_fails_goes_on_from_its_journal(sources, tmp_path, monkeypatch):
    monkeypatch.setattr(encode_passages, "BLOCK", 32)
    monkeypatch.setattr("indexing.engines.ray_cluster.WINDOW", 4)
    build(sources, tmp_path / "whole", local())
    failing = HashRecipe(os.getpid(), fails_at="Bench number 200 ")
    with (
        RayEngine(failing, SPLITTER) as engine,
        pytest.raises(ClusterError, match="^cannot embed 'Bench number 200 '$"),
    ):
        build(sources, tmp_path / "memory", engine)
    journal = (tmp_path / "memory" / layout.JOURNAL).stat().st_size
    assert journal > 4 * 4 * 96 * 32, "the blocks of the windows before it were kept"
    with RayEngine(RECIPE, SPLITTER) as engine:
        asked = []
        keys = engine.keys
        monkeypatch.setattr(engine, "keys", lambda blocks: keys(asked.append(block) or block for block in blocks))
        report = build(sources, tmp_path / "memory", engine)
    assert sum(map(len, asked)) <= report.embedded - 4 * 32
    assert not any("Boat " in text for text in asked[0]), "and not computed again"
    require_same(tmp_path / "whole", tmp_path / "memory")


@pytest.mark.slow
def test_a_worker_that_is_lost_again_and_again_ends_the_job(sources, tmp_path, monkeypatch):
    assert ray_cluster.RESTARTS == {"max_restarts": 3, "max_task_retries": 3}
    # Each takes a while: here the first one is the last.
    monkeypatch.setattr(ray_cluster, "RESTARTS", {"max_restarts": 1, "max_task_retries": 1})
    dying = HashRecipe(os.getpid(), dies_at="Bench number 200 ")
    with (
        RayEngine(dying, SPLITTER) as engine,
        pytest.raises(
            ClusterError,
            match=r"A worker of the Ray cluster failed: The actor is dead .{,60}; see to it, and .* it goes on where it was",
        ),
    ):
        build(sources, tmp_path / "memory", engine)
    with RayEngine(RECIPE, SPLITTER) as engine:
        build(sources, tmp_path / "memory", engine)
    build(sources, tmp_path / "whole", local())
    require_same(tmp_path / "whole", tmp_path / "memory")


@pytest.mark.slow
def test_a_worker_with_another_encoder_is_refused(sources, tmp_path):
    with (
        RayEngine(HashRecipe(os.getpid(), salt=1), SPLITTER) as engine,
        pytest.raises(ClusterError, match=r"the same text gives other vectors .*build the memory again\.$"),
    ):
        build(sources, tmp_path / "memory", engine)


@pytest.mark.slow
def test_states_do_not_depend_on_who_computed_them(sources, tmp_path):
    build(sources, tmp_path / "local", local())
    shutil.copytree(tmp_path / "local", tmp_path / "ray")
    compute_states(tmp_path / "local", TinyReader()())
    compute_states(tmp_path / "ray", TinyReader()(), elsewhere=partial(ray_states, TinyReader()))
    require_same(tmp_path / "local", tmp_path / "ray")
    assert Memory.open(tmp_path / "ray").states(0) is not None


def test_parts_out_of_order_are_refused():
    from indexing.engines.ray_cluster import in_order

    class Rows:
        def __init__(self, *places):
            self.places = places

        def iter_rows(self):
            for number, part, last in self.places:
                yield {"number": number, "part": part, "last": last}

    assert len(list(in_order(Rows((0, 0, False), (0, 1, True), (1, 0, True)), 2))) == 3
    for places, match in [
        ([(1, 0, True)], r"part \(1, 0\) where part \(0, 0\) was due"),
        ([(0, 0, True), (0, 1, True)], r"part \(0, 1\) where part \(1, 0\) was due"),
        ([(0, 0, False)], r"part \(2, 0\) where part \(0, 1\) was due"),
        ([(0, 0, True)], r"part \(2, 0\) where part \(1, 0\) was due"),
    ]:
        with pytest.raises(ClusterError, match=match):
            list(in_order(Rows(*places), 2))
