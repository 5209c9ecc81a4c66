"""memgpt-rag eval as a shell runs it."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from commands import KNOWLEDGE, KNOWN, refused, run
from conftest import ROOT

LIBRARY = ROOT / "examples" / "beir"


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> Path:
    """The report of the command in the guide."""
    folder = tmp_path_factory.mktemp("eval") / "report"
    line = re.search(
        r"^memgpt-rag eval retrieval .*$",
        (ROOT / "docs" / "guide" / "evaluate-retrieval.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    *command, output = shlex.split(line[0])
    assert (command[3], output) == ("examples/beir", "report")
    done = run(*command, folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("How well documents are found\nsystem ")
    assert f"Written: {folder / 'report.json'}, " in done.stdout
    return folder


@pytest.mark.offline_models
def test_the_guides_command_measures_a_folder_of_beir(measured):
    report = json.loads((measured / "report.json").read_text(encoding="utf-8"))
    assert [system["name"] for system in report["systems"]] == [
        "dense all-MiniLM-L6-v2",
        "dense multilingual-e5-small-4bit",
    ]
    english, both = (system["measures"]["nDCG@10"]["mean"] for system in report["systems"])
    assert 0.3 < english < both < 0.8, "half of what is relevant is in the other language"
    assert report["provenance"]["command"].startswith("memgpt-rag eval retrieval examples/beir ")
    assert sorted(path.name for path in measured.iterdir()) == [
        *("dense-all-MiniLM-L6-v2.trec", "dense-multilingual-e5-small-4bit.trec"),
        *("report.html", "report.json", "report.md"),
    ]


@pytest.mark.offline_models
def test_a_ranking_is_measured_against_the_report_that_it_came_with(measured):
    ranking = measured / "dense-all-MiniLM-L6-v2.trec"
    done = run("memgpt-rag", "eval", "retrieval", LIBRARY, "--run", ranking, "--against", measured / "report.json")
    assert done.returncode == 0, done.stderr
    assert f"Compared with the report {measured / 'report.json'}" in done.stdout
    assert done.stdout.count("0 / 12 / 0") == 5, "the same ranking has the same figures"
    assert "p50" not in done.stdout, "a ranking from a file has no times"


@pytest.mark.offline_models
def test_a_memory_is_measured_by_the_records_of_its_entries(tmp_path):
    memory, fields = tmp_path / "memory", ("--id-field", "_id")
    corpus = (LIBRARY / "corpus.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "part.jsonl").write_text("".join(line for line in corpus if '"zh-7"' not in line), encoding="utf-8")
    built = run("memgpt-index", "build", tmp_path / "part.jsonl", "--memory", memory, *fields)
    assert built.returncode == 0, built.stderr
    done = run("memgpt-rag", "eval", "retrieval", LIBRARY, "--memory", memory, "-k", "10", "--measures", "R@10, RR")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].split() == ["system", "R@10", "RR"]
    assert "dense multilingual-e5-small-4bit" in done.stdout
    assert "beir: 50 documents; 12 of 12 queries have a relevant one and are measured." in done.stderr
    assert f"Relevant documents without an entry in {memory}, which no search can find: 1." in done.stderr


@pytest.mark.offline_models
def test_searches_by_words_are_measured_and_their_weight_is_fitted(tmp_path):
    memory, encoder = tmp_path / "memory", ("--encoder", "all-MiniLM-L6-v2")
    built = run(
        "memgpt-index",
        "build",
        LIBRARY / "corpus.jsonl",
        "--memory",
        memory,
        "--id-field",
        "_id",
        *encoder,
        "--no-lexical",
    )
    assert built.returncode == 0, built.stderr
    weight = "memgpt-rag", "eval", "lexical-weight", LIBRARY, "--memory", memory
    assert "has no lexical index; add an index with: memgpt-index lexical" in refused(*weight)
    assert run("memgpt-index", "lexical", memory).returncode == 0
    done = run(*weight)
    assert done.returncode == 0, done.stderr
    *tried, last = done.stdout.splitlines()
    means = {float(line.split()[0]): float(line.split()[1]) for line in tried}
    (best,) = [float(line.split()[0]) for line in tried if line.endswith("<")]
    assert means[best] == max(means.values()) and last.startswith(f"--lexical-weight {best:g} is best on 12 queries")
    searches = [item for name in ("hybrid", "dense", "bm25", "hybrid+rerank") for item in ("--search", name)]
    command = "memgpt-rag", "eval", "retrieval", LIBRARY, "--memory", memory, *searches, "--measures", "nDCG@10"
    assert "A search with +rerank needs a reranker; name one with --rerank" in refused(*command, status=2)
    again = "--lexical-weight", str(best), "--rerank", "tokens:all-MiniLM-L6-v2"
    done = run(*command, *again, "--output", tmp_path / "report")
    assert done.returncode == 0, done.stderr
    systems = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))["systems"]
    found = {system["about"]["search"]: system["measures"]["nDCG@10"]["mean"] for system in systems}
    assert found["hybrid"] == pytest.approx(means[best], abs=1e-4)
    assert found["dense"] == pytest.approx(means[0.0], abs=1e-4)
    assert found["bm25"] == pytest.approx(means[1.0], abs=1e-4)
    assert systems[3]["about"]["reranker"] == "tokens of all-MiniLM-L6-v2"


@pytest.mark.offline_models
def test_indexes_of_a_memory_are_measured(tmp_path):
    data, encoder = tmp_path / "many", ("--encoder", "all-MiniLM-L6-v2")
    (data / "qrels").mkdir(parents=True)
    lines = (json.dumps({"_id": f"d{number}", "text": f"Room {number}."}) for number in range(1000))
    (data / "corpus.jsonl").write_text("\n".join(lines))
    (data / "queries.jsonl").write_text(json.dumps({"_id": "q1", "text": "Which is room 7?"}))
    (data / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td7\t1\n")
    memory, command = tmp_path / "memory", ("memgpt-rag", "eval", "retrieval", data, "--indexes")
    built = run("memgpt-index", "build", data / "corpus.jsonl", "--memory", memory, "--id-field", "_id", *encoder)
    assert built.returncode == 0, built.stderr
    for place in (("--memory", memory), encoder):
        done = run(*command, *place, "--measures", "R@10", "--output", tmp_path / "report")
        assert done.returncode == 0, done.stderr
        assert "How fast keys of all-MiniLM-L6-v2 are searched" in done.stdout
        (indexes,) = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))["indexes"]
        assert (indexes["keys"], indexes["queries"], indexes["dimension"]) == (1000, 1, 384)
        assert [point["recall"] for point in indexes["curves"][0]["points"]] == [1.0]
    few = "There are 50 keys; indexes are measured over 1,000 or more; leave out --indexes."
    assert few in refused("memgpt-rag", "eval", "retrieval", LIBRARY, "--indexes", *encoder)
    shown = refused(*command, "--run", tmp_path / "report" / "dense-all-MiniLM-L6-v2.trec", status=2)
    assert "--indexes needs keys to measure; give --memory or --encoder beside --run." in shown


@pytest.mark.offline_models
@pytest.mark.slow
def test_answers_of_a_memory_are_measured_in_several_modes(tmp_path, memory):
    lines = [json.dumps({"question": asked, "golden_answers": [gold]}, ensure_ascii=False) for asked, gold in KNOWN]
    (tmp_path / "asked.jsonl").write_text("\n".join(lines), encoding="utf-8")
    modes = ("--mode", "memory", "--mode", "closed_book", "--max-new-tokens", "16")
    done = run(
        *("memgpt-rag", "eval", "answers", tmp_path / "asked.jsonl", "--memory", memory),
        *(*modes, "--output", tmp_path / "answers.json"),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("How right answers are\nmode ")
    report = json.loads((tmp_path / "answers.json").read_text(encoding="utf-8"))
    means = {mode: parts["all"]["f1"]["mean"] for mode, parts in report["modes"].items()}
    assert means["memory"] > 0.5 > means["closed_book"]
    assert [one["question"] for one in report["answers"]] == [asked for asked, _ in KNOWN]
    assert report["about"]["encoder"] == "multilingual-e5-small-4bit"


def test_what_cannot_be_measured_is_one_sentence(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "report.json").write_text("{}")
    for ranking in ("one", "two"):
        (tmp_path / f"{ranking}.trec").write_text("q1 Q0 en-1 1 0.5 same\n")
    other = json.dumps({"_id": "d1", "text": "other"})
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "corpus.jsonl").write_text(other)
    command = "memgpt-rag", "eval", "retrieval"
    for arguments, sentence in (
        ([tmp_path / "gone"], "gone does not exist; expected a folder with corpus.jsonl"),
        ([tmp_path / "empty"], "empty has neither queries.jsonl nor topics.*"),
        ([KNOWLEDGE / "notices.jsonl"], "tells answers and no documents, so that search cannot be judged by it"),
        ([LIBRARY, "--split", "dev"], "has no file dev.tsv; its splits are: test. Name one of them with --split."),
        ([LIBRARY, "--measures", "nDGC@10"], "No measure 'nDGC@10'; expected one of nDCG, R, RR"),
        ([LIBRARY, "--search", "telepathy"], "No search 'telepathy'; expected one of dense"),
        ([LIBRARY, "--against", tmp_path / "report.json"], "report.json is no report of memgpt-rag eval retrieval"),
        ([LIBRARY, "--memory", tmp_path / "empty"], "empty is not a memory: it has no manifest.json"),
        ([LIBRARY, "--encoder", "no/such-encoder"], "No embedding model 'no/such-encoder': it is no folder here"),
        ([LIBRARY, "--run", tmp_path / "gone.trec"], "gone.trec cannot be read: No such file or directory"),
    ):
        shown = refused(*command, *arguments)
        assert sentence in shown
        assert shown.count("\n") == 1
    runs = [part for ranking in ("one", "two") for part in ("--run", tmp_path / f"{ranking}.trec")]
    assert "have the same tag; change the last column" in refused(*command, LIBRARY, *runs, status=2)
    assert "A memory has one encoder" in refused(
        *command, LIBRARY, "--memory", "m", "--encoder", "a", "--encoder", "b", status=2
    )
    nowhere = tmp_path / "no" / "answers.json"
    shown = refused("memgpt-rag", "eval", "answers", "asked.jsonl", "--memory", "m", "--output", nowhere, status=2)
    assert "answers.json cannot be written; name a file in a folder that is there" in shown
    asked = "memgpt-rag", "eval", "answers", KNOWLEDGE / "notices.jsonl", "--memory", tmp_path / "empty"
    assert "notices.jsonl, line 1: its question is missing" in refused(*asked)
