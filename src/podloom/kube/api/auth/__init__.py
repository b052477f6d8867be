"""Who asks, and whether they may: certificates, tokens, impersonation, RBAC.

Belongs here: authentication of a request and authorization against stored RBAC objects. Not here: the objects every
cluster starts with and review kinds (podloom.kube.api.kinds). Only the API server imports this package.
"""
