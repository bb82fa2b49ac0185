"""Readers: files, folders, URLs and content lists become documents made of elements."""
