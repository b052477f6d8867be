"""A client of the cloud's ARM REST API and of its change stream."""
