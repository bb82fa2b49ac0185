"""The walk through the graph: links, their weights, and the beam of linked nodes."""
