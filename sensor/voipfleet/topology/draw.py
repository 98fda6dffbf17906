"""The fleet as a picture: Mermaid text, or SVG. Sources stand left of where they send to."""

from html import escape

from voipfleet.topology.fleet import Fleet, Host
from voipfleet.topology.links import links, onward

WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 190, 58, 110, 22, 20
_COLOURS = {"sensor": "#dcebfa", "central": "#dff3dc", "mirror": "#fbe9cf"}


def label(host: Host, key: str) -> str:
    """What travels over a link."""
    if key == "mirror_destination":
        return "packets (mirror)"
    return "packets" if host.values["packetbuffer_sender"] else "records"


def mermaid(fleet: Fleet) -> str:
    """A Mermaid flowchart; GitHub and many wikis show it as a picture."""
    ids = {name: f"h{number}" for number, name in enumerate(fleet.hosts)}
    lines = ["flowchart LR"]
    for host in fleet.hosts.values():
        lines.append(f'    {ids[host.name]}["{_plain(host.name)}<br/>{_plain(_about(host))}"]')
    for host, key, name in links(fleet):
        if name in ids:
            lines.append(f"    {ids[host.name]} -- {label(host, key)} --> {ids[name]}")
    return "\n".join(lines) + "\n"


def svg(fleet: Fleet) -> str:
    """A drawing that any browser shows; no script, no font from outside."""
    columns = _columns(fleet)
    places = {}
    for number, names in enumerate(columns):
        for row, name in enumerate(names):
            places[name] = (MARGIN + number * (WIDTH + GAP_X), MARGIN + row * (HEIGHT + GAP_Y))
    width = 2 * MARGIN + max(1, len(columns)) * (WIDTH + GAP_X) - GAP_X
    height = 2 * MARGIN + max([len(names) for names in columns] or [1]) * (HEIGHT + GAP_Y) - GAP_Y
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
           ' font-family="sans-serif" font-size="13">',
           '<defs><marker id="to" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" orient="auto">'
           '<path d="M0 0 L10 5 L0 10 z" fill="#555"/></marker></defs>',
           f'<rect width="{width}" height="{height}" fill="#fff"/>']  # fmt: skip
    for host, key, name in links(fleet):
        if name in places and name != host.name:
            out += _arrow(places[host.name], places[name], label(host, key))
    for host in fleet.hosts.values():
        out += _box(host, *places[host.name])
    return "\n".join([*out, "</svg>", ""])


def _box(host: Host, x: int, y: int) -> list[str]:
    colour = _COLOURS[host.parts[-1]]
    return [f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6" fill="{colour}" stroke="#555"/>',
            f'<text x="{x + WIDTH // 2}" y="{y + 24}" text-anchor="middle" font-weight="bold">'
            f"{escape(_cut(host.name, 24))}</text>",
            f'<text x="{x + WIDTH // 2}" y="{y + 44}" text-anchor="middle" font-size="11" fill="#333">'
            f"{escape(_cut(_about(host), 32))}</text>"]  # fmt: skip


def _arrow(start: tuple[int, int], end: tuple[int, int], text: str) -> list[str]:
    x1, y1, x2, y2 = start[0] + WIDTH, start[1] + HEIGHT // 2, end[0], end[1] + HEIGHT // 2
    if x2 <= start[0]:  # backwards, which only a wrong topology has
        x1, x2 = start[0], end[0] + WIDTH
    bend = GAP_X // 2 if x2 > x1 else -GAP_X // 2
    # The text stands near its source, where arrows to one receiver have not met yet.
    return [f'<path d="M{x1} {y1} C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}" fill="none" stroke="#555"'
            ' marker-end="url(#to)"/>',
            f'<text x="{x1 + 6}" y="{y1 - 5}" font-size="11" fill="#555" stroke="#fff"'
            f' stroke-width="4" paint-order="stroke">{escape(text)}</text>']  # fmt: skip


def _columns(fleet: Fleet) -> list[list[str]]:
    """Hosts by how many steps they are before the last receiver."""
    depth: dict[str, int] = {}

    def steps(name: str, path: frozenset[str]) -> int:
        if name not in depth:
            further = [other for other in onward(fleet, fleet.hosts[name])
                       if other in fleet.hosts and other not in path and len(path) < 50]  # fmt: skip
            depth[name] = 1 + max(steps(other, path | {other}) for other in further) if further else 0
        return depth[name]

    for name in fleet.hosts:
        steps(name, frozenset({name}))
    most = max(depth.values(), default=0)
    return [sorted(name for name in depth if depth[name] == most - column) for column in range(most + 1)]


def _about(host: Host) -> str:
    words = [*host.parts]
    if host.captures:
        words.append("on " + " ".join(host.values["interface"]))
    return ", ".join(words)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _plain(text: str) -> str:
    """Without what Mermaid or HTML would read as markup."""
    return "".join(c if c.isalnum() or c in " .,_-:" else "_" for c in text)
