"""Decisions of the embedded Kubernetes, pure: scheduling, rollouts, endpoints, DNS answers."""
