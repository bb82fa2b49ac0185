"""What several readers use: results, assets, OCR, layout, encodings, HTML tables."""
