"""Names for the pods a controller creates, such that a repeated create cannot make a second pod.

The problem: the answer to a create may be lost after the pod was made. The server's generateName would then make
another one at the retry. So the name is chosen here; after an unknown outcome the same name is tried again, and
"already exists" means it was made. A new process lists first, so it needs no memory of its predecessor's names.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from podloom.model.errors import PodloomError
from podloom.plan.kube.pods import digest


class PodNames:
    """Names `prefix + five letters`, unique in this process's life."""

    def __init__(self) -> None:
        self._nonce = secrets.token_hex(8)
        self._count = 0
        self._unsure: dict[str, list[str]] = {}

    @contextmanager
    def one(self, owner_uid: str, prefix: str) -> Iterator[str]:
        """A name to create under; given out again if the create failed.

        After an unknown outcome that is what keeps it from being made twice; after a refusal it keeps the refusal's
        words, and so the owner's status, the same until something changes.
        """
        waiting = self._unsure.pop(owner_uid, [])
        if waiting:
            name = waiting.pop()
            if waiting:
                self._unsure[owner_uid] = waiting
        else:
            self._count += 1
            name = prefix + digest([self._nonce, owner_uid, self._count], 5)
        try:
            yield name
        except PodloomError:
            self._unsure.setdefault(owner_uid, []).append(name)
            raise
