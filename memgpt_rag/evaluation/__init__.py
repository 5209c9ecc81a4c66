"""How well a retriever finds and how well a memory answers, measured on questions whose right documents are known."""
