"""Writes what is made from tables: docs/keys.md, docs/metrics.md, docs/manager.md, the roles' argument_specs.

    python -m voipfleet.reference PROJECT          write them (`make docs`)

A test compares the files with what this module makes, so that they cannot drift.
"""

import sys
from pathlib import Path

from voipfleet.manage import table as commands
from voipfleet.metrics import table as metrics
from voipfleet.options import OPTIONS, Option
from voipfleet.topology.variables import ROLLOUT_SETS, VARIABLES

_PARTS = {"all": "every instance", "capture": "who captures", "calls": "who captures or receives packets",
          "packets": "who keeps packets", "client": "who sends to a central", "server": "who is a central",
          "source": "who sends packets", "receiver": "who receives packets", "store": "who stores records",
          "manager": "every instance"}  # fmt: skip

_ROLES = {
    "voipfleet": (("all", "calls", "packets", "manager"), "The daemon on a host; used by the other roles."),
    "sensor": (("capture", "client", "source"), "Hosts that capture."),
    "central": (("server", "store"), "Hosts that receive records and store them."),
    "mirror": (("receiver", "client"), "Hosts that receive mirrored packets."),
}
_HEAD = "<!-- Made by `make docs` from options.py and topology/variables.py; change it there. -->"
_METRICS, _COMMANDS = "| name | type | labels | what |", "## All commands\n"  # from here on the pages are made


def keys_page() -> str:
    """docs/keys.md."""
    lines = [_HEAD, "", "# Configuration keys", "",
             "In a configuration file (`/etc/voipfleet/voipfleet.conf`, section `[general]`) a key stands as it is"
             " here; in an inventory it is a variable with `voipfleet_` before it, on a host or a group. Destinations"
             " are inventory names in an inventory and addresses in a file. A key that is not built yet is refused, so"
             " that nobody believes it works.", ""]  # fmt: skip
    for part in dict.fromkeys(option.part for option in OPTIONS):
        lines += [f"## For {_PARTS[part]}: {part}", "", "| key | type | default | meaning |", "|---|---|---|---|"]
        lines += [_row(option) for option in OPTIONS if option.part == part] + [""]
    lines += ["## Variables of the rollout", "", "They are no configuration keys: they speak to the playbooks.", "",
              "| variable | type | default | meaning |", "|---|---|---|---|"]  # fmt: skip
    for variable in VARIABLES:
        given = " Given with `-e`." if variable.scope == "run" else ""
        lines.append(f"| `{variable.name}` | {variable.kind} | {_code(variable.default)} | {variable.help}{given} |")
    return "\n".join(lines) + "\n"


def _row(option: Option) -> str:
    kind = option.kind
    if option.choices:
        kind = "one of " + ", ".join(option.choices)
    elif option.low is not None:
        kind += f", {option.low:g} to {option.high:g}" + (f" {option.unit}" if option.unit else "")
    text = option.help
    if option.aliases:
        text += " Also spelt " + ", ".join(f"`{alias}`" for alias in option.aliases) + "."
    if option.key in ROLLOUT_SETS:
        text += " In a fleet the rollout sets it; an inventory cannot."
    if not option.built:
        text += f" **{option.instead or 'Not built yet: refused'}.**"
    return f"| `{option.key}` | {kind} | {_code(option.default)} | {text} |"


_SECRETS = {
    "server_password": "The fleet's password; map it from a vault variable.",
    "server_passwords": "List of further passwords that listeners accept during a rotation; vault.",
    "server_psk": "What `voipfleet keygen --psk` makes of the password, for hosts that should not have it; vault.",
}


def _code(value: str | None) -> str:
    return f"`{value}`" if value is not None else ""


def argument_specs(role: str) -> str:
    """meta/argument_specs.yml of a role. The gate checks values and spelling with the option table itself, so that all
    faults of a fleet come together; these specifications are for `ansible-doc -t role` and for types."""
    parts, what = _ROLES[role]
    lines = ["# Made by `make docs` from the option table; change it there.", "---", "argument_specs:", "  main:",
             f"    short_description: {what}", "    options:"]  # fmt: skip
    for option in OPTIONS:
        if option.built and option.kind != "secret" and option.part in parts and option.key not in ROLLOUT_SETS:
            lines += _spec(f"voipfleet_{option.key}", option.help)
    if "all" in parts:
        for key, text in _SECRETS.items():
            lines += _spec(f"voipfleet_{key}", text)
        for variable in VARIABLES:
            lines += _spec(variable.name, variable.help)
    return "\n".join(lines) + "\n"


def _spec(name: str, text: str) -> list[str]:
    # Everything is `raw`: `5060` and `"5060,5061"` are both right for one key, and the gate has the sentences.
    return [f"      {name}:", "        type: raw", f"        description: {_quoted(text)}"]


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def metrics_table() -> str:
    lines = [_METRICS, "|---|---|---|---|"]
    for metric in metrics.TABLE:
        lines.append(f"| `{metric.name}` | {metric.kind} | {', '.join(metric.labels)} | {metric.help} |")
    return "\n".join(lines) + "\n"


def metrics_page(project: Path) -> str:
    """docs/metrics.md: what a person wrote, then the table."""
    written = (project / "docs" / "metrics.md").read_text("utf-8")
    return written.partition(_METRICS)[0] + metrics_table()


def _commands_table() -> str:
    head = "| command | arguments | what it does | who may give it here | over the link | the reference's |"
    lines = [_COMMANDS, head, "|---|---|---|---|---|---|", *map(_command, commands.TABLE)]
    return "\n".join(lines) + "\n"


def _command(command: commands.Command) -> str:
    arguments = f"`{command.arguments}`" if command.arguments else ""
    group = f"`{command.group}`" if command.group else "root"
    over = "yes" if command.over_link else "no"
    return f"| `{command.name}` | {arguments} | {command.help} | {group} | {over} | {command.reference or 'none'} |"


def manager_page(project: Path) -> str:
    """docs/manager.md: what a person wrote, then the table."""
    written = (project / "docs" / "manager.md").read_text("utf-8")
    return written.partition(_COMMANDS)[0] + _commands_table()


def files(project: Path) -> dict[Path, str]:
    """Path -> text of everything that is made."""
    made = {project / "docs" / "keys.md": keys_page(), project / "docs" / "metrics.md": metrics_page(project),
            project / "docs" / "manager.md": manager_page(project)}  # fmt: skip
    for role in _ROLES:
        made[project / "roles" / role / "meta" / "argument_specs.yml"] = argument_specs(role)
    return made


def main() -> int:
    for path, text in files(Path(sys.argv[1])).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
