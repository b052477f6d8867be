"""The one Kubernetes version this program follows.

The problem: the cloud offers a version, the API server and every node report one, and tools compare them; two that
differ look like an upgrade that stopped half-way. So all of them read it here. It has no suffix, as AKS's has none:
a suffix makes it a pre-release, which version constraints of charts and operators refuse (semver.org, item 11).
"""

from __future__ import annotations

KUBERNETES_VERSION = "1.36.2"
GIT_VERSION = f"v{KUBERNETES_VERSION}"
MAJOR, MINOR = KUBERNETES_VERSION.split(".")[:2]
