"""The API server: generic Kubernetes API conventions over SQLite."""
