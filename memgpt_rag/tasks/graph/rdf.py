"""What the statements of RDF mean: labels, types and declarations of OWL become what `Knowledge` knows of entities; all others are triples."""

from __future__ import annotations

from memgpt_rag.errors import SourceError
from memgpt_rag.tasks.graph.knowledge import Knowledge, Place, Triple, require_short
from memgpt_rag.tasks.graph.turtle import Statement, Text, read_statements

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_RDFS = "http://www.w3.org/2000/01/rdf-schema#"
_OWL = "http://www.w3.org/2002/07/owl#"
_LABELS = {_RDFS + "label", "http://www.w3.org/2004/02/skos/core#prefLabel"}
TYPE, SUBCLASS = _RDF + "type", _RDFS + "subClassOf"
_FACTS_OF_RDFS = {SUBCLASS, _RDFS + "comment", _RDFS + "seeAlso"}  # all else of RDFS and OWL describes properties
_ASSERTION = {_OWL + "sourceIndividual": "subject", _OWL + "assertionProperty": "property",
              _OWL + "targetIndividual": "object", _OWL + "targetValue": "object"}  # fmt: skip


def read_rdf(text: str, source: str, knowledge: Knowledge) -> None:
    """Add the statements of a Turtle or N-Triples text to what is known.

    Args:
        source: name of the file, for places and errors.

    Raises:
        SourceError: broken syntax, an import of another file, a node that nothing names, or a literal that is too long.
        MissingPackageError: rdflib is not installed.
    """
    statements = list(read_statements(text, source))
    assertions: dict[str, dict[str, Statement]] = {}
    for one in statements:
        if one.property in _ASSERTION:
            assertions.setdefault(one.subject, {})[_ASSERTION[one.property]] = one
        elif one.property in _LABELS:
            knowledge.declarations += 1
            _add_label(one, knowledge)
    for one in statements:
        if one.property not in _LABELS and one.subject not in assertions and not _declares(one, knowledge):
            knowledge.add(_triple(one.subject, one.property, one.object, one.place, knowledge))
    for node, parts in assertions.items():
        place = next(iter(parts.values())).place
        if parts.keys() != {"subject", "property", "object"}:
            raise SourceError(f"{place}: the negative assertion {node} lacks a subject, a property or an object.")
        ends = [parts[name].object for name in ("subject", "property")]
        if any(isinstance(end, Text) for end in ends):
            raise SourceError(f"{place}: a negative assertion has a literal where an entity is expected.")
        knowledge.add(_triple(str(ends[0]), str(ends[1]), parts["object"].object, place, knowledge, negated=True))


def _add_label(one: Statement, knowledge: Knowledge) -> None:
    if not isinstance(one.object, Text) or not one.object.value.strip():
        raise SourceError(f"{one.place}: the label of {one.subject} is no text; give it a name in quotes.")
    require_short(one.object.value, one.place)
    language = one.object.language.lower().partition("-")[0]
    knowledge.names[one.subject].setdefault(language, " ".join(one.object.value.split()))


def _declares(one: Statement, knowledge: Knowledge) -> bool:
    """Note what a statement declares of entities and properties; False of a triple."""
    object = "" if isinstance(one.object, Text) else one.object
    if one.property == _OWL + "imports":
        raise SourceError(
            f"{one.place}: imports {object}; nothing is fetched. Download that file, name it beside this one and remove the line."
        )
    if one.property in (_OWL + "sameAs", _OWL + "differentFrom") and not object:
        raise SourceError(f"{one.place}: a literal where an entity is expected; name one by its IRI.")
    if one.property == _OWL + "sameAs":
        knowledge.same.append((one.subject, object, one.place))
    elif one.property == _OWL + "differentFrom":
        knowledge.different.append((one.subject, object, one.place))
    elif one.property == TYPE and object == _OWL + "FunctionalProperty":
        knowledge.functional.add(one.subject)
    elif one.property == TYPE and object == _OWL + "TransitiveProperty":
        knowledge.hierarchical.add(one.subject)
    elif one.property == TYPE and not object.startswith((_OWL, _RDFS, _RDF)):
        knowledge.types[one.subject].add(object)
        return False
    elif one.property != TYPE and (one.property in _FACTS_OF_RDFS or not one.property.startswith((_OWL, _RDFS))):
        return False
    knowledge.declarations += 1
    return True


def _triple(
    subject: str, property: str, object: str | Text, place: Place, knowledge: Knowledge, negated: bool = False
) -> Triple:
    for node in (subject, property, object):
        if not isinstance(node, Text) and node.startswith("_:") and node not in knowledge.names:
            raise SourceError(
                f"{place}: a node without an IRI and without rdfs:label, which nothing names; give it one."
            )
    if isinstance(object, Text):
        if not object.value.strip():
            raise SourceError(f"{place}: an empty literal; write a text between the quotes, or remove the triple.")
        language = object.language.lower().partition("-")[0]
        return Triple(subject, property, object.value, place, True, language, negated)
    return Triple(subject, property, object, place, negated=negated)
