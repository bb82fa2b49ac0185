"""Entities, facts and links read from nodes, by rules or by models."""
