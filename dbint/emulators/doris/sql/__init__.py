"""What a statement says: its words, its grammar, and its translation into what DuckDB computes."""
