"""Packets on their way from the host that captured them to the one that analyses them."""
