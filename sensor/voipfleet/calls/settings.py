"""What the analysis reads of the configuration."""

from dataclasses import dataclass

from voipfleet.calls.dialog import Host
from voipfleet.decode import sdp

GARBAGE = 100_000  # for gc.set_threshold: calls make many objects and no cycles, so looking for these is mostly in vain


@dataclass(frozen=True)
class AnalyserSettings:
    """Keys of the configuration that the analysis reads (seconds; `jitterbuffer` ms)."""

    sipport: tuple[int, ...] = (5060,)
    absolute_timeout: int = 14400
    rtptimeout: int = 300
    sipwithoutrtptimeout: int = 3600
    onewaytimeout: int = 15
    bye_timeout: int = 1200
    jitterbuffer: int = 100
    dtmf2db: bool = False
    number_keep_last: int | None = None  # digits of numbers that are not masked; None: nothing is masked
    deduplicate: bool = True
    deduplicate_window: float = 2.0  # ms
    natalias: tuple[tuple[Host, Host], ...] = ()  # (private, public)
    stream_records: bool = False
    checkpoints: bool = False  # open calls are written down now and then (Analyser.begun, due)
    late: int = 0  # for which evidence of an ended call may still come from other hosts; then its record comes again

    @classmethod
    def from_config(cls, config, **live) -> "AnalyserSettings":
        """`live`: those that are no keys."""
        keys = [name for name in cls.__dataclass_fields__ if name not in ("late", "checkpoints")]
        values = {name: getattr(config, name) for name in keys}
        alias = tuple((sdp.host(private), sdp.host(public)) for public, private in values["natalias"] or ())
        return cls(**{**values, "sipport": tuple(values["sipport"]), "natalias": alias}, **live)
