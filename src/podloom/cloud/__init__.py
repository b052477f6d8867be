"""Door: the local Azure as state: ARM REST API, resource providers, SQLite. Starts nothing, touches no kernel."""
