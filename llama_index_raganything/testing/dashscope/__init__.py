"""A DashScope service on loopback: ``server.py`` over its routes, checks, replies and faults."""
