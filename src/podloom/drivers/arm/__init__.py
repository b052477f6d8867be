"""A client of the cloud's ARM REST API and of its change stream."""

from podloom.drivers.arm.client import TOKEN_FILE, Change, CloudClient, CloudError

__all__ = ["TOKEN_FILE", "Change", "CloudClient", "CloudError"]
