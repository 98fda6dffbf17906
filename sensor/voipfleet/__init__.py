"""VoIPfleet: capture VoIP calls on many sites and bring their records to one place."""

__version__ = "0.1.0"
