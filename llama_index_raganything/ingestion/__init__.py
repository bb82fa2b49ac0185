"""Ingestion: one document is one commit, recorded in the ledger."""
