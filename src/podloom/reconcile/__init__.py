"""One engine: read, diff, apply, status. One small file per target.

`reconcile(rows, targets, owner=None)` makes the world hold the rows; `difference` says what it would change;
`kernel_targets(kernel)` are the targets of everything in the kernel; `runner.Loop` runs a reconciliation when
events marked it dirty, at a bounded pace, and as a periodic resync.
"""

from podloom.reconcile.engine import Change, Diff, Report, Scope, Target, diff, difference, reconcile
from podloom.reconcile.kernel import kernel_targets

__all__ = ["Change", "Diff", "Report", "Scope", "Target", "diff", "difference", "kernel_targets", "reconcile"]
