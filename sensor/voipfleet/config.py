"""The configuration file: one parser for the check, the daemon and the rollout. Standard library only.

`[general]`, then `key = value`; a comment starts with `#` or `;`. Every fault of a file is reported at
once. What a key may hold is said by the option table and nowhere else.
"""

import difflib
import ipaddress
import math
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from voipfleet.errors import ConfigError, Fault
from voipfleet.harmless import harmless
from voipfleet.options import ALIASES, BY_KEY, OPTIONS, Option, canonical, refusal
from voipfleet.topology import instance

MAX_BYTES = 1 << 20
# Keys of the reference that have no counterpart here: said so, rather than half obeyed.
REFERENCE_ONLY = frozenset((
    "cdr_partition", "cleandatabase_cdr", "cdrproxy", "destroy_call_at_bye", "disable_cdr_indexes_rtp",
    "enable_jitterbuf_adapt", "jitterbuffer_f1", "jitterbuffer_f2", "jitterbuffer_adapt", "max_rtp_stream",
    "pcap_dump_bufflength", "pcap_queue_deque_window", "rtpthreads", "saveaudio", "savegraph", "sdp_reverse_ipport",
    "sipalg", "skinny", "sqldriver", "t2_boost", "threading_mod", "tar", "tar_maxthreads",
    "upgrade_try_http_if_https_fail", "whitelist_ip", "cloud_host",
))  # fmt: skip
_YES_NO = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


@dataclass
class Config:
    """A valid configuration. Every key of the option table is an attribute; `given` are those in the file."""

    where: str
    values: dict
    lines: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def __getattr__(self, key: str):
        try:
            return self.__dict__["values"][key]
        except KeyError:
            raise AttributeError(key) from None

    @property
    def given(self) -> frozenset[str]:
        return frozenset(self.lines)


def load(path: str | Path, *, import_reference: bool = False) -> Config:
    """Read and check a file; ConfigError with all its faults."""
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        reason = f"cannot be read ({error.strerror}); check the path and its permissions"
        raise ConfigError([Fault(str(path), 0, "", reason)]) from None
    if len(raw) > MAX_BYTES:
        raise ConfigError([Fault(str(path), 0, "", f"is larger than {MAX_BYTES} bytes; this is no configuration")])
    return parse(raw.decode("utf-8", "replace"), str(path), import_reference=import_reference)


def parse(text: str, where: str = "", *, import_reference: bool = False) -> Config:
    """The configuration in `text`; ConfigError with all its faults, `where:line: key: reason` each."""
    faults: list[Fault] = []
    values = dict(DEFAULTS)
    config = Config(where, values)
    raw: dict[str, str] = {}
    for number, key, value in _lines(text, where, faults):
        try:
            option = _known(key)
            if option is None:
                continue
            if not option.built:
                raise ValueError(refusal(option))
            if option.key in raw and raw[option.key] != value:
                raise ValueError(f"is set again, differently from line {config.lines[option.key]}; keep one")
            typed = convert(option, _split_port(option, value, values, config.lines, number))
        except ValueError as error:
            if import_reference and (key in REFERENCE_ONLY or (key in BY_KEY and not BY_KEY[key].built)):
                config.warnings.append(str(Fault(where, number, key, str(error))))
                continue
            faults.append(Fault(where, number, key, str(error)))
        else:
            raw[option.key], values[option.key], config.lines[option.key] = value, typed, number
    for key, reason in instance.check(values):
        if not faults or key in config.lines:  # with a misspelt key, "X is missing" would only mislead
            faults.append(Fault(where, config.lines.get(key, 0), key, reason))
    if faults:
        raise ConfigError(faults)
    return config


def convert(option: Option, text: str):
    """`text` as the type of `option`; ValueError with `fault; what to do`. Secrets are never quoted in it."""
    text = text.strip()
    if not text:
        raise ValueError("has no value; give one or remove the line")
    return _CONVERT[option.kind](option, text)


def render(values: dict, comment: str = "") -> str:
    """A configuration file's text for `values` (key -> text, number, bool, list); no secrets, stable order."""
    lines = [f"# {line}" for line in comment.splitlines()] + ["[general]"]
    for option in OPTIONS:
        if values.get(option.key) is not None and option.kind != "secret":
            value = values[option.key]
            text = _ranges(tuple(value)) if option.kind == "ports" and not isinstance(value, str) else spell(value)
            lines.append(f"{option.key} = {text}")
    return "\n".join(lines) + "\n"


def spell(value) -> str:
    """A value as the file spells it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ",".join(str(part) for part in value)
    return str(value)


@lru_cache(256)  # a thousand hosts have the same
def _ranges(numbers: tuple[int, ...]) -> str:
    """5060,5070-5079, as a person writes them; they may be all ports."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(
        f"{low}-{high}" if high - low > 1 else ",".join(map(str, range(low, high + 1))) for low, high in runs
    )


def nearest(word: str, known) -> str:
    """` (did you mean X?)` for the nearest known word, or nothing."""
    found = difflib.get_close_matches(word, list(known), 1, 0.7)
    return f" (did you mean {harmless(found[0])}?)" if found else ""


def _lines(text: str, where: str, faults: list[Fault]):
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip().lstrip("\ufeff")
        if not line or line[0] in "#;":
            continue
        if line[0] == "[":
            section = line.strip("[] \t")
            if section != "general":
                faults.append(Fault(where, number, "", f"section [{section[:40]}] is not known; use [general]"))
            continue
        key, equals, value = line.partition("=")
        if not equals:
            faults.append(Fault(where, number, "", "is not `key = value`; correct or remove the line"))
        elif not section:
            faults.append(
                Fault(where, number, key.strip()[:60], "stands before [general]; start the file with [general]")
            )
            section = "general"  # said once
        else:
            yield number, key.strip()[:60], value.strip()


def _known(key: str) -> Option | None:
    option = BY_KEY.get(canonical(key))
    if option is None and key in REFERENCE_ONLY:
        raise ValueError("is a key of the reference that this program does not have; remove it")
    if option is None:
        raise ValueError(f"is not a known key{nearest(key, [*BY_KEY, *ALIASES])}; correct or remove it")
    return option


def _split_port(option: Option, value: str, values: dict, lines: dict, number: int) -> str:
    """`ip:port` in one value, as the incumbent accepts it for mirroring: the port goes to its own key."""
    if option.key not in ("mirror_destination", "mirror_bind") or value.count(":") != 1 or "," in value:
        return value
    host, port = value.split(":")
    key = option.key + "_port"
    values[key], lines[key] = convert(BY_KEY[key], port), number
    return host


def _bool(option: Option, text: str) -> bool:
    if text.lower() not in _YES_NO:
        raise ValueError(f"is {text[:60]!r}; give yes or no")
    return _YES_NO[text.lower()]


def _number(option: Option, text: str):
    whole = option.kind == "int"
    try:
        if not text.isascii() or "_" in text or len(text) > 20:
            raise ValueError
        value = int(text) if whole else float(text)
    except ValueError:
        raise ValueError(f"is {text[:60]!r}; give a {'whole ' if whole else ''}number{_range(option)}") from None
    if not math.isfinite(value) or not (option.low <= value <= option.high):
        raise ValueError(f"is {text}; give a number{_range(option)}")
    return value


def _range(option: Option) -> str:
    return f" from {option.low:g} to {option.high:g}{' ' if option.unit else ''}{option.unit}"


def _choice(option: Option, text: str) -> str:
    if text not in option.choices:
        raise ValueError(f"is {text[:60]!r}; give one of {', '.join(option.choices)}")
    return text


def _words(option: Option, text: str) -> tuple[str, ...]:
    words = tuple(word.strip() for word in text.split(","))
    if not all(words):
        raise ValueError("has an empty item; give words separated by single commas")
    return words


def _pairs(option: Option, text: str) -> tuple[tuple[str, str], ...]:
    pairs = []
    for item in _words(option, text):
        words = item.split()
        try:
            public, private = (str(ipaddress.ip_address(word)) for word in words)
        except ValueError:
            raise ValueError(f"has {item[:60]!r}; give pairs of addresses, as in 203.0.113.5 10.0.0.5") from None
        pairs.append((public, private))
    return tuple(pairs)


def _ports(option: Option, text: str) -> tuple[int, ...]:
    ports: set[int] = set()
    for word in _words(option, text):
        ends = word.split("-")
        if len(ends) > 2 or not all(end.strip().isascii() and end.strip().isdecimal() for end in ends):
            raise ValueError(f"has {word[:40]!r}; give ports and ranges, as in 5060,5070-5080")
        low, high = int(ends[0][:9]), int(ends[-1][:9])
        if not 1 <= low <= high <= 65535:
            raise ValueError(f"has {word[:40]!r}; ports go from 1 to 65535, the smaller first")
        ports.update(range(low, high + 1))
    return tuple(sorted(ports))


def _bind(option: Option, text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError(f"is {text[:60]!r}; give an IP address of this host, or 0.0.0.0 for all") from None


def _path(option: Option, text: str) -> str:
    if not text.startswith("/"):
        raise ValueError(f"is {text[:60]!r}; give an absolute path")
    return text


_CONVERT = {
    "bool": _bool, "int": _number, "float": _number, "choice": _choice, "list": _words, "hosts": _words,
    "pairs": _pairs, "ports": _ports, "bind": _bind, "path": _path, "text": lambda option, text: text,
    "secret": lambda option, text: text,
}  # fmt: skip
# What every key is where nobody sets it, typed; None: nothing.
DEFAULTS = {option.key: None if option.default is None else convert(option, option.default) for option in OPTIONS}
