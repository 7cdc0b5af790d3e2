"""A PostgreSQL on a mirrored volume behind a switchable address, protected by two hosts; and a client that writes."""

from __future__ import annotations

import json
import pathlib
import subprocess
import time
from dataclasses import dataclass, field

from lab import Host, Lab, wait_until

VOLUME = "data"
ADDRESS = "10.77.1.100"
PORT = 5432
ROOT_TAG = "pgsql-5432"
WRITER = pathlib.Path(__file__).with_name("writer.py")


@dataclass
class Protected:
    """The hierarchy pgsql-5432 -> Vol.data, 10.77.1.100 on two hosts."""

    lab: Lab
    left: Host
    right: Host
    mode: str = "sync"
    volume_mib: int = 512
    fs: str = "ext4"
    mount: str = ""
    steps: list[str] = field(default_factory=list)

    def create(self) -> None:
        """Makes everything from a definition, on `left`."""
        left = self.left
        self._make_volume()
        definition = left.root / "cluster.yaml"
        definition.write_text(left.command("understudy", "config", "export").replace("resources:\n  []", self.resources()))
        left.command("understudy", "config", "apply", str(definition), timeout=120)
        left.command("perform_action", "-b", "-a", "restore", "-t", f"Vol.{VOLUME}")
        self._make_database()
        left.command("perform_action", "-a", "restore", "-t", ROOT_TAG, timeout=120)
        self._make_table()

    def create_by_operations(self) -> None:
        """The same by one creation for each resource; nothing is extended yet."""
        left = self.left
        create = ("understudy", "resource", "create")
        self._make_volume()
        left.command(*create, "filesys", "volume", f"Vol.{VOLUME}", "--id", VOLUME, f"mount={self.mount}", f"fs={self.fs}", timeout=120)
        self._make_database()
        left.run("runuser", "-u", "postgres", "--", "/usr/lib/postgresql/15/bin/pg_ctl", "start", "-w", "-D", f"{self.mount}/pg",
                 "-l", f"{self.mount}/pg/log", "-o", f"-p {PORT}", timeout=60)
        left.command(*create, "comm", "ip", ADDRESS, "device=eth0", "prefix=24")
        left.command(*create, "database", "pgsql", ROOT_TAG, "--id", str(PORT), "--needs", ADDRESS, f"data={self.mount}/pg",
                     "user=postgres", timeout=120)
        self._make_table()

    def _make_table(self) -> None:
        self.left.run("psql", "-h", ADDRESS, "-U", "postgres", "-c", "CREATE TABLE rows (n bigint PRIMARY KEY)")
        self.left.command("lcdsync")

    def _make_volume(self) -> None:
        left, right = self.left, self.right
        size = self.volume_mib << 20
        devices = {host: host.disk("data.img", size) for host in (left, right)}
        self.mount = "/mnt"  # each host has its own mounts
        left.command("understudy", "mirror", "create", VOLUME, "--device", devices[left], "--target", right.name,
                     "--target-device", devices[right], "--source-address", left.address(2),
                     "--target-address", right.address(2), "--type", self.mode, timeout=120)
        device = str(left.root / "dev/understudy" / VOLUME)
        no_discard = ("-K",) if self.fs == "xfs" else ("-E", "nodiscard")
        left.run(f"mkfs.{self.fs}", "-q", *no_discard, device, timeout=120)

    def resources(self) -> str:
        """The hierarchy, as a definition has it."""
        both = f"on: {{{self.left.name}: 1, {self.right.name}: 10}}"
        return f"""resources:
  - {{tag: Vol.{VOLUME}, type: filesys/volume, id: {VOLUME}, info: "mount={self.mount} fs={self.fs} options=noatime", {both}}}
  - {{tag: {ADDRESS}, type: comm/ip, id: {ADDRESS}, info: "device=eth0 prefix=24", {both}}}
  - tag: {ROOT_TAG}
    type: database/pgsql
    id: "{PORT}"
    info: "data={self.mount}/pg user=postgres"
    needs: [Vol.{VOLUME}, {ADDRESS}]
    {both}
"""

    def _make_database(self) -> None:
        left = self.left
        data = f"{self.mount}/pg"
        left.run("install", "-d", "-o", "postgres", "-g", "postgres", "-m", "700", data)
        left.run("runuser", "-u", "postgres", "--", "/usr/lib/postgresql/15/bin/initdb", "-D", data, "-A", "trust",
                 "--no-sync", "-N", timeout=120)
        left.run("bash", "-c", f"echo 'host all all 10.77.0.0/16 trust' >>{data}/pg_hba.conf; "
                 f"printf \"listen_addresses='*'\\nunix_socket_directories='/tmp'\\nshared_buffers='32MB'\\n\" >>{data}/postgresql.conf; sync")

    def wait_in_sync(self, host: Host, limit: float = 120) -> None:
        wait_until(lambda: host.mirror(VOLUME).get("state") == "mirroring", limit, f"mirror of {VOLUME} in sync", 0.05)

    def wait_active(self, host: Host, limit: float = 60) -> None:
        wait_until(lambda: host.state(ROOT_TAG) == "ISP", limit, f"{ROOT_TAG} in service on {host.name}", 0.05)

    def rows(self, host: Host) -> set[int]:
        out = host.run("psql", "-h", ADDRESS, "-U", "postgres", "-At", "-c", "SELECT n FROM rows").stdout
        return {int(line) for line in out.split()}


class Client:
    """The writing client, on a host of its own."""

    def __init__(self, host: Host, pause_ms: float = 0) -> None:
        self.host = host
        self.pause_ms = pause_ms
        self.path = host.root / "acknowledged"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = self.host.spawn("/usr/bin/python3", str(WRITER), ADDRESS, str(PORT), str(self.path),
                                        str(self.pause_ms), log="writer")

    def stop(self) -> None:
        if self._process is None:
            return
        self.host.kill_group(self._process)
        self._process = None

    def acknowledgements(self) -> list[tuple[int, int]]:
        """(row, monotonic nanoseconds) in order."""
        if not self.path.exists():
            return []
        lines = self.path.read_text().split("\n")[:-1]
        return [(int(number), int(when)) for number, when in (line.split() for line in lines)]

    def count(self) -> int:
        return len(self.acknowledgements())

    def wait_for_more(self, rows: int, limit: float) -> None:
        target = self.count() + rows
        wait_until(lambda: self.count() >= target, limit, f"{rows} more acknowledged rows", 0.01)

    def gap_around(self, start_ns: int, end_ns: int) -> float:
        """The longest time in ms without an acknowledgement that overlaps the window."""
        times = [when for _, when in self.acknowledgements()]
        gaps = [(b - a) / 1e6 for a, b in zip(times, times[1:]) if b >= start_ns and a <= end_ns]
        return max(gaps, default=0.0)


@dataclass
class Run:
    """What one power-off and one switchover cost."""

    mode: str
    outage_ms: float = 0
    detection_ms: float = 0
    takeover_ms: float = 0
    switchover_outage_ms: float = 0
    rows_acknowledged: int = 0
    rows_lost: int = 0
    resync_bytes: int = 0

    def as_json(self) -> dict[str, object]:
        return {key: round(value, 1) if isinstance(value, float) else value for key, value in self.__dict__.items()}


NODE_FAILURE, RECOVERED = 120, 121  # numbers of exported events


def event_time_us(host: Host, number: int, since_us: int) -> int | None:
    """Wall time of the first event of this number after `since_us`."""
    for event in json.loads(host.command("understudy", "events", "--json", "--count", "200", code=None) or "[]"):
        if event["time_us"] >= since_us and event["event"] == number:
            return event["time_us"]
    return None


def power_cycle(story: Protected, client: Client, tell=lambda text: None) -> Run:  # noqa: ANN001
    """left dies under load, right takes over, left returns and gets the hierarchy back."""
    left, right = story.left, story.right
    run = Run(story.mode)
    client.wait_for_more(50, 30)

    wall_us, event_ns = time.time_ns() // 1000, time.monotonic_ns()
    left.power_off()
    tell("left is powered off")
    wait_until(lambda: any(t > event_ns + 100_000_000 for _, t in client.acknowledgements()[-3:]), 60,
               "a write acknowledged by right")
    client.wait_for_more(20, 30)
    run.outage_ms = client.gap_around(event_ns, time.monotonic_ns())
    down = event_time_us(right, NODE_FAILURE, wall_us)
    story.wait_active(right)
    over = event_time_us(right, RECOVERED, wall_us)
    run.detection_ms = (down - wall_us) / 1000 if down else float("nan")
    run.takeover_ms = (over - down) / 1000 if over and down else float("nan")
    tell(f"right answers after {run.outage_ms:.0f} ms (noticed after {run.detection_ms:.0f} ms, "
         f"taken over in {run.takeover_ms:.0f} ms)")

    acknowledged = {number for number, _ in client.acknowledgements()}
    run.rows_lost = len(acknowledged - story.rows(right))
    run.rows_acknowledged = len(acknowledged)
    tell(f"{run.rows_acknowledged} acknowledged rows, {run.rows_lost} lost")

    left.start()
    story.wait_in_sync(right)
    wait_until(lambda: left.state(ROOT_TAG) == "OSU", 60, "left as standby")
    run.resync_bytes = int(right.mirror(VOLUME).get("resync_bytes_sent", 0))
    tell(f"left is back as standby; {run.resync_bytes / 1048576:.1f} MiB were copied to it")

    client.wait_for_more(50, 30)
    start = time.monotonic_ns()
    left.command("understudy", "switchover", ROOT_TAG, "--to", left.name, timeout=120)
    client.wait_for_more(20, 30)
    run.switchover_outage_ms = client.gap_around(start, time.monotonic_ns())
    story.wait_active(left)
    acknowledged = {number for number, _ in client.acknowledgements()}
    run.rows_lost += len(acknowledged - story.rows(left))
    run.rows_acknowledged = len(acknowledged)
    story.wait_in_sync(left)
    tell(f"switched back to left; writes paused for {run.switchover_outage_ms:.0f} ms")
    return run
