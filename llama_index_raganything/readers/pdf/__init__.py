"""PDF: the page's own text, joined with structure, crops and OCR."""
