"""Door: the cluster controller that gives each node its pod range and programs the cloud's routing domain."""
