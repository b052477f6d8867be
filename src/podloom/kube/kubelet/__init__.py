"""The node runtime: turns pods bound to its node into CRI calls."""
