"""A Kubernetes API client: typed errors, list and watch, informers. Works against any API server.

`KubeClient` is the real body, `fake.FakeKube` the one in memory, `faulty.FaultyKube` wraps either and fails
calls; all are `KubeApi`. Used by agent, operator, kubelet, controllers and DNS.
"""

from podloom.drivers.kube.api import KubeApi, KubeError
from podloom.drivers.kube.client import KubeClient
from podloom.drivers.kube.informer import Backoff, Informer, wait_synced
from podloom.drivers.kube.view import View

__all__ = ["Backoff", "Informer", "KubeApi", "KubeClient", "KubeError", "View", "wait_synced"]
