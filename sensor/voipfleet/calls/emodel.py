"""R factor and MOS by the E-model for narrowband, ITU-T G.107 (2015), as far as one capture point can know its inputs.

Ie and Bpl are the pairs of ITU-T G.113 appendix I, table I.4 (random loss): G.711 with packets of 10 ms and the
concealment of G.711 appendix I; G.729A with VAD; G.723.1 at 6.3 kbit/s with VAD. They were checked against public
implementations that cite G.113 for them; where no such source gave both values, the codec has none here and gets
neither R nor MOS. Wideband codecs belong on the scale of G.107.1 (R up to 129) and never on this one.
"""

CODECS = {"PCMU": (0, 25.1), "PCMA": (0, 25.1), "G729": (11, 19.0), "G723": (15, 16.1)}  # SDP name -> (Ie, Bpl)
BEST = 93.2  # R where every parameter of G.107 has its default value


def burst_ratio(lost: int, expected: int, bursts: list[int]) -> float:
    """BurstR (G.107 clause 3): mean length of a gap over that of the same loss at random, 1 / (1 - loss); at least 1.

    `bursts`: gaps of 1, 2, ... packets; only their number counts here. Above one half, loss at random makes gaps so
    long that the ratio would fall while loss rises: one half is taken instead.
    """
    gaps = sum(bursts)
    if not gaps or expected <= 0:
        return 1.0
    return max(1.0, lost / gaps * (1 - min(lost / expected, 0.5)))


def mos(r: float) -> float:
    """MOS of an R on the narrowband scale (G.107 annex B): 1 to 4.5."""
    r = max(0.0, min(100.0, r))
    return max(1.0, 1 + 0.035 * r + r * (r - 60) * (100 - r) * 7e-6)


def quality(codec: str, expected: int, lost: int, bursts: list[int], discarded: int = 0):
    """(R, MOS) of a stream; (None, None) for a codec without verified Ie and Bpl, and for no packets.

    `lost` packets in `bursts` gaps, and `discarded` packets that a de-jitter buffer would have dropped, both of
    `expected`. What came too late has no gaps here: burstiness is that of the loss alone. Id = 0, A = 0.
    """
    known = CODECS.get(codec.upper())
    if known is None or expected <= 0:
        return None, None
    ie, bpl = known
    loss = 100 * min(lost + discarded, expected) / expected
    effective = ie + (95 - ie) * loss / (loss / burst_ratio(lost, expected, bursts) + bpl)
    r = max(0.0, BEST - effective)
    return round(r, 2), round(mos(r), 2)
