"""The database's disk is full: real daemons, killed and stopped meanwhile."""

from __future__ import annotations

import pytest
from lab import Host, Lab, wait_until
from test_recovery import calls, protect_script


def fill(host: Host, directory: str) -> str:
    """Until the configuration database does not fit any more; the file that takes the room."""
    filler = f"{directory}/filler"
    host.run("sh", "-c", f"dd if=/dev/zero of={filler} bs=4k 2>/dev/null; true")
    # What the database's log has room for already it takes without asking the disk.
    for count in range(200):
        host.command("ins_setin", "-t", "App.0", "-v", f"{count} " + 50_000 * "x")
        if host.run("lcdsync", code=None).returncode != 0:
            return filler
    pytest.fail("the disk is never full")


# Spec: CLU-089, CLU-125, CMD-050, CMD-052
def test_a_daemon_that_is_killed_or_stopped_on_a_full_disk_forgets_nothing(lab: Lab) -> None:
    left, right = lab.host("left"), lab.host("right")
    right.power_on()
    state = str(right.root / "var/lib/understudy")
    right.run("mount", "-t", "tmpfs", "-o", "size=8m", "none", state)
    lab.form_cluster(left, right)
    protect_script(left, right)
    left.command("perform_action", "-a", "restore", "-t", "App.0")
    filler = fill(right, state)
    left.power_off()
    wait_until(lambda: right.state("App.0") == "ISP", 20, "right takes over although its disk is full")
    right.kill("understudyd")
    right.start()
    assert right.state("App.0") == "ISP", "the disk says that it was never started"
    assert [call.split()[0] for call in calls(right)] == ["restore", "restore"], "started, then affirmed"
    assert "were not on the disk when understudyd ended" in (right.root / "var/log/understudy/understudyd.log").read_text()

    stopped = right.run("lkstop", code=1)
    assert stopped.stdout.splitlines()[-1] == "LIFEKEEPER NOW STOPPED"
    assert "its last states and changes are not on the disk" in stopped.stderr
    assert "A start before the next boot finds them" in stopped.stderr
    assert right.pids_of("understudyd") == []
    right.start()
    wait_until(lambda: right.state("App.0") == "ISP", 20, "it is started as after any stop")
    assert [call.split()[0] for call in calls(right)][2:] == ["remove", "restore"]

    right.run("rm", filler)
    assert right.run("lkstop").stderr == ""
    assert not (right.root / "run/understudy/config.tail").exists()


# Spec: CLU-089, CLU-125
def test_with_a_full_run_directory_too_a_daemon_that_is_killed_forgets_nothing(lab: Lab) -> None:
    left, right = lab.host("left"), lab.host("right")
    right.power_on()
    state, run = str(right.root / "var/lib/understudy"), str(right.root / "run/understudy")
    right.run("mkdir", "-p", run)
    for directory in (state, run):
        right.run("mount", "-t", "tmpfs", "-o", "size=12m", "none", directory)
    lab.form_cluster(left, right)
    protect_script(left, right)
    left.command("perform_action", "-a", "restore", "-t", "App.0")
    fillers = [fill(right, state), f"{run}/filler"]
    right.run("sh", "-c", f"dd if=/dev/zero of={fillers[1]} bs=4k 2>/dev/null; true")
    assert right.run("sh", "-c", f"echo more > {run}/more", code=None).returncode != 0, "nothing has room there"
    left.power_off()
    wait_until(lambda: right.state("App.0") == "ISP", 20, "right takes over although nothing takes anything")
    right.kill("understudyd")
    right.start()
    assert right.state("App.0") == "ISP"
    assert [call.split()[0] for call in calls(right)] == ["restore", "restore"], "started, then affirmed"
    log = (right.root / "var/log/understudy/understudyd.log").read_text()
    assert "make room" not in log, "commits had their room"
    assert "were not on the disk when understudyd ended" in log
    for filler in fillers:
        right.run("rm", filler)
    assert right.run("lkstop").stderr == ""
