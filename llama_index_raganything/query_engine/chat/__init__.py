"""Conversations whose answers cite."""
