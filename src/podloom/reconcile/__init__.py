"""One engine: read, diff, apply, status. One small file per target."""
