"""Where a pod may go seen from the other pods: topology spread and pod (anti-)affinity.

Sources: Kubernetes "Pod Topology Spread Constraints" and "Inter-pod affinity and anti-affinity". A domain is the
value of a node label; pods being deleted do not count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from podloom.model.kube import Object
from podloom.model.kubeselector import Selector, from_label_selector, from_map
from podloom.plan.kube.nodematch import repelling_taint, wants_node

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


class Place(Protocol):
    """A node with the pods on it."""

    node: Object
    pods: list[Object]


Namespaces = Mapping[str, Mapping[str, str]]  # name -> labels


def labels_of(obj: Object) -> Mapping[str, str]:
    """metadata.labels, {} when absent."""
    labels: Mapping[str, str] = obj["metadata"].get("labels") or {}
    return labels


def _affinity_terms(pod: Object, kind: str, when: str) -> list[Object]:
    return list(((pod["spec"].get("affinity") or {}).get(kind) or {}).get(when) or ())


def has_affinity(pod: Object) -> bool:
    """Whether the pod has any pod affinity or anti-affinity."""
    affinity = pod["spec"].get("affinity") or {}
    return bool(affinity.get("podAffinity") or affinity.get("podAntiAffinity"))


def _with_label_keys(selector: Object | None, keys: Iterable[str], pod: Object) -> Selector | None:
    """matchLabelKeys add equalities with the incoming pod's own values."""
    base = from_label_selector(selector)
    labels = labels_of(pod)
    own = from_map({key: labels[key] for key in keys if key in labels})
    return None if base is None else Selector(base.requirements + own.requirements)


def _term_selects(term: Object, owner: Object, other: Object, namespaces: Namespaces) -> bool:
    """Whether an affinity term of `owner` selects `other`."""
    selector = _with_label_keys(term.get("labelSelector"), term.get("matchLabelKeys") or (), owner)
    if selector is None or not selector.matches(labels_of(other)):
        return False
    where = other["metadata"].get("namespace", "")
    listed = term.get("namespaces") or ()
    chosen = term.get("namespaceSelector")
    if where in listed:
        return True
    if chosen is not None:
        by_label = from_label_selector(chosen)
        return by_label is not None and by_label.matches(namespaces.get(where, {}))
    return not listed and where == owner["metadata"].get("namespace", "")


def _domains(term: Object, owner: Object, places: Iterable[Place], namespaces: Namespaces) -> set[str]:
    """The values of the term's topology key where a pod selected by it runs."""
    found = set()
    for place in places:
        domain = labels_of(place.node).get(term["topologyKey"])
        if domain is not None and any(_term_selects(term, owner, p, namespaces) for p in place.pods):
            found.add(domain)
    return found


class AffinityRules:
    """The required and preferred rules between an incoming pod and all pods placed; build once per pod."""

    def __init__(self, pod: Object, places: list[Place], namespaces: Namespaces) -> None:
        self.pod = pod
        self._need = []
        for term in _affinity_terms(pod, "podAffinity", REQUIRED):
            domains = _domains(term, pod, places, namespaces)
            # the first of a group that wants to be together may go anywhere
            first = not domains and _term_selects(term, pod, pod, namespaces)
            self._need.append((term["topologyKey"], domains, first))
        anti = _affinity_terms(pod, "podAntiAffinity", REQUIRED)
        self._avoid = [(t["topologyKey"], _domains(t, pod, places, namespaces)) for t in anti]
        self._refused: set[tuple[str, str]] = set()
        for place in places:
            for other in place.pods:
                for term in _affinity_terms(other, "podAntiAffinity", REQUIRED):
                    domain = labels_of(place.node).get(term["topologyKey"])
                    if domain is not None and _term_selects(term, other, pod, namespaces):
                        self._refused.add((term["topologyKey"], domain))
        self._liked: list[tuple[str, set[str], int]] = []
        for kind, sign in (("podAffinity", 1), ("podAntiAffinity", -1)):
            for wish in _affinity_terms(pod, kind, PREFERRED):
                term = wish["podAffinityTerm"]
                domains = _domains(term, pod, places, namespaces)
                self._liked.append((term["topologyKey"], domains, sign * int(wish["weight"])))

    def obstacle(self, node: Object) -> str | None:
        """Why the pod may not go to the node, in the scheduler's words."""
        labels = labels_of(node)
        if any((key, value) in self._refused for key, value in labels.items()):
            return "node(s) didn't satisfy existing pods anti-affinity rules"
        if any(key in labels and labels[key] in domains for key, domains in self._avoid):
            return "node(s) didn't match pod anti-affinity rules"
        for key, domains, first in self._need:
            if key not in labels or not (first or labels[key] in domains):
                return "node(s) didn't match pod affinity rules"
        return None

    def preference(self, node: Object) -> int:
        """The weights of preferred terms that hold for the node."""
        labels = labels_of(node)
        return sum(weight for key, domains, weight in self._liked if labels.get(key) in domains)


class SpreadRules:
    """Topology spread constraints of one incoming pod; build once per pod."""

    def __init__(self, pod: Object, places: list[Place]) -> None:
        self._hard: list[tuple[Object, dict[str, int], int]] = []
        self._soft: list[tuple[Object, dict[str, int], int]] = []
        for constraint in pod["spec"].get("topologySpreadConstraints") or ():
            keys = constraint.get("matchLabelKeys") or ()
            selector = _with_label_keys(constraint.get("labelSelector"), keys, pod)
            counts = _spread_counts(constraint, selector, pod, places)
            itself = selector is not None and selector.matches(labels_of(pod))
            rule = (constraint, counts, int(itself))
            (self._hard if constraint["whenUnsatisfiable"] == "DoNotSchedule" else self._soft).append(rule)

    def obstacle(self, node: Object) -> str | None:
        """Why the pod may not go to the node."""
        for constraint, counts, itself in self._hard:
            domain = labels_of(node).get(constraint["topologyKey"])
            if domain is None:
                return "node(s) didn't match pod topology spread constraints (missing required label)"
            least = min(counts.values(), default=0)
            if len(counts) < int(constraint.get("minDomains") or 1):
                least = 0
            if counts.get(domain, 0) + itself - least > int(constraint["maxSkew"]):
                return "node(s) didn't match pod topology spread constraints"
        return None

    def crowd(self, node: Object) -> int:
        """Matching pods in the node's domains of the soft constraints: fewer is better."""
        return sum(
            counts.get(labels_of(node).get(constraint["topologyKey"], ""), 0) for constraint, counts, _ in self._soft
        )


def _spread_counts(
    constraint: Object, selector: Selector | None, pod: Object, places: Iterable[Place]
) -> dict[str, int]:
    """Matching pods per eligible domain; nodeAffinityPolicy and nodeTaintsPolicy say which nodes count."""
    counts: dict[str, int] = {}
    namespace = pod["metadata"].get("namespace", "")
    for place in places:
        domain = labels_of(place.node).get(constraint["topologyKey"])
        if domain is None:
            continue
        if constraint.get("nodeAffinityPolicy", "Honor") == "Honor" and not wants_node(pod, place.node):
            continue
        if constraint.get("nodeTaintsPolicy", "Ignore") == "Honor" and repelling_taint(pod, place.node):
            continue
        counts[domain] = counts.get(domain, 0) + sum(
            1
            for other in place.pods
            if selector is not None
            and other["metadata"].get("namespace", "") == namespace
            and not other["metadata"].get("deletionTimestamp")
            and selector.matches(labels_of(other))
        )
    return counts
