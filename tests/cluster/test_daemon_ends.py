"""What an application with a mirrored volume notices of a daemon that ends or cannot start."""

from __future__ import annotations

import fcntl
import pathlib
import subprocess
import sys
import time

import pytest
from lab import Host, Lab, build_directory, wait_until
from test_mirror import VOLUME as MIRROR
from test_mirror import create_mirror, device, in_sync
from two_hosts import TwoHosts

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "torture"))

from torture import VOLUME, Torture  # noqa: E402

# A container whose filter refuses io_uring, as that of some runtimes does.
WITHOUT_IO_URING = """
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
IO_URING_SETUP, EPERM, ALLOW, ERRNO = 425, 1, 0x7FFF0000, 0x00050000
code = b"".join(struct.pack("HBBI", *one) for one in ((0x20, 0, 0, 0), (0x15, 0, 1, IO_URING_SETUP), (0x06, 0, 0, ERRNO | EPERM), (0x06, 0, 0, ALLOW)))
filter = ctypes.create_string_buffer(code)
program = struct.pack("HxxxxxxP", 4, ctypes.addressof(filter))
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, ctypes.create_string_buffer(program), 0, 0) == 0, ctypes.get_errno()
os.execv(sys.argv[1], sys.argv[1:])
"""


# Spec: REP-219
def test_the_death_of_the_cluster_daemon_is_no_matter_for_the_volume(lab: Lab) -> None:
    torture = Torture(lab, "sync", seed=3)
    torture.begin()
    writer = torture.write()
    torture.some_writes()
    for host in (torture.source, torture.target):
        host.kill("understudyd")
    for host in (torture.source, torture.target):
        wait_until(lambda h=host: not h.pids_of("understudyd"), 10, "understudyd is gone")
    torture.some_writes(100)
    for host in (torture.source, torture.target):
        assert host.mirror(VOLUME)["state"] == "mirroring"
    # The mirror is still managed: that is mirrord's. (A pause would wait: the cluster has to be told of it.)
    torture.source.command("understudy", "mirror", "set", VOLUME, "CompressionLevel=3")
    torture.some_writes()
    for host in (torture.source, torture.target):
        host.command("lkstart")
    torture.some_writes()
    assert torture.source.mirror(VOLUME)["role"] == "source", "nobody has taken over"
    torture.expect(torture.source, torture.end_writer(writer), True)
    torture.expect_same()


# Spec: REP-079, REP-219
def test_writes_wait_for_a_cluster_daemon_that_is_started_again(pair: tuple[Host, Host]) -> None:
    left, right = pair
    create_mirror(left, right)
    in_sync(left)
    limit = 5
    left.settings(ALLOW_FAST_HEARTBEATS=1, INIT_PEER_WAIT=2, NDLGTimeoutMs=limit * 1000)
    left.kill("mirrord")
    wait_until(lambda: not left.pids_of("mirrord"), 10, "mirrord is gone")
    left.command("lkstart")
    wait_until(lambda: left.run("understudy", "mirror", "status", code=None).returncode == 0, 30, "mirrord answers")
    in_sync(left)
    left.kill("understudyd")
    right.kill("mirrord")
    writer = left.spawn("dd", "if=/dev/zero", f"of={device(left)}", "bs=4096", "count=1", "oflag=direct", "conv=notrunc", log="writer")
    wait_until(lambda: "writes wait until the cluster knows" in left.mirror(MIRROR)["problem"], 30, "the cause is told")
    began = time.monotonic()
    wait_until(lambda: time.monotonic() > began + limit + 1, 30, "longer than anybody else is waited for")
    assert writer.poll() is None and "writes wait" in left.mirror(MIRROR)["problem"]
    left.command("lkstart")
    assert writer.wait(40) == 0
    assert f"!mirrorbehind!{MIRROR}!left!" in right.command("flg_list")
    assert "writes" not in left.mirror(MIRROR)["problem"]


class MirrordAlone(TwoHosts):
    # Spec: REP-220
    def test_what_a_killed_process_still_holds_delays_its_successor_and_no_more(self) -> None:
        self.create()
        self.in_sync()
        self.left.write(3, "before")
        for held in (self.left.disk, self.left.root / "var/lib/understudy/Bitmaps/R@right.bitmap"):
            self.left.kill()
            with held.open("rb") as file:
                # The kernel ends the last requests of a process that was killed after it has reported its death.
                fcntl.flock(file, fcntl.LOCK_EX)
                self.left.start()
                told = f"{held.name} is in use"
                wait_until(lambda t=told: t in (self.left.root / "mirrord.out").read_text(), 60, "it is told")
            self.in_sync()
            self.left.write(4, held.name)
            assert self.right.read(4) == held.name and self.right.read(3) == "before"


# Spec: REP-361
@pytest.mark.parametrize("able", [True, False])
def test_the_data_path_says_that_it_runs_or_why_it_cannot(tmp_path: pathlib.Path, able: bool) -> None:
    (tmp_path / "etc/understudy").mkdir(parents=True)
    (tmp_path / "etc/understudy/node").write_text("alone\n")
    words = [str(build_directory() / "bin/mirrord"), "--root", str(tmp_path), "--listen", "127.0.0.1", "--port", "39999"]
    if not able:
        words = [sys.executable, "-c", WITHOUT_IO_URING, *words]
    with (tmp_path / "out").open("wb") as out:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        log = tmp_path / "var/log/understudy/mirrord.log"
        if able:
            wait_until(lambda: log.exists() and "(event 1)" in log.read_text(), 60, "it runs")
            assert process.poll() is None
        else:
            assert process.wait(60) == 1
            assert "refuses io_uring" in log.read_text() and "(event 2)" in log.read_text()
            assert "(event 1)" not in log.read_text()
    finally:
        process.terminate()
        process.wait(60)
        for pid in subprocess.run(["pgrep", "-f", f"understudy-keeper.*{tmp_path}"], capture_output=True, text=True, check=False).stdout.split():
            subprocess.run(["kill", pid], check=False)
