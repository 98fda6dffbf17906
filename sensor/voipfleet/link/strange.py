"""Frames for which a part has no use: a later release may send them, so they are passed over, and told."""

import logging


class Strange:
    """Of one session with `name`. `whose`: "which is not for a central"."""

    def __init__(self, log: logging.Logger, name: str, whose: str):
        self._log, self._name, self._whose = log, name, whose
        self._told: set[int] = set()

    def tell(self, kind: int) -> None:
        """Each type once: whoever sends them may send any number."""
        if kind not in self._told:
            self._told.add(kind)
            self._log.warning("%s sent a frame of type %d, %s; ignored", self._name, kind, self._whose)
