"""Knowledge graphs as memories: triples become entries, and questions are answered by following entities."""
