"""The built-in kinds: which there are, and what is special about each.

Belongs here: the table of built-in resources (types), and for each kind its defaults, validation, admission,
printed columns and field selectors, service address allocation, the objects every cluster starts with, reviews
and the pod and scale subresources. Not here: verbs, storage, watch, authorization (podloom.kube.api), schemas,
patches and custom resources (podloom.kube.api.schema). The API server imports this package, nobody else.
"""

from podloom.kube.api.kinds.bootstrap import bootstrap_objects
from podloom.kube.api.kinds.registry import kind_for
from podloom.kube.api.kinds.types import TYPES

__all__ = ["TYPES", "bootstrap_objects", "kind_for"]
