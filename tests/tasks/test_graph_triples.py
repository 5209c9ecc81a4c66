"""Files of triples: what is read, how entities are merged, how triples are put into words, and what is refused."""

from __future__ import annotations

import os

import pytest
from triples import PARK, read

from memgpt_rag.errors import SourceError
from memgpt_rag.tasks.graph.build import graph_passages
from memgpt_rag.tasks.graph.check import find_contradictions
from memgpt_rag.tasks.graph.knowledge import MOST_TEXT, Knowledge, end_of_iri
from memgpt_rag.tasks.graph.merge import merge_entities
from memgpt_rag.tasks.graph.read import read_triples


def sentences(knowledge: Knowledge) -> list[str]:
    return [passage.text for passage in graph_passages(knowledge)]


def test_all_formats_say_the_same(tmp_path):
    expected = ["The capital of France is Paris.", "The area of France is 551695."]
    table = "subject,property,object\nFrance,capital,Paris\nFrance,area,551695\n"
    assert sentences(read(tmp_path, table, "a.csv")) == expected
    assert sentences(read(tmp_path, table.replace(",", "\t"), "a.tsv")) == expected
    lines = '{"subject": "France", "property": "capital", "object": "Paris"}\n\n{"subject": "France", "property": "area", "object": 551695}\n'
    assert sentences(read(tmp_path, lines, "a.jsonl")) == expected
    assert sentences(read(tmp_path, ":France :capital :Paris ; :area 551695 .")) == expected
    ntriples = (
        "<http://example.org/France> <http://example.org/capital> <http://example.org/Paris> .\n"
        '<http://example.org/France> <http://example.org/area> "551695"^^<http://www.w3.org/2001/XMLSchema#integer> .\n'
    )
    assert sentences(read(tmp_path, ntriples, "a.nt")) == expected


def test_a_triple_is_an_entry_in_every_language_that_names_all_of_it():
    pytest.importorskip("rdflib", reason="the extra `graph` is missing")
    said = {passage.text: passage for passage in graph_passages(read_triples([PARK]))}
    assert len(said) == 24  # twelve triples
    assert said["The keeper of East Pier is Li Min."].metadata["subject_id"] == "http://example.org/park/pier"
    assert said["东码头的管理员是李敏。"].metadata["language"] == "zh"
    assert "Mirror Lake is part of Riverside Park." in said and "镜湖属于河滨公园。" in said
    assert said["The depth in meters of Mirror Lake is 4.5."].metadata["object_id"] is None


def test_what_lacks_a_name_in_a_language_is_said_in_the_other(tmp_path):
    known = read(
        tmp_path, ':a rdfs:label "甲"@zh, "A"@en ; :near :b . :b rdfs:label "乙"@zh . :near rdfs:label "毗邻"@zh .'
    )
    assert sentences(known) == ["甲毗邻乙。"]
    assert sentences(read(tmp_path, ':a rdfs:label "Ann"@en ; :motto "Hi\\n there"@en, "你好"@zh .')) == [
        "The motto of Ann is Hi there.", "The motto of Ann is 你好.",
    ]  # fmt: skip


def test_every_triple_knows_its_line(tmp_path):
    text = ':a :says """one\ntwo""" ;\n\n   :near\n     :b ,\n     :c ;  # and\n   :in [ rdfs:label "a house" ] .\n'
    assert [one.place.line for one in read(tmp_path, text).triples] == [4, 8, 9, 10]
    rows = 'subject,property,object\n"a\nb",near,c\nd,near,e\n'
    assert [one.place.line for one in read(tmp_path, rows, "a.csv").triples] == [2, 4]


def test_negated_triples_say_so(tmp_path):
    text = "[] a owl:NegativePropertyAssertion ; owl:sourceIndividual :Lyon ; owl:assertionProperty :partOf ; owl:targetIndividual :Spain ."
    assert sentences(read(tmp_path, text)) == ["Lyon not part of Spain."]
    rows = "subject,property,object,negated\nLyon,is in,Spain,true\n法国,首都,里昂,true\n"
    assert sentences(read(tmp_path, rows, "a.csv")) == ["Lyon is not in Spain.", "法国的首都不是里昂。"]


def test_declarations_are_no_triples(tmp_path):
    text = (
        ":capital a owl:FunctionalProperty ; rdfs:domain :Country . :partOf a owl:TransitiveProperty . :a :capital :b ."
    )
    known = read(tmp_path, text)
    assert [one.property for one in known.triples] == ["http://example.org/capital"]
    assert (known.declarations, known.functional) == (3, {"http://example.org/capital"})


def test_entities_with_one_name_are_merged_unless_something_speaks_against_it(tmp_path):
    text = ':a rdfs:label "New  York"@en ; :near :c . :b rdfs:label "new york"@en ; :near :d .'
    known = read(tmp_path, text)
    (merge,) = merge_entities(known)
    assert (merge.kept, merge.merged, merge.declared) == ("http://example.org/a", "http://example.org/b", False)
    assert {one.subject for one in known.triples} == {"http://example.org/a"}
    assert merge_entities(read(tmp_path, text), by_name=False) == []
    assert merge_entities(read(tmp_path, text + ":a owl:differentFrom :b .")) == []
    assert merge_entities(read(tmp_path, text + ":a a :City . :b a :State .")) == []
    assert len(merge_entities(read(tmp_path, text + ":a a :City . :b a :City ."))) == 1
    three = text + ':e rdfs:label "NEW YORK"@en ; :near :f .'
    assert [merge.kept for merge in merge_entities(read(tmp_path, three))] == ["http://example.org/a"] * 2
    other_language = text.replace('"new york"@en', '"new york"@de')
    assert merge_entities(read(tmp_path, other_language)) == []


def test_declared_identity_is_followed_over_several_steps(tmp_path):
    known = read(
        tmp_path,
        ':a :near :x . :b :near :x . :c :near :x ; rdfs:label "Sea"@en . :b owl:sameAs :c . :c owl:sameAs :a .',
    )
    assert [merge.declared for merge in merge_entities(known)] == [True, True]
    assert sentences(known) == ["The near of Sea is x."]  # three triples became one


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.ttl", ":a :b\n  :c\n:d :e :f .", r"a\.ttl, line 6: .*correct the line"),
        ("a.ttl", ":a :b \"open", r"a\.ttl, line 4"),
        ("a.ttl", ":a x:b :c .", r'a\.ttl, line 4: Prefix "x:" not bound'),
        ("a.nt", "<http://a> <http://b> <http://c> .\n<http://a> <http://b> .\n", r"a\.nt, line 2"),
        ("a.ttl", ":a :b " + "[ :b " * 5000 + ":c" + "]" * 5000 + " .", r"nodes in nodes"),
        ("a.ttl", ":a :b [ :c :d ] .", r"a\.ttl, line 4: a node without an IRI and without rdfs:label"),
        ("a.ttl", "<> owl:imports <http://example.org/more.ttl> .", r"line 4: imports http://example.org/more.ttl; nothing is fetched"),
        ("a.ttl", f':a :b "{"x" * (MOST_TEXT + 1)}" .', r"line 4: a text of 4,001 characters; a triple has at most 4,000"),
        ("a.ttl", ':a :b "" .', r"line 4: an empty literal"),
        ("a.ttl", ":a rdfs:label :b .", r"line 4: the label of http://example.org/a is no text"),
        ("a.ttl", ':a owl:sameAs "b" .', r"line 4: a literal where an entity is expected"),
        ("a.ttl", "# nothing", r"a\.ttl holds no triple"),
        ("a.ttl", "[] owl:sourceIndividual :a .", r"line 4: the negative assertion .* lacks"),
        ("a.csv", "subject,property\na,b\n", r"a\.csv, line 1: no column object"),
        ("a.csv", "subject,property,object\na,b,c\na,b,c,d\n", r"a\.csv, line 3: 4 cells in a table of 3 columns"),
        ("a.csv", 'subject,property,object\na,b,"c\n', r"a\.csv, line 2: unexpected end of data"),
        ("a.csv", "subject,property,object\na,,c\n", r"a\.csv, line 2: its property is ''"),
        ("a.csv", "subject,property,object,negated\na,b,c,perhaps\n", r"line 2: its negated is 'perhaps'; expected true or false"),
        ("a.jsonl", '{"subject": "a", "property": "b"}', r"a\.jsonl, line 1: its object is missing"),
        ("a.jsonl", '{"subject": "a"\n', r"a\.jsonl, line 1: broken JSON"),
        ("a.jsonl", "[1]\n", r"a\.jsonl, line 1: no object"),
        ("a.jsonld", "{}", r"is no file of triples by its name; expected one of \.csv"),
    ],
)  # fmt: skip
def test_bad_files_are_refused_with_their_line(tmp_path, name, text, message):
    with pytest.raises(SourceError, match=message):
        read(tmp_path, text, name)


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(SourceError, match="is an address; nothing is fetched"):
        read_triples(["https://example.org/a.ttl"])
    with pytest.raises(SourceError, match="cannot be read: No such file"):
        read_triples([tmp_path / "none.csv"])
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(SourceError, match="is no plain file"):
        read_triples([tmp_path / "folder.csv"])
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(SourceError, match="is no plain file"):
        read_triples([tmp_path / "pipe.csv"])
    (tmp_path / "bytes.csv").write_bytes(b"subject,property,object\na,b,\xff\n")
    with pytest.raises(SourceError, match=r"bytes\.csv, line 2: not UTF-8"):
        read_triples([tmp_path / "bytes.csv"])


def test_literals_are_text_and_nothing_in_them_is_parsed(tmp_path):
    bomb = "<!DOCTYPE a [<!ENTITY x 'xxxxxxxx'>]><a>&x;</a>"
    known = read(tmp_path, f':a :b "{bomb}"^^<http://www.w3.org/1999/02/22-rdf-syntax-ns#XMLLiteral> .')
    assert known.triples[0].object == bomb


def test_contradictions_are_found_with_their_lines(tmp_path):
    text = "\n".join(
        [
            ":capital a owl:FunctionalProperty .",  # line 4
            ":France :capital :Paris .",
            ":France :capital :Lyon .",
            ":a :partOf :b .",
            ":b :partOf :c .",
            ":c :partOf :a .",
            ":d :partOf :d .",
            ":x owl:sameAs :y . :y owl:sameAs :z .",
            ":x owl:differentFrom :z .",
            "[] owl:sourceIndividual :France ; owl:assertionProperty :capital ; owl:targetIndividual :Lyon .",
        ]
    )
    found = {str(one) for one in find_contradictions(read(tmp_path, text))}
    assert found == {
        "a.ttl, lines 5, 6: France has 2 of 'capital', which has one: Paris, Lyon.",
        "a.ttl, lines 7, 8, 9: a circle of 'part of': a → b → c → a.",
        "a.ttl, line 10: a circle of 'part of': d → d.",
        "a.ttl, lines 11, 12: x and z are declared the same and different.",
        "a.ttl, lines 6, 13: France, capital, Lyon: said and denied.",
    }
    assert find_contradictions(read(tmp_path, ":a :near :b . :b :near :a . :a :near :c .")) == []


def test_a_property_with_one_object_in_the_rest_of_the_data_is_suspected_of_having_one(tmp_path):
    rows = [f"country {number},capital,city {number}" for number in range(12)]
    text = "\n".join(["subject,property,object", *rows, "country 3,capital,elsewhere"])
    (found,) = find_contradictions(read(tmp_path, text, "a.csv"))
    assert str(found) == (
        "a.csv, lines 5, 14: country 3 has 2 of 'capital', of which 11 others have one: city 3, elsewhere."
    )
    assert not found.certain
    few = "\n".join(["subject,property,object", *rows[:6], "country 3,capital,elsewhere"])
    assert find_contradictions(read(tmp_path, few, "a.csv")) == []
    (found,) = find_contradictions(read(tmp_path, few, "a.csv"), functional=["Capital"])
    assert found.certain
    circle = read(tmp_path, "subject,property,object\na,boss,b\nb,boss,a\n", "a.csv")
    assert find_contradictions(circle) == []
    assert len(find_contradictions(circle, hierarchical=["boss"])) == 1
    with pytest.raises(ValueError, match="No triple has the property 'kin'; there are boss"):
        find_contradictions(circle, hierarchical=["kin"])


def test_ends_of_iris_become_words():
    assert end_of_iri("http://example.org/partOf") == "part of"
    assert end_of_iri("http://example.org/a#New_York/") == "New York"
    assert end_of_iri("urn:isbn:12") == "urn:isbn:12"
