"""Models: the embedded default and the choice of a default when the user names none."""
