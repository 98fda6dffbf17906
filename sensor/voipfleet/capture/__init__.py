"""Where packets come from: a live ring or a capture file, always as blocks."""
