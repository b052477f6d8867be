"""The container runtime interface (CRI) of containerd."""
