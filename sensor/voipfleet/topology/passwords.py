"""The rules about the fleet's password. They name hosts, never a value; nothing of a value is in a sentence."""

import hmac
import unicodedata

from voipfleet.secrets import MIN_PASSWORD
from voipfleet.topology.fleet import Fleet
from voipfleet.topology.rules import Found, rule

_WHERE = "set vault_voipfleet_server_password once, for group all"
# What stands in examples and manuals, and what people write before they choose one.
_COMMON = ("changeme", "secret", "password", "voipfleet", "voipmonitor", "example", "default", "letmein", "admin",
           "test", "qwerty")  # fmt: skip
_RUNS = ("1234567890", "0123456789", "abcdefghijklmnopqrstuvwxyz", "qwertyuiopasdfghjklzxcvbnm", "0123456789abcdef")


@rule("T13")
def missing(fleet: Fleet) -> Found:
    yield from _told([host.name for host in _linked(fleet) if not host.password], "is missing", _WHERE)


@rule("T14")
def default_like(fleet: Fleet) -> Found:
    names = [host.name for host in _linked(fleet) if host.password and is_default_like(host.password)]
    yield from _told(names, "is one that anybody would try", "take a random one, for all hosts")


@rule("T15")
def short(fleet: Fleet) -> Found:
    names = [host.name for host in _linked(fleet) if host.password and len(host.password) < MIN_PASSWORD
             and not is_default_like(host.password)]  # fmt: skip
    yield from _told(names, f"has fewer than {MIN_PASSWORD} characters", "take a longer one, for all hosts")


@rule("T16")
def different(fleet: Fleet) -> Found:
    alike: list[tuple[bytes, list[str]]] = []
    for host in _linked(fleet):
        if host.password:
            value = unicodedata.normalize("NFC", host.password).encode()
            for known, names in alike:
                if hmac.compare_digest(known, value):
                    names.append(host.name)
                    break
            else:
                alike.append((value, [host.name]))
    if len(alike) > 1:
        kinds = " | ".join(_shortened(names) for _, names in alike)
        yield "fleet", f"voipfleet_server_password is not the same on all hosts ({kinds}); {_WHERE}"


@rule("T17")
def different_fleet(fleet: Fleet) -> Found:
    names: dict[str, list[str]] = {}
    for host in _linked(fleet):
        names.setdefault(host.values["fleet_id"], []).append(host.name)
    if len(names) > 1:
        kinds = " | ".join(_shortened(hosts) for hosts in names.values())
        yield "fleet", (f"voipfleet_fleet_id is not the same on all hosts ({kinds}), so that their passwords do not"
                        " match; set it once, for group all")  # fmt: skip


def is_default_like(password: str) -> bool:
    """A common word, alone or repeated, with digits or signs around it; one character repeated; a run of keys."""
    plain = "".join(c for c in password.lower() if c.isalpha())
    if len(set(password)) <= 2 or any(password.lower() in run * 5 for run in _RUNS):
        return True
    for word in _COMMON:
        plain = plain.replace(word, "")
    return not plain and len(password) < 40 and any(c.isalpha() for c in password)


def _linked(fleet: Fleet) -> list:
    """The hosts that take part in a link: the password concerns no others."""
    keys = ("server_bind", "server_destination", "mirror_bind", "mirror_destination")
    return [host for host in fleet.hosts.values() if any(host.values[key] for key in keys)]


def _told(names: list[str], fault: str, what_to_do: str) -> Found:
    """One finding, however many hosts it is about."""
    if len(names) == 1:
        yield names[0], f"voipfleet_server_password {fault}; {what_to_do}"
    elif names:
        yield "fleet", f"voipfleet_server_password {fault} on {_shortened(names)}; {what_to_do}"


def _shortened(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
