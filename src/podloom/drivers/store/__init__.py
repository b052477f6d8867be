"""SQLite stores that survive kill -9 and power loss."""
