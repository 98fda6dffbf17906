"""The states of an INVITE dialog as one table; what is not in it is a counted event, not an error."""

# (state, event) -> state. Events: 1xx, 2xx, auth (401/407), final (>= 300), invite, cancel, bye, done (2xx to BYE)
TABLE = {
    ("calling", "1xx"): "ringing", ("ringing", "1xx"): "ringing",
    ("calling", "2xx"): "answered", ("ringing", "2xx"): "answered", ("auth", "2xx"): "answered",
    ("calling", "auth"): "auth", ("ringing", "auth"): "auth", ("auth", "invite"): "calling",
    ("calling", "cancel"): "cancelled", ("ringing", "cancel"): "cancelled",
    ("calling", "final"): "ended", ("ringing", "final"): "ended", ("cancelled", "final"): "ended",
    ("cancelled", "2xx"): "answered", ("answered", "invite"): "answered", ("answered", "bye"): "closing",
    ("ringing", "bye"): "closing", ("calling", "bye"): "closing", ("closing", "done"): "ended",
}  # fmt: skip
