"""Names of cloud resources, as ARM spells them.

The problem: one resource has many spellings, because ARM compares identifiers without regard to case yet shows
them as first written, and a type may be nested (virtualNetworks/subnets). So an identifier is parsed once into a
`ResourceId`; `key` is what to compare and store by, `str()` what to show.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from podloom.model.errors import Rejected

RESOURCE_GROUPS = "Microsoft.Resources/resourceGroups"
VIRTUAL_NETWORKS = "Microsoft.Network/virtualNetworks"
SUBNETS = "Microsoft.Network/virtualNetworks/subnets"
NETWORK_INTERFACES = "Microsoft.Network/networkInterfaces"
PUBLIC_ADDRESSES = "Microsoft.Network/publicIPAddresses"
MANAGED_CLUSTERS = "Microsoft.ContainerService/managedClusters"
AGENT_POOLS = "Microsoft.ContainerService/managedClusters/agentPools"
ROUTING_DOMAINS = "Podloom.Network/routingDomains"
DOMAIN_ROUTES = "Podloom.Network/routingDomains/routes"

# The cloud spells these as Azure does, whatever case the path of a request has.
KNOWN_TYPES = (
    RESOURCE_GROUPS,
    VIRTUAL_NETWORKS,
    SUBNETS,
    NETWORK_INTERFACES,
    PUBLIC_ADDRESSES,
    MANAGED_CLUSTERS,
    AGENT_POOLS,
    ROUTING_DOMAINS,
    DOMAIN_ROUTES,
)
_SPELLING = {known.lower(): known for known in KNOWN_TYPES}


@dataclass(frozen=True)
class ResourceId:
    """One resource's identity: subscription, group, type such as Microsoft.Network/virtualNetworks/subnets, names.

    A resource group itself has type RESOURCE_GROUPS and no names. `names` has one entry per type segment.
    """

    subscription: str
    group: str
    type: str = RESOURCE_GROUPS
    names: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> ResourceId:
        """The identity `text` spells; raises Rejected (code InvalidResourceId by target) when it is not one."""
        parts = text.strip("/").split("/")
        lower = [part.lower() for part in parts]
        if len(parts) < 4 or lower[0] != "subscriptions" or lower[2] != "resourcegroups" or not all(parts):
            raise _malformed(text)
        if len(parts) == 4:
            return cls(parts[1], parts[3])
        rest = parts[6:]
        if lower[4] != "providers" or len(rest) < 2 or len(rest) % 2:
            raise _malformed(text)
        kind = "/".join([parts[5], *rest[0::2]])
        return cls(parts[1], parts[3], _SPELLING.get(kind.lower(), kind), tuple(rest[1::2]))

    def __str__(self) -> str:
        text = f"/subscriptions/{self.subscription}/resourceGroups/{self.group}"
        if not self.names:
            return text
        provider, *kinds = self.type.split("/")
        pairs = "".join(f"/{kind}/{name}" for kind, name in zip(kinds, self.names, strict=True))
        return f"{text}/providers/{provider}{pairs}"

    @property
    def key(self) -> str:
        """What to compare by: the identity in lower case."""
        return str(self).lower()

    @property
    def name(self) -> str:
        return self.names[-1] if self.names else self.group

    @property
    def parent(self) -> ResourceId:
        """The resource that contains this one: the outer type, or the resource group."""
        if len(self.names) > 1:
            return replace(self, type=self.type.rsplit("/", 1)[0], names=self.names[:-1])
        return ResourceId(self.subscription, self.group)

    @property
    def group_id(self) -> ResourceId:
        return ResourceId(self.subscription, self.group)

    def child(self, kind: str, name: str) -> ResourceId:
        """The nested resource `kind`/`name` of this one, e.g. child("subnets", "aks-subnet")."""
        nested = f"{self.type}/{kind}"
        return replace(self, type=_SPELLING.get(nested.lower(), nested), names=(*self.names, name))

    def within(self, type_: str, name: str) -> ResourceId:
        """A resource of `type_` in this one's resource group."""
        return ResourceId(self.subscription, self.group, _SPELLING.get(type_.lower(), type_), (name,))


def _malformed(text: str) -> Rejected:
    return Rejected(
        f"read the resource identifier '{text}'",
        "it does not have the form /subscriptions/{id}/resourceGroups/{name}/providers/{namespace}/{type}/{name}",
        "give the whole identifier as `show` prints it",
        target="InvalidResourceId",
    )
