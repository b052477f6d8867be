"""Door: the node daemon that answers the plugin and keeps the node's network as planned."""
