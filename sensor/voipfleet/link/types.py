"""Numbers of the link's roles and message types; docs/link.md has the table. Values never change their meaning."""

ROLE_RECORDS, ROLE_PACKETS, ROLE_MANAGER = 1, 2, 3

# every role
WELCOME, PING, PONG, GOAWAY = 1, 2, 3, 4
# records
BATCH, ACK, STATUS, BEHIND = 16, 17, 18, 19
# packets
PACKETS, PACKETS_TAKEN, PACKETS_GAP, PACKETS_HEARD = 32, 33, 34, 35
# asking: records and packets, and in the other direction the manager's
ASK, DATA, END, MORE, CANCEL = 48, 49, 50, 51, 52
