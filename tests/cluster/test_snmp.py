"""SNMP traps of the engine's events, as a management console receives them."""

from __future__ import annotations

import contextlib
import pathlib
import subprocess
from collections.abc import Iterator

from lab import Host, Lab, wait_until

PREFIX = "1.3.6.1.4.1.7359.1"
RECEIVER = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", 1162))
print("ready", flush=True)
while True:
    print(s.recv(65536).hex(), flush=True)
"""


def elements(data: bytes) -> list[tuple[int, bytes]]:
    """The elements of a constructed value in the basic encoding rules."""
    found = []
    while data:
        tag, length, head = data[0], data[1], 2
        if length & 0x80:
            head += length & 0x7F
            length = int.from_bytes(data[2:head], "big")
        found.append((tag, data[head:head + length]))
        data = data[head + length:]
    return found


def oid(data: bytes) -> str:
    numbers, value = [data[0] // 40, data[0] % 40], 0
    for byte in data[1:]:
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            numbers.append(value)
            value = 0
    return ".".join(map(str, numbers))


def trap(packet: str) -> dict[str, str]:
    """Version 2c: {"community": ..., "trap": OID, variable's OID: text}."""
    ((_, message),) = elements(bytes.fromhex(packet))
    (_, version), (_, community), (kind, pdu) = elements(message)
    assert version == b"\x01" and kind == 0xA7
    bindings = [elements(content) for _, content in elements(elements(pdu)[3][1])]
    assert [oid(name[1]) for name, _ in bindings[:2]] == ["1.3.6.1.2.1.1.3.0", "1.3.6.1.6.3.1.1.4.1.0"]
    return {"community": community.decode(), "trap": oid(bindings[1][1][1]),
            **{oid(name[1]): value[1].decode() for name, value in bindings[2:]}}


@contextlib.contextmanager
def console(host: Host) -> Iterator[pathlib.Path]:
    """A management console on the host's port 1162; the file has a line for each packet."""
    packets = host.root / "packets"
    with open(packets, "wb") as out:
        process = subprocess.Popen(host.enter("python3", "-c", RECEIVER), stdout=out, env=host.environment())
    try:
        wait_until(lambda: packets.read_text().startswith("ready"), 10, "the console listens")
        yield packets
    finally:
        host.kill_group(process)


def received(packets: pathlib.Path) -> list[dict[str, str]]:
    return [trap(line) for line in packets.read_text().splitlines()[1:]]


def respond(host: Host, event: str, subject: str, number: int, text: str) -> int:
    handler = str(host.root / "usr/lib/understudy/events/lifekeeper" / event / "snmptrap")
    return host.run("env", f"LK_EVENT_NUMBER={number}", f"LK_EVENT_TEXT={text}", handler, "-C", "lifekeeper", "-E", event,
                    "-m", "LK:recovery", "-n", subject, "-s", "1", "-i", "id-1", code=None).returncode


# Spec: CMD-148, CMD-149, CMD-150, CMD-151, CMD-157
def test_an_event_reaches_every_manager_as_a_trap_and_is_logged(lab: Lab) -> None:
    host = lab.host("left")
    host.power_on()
    (host.root / "etc/understudy/node").write_text("left\n")
    with console(host) as packets:
        assert respond(host, "startup_complete", "left", 100, "start complete") == 0
        host.settings(LK_TRAP_MGR="127.0.0.1:1162/secret")  # read at use
        assert respond(host, "startup_complete", "left", 100, "start complete") == 0
        assert respond(host, "node_recovered", "right", 121, "recovered here: ip.0, Vol.E, web.0") == 0
        assert respond(host, "resource_recovered", "ip.0", 132, "recovered") == 0
        wait_until(lambda: len(received(packets)) == 3, 10, "three traps")
        start, recovered, resource = received(packets)
    assert start == {"community": "secret", "trap": f"{PREFIX}.0.100", f"{PREFIX}.1": "LifeKeeper Startup Complete on left"}
    assert recovered["trap"] == f"{PREFIX}.0.121" and recovered[f"{PREFIX}.3"] == "ip.0 Vol.E web.0"
    assert resource["trap"] == f"{PREFIX}.0.132" and resource[f"{PREFIX}.2"] == "ip.0"
    log = (host.root / "var/log/understudy/snmp.log").read_text().splitlines()
    assert [line.split(": ", 1)[1] for line in log] == [
        "Trap 100 [LifeKeeper Startup Complete on left] sent to 127.0.0.1",
        "Trap 121 [LifeKeeper Node Recovery Complete for right - recovered list] sent to 127.0.0.1 :ip.0 Vol.E web.0",
        "Trap 132 [LifeKeeper Resource Recovery Complete on left] sent to 127.0.0.1 :ip.0"]


# Spec: CMD-155, CMD-157
def test_what_cannot_be_sent_is_logged_and_communication_traps_are_off_by_default(lab: Lab) -> None:
    host = lab.host("left")
    host.power_on()
    host.settings(LK_TRAP_MGR="no.such.host.invalid")
    assert respond(host, "startup_complete", "left", 100, "start complete") == 1
    log = host.root / "var/log/understudy/snmp.log"
    assert "not sent to no.such.host.invalid" in log.read_text()
    with console(host) as packets:
        host.settings(LK_TRAP_MGR="127.0.0.1:1162")
        handler = str(host.root / "usr/lib/understudy/events/lifekeeper/comm_down/snmptrap")
        down = (handler, "-C", "lifekeeper", "-E", "comm_down", "-m", "LK:recovery", "-n", "right", "-s", "4", "-i", "id-1")
        host.run(*down)
        host.settings(LK_TRAP_MGR="127.0.0.1:1162", LK_TRAP_COMM=1, LK_TRAP_PREFIX=".1.3.6.1.4.1.99999.5")
        host.run(*down)
        wait_until(lambda: received(packets), 10, "a trap")
        (only,) = received(packets)
    assert only["trap"] == "1.3.6.1.4.1.99999.5.0.141" and only["1.3.6.1.4.1.99999.5.1"].endswith("for right")


# Spec: CMD-158
def test_the_mib_names_every_trap(lab: Lab) -> None:
    mib = (lab.host("left").root / "usr/lib/understudy/include/LifeKeeper-MIB.txt").read_text()
    for number in (100, 101, 102, 110, 111, 112, 120, 121, 122, 130, 131, 132, 140, 141, 150, 160):
        assert mib.count(f"::= {{ lkTraps {number} }}") == 1, number
    for name, number in (("lkTrapMessage", 1), ("lkResourceTag", 2), ("lkRecoveredList", 3), ("lkFailedList", 4)):
        assert f"{name} OBJECT-TYPE" in mib and f"::= {{ lifekeeper {number} }}" in mib
