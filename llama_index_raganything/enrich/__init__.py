"""Processors that add to images, tables, equations and other elements what their text does not say."""
