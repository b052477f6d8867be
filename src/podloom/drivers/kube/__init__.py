"""A Kubernetes API client: typed errors, list and watch, informers. Works against any API server."""
