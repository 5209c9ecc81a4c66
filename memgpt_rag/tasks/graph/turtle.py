"""Reads Turtle and N-Triples with the parser of rdflib, each statement with its line. Nothing is fetched.

N-Triples is a part of Turtle, so one parser reads both.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import quote

from memgpt_rag.errors import MemgptRagError, MissingPackageError, SourceError, first_line
from memgpt_rag.tasks.graph.knowledge import MOST_TRIPLES, Place, require_short

_MOST_STATEMENTS = 2 * MOST_TRIPLES  # with labels and declarations


@dataclass(frozen=True)
class Text:
    """A literal: its characters as they stand, never converted, and its language."""

    value: str
    language: str


@dataclass(frozen=True)
class Statement:
    """Subject, property and object as the file has them."""

    subject: str
    property: str
    object: str | Text
    place: Place


def read_statements(text: str, source: str) -> Iterator[Statement]:
    """Yield the statements of a Turtle or N-Triples text.

    Raises:
        SourceError: broken syntax, too many statements, or an IRI that is too long.
        MissingPackageError: rdflib is not installed.
    """
    found: list[tuple[int, Any, Any, Any]] = []
    parser = _parser(text, source, found)
    try:
        parser.loadBuf(text)
    except MemgptRagError:
        raise
    except RecursionError as error:
        raise SourceError(f"{source}: nodes in nodes, too many of them; give the inner ones an IRI.") from error
    except Exception as error:  # a parser of others may raise anything
        raise SourceError(f"{source}, line {parser.line:,} or below: {first_line(error)}; correct the line.") from error
    for line, subject, property, object in found:
        place = Place(source, line)
        ends = [_node(one, place) for one in (subject, property, object)]
        if isinstance(ends[0], Text) or isinstance(ends[1], Text):
            raise SourceError(f"{place}: a literal where an entity is expected; only the object may be one.")
        yield Statement(ends[0], ends[1], ends[2], place)


def _parser(text: str, source: str, found: list[tuple[int, Any, Any, Any]]) -> Any:
    """A parser that puts line, subject, property and object of each statement into a list."""
    try:
        from rdflib import Graph
        from rdflib.plugins.parsers.notation3 import RDFSink, SinkParser
    except ImportError as error:
        raise MissingPackageError("rdflib", "Turtle", "pip install -c constraints.txt -e '.[graph]'") from error

    breaks = [place for place, character in enumerate(text) if character == "\n"]

    class Sink(RDFSink):  # type: ignore[misc]
        """Keeps literals as they are written: rdflib would parse those of XML and HTML."""

        def newLiteral(self, s: str, dt: Any = None, lang: str | None = None) -> Text:  # noqa: N802 - rdflib's name
            return Text(s, lang or "")

        def makeStatement(self, quadruple: Any, why: Any = None) -> None:  # noqa: N802
            _, property, subject, object = quadruple
            if len(found) == _MOST_STATEMENTS:
                raise SourceError(f"{source}: more than {_MOST_STATEMENTS:,} statements; divide the file.")
            found.append((parser.line_number(object), subject, property, object))

    class Parser(SinkParser):  # type: ignore[misc]
        """Remembers where each object begins; rdflib counts lines for its errors only, and not exactly."""

        def __init__(self, *arguments: Any, **settings: Any):
            super().__init__(*arguments, **settings)
            self._latest: dict[int, tuple[Any, int]] = {}
            self._at = 0

        def object(self, argstr: str, i: int, res: Any) -> int:
            self._at = start = max(i, self.skipSpace(argstr, i))
            end: int = super().object(argstr, start, res)
            if end >= 0:
                self._latest[id(res[-1])] = (res[-1], start)  # holds the object, so that no other one gets its id
            return end

        @property
        def line(self) -> int:
            return bisect_right(breaks, self._at) + 1

        def line_number(self, object: Any) -> int:
            return bisect_right(breaks, self._latest.get(id(object), (None, self._at))[1]) + 1

        def BadSyntax(self, argstr: str, i: int, msg: str) -> NoReturn:  # noqa: N802
            line = bisect_right(breaks, i if i >= 0 else len(argstr)) + 1
            raise SourceError(
                f"{source}, line {line:,}: {msg}; correct the line, or check the file with a tool for Turtle."
            )

    parser = Parser(Sink(Graph()), baseURI=f"file:///{quote(source)}", turtle=True)
    return parser


def _node(node: Any, place: Place) -> str | Text:
    from rdflib import BNode, URIRef

    if isinstance(node, Text):
        return node
    if isinstance(node, URIRef):
        require_short(node, place)
        return str(node)
    if isinstance(node, BNode):
        return f"_:{node}"
    if isinstance(node, tuple):  # the parser's own form of keywords such as "a"
        return str(node[1])
    return Text(str(node).lower() if isinstance(node, bool) else str(node), "")
