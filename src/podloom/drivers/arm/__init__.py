"""A client of the cloud's ARM REST API and of its change stream."""

from podloom.drivers.arm.client import Change, CloudClient, CloudError

__all__ = ["Change", "CloudClient", "CloudError"]
