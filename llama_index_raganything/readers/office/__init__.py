"""Office files, old and new, spreadsheets and e-books."""
