"""What an instance does, by its configuration: used by courier and engine, so that both mean the same. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Destination:
    """Where packets go: `key` is the configuration key that says so."""

    key: str
    hosts: tuple[str, ...]
    port: int


@dataclass(frozen=True, slots=True)
class Duties:
    """`captures`: own interfaces. `receives`: other hosts' packets. `analyses`: makes records, of both.
    `sends`: where packets go on to."""

    captures: bool
    receives: bool
    analyses: bool
    sends: tuple[Destination, ...]

    @property
    def engine(self) -> bool:
        """Whether there is anything for a capture process to do."""
        return self.captures or (self.receives and self.analyses)


def analyses(config) -> bool:
    """Who sends its packets to a central, or mirrors them and has neither a central for records nor is one, leaves the
    analysis to the receiver."""
    records = config.server_destination or config.server_bind or not config.mirror_destination
    return bool(not config.packetbuffer_sender and records)


def duties(config) -> Duties:
    sends = []
    if config.mirror_destination:
        sends.append(Destination("mirror_destination", tuple(config.mirror_destination),
                                 config.mirror_destination_port))  # fmt: skip
    if config.packetbuffer_sender:
        sends.append(Destination("server_destination", tuple(config.server_destination),
                                 config.server_destination_port))  # fmt: skip
    receives = bool(config.mirror_bind or config.server_bind)
    return Duties(bool(config.interface), receives, analyses(config), tuple(sends))


def mode(config) -> str:
    """What an instance does, in the field's words."""
    parts = ["capture"] if config.interface else []
    parts += ["central"] if config.server_bind else []
    parts += ["mirror receiver"] if config.mirror_bind else []
    parts += ["mirror source"] if config.mirror_destination else []
    parts += ["packet sender" if config.packetbuffer_sender else "client"] if config.server_destination else []
    return "+".join(parts)
