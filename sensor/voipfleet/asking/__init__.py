"""Commands to hosts that cannot be reached, over the connections that they themselves have made."""
