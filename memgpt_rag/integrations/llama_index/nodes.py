"""Nodes of LlamaIndex as documents of a memory, and entries of a memory as nodes."""

from __future__ import annotations

from typing import Any

from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, TextNode
from llama_index.core.vector_stores.utils import metadata_dict_to_node, node_to_metadata_dict

from memgpt_rag.integrations.documents import Document, to_document
from memgpt_rag.passage import Passage

REFERENCE = "ref_doc_id"  # the column of the document that a node is a part of


def embedded_text(node: BaseNode) -> str:
    """Return what LlamaIndex embeds of a node: its metadata and its text."""
    return str(node.get_content(metadata_mode=MetadataMode.EMBED))


def node_document(node: BaseNode) -> Document:
    """Return a node as a document whose title and text are what LlamaIndex embeds, but for a blank line between both.

    Raises:
        ValueError: a node whose text template does not end with the text.
    """
    text, embedded = str(node.get_content(metadata_mode=MetadataMode.NONE)), embedded_text(node)
    if not embedded.endswith(text.strip()):
        raise ValueError(
            f"The text template of the node {node.node_id!r} does not end with its text; give one such as '{{metadata_str}}\\n\\n{{content}}'."
        )
    title = embedded.removesuffix(text.strip()).strip()
    metadata = node_to_metadata_dict(node, remove_text=True)
    return Document(node.node_id, text, metadata, title, source=node.ref_doc_id or "")


def document_node(document: Document) -> BaseNode:
    """Return a document as the node that was put, or, where it was none, as a text with the document's metadata."""
    if "_node_content" in document.metadata:
        return metadata_dict_to_node(dict(document.metadata), text=document.text)
    return TextNode(id_=document.id, text=document.text, metadata=dict(document.metadata))


def scored_node(passage: Passage, score: float, known: dict[str, Any] | None = None) -> NodeWithScore:
    """Return an entry as a node with a score.

    Args:
        known: further metadata of the node, which neither an embedding model nor a language model is to read.
    """
    node = document_node(to_document(passage))
    if known:
        node.metadata = {**node.metadata, **known}
        node.excluded_embed_metadata_keys = [*node.excluded_embed_metadata_keys, *known]
        node.excluded_llm_metadata_keys = [*node.excluded_llm_metadata_keys, *known]
    return NodeWithScore(node=node, score=score)
