"""A client of the cloud's ARM REST API and of its change stream."""

from podloom.drivers.arm.api import Change, CloudApi, CloudError
from podloom.drivers.arm.client import TOKEN_FILE, CloudClient

__all__ = ["TOKEN_FILE", "Change", "CloudApi", "CloudClient", "CloudError"]
