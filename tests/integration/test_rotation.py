"""Passwords and keys are changed while calls go on: nobody is locked out, nothing is lost; what is removed is out."""

import subprocess

import pytest
from support.daemon import VOIPFLEET
from support.fleet import LOCAL, Hosts, arrive, complete

OLD, NEW = "the old password of this fleet", "the new password of this fleet"
REFUSED = "closed the connection instead of saying welcome"


@pytest.fixture
def hosts(namespace, tmp_path):
    with Hosts(namespace, tmp_path) as made:
        yield made


def configure(daemon, **settings) -> None:
    """Other values for some keys (None: without it), and a restart."""
    lines = [line for line in daemon.config.read_text().splitlines() if line.partition(" =")[0] not in settings]
    lines += [f"{key} = {value}" for key, value in settings.items() if value is not None]
    daemon.config.write_text("\n".join([*lines, ""]))
    daemon.stop()
    daemon.start(wait=None)


def secret(hosts, name: str, *lines: str):
    path = hosts.folder / name
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)
    return path


def pair(hosts, **both):
    """A central that lets in listed keys only, and one sensor."""
    hq = hosts.add("hq", server_bind="127.0.0.1", auth="key", require_knock="yes", sensor_keys="x", **both)
    branch = hosts.add("branch", interface="vb", server_key=hq.keygen(), **LOCAL, **both)
    text = hq.config.read_text().replace("sensor_keys = x", f"sensor_keys = branch:{branch.keygen()}")
    hq.config.write_text(text)
    return hq, branch


def through(branch, change) -> None:
    """Do `change` to its central, which restarts, and wait until it is connected again."""
    before = branch.until(connected, 40)["link"]["connections"]
    change()
    branch.until(lambda status: connected(status) and status["link"]["connections"] > before, 40)


def restart(daemon) -> None:
    daemon.stop()
    daemon.start(wait=None)


def connected(status: dict) -> bool:
    return status.get("link", {}).get("state") == "connected"


def test_a_rotation_of_the_password(hosts):
    old, new = secret(hosts, "old", OLD), secret(hosts, "new", NEW)
    hq, branch = pair(hosts, server_password_file=old)
    hosts.start()
    branch.until(connected)
    hosts.place(1)
    further = secret(hosts, "further", OLD)
    through(branch, lambda: configure(hq, server_password_file=new, server_passwords_file=further))
    assert hq.until(lambda status: status.get("listeners"))["listeners"][0]["slots"] == [0, 1]
    hosts.place(2)
    configure(branch, server_password_file=new)
    branch.until(connected, 40)
    assert hq.until(lambda status: status["listeners"][0]["slots"] == [1, 0])
    through(branch, lambda: configure(hq, server_passwords_file=None))
    hosts.place(3)
    complete(arrive(hq, [1, 2, 3]), "branch", "")
    configure(branch, server_password_file=old)
    branch.until(lambda status: REFUSED in status.get("link", {}).get("why", ""), 40)
    assert "link refused (password)" in hq.log()
    assert OLD not in hq.log() + branch.log() and NEW not in hq.log() + branch.log()


def test_a_rotation_of_the_centrals_key_then_of_the_sensors(hosts):
    hq, branch = pair(hosts)
    hosts.start()
    branch.until(connected)
    hosts.place(1)
    rotate(hq, "--rotate")
    through(branch, lambda: restart(hq))  # with the old key
    hosts.place(2)
    configure(branch, server_key=", ".join(public(hq)))
    branch.until(connected, 40)
    rotate(hq, "--forget-old")
    through(branch, lambda: restart(hq))  # with the new one
    rotate(branch, "--rotate")
    through(branch, lambda: configure(hq, sensor_keys=", ".join(f"branch:{key}" for key in public(branch))))
    restart(branch)
    branch.until(connected, 40)
    hosts.place(3)
    rotate(branch, "--forget-old")
    through(branch, lambda: configure(hq, sensor_keys=f"branch:{public(branch)[0]}"))
    complete(arrive(hq, [1, 2, 3]), "branch", "")
    assert "key_conflict" not in hq.log()
    configure(hq, sensor_keys=f"other:{public(hq)[0]}")  # its key is revoked
    branch.until(lambda status: REFUSED in status.get("link", {}).get("why", ""), 40)
    hosts.place(4)
    branch.until(lambda status: status["records"]["queued"] == 1, 40)
    assert "link refused (unknown_key)" in hq.log()
    said = hq.command("audit", "--event", "link_refused")
    assert said.returncode == 0 and 'reason="unknown_key"' in said.stdout


def rotate(daemon, word: str) -> None:
    subprocess.run([*VOIPFLEET, "keygen", word, "--file", daemon.folder / "node.key"], check=True, capture_output=True)


def public(daemon) -> list[str]:
    return daemon.keygen().split()
