"""The option table: every configuration key once, with its type, default, help and who uses it.

The configuration parser, the rollout's variables (`voipfleet_<key>`), the roles' argument_specs and
docs/keys.md all come from here. Standard library only: the operator's Ansible imports this file.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Option:
    """One key. `kind`: bool, int, float, text, choice, pairs, path, secret; `ports`, a comma list of ports and ranges;
    `hosts`, a comma list, in order of preference; `list`, a comma list of words; `bind`, an IP address to listen on.
    `default` is in the file's spelling (None: not set). `built` False: known, refused at start.

    `part`: which part of the daemon reads it (capture, calls, packets, client, server, source, receiver,
    store, manager, all). `low`/`high`: bounds of a number. `unit`: of a number. `aliases`: other
    spellings that are accepted. `instead`: the sentence for a key of the reference that is refused.
    """

    key: str
    kind: str
    default: str | None
    help: str
    part: str = "all"
    low: float | None = None
    high: float | None = None
    unit: str = ""
    choices: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    built: bool = True
    instead: str = ""


def _yes(key, default, text, part="all", **more):
    return Option(key, "bool", default, text, part, **more)


def _int(key, default, text, part, low, high, unit="", **more):
    return Option(key, "int", default, text, part, low, high, unit, **more)


PORT = (1, 65535)
_LATER = "is known but not built yet in this release; remove it"

OPTIONS: tuple[Option, ...] = (
    # who this instance is
    _int("id_sensor", None, "Number of this sensor, unique in the fleet.", "all", 1, 65535),
    Option("name_sensor", "text", None, "Name of this sensor as the central shows it (default: the host's name)."),
    Option("site", "text", None, "The site where this sensor stands, shown with its calls."),
    Option("fleet_id", "text", "default", "Name of the fleet; salts the fleet's password, the same on all hosts."),
    # capture
    Option("interface", "list", None, "Interfaces to capture on.", "capture"),
    _yes("promisc", "yes", "Put the interfaces into promiscuous mode.", "capture"),
    Option("filter", "text", None, "Capture filter in pcap-filter(7) syntax.", "capture"),
    _int("ringbuffer", "50", "Size of the kernel's capture ring of one interface.", "capture", 4, 4096, "MB"),
    _int("snaplen", "3200", "Bytes of a packet that are captured.", "capture", 128, 262144, "bytes"),
    Option("sipport", "ports", "5060", "Ports that carry SIP.", "capture"),
    _yes("deduplicate", "yes", "Count frames that a mirror port delivers twice once.", "capture"),
    Option("deduplicate_window", "float", "2", "How far apart two such frames may be.", "capture", 0.0, 1000.0, "ms"),
    # calls
    _int("absolute_timeout", "14400", "End a call that lasts longer.", "calls", 1, 604800, "s"),
    _int("rtptimeout", "300", "End an answered call this long after its last RTP packet.", "calls", 1, 86400, "s"),
    _int("sipwithoutrtptimeout", "3600", "End an answered call without any RTP.", "calls", 1, 86400, "s"),
    _int("onewaytimeout", "15", "End a call whose INVITE nobody answered in any way.", "calls", 1, 86400, "s"),
    _int("bye_timeout", "1200", "End a call whose BYE was seen but never confirmed.", "calls", 1, 86400, "s"),
    _int("jitterbuffer", "100", "De-jitter buffer assumed when MOS is computed.", "calls", 10, 1000, "ms"),
    Option("natalias", "pairs", None, "Pairs of `public private` addresses of phones behind NAT.", "calls"),
    _yes("dtmf2db", "no", "Keep dialled digits in the records.", "calls"),
    _yes("stream_records", "no", "Send RTP that no SIP seen here names as records, for the central to join to calls.",
         "calls"),
    _int("number_keep_last", None, "Mask numbers but for their last N digits: in records, and in packets that are"
         " kept.", "calls", 0, 20, "digits"),
    # packets that stay on the host that analyses them
    _yes("savesip", "yes", "Keep SIP packets.", "packets"),
    Option("savertp", "choice", "header", "Keep RTP packets: whole (that is the voice), headers only, or not.",
           "packets", choices=("yes", "no", "header")),
    _yes("savertcp", "yes", "Keep RTCP packets.", "packets"),
    _yes("pcap_mask", "yes", "Mask in kept packets what opens or reveals something: digest responses, SDES keys, digits"
         " that were dialled.", "packets"),
    Option("spooldir", "path", "/var/lib/voipfleet", "Folder for everything that this instance keeps."),
    _int("maxpoolsize", "102400", "Kept packets, at most; the oldest go.", "packets", 1, 1 << 30, "MB"),
    _int("maxpooldays", None, "How long packets are kept, at most.", "packets", 1, 36500, "days"),
    *(_int(f"maxpool{kind}{what}", None, f"The same for {text} alone.", "packets", 1, high, unit)
      for kind, text in (("sip", "SIP and RTCP"), ("rtp", "headers of RTP (savertp = header)"),
                         ("audio", "whole RTP (savertp = yes)"))
      for what, high, unit in (("size", 1 << 30, "MB"), ("days", 36500, "days"))),
    _int("autocleanspoolminpercent", "1", "Room for records: with less free space in the spool (10 % at least,"
         " `autocleanmingb` at most) packets that wait are dropped.", "packets", 0, 99, "%"),
    _int("autocleanmingb", "5", "The most that this free space needs to be.", "packets", 0, 1 << 20, "GB"),
    # to a central
    Option("server_destination", "hosts", None, "The central; several are an ordered failover list.", "client"),
    _int("server_destination_port", "60024", "The central's port.", "client", *PORT),
    _yes("packetbuffer_sender", "no", "Send raw packets instead of call records.", "client"),
    _int("keep_acked_hours", "24", "Keep records that the central acknowledged, for a replay.", "client", 0, 8760, "h"),
    # be a central
    Option("server_bind", "bind", None, "Listen for sensors on this address.", "server"),
    _int("server_bind_port", "60024", "Port to listen on for sensors.", "server", *PORT),
    Option("auth", "choice", "password", "Who may connect: all that know the password, or listed keys only.", "server",
           choices=("password", "key")),
    Option("sensor_keys", "list", None, "Allowed keys, each `name:base64`.", "server"),
    _yes("require_knock", "no", "Answer only those that know this node's public key.", "server"),
    # secrets of the link
    Option("server_password", "secret", None, "The fleet's password; better in a file of its own."),
    Option("server_password_file", "path", None, "File that holds the fleet's password."),
    Option("server_passwords", "secret", None, "Further passwords that a listener accepts during a rotation, one a"
           " line, three at most; better in a file of its own.", "server"),
    Option("server_passwords_file", "path", None, "File that holds them.", "server"),
    Option("server_psk", "secret", None, "What `voipfleet keygen --psk` makes of the fleet's password, instead of it."),
    Option("server_psk_file", "path", None, "File that holds it."),
    Option("server_key", "list", None, "Pinned public keys of receivers (two of each in a rotation), each as base64 or"
           " `host:base64`.", "client"),
    # packet mirroring
    Option("mirror_destination", "hosts", None, "Mirror raw packets to this receiver.", "source",
           aliases=("mirror_destination_ip",)),
    _int("mirror_destination_port", "5090", "The mirror receiver's port.", "source", *PORT),
    Option("mirror_bind", "bind", None, "Receive mirrored packets on this address.", "receiver",
           aliases=("mirror_bind_ip",)),
    _int("mirror_bind_port", "5090", "Port to receive mirrored packets on.", "receiver", *PORT),
    _yes("packetbuffer_compress", "yes", "Compress raw packets on a link.", "source"),
    _int("packetbuffer_compress_ratio", "100", "Send a block compressed if it shrinks to this or less.", "source",
         1, 100, "%"),
    Option("packetbuffer_compress_method", "choice", "lz4", "How raw packets are compressed.", "source",
           choices=("lz4", "zstd", "none")),
    _int("max_buffer_mem", "2000", "Memory for raw packets that wait for a link.", "source", 1, 1 << 20, "MB"),
    _int("packetbuffer_file_totalmaxsize", "2000", "Disk for raw packets that wait for a link.", "source", 0, 1 << 30,
         "MB"),
    Option("packetbuffer_file_path", "path", None, "Folder for raw packets that wait for a link.", "source"),
    # where records are stored
    Option("database_url", "text", None, "Database as SQLAlchemy names it (default: SQLite in spooldir).", "store"),
    Option("mysqlhost", "text", None, "Database server; a path is a Unix socket.", "store"),
    _int("mysqlport", "3306", "Port of the database server.", "store", *PORT),
    Option("mysqldb", "text", "voipfleet", "Name of the database.", "store"),
    Option("mysqluser", "text", "voipfleet", "Database user.", "store"),
    Option("mysqlpassword", "secret", None, "Database password; better in a file of its own.", "store"),
    Option("mysqlpassword_file", "path", None, "File that holds the database password.", "store"),
    _int("cleandatabase", None, "Keep call records for so many days.", "store", 1, 36500, "days"),
    _int("cleandatabase_history", "30", "Keep what sensors said of themselves, a row a minute.", "store", 1, 3650,
         "days"),
    # the daemon itself
    Option("metrics_bind", "bind", "127.0.0.1", "Address for Prometheus; there is no authentication.", "manager"),
    _int("metrics_port", None, "Port for Prometheus (/metrics, /healthz, /readyz); the rollout sets 9417.", "manager",
         *PORT),
    Option("control_socket", "path", "/run/voipfleet/control", "Socket that `voipfleet status` asks.", "manager"),
    Option("key_file", "path", "/var/lib/voipfleet/node.key", "This node's static key (voipfleet keygen)."),
    Option("manager_ip", "bind", "127.0.0.1", "Address that `voipfleet ctl --at` may ask; nothing listens without"
           " manager_port.", "manager", aliases=("managerip",)),
    _int("manager_port", None, "Port for it (the reference's is 5029).", "manager", *PORT, aliases=("managerport",)),
    Option("manager_keys", "list", None, "Keys that may ask there, each `name:base64`; no others.", "manager"),
    Option("manager_aes_key", "secret", None, "Key of the reference's manager.", "manager", built=False,
           instead="is not needed: every node has a key of its own (voipfleet keygen); remove it"),
    # decryption, known so that nobody believes it is on
    Option("ssl_ipport", "list", None, "TLS servers to decrypt.", "receiver", built=False),
    *(Option(key, "text", None, "TLS session keys for decryption.", "receiver", built=False)
      for key in ("ssl_sessionkey", "ssl_sessionkey_udp", "ssl_sessionkey_udp_port", "ssl_sessionkey_udp_ip",
                  "ssl_sessionkey_bind", "ssl_sessionkey_bind_port", "ssl_sessionkey_maxwait_ms",
                  "ssl_sessionkey_keep")),
)  # fmt: skip

BY_KEY: dict[str, Option] = {option.key: option for option in OPTIONS}
ALIASES: dict[str, str] = {alias: option.key for option in OPTIONS for alias in option.aliases}


def canonical(key: str) -> str:
    """The table's spelling of `key` (an alias is replaced; anything else comes back as it is)."""
    return ALIASES.get(key, key)


def refusal(option: Option) -> str:
    """Why a key that is not built is refused: one clause, `fault; what to do`."""
    return option.instead or _LATER
