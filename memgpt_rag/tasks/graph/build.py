"""Builds a memory of triples: an entry for each, in words, with subject, property and object as metadata."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from memgpt_rag.choices import ColumnType
from memgpt_rag.io.printable import counted
from memgpt_rag.memory import Memory, add_lexical_index
from memgpt_rag.memory.memory import PassageEncoder
from memgpt_rag.passage import Passage
from memgpt_rag.tasks.graph.check import find_contradictions
from memgpt_rag.tasks.graph.knowledge import Knowledge, shown
from memgpt_rag.tasks.graph.merge import Merge, merge_entities
from memgpt_rag.tasks.graph.wording import worded

# Names as a reader sees them, and ids, by which entities are followed; a literal has no id.
COLUMNS: dict[str, ColumnType] = {
    "subject": "string",
    "property": "string",
    "object": "string",
    "subject_id": "string",
    "property_id": "string",
    "object_id": "string",
    "language": "string",
    "negated": "boolean",
}


@dataclass(frozen=True)
class GraphReport:
    """What a memory of triples was made of.

    Attributes:
        triples, entries, entities: how many there are; a triple is an entry in each of its languages.
        repeated: number of triples that stand in the files more than once, and are an entry once.
        merges: entities that were merged.
        unnamed: entities and properties without a label, named by the end of their IRI.
        declarations: statements that describe names and properties, and are no entries.
        contradictions: how many `find_contradictions` found.
    """

    triples: int
    entries: int
    entities: int
    repeated: int
    merges: list[Merge] = field(default_factory=list)
    unnamed: list[str] = field(default_factory=list)
    declarations: int = 0
    contradictions: int = 0

    def lines(self) -> Iterator[str]:
        """Yield the report in sentences."""
        yield (
            f"{counted(self.entries, 'entry', 'entries')} of {counted(self.triples, 'triple')} "
            f"about {counted(self.entities, 'entity', 'entities')}."
        )
        for declared, why in ((True, "by owl:sameAs"), (False, "by name")):
            if names := [one.name for one in self.merges if one.declared is declared]:
                yield f"Merged {why}: {shown(names)}."
        if self.repeated:
            yield f"{counted(self.repeated, 'triple')} repeated, an entry once."
        if self.declarations:
            yield f"{counted(self.declarations, 'statement')} of names and properties, no entries of their own."
        if self.unnamed:
            yield f"{len(self.unnamed):,} without a label, named by the end of the IRI: {shown(self.unnamed)}."
        if self.contradictions:
            yield f"{counted(self.contradictions, 'contradiction')}; list them with: memgpt-rag graph check"


def build_graph_memory(
    knowledge: Knowledge,
    folder: str | Path,
    encoder: PassageEncoder,
    *,
    merge_by_name: bool = True,
    replace: bool = False,
) -> GraphReport:
    """Merge the entities of triples and create the memory of them, with a lexical index.

    Args:
        merge_by_name: merge entities whose names are alike, and not only those that owl:sameAs declares.
        replace: start from nothing where the folder holds a memory.

    Raises:
        MemoryFormatError: the folder holds something else, or a memory that is not to be replaced.
    """
    contradictions = len(find_contradictions(knowledge))
    merges = merge_entities(knowledge, by_name=merge_by_name)
    passages = list(graph_passages(knowledge))
    memory = Memory.create(folder, passages, encoder, metadata=COLUMNS, replace=replace)
    add_lexical_index(memory)
    entities = knowledge.entities()
    properties = dict.fromkeys(one.property for one in knowledge.triples)
    distinct = {(one.subject, one.property, one.object, one.language, one.negated) for one in knowledge.triples}
    return GraphReport(
        len(distinct),
        len(passages),
        len(entities),
        len(knowledge.triples) - len(distinct),
        merges,
        [knowledge.name(id) for id in dict.fromkeys((*entities, *properties)) if not knowledge.names.get(id)],
        knowledge.declarations,
        contradictions,
    )


def graph_passages(knowledge: Knowledge) -> Iterator[Passage]:
    """Yield the passages of triples in their order, each triple once in each of its languages."""
    known: set[str] = set()
    for one in knowledge.triples:
        for said in worded(one, knowledge):
            parts = (one.subject, one.property, one.object, said.language, str(one.is_literal), str(one.negated))
            digest = hashlib.sha256("\x00".join(parts).encode()).hexdigest()[:16]
            if digest in known:
                continue
            known.add(digest)
            metadata = {
                "subject": said.subject,
                "property": said.property,
                "object": said.object,
                "subject_id": one.subject,
                "property_id": one.property,
                "object_id": None if one.is_literal else one.object,
                "language": said.language,
                "negated": one.negated,
            }
            line = one.place.line
            yield Passage(
                f"triple#{digest}", said.text, "", one.place.source, "", "line", line, line, 0, len(said.text), metadata
            )
