"""Processors that add to the nodes of figures, tables, equations and other elements what their text does not say."""
