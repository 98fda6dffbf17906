"""The patterns by which telephone numbers are found in SIP messages. All are for messages in lower case.

A digit may be escaped (`%31`), and Arabic or full-width where the phone is. Each pattern consumes what it has looked
at, and what looks ahead does so for a few bytes only, so no input takes more than linear time.
"""

import re

LEAST = 5  # digits that make a number where nothing says that one stands there: lengths, ports and years have fewer

DIGIT = rb"(?:[0-9]|%3[0-9]|\xd9[\xa0-\xa9]|\xdb[\xb0-\xb9]|\xef\xbc[\x90-\x99])"
ANY = re.compile(rb"[0-9\xd9\xdb\xef]")
ONE = re.compile(rb"(" + DIGIT + rb")|%[0-9a-f]{2}")
PLAIN = re.compile(rb"\+?([0-9]+)\Z")

# Headers that hold no number, and those by which messages belong to calls and transactions.
SAFE = frozenset(
    b"accept accept-encoding accept-language allow allow-events call-id content-disposition content-encoding"
    b" content-length content-type cseq date event expires in-reply-to join max-breadth max-forwards mime-version"
    b" min-expires min-se p-charging-vector p-rtp-stat priority privacy proxy-authenticate proxy-require rack"
    b" replaces require retry-after rseq rtp-rxstat rtp-txstat security-client security-server security-verify server"
    b" session-expires session-id sip-etag sip-if-match subscription-state supported target-dialog timestamp"
    b" unsupported user-agent via www-authenticate x-call-id x-rtp-stat"
    b" c e i k l o u v x".split()
)
CREDENTIALS = frozenset(b"authorization proxy-authorization authentication-info proxy-authentication-info".split())
IDENTITY = frozenset((b"identity", b"y"))

_ADDRESS = rb"(?:0|[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5])"
_QUAD = _ADDRESS + rb"(?:\." + _ADDRESS + rb"){3}"
_IPV4 = _QUAD + rb"(?![0-9]|\.[0-9])(?::[0-9]{1,5}+)?+"
# What is taken for what it is, and stays: IP addresses, dates, tags and Call-IDs and their like, escapes, versions.
_STAYS = rb"|".join(
    (
        _IPV4,
        rb"\[[0-9a-f:.]{2,45}+\](?::[0-9]{1,5}+)?+",
        rb"[12][0-9]{3}-[01][0-9]-[0-3][0-9](?![0-9-])",
        rb"(?:tag|branch|instance|index|expires)[ \t]*+=[ \t]*+(?:\"[^\"]*+\"?|[^;,\s>]*+)",
        rb"(?:call-?id|replaces|in-reply-to)[ \t]*+=[ \t]*+(?:\"[^\"]*+\"?|[^;,&\s>]*+)",
        rb"sip/[0-9]\.[0-9](?: [1-6][0-9]{2}(?![0-9]))?",
        rb"%(?!3[0-9])[0-9a-f]{2}",
    )
)
_URI = rb"(?:sips?|tel|fax|pres|sms|h323):(?:([^\s<>\"@]{0,256}+)@)?+([^\s<>\";?,@&]*+)"
_PARAMETER = rb";[ \t]*+(?:isub|ext|postd|rn|cic|phone-context)[ \t]*+=[ \t]*+([^;>\s\"@,?&]*+)"
_RUN = rb"(" + DIGIT + rb"(?:[-. ()/]{0,3}+" + DIGIT + rb")*+)"
_LINES = rb"^(?:call-?id|cseq|via|content-length)[ \t]*+:[^\n]*+"
HOST, PARAMETER, RUN = 2, 3, 4  # groups: what the last one that matched means; 1 is the user of a URI
TEXT = re.compile(rb"|".join((_URI, _PARAMETER, _STAYS, _RUN)))
BODY = re.compile(rb"|".join((_URI, _PARAMETER, _LINES, _STAYS, _RUN)), re.M)  # lines of headers may stand in it
URI = re.compile(_URI)

HEADER = re.compile(rb"([^\n:]++)(:?+[^\n]*+(?:\n[ \t][^\n]*+)*+)")
# What follows on a digit in a display name, in quotes or not.
DISPLAY = re.compile(
    rb"(?:[^\"<>,;:=]{0,64}+|[^\"\\]{0,64}+(?:\\.[^\"\\]{0,64}+){0,8}+\"\s{0,8})<",
    re.S,
)
NUMBER_ONLY = re.compile(rb"(?!" + _QUAD + rb"\Z)[+*#()._-]*+(?:" + DIGIT + rb"[+*#()._-]*+)++\Z")
USERNAME = re.compile(rb"username\*?+\s*+=\s*+(?:\"((?:[^\"\\]++|\\.)*+)|([^\s,;\"]++))", re.S)
PASSPORT = re.compile(rb":\s*+[a-z0-9_-]++\.([a-z0-9_-]++)\.")  # RFC 8225: the numbers are in its second part
SDP_LINE = re.compile(rb"\n(?:o=([^\s]*+)|[siep]=([^\r\n]*+))")
SDP_NAME = re.compile(rb"cname:([^\s]++)")  # RFC 5576: mostly user@host
BINARY = re.compile(rb"^(?:content-type|c)[ \t]*+:\s*+application/(?:isup|qsig|x-q931|vnd\.3gpp\.sms)\b", re.M)
BOUNDARY = re.compile(rb"boundary[ \t]*+=[ \t]*+\"?([^\";\s]++)")
