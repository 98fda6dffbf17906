"""From an inventory's groups and variables to one typed instance a host. Plain dicts in; no I/O."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import SimpleNamespace

from voipfleet.config import DEFAULTS, convert, nearest, spell
from voipfleet.duties import analyses
from voipfleet.options import ALIASES, BY_KEY, canonical, refusal
from voipfleet.topology.variables import NAMES, PREFIX, ROLLOUT_SETS

PARTS = {"sensors": "sensor", "centrals": "central", "mirrors": "mirror"}
# What being in a group means, unless the inventory says more.
EVERYWHERE = "0.0.0.0"
LOCAL_DATABASE = "/run/mysqld/mysqld.sock"
METRICS_PORT = 9417  # on loopback, unless metrics_bind says otherwise
DESTINATIONS = {"server_destination": "server_bind", "mirror_destination": "mirror_bind"}


@dataclass(frozen=True)
class Finding:
    """One fault, warning or note: `code` begins with T, W or N; `host` may be `fleet`."""

    code: str
    host: str
    text: str

    def __str__(self) -> str:
        return f"{self.code} {self.host}: {self.text}"


@dataclass
class Host:
    """One host's instance. `values`: every key, typed, with what its groups imply; `given`: keys the inventory sets."""

    name: str
    address: str
    parts: tuple[str, ...]
    values: dict
    given: dict = field(default_factory=dict)
    password: str | None = None
    psk: str | None = None  # what the password becomes, instead of it
    accepted: tuple[str, ...] = ()  # further passwords that its listeners take during a rotation

    @property
    def captures(self) -> bool:
        return bool(self.values["interface"])

    @property
    def stores(self) -> bool:
        """Whether records end here: who only mirrors its packets has them analysed by the receiver."""
        values = self.values
        return not values["server_destination"] and bool(values["server_bind"] or not values["mirror_destination"])

    @property
    def analyses(self) -> bool:
        """Whether the packets that it captures or gets become records there, rather than going on to another."""
        return analyses(SimpleNamespace(**self.values))

    def destinations(self, key: str) -> tuple[str, ...]:
        return self.values[key] or ()


@dataclass
class Fleet:
    """`hosts` in the inventory's own order by name; `outside`: hosts in none of the three groups."""

    hosts: dict[str, Host]
    outside: list[str]
    known: frozenset[str]


def read(groups: Mapping, hostvars: Mapping, findings: list[Finding]) -> Fleet:
    """The fleet; what cannot be read of it goes to `findings` (T01-T03)."""
    parts: dict[str, list[str]] = {}
    for group, part in PARTS.items():
        for name in groups.get(group, ()):
            parts.setdefault(name, []).append(part)
    everybody = sorted({*hostvars, *groups.get("all", ()), *parts})
    hosts = {name: _host(name, tuple(parts[name]), hostvars.get(name, {}), findings)
             for name in everybody if name in parts}  # fmt: skip
    return Fleet(hosts, [name for name in everybody if name not in parts], frozenset(everybody))


def _host(name: str, parts: tuple[str, ...], variables: Mapping, findings: list[Finding]) -> Host:
    host = Host(name, str(variables.get("voipfleet_address") or variables.get("ansible_host") or name), parts,
                dict(DEFAULTS))  # fmt: skip
    if any(c in host.address for c in ", \t\r\n"):
        text = "its address is not one word (voipfleet_address, else ansible_host); give one address or name"
        findings.append(Finding("T02", name, text))
    for variable in sorted(variables):
        if variable.startswith(PREFIX) and variable not in NAMES:
            _take(host, variable, variables[variable], findings)
    values = host.values
    values["name_sensor"] = values["name_sensor"] or name
    values["metrics_port"] = values["metrics_port"] or METRICS_PORT
    if "central" in parts:
        values["server_bind"] = values["server_bind"] or EVERYWHERE
        if not (values["database_url"] or values["mysqlhost"]):
            values["mysqlhost"] = LOCAL_DATABASE
    if "mirror" in parts:
        values["mirror_bind"] = values["mirror_bind"] or EVERYWHERE
    return host


def _take(host: Host, variable: str, value, findings: list[Finding]) -> None:
    key = canonical(variable.removeprefix(PREFIX))
    option = BY_KEY.get(key)
    if option is None:
        findings.append(Finding("T01", host.name, f"{variable} is not a known variable{_nearest(variable)}; correct or"
                                " remove it"))  # fmt: skip
    elif value is None or value == "":
        pass  # set to nothing: as if it were not there
    elif key == "server_password":
        # As the daemon reads it (secrets.py): what is compared and measured here is what it will use.
        host.password = unicodedata.normalize("NFC", str(value).removesuffix("\n"))
    elif key == "server_psk":
        host.psk = str(value).strip()
    elif key == "server_passwords":
        words = value if isinstance(value, (list, tuple)) else str(value).splitlines()
        host.accepted = tuple(unicodedata.normalize("NFC", str(word)) for word in words if str(word))
    elif key in ROLLOUT_SETS:
        findings.append(Finding("T03", host.name, f"{variable} is what the rollout sets itself; remove it"))
    elif not option.built:
        findings.append(Finding("T03", host.name, f"{variable} {refusal(option)}"))
        host.given[key] = value
    else:
        try:
            host.values[key] = host.given[key] = _typed(key, value)
        except ValueError as error:
            # People put the password itself where its file is asked for.
            secret = option.kind == "secret" or key.endswith("password_file")
            said = "is not right; it is not shown here because it may be a secret" if secret else error
            findings.append(Finding("T02", host.name, f"{variable} {said}"))


def _typed(key: str, value):
    if isinstance(value, Mapping):
        raise ValueError("is a mapping; give one value, or a list")
    text = spell(value)
    if len(text.splitlines()) > 1:  # in a configuration file the next line would be a key of its own
        raise ValueError("has a line break; write it in one line")
    return convert(BY_KEY[key], text) if BY_KEY[key].kind == "secret" else _converted(key, text)


@lru_cache(maxsize=4096)
def _converted(key: str, text: str):
    return convert(BY_KEY[key], text)  # a thousand hosts of one group have one value


@lru_cache(maxsize=256)
def _nearest(variable: str) -> str:
    return nearest(variable, [PREFIX + known for known in (*BY_KEY, *ALIASES)] + sorted(NAMES))
