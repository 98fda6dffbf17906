"""What keeping packets costs the engine: CPU time of the analysis without, with headers of RTP, and with whole RTP.

    python benchmarks/keeping.py [--calls 1000] [--seconds 12] [--rounds 3]

The capture is made by traffic.py and read before the clock starts; secrets are masked, segments are written and synced
to a folder of the run's own. User and system time of this process, the writing thread included; the three take turns,
and the median counts.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from traffic import write
from voipfleet.calls.analyser import Analyser, AnalyserSettings
from voipfleet.calls.keeping import Keeper
from voipfleet.capture.block import Block
from voipfleet.capture.pcapfile import read_blocks
from voipfleet.masking import secrets
from voipfleet.packetstore.writer import PacketStore, StoreSettings

MODES = ("no", "header", "yes")


def analysed(blocks: list[Block], mode: str, folder: Path) -> float:
    """CPU seconds; `mode` is savertp, with "no" nothing at all is kept."""
    keeper = store = None
    if mode != "no":
        store = PacketStore(StoreSettings(folder=folder, savertp=mode), verdict=lambda keys: keeper.verdict(keys))
        keeper = Keeper(store, "s", savesip=True, savertp=mode, savertcp=True, secrets=secrets.spans, hide_digits=True,
                        all_rtp=False)  # fmt: skip
    analyser, before = Analyser(AnalyserSettings(), sensor="s", keep=keeper), time.process_time()
    for block in blocks:
        analyser.feed(block)
        if store:
            store.tick()
    analyser.finish()
    if store:
        store.close(time.monotonic() + 60)
        assert store.counters["pool_stored_packets_total"] == store.counters["pool_given_packets_total"]
    return time.process_time() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="vf-keeping-") as folder:
        capture = Path(folder) / "calls.pcap"
        write(capture, args.calls, args.seconds, False)
        blocks = list(read_blocks(str(capture)))
        packets = sum(map(len, blocks))
        spent: dict[str, list[float]] = {mode: [] for mode in MODES}
        for number in range(args.rounds):
            for mode in MODES:
                spent[mode].append(analysed(blocks, mode, Path(folder) / f"{mode}{number}"))
    costs = {mode: statistics.median(seconds) / packets * 1e6 for mode, seconds in spent.items()}
    for mode, cost in costs.items():
        print(f"keeping: savertp = {mode}: {cost:.2f} us of CPU a packet, {cost / costs['no']:.2f} times the analysis"
              f" alone ({packets:,} packets)")  # fmt: skip


if __name__ == "__main__":
    main()
