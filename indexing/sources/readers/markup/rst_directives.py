"""Directives and roles of reStructuredText that docutils does not know, as those of Sphinx, for the time of one parse."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import Directive, directives, roles
from docutils.parsers.rst.directives.tables import CSVTable
from docutils.parsers.rst.languages import en

from memgpt_rag.io.printable import counted

_DIRECTIVE = re.compile(r"^[ \t]*\.\. +(?:\|[^|\n]+\| +)?([A-Za-z][\w:.+-]{0,60}) ?::", re.MULTILINE)
_ROLE = re.compile(r":([A-Za-z][\w:.+-]{0,60}):`|`:([A-Za-z][\w:.+-]{0,60}):")
_CODE_NAMES = """
code code-block sourcecode ipython prompt testcode testsetup testoutput testcleanup doctest productionlist graphviz
digraph mermaid uml plantuml program-output command-output
"""
_CODE = set(_CODE_NAMES.split())
_VERSIONS = {"versionadded": "New in version", "versionchanged": "Changed in version", "deprecated": "Deprecated since"}
_FILES = ("include", "literalinclude")
_TITLED = re.compile(r"(.*\S)\s*<[^<>]*>$", re.DOTALL)  # text of a link with its target


@contextmanager
def foreign_markup(text: str, left_out: list[str]) -> Iterator[None]:
    """While it is entered, docutils keeps the content of each directive and role in a text that it does not know.

    Args:
        left_out: gets a clause for each file that the text asks for, and that is not read.
    """
    names = {name.lower() for name in _DIRECTIVE.findall(text)}
    # The caption of a code block is an option of Sphinx's.
    known = (set(en.directives) | set(directives._directives)) - {"code", "code-block", "sourcecode"}
    own: dict[str, Any] = dict.fromkeys(names - known, _Foreign)
    own |= {"raw": _Raw, "date": _Date, "csv-table": _CsvTable} | dict.fromkeys(_FILES, _File)
    roled = {name.lower() for pair in _ROLE.findall(text) for name in pair if name}
    own_roles = roled - set(en.roles) - set(roles._role_registry) - set(roles._roles)
    saved, saved_roles = dict(directives._directives), dict(roles._roles)
    directives._directives.update(own)
    roles._roles.update(dict.fromkeys(own_roles | {"raw"}, _role))
    _File.left_out = left_out
    try:
        yield
    finally:
        for registry, before in ((directives._directives, saved), (roles._roles, saved_roles)):
            registry.clear()
            registry.update(before)


class _Foreign(Directive):  # type: ignore[misc]
    """A directive whose arguments and content are text."""

    optional_arguments = 1
    final_argument_whitespace = True
    has_content = True
    option_spec: ClassVar[Any] = defaultdict(lambda: directives.unchanged, name=directives.unchanged)

    def run(self) -> list[Any]:
        name = self.name.lower().rpartition(":")[2]
        argument = " ".join(self.arguments)
        shown = [self.options[key] for key in ("caption", "title", "header", "alt") if self.options.get(key)]
        if name in _CODE:
            content = "\n".join(self.content)
            shown += (
                [argument] if name not in ("code", "code-block", "sourcecode", "ipython", "prompt") and argument else []
            )
            block = nodes.literal_block(content, content)
            block.line = self.content_offset + 1
            return [*map(self._paragraph, shown), *([block] if content.strip() else [])]
        if name == "toctree":  # names of files, some with a title
            bare = sum(bool(line.strip()) and not _TITLED.match(line.strip()) for line in self.content)
            if bare:
                contents = f"a table of contents of {counted(bare, 'document')} was left out"
                _File.left_out.append(f"line {self.lineno}: {contents}")
            shown += [titled[1] for line in self.content if (titled := _TITLED.match(line.strip()))]
            return [self._paragraph(text) for text in shown]
        if argument:
            shown.insert(0, f"{_VERSIONS[name]} {argument}" if name in _VERSIONS else argument)
        around = nodes.container()
        around.line = self.lineno
        self.state.nested_parse(self.content, self.content_offset, around)
        return [*(self._paragraph(text) for text in shown), *around.children]

    def _paragraph(self, text: str) -> Any:
        children, _ = self.state.inline_text(text, self.lineno)
        paragraph = nodes.paragraph(text, "", *children)
        paragraph.line = self.lineno
        return paragraph


class _Raw(_Foreign):
    """HTML, whose words are kept; or another format, whose source is."""

    def run(self) -> list[Any]:
        if named := self.options.get("file") or self.options.get("url"):
            return _left_out(self.lineno, named)
        content = "\n".join(self.content)
        raw = nodes.raw(content, content, format=" ".join(self.arguments).lower())
        raw.line = self.content_offset + 1
        return [raw] if content.strip() else []


class _File(_Foreign):
    """A file to be inserted, which is not read here: it is read where it stands among the sources."""

    left_out: ClassVar[list[str]] = []

    def run(self) -> list[Any]:
        return _left_out(self.lineno, " ".join(self.arguments))


class _CsvTable(CSVTable):  # type: ignore[misc]
    """A table of comma-separated values, unless they are in a file."""

    def run(self) -> list[Any]:
        if named := self.options.get("file") or self.options.get("url"):
            return _left_out(self.lineno, named)
        return list(super().run())


def _left_out(line: int, named: str) -> list[Any]:
    _File.left_out.append(f"line {line}: {named[:200]}, which it includes, was not inserted")
    return []


class _Date(_Foreign):
    """The present date, which would differ from one job to the next."""

    def run(self) -> list[Any]:
        return [nodes.Text("(date)")]


def _role(name: str, source: str, text: str, line: int, inliner: Any, options: Any = None, content: Any = ()) -> Any:
    """Return the text of a role without its target: `title <target>` is "title", `~park.open` is "park.open"."""
    text = nodes.unescape(text)
    titled = _TITLED.match(text)
    return [nodes.inline(source, titled[1] if titled else text.lstrip("~!"))], []
