"""Text, markup, mail and notebooks."""
