"""Door: azure-vnet and azure-vnet-ipam without an agent."""
