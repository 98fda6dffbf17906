"""docs/topologies.md lists exactly the rules that there are."""

import re
from pathlib import Path

import pytest
from topology.fleets import BROKEN
from voipfleet import config
from voipfleet.errors import ConfigError
from voipfleet.topology import plan, rules

assert plan  # importing it registers all rules
# Found while an inventory is read, by the filter plugin, and by the command.
ELSEWHERE = {"T00", "T01", "T02", "T03", "T23", "N04"}


PROJECT = Path(__file__).parents[2]


def test_the_sentences_in_the_readme_are_real():
    shown = re.findall(r"^    (T\d\d .*)$", (PROJECT / "README.md").read_text("utf-8"), re.MULTILINE)
    real = [sentence for _, sentences in BROKEN.values() for sentence in sentences]
    real += [sentence.replace("branch1", "branch2", 1) for sentence in BROKEN["T06"][1]]
    assert len(shown) >= 5
    assert set(shown) <= set(real)


def test_the_configuration_example_in_the_readme_is_real():
    page = (PROJECT / "README.md").read_text("utf-8")
    with pytest.raises(ConfigError) as error:
        config.parse("[general]\ninterfac = eth0\nserver_bind = 0.0.0.0\nserver_destination = x\n", "broken.conf")
    for line in str(error.value).splitlines():
        assert f"    {line}\n" in page


def test_every_rule_is_in_the_docs():
    page = (PROJECT / "docs" / "topologies.md").read_text("utf-8")
    listed = re.findall(r"^\| ([TWN]\d\d) \|", page, re.MULTILINE)
    assert listed == sorted(listed, key=lambda code: ("TWN".index(code[0]), code))
    assert set(listed) == {code for code, _ in rules.RULES} | ELSEWHERE
