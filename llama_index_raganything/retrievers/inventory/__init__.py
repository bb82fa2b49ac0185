"""Answers to questions about whole documents: how many tables, which images, what appendices."""
