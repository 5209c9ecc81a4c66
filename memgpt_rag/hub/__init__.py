"""Third-party models: their names, their folders, and safe loading."""
