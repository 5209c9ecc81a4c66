"""Training: of a model from scratch on plain text, by the Trainer of transformers."""
