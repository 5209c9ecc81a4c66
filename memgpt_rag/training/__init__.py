"""Training: calibration of presets, confidence models, adapters, and models from scratch."""
