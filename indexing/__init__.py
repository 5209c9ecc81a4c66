"""The index-building job: documents become a memory. Verbs live here; the nouns are in memgpt_rag."""
