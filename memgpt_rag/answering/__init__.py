"""From entries to an answer: states, generation, citations, confidence."""
