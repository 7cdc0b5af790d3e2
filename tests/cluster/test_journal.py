"""The daemon's log where systemd's journal reads it."""

from __future__ import annotations

import socket
import struct

from lab import Lab, wait_until


def fields(datagram: bytes) -> dict[str, str]:
    """What journald makes of a record: names, each with a value that may hold line ends."""
    found: dict[str, str] = {}
    while datagram:
        name, rest = datagram.split(b"\n", 1)
        size, = struct.unpack("<Q", rest[:8])
        found[name.decode()] = rest[8:8 + size].decode()
        datagram = rest[8 + size + 1:]
    return found


# Spec: QUO-130
def test_messages_go_to_the_journal_whole_and_their_numbers_as_fields(lab: Lab) -> None:
    host = lab.host("alone")
    host.settings(DISABLED_KITS="comm/ip")
    host.power_on()
    directory = host.root / "run/systemd/journal"
    directory.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(directory / "socket"))
        journal.setblocking(False)
        records: list[dict[str, str]] = []

        def arrived(text: str) -> dict[str, str] | None:
            try:
                while True:
                    records.append(fields(journal.recv(1 << 20)))
            except BlockingIOError:
                pass
            return next((record for record in records if text in record["MESSAGE"]), None)

        host.command("env", "JOURNAL_STREAM=8:1234", "lkstart", "-w", "30")
        plain = wait_until(lambda: arrived("understudyd of node alone runs"), 10, "the daemon tells that it runs")
        assert isinstance(plain, dict)
        assert plain["SYSLOG_IDENTIFIER"] == "understudyd" and plain["PRIORITY"] == "6" and "LK_NUMBER" not in plain
        numbered = wait_until(lambda: arrived("comm/ip"), 10, "a message with a number")
        assert isinstance(numbered, dict)
        assert numbered["LK_NUMBER"].isdigit() and numbered["PRIORITY"] == "3"
        log = (host.root / "var/log/understudy/understudyd.log").read_text()
        assert f"(No. {numbered['LK_NUMBER']}) {numbered['MESSAGE']}" in log, "the file has it too"
