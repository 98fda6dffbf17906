"""Variables of the rollout that are no configuration keys: all else in the `voipfleet_` namespace is a key."""

from dataclasses import dataclass

PREFIX = "voipfleet_"


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable. `kind` as in options.py; `scope`: `host` (inventory) or `run` (given with -e)."""

    name: str
    kind: str
    default: str | None
    help: str
    scope: str = "host"


VARIABLES: tuple[Variable, ...] = (
    Variable("voipfleet_address", "text", None,
             "Address by which other hosts reach this one (default: ansible_host, else its name)."),
    Variable("voipfleet_install_mariadb", "bool", "yes",
             "On a central with a local database: install MariaDB from the host's own packages where it is missing."),
    Variable("voipfleet_pcap_users", "list", None,
             "Members of the host's group voipfleet-pcap, who may fetch packets: these and no others (default: as it"
             " is)."),
    Variable("voipfleet_listen_users", "list", None, "The same of group voipfleet-listen, for audio."),
    Variable("voipfleet_health_timeout", "int", "60", "Seconds that a host has to become healthy."),
    Variable("voipfleet_strict", "bool", "no", "Warnings and notes of the gate are errors.", "run"),
    Variable("voipfleet_accept_new_key", "text", None, "A host whose key may have changed.", "run"),
    Variable("voipfleet_rotate_key", "text", None, "A host that gets a new key, or `all`; the old one still works.",
             "run"),
    Variable("voipfleet_end_rotation", "text", None, "A host whose old key is forgotten, or `all`.", "run"),
    Variable("voipfleet_purge", "text", None, "A host whose data remove.yml deletes too.", "run"),
    Variable("voipfleet_render_to", "path", None, "Folder on the controller that render.yml writes to.", "run"),
)  # fmt: skip

NAMES = frozenset(variable.name for variable in VARIABLES)
# Keys that the rollout writes itself, from what it knows: an inventory that sets them would be overruled, or overrule
# what the gate has compared.
ROLLOUT_SETS = frozenset(("key_file", "sensor_keys", "server_key", "server_password_file", "server_passwords_file",
                          "server_psk_file"))  # fmt: skip
