"""The API server: Kubernetes API conventions over SQLite.

Belongs here: the generic machinery. A request goes server (who, may they, what is it about) -> a verb (read, watch,
create, update, delete, subresources, proxy) -> state (decided, then durable, then visible) -> store (SQLite). What
is special about a kind is in kinds/, what follows from schemas is in schema/, who may do what is in auth/; they meet in
contract.py and nowhere else. Not here: controllers, scheduling, anything about nodes' insides. It is started as
`python -m podloom.kube.api`; nobody imports it but its tests.
"""
