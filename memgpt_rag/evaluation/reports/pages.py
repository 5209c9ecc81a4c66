"""A report as Markdown, and as one self-contained HTML page with a light and a dark theme."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from memgpt_rag.evaluation.reports.plots import bar_plot, line_plot
from memgpt_rag.evaluation.reports.tables import (
    Table,
    provenance,
    report_tables,
    winners_and_losers,
)
from memgpt_rag.io.printable import printable, printable_html

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --paper: #ffffff; --soft: #5d646d; --rule: #d9dde2;
  --c0: #0b62b8; --c1: #b3470a; --c2: #1b7a3d; --c3: #8a3ab0; --c4: #a3123f; --c5: #5b6400; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --paper: #15181c; --soft: #a3abb5; --rule: #363c44;
  --c0: #6bb0f5; --c1: #f0a062; --c2: #6fcf91; --c3: #cf9af0; --c4: #f58aa8; --c5: #c9d260; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 70rem;
  margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
p { color: var(--soft); max-width: 46rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: .35rem .9rem .35rem 0; border-bottom: 1px solid var(--rule); }
th { font-weight: 600; } td { overflow-wrap: break-word; min-width: 5rem; }
td:first-child { max-width: 30rem; min-width: 8rem; }
.plots { display: flex; flex-wrap: wrap; gap: 2rem; } .plots > div { flex: 1 1 24rem; max-width: 36rem; }
svg { width: 100%; height: auto; font: 13px system-ui, sans-serif; } svg text { fill: var(--ink); }
.grid { stroke: var(--rule); } .curve { fill: none; stroke: currentColor; stroke-width: 2; }
circle, rect { fill: currentColor; }
.legend { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; }
.legend li::before { content: "● "; } .legend span { color: var(--ink); }
.c0 { color: var(--c0); } .c1 { color: var(--c1); } .c2 { color: var(--c2); }
.c3 { color: var(--c3); } .c4 { color: var(--c4); } .c5 { color: var(--c5); }
"""


# Characters with a meaning in Markdown: emphasis, code, entities, cells; brackets, except those of an interval such as
# [0.812, 0.853]; the parenthesis of a link, "](…"; and what some renderers turn into links: https://…, a.com, me@a.com.
_MARKUP = re.compile(
    r"""[\\`*~$|@]|(?<![^\W_])_|_(?![^\W_])|&(?=\#?\w+;)|\[(?![-+]?[\d.]+,\ [-+]?[\d.]+\])|(?<=\])\(|:(?=//)|(?<=\w)\.(?=[^\W\d_])""",
    re.VERBOSE,
)
_HTML_TAG = re.compile(r"<(?=[A-Za-z/!?])")


def to_markdown(report: Mapping[str, Any]) -> str:
    """Render the report's tables as Markdown."""
    parts = [f"# {_markdown(_title(report))}", ""]
    for table in [*report_tables(report), *winners_and_losers(report), provenance(report)]:
        parts += [f"## {_markdown(table.title)}", ""]
        if table.note:
            parts += [_markdown(table.note), ""]
        parts += [_markdown_row(table.head), "|" + "---|" * len(table.head), *map(_markdown_row, table.rows), ""]
    return "\n".join(parts)


def tables_html(report: Mapping[str, Any]) -> str:
    """Render the report's tables as HTML to stand in a page of others, as a notebook's."""
    tables = [*report_tables(report), *winners_and_losers(report)]
    return f"<h1>{_html(_title(report))}</h1>\n{''.join(map(_html_table, tables))}"


def to_html(report: Mapping[str, Any]) -> str:
    """Render the report as one HTML page: no script, nothing to load, every text escaped."""
    systems = report["systems"]
    recall = {system["name"]: {int(depth): value for depth, value in system["recall"].items()} for system in systems}
    plots = [
        ("Recall against k", line_plot("Recall against k", recall, "documents looked at, k", "recall")),
    ]
    speeds = {
        system["name"]: system["speed"]["queries_per_second"] for system in systems if system["speed"] is not None
    }
    if speeds:
        plots.append(("Queries per second", bar_plot("Queries per second", speeds, "queries/s")))
    for indexes in report.get("indexes", ()):
        name = f"Recall against queries per second, {indexes['encoder']}"
        plots.append(
            (name, line_plot(name, _frontiers(indexes), "queries/s on one thread", "recall of the ten nearest"))
        )
    drawn = "".join(f"<div><h2>{_html(title)}</h2>{plot}</div>" for title, plot in plots)
    before, after = report_tables(report), [*winners_and_losers(report), provenance(report)]
    title = _html(_title(report))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
        f'{"".join(map(_html_table, before))}<div class="plots">{drawn}</div>\n{"".join(map(_html_table, after))}'
        "</body>\n</html>\n"
    )


def _frontiers(indexes: Mapping[str, Any]) -> dict[str, dict[int, float]]:
    """Return index → queries per second → recall, on the Pareto frontier of each index."""
    return {
        curve["index"]: {
            max(1, round(point["queries_per_second"])): point["recall"]
            for point in curve["points"]
            if point["frontier"]
        }
        for curve in indexes["curves"]
    }


def _title(report: Mapping[str, Any]) -> str:
    data = report["data"]
    return f"Retrieval on {data['name']}: {data['measured_queries']:,} queries, {data['documents']:,} documents"


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(_markdown(cell) for cell in cells)} |"


def _markdown(text: str) -> str:
    """Escape a text for one line of Markdown, so that it contains no image, link or HTML element."""
    line = printable(" ".join(text.split()))
    return _HTML_TAG.sub("&lt;", _MARKUP.sub(r"\\\g<0>", line))


def _html(text: str) -> str:
    return printable_html(text, lines=True)


def _html_table(table: Table) -> str:
    head = "".join(f"<th>{_html(cell)}</th>" for cell in table.head)
    rows = "".join("<tr>" + "".join(f"<td>{_html(cell)}</td>" for cell in row) + "</tr>\n" for row in table.rows)
    note = f"<p>{_html(table.note)}</p>" if table.note else ""
    shown_head = f"<thead><tr>{head}</tr></thead>" if any(table.head) else ""
    return f'<h2>{_html(table.title)}</h2>{note}\n<div class="wide"><table>{shown_head}<tbody>\n{rows}</tbody></table></div>\n'
