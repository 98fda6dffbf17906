"""The fleet's rules over plain dicts: standard library only, no I/O."""
