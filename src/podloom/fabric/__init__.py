"""Door: realises the cloud's virtual networks as namespaces, routers and addresses."""
