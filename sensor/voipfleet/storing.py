"""The packet store of an engine, and who tells it what to keep, as the configuration asks for."""

from collections.abc import Callable

from voipfleet.calls.keeping import Keeper, Spans
from voipfleet.masking import numbers, reports, secrets
from voipfleet.packetstore.writer import PacketStore, StoreSettings


def open_store(config, name: str, *, all_rtp: bool) -> tuple[PacketStore | None, Keeper | None]:
    """Both None where nothing is kept. `all_rtp`: RTP that no SDP names here may be named elsewhere."""
    settings = StoreSettings.from_config(config)
    if not settings.saves:
        return None, None
    keeper: Keeper | None = None
    store = PacketStore(settings, verdict=lambda keys: keeper.verdict(keys))
    keeper = Keeper(store, name, savesip=settings.savesip, savertp=settings.savertp, savertcp=settings.savertcp,
                    secrets=_spans(config), names=_names(config), hide_digits=config.pcap_mask,
                    all_rtp=all_rtp)  # fmt: skip
    return store, keeper


def _spans(config) -> Callable[[bytes], Spans] | None:
    """What is masked in SIP messages that are kept."""
    keep, hide = config.number_keep_last, config.pcap_mask
    if keep is None and not hide:
        return None

    def spans(message: bytes) -> Spans:
        found = list(secrets.spans(message)) if hide else []
        return found + list(numbers.spans(message, keep)) if keep is not None else found

    return spans


def _names(config) -> Callable[[bytes], Spans] | None:
    """What is masked in RTCP that is kept."""
    keep = config.number_keep_last
    return None if keep is None else lambda packet: reports.spans(packet, keep)
