"""What a question asks, and how well texts answer it: no model, no database, no I/O."""
