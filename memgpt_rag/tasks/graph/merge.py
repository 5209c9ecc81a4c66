"""Merges entities that are one: declared so by owl:sameAs, or of the same normalized name in one language."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

from memgpt_rag.tasks.graph.knowledge import Knowledge, normalized


@dataclass(frozen=True)
class Merge:
    """One entity that had two ids.

    Attributes:
        name: of the entity.
        kept, merged: the id that stays and the one that it replaces.
        declared: whether owl:sameAs says so; else their names are alike.
    """

    name: str
    kept: str
    merged: str
    declared: bool


def merge_entities(knowledge: Knowledge, *, by_name: bool = True) -> list[Merge]:
    """Merge entities in place, the later into the earlier one, and return what was merged.

    Entities with the same name stay apart where owl:differentFrom says so, or where both have types and none in common, such
    as a country and its capital. Names that files without ids share are one entity already.

    Args:
        by_name: merge by names, too, and not by owl:sameAs only.
    """
    clusters = _Clusters(knowledge)
    merges = [merge for one, other, _ in knowledge.same if (merge := clusters.join(one, other, declared=True))]
    if by_name:
        first: dict[tuple[str, str], list[str]] = {}
        for id in knowledge.entities():
            for language, name in knowledge.names.get(id, {}).items():
                alike = first.setdefault((language, normalized(name)), [])
                other = next((other for other in alike if clusters.may_join(other, id)), None)
                if other is None:
                    alike.append(id)
                elif merge := clusters.join(other, id, declared=False):
                    merges.append(merge)
    kept = {id: clusters.find(id) for id in clusters.root}
    knowledge.triples[:] = [
        replace(
            one,
            subject=kept.get(one.subject, one.subject),
            property=kept.get(one.property, one.property),
            object=one.object if one.is_literal else kept.get(one.object, one.object),
        )
        for one in knowledge.triples
    ]
    for id, root in kept.items():
        for language, name in knowledge.names.get(id, {}).items():
            knowledge.names[root].setdefault(language, name)
        knowledge.types[root] |= knowledge.types.get(id, set())
        for declared in (knowledge.functional, knowledge.hierarchical):
            if id in declared:
                declared.add(root)
    return merges


class _Clusters:
    """Disjoint sets of ids; the root of each is its first id."""

    def __init__(self, knowledge: Knowledge):
        self._knowledge = knowledge
        self._order = {id: place for place, id in enumerate(knowledge.entities())}
        self._apart = {frozenset((one, other)) for one, other, _ in knowledge.different}
        self.root: dict[str, str] = {}
        self._members: dict[str, list[str]] = {}

    def find(self, id: str) -> str:
        root = id
        while root in self.root:
            root = self.root[root]
        while id != root:  # the next time the way is short
            self.root[id], id = root, self.root[id]
        return root

    def may_join(self, one: str, other: str) -> bool:
        """Whether nothing speaks against two entities of one name being the same."""
        both = [self._members.get(root, [root]) for root in (self.find(one), self.find(other))]
        types = [set().union(*(self._knowledge.types.get(id, set()) for id in members)) for members in both]
        if types[0] and types[1] and not types[0] & types[1]:
            return False
        return not any(frozenset(pair) in self._apart for pair in product(*both))

    def join(self, one: str, other: str, *, declared: bool) -> Merge | None:
        """Make two sets one, unless they are already."""
        # An id that no triple has, such as one that owl:sameAs alone names, comes last.
        kept, merged = sorted((self.find(one), self.find(other)), key=lambda id: self._order.get(id, len(self._order)))
        if kept == merged:
            return None
        self.root[merged] = kept
        self._members.setdefault(kept, [kept]).extend(self._members.pop(merged, [merged]))
        return Merge(self._knowledge.name(kept), kept, merged, declared)
