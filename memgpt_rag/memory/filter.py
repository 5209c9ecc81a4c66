"""Metadata filters: a text such as `year >= 2020 and lang in ("en", "zh")` becomes an Arrow expression.

The syntax is that of a Python condition, parsed by Python's own parser and never executed: column names, numbers, quoted
texts, True, False and None; == != < <= > >= in, not in, is None, is not None; and, or, not and brackets. A date is a quoted
text such as "2024-05-01", compared with a column of dates. A comparison with an empty cell is never true.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pds
from jaxtyping import Bool

from memgpt_rag.io.printable import shortened

_MAX_WORDS = 10_000
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: lambda one, other: one == other,
    ast.NotEq: lambda one, other: one != other,
    ast.Lt: lambda one, other: one < other,
    ast.LtE: lambda one, other: one <= other,
    ast.Gt: lambda one, other: one > other,
    ast.GtE: lambda one, other: one >= other,
}


def parse_where(words: str, schema: pa.Schema) -> pc.Expression:
    """Parse the text of a filter into an Arrow expression.

    Raises:
        ValueError: it is no filter over these columns; the message says where, and what is expected.
    """
    if len(words) > _MAX_WORDS:
        raise ValueError(f"The filter has {len(words)} characters; expected at most {_MAX_WORDS}.")
    try:
        tree = ast.parse(words.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        place = f" at column {error.offset}" if isinstance(error, SyntaxError) and error.offset else ""
        raise ValueError(
            f'The filter {shortened(words)!r} cannot be read{place}; expected a condition such as: year >= 2020 and source == "a.txt"'
        ) from error
    try:
        return _condition(tree, schema)
    except RecursionError as error:
        raise ValueError("The filter has too many brackets in brackets.") from error
    except (pa.ArrowException, OverflowError) as error:
        raise ValueError(
            f"The filter {shortened(words)!r} holds a number that no column can hold ({shortened(str(error))})."
        ) from error


def matching(values: pa.Table, expression: pc.Expression) -> Bool[np.ndarray, " rows"]:
    """Return a mask of the rows for which an expression is true; where it is null, a row does not match.

    Raises:
        ValueError: the expression does not fit the columns.
    """
    try:
        found = pds.dataset(values).scanner(columns={"found": expression}).to_table()["found"]
        mask: np.ndarray = pc.fill_null(found, False).to_numpy()
    except (pa.ArrowException, KeyError) as error:
        raise ValueError(f"The filter does not fit the columns: {shortened(str(error).splitlines()[0])}") from error
    if mask.dtype != bool:
        raise ValueError(f"The filter gives {mask.dtype} values; expected a condition, which is true or false.")
    return mask


def _condition(node: ast.expr, schema: pa.Schema) -> pc.Expression:
    if isinstance(node, ast.BoolOp):
        parts = [_condition(part, schema) for part in node.values]
        joined = parts[0]
        for part in parts[1:]:
            joined = joined & part if isinstance(node.op, ast.And) else joined | part
        return joined
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return ~_condition(node.operand, schema)
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        parts = [
            _comparison(left, operator, right, schema) for left, operator, right in zip(sides, node.ops, sides[1:])
        ]
        joined = parts[0]
        for part in parts[1:]:
            joined = joined & part
        return joined
    if isinstance(node, ast.Name):
        if schema.field(_column(node, schema)).type != pa.bool_():
            raise ValueError(f"The column {shortened(node.id)!r} alone is no condition; compare it with something.")
        return pc.field(node.id)
    raise ValueError(f"Found {_shown(node)!r} in the filter; expected a comparison, and, or, not, or brackets.")


def _comparison(left: ast.expr, operator: ast.cmpop, right: ast.expr, schema: pa.Schema) -> pc.Expression:
    if not isinstance(left, ast.Name):
        if isinstance(right, ast.Name) and type(operator) in _COMPARE:
            mirrored = {ast.Lt: ast.Gt, ast.LtE: ast.GtE, ast.Gt: ast.Lt, ast.GtE: ast.LtE}
            return _comparison(right, mirrored.get(type(operator), type(operator))(), left, schema)
        raise ValueError(f"Found {_shown(left)!r} where a column is expected.")
    name = _column(left, schema)
    kind, field = schema.field(name).type, pc.field(name)
    if isinstance(operator, (ast.Is, ast.IsNot)):
        if not (isinstance(right, ast.Constant) and right.value is None):
            raise ValueError(f"Found {name} is {_shown(right)}; expected {name} is None, or ==.")
        return field.is_null() if isinstance(operator, ast.Is) else field.is_valid()
    if isinstance(operator, (ast.In, ast.NotIn)):
        if not isinstance(right, (ast.Tuple, ast.List)):
            raise ValueError(f'Found {_shown(right)!r} after in; expected a list such as ("a", "b").')
        values = [_constant(one, name, kind) for one in right.elts]
        if kind == pa.int64():
            values = [int(value) for value in values if value == int(value)]  # no integer equals 2.5
        among = field.isin(pa.array(values, kind))
        return among if isinstance(operator, ast.In) else ~among & field.is_valid()
    value = _constant(right, name, kind)
    return _COMPARE[type(operator)](field, pa.scalar(value, None if isinstance(value, float) else kind))


def _shown(node: ast.expr) -> str:
    """Quote a part of the filter in a message. A long part is not unparsed: with many brackets, that takes very long."""
    try:
        return shortened(ast.unparse(node))
    except RecursionError:
        return "…"


def _column(node: ast.Name, schema: pa.Schema) -> str:
    if node.id not in schema.names:
        raise ValueError(
            f"There is no column {shortened(node.id)!r}; expected one of {shortened(', '.join(schema.names))}."
        )
    return node.id


def _constant(node: ast.expr, column: str, kind: pa.DataType) -> Any:
    inner, negative, signed = node, False, False
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        inner, negative, signed = node.operand, isinstance(node.op, ast.USub), True
    value: Any = inner.value if isinstance(inner, ast.Constant) else None
    wanted = {
        pa.string(): (str,),
        pa.int64(): (int, float),
        pa.float64(): (int, float),
        pa.bool_(): (bool,),
        pa.date32(): (str,),
    }
    fits = type(value) in wanted[kind] and (not signed or type(value) in (int, float))
    if fits and kind == pa.date32():
        try:
            return date.fromisoformat(str(value))
        except ValueError:
            fits = False
    if not fits:
        kinds = {pa.string(): "a quoted text", pa.bool_(): "True or False", pa.date32(): 'a date such as "2024-05-01"'}
        raise ValueError(f"Found {_shown(node)!r} for the column {column!r}; expected {kinds.get(kind, 'a number')}.")
    return -value if negative else value
