"""Where files come from and what they are: paths, folders, URLs, formats."""
