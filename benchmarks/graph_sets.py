"""Questions over one and two hops: about countries, by templates in two languages, and of HotpotQA and MuSiQue.

Countries: github.com/mledoze/countries (ODbL 1.0), which has names of countries in Chinese; the few names of continents and
regions are translated here. Multi-hop questions: HotpotQA (CC BY-SA 4.0) and MuSiQue (CC BY 4.0), as OpenSPG/KAG chose them.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from memgpt_rag.passage import Passage

_CHINESE = {
    "Africa": "非洲", "Americas": "美洲", "Europe": "欧洲", "Asia": "亚洲", "Oceania": "大洋洲", "Antarctic": "南极洲",
    "Caribbean": "加勒比地区", "Eastern Africa": "东非", "Western Asia": "西亚", "Western Africa": "西非",
    "Northern Europe": "北欧", "South America": "南美洲", "South-Eastern Asia": "东南亚", "Middle Africa": "中非地区",
    "Southern Europe": "南欧", "Polynesia": "波利尼西亚", "Southern Asia": "南亚", "Southeast Europe": "东南欧",
    "Western Europe": "西欧", "Eastern Asia": "东亚", "Central America": "中美洲", "North America": "北美洲",
    "Northern Africa": "北非", "Micronesia": "密克罗尼西亚地区", "Central Europe": "中欧",
    "Australia and New Zealand": "澳大利亚和新西兰", "Southern Africa": "南部非洲", "Melanesia": "美拉尼西亚",
    "Central Asia": "中亚", "Eastern Europe": "东欧",
}  # fmt: skip
PROPERTIES = {
    "capital": ("capital", "首都"),
    "continent": ("continent", "大洲"),
    "subregion": ("subregion", "次区域"),
    "currency": ("currency", "货币"),
    "domain": ("top-level domain", "顶级域名"),
    "code": ("country code", "国家代码"),
}
# A country's property is asked for; {} is the country, or the phrase that describes it.
_ASKED = {
    "en": {
        "capital": ("What is the capital of {}?", "Which city is the capital of {}?"),
        "continent": ("On which continent is {}?", "What is the continent of {}?"),
        "subregion": ("In which subregion is {}?", "Which subregion does {} belong to?"),
        "currency": ("What is the currency of {}?", "Which currency is used in {}?"),
        "domain": ("What is the top-level domain of {}?", "Which top-level domain does {} have?"),
        "code": ("What is the country code of {}?", "Which country code does {} have?"),
    },
    "zh": {
        "capital": ("{}的首都是什么？", "{}的首都是哪座城市？"),
        "continent": ("{}位于哪个大洲？", "{}属于哪个大洲？"),
        "subregion": ("{}位于哪个次区域？", "{}属于哪个次区域？"),
        "currency": ("{}的货币是什么？", "{}使用什么货币？"),
        "domain": ("{}的顶级域名是什么？", "{}用的是哪个顶级域名？"),
        "code": ("{}的国家代码是什么？", "{}有什么国家代码？"),
    },
}
_DESCRIBED = {
    "en": {
        "capital": "the country whose capital is {}",
        "domain": "the country with the top-level domain {}",
        "code": "the country with the country code {}",
    },
    "zh": {"capital": "首都是{}的国家", "domain": "顶级域名是{}的国家", "code": "国家代码是{}的国家"},
}


@dataclass(frozen=True)
class HopQuestion:
    """A question with its answers.

    Attributes:
        key: name of the question, which no other one has.
        supporting: ids of the passages that it needs; empty where they are not known.
    """

    key: str
    text: str
    answers: tuple[str, ...]
    language: str
    hops: int
    supporting: tuple[str, ...] = ()


def country_graph(data: Path) -> tuple[str, dict[str, dict[str, dict[str, list[str]]]]]:
    """Return the countries as Turtle, and language → name of a country → property → values."""
    countries = json.loads((data / "countries" / "countries.json").read_text(encoding="utf-8"))
    lines = [
        "@prefix : <http://example.org/> .",
        "@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .",
        *(f":{id} rdfs:label {_quoted(en)}@en, {_quoted(zh)}@zh ." for id, (en, zh) in PROPERTIES.items()),
    ]
    known: dict[str, dict[str, dict[str, list[str]]]] = {"en": {}, "zh": {}}
    regions: dict[str, str] = {}
    for country in countries:
        id, names = country["cca3"], (country["name"]["common"], country["translations"]["zho"]["common"])
        lines.append(f":{id} rdfs:label {_quoted(names[0])}@en, {_quoted(names[1])}@zh .")
        values = {
            "capital": country["capital"],
            "continent": [country["region"]],
            "subregion": [country["subregion"]] if country["subregion"] else [],
            "currency": [currency["name"] for currency in country["currencies"].values()][:2],
            "domain": country["tld"][:1],
            "code": [id],
        }
        for property, found in values.items():
            for value in found:
                is_region = property in ("continent", "subregion")
                end = f":{regions.setdefault(value, f'region{len(regions)}')}" if is_region else _quoted(value)
                lines.append(f":{id} :{property} {end} .")
        for language, name in zip(known, names, strict=True):
            known[language][name] = {
                property: [_CHINESE.get(value, value) if language == "zh" else value for value in found]
                for property, found in values.items()
            }
    lines += [f":{id} rdfs:label {_quoted(name)}@en, {_quoted(_CHINESE[name])}@zh ." for name, id in regions.items()]
    return "\n".join(lines) + "\n", known


def country_questions(
    known: dict[str, dict[str, dict[str, list[str]]]], language: str, hops: int, count: int, seed: int = 0
) -> list[HopQuestion]:
    """Return questions that have an answer, spread over countries and properties at random.

    Of two hops, the phrase describes one country only.
    """
    rng, countries = np.random.default_rng(seed), known[language]
    holders: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, properties in countries.items():
        for property, values in properties.items():
            for value in values:
                holders[property, value].append(name)
    questions = []
    for name, properties in countries.items():
        for asked, values in properties.items():
            phrases = [(name, name)]
            if hops == 2:
                phrases = [
                    (f"{by} {value}", pattern.format(value))
                    for by, pattern in _DESCRIBED[language].items()
                    for value in properties[by]
                    if by != asked and len(holders[by, value]) == 1
                ]
            for which, phrase in phrases:
                if values:
                    text = _ASKED[language][asked][int(rng.integers(2))].format(phrase)
                    key = f"countries {language} {hops} {asked} {which}"
                    questions.append(HopQuestion(key, text, tuple(values), language, hops))
    return [questions[place] for place in sorted(rng.permutation(len(questions))[:count])]


def hotpot(data: Path) -> tuple[list[Passage], list[HopQuestion]]:
    """Return the paragraphs of HotpotQA, a passage each under its title, and the questions."""
    folder = data / "multihop_kag"
    corpus = json.loads((folder / "hotpotqa_data_train_corpus.json").read_text(encoding="utf-8"))
    passages = [text_passage(title, title, "".join(sentences)) for title, sentences in corpus.items()]
    questions = [
        HopQuestion(
            f"hotpotqa {number}",
            one["question"],
            (one["answer"],),
            "en",
            2,
            tuple(dict.fromkeys(title for title, _ in one["supporting_facts"])),
        )
        for number, one in enumerate(json.loads((folder / "hotpotqa_data_qa_train.json").read_text(encoding="utf-8")))
    ]
    return passages, questions


def musique(data: Path) -> tuple[list[Passage], list[HopQuestion]]:
    """Return the paragraphs of MuSiQue, a passage each under its title, and the questions, of two to four hops."""
    folder = data / "multihop_kag"
    corpus = json.loads((folder / "musique_data_train_corpus.json").read_text(encoding="utf-8"))
    passages = [text_passage(str(number), one["title"], one["text"]) for number, one in enumerate(corpus)]
    ids = {(passage.title, passage.text): passage.id for passage in passages}
    questions = []
    for one in json.loads((folder / "musique_data_qa_train.json").read_text(encoding="utf-8")):
        needed = [part for part in one["paragraphs"] if part["is_supporting"]]
        supporting = tuple(ids[part["title"], part["paragraph_text"].strip()] for part in needed)
        answers = (one["answer"], *one["answer_aliases"])
        questions.append(HopQuestion(f"musique {one['id']}", one["question"], answers, "en", len(needed), supporting))
    return passages, questions


def text_passage(id: str, title: str, text: str) -> Passage:
    """Return a text as a passage."""
    text = text.strip()
    return Passage(id, text, title, "corpus", id, "record", 1, 1, 0, len(text))


def _quoted(text: Any) -> str:
    return json.dumps(text, ensure_ascii=False)
