"""Reports and the live board: counting, figures, texts in both languages, CSV, charts (L1, pure)."""
