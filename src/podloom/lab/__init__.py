"""Door: hosts, images, and the reconciler that turns a cluster resource into running parts."""
