"""Resource providers: the rules of each type. They store wishes and touch nothing but the store."""

from podloom.cloud.providers.clusters import ManagedClusters
from podloom.cloud.providers.domains import DomainRoutes, RoutingDomains
from podloom.cloud.providers.groups import ResourceGroups
from podloom.cloud.providers.interfaces import NetworkInterfaces
from podloom.cloud.providers.networks import VirtualNetworks
from podloom.cloud.providers.publics import PublicAddresses

ALL = (
    ResourceGroups,
    VirtualNetworks,
    NetworkInterfaces,
    PublicAddresses,
    RoutingDomains,
    DomainRoutes,
    ManagedClusters,
)
