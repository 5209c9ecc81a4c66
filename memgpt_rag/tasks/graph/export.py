"""A memory of triples as a graph of networkx, as a file of GraphML, and as a picture (SVG)."""

from __future__ import annotations

from html import escape
from pathlib import Path

import networkx as nx
import numpy as np

from memgpt_rag.errors import SourceError
from memgpt_rag.io.printable import printable, shortened
from memgpt_rag.memory import MemoryReader
from memgpt_rag.tasks.graph.knowledge import normalized
from memgpt_rag.tasks.graph.links import require_triples

MOST_DRAWN = 150  # triples; more of them cannot be read in a picture
_WIDTH, _HEIGHT, _MARGIN = 1200, 900, 90


def to_networkx(memory: MemoryReader, *, language: str = "") -> nx.MultiDiGraph:
    """Return the triples of a memory as a directed graph: a node an entity or literal, an edge a triple.

    Nodes have a name and whether they are a literal; edges the property's name, the sentence, its language, whether it is negated,
    and the place.

    Args:
        language: of the names, where a triple has several; its first one where it has none in that language.

    Raises:
        MismatchError: the memory was not built of triples.
    """
    require_triples(memory)
    graph = nx.MultiDiGraph()
    passages = memory.passages(memory.rows())
    for passage in sorted(passages, key=lambda one: one.metadata.get("language", "") != language):  # stable
        found = passage.metadata
        subject, object = found["subject_id"], found.get("object_id")
        is_literal = object is None
        # A literal is a node of its own subject: equal numbers are not one thing.
        object = f"{subject} {found['property_id']} {found['object']}" if object is None else object
        for id, name, literal in ((subject, found["subject"], False), (object, found["object"], is_literal)):
            if id not in graph:
                graph.add_node(id, name=printable(name), literal=literal)
        key = f"{found['property_id']}{' not' if found['negated'] else ''}"
        if not graph.has_edge(subject, object, key):
            graph.add_edge(
                subject,
                object,
                key,
                property=printable(found["property"]),
                text=printable(passage.text),
                language=found.get("language", ""),
                negated=found["negated"],
                place=printable(passage.place),
            )
    return graph


def around(graph: nx.MultiDiGraph, name: str, hops: int) -> nx.MultiDiGraph:
    """Return what lies within so many hops of an entity, in both directions.

    Raises:
        ValueError: the graph has no entity of that name.
    """
    ids = [id for id, known in graph.nodes(data="name") if normalized(known) == normalized(name) or id == name]
    if not ids:
        raise ValueError(f"There is no entity {shortened(repr(name))} in the graph; name one as its triples do.")
    near = {end for id in ids for end in nx.ego_graph(graph, id, radius=hops, undirected=True)}
    return graph.subgraph(near)


def write_graph(graph: nx.MultiDiGraph, file: Path) -> None:
    """Write a graph as GraphML or as a picture, as the file's name ends; a file that is there is replaced.

    Raises:
        SourceError: the name has another ending, or the graph is too large for a picture.
    """
    if file.suffix.lower() == ".graphml":
        data = "\n".join(nx.generate_graphml(graph))
    elif file.suffix.lower() == ".svg":
        data = to_svg(graph)
    else:
        raise SourceError(f"{file} has no known ending; expected .graphml or .svg.")
    file.write_text(data, encoding="utf-8")


def to_svg(graph: nx.MultiDiGraph) -> str:
    """Draw a graph: entities in boxes, literals without, properties along the arrows.

    Raises:
        SourceError: it has more than `MOST_DRAWN` triples.
    """
    if graph.number_of_edges() > MOST_DRAWN:
        raise SourceError(
            f"The graph has {graph.number_of_edges():,} triples; a picture shows at most {MOST_DRAWN}. Choose a part with --about."
        )
    size = np.array([_WIDTH - 2 * _MARGIN, _HEIGHT - 2 * _MARGIN]) / 2
    at = {id: (place + 1) * size + _MARGIN for id, place in _layout(nx.Graph(graph)).items()}
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="13">',
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#777"/></marker></defs>',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
    ]
    for subject, object, edge in graph.edges(data=True):
        (x1, y1), (x2, y2) = at[subject], _before(at[subject], at[object])
        label = ("not " if edge["negated"] else "") + edge["property"]
        lines += [
            f'<line x1="{x1:.0f}" y1="{y1:.0f}" x2="{x2:.0f}" y2="{y2:.0f}" stroke="#999" marker-end="url(#arrow)"/>',
            f'<text x="{(x1 + x2) / 2:.0f}" y="{(y1 + y2) / 2 - 3:.0f}" text-anchor="middle" fill="#555" font-size="11">'
            f"{escape(shortened(label, 40))}</text>",
        ]
    for id, node in graph.nodes(data=True):
        (x, y), name = at[id], shortened(node["name"], 32)
        width = 14 + sum(13 if ord(character) > 0x2E7F else 7.5 for character in name)
        fill, stroke = ("#fff", "none") if node["literal"] else ("#e8f0fe", "#4a6fa5")
        lines += [
            f'<rect x="{x - width / 2:.0f}" y="{y - 12:.0f}" width="{width:.0f}" height="24" rx="6" fill="{fill}" stroke="{stroke}"/>',
            f'<text x="{x:.0f}" y="{y + 5:.0f}" text-anchor="middle">{escape(name)}</text>',
        ]
    return "\n".join([*lines, "</svg>"]) + "\n"


def _layout(graph: nx.Graph) -> dict[str, np.ndarray]:
    """Return places from −1 to 1, as far from each other as paths are long; parts without a path lie side by side."""
    steps = dict(nx.all_pairs_shortest_path_length(graph))
    far = 2 + max((most for found in steps.values() for most in found.values()), default=0)
    distances = {one: {other: steps[one].get(other, far) for other in graph} for one in graph}
    places: dict[str, np.ndarray] = nx.kamada_kawai_layout(graph, dist=distances)
    return places


def _before(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return a point a little before the end of an arrow, so that its tip is seen."""
    way = end - start
    return np.asarray(end - way * min(0.4, 26 / max(1.0, float(np.linalg.norm(way)))))
