"""Image, sound and film files."""
