"""Files of sentence pairs: what is read, and where reading stops; pairs as entries; glossaries."""

from __future__ import annotations

import os

import pytest
from hashing import HashEncoder

from memgpt_rag.errors import MismatchError, SourceError
from memgpt_rag.memory import Memory
from memgpt_rag.tasks.translation import pairs, tmx
from memgpt_rag.tasks.translation.glossary import Glossary, Term, read_glossary
from memgpt_rag.tasks.translation.pairs import SentencePair, create_memory, distinct, pair_passages, read_pairs

HEAD = '<?xml version="1.0"?>\n<!DOCTYPE tmx SYSTEM "tmx14.dtd">\n<tmx version="1.4"><header/><body>\n'
TAIL = "</body></tmx>"
UNIT = '<tu><tuv xml:lang="en-US"><seg>A boat.</seg></tuv><tuv xml:lang="zh"><seg>船。</seg></tuv></tu>\n'


def written(tmp_path, name, content, encoding="utf-8"):
    (tmp_path / name).write_bytes(content.encode(encoding))
    return tmp_path / name


@pytest.mark.parametrize(
    ("name", "content", "lines"),
    [
        ("p.tsv", "zh\ten\tnote\n船。\tA boat.\tx\n\n湖。\tA  lake.\ty\n", (2, 4)),
        ("p.csv", 'en,zh\nA boat.,船。\n"A\nlake.",湖。\n', (2, 3)),
        ("p.jsonl", '{"en": "A boat.", "zh": "船。"}\n{"translation": {"zh": " 湖。", "en": "A lake."}}\n', (1, 2)),
        ("p.tmx", HEAD + UNIT + UNIT.replace("A boat.", "A\n lake.").replace("船", "湖") + TAIL, (4, 5)),
    ],
)
def test_four_kinds_of_files_give_the_same_pairs_with_their_lines(tmp_path, name, content, lines):
    expected = [{"en": "A boat.", "zh": "船。"}, {"en": "A lake.", "zh": "湖。"}]
    found = read_pairs(written(tmp_path, name, content))
    assert [(dict(one.texts), one.source, one.line) for one in found] == [
        (texts, name, line) for texts, line in zip(expected, lines, strict=True)
    ]
    assert [list(one.texts) for one in read_pairs(tmp_path / name, ("zh", "en"))] == [["zh", "en"]] * 2


def test_tmx_is_read_in_its_own_encoding_without_codes_and_without_other_languages(tmp_path):
    unit = (
        '<tu><tuv lang="EN"><seg>A <hi>red</hi> <bpt i="1">&lt;b&gt;</bpt>boat<ept i="1">&lt;/b&gt;</ept> &amp; more</seg></tuv>'
        '<!-- no --><tuv xml:lang="de"><seg>Boot</seg></tuv><tuv xml:lang="zh_TW"><prop>x</prop><seg>紅船</seg></tuv></tu>'
    )
    text = (HEAD + unit + TAIL).replace('"1.0"?', '"1.0" encoding="UTF-16"?')
    (found,) = read_pairs(written(tmp_path, "p.tmx", text, "utf-16"))
    assert dict(found.texts) == {"en": "A red boat & more", "zh": "紅船"}
    (found,) = read_pairs(tmp_path / "p.tmx", ("de", "zh-TW"))
    assert dict(found.texts) == {"de": "Boot", "zh-TW": "紅船"}


SECRET = '<!DOCTYPE tmx [<!ENTITY x SYSTEM "file:///etc/passwd">]><tmx><body><tu><tuv xml:lang="en"><seg>&x;</seg></tuv></tu></body></tmx>'
LAUGHS = (
    "<!DOCTYPE tmx ["
    + "".join(f'<!ENTITY a{n + 1} "{f"&a{n};" * 10}">' for n in range(9))
    + '<!ENTITY a0 "ha">]><tmx><body><tu><tuv xml:lang="en"><seg>&a9;</seg></tuv></tu></body></tmx>'
)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("p.tmx", HEAD + UNIT + "<tu><tuv", r"p\.tmx, line 5: broken XML \(.+\); mend the file, or export it again\."),
        ("p.tmx", HEAD + UNIT, r"p\.tmx, line 5: broken XML \(Premature end of data"),
        ("p.tmx", "", r"p\.tmx is empty; export the pairs again, as TMX\."),
        ("p.tmx", "<html><body/></html>", r"p\.tmx is no TMX: its first element is <html>, not <tmx>\."),
        ("p.tmx", HEAD + TAIL, r"p\.tmx holds no pair; expected a sentence in en and one in zh\."),
        ("p.tmx", HEAD + UNIT.replace('"zh"', '"ja"') + TAIL, r"p\.tmx, line 4: this unit has no segment in zh; expected one in en and"),
        ("p.tmx", HEAD + UNIT.replace("船。", "") + TAIL, r"p\.tmx, line 4: this unit has no segment in zh"),
        ("p.tmx", HEAD + UNIT.replace("en-US", "zh-HK") + TAIL, r"line 4: this unit has two segments in zh; name the one to read, such as zh,"),
        ("p.tmx", HEAD + UNIT.replace("A boat.", "A <b>boat</b>") + TAIL, r"p\.tmx, line 4: a segment holds <b>; expected text, <hi>, and"),
        ("p.tmx", SECRET, r"p\.tmx declares entities or elements of its own"),
        ("p.tmx", LAUGHS, r"p\.tmx declares entities or elements of its own|p\.tmx, line 1: broken XML"),
        ("p.tsv", "English\tzh\nA boat.\t船。\n", r"p\.tsv, line 1: it names the columns English, zh; expected one 'en'\. Name the languages"),
        ("p.tsv", "en\tzh\nA boat.\n", r"p\.tsv, line 2: 1 cells; expected 2, as the first line names\."),
        ("p.tsv", "en\tzh\nA boat.\t \n", r"p\.tsv, line 2: its zh is empty; expected a sentence in en and one in zh\."),
        ("p.jsonl", '{"en": "A boat."}\n', r"p\.jsonl, line 1: its zh is missing"),
        ("p.jsonl", '{"en": "A boat.", "zh": ["船"]}\n', r"p\.jsonl, line 1: its zh is \['船'\]"),
        ("p.jsonl", "A boat.\n", r"p\.jsonl, line 1: broken JSON.*; expected an object with a sentence in en"),
        ("p.tsv", f"en\tzh\n{'a' * 1001}\t船\n", r"p\.tsv, line 2: its en has 1,001 characters, 'a+….*; expected at most 1,000: divide it"),
        ("p.txt", "", r"p\.txt holds no pair"),
    ],
)  # fmt: skip
def test_what_is_no_pair_stops_the_reading_at_its_line(tmp_path, name, content, sentence):
    with pytest.raises(SourceError, match=sentence):
        read_pairs(written(tmp_path, name, content))


def test_files_that_are_too_large_no_files_or_not_there_are_named(tmp_path, monkeypatch):
    with pytest.raises(SourceError, match=r"p\.tmx cannot be read: No such file or directory; name a file"):
        read_pairs(tmp_path / "p.tmx")
    os.mkfifo(tmp_path / "pipe.tmx")
    with pytest.raises(SourceError, match=r"pipe\.tmx is no plain file"):
        read_pairs(tmp_path / "pipe.tmx")
    monkeypatch.setattr(tmx, "MOST_TMX_BYTES", 100)
    with pytest.raises(SourceError, match=r"p\.tmx has \d+ bytes; expected at most 100: divide it\."):
        read_pairs(written(tmp_path, "p.tmx", HEAD + UNIT + TAIL))


def test_two_different_languages_are_needed(tmp_path):
    with pytest.raises(ValueError, match=r"The languages are en, EN; expected two, such as en and zh\."):
        read_pairs(tmp_path / "p.tsv", ("en", "EN"))


def test_a_pair_is_an_entry_in_each_direction_keyed_by_the_side_to_translate_from(tmp_path):
    given = [
        SentencePair({"en": "A boat.", "zh": "船。"}, "p.tsv", 2),
        SentencePair({"en": "A lake.", "zh": "湖。"}),
        SentencePair({"en": "A boat.", "zh": "船。"}, "q.tsv", 7),
    ]
    kept = distinct(given)
    assert [one.source for one in kept] == ["p.tsv", "pair"]
    encoder = HashEncoder()
    memory = create_memory(tmp_path / "m", kept, encoder)
    found = memory.passages(memory.rows())
    assert [(one.text, one.metadata["translation"], one.place) for one in found] == [
        ("A boat.", "船。", "p.tsv, line 2"),
        ("船。", "A boat.", "p.tsv, line 2"),
        ("A lake.", "湖。", "pair, pair 2"),
        ("湖。", "A lake.", "pair, pair 2"),
    ]
    assert [(one.metadata["language"], one.metadata["target_language"]) for one in found] == [
        ("en", "zh"),
        ("zh", "en"),
    ] * 2
    assert memory.keys() == pytest.approx(encoder.encode_passages(["A boat.", "船。", "A lake.", "湖。"]))
    assert len({one.id for one in pair_passages(given)}) == 6


def test_a_memory_of_something_else_is_refused(tmp_path):
    memory = Memory.create(tmp_path / "m", ["a", "b"], HashEncoder())
    with pytest.raises(MismatchError, match=r"has no column 'language' of words, so its entries are no sentence pairs"):
        pairs.require_pairs(memory)


GLOSSARY = Glossary(
    SentencePair({"en": en, "zh": zh})
    for en, zh in (
        ("boat", "船"),
        ("rowing boat", "划艇"),
        ("pond", "湖"),
        ("lake", "湖"),
        ("Boat", "舟"),
        ("C++", "C++"),
    )
)


@pytest.mark.parametrize(
    ("text", "target", "terms"),
    [
        ("Rowing boats on the lake", "zh", [("Rowing boats", ("划艇",)), ("lake", ("湖",))]),
        ("A BOAT, a boat", "zh", [("BOAT", ("船", "舟"))]),
        ("Boatswains ponder", "zh", []),
        ("小湖上的划艇", "en", [("湖", ("pond", "lake")), ("划艇", ("rowing boat",))]),
        ("C++ rules", "zh", [("C++", ("C++",))]),
        ("", "zh", []),
    ],
)
def test_terms_of_a_text_are_whole_words_the_longest_first_each_once(text, target, terms):
    language = "zh" if target == "en" else "en"
    assert GLOSSARY.terms(text, language, target) == tuple(Term(*one) for one in terms)
    assert GLOSSARY.terms(text, language, "de") == ()


def test_a_translation_respects_a_term_by_any_of_its_translations():
    term = Term("湖", ("pond", "lake"))
    assert [term.respected(one) for one in ("The Lakes.", "a pond", "lakeside", "the sea", "")] == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert Term("lake", ("湖",)).respected("西湖很美") and not Term("lake", ("湖泊",)).respected("西湖很美")


def test_a_glossary_is_a_file_of_pairs(tmp_path):
    glossary = read_glossary(written(tmp_path, "g.tsv", "en\tzh\nlake\t湖泊\n"))
    assert glossary.terms("the lake", "en", "zh") == (Term("lake", ("湖泊",)),)
