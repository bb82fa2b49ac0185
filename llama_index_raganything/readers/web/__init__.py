"""HTML and web archives; nothing is fetched."""
