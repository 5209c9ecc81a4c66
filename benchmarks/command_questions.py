"""How-to questions from tldr pages: what people ask, in several wordings, over pages in the forms that manuals have.

A page of tldr lists commands, each under a line that says what it does. That line becomes a question, mostly without the name of the program, and often
with words left out; the page is written anew as sentences, a table, or indented commands. A question for a command has the command as its
answer, any other one the whole sentence or lines. So a reader learns to choose among commands by what they do, and to answer in sentences.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

_ITEM = re.compile(r"^- (?P<what>.+?)[:：]\s*\n+`(?P<command>[^\n]+)`\s*$", re.M)
_INTRODUCTION = re.compile(r"^> (?!More information|更多信息|See also|另见)(?P<text>.+)$", re.M)
_COMMAND_ASKED = {
    "en": (
        "Which command can I use to {what}?",
        "What do I type to {what}?",
        "What is the command to {what}?",
        "I want to {what}. Which command does that?",
    ),
    "zh": ("用什么命令可以{what}？", "{what}用什么命令？", "想{what}，要敲什么命令？", "哪个命令能{what}？"),
}
_HOW_ASKED = {
    "en": (
        "How do I {what}?",
        "How can I {what}?",
        "I want to {what}. How do I do that?",
        "How to {what}?",
        "What can I do to {what}?",
    ),
    "zh": ("怎么{what}？", "如何{what}？", "想{what}，该怎么做？", "我要{what}，怎么办？"),
}
_FORMS = {
    "en": (
        "To {what}, run:\n{command}",
        'To {what}, you can use "{command}".',
        "{What}:\n  # {command}",
        "{What}:\n    $ {command}",
        "{command}: {what}",
        "You can {what} with the command {command}.",
        "- {What}:\n`{command}`",
        "* {what}: {command}",
        "{command}\t{what}",
    ),
    "zh": (
        "要{what}，请运行：\n{command}",
        "可以使用“{command}”命令来{what}。",
        "{what}：\n  # {command}",
        "{what}：\n    $ {command}",
        "{command}：{what}",
        "使用 {command} {what}。",
        "- {what}：\n`{command}`",
        "* {what}：{command}",
        "{command}\t{what}",
    ),
}
_LONGEST = 140, 120  # characters of what a command does, and of the command
_COMMAND_SHARE = 0.45  # of the questions, that ask for a command
_PER_PAGE = 2


def how_to_records(
    records: Sequence[dict[str, Any]], language: str, generator: np.random.Generator, count: int
) -> list[dict[str, Any]]:
    """Return about so many records of how-to questions of one language, in the form of the sets in ../shared/data/reading.

    Args:
        records: those of the set "tldr".
    """
    pages = {one["passages"][0]["title"]: one["passages"][0]["text"] for one in records if one["lang"] == language}
    made: list[dict[str, Any]] = []
    for title in generator.permutation(sorted(pages)).tolist():
        if len(made) >= count:
            break
        items = _items(pages[title])
        if len(items) < 2:
            continue
        lines = _written(items, language, generator)
        text = "\n".join(lines)
        introduction = " ".join(one["text"].strip() for one in _INTRODUCTION.finditer(pages[title]))
        if introduction and generator.random() < 0.7:
            text = f"{introduction}\n{text}"
        passage = {"title": title if generator.random() < 0.6 else "", "text": text}
        for place in generator.permutation(len(items))[:_PER_PAGE].tolist():
            what, command = items[place]
            for_command = generator.random() < _COMMAND_SHARE
            if question := _question(what, title, for_command, language, generator):
                made.append(
                    {
                        "set": "tldr",
                        "lang": language,
                        "question": question,
                        "answers": [command if for_command else lines[place]],
                        "answerable": True,
                        "passages": [passage],
                    }
                )
    return made


def _items(page: str) -> list[tuple[str, str]]:
    """What each command of a page does, and the command."""
    pairs = [
        (re.sub(r"\[(\w)\]", r"\1", one["what"]).strip(" .。"), one["command"].strip()) for one in _ITEM.finditer(page)
    ]
    return [
        (what, command) for what, command in pairs if 4 <= len(what) <= _LONGEST[0] and 2 <= len(command) <= _LONGEST[1]
    ]


def _written(items: Sequence[tuple[str, str]], language: str, generator: np.random.Generator) -> list[str]:
    """Write each item in one form for all, or each in its own."""
    forms = _FORMS[language]
    places = generator.integers(len(forms), size=len(items))
    if generator.random() < 0.6:
        places[:] = places[0]
    return [
        forms[place].format(what=_lowered(what, language), What=what, command=command)
        for place, (what, command) in zip(places.tolist(), items, strict=True)
    ]


def _question(what: str, title: str, for_command: bool, language: str, generator: np.random.Generator) -> str:
    """A question for what a command does; empty where nothing is left to ask for."""
    short = _shortened(_lowered(what, language), language, generator)
    ways = (_COMMAND_ASKED if for_command else _HOW_ASKED)[language]
    question = ways[int(generator.integers(len(ways)))].format(what=short)
    if generator.random() < 0.2:
        question = f"用 {title} {question}" if language == "zh" else f"With {title}: {question}"
    return question if len(short) >= 4 else ""


def _shortened(what: str, language: str, generator: np.random.Generator) -> str:
    """Leave out brackets, marks of code, and half of the time a sixth of the words, as people do who do not know the page."""
    what = re.sub(r"[（(][^()（）]*[)）]", "", what).replace("`", "")
    words = what.split()
    if language == "zh":
        what = what.split("，")[0] if generator.random() < 0.5 else what
    elif len(words) > 5 and generator.random() < 0.5:
        dropped = generator.choice(range(1, len(words)), size=len(words) // 6 or 1, replace=False).tolist()
        what = " ".join(word for place, word in enumerate(words) if place not in dropped)
    return what.strip(" ,，.。")


def _lowered(text: str, language: str) -> str:
    """A text as it stands within an English sentence; an abbreviation keeps its capitals."""
    return text if language == "zh" or text[1:2].isupper() else text[:1].lower() + text[1:]
