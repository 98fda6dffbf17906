"""The states of an INVITE dialog as one table; what is not in it is a counted event, not an error.

calling: an INVITE, nothing but 100 yet. ringing: a provisional response. auth: a password was asked for. cancelled: a
CANCEL is on its way. answered: a 2xx. closing: a BYE of the last leg. ended: a final failure, or the BYE's answer.
"""

# (state, event) -> state. Events: 1xx, 2xx, auth (401/407), final (>= 300), invite (with a greater CSeq), cancel, bye,
# done (a final response to the BYE)
TABLE = {
    ("calling", "1xx"): "ringing", ("calling", "2xx"): "answered", ("calling", "auth"): "auth",
    ("calling", "cancel"): "cancelled", ("calling", "final"): "ended", ("calling", "bye"): "closing",
    ("ringing", "1xx"): "ringing", ("ringing", "2xx"): "answered", ("ringing", "auth"): "auth",
    ("ringing", "cancel"): "cancelled", ("ringing", "final"): "ended", ("ringing", "bye"): "closing",
    ("ringing", "invite"): "ringing",  # a re-INVITE or UPDATE of an early dialog
    ("auth", "invite"): "calling", ("auth", "2xx"): "answered", ("auth", "1xx"): "ringing", ("auth", "final"): "ended",
    ("auth", "cancel"): "cancelled",
    ("cancelled", "1xx"): "cancelled", ("cancelled", "final"): "ended",
    ("cancelled", "2xx"): "answered",  # it was on its way already
    ("answered", "2xx"): "answered",  # of another branch (forking), or to a re-INVITE
    ("answered", "1xx"): "answered", ("answered", "final"): "answered",  # of a re-INVITE that was refused
    ("answered", "auth"): "answered", ("answered", "invite"): "answered", ("answered", "bye"): "closing",
    ("closing", "2xx"): "closing", ("closing", "bye"): "closing", ("closing", "done"): "ended",
    ("ended", "invite"): "calling",  # after 3xx, 422, 491 ...: the same call tries again
    ("ended", "bye"): "ended", ("ended", "done"): "ended",
}  # fmt: skip
