"""Writes docs/faults.md from docs/faults.json, which the fault tests wrote, and prints how the rows went.

PYTHONPATH=tests python -m faults.report           # the page anew, and the summary
PYTHONPATH=tests python -m faults.report --check   # exit status 1 where a row failed
"""

import argparse
import json
import re
import sys
from pathlib import Path

from faults.rows import CANNOT, ELSEWHERE, ROWS

NOTE = "note"  # in the results: where they are not those of one run of `make soak`
DOCS = Path(__file__).parents[2] / "docs"
HEAD = """# Faults: what was done to it, and what was seen

What the tests in `tests/faults` saw on one Linux machine of two cores; `make soak` writes it anew. The tests of a
row are named `test_rowNN_...`. After nearly all of them the same is checked: **created = rows + gaps**, no record
and no call twice, the counters balance, nobody's log has a traceback (rows 7, 8 and 10 count rows and gaps against
the calls that were placed; rows 30 and 32 look for the good calls among what strangers made). Faults are made by a
TCP proxy of the tests' own (`tests/support/chaos.py`), nft, signals, strace, small file systems and libfaketime.
Records without packets come from the daemon's own outbox and uplink in the test's process, so that hundreds a
second cost little.

"""


def page(results: dict[str, dict]) -> str:
    """docs/faults.md."""
    out = [HEAD]
    if note := results.get(NOTE):
        out.append(f"**{note}**\n\n")
    results = {name: entry for name, entry in results.items() if name != NOTE}
    for row, (fault, expected) in ROWS.items():
        out.append(f"## {row}. {fault}\n\nExpected: {expected}.\n\n")
        found = [(name, entry) for name, entry in results.items() if entry["row"] == row]
        if found:
            out.append("| injected | seen |\n|---|---|\n")
            out += [f"| {_cell(entry.get('injected', name))} | {_cell(_seen(entry))} |\n" for name, entry in found]
            out.append("\n")
        if row in ELSEWHERE:
            out.append(f"{_sentence('' if not found else 'More: ', ELSEWHERE[row])}\n\n")
        if row in CANNOT:
            out.append(f"**Not run:** {CANNOT[row]}.\n\n")
    return "".join(out).rstrip() + "\n"


def table(results: dict[str, dict]) -> list[str]:
    """One line a row, for the terminal."""
    lines, results = [], {name: entry for name, entry in results.items() if name != NOTE}
    for row, (fault, _) in ROWS.items():
        outcomes = [entry["outcome"] for entry in results.values() if entry["row"] == row]
        counts = ", ".join(f"{outcomes.count(each)} {each}" for each in dict.fromkeys(outcomes))
        said = counts or ("elsewhere" if row in ELSEWHERE else "not run")
        lines.append(f"{row:>3}  {fault[:64]:<64}  {said}")
    return lines


def _seen(entry: dict) -> str:
    """What the test told, or why it could not."""
    if entry["outcome"] == "passed":
        return entry.get("seen", "as expected")
    return f"**{entry['outcome']}**" + (f": {entry['why']}" if entry.get("why") else "")


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")


def _sentence(before: str, text: str) -> str:
    return (before + text if before else text[0].upper() + text[1:]) + "."


def main() -> int:
    parser = argparse.ArgumentParser(description="docs/faults.md from what the fault tests saw.")
    parser.add_argument("--check", action="store_true", help="exit status 1 where a test of a row failed")
    args = parser.parse_args()
    results = json.loads((DOCS / "faults.json").read_text("utf-8"))
    (DOCS / "faults.md").write_text(page(results), "utf-8")
    print("\n".join(table(results)))
    return int(args.check and any(entry["outcome"] == "failed" for name, entry in results.items() if name != NOTE))


if __name__ == "__main__":
    sys.exit(main())
