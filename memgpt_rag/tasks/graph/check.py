"""Finds contradictions among triples, and names the lines: two values where there can be one, circles, a fact and its denial."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import networkx as nx

from memgpt_rag.tasks.graph.knowledge import Knowledge, Place, Triple, normalized
from memgpt_rag.tasks.graph.rdf import SUBCLASS

# A property is functional in the data where at least so many subjects have it, and so many of them with one object only.
_LEAST_SUBJECTS = 10
_LEAST_SHARE = 0.95
# Names of properties along which nothing leads back to itself.
_HIERARCHICAL = {
    *(
        "part of",
        "is part of",
        "located in",
        "is located in",
        "is in",
        "subclass of",
        "is a kind of",
        "parent",
        "child of",
    ),
    *("属于", "位于", "是一部分", "上级", "组成部分"),
}


@dataclass(frozen=True)
class Contradiction:
    """What cannot all be true, with the places where it is said.

    Attributes:
        text: a sentence.
        places: in the order of the files.
        certain: False where the rest of the data only makes it likely.
    """

    text: str
    places: tuple[Place, ...]
    certain: bool = True

    def __str__(self) -> str:
        lines = {place.source: [one.line for one in self.places if one.source == place.source] for place in self.places}
        where = (
            f"{source}, line{'s' * (len(found) > 1)} {', '.join(f'{line:,}' for line in found)}"
            for source, found in lines.items()
        )
        return f"{'; '.join(where)}: {self.text}"


def find_contradictions(
    knowledge: Knowledge, *, functional: Collection[str] = (), hierarchical: Collection[str] = ()
) -> list[Contradiction]:
    """Return the contradictions among triples.

    Args:
        functional: names or ids of further properties that have one object.
        hierarchical: names or ids of further properties along which nothing leads back to itself.

    Raises:
        ValueError: no triple has a property of that name.
    """
    properties = dict.fromkeys(one.property for one in knowledge.triples)
    wanted = [_entity_ids(names, properties, knowledge) for names in (functional, hierarchical)]
    usual = {id for id in properties if any(normalized(name) in _HIERARCHICAL for name in _names(id, knowledge))}
    return [
        *_identities(knowledge),
        *_denials(knowledge),
        *_several_objects(knowledge, knowledge.functional | wanted[0]),
        *_circles(knowledge, knowledge.hierarchical | wanted[1] | usual | {SUBCLASS}),
    ]


def _entity_ids(names: Collection[str], properties: Collection[str], knowledge: Knowledge) -> set[str]:
    found: set[str] = set()
    for name in names:
        own = {id for id in properties if id == name or normalized(name) in map(normalized, _names(id, knowledge))}
        if not own:
            known = ", ".join(sorted(knowledge.name(id) for id in properties)[:10])
            raise ValueError(f"No triple has the property {name!r}; there are {known}.")
        found |= own
    return found


def _names(id: str, knowledge: Knowledge) -> list[str]:
    return [*knowledge.names.get(id, {}).values(), knowledge.name(id)]


def _identities(knowledge: Knowledge) -> Iterator[Contradiction]:
    """Entities that are declared to be different and, in one step or several, the same."""
    graph = nx.Graph()
    for one, other, place in knowledge.same:
        graph.add_edge(one, other, place=place)
    for one, other, place in knowledge.different:
        if one == other or (one in graph and other in graph and nx.has_path(graph, one, other)):
            steps = [] if one == other else nx.utils.pairwise(nx.shortest_path(graph, one, other))
            places = [graph.edges[step]["place"] for step in steps]
            text = f"{knowledge.name(one)} and {knowledge.name(other)} are declared the same and different."
            yield Contradiction(text, _ordered([*places, place]))


def _denials(knowledge: Knowledge) -> Iterator[Contradiction]:
    said: dict[tuple[str, ...], dict[bool, Place]] = defaultdict(dict)
    for one in knowledge.triples:
        said[one.subject, one.property, one.object].setdefault(one.negated, one.place)
    for (subject, property, object), places in said.items():
        if len(places) == 2:
            triple_words = f"{knowledge.name(subject)}, {knowledge.name(property)}, {knowledge.name(object)}"
            yield Contradiction(f"{triple_words}: said and denied.", _ordered(places.values()))


def _several_objects(knowledge: Knowledge, declared: set[str]) -> Iterator[Contradiction]:
    """Subjects with several objects of a property that has one, by declaration or in the rest of the data.

    Literals in several languages are one object said in several.
    """
    objects: dict[str, dict[tuple[str, str], dict[str, Triple]]] = defaultdict(lambda: defaultdict(dict))
    for one in knowledge.triples:
        if not one.negated:
            objects[one.property][one.subject, one.language].setdefault(one.object, one)
    for property, subjects in objects.items():
        several = {subject: found for subject, found in subjects.items() if len(found) > 1}
        rest = len(subjects) - 1
        usual = rest >= _LEAST_SUBJECTS and (len(subjects) - len(several)) / rest >= _LEAST_SHARE
        if property not in declared and not usual:
            continue
        for (subject, _), found in several.items():
            names = ", ".join(one.object if one.is_literal else knowledge.name(one.object) for one in found.values())
            why = "which has one" if property in declared else f"of which {rest - len(several) + 1:,} others have one"
            text = f"{knowledge.name(subject)} has {len(found)} of {knowledge.name(property)!r}, {why}: {names}."
            yield Contradiction(text, _ordered(one.place for one in found.values()), property in declared)


def _circles(knowledge: Knowledge, hierarchical: set[str]) -> Iterator[Contradiction]:
    """One circle of each set of entities that lead to each other."""
    graphs: dict[str, nx.DiGraph] = defaultdict(nx.DiGraph)
    for one in knowledge.triples:
        if one.property in hierarchical and not one.is_literal and not one.negated:
            graphs[one.property].add_edge(one.subject, one.object, place=one.place)
    for property, graph in graphs.items():
        for entities in nx.strongly_connected_components(graph):
            part = graph.subgraph(entities)
            if part.number_of_edges():
                circle = nx.find_cycle(part)
                names = " → ".join(knowledge.name(end) for end in (*(edge[0] for edge in circle), circle[0][0]))
                places = [part.edges[edge[:2]]["place"] for edge in circle]
                yield Contradiction(f"a circle of {knowledge.name(property)!r}: {names}.", _ordered(places))


def _ordered(places: Collection[Place] | Iterator[Place]) -> tuple[Place, ...]:
    return tuple(sorted(set(places), key=lambda place: (place.source, place.line)))
