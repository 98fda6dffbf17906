"""The engine's way for packets that are analysed elsewhere, too: packed, and handed to the courier."""

from voipfleet import pipe
from voipfleet.capture.block import Block
from voipfleet.relay import codec

HEARD_EVERY = 500_000_000  # ns


class Packer:
    """Packs by `method` where a block shrinks to `ratio` percent or less; `sender` takes it to the courier."""

    def __init__(self, sender: pipe.PipeSender, method: str, ratio: int):
        self._sender, self._method, self._ratio = sender, method, ratio
        self._dropped = 0  # of what the sender had no room for, those that a block has told of
        self._heard = 0
        self.counters = {"forward_packets_total": 0, "forward_raw_bytes_total": 0, "forward_packed_bytes_total": 0}

    def take(self, block: Block) -> None:
        """One block as it was captured."""
        missing, self._dropped = self._sender.packets_dropped - self._dropped, self._sender.packets_dropped
        drops, block.drops = block.drops, block.drops + missing
        for piece in codec.pack(block, method=self._method, ratio=self._ratio):
            self.counters["forward_packets_total"] += piece.packets
            self.counters["forward_raw_bytes_total"] += piece.raw
            self.counters["forward_packed_bytes_total"] += len(piece.body)
            self._sender.send_packets(piece.body, piece.packets)
        block.drops = drops

    def heard(self, clock: int) -> None:
        """Everything captured before `clock` (ns) has been taken."""
        if not 0 <= clock - self._heard < HEARD_EVERY:
            self._heard = clock
            self._sender.send_packets(clock.to_bytes(8, "big"), 0, pipe.HEARD)
