"""Models that others made: which names there are, where their folders lie, and how they are loaded with care."""
