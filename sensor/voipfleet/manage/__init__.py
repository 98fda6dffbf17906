"""The manager: a closed table of commands, for people on this host and for who may ask over the link."""
