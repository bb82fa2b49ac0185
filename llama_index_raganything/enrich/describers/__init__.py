"""Descriptions of images, tables, equations and recordings by models."""
