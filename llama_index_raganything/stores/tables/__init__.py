"""Tables as DuckDB relations with provenance, and SQL over them in a process of its own."""
