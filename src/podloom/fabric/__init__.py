"""Door: realises the cloud's virtual networks as namespaces, routers and addresses.

`python -m podloom.fabric` follows the cloud's change stream, lets `plan.fabric` turn resources into rows, has the
reconcile engine make the kernel hold them, answers DNS inside each network, and reports what became of each
resource. `teardown` removes everything of one lab. The fabric keeps no state that the world does not hold.
"""
