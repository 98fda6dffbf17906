"""Text that somebody else wrote, for terminals. Pure."""


def harmless(text: str) -> str:
    """Text from the wire with control characters as \\xNN, so that a terminal only shows it."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
