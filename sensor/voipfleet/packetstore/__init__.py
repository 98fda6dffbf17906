"""Packets that stay on the host that analysed them: segments, index, retention, extraction."""
