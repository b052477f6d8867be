"""Door: connectivity, read-only clients of the others."""
