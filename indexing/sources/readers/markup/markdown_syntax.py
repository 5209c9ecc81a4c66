"""The Markdown parser, with the extensions that people write and without the ways in which it loses or hangs on text."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.parser_inline import ParserInline
from markdown_it.rules_block import StateBlock, reference
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.rules_inline.state_inline import Scanned
from markdown_it.token import Token
from mdit_py_plugins.admon import admon_plugin
from mdit_py_plugins.footnote import footnote_plugin

from indexing.sources.clean_text import is_wide

# A quotation is one level, a list two. The parser recurses on them, and drops what is nested deeper than it may go.
_MAX_BLOCK_LEVELS = 60
_MAX_INLINE_LEVELS = 8
# Markup within a paragraph is parsed in pieces of this many characters, so that its time is linear.
_PIECE = 10_000
_MARKUP = re.compile(r"[\[\]()!*_`<>$~\\^&]")
_CONTAINER_WORDS = re.compile(r"\{[.#]?([\w-]+)\}?")
_ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://|(mailto|tel|data|urn|javascript|file):|[/#?.<]|www\.")
_FILE_NAME = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,4}([?#].*)?$")
_WIKI_LINK = re.compile(r"\[\[([^\[\]\n]{1,300})\]\](?![(\[])")
_FOOTNOTE_MARK = re.compile(r"\[\^([^\s\[\]]{1,100})\]")
_MATH = re.compile(r"\$\$[^$]{1,2000}\$\$|\$(?![\s$])[^$\n]{0,300}[^$\n\s\\]\$(?!\d)")


def markdown_parser() -> MarkdownIt:
    """Return a parser of CommonMark with tables, footnotes, admonitions, wiki links and mathematics.

    The environment of a parse gets "plain": first and last line, from 0, of each paragraph whose markup was not parsed.
    """
    parser = _Parser("commonmark", {"maxNesting": _MAX_BLOCK_LEVELS + 20}).enable(["table", "strikethrough"])
    inline, parser.inline = parser.inline, _CjkInline()
    parser.inline.ruler2.enableOnly(inline.ruler2.get_active_rules())
    parser.inline.ruler.enableOnly(inline.ruler.get_active_rules())
    parser.use(footnote_plugin, inline=False, move_to_end=False, always_match_refs=True)
    parser.use(admon_plugin)
    parser.block.ruler.before("table", "too_deep", _too_deep)
    paragraph_ends = {"alt": ["paragraph", "reference", "blockquote", "list"]}
    parser.block.ruler.before("fence", "container", _container, paragraph_ends)
    parser.block.ruler.at("reference", _definition)
    parser.inline.ruler.at("footnote_ref", _footnote_mark)  # that of the plugin takes a minute for 10 kB of "[^"
    parser.inline.ruler.before("link", "wiki_link", _wiki_link)
    parser.inline.ruler.before("escape", "math", _math)
    parser.inline.add_terminator_char("$")
    parser.core.ruler.at("inline", _parse_inline)
    return parser


class _Parser(MarkdownIt):  # type: ignore[misc]
    def normalizeLink(self, url: str) -> str:  # noqa: N802 - name of markdown-it
        """Leave an address as it is: no reader keeps it, and its normal form takes a tenth of the time."""
        return url


class _CjkState(StateInline):  # type: ignore[misc]
    """Inline state whose emphasis may begin and end beside Chinese characters.

    CommonMark asks for a space or punctuation on the outer side of `**` with punctuation on its inner side. Chinese has
    no spaces, so the asterisks of "**注意：**请" would stay in the text.
    """

    def scanDelims(self, start: int, canSplitWord: bool) -> Scanned:  # noqa: N802, N803 - names of markdown-it
        found = super().scanDelims(start, canSplitWord)
        before = self.src[start - 1] if start else " "
        end = start + found.length
        after = self.src[end] if end < self.posMax else " "
        if not (is_wide(before) or is_wide(after)):
            return found
        can_open = found.can_open or (canSplitWord and not after.isspace())
        can_close = found.can_close or (canSplitWord and not before.isspace())
        return Scanned(can_open, can_close, found.length)


class _CjkInline(ParserInline):  # type: ignore[misc]
    def parse(self, src: str, md: MarkdownIt, env: Any, tokens: list[Token]) -> list[Token]:
        state = _CjkState(src, md, env, tokens)
        self.tokenize(state)
        for rule in self.ruler2.getRules(""):
            rule(state)
        return state.tokens  # type: ignore[no-any-return]


def _push_paragraph(state: StateBlock, content: str, first: int, end: int) -> None:
    """Add a paragraph of lines `first` to `end` (exclusive)."""
    state.push("paragraph_open", "p", 1).map = [first, end]
    inline = state.push("inline", "", 0)
    inline.content, inline.map, inline.children = content, [first, end], []
    state.push("paragraph_close", "p", -1)


def _too_deep(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Block rule: what is nested too deeply to be parsed is a paragraph, without its marks."""
    if silent or state.level < _MAX_BLOCK_LEVELS:
        return False
    line = start
    while line < end and (state.isEmpty(line) or state.sCount[line] >= state.blkIndent):
        line += 1
    content = state.getLines(start, line, state.blkIndent, False)
    _push_paragraph(state, "\n".join(text.lstrip(" \t>*+-") for text in content.split("\n")).strip(), start, line)
    state.line = line
    return True


def _container(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Block rule: `:::tip Title` is the text "tip Title", and the `:::` at the end of the container is none."""
    first = state.bMarks[start] + state.tShift[start]
    if state.is_code_block(start) or not state.src.startswith(":::", first):
        return False
    if not silent:
        words = state.src[first : state.eMarks[start]].strip(": \t")
        if words:
            _push_paragraph(state, _CONTAINER_WORDS.sub(r"\1", words, count=1), start, start + 1)
        state.line = start + 1
    return True


def _definition(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Block rule: `[label]: address` defines a link; with a target that is no address it is text, such as "[注]: 学生免费。"."""
    links, repeated = state.env.setdefault("references", {}), state.env.setdefault("duplicate_refs", [])
    known, again = len(links), len(repeated)
    if not reference(state, start, end, silent):
        return False
    if silent:
        return True
    label = next(reversed(links)) if len(links) > known else None
    target = links[label] if label is not None else repeated[-1] if len(repeated) > again else None
    if target is not None and not _is_address(unquote(target["href"])):
        if label is not None:
            del links[label]
        _push_paragraph(state, state.getLines(start, state.line, state.blkIndent, False).strip(), start, state.line)
    return True


def _is_address(target: str) -> bool:
    return bool(_ADDRESS.match(target) or _FILE_NAME.search(target) or (target.isascii() and "/" in target))


def _wiki_link(state: StateInline, silent: bool) -> bool:
    """Inline rule: `[[page|words]]` is its words, and `[[page]]` the name of the page."""
    link = _WIKI_LINK.match(state.src, state.pos, state.posMax)
    if not link:
        return False
    if not silent:
        state.append_pending(link[1].rpartition("|")[2].strip())
    state.pos = link.end()
    return True


def _footnote_mark(state: StateInline, silent: bool) -> bool:
    """Inline rule: the mark `[^1]` of a footnote is "[1]", as in its definition."""
    mark = _FOOTNOTE_MARK.match(state.src, state.pos, state.posMax)
    if not mark:
        return False
    if not silent:
        state.append_pending(f"[{mark[1]}]")
    state.pos = mark.end()
    return True


def _math(state: StateInline, silent: bool) -> bool:
    """Inline rule: what stands between dollar signs is kept as it is, with its backslashes and underscores."""
    formula = _MATH.match(state.src, state.pos, state.posMax)
    if not formula:
        return False
    if not silent:
        state.append_pending(formula[0])
    state.pos = formula.end()
    return True


def _parse_inline(state: StateCore) -> None:
    """Core rule: parse the markup of each paragraph, piece by piece; a piece that is mostly marks is plain text."""
    options, plain = state.md.options, state.env.setdefault("plain", [])
    levels = options["maxNesting"]
    options["maxNesting"] = _MAX_INLINE_LEVELS
    for token in state.tokens:
        if token.type != "inline":
            continue
        token.children = []
        for piece in _pieces(token.content):
            children: list[Token] = []
            try:
                if _is_hostile(piece):
                    raise RecursionError
                state.md.inline.parse(piece, state.md, state.env, children)
            except RecursionError:
                children = [Token("text", "", 0, content=piece)]
                plain.append(token.map)
            token.children += children
    options["maxNesting"] = levels


def _is_hostile(piece: str) -> bool:
    """Return whether a piece of a paragraph would take the parser long: it is mostly marks, or opens many brackets."""
    mostly_marks = len(piece) > 1000 and len(_MARKUP.findall(piece)) > len(piece) / 4
    return mostly_marks or piece.count("[") - piece.count("]") > 10 + len(piece) / 100


def _pieces(text: str) -> list[str]:
    """Cut a long paragraph at ends of lines or at spaces, or where there are none, anywhere."""
    pieces, start = [], 0
    while len(text) - start > _PIECE:
        limit = start + _PIECE
        end = text.rfind("\n", start + 1, limit) + 1 or text.rfind(" ", start + 1, limit) + 1 or limit
        pieces.append(text[start:end])
        start = end
    return [*pieces, text[start:]]
