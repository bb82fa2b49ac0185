"""From documents to nodes: sections, chunks, atomic units and whole pages."""
