"""Models: the embedded default, models by name, and which one is used if the caller passes none."""
