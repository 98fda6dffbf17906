"""What happens on the wire of the bed's hosts: nobody may come in, tcpdump watches, RTCP and a flood of RTP are sent.

All of it in the hosts' network namespaces, by this machine's own programs: nothing is installed on a host for it.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

BRIDGE = os.environ["BED_BRIDGE"]
CONTROLLER = os.environ["BED_NET"].rpartition(".")[0] + ".1"
CLOSED = """
table inet closed
delete table inet closed
table inet closed {
  chain input {
    type filter hook input priority 0; policy drop;
    ct state established,related accept
    iif lo accept
    ip saddr %s tcp dport 22 accept
  }
}
"""
RTCP = """
import socket, struct, sys
at, to = sys.argv[1:3]
port, ssrc = map(int, sys.argv[3:])
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
    sender.bind((at, port))
    for n in range(3):
        report = struct.pack("!BBHIIIIII", 0x80, 200, 6, ssrc, 0xEA000000 + n, 0, n * 160, n, n * 160)
        name = struct.pack("!BBHIBB6s", 0x81, 202, 3, ssrc, 1, 4, b"call\\0\\0")
        sender.sendto(report + name, (to, port))
"""
FLOOD = """
import socket, struct, sys, time
to, port, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
    sound, sent, began = bytes(1280), 0, time.monotonic()
    while (now := time.monotonic() - began) < seconds:
        while sent < now * 4000:  # packets a second
            rtp = struct.pack("!BBHII", 0x80, 0, sent & 0xFFFF, sent * 1280 & 0xFFFFFFFF, 7)
            sender.sendto(rtp + sound, (to, port))
            sent += 1
        time.sleep(0.005)
    print(sent)
"""


def inside(host: str, *words: str) -> list[str]:
    return ["ip", "netns", "exec", f"{BRIDGE}-{host}", *words]


def close(*hosts: str) -> None:
    """From now on nobody opens a connection to these hosts but Ansible, by ssh from this machine."""
    for host in hosts:
        subprocess.run(inside(host, "nft", "-f", "-"), input=CLOSED % CONTROLLER, text=True, check=True)


def reaches(host: str, address: str, port: int) -> bool:
    """Whether a TCP connection from one of the hosts opens within two seconds."""
    words = inside(host, "timeout", "2", "bash", "-c", f"</dev/tcp/{address}/{port}")
    return subprocess.run(words, stderr=subprocess.DEVNULL, check=False).returncode == 0


@contextlib.contextmanager
def watched(folder: Path, *hosts: str) -> Iterator[dict[str, Path]]:
    """tcpdump on each host's interface; at the end the files are complete. RuntimeError where it lost a packet."""
    files = {host: folder / f"{host}.pcap" for host in hosts}
    running = {host: _tcpdump(host, file) for host, file in files.items()}
    try:
        yield files
    finally:
        said = {host: _ended(process) for host, process in running.items()}
    for host, words in said.items():
        if "\n0 packets dropped by kernel" not in words:
            raise RuntimeError(f"{host}: tcpdump lost packets, so there is nothing to compare with:\n{words}")


def _tcpdump(host: str, file: Path) -> subprocess.Popen:
    words = ["tcpdump", "-i", "eth0", "-w", str(file), "-Z", "root", "-B", "32768", "--nano", "-U", "udp"]
    process = subprocess.Popen(inside(host, *words), stderr=subprocess.PIPE, text=True)
    while (line := process.stderr.readline()) and "listening on" not in line:
        pass
    return process


def _ended(process: subprocess.Popen) -> str:
    process.send_signal(signal.SIGINT)
    return process.communicate(timeout=10)[1]


def send_rtcp(host: str, address: str, to: str, port: int, ssrc: int) -> None:
    """Three reports of who sends RTP with that SSRC."""
    words = [sys.executable, "-c", RTCP, address, to, str(port), str(ssrc)]
    subprocess.run(inside(host, *words), check=True)


def flood(host: str, to: str, port: int, seconds: float) -> subprocess.Popen:
    """RTP of one stream to a call's media port, 5 MB a second; it prints how many packets it has sent."""
    words = [sys.executable, "-c", FLOOD, to, str(port), str(seconds)]
    return subprocess.Popen(inside(host, *words), stdout=subprocess.PIPE, text=True)
