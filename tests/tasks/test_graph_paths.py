"""Paths through memories: which are found, how they are scored, what is read of them, and what answers say of theirs."""

from __future__ import annotations

import re
from collections import Counter
from itertools import combinations

import networkx as nx
import numpy as np
import pytest
from commands import refused, run
from hashing import HashEncoder, passage
from tiny import TinyReader
from triples import PARK, read

from memgpt_rag.answering.options import AskOptions
from memgpt_rag.errors import MemoryFormatError, MismatchError, SourceError
from memgpt_rag.memory import Memory, add_lexical_index
from memgpt_rag.memory.lexical.analysis import query_terms, terms
from memgpt_rag.memory.lexical.bm25 import idf
from memgpt_rag.rag import RAG
from memgpt_rag.retrieval.retriever import Retriever
from memgpt_rag.tasks.graph.ask import answer_by_paths, entries_by_paths, joined, read_paths
from memgpt_rag.tasks.graph.build import build_graph_memory
from memgpt_rag.tasks.graph.export import around, to_networkx, to_svg, write_graph
from memgpt_rag.tasks.graph.links import NameLinks, TripleLinks, path_end, read_links
from memgpt_rag.tasks.graph.paths import Path, PathFinder
from memgpt_rag.tasks.graph.read import read_triples

ROWS = """subject,property,object
Spain,capital,Madrid
Spain,country code,ESP
Spain,continent,Europe
Spain,area,505992
France,capital,Paris
France,country code,FRA
France,continent,Europe
Peru,capital,Lima
Peru,country code,PER
Peru,continent,America
法国,首都,巴黎
法国,货币,欧元
"""

TEXTS = [
    "The Harbor Prize went to Ada Lindqvist for a novel.",
    "Ada Lindqvist grew up in Port Ellis.",
    "Port Ellis has two lighthouses.",
    "The Harbor Prize is given in May.",
]


@pytest.fixture(scope="module")
def memory(tmp_path_factory) -> Memory:
    folder = tmp_path_factory.mktemp("countries")
    report = build_graph_memory(read(folder, ROWS, "a.csv"), folder / "memory", HashEncoder())
    assert list(report.lines()) == ["12 entries of 12 triples about 14 entities."]
    return Memory.open(folder / "memory")


@pytest.fixture(scope="module")
def finder(memory) -> PathFinder:
    return PathFinder(Retriever(memory, HashEncoder()), TripleLinks(memory))


def texts(path: Path) -> list[str]:
    return [one.text for one in path.passages]


def test_a_question_over_two_hops_follows_the_entity_that_the_first_entry_names(finder):
    question = "What is the continent of the country with the country code ESP?"
    best = finder.paths(question, 1)[0]
    assert texts(best) == ["The country code of Spain is ESP.", "The continent of Spain is Europe."]
    assert path_end(question, best) == "Europe"
    question = "首都是巴黎的国家使用什么货币？"
    best = finder.paths(question, 1)[0]
    assert texts(best) == ["法国的首都是巴黎。", "法国的货币是欧元。"]
    assert path_end(question, best) == "欧元"


def test_a_question_over_one_hop_is_answered_by_one_entry(finder):
    for question, end in [("What is the capital of Peru?", "Lima"), ("Lima is the capital of which place?", "Peru")]:
        (best, *_) = read_paths(finder.paths(question, 20), 3)
        assert texts(best) == ["The capital of Peru is Lima."]
        assert path_end(question, best) == end


def test_no_path_is_longer_than_asked_and_none_visits_an_entry_twice(memory):
    for hops in (1, 2, 3):
        paths = PathFinder(Retriever(memory, HashEncoder()), TripleLinks(memory), hops=hops).paths("Paris ESP", 500)
        assert {len(path.rows) for path in paths} == set(range(1, hops + 1))
        assert all(len(set(path.rows)) == len(path.rows) for path in paths)
        assert len({frozenset(path.rows) for path in paths}) == len(paths)
        assert [path.score for path in paths] == sorted((path.score for path in paths), reverse=True)


def test_a_path_is_scored_as_the_formula_says(memory, finder):
    question, encoder = "What is the continent of the country with the country code ESP?", HashEncoder()
    statistics, links = memory.term_statistics([question]), TripleLinks(memory)
    weights = {term: idf(statistics, term) for term in Counter(query_terms(question))}
    for path in finder.paths(question, 30):
        mean = memory.keys(path.rows).mean(0)
        cosine = encoder.encode_queries([question])[0] @ mean / np.linalg.norm(mean)
        held = {term for text in texts(path) for term in terms(text)}
        share = sum(weight for term, weight in weights.items() if term in held) / sum(weights.values())
        expected = (
            (1 - links.lexical_weight) * cosine / memory.manifest.encoder.score_scale
            + links.lexical_weight * 2 * share
            - links.cost * len(path.rows)
        )
        assert path.score == pytest.approx(expected, rel=1e-5)


def test_going_on_is_read_only_where_it_makes_a_path_better():
    one = [passage(number) for number in range(4)]
    path = lambda score, *rows: Path(rows, tuple(one[row] for row in rows), score)  # noqa: E731
    assert read_paths([path(2.0, 0, 1), path(1.98, 0), path(1.97, 2)], 3) == [path(2.0, 0, 1), path(1.97, 2)]
    assert read_paths([path(2.0, 0), path(1.98, 0, 1), path(1.97, 2)], 3) == [path(2.0, 0), path(1.97, 2)]
    assert read_paths([path(2.0, 0), path(1.5, 2)], 3) == [path(2.0, 0)]
    assert read_paths([path(2.0, 0), path(1.99, 2), path(1.98, 3)], 2) == [path(2.0, 0), path(1.99, 2)]
    assert read_paths([], 3) == []


def test_names_in_a_passage_lead_to_the_passages_that_hold_them(tmp_path):
    memory = Memory.create(tmp_path / "memory", TEXTS, HashEncoder())
    retriever = Retriever(memory, HashEncoder())
    with pytest.raises(MemoryFormatError, match="has no lexical index"):
        PathFinder(retriever, NameLinks(memory))
    add_lexical_index(memory)
    memory = Memory.open(tmp_path / "memory")
    assert isinstance(read_links(memory), NameLinks)
    path = Path((0,), tuple(memory.passages([0])), 0.0)
    assert set(NameLinks(memory).follow("Who won?", path)) >= {1, 3} and 2 not in NameLinks(memory).follow(
        "Who won?", path
    )
    finder = PathFinder(Retriever(memory, HashEncoder()), NameLinks(memory), hops=3)
    assert any(
        path.rows == (0, 1, 2) for path in finder.paths("Where did the winner of the Harbor Prize grow up?", 100)
    )
    assert path_end("Who won?", path) is None
    with pytest.raises(MismatchError, match="no column 'language', as one of triples has"):
        TripleLinks(memory)


def test_passages_of_paths_through_texts_are_entries_of_their_own(tmp_path):
    memory = Memory.create(tmp_path / "memory", TEXTS, HashEncoder())
    add_lexical_index(memory)
    memory = Memory.open(tmp_path / "memory")
    rag = RAG(memory, HashEncoder(), TinyReader()())
    finder = PathFinder(rag.retriever, read_links(memory), hops=2)
    question = "Where did the winner of the Harbor Prize grow up?"
    paths = finder.paths(question, 48)
    in_order = [*dict.fromkeys(row for path in paths for row in path.rows)]
    for count in (1, 3):
        entries = entries_by_paths(finder, question, count)
        assert [entry.row for entry in entries] == in_order[: 2 * count]
        assert [entry.passage for entry in entries] == memory.passages(in_order[: 2 * count])
        best = [max(path.score for path in paths if entry.row in path.rows) for entry in entries]
        assert [entry.normalized_score for entry in entries] == best, "each counts as the best path that it is on"
        (answered,) = answer_by_paths(rag, finder, [question], AskOptions(k=count, max_new_tokens=4))
        cited = {citation.passage.text: citation.share for citation in answered.answer.citations}
        assert cited.keys() == {entry.passage.text for entry in entries}, "all that is read is cited"
        shown = [step.passage for step in answered.steps]
        assert answered.answer.citations[0].passage in shown and answered.end is None
        assert [step.share for step in answered.steps] == [cited[step.passage.text] for step in answered.steps]
        assert any(list(path.passages) == shown for path in paths), "the steps are those of a path"
    (prompted,) = answer_by_paths(rag, finder, [question], AskOptions("prompt", 3, max_new_tokens=4))
    assert [step.passage for step in prompted.steps] == list(paths[0].passages)
    assert {step.share for step in prompted.steps} == {None}


def test_the_best_path_through_texts_is_read_and_shown_whole(tmp_path):
    said = [
        "Zorblat wrote crimson azure novels.",
        "Quimby married Zorblat during frosty winter.",
        "Oakenshire employs Quimby making cheddar butter.",
        "Paint dries slowly in rain.",
        "Cars need petrol daily.",
        "Trees are tall.",
    ]
    add_lexical_index(Memory.create(tmp_path / "memory", said, HashEncoder()))
    memory = Memory.open(tmp_path / "memory")
    rag = RAG(memory, HashEncoder(), TinyReader()())
    finder = PathFinder(rag.retriever, read_links(memory), hops=3)
    question = "Who employs one making cheddar butter, that married during frosty winter, whose spouse wrote crimson azure novels?"
    assert finder.paths(question, 1)[0].rows == (2, 1, 0)
    assert [entry.row for entry in entries_by_paths(finder, question, 1)] == [2, 1, 0]
    for options in (AskOptions(k=1, max_new_tokens=4), AskOptions("prompt", 1, max_new_tokens=4)):
        (answered,) = answer_by_paths(rag, finder, [question], options)
        assert [step.passage.text for step in answered.steps] == [said[2], said[1], said[0]]
        assert len(answered.answer.citations) == 3


def test_hops_have_bounds(memory):
    with pytest.raises(ValueError, match="hops is 9; expected 1 to 4"):
        PathFinder(Retriever(memory, HashEncoder()), TripleLinks(memory), hops=9)


def test_an_answer_rests_on_a_path_whose_steps_share_its_attention(memory, finder):
    rag = RAG(memory, HashEncoder(), TinyReader()())
    questions = ["What is the continent of the country with the country code ESP?", "What is the capital of Peru?"]
    answered = answer_by_paths(rag, finder, questions, AskOptions(k=3, max_new_tokens=4))
    for one, end in zip(answered, ["Europe", "Lima"], strict=True):
        cited = one.answer.citations[0]
        assert " ".join(step.passage.text for step in one.steps) == cited.passage.text
        assert sum(step.share for step in one.steps) == pytest.approx(cited.share)
        assert one.end == end  # one path is far better than the others
    (shown,) = answer_by_paths(rag, finder, questions[:1], AskOptions("prompt", 3, max_new_tokens=4))
    assert shown.steps == tuple(step.__class__(step.passage, None) for step in answered[0].steps)
    with pytest.raises(ValueError, match="A question is empty; ask something"):
        answer_by_paths(rag, finder, [" "])
    with pytest.raises(
        ValueError, match="retrieve_every is 4: a search would put single entries in the place of paths"
    ):
        answer_by_paths(rag, finder, questions, AskOptions(k=3, retrieve_every=4))
    (nothing,) = answer_by_paths(rag, finder, ["？！"], AskOptions(k=3, max_new_tokens=4))
    assert nothing.answer.nothing_found and nothing.steps == () and nothing.end is None


def test_a_path_is_one_entry_with_the_texts_of_its_steps(finder):
    path = next(path for path in finder.paths("Which continent has the country code ESP?", 50) if len(path.rows) == 2)
    entry = joined(path)
    assert entry.joined == path.rows and entry.passage.text == " ".join(texts(path))
    first = Path(path.rows[:1], path.passages[:1], path.score)
    assert joined(first).passage == path.passages[0] and joined(first).joined == ()


def test_the_graph_of_a_memory_has_its_triples(memory, tmp_path):
    graph = to_networkx(memory)
    assert (graph.number_of_edges(), len(graph)) == (12, 15)
    ((_, object, edge),) = [one for one in graph.edges(data=True) if one[2]["property"] == "area"]
    assert graph.nodes[object] == {"name": "505992", "literal": True} and edge["place"] == "a.csv, line 5"
    near = around(graph, "europe", 1)
    assert {name for _, name in near.nodes(data="name")} == {"Europe", "Spain", "France"}
    write_graph(graph, tmp_path / "graph.graphml")
    read_back = nx.read_graphml(tmp_path / "graph.graphml", force_multigraph=True)
    assert dict(read_back.nodes(data=True)) == dict(graph.nodes(data=True))
    assert sorted(read_back.edges(data="text")) == sorted(graph.edges(data="text"))
    write_graph(near, tmp_path / "graph.svg")
    picture = (tmp_path / "graph.svg").read_text(encoding="utf-8")
    assert picture.count("<line") == 2 and ">Europe</text>" in picture
    with pytest.raises(SourceError, match=r"expected \.graphml or \.svg"):
        write_graph(graph, tmp_path / "graph.png")
    with pytest.raises(ValueError, match="no entity 'Narnia' in the graph"):
        around(graph, "Narnia", 1)
    many = nx.MultiDiGraph((0, number) for number in range(200))
    with pytest.raises(SourceError, match="The graph has 200 triples; a picture shows at most 150"):
        write_graph(many, tmp_path / "many.svg")


def test_names_cannot_break_out_of_a_picture(tmp_path):
    rows = 'subject,property,object\n<script>x</script>,"a ""b""",c & d\n'
    build_graph_memory(read(tmp_path, rows, "a.csv"), tmp_path / "memory", HashEncoder())
    write_graph(to_networkx(Memory.open(tmp_path / "memory")), tmp_path / "a.svg")
    picture = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert "<script>" not in picture and "&lt;script&gt;" in picture and "c &amp; d" in picture


def test_no_two_nodes_of_a_picture_overlap(memory):
    """The countries are three parts that no triple connects."""
    numbers = re.findall(r'<rect x="(\d+)" y="(\d+)" width="(\d+)" height="24" rx', to_svg(to_networkx(memory)))
    boxes = [(int(x), int(y), int(x) + int(width), int(y) + 24) for x, y, width in numbers]
    assert len(boxes) == 15
    for one, other in combinations(boxes, 2):
        assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
    assert all(left >= 0 and right <= 1200 and bottom <= 900 for left, _, right, bottom in boxes)


def test_names_are_given_in_the_language_asked_for(tmp_path):
    pytest.importorskip("rdflib", reason="the extra `graph` is missing")
    build_graph_memory(read_triples([PARK]), tmp_path / "memory", HashEncoder())
    memory = Memory.open(tmp_path / "memory")
    for language, name in (("en", "Mirror Lake"), ("zh", "镜湖")):
        graph = to_networkx(memory, language=language)
        assert graph.number_of_edges() == 12
        assert graph.nodes["http://example.org/park/lake"]["name"] == name


@pytest.mark.offline_models
def test_the_keepers_phone_is_found_over_two_hops_in_both_languages(tmp_path, e5, gemma):
    pytest.importorskip("rdflib", reason="the extra `graph` is missing")
    build_graph_memory(read_triples([PARK]), tmp_path / "memory", e5)
    rag = RAG(Memory.open(tmp_path / "memory"), e5, gemma)
    finder = PathFinder(rag.retriever, read_links(rag.retriever.memory))
    questions = ["What is the phone number of the keeper of the East Pier?", "柳树茶馆的管理员的电话号码是什么？"]
    english, chinese = answer_by_paths(rag, finder, questions, AskOptions(k=3, max_new_tokens=8))
    assert (english.end, chinese.end) == ("555-0142", "555-0142")
    assert [step.passage.text for step in chinese.steps] == ["柳树茶馆的管理员是李敏。", "李敏的电话号码是555-0142。"]
    assert english.steps[1].share > english.steps[0].share


def test_commands_check_and_refuse(tmp_path):
    (tmp_path / "a.csv").write_text("subject,property,object\na,part of,b\nb,part of,a\n", encoding="utf-8")
    done = run("memgpt-rag", "graph", "check", "a.csv", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ("a.csv, lines 2, 3: a circle of 'part of': a → b → a.\n1 contradiction in 2 triples.\n")
    (tmp_path / "b.csv").write_text("subject,property,object\na,near,b\n", encoding="utf-8")
    done = run("memgpt-rag", "graph", "check", "b.csv", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "0 contradictions in 1 triple.\n")
    assert "is no file of triples by its name" in refused("memgpt-rag", "graph", "check", tmp_path / "a.txt")
    shown = refused("memgpt-rag", "graph", "build", tmp_path / "none.csv", "--memory", tmp_path / "memory")
    assert "none.csv cannot be read" in shown and not (tmp_path / "memory").exists()
    Memory.create(tmp_path / "plain", ["Boats cost 40 yuan."], HashEncoder())
    arguments = ("--memory", tmp_path / "plain")
    assert "has no lexical index; add an index with" in refused("memgpt-rag", "graph", "ask", "Boats?", *arguments)
    assert "QUESTION is empty" in refused("memgpt-rag", "graph", "ask", " ", *arguments, status=2)
    shown = refused(
        "memgpt-rag", "graph", "export", *arguments, "--output", tmp_path / "a.svg", "--hops", "2", status=2
    )
    assert "--hops counts from an entity; name it with --about." in shown
    shown = refused("memgpt-rag", "graph", "export", *arguments, "--output", tmp_path / "a.svg")
    assert "as one of triples has" in shown
