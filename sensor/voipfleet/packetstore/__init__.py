"""Packets that stay on the host that analyses them: kept by call, found in milliseconds, given up oldest first."""
