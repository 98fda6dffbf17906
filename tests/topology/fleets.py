"""Tiny fleets: one sound, and one for each rule that breaks that rule alone (code, changes, what is said)."""

import copy

PASSWORD = "a-long-enough-pass-phrase-7f3"
OTHER = "another-pass-phrase-of-length-9"
SOUND = {
    "groups": {"centrals": ["hq"], "sensors": ["branch1", "branch2"], "mirrors": []},
    "hq": {"voipfleet_address": "10.0.0.1"},
    "branch1": {"voipfleet_interface": "eth0", "voipfleet_server_destination": "hq", "voipfleet_id_sensor": 1},
    "branch2": {"voipfleet_interface": "eth0", "voipfleet_server_destination": "hq", "voipfleet_id_sensor": 2},
}


def fleet(**changes) -> tuple[dict, dict]:
    """(groups, hostvars) of SOUND with `changes`: host=variables to add (None removes), groups=groups to replace."""
    made = copy.deepcopy(SOUND)
    for name, change in changes.items():
        made.setdefault(name, {}).update(change)
    groups = made.pop("groups")
    hostvars = {name: {key: value for key, value in variables.items() if value is not None}
                for name, variables in made.items()}  # fmt: skip
    for variables in hostvars.values():
        variables.setdefault("voipfleet_server_password", PASSWORD)
    groups["all"] = sorted(hostvars)
    return groups, hostvars


def v(**variables) -> dict:
    return {f"voipfleet_{key}": value for key, value in variables.items()}


RELAY = {"groups": {"mirrors": ["relay"]}, "relay": v(server_destination="hq")}
SET_ONCE = "set vault_voipfleet_server_password once, for group all"
# code -> (changes to the sound fleet, everything that is then said)
BROKEN = {
    "T01": ({"branch1": v(sippport="5060")},
            ["T01 branch1: voipfleet_sippport is not a known variable (did you mean voipfleet_sipport?);"
             " correct or remove it"]),
    "T02": ({"branch1": v(packetbuffer_compress_ratio=101)},
            ["T02 branch1: voipfleet_packetbuffer_compress_ratio is 101; give a number from 1 to 100 %"]),
    "T03": ({"branch1": v(ssl_sessionkey_udp="yes")},
            ["T03 branch1: voipfleet_ssl_sessionkey_udp is known but not built yet in this release; remove it"]),
    "T04": ({"branch1": v(server_bind="0.0.0.0")},
            ["T04 branch1: voipfleet_server_bind cannot stand with server_destination in one instance;"
             " remove one of them"]),
    "T05": ({"groups": {"centrals": ["hq", "branch1"]}},
            ["T05 branch1: is in group centrals, which makes it listen for sensors, and has"
             " voipfleet_server_destination, which makes it a client; take one away"]),
    "T06": ({"branch1": v(server_destination="hqq")},
            ["T06 branch1: voipfleet_server_destination is hqq, which is not in the inventory (did you mean hq?);"
             " name a host of the inventory"]),
    "T07": ({"branch1": v(server_destination="branch2")},
            ["T07 branch1: voipfleet_server_destination is branch2, which is not a central; put it into group centrals"
             " or name another"]),
    "T08": ({"branch1": v(server_destination="branch1")},
            ["T08 branch1: voipfleet_server_destination is the host itself; name another"]),
    "T09": ({"groups": {"mirrors": ["m1", "m2"]}, "m1": v(mirror_destination="m2"), "m2": v(mirror_destination="m1")},
            ["T09 m1: what it sends comes back to it (m1 -> m2 -> m1); remove one of these destinations"]),
    "T10": ({"branch1": v(packetbuffer_sender=True, server_destination=None)},
            ["T10 branch1: voipfleet_packetbuffer_sender needs server_destination, where the packets go;"
             " set it or remove this"]),
    "T11": ({"branch1": v(server_destination_port=60025)},
            ["T11 branch1: sends to port 60025 of hq, which listens on 60024; make voipfleet_server_destination_port"
             " here and voipfleet_server_bind_port there the same"]),
    "T12": ({"groups": {"mirrors": ["hq"]}, "hq": v(mirror_bind_port=60024),
             "branch1": v(mirror_destination="hq", mirror_destination_port=60024)},
            ["T12 hq: voipfleet_mirror_bind_port is also server_bind_port; give each listener a port of its own"]),
    "T12 of the manager": ({"hq": v(manager_port=60024), "branch1": v(manager_port=9417)},
            ["T12 branch1: voipfleet_metrics_port is also manager_port; give each listener a port of its own",
             "T12 hq: voipfleet_manager_port is also server_bind_port; give each listener a port of its own"]),
    "T13": ({"branch1": v(server_password="")},
            [f"T13 branch1: voipfleet_server_password is missing; {SET_ONCE}"]),
    "T14": ({name: v(server_password="changeme-changeme-123") for name in ("hq", "branch1", "branch2")},
            ["T14 fleet: voipfleet_server_password is one that anybody would try on branch1, branch2, hq; take a random"
             " one, for all hosts"]),
    "T15": ({name: v(server_password="tooshort-x7w9zq") for name in ("hq", "branch1", "branch2")},
            ["T15 fleet: voipfleet_server_password has fewer than 16 characters on branch1, branch2, hq; take a longer"
             " one, for all hosts"]),
    "T16": ({"branch2": v(server_password=OTHER)},
            ["T16 fleet: voipfleet_server_password is not the same on all hosts (branch1, hq | branch2); " + SET_ONCE]),
    "T17": ({"branch2": v(fleet_id="north")},
            ["T17 fleet: voipfleet_fleet_id is not the same on all hosts (branch1, hq | branch2), so that their"
             " passwords do not match; set it once, for group all"]),
    "T18": ({"branch2": v(id_sensor=1)},
            ["T18 branch2: voipfleet_id_sensor 1 is also that of branch1; give each sensor a number of its own"]),
    "T19": ({"branch1": v(interface=None)},
            ["T19 branch1: is in group sensors but captures nothing; set voipfleet_interface"]),
    "T20": ({"groups": {"sensors": []}, "branch1": v(interface=None, server_destination=None),
             "branch2": v(interface=None, server_destination=None)},
            ["T20 fleet: no host captures; put at least one into group sensors and set its voipfleet_interface"]),
    "T21": ({**RELAY, "relay": v(server_destination="nowhere"), "branch1": v(server_destination=None,
                                                                             mirror_destination="relay")},
            ["T06 relay: voipfleet_server_destination is nowhere, which is not in the inventory; name a host of the"
             " inventory"]),
    "T22": ({"groups": {"centrals": ["hq", "hq2"]}, "hq2": {}, "branch1": v(server_destination=["hq", "hq2"])},
            ["T22 branch1: the centrals of its failover list (hq, hq2) do not share a database; give them the same"
             " voipfleet_mysqlhost (no local socket) and mysqldb, or name one"]),
    "T24": ({"hq": v(ssl_ipport="10.0.0.9:5061")},
            ["T03 hq: voipfleet_ssl_ipport is known but not built yet in this release; remove it",
             "T24 branch1: voipfleet_sipport lacks 5061, which hq is to decrypt (voipfleet_ssl_ipport); add it here",
             "T24 branch2: voipfleet_sipport lacks 5061, which hq is to decrypt (voipfleet_ssl_ipport); add it here"]),
    "T25": ({"hq": v(database_url="mysql://voipfleet:hidden-word-in-url@db/calls")},
            ["T25 hq: voipfleet_database_url holds a password, which would stand in the configuration; use"
             " voipfleet_mysqlhost, _mysqldb, _mysqluser and _mysqlpassword instead"]),
    "T26": ({"branch1": v(packetbuffer_sender=True, number_keep_last=3)},
            ["T26 branch1: voipfleet_number_keep_last masks numbers in records and in kept packets, but this host sends"
             " raw packets with the whole numbers; send records, or remove it"]),
    "T27": ({"hq": v(interface="eth0")},
            ["T27 hq: voipfleet_interface is set but the host is not in group sensors; add it there or remove this"]),
    "T30": ({"hq": v(server_passwords=["short"]), "branch1": v(server_password=None, server_psk="AAAA"),
             "branch2": v(server_passwords=[OTHER] * 4)},
            ["T30 branch1: voipfleet_server_psk is no derived key; take what `voipfleet keygen --psk` prints",
             "T30 branch2: voipfleet_server_passwords has 4 passwords; at most 3 besides the present one, remove"
             " what no sensor uses any more",
             "T30 hq: voipfleet_server_passwords has one that is too short or that anybody would try; remove it, its"
             " sensors must get the present one first"]),
    "T29": ({"groups": {"mirrors": [f"m{n}" for n in range(8)]},
             **{f"m{n}": v(mirror_destination=f"m{n + 1}") for n in range(7)}, "m7": v(server_destination="hq"),
             "branch2": v(server_destination=None, mirror_destination="m0")},
            ["T29 branch2: its packets pass more than 8 hosts (branch2 -> m0 -> m1 -> m2 -> m3 -> m4 -> m5 -> m6 ->"
             " m7); let some of them send to a host further on"]),
    "T31": ({"branch1": v(maxpoolsize=1000, maxpoolaudiosize=1001, maxpoolrtpdays=8, maxpooldays=7)},
            ["T31 branch1: voipfleet_maxpoolaudiosize is 1001 MB, more than maxpoolsize allows for all kinds together"
             " (1000); make one smaller or the other larger",
             "T31 branch1: voipfleet_maxpoolrtpdays is 8 days, more than maxpooldays allows for all kinds together (7);"
             " make one smaller or the other larger"]),
    "T28": ({"groups": {"mirrors": ["m"]}, "m": {}, "hq": v(mirror_destination="m")},
            ["T28 hq: voipfleet_mirror_destination needs an interface to capture on; set interface"]),
}  # fmt: skip
# Warnings about what is kept: they stop nothing.
WARNED = {
    "W06": ({"branch1": v(savertp="yes", number_keep_last=3)},
            ["W06 branch1: voipfleet_savertp is yes, so the voice of calls is kept there; the law may forbid that, or"
             " want consent, a purpose and a short time (voipfleet_maxpoolaudiodays): ask who answers for it, or take"
             " header"]),
    "W07": ({"branch1": v(packetbuffer_sender=True, savertp="yes", maxpooldays=3)},
            ["W07 branch1: voipfleet_savertp, voipfleet_maxpooldays say nothing there, for this host sends its packets"
             " on and keeps none; set them where they are analysed, first on hq"]),
    "W08": ({"hq": v(number_keep_last=3), "branch2": v(packetbuffer_sender=True)},
            ["W08 hq: voipfleet_number_keep_last masks what is analysed there, but the records of branch1 come with the"
             " whole numbers; set it there too"]),
}  # fmt: skip
