"""Functions, methods and classes of source code, found with the grammars of tree-sitter."""

from __future__ import annotations

import importlib
import re
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree_sitter import Node, Tree

# Suffix → package of the grammar, and its function if that is not `language`.
_GRAMMARS = {
    **dict.fromkeys((".py", ".pyi", ".pyw"), ("tree_sitter_python", "language")),
    **dict.fromkeys((".js", ".mjs", ".cjs", ".jsx"), ("tree_sitter_javascript", "language")),
    **dict.fromkeys((".ts", ".mts", ".cts"), ("tree_sitter_typescript", "language_typescript")),
    ".tsx": ("tree_sitter_typescript", "language_tsx"),
    ".java": ("tree_sitter_java", "language"),
    ".c": ("tree_sitter_c", "language"),
    **dict.fromkeys((".h", ".cpp", ".cc", ".cxx", ".hpp", ".hh", ".hxx", ".ino"), ("tree_sitter_cpp", "language")),
    ".go": ("tree_sitter_go", "language"),
    ".rs": ("tree_sitter_rust", "language"),
    ".rb": ("tree_sitter_ruby", "language"),
    ".php": ("tree_sitter_php", "language_php"),
    ".cs": ("tree_sitter_c_sharp", "language"),
    **dict.fromkeys((".sh", ".bash"), ("tree_sitter_bash", "language")),
}
_GENERIC = ("tree_sitter_java", "tree_sitter_c_sharp", "tree_sitter_cpp")
_FUNCTIONS_NAMES = """
function_definition function_declaration generator_function_declaration method_declaration method_definition
constructor_declaration compact_constructor_declaration destructor_declaration operator_declaration function_item
macro_definition method singleton_method
"""
_FUNCTIONS = set(_FUNCTIONS_NAMES.split())
_TYPES_NAMES = """
class_definition class_declaration abstract_class_declaration class_specifier struct_specifier union_specifier
enum_specifier interface_declaration enum_declaration struct_declaration record_declaration trait_declaration
annotation_type_declaration class module impl_item trait_item mod_item struct_item enum_item union_item
namespace_definition namespace_declaration internal_module type_spec type_definition type_alias_declaration
"""
_TYPES = set(_TYPES_NAMES.split())
_VALUES = {"arrow_function", "function_expression", "generator_function", "class"}  # of a variable, in JavaScript
# Nodes with definitions in them that have no name of their own.
_GROUPS_NAMES = """
block body_statement class_body declaration_list field_declaration_list enum_body enum_body_declarations
interface_body statement_block linkage_specification preproc_if preproc_ifdef preproc_else preproc_elif if_statement
try_statement else_clause except_clause ERROR object_type type_declaration
"""
_GROUPS = set(_GROUPS_NAMES.split())
_ABOVE_NAMES = """
comment line_comment block_comment attribute_item inner_attribute_item attribute_list
"""
_ABOVE = set(_ABOVE_NAMES.split())
_MAX_PATH = 8  # names in a path: deeper definitions stay in the block of the one around them
# Larger files are data or generated; the grammars take more than linear time and memory for some texts.
_MAX_BYTES, _MAX_SECONDS, _MAX_MEMORY = 1_000_000, 3, 300 * 2**20
_CHUNK = 65_536
# Texts of which tree-sitter keeps too many readings: comparisons that may be type arguments, and here-documents.
_MAX_COMPARISONS, _MAX_HERE_DOCUMENTS = 300, 300


@dataclass(frozen=True)
class Unit:
    """A definition in source code.

    Attributes:
        name: its name with those of the definitions around it, as in "Park.open".
        first, last: its lines, from 0, with the comments above it.
        parent: name of the definition around it; empty if there is none.
    """

    name: str
    first: int
    last: int
    parent: str


def code_units(text: str, name: str) -> list[Unit] | None:
    """Return the definitions of a file in order of their first lines, those that hold others first.

    Args:
        text: its text with line ends \\n.
        name: its name, whose suffix names the language.

    Returns:
        None if there is no grammar for the language, or the file takes it too long.
    """
    source = text.encode(errors="replace")
    grammar = _GRAMMARS.get(PurePosixPath(name).suffix.lower())
    if grammar is None or len(source) > _MAX_BYTES:
        return None
    if text.count("<<") > _MAX_HERE_DOCUMENTS and grammar[0] == "tree_sitter_bash":
        return None
    if grammar[0] in _GENERIC and max(part.count("<") for part in re.split("[;{}]", text)) > _MAX_COMPARISONS:
        return None
    tree = _parse(source, *grammar)
    return None if tree is None else sorted(_units(tree), key=lambda unit: (unit.first, -unit.last))


def _parse(source: bytes, package: str, function: str) -> Tree | None:
    """Return the syntax tree; None if it takes too much time or memory."""
    from tree_sitter import Language, Parser

    end, most = time.process_time() + _MAX_SECONDS, _peak_memory() + _MAX_MEMORY

    def stops(offset: int, has_error: bool) -> bool:
        return time.process_time() > end or _peak_memory() > most

    language = Language(getattr(importlib.import_module(package), function)())
    try:
        # The parser asks whether to stop only where it reads the text by a function.
        return Parser(language).parse(lambda offset, _: source[offset : offset + _CHUNK], progress_callback=stops)
    except ValueError:  # it was stopped
        return None


def _peak_memory() -> int:
    """Return the largest memory of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _units(tree: Tree) -> Iterator[Unit]:
    # Groups of nodes, names of the definitions around them, and first line of the comments directly above them.
    todo: list[tuple[Node, tuple[str, ...], int | None]] = [(tree.root_node, (), None)]
    while todo:
        group, path, above = todo.pop()
        end = group.start_point[0] if above is not None else -1  # last line of the node before
        for node in group.named_children:
            first, last = _lines(node)
            if node.type in _ABOVE:
                if first > end or above is not None:  # else it stands behind code, on its line
                    above = first if above is None or first > end + 1 else above
                end = last
                continue
            definition, start = _definition(node), first if above is None or first > end + 1 else above
            comments, above, end = None if start == first else start, None, last
            if definition is None:
                if node.type in _GROUPS:
                    todo.append((node, path, comments))
                continue
            names = (*path, *_name(definition).split("."))
            yield Unit(".".join(names), start, last, ".".join(path))
            if definition.type in _TYPES and len(names) < _MAX_PATH:
                todo.append((definition, names, None))


def _lines(node: Node) -> tuple[int, int]:
    """Return the first and last line of a node; one that ends with a line end does not reach into the next line."""
    (first, _), (last, column) = node.start_point, node.end_point
    return first, last - 1 if column == 0 and last > first else last


def _definition(node: Node) -> Node | None:
    """Return the definition that a statement is or holds, without its decorators, `export` or template."""
    for _ in range(6):
        inner: Node | None = None
        if node.type in _FUNCTIONS or node.type in _TYPES:
            return node if node.type not in ("type_definition", "class") or node.named_child_count > 1 else None
        if node.type in ("decorated_definition", "export_statement"):
            names = ("definition", "declaration", "value")
            inner = next((found for name in names if (found := node.child_by_field_name(name))), None)
        elif node.type in ("template_declaration", "type_declaration"):
            inner = node.named_children[-1] if node.named_child_count else None
        elif node.type in ("lexical_declaration", "variable_declaration", "expression_statement"):
            inner = node.named_children[0] if node.named_child_count else None
        elif node.type in ("variable_declarator", "assignment_expression"):
            value = node.child_by_field_name("value") or node.child_by_field_name("right")
            return node if value is not None and value.type in _VALUES else None
        if inner is None:
            return None
        node = inner
    return None


def _name(definition: Node) -> str:
    """Return the name of a definition, with a dot before each part: "Park.open"."""
    found = next(
        (n for field in ("name", "left", "declarator", "type") if (n := definition.child_by_field_name(field))), None
    )
    while found is not None and (inner := found.child_by_field_name("declarator")) is not None:
        found = inner  # C: `int *open(int a)` has its name within its declarators
    name = re.sub(r"\s+", " ", _text(found)) if found is not None else definition.type.split("_")[0]
    receiver = definition.child_by_field_name("receiver")  # Go: `func (p *Park) Open()`
    if receiver is not None and (types := re.findall(r"\w+(?=[\[\])])", _text(receiver))):
        name = f"{types[0]}.{name}"
    return re.sub(r"::|->|\\", ".", name)[:200].strip(".") or "function"


def _text(node: Node) -> str:
    return (node.text or b"").decode(errors="replace")
