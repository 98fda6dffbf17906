"""R factor and MOS by ITU-T G.107 (default values), Ie and Bpl of the codec by G.113 appendix I."""

# codec -> (Ie, Bpl). G722 is rated on the narrowband scale with the robustness of PCM.
CODECS = {"PCMU": (0, 25.1), "PCMA": (0, 25.1), "G722": (0, 25.1), "G729": (11, 19.0), "GSM": (26, 43.0),
          "ILBC": (11, 32.0)}  # fmt: skip


def burst_ratio(lost: int, expected: int, bursts: list[int]) -> float:
    """Mean length of a gap over the mean length under random loss; at least 1."""
    gaps = sum(bursts)
    if not gaps or lost >= expected:
        return 1.0
    return max(1.0, lost / gaps * (1 - lost / expected))


def quality(codec: str, expected: int, lost: int, bursts: list[int], delay_ms: float = 0.0):
    """(R, MOS) for `lost` of `expected` packets; (None, None) for a codec without published Ie and Bpl."""
    known = CODECS.get(codec.upper())
    if known is None or expected <= 0:
        return None, None
    ie, bpl = known
    loss = 100 * min(lost, expected) / expected
    effective = ie + (95 - ie) * loss / (loss / burst_ratio(lost, expected, bursts) + bpl)
    delay = 0.024 * delay_ms + (0.11 * (delay_ms - 177.3) if delay_ms > 177.3 else 0.0)
    r = max(0.0, min(100.0, 93.2 - delay - effective))
    mos = 1 + 0.035 * r + r * (r - 60) * (100 - r) * 7e-6
    return round(r, 2), round(max(1.0, min(4.5, mos)), 2)
