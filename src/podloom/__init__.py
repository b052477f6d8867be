"""Container networking for Kubernetes in the Azure style. See ARCHITECTURE.md for the rooms of this house."""

__version__ = "0.1.0"
