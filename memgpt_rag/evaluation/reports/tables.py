"""The tables of a report as rows of text, rendered by both the Markdown and the HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from memgpt_rag.io.printable import printable


class Table(NamedTuple):
    """A table.

    Attributes:
        title: title of the table.
        note: explanation of the figures.
        head: column headings; the first column names the rows, the others contain figures.
        rows: cells of each row.
    """

    title: str
    note: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def to_plain(table: Table) -> str:
    """Render a table for a terminal, with aligned columns; the first column is left-aligned."""
    lines = [[printable(cell) for cell in line] for line in (table.head, *table.rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(table.head))]
    shown = [
        "  ".join(
            [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:]))]
        ).rstrip()
        for line in lines
    ]
    return "\n".join([printable(table.title), *shown])


def report_tables(report: Mapping[str, Any]) -> list[Table]:
    """Return all tables of a report that are not empty."""
    tables = [quality(report), cost(report)]
    tables += [searched(indexes) for indexes in report.get("indexes", ())]
    if report["comparisons"]:
        first = report["systems"][0]["name"]
        tables.append(compared(report["comparisons"], f"Compared with {first}", "The same queries of both systems."))
    if earlier := report.get("against"):
        left_out = (
            f"; {earlier['left_out']:,} are asked or judged in another way, or in one of the two only"
            if earlier["left_out"]
            else ""
        )
        note = f"{earlier['queries']:,} queries of both{left_out}."
        tables.append(compared(earlier["comparisons"], f"Compared with the report {earlier['report']}", note))
    return [table for table in tables if table.rows]


def quality(report: Mapping[str, Any]) -> Table:
    """Return the table of each system's measures, with 95 % intervals."""
    rows = [
        [
            system["name"],
            *(
                f"{figures['mean']:.3f} [{figures['low']:.3f}, {figures['high']:.3f}]"
                for figures in system["measures"].values()
            ),
        ]
        for system in report["systems"]
    ]
    note = (
        f"Means over the {report['data']['measured_queries']:,} measured queries, with their 95 % bootstrap intervals, of the "
        f"first {report['k']:,} documents found; higher is better."
    )
    return Table("How well documents are found", note, ["system", *report["measures"]], rows)


def cost(report: Mapping[str, Any]) -> Table:
    """Return the table of each system's speed, memory and costs of building."""
    rows = []
    for system in report["systems"]:
        if (speed := system["speed"]) is None:
            continue
        latency, costs = speed["latency_ms"], system["costs"]
        built = ["–"] * 3
        if costs is not None:
            ratio = costs["build_seconds"] / costs["encoding_seconds"] if costs["encoding_seconds"] else float("inf")
            built = [f"{costs['build_seconds']:.1f} s", f"{ratio:.2f}×", _bytes(costs["disk_bytes"])]
        rows.append(
            [
                system["name"],
                *(f"{latency[part]:.1f}" for part in ("p50", "p95", "p99")),
                f"{speed['queries_per_second']:,.1f}",
                _bytes(speed["peak_memory_bytes"]),
                *built,
            ]
        )
    note = (
        "Single queries in milliseconds, by percentile; queries per second in batches of 64; encoding included. Memory is "
        "the largest resident set of the process with all its models. Building is compared with encoding alone."
    )
    head = ["system", "p50, ms", "p95, ms", "p99, ms", "queries/s", "memory", "built in", "over encoding", "disk"]
    return Table("How fast, and what it takes", note, head, rows)


_RECALLS = (0.9, 0.95, 0.98, 0.99)


def searched(indexes: Mapping[str, Any]) -> Table:
    """Return the table of each index's fastest search settings for several recalls, and the one with the highest recall."""
    rows = []
    for curve in indexes["curves"]:
        best = sorted((point for point in curve["points"] if point["frontier"]), key=lambda point: point["recall"])
        enough = [next((at for at, point in enumerate(best) if point["recall"] >= recall), None) for recall in _RECALLS]
        for at in sorted({len(best) - 1, *(at for at in enough if at is not None)}):
            point = best[at]
            looks = [point["parameters"]] * bool(point["parameters"]) + [f"{point['candidates']} candidates"]
            exact = curve["disk_bytes"] == 0
            rows.append(
                [
                    curve["index"] if exact else f"{curve['index']}, {', '.join(looks)}",
                    f"{point['recall']:.3f}",
                    f"{point['queries_per_second']:,.0f}",
                    *(f"{point['latency_ms'][part]:.2f}" for part in ("p50", "p95", "p99")),
                    "–" if exact else f"{curve['build_seconds']:.1f} s",
                    "–" if exact else _bytes(curve["disk_bytes"]),
                ]
            )
    note = (
        f"Searches of {indexes['keys']:,} keys of {indexes['dimension']} numbers on one thread, with queries that are encoded "
        "already; recall of the ten nearest. Of each index the fastest searches that find "
        f"{', '.join(f'{100 * recall:.0f}' for recall in _RECALLS)} % are shown, as far as there are any, and the one that finds most."
    )
    head = ["index", "recall", "queries/s", "p50, ms", "p95, ms", "p99, ms", "built in", "disk"]
    return Table(f"How fast keys of {indexes['encoder']} are searched", note, head, rows)


def compared(comparisons: Sequence[Mapping[str, Any]], title: str, note: str, *, per_cent: bool = False) -> Table:
    """Return the table of paired comparisons of systems, with p values.

    Args:
        per_cent: show differences in points of a hundred, beside a table of means in per cent.
    """
    scale, digits = (100, 1) if per_cent else (1, 3)
    rows = [
        [
            comparison["system"],
            comparison["against"],
            comparison["measure"],
            "{:+.{digits}f} [{:+.{digits}f}, {:+.{digits}f}]".format(
                *(scale * comparison[part] for part in ("difference", "low", "high")), digits=digits
            ),
            _p(comparison["p"]),
            _p(comparison["p_holm"]),
            f"{comparison['better']:,} / {comparison['equal']:,} / {comparison['worse']:,}",
        ]
        for comparison in comparisons
    ]
    caption = f"{note} Difference with its 95 % interval, paired; p of a randomisation test, as it is and by Holm's correction."
    difference = "difference, points" if per_cent else "difference"
    head = ["system", "against", "measure", difference, "p", "p (Holm)", "better / equal / worse"]
    return Table(title, caption, head, rows)


def provenance(report: Mapping[str, Any]) -> Table:
    """Return the table of the report's provenance: data, command, machine, package versions."""
    data, origin = report["data"], report["provenance"]
    computer = origin["machine"]
    missing = (
        f"; {data['missing_documents']:,} relevant ones are not in the memory" if data["missing_documents"] else ""
    )
    rows = [
        ["data", f"{data['name']}, from {data['source']}"],
        ["documents", f"{data['documents']:,}, digest {data['documents_digest'][:16]}{missing}"],
        [
            "queries",
            f"{data['measured_queries']:,} measured of {data['queries']:,}; the others have no relevant document",
        ],
        ["documents asked for", f"{report['k']:,} a query"],
        *(
            [name, ", ".join(f"{key.replace('_', ' ')} {value!r}" for key, value in system["about"].items())]
            for system in report["systems"]
            if (name := system["name"]) and system["about"]
        ),
        ["command", origin["command"]],
        ["date", origin["date"]],
        [
            "machine",
            f"{computer['processor']}, {computer['cores']} cores, {_bytes(computer['memory_bytes'])}, {computer['system']}",
        ],
        [
            "versions",
            ", ".join(
                [f"Python {computer['python']}", *(f"{name} {version}" for name, version in origin["packages"].items())]
            ),
        ],
    ]
    return Table("Where this comes from", "", ["", ""], rows)


def winners_and_losers(report: Mapping[str, Any], count: int = 10) -> list[Table]:
    """Return tables of the queries with the largest gains and losses by the first measure; for one system, its worst."""
    measure = report["measures"][0]
    systems = {system["name"]: system for system in report["systems"]}
    earlier = report.get("against")
    pairs = [
        (comparison["system"], comparison["against"], systems[comparison["against"]]["per_query"])
        for comparison in report["comparisons"]
        if comparison["measure"] == measure
    ]
    if earlier:
        pairs += [
            (comparison["system"], comparison["against"], earlier["per_query"][comparison["against"]])
            for comparison in earlier["comparisons"]
            if comparison["measure"] == measure
        ]
    tables = []
    for name, peer, theirs in pairs:
        mine = systems[name]["per_query"][measure]
        moved = {query: mine[query] - theirs[measure][query] for query in mine if query in theirs[measure]}
        order = sorted(moved, key=moved.__getitem__)
        for title, queries in (
            ("wins", [q for q in reversed(order) if moved[q] > 0]),
            ("loses", [q for q in order if moved[q] < 0]),
        ):
            rows = [
                _query_row(report, systems[name], query, f"{mine[query]:.3f} ({moved[query]:+.3f})")
                for query in queries[:count]
            ]
            tables.append(
                Table(f"Where {name} {title} against {peer}", "", ["query", measure, "relevant", "found first"], rows)
            )
    if not pairs:
        (system,) = systems.values()
        values = system["per_query"][measure]
        rows = [
            _query_row(report, system, query, f"{values[query]:.3f}")
            for query in sorted(values, key=values.__getitem__)[:count]
        ]
        tables.append(
            Table(f"Where {system['name']} is worst", "", ["query", measure, "relevant", "found first"], rows)
        )
    return [table for table in tables if table.rows]


def _query_row(report: Mapping[str, Any], system: Mapping[str, Any], query: str, figure: str) -> list[str]:
    asked = report["queries"][query]
    return [f"{query}: {asked['text']}", figure, _some(asked["relevant"]), _some(system["found"].get(query, []))]


def _some(names: Sequence[str], count: int = 3) -> str:
    return ", ".join(names[:count]) + (" …" if len(names) > count else "") or "–"


def _p(value: float) -> str:
    return "< .001" if value < 0.001 else f"{value:.3f}".lstrip("0") if value < 1 else "1"


def _bytes(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:,.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
