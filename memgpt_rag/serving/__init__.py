"""Memories served over HTTP, in the form of the OpenAI API: chat, search, embeddings, files and vector stores."""
