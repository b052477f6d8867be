"""AKS's address rules: what a cluster, a network or a name may look like. Pure functions from wishes to findings."""
