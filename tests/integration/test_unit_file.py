"""The systemd unit as the role writes it: systemd finds no fault in it, and its exposure stays low."""

import shutil
import subprocess
from pathlib import Path

import jinja2
import pytest
import yaml
from topology.fleets import fleet
from voipfleet.topology.plan import gate

ROLE = Path(__file__).parents[2] / "roles" / "voipfleet"
EXPOSURE = {"branch1": 18, "hq": 15}  # tenths, as systemd-analyze counts them


def unit(host: str) -> str:
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    variables = yaml.safe_load((ROLE / "vars" / "main.yml").read_text("utf-8"))
    template = environment.from_string((ROLE / "templates" / "voipfleet.service.j2").read_text("utf-8"))
    return template.render(variables | {"__voipfleet_host": gate(*fleet())["hosts"][host]})


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
@pytest.mark.parametrize("host", EXPOSURE)
def test_exposure_is_low(host, tmp_path):
    path = tmp_path / "voipfleet.service"
    path.write_text(unit(host))
    words = ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE[host]}", str(path)]
    said = subprocess.run(words, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout[-500:] + said.stderr


def test_only_who_captures_may_open_packet_sockets():
    assert "AmbientCapabilities=CAP_NET_RAW" in unit("branch1")
    assert "AF_PACKET" in unit("branch1")
    for word in ("CAP_", "AF_PACKET", "capset"):
        assert word not in unit("hq")
    assert "CapabilityBoundingSet=\n" in unit("hq")


def test_secrets_are_handed_over_by_systemd_and_a_wrong_configuration_is_not_tried_again():
    for host in EXPOSURE:
        assert "LoadCredential=server_password:" in unit(host)
        assert "RestartPreventExitStatus=2 77 78" in unit(host)
