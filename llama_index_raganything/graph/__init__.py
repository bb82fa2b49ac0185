"""Entities and facts read from nodes without a model, and the walk from node to node through them."""
