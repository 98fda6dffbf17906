"""The authenticated, encrypted connection between two instances (docs/link.md)."""
