"""docs/topologies.md lists exactly the rules that there are."""

import re
from pathlib import Path

from voipfleet.topology import plan, rules

assert plan  # importing it registers all rules
# Found while an inventory is read, by the filter plugin, and by the command.
ELSEWHERE = {"T00", "T01", "T02", "T03", "T23", "N04"}


def test_every_rule_is_in_the_docs():
    page = (Path(__file__).parents[2] / "docs" / "topologies.md").read_text("utf-8")
    listed = re.findall(r"^\| ([TWN]\d\d) \|", page, re.MULTILINE)
    assert listed == sorted(listed, key=lambda code: ("TWN".index(code[0]), code))
    assert set(listed) == {code for code, _ in rules.RULES} | ELSEWHERE
