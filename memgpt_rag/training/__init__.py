"""What learns: presets, confidence, adapters, and models from scratch."""
