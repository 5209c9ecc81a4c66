"""An evaluation: figures of each system and between them, and the report that people and later reports read."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from conftest import ROOT
from hashing import HashEncoder
from markdown_it import MarkdownIt

from memgpt_rag.errors import MismatchError, SourceError
from memgpt_rag.evaluation.data.beir import read_beir
from memgpt_rag.evaluation.data.dataset import Document, RetrievalDataset
from memgpt_rag.evaluation.data.trec import read_run
from memgpt_rag.evaluation.document_memory import embed_documents
from memgpt_rag.evaluation.metrics.retrieval_measures import per_query
from memgpt_rag.evaluation.metrics.significance import compare, holm
from memgpt_rag.evaluation.reports.folder import write_folder
from memgpt_rag.evaluation.reports.pages import to_html, to_markdown
from memgpt_rag.evaluation.reports.report import against, make_report, read_report
from memgpt_rag.evaluation.reports.tables import report_tables, to_plain, winners_and_losers
from memgpt_rag.evaluation.retrieval import evaluate_retrieval
from memgpt_rag.evaluation.systems import make_system

LIBRARY = read_beir(ROOT / "examples" / "beir")
MEASURES = ("nDCG@10", "R@5", "AP")


@dataclass
class Fixed:
    """Ranks documents as it was asked to, by the query's text."""

    name: str
    rankings: dict[str, list[tuple[str, float]]]

    def __call__(self, queries, k):
        return [self.rankings.get(query, [])[:k] for query in queries]


def ranked(judged: RetrievalDataset, *, gold_at: int) -> dict[str, list[tuple[str, float]]]:
    """A right document of each query at one rank, documents that are wrong around it."""
    rankings = {}
    for query, text in judged.judged.items():
        right = judged.relevant(query)
        wrong = [name for name in judged.documents if name not in right]
        names = [*wrong[: gold_at - 1], right[0], *wrong[gold_at - 1 : 12]]
        rankings[text] = [(name, 1.0 - place / 100) for place, name in enumerate(names)]
    return rankings


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    systems = []
    for dimension in (16, 512):
        encoder = HashEncoder(dimension=dimension, name=f"hash-{dimension}")
        memory, costs = embed_documents(LIBRARY, encoder, tmp_path_factory.mktemp("measured") / "memory")
        systems.append(make_system("dense", memory, encoder, costs=costs))
    return evaluate_retrieval(LIBRARY, iter(systems), runs={"reversed": {}}, measures=MEASURES, k=20, latency_queries=5)


@pytest.fixture
def report(measured):
    return make_report(measured, command="memgpt-rag eval retrieval examples/beir", source="examples/beir")


def test_figures_of_a_system_are_those_of_its_rankings(measured):
    assert [system.name for system in measured.systems] == ["dense hash-16", "dense hash-512", "reversed"]
    for system in measured.systems:
        assert system.values == per_query(LIBRARY, system.run, MEASURES)
        for name, (mean, low, high) in system.means.items():
            assert mean == pytest.approx(sum(system.values[name].values()) / len(LIBRARY.judged))
            assert low <= mean <= high
        assert list(system.recall)[-1] == 20
        assert system.recall[5] == pytest.approx(system.means["R@5"][0])
    assert measured.systems[1].means["nDCG@10"][0] > measured.systems[0].means["nDCG@10"][0] > 0
    assert measured.systems[2].means["nDCG@10"] == (0, 0, 0), "a run without results is wrong everywhere"


def test_speed_is_measured_of_what_searches_here_only(measured):
    for system in measured.systems[:2]:
        assert 0 < system.speed.latency_ms["p50"] <= system.speed.latency_ms["p95"] <= system.speed.latency_ms["p99"]
        assert system.speed.timed == 5
        assert system.speed.queries_per_second > 0
        assert system.speed.peak_memory_bytes > 10e6
        assert system.costs.build_seconds > system.costs.encoding_seconds > 0
    assert measured.systems[2].speed is measured.systems[2].costs is None


def test_later_systems_are_compared_with_the_first_and_p_is_corrected_for_all(measured):
    first, *others = measured.systems
    assert [(item.system, item.against, item.measure) for item in measured.comparisons] == [
        (other.name, first.name, name) for other in others for name in MEASURES
    ]
    alone = [compare(other.values[name], first.values[name]) for other in others for name in MEASURES]
    assert [item.figures.difference for item in measured.comparisons] == [item.difference for item in alone]
    assert [item.figures.p_holm for item in measured.comparisons] == holm([item.p for item in alone])


def test_a_measure_that_looks_deeper_than_k_gets_what_it_looks_at(tmp_path):
    encoder = HashEncoder()
    memory, _ = embed_documents(LIBRARY, encoder, tmp_path / "memory")
    deep = evaluate_retrieval(LIBRARY, [make_system("dense", memory, encoder)], measures=["R@50", "R@50"], k=5)
    assert list(deep.systems[0].means) == ["R@50"], "a measure that is named twice is shown once"
    assert deep.k == 50
    assert deep.systems[0].means["R@50"] == (1.0, 1.0, 1.0), "there are fifty documents"


@pytest.mark.parametrize(
    "systems, settings, sentence",
    [
        ([], {}, "There is no system to measure; give at least one"),
        ([Fixed("a", {}), Fixed("a", {})], {}, "Two systems are called 'a'; give each a name of its own"),
        ([Fixed("a", {})], {"runs": {"a": {}}}, "Two systems are called 'a'"),
        ([Fixed("a", {})], {"k": 0}, "k is 0; expected 1 to 10,000"),
        ([Fixed("a", {})], {"latency_queries": 0}, "latency_queries is 0; expected 1 or more"),
        ([Fixed("a", {})], {"measures": ["MRR"]}, "No measure 'MRR'; expected one of nDCG, R"),
        (
            [Fixed("a", {LIBRARY.queries["q2"]: [("en-1", 0.1), ("en-2", 0.2)]})],
            {},
            "Scores of a for the query 'q2' increase; a ranking is best first",
        ),
        ([Fixed("a", {LIBRARY.queries["q2"]: [("x", 0.1)]})], {}, "found the document 'x', which is none of beir"),
    ],
)
def test_what_cannot_be_measured_is_refused(systems, settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        evaluate_retrieval(LIBRARY, systems, **settings)


def test_a_report_says_where_it_comes_from(report):
    assert report == json.loads(json.dumps(report)), "JSON can say all of it"
    assert report["data"]["documents_digest"] == LIBRARY.documents_digest
    assert report["data"]["measured_queries"] == 12
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", report["provenance"]["date"])
    assert {"numpy", "faiss-cpu", "ir-measures"} <= set(report["provenance"]["packages"])
    assert report["provenance"]["machine"]["cores"] >= 1
    one, other, run = report["systems"]
    assert one["about"]["encoder"] == "hash-16"
    assert one["about"]["encoder_digest"] != other["about"]["encoder_digest"]
    assert run["about"] == {}
    assert all(len(found) == 10 for found in one["found"].values())


def test_the_pages_hold_every_figure_and_need_nothing_else(report):
    markdown, page = to_markdown(report), to_html(report)
    for system in report["systems"]:
        for item in system["measures"].values():
            cell = f"{item['mean']:.3f} [{item['low']:.3f}, {item['high']:.3f}]"
            assert cell in markdown
            assert cell in page
    assert not re.search(r"<script|<link|<img|<iframe|src=|href=|@import|url\(|https?:", page)
    assert "prefers-color-scheme: dark" in page
    for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ElementTree.fromstring(svg)
    assert page.count("<svg") == 2
    assert page.count('class="curve"') == 3, "a line of recall for each system"
    assert page.count("<rect") == 2, "a bar for each that searched here"


class Elements(HTMLParser):
    """The elements that a browser would see."""

    def __init__(self, page: str):
        super().__init__()
        self.names: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)


def test_texts_of_a_set_cannot_become_part_of_the_page():
    evil = '<script>alert("x")</script>|<b>'
    judged = RetrievalDataset(evil, {"d&1": Document("", "text")}, {evil: evil}, {evil: {"d&1": 1}})
    measured = evaluate_retrieval(judged, [Fixed(evil, {})], measures=["AP"])
    report = make_report(measured, command=evil, source=evil)
    shown = Elements(report._repr_html_()).names  # what a notebook shows
    assert {"h1", "table"} <= set(shown)
    names = Elements(to_html(report)).names
    assert not {"script", "b"} & {*names, *shown}
    assert names.count("html") == names.count("body") == 1
    markdown = to_markdown(report)
    assert "<script" not in markdown
    assert "<b>" not in markdown
    for table in re.findall(r"(?:^\|.*\n)+", markdown, re.MULTILINE):
        bars = {len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}
        assert len(bars) == 1, "no row has more cells than its head"


@pytest.mark.parametrize(
    "evil",
    [
        "![seen](http://e.vil/b.png)",
        "[0.1, 0.2](http://e.vil)",
        "[![0.1, 0.2](http://e.vil/b.png)](http://e.vil)",
        "![x][1]\n\n[1]: http://e.vil/b.png",
        "<http://e.vil>",
        "<img src=http://e.vil/b.png>",
        "\\![seen](http://e.vil/b.png)",
        "&lt;img src=http://e.vil/b.png&gt; &#33;[x](y)",
        "`code",
        "x\u2028# heading\x1b]0;title\x07\u202egpj",
    ],
)
def test_texts_of_a_set_make_no_image_and_no_link(evil):
    report = make_report(_of(evil), command=evil, source=evil)
    markdown, page = to_markdown(report), to_html(report)
    plain = to_markdown(make_report(_of("plain"), command="plain", source="plain"))
    tags = Elements(MarkdownIt("commonmark").enable("table").render(markdown)).names
    assert tags == Elements(MarkdownIt("commonmark").enable("table").render(plain)).names, "text, and nothing but text"
    assert not set("\x1b\x07\u2028\u202e") & {*markdown, *page}
    for linked in ("http://", "e.vil"):
        assert linked not in markdown, "some readers make links of addresses that stand alone"


def _of(name: str):
    judged = RetrievalDataset(name, {"d&1": Document("", "text")}, {name: name}, {name: {"d&1": 1}})
    return evaluate_retrieval(judged, [Fixed(name, {})], measures=["AP"])


def test_winners_and_losers_are_the_queries_that_moved_most():
    half = dict(list(ranked(LIBRARY, gold_at=1).items())[:6])
    better = {**ranked(LIBRARY, gold_at=3), **half}
    measured = evaluate_retrieval(
        LIBRARY, [Fixed("third", ranked(LIBRARY, gold_at=3)), Fixed("mixed", better)], measures=["RR@10"]
    )
    report = make_report(measured, command="", source="")
    (wins,) = winners_and_losers(report)
    assert wins.title == "Where mixed wins against third"
    assert {row[0].split(":")[0] for row in wins.rows} == {f"q{number}" for number in range(1, 7)}
    assert {row[1] for row in wins.rows} == {f"1.000 (+{1 - 1 / 3:.3f})"}
    worst = evaluate_retrieval(LIBRARY, [Fixed("mixed", better)], measures=["RR@10"])
    (table,) = winners_and_losers(make_report(worst, command="", source=""), count=6)
    assert {row[1] for row in table.rows} == {"0.333"}


def test_a_terminal_gets_columns_that_align(report):
    for table in report_tables(report):
        title, *lines = to_plain(table).splitlines()
        assert title == table.title
        assert len({len(line) for line in lines}) == 1, "the last column is to the right"


def test_a_report_is_compared_with_an_earlier_one_query_by_query(report):
    worse = evaluate_retrieval(
        LIBRARY, [Fixed("dense hash-16", ranked(LIBRARY, gold_at=9))], measures=("nDCG@10", "RR")
    )
    earlier = make_report(worse, command="", source="")
    shown = against(report, earlier, "earlier.json")
    assert (shown["queries"], shown["left_out"]) == (12, 0)
    assert [(item["system"], item["against"], item["measure"]) for item in shown["comparisons"]] == [
        (system["name"], "dense hash-16", "nDCG@10") for system in report["systems"]
    ], "by its own name, or else with the first; in the measures of both"
    for item, system in zip(shown["comparisons"], report["systems"], strict=True):
        assert item["difference"] == pytest.approx(
            system["measures"]["nDCG@10"]["mean"] - earlier["systems"][0]["measures"]["nDCG@10"]["mean"]
        )
    report["against"] = shown
    assert r"Compared with the report earlier\.json" in to_markdown(report)
    assert "Where dense hash-16 wins against dense hash-16" in to_html(report)


def test_queries_that_are_judged_in_another_way_are_left_out_of_a_comparison(report):
    changed = {**LIBRARY.judgements, "q1": {"zh-5": 1}}
    queries = {name: text for name, text in LIBRARY.queries.items() if name != "q2"} | {"new": "?"}
    del changed["q2"]
    other = RetrievalDataset("other", LIBRARY.documents, queries, {**changed, "new": {"en-1": 1}})
    earlier = make_report(evaluate_retrieval(other, [Fixed("f", {})], measures=["AP"]), command="", source="")
    shown = against(report, earlier, "earlier.json")
    assert (shown["queries"], shown["left_out"]) == (10, 3)
    report["against"] = shown
    assert "10 queries of both; 3 are asked or judged in another way" in to_markdown(report)


def test_reports_that_cannot_be_compared_are_refused_with_the_reason(report):
    def earlier(documents=LIBRARY.documents, judgements=LIBRARY.judgements, measures=("AP",)):
        judged = RetrievalDataset("park", documents, LIBRARY.queries, judgements)
        return make_report(evaluate_retrieval(judged, [Fixed("f", {})], measures=measures), command="", source="")

    with pytest.raises(
        MismatchError, match=r"of different documents: beir with 50 of digest \w{12}, and in e.json park with 51"
    ):
        against(report, earlier({**LIBRARY.documents, "en-26": Document("", "new")}), "e.json")
    with pytest.raises(MismatchError, match=r"e.json have no query with the same text and judgements in common"):
        against(report, earlier(judgements={"q1": {"zh-5": 1}}), "e.json")
    with pytest.raises(MismatchError, match=r"e.json have no measure in common; measure both in the same way"):
        against(report, earlier(measures=["P@3"]), "e.json")


def test_a_folder_of_a_report_is_read_back(tmp_path, measured, report):
    written = write_folder(tmp_path / "out", measured, report)
    assert [path.name for path in written] == [
        *("report.json", "report.md", "report.html"),
        *("dense-hash-16.trec", "dense-hash-512.trec", "reversed.trec"),
    ]
    assert read_report(tmp_path / "out" / "report.json") == report
    tag, run = read_run(tmp_path / "out" / "dense-hash-16.trec")
    assert tag == "dense-hash-16"
    assert per_query(LIBRARY, run, MEASURES) == measured.systems[0].values
    with pytest.raises(SourceError, match=r"report.json is a file; name a folder for the report"):
        write_folder(tmp_path / "out" / "report.json", measured, report)
    victim = tmp_path / ".bashrc"
    victim.write_text("export EDITOR=vi")
    (tmp_path / "out" / "report.md").unlink()
    (tmp_path / "out" / "report.md").symlink_to(victim)
    with pytest.raises(SourceError, match=r"report\.md is a link, so that a report would be written elsewhere"):
        write_folder(tmp_path / "out", measured, report)
    assert victim.read_text() == "export EDITOR=vi"


def test_there_is_no_run_where_an_id_holds_white_space(tmp_path):
    judged = RetrievalDataset("spaced", {"a b": Document("", "text")}, {"q": "?"}, {"q": {"a b": 1}})
    measured = evaluate_retrieval(judged, [Fixed("f", {"?": [("a b", 1.0)]})], measures=["AP"])
    written = write_folder(tmp_path, measured, make_report(measured, command="", source=""))
    assert [path.suffix for path in written] == [".json", ".md", ".html"]


def _set(*keys, value):
    def change(report):
        for key in keys[:-1]:
            report = report[key]
        report[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    "change, why",
    [
        (
            _set("systems", 0, "per_query", "nDCG@10", "q1", value=float("nan")),
            "r.json: NaN where a number is expected",
        ),
        (
            _set("systems", 0, "per_query", "nDCG@10", "q1", value=1e308),
            r"nDCG@10 of the query 'q1' is 1e\+308, not a number",
        ),
        (_set("systems", 0, "per_query", "nDCG@10", "q1", value="1"), "nDCG@10 of the query 'q1' is '1', not a number"),
        (_set("systems", 0, "per_query", "nDCG@10", value={}), r"is a damaged report \('q1' is missing\)"),
        (_set("systems", 0, "per_query", value=[]), "is a damaged report"),
        (_set("systems", value=[7]), "is a damaged report"),
        (_set("systems", 0, "name", value=7), "7 where a text is expected"),
        (_set("measures", value=[[]]), "is a damaged report"),
        (_set("queries", value=[1]), "is a damaged report"),
        (_set("queries", "q1", "digest", value=None), "None where a text is expected"),
        (_set("data", value={"x": 1}), r"is a damaged report \('documents' is missing\)"),
        (_set("data", "documents", value="5" * 9), "documents is '555555555', not a number"),
    ],
)
def test_a_damaged_report_is_refused(tmp_path, report, change, why):
    report = json.loads(json.dumps(report))
    change(report)
    (tmp_path / "r.json").write_text(json.dumps(report))
    with pytest.raises(SourceError, match=f"{why}.*(; write it again|; name a report.json)"):
        read_report(tmp_path / "r.json")


@pytest.mark.parametrize(
    "text, sentence",
    [
        ('{"kind": ', r"r.json: broken JSON .*; name a report.json"),
        ("[]", r"r.json is no report of memgpt-rag eval retrieval"),
        (
            '{"kind": "memgpt_rag retrieval report", "version": 9}',
            r"is a report of version 9; this release reads version 1",
        ),
        (
            '{"kind": "memgpt_rag retrieval report", "version": 1, "data": {"x": 1}}',
            r"without queries, systems, measures",
        ),
    ],
)
def test_what_is_no_report_is_refused(tmp_path, text, sentence):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(SourceError, match=sentence):
        read_report(tmp_path / "r.json")
