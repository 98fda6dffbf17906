"""The table of commands as docs/manager.md has it."""

from voipfleet.manage.table import TABLE, Command

HEAD = "## All commands\n"


def page() -> str:
    """From HEAD to the end of the page."""
    lines = [HEAD, "| command | arguments | what it does | who may give it here | over the link | the reference's |",
             "|---|---|---|---|---|---|", *map(_row, TABLE)]  # fmt: skip
    return "\n".join(lines) + "\n"


def _row(command: Command) -> str:
    arguments = f"`{command.arguments}`" if command.arguments else ""
    group = f"`{command.group}`" if command.group else "root"
    over = "yes" if command.over_link else "no"
    return f"| `{command.name}` | {arguments} | {command.help} | {group} | {over} | {command.reference or 'none'} |"
