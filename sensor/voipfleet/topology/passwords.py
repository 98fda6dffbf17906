"""The rules about the fleet's password. They name hosts, never a value; nothing of a value is in a sentence."""

import hmac
import unicodedata

from voipfleet.secrets import MAX_PASSWORDS, MIN_PASSWORD, fit_psk
from voipfleet.topology.fleet import Fleet, Host
from voipfleet.topology.links import onward
from voipfleet.topology.rules import Found, rule

_WHERE = "set vault_voipfleet_server_password once, for group all"
# What stands in examples and manuals, and what people write before they choose one.
_COMMON = ("changeme", "secret", "password", "voipfleet", "voipmonitor", "example", "default", "letmein", "admin",
           "test", "qwerty")  # fmt: skip
_RUNS = ("1234567890", "0123456789", "abcdefghijklmnopqrstuvwxyz", "qwertyuiopasdfghjklzxcvbnm", "0123456789abcdef")


@rule("T13")
def missing(fleet: Fleet) -> Found:
    yield from _told([host.name for host in _linked(fleet) if not (host.password or host.psk)], "is missing", _WHERE)


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
    if len(alike) > 1 and any(_strange(fleet, host) for host in _linked(fleet)):
        kinds = " | ".join(_shortened(names) for _, names in alike)
        yield "fleet", f"voipfleet_server_password is not the same on all hosts ({kinds}); {_WHERE}"


@rule("T30")
def rotation(fleet: Fleet) -> Found:
    for host in _linked(fleet):
        if len(host.accepted) > MAX_PASSWORDS - 1:
            yield host.name, (f"voipfleet_server_passwords has {len(host.accepted)} passwords; at most"
                              f" {MAX_PASSWORDS - 1} besides the present one, remove what no sensor uses any"
                              " more")  # fmt: skip
        if any(len(password) < MIN_PASSWORD or is_default_like(password) for password in host.accepted):
            yield host.name, ("voipfleet_server_passwords has one that is too short or that anybody would try; remove"
                              " it, its sensors must get the present one first")  # fmt: skip
        if host.psk and not fit_psk(host.psk):
            yield host.name, "voipfleet_server_psk is no derived key; take what `voipfleet keygen --psk` prints"


def _strange(fleet: Fleet, host: Host) -> bool:
    """Whether a receiver of this host does not take its password, or there is none that could be asked. What a derived
    key is made of is not seen here."""
    names = onward(fleet, host)
    peers = [fleet.hosts[name] for name in names if name in fleet.hosts]
    taken = [(peer.password, *peer.accepted) for peer in peers if peer.password]
    unknown = bool(names) and not peers
    return bool(host.password) and (unknown or any(host.password not in passwords for passwords in taken))


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
    keys = ("server_bind", "server_destination", "mirror_bind", "mirror_destination", "manager_port")
    return [host for host in fleet.hosts.values() if any(host.values[key] for key in keys)]


def _told(names: list[str], fault: str, what_to_do: str) -> Found:
    """One finding, however many hosts it is about."""
    if len(names) == 1:
        yield names[0], f"voipfleet_server_password {fault}; {what_to_do}"
    elif names:
        yield "fleet", f"voipfleet_server_password {fault} on {_shortened(names)}; {what_to_do}"


def _shortened(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
