"""Door: the embedded Kubernetes."""
