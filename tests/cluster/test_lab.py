"""The harness itself, where it once failed a test that was right."""

from __future__ import annotations

import pathlib

from lab import Lab, wait_until


def test_a_host_that_stands_still_loses_its_power_at_once(lab: Lab) -> None:
    host = lab.host("left")
    host.power_on()
    spawned = host.spawn("sleep", "1000")
    wait_until(lambda: host.pids_of("sleep"), 10, "the program runs")
    host.run("bash", "-c", "kill -STOP -1")
    wait_until(lambda: ") T " in pathlib.Path(f"/proc/{spawned.pid}/stat").read_text(), 10, "nsenter stands still too")
    host.power_off()
    assert not host.running
    assert spawned.wait(10) != 0


def test_memory_that_a_host_shares_goes_with_its_power(lab: Lab) -> None:
    host = lab.host("left")
    host.power_on()
    host.run("touch", "/dev/shm/of-the-host")
    assert not pathlib.Path("/dev/shm/of-the-host").exists()
    host.power_off()
    host.power_on()
    assert not host.run("ls", "/dev/shm").stdout
