"""A path over a shared disk, and a daemon that stands still: who is alive, and what follows from that."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from lab import Host, Lab, wait_until
from test_recovery import calls, protect_script


@pytest.fixture
def shared_disk(lab: Lab) -> Iterator[str]:
    """A block device that every host sees under the same name."""
    image = lab.directory / "shared-disk"
    with open(image, "wb") as file:
        file.truncate(1 << 20)
    device = subprocess.run(["losetup", "--find", "--show", str(image)], check=True, capture_output=True, text=True).stdout.strip()
    yield device
    for host in lab.hosts.values():
        if host.running:
            host.power_off()
    subprocess.run(["losetup", "-d", device], check=True)


def path_states(host: Host) -> list[str]:
    return [line.split("|")[6] for line in host.command("net_list", "-f|").split()]


# Spec: CLU-046, CLU-052, CLU-053, CLU-057, CLU-059, CLU-063, CLU-091
def test_a_disk_path_keeps_hosts_alive_that_have_lost_their_networks(lab: Lab, pair: tuple[Host, Host], shared_disk: str) -> None:
    left, right = pair
    disk = ("-D", f"DISK:{shared_disk}", "-n", "DISK", "-p", "61", "-h", "200ms", "-c", "3")
    file = left.run("net_create", "-s", "right", "-D", f"DISK:{left.root}/disks", "-n", "DISK", "-p", "61", code=5)
    assert "is no block device" in file.stderr
    left.command("net_create", "-s", "right", *disk)
    right.command("net_create", "-s", "left", *disk)
    for host in pair:
        wait_until(lambda h=host: path_states(h) == ["ALIVE"] * 3, 15, f"all paths of {host.name} ALIVE")
    assert left.run("net_create", "-s", "right", "-D", "DISK:/dev/other", "-n", "DISK", "-p", "62", code=5).stderr
    third = left.run("net_create", "-s", "third", "-D", "TCP:1600", "-n", "TLI", "-r", "10.77.1.99", "-l", left.address(), "-p", "3", code=5)
    assert "works between two only" in third.stderr

    protect_script(left, right)
    left.command("perform_action", "-a", "restore", "-t", "App.0")
    lab.partition(left, right)
    for host in pair:
        wait_until(lambda h=host: path_states(h) == ["DEAD", "DEAD", "ALIVE"], 15, f"{host.name} has its DISK path alone")
    assert left.command("sys_getst", "-s", "right").strip() == right.command("sys_getst", "-s", "left").strip() == "ALIVE"
    assert "by its DISK path only" in right.run("ins_list", "-d", "left", code=9).stderr
    seen = right.status()
    assert [node["summary"] for node in seen["nodes"] if node["name"] == "left"] == ["Warning"]
    assert [row["instances"]["left"]["state"] for row in seen["resources"] if row["tag"] == "App.0"] == ["UNKNOWN"]
    assert "COMM_DOWN" not in (right.root / "var/log/understudy/understudyd.log").read_text()
    assert (left.state("App.0"), right.state("App.0"), calls(right)) == ("ISP", "OSU", [])

    left.power_off()
    wait_until(lambda: right.state("App.0") == "ISP", 20, "right has taken over from a host that is really dead")


# Spec: CLU-067, CLU-029
def test_a_daemon_that_stood_still_looks_before_it_acts(pair: tuple[Host, Host]) -> None:
    left, right = pair
    protect_script(left, right)
    right.command("perform_action", "-a", "restore", "-t", "App.0")
    left.kill("understudyd", "STOP")
    wait_until(lambda: right.command("sys_getst", "-s", "left").strip() == "DEAD", 15, "left is missed")
    left.kill("understudyd", "CONT")
    wait_until(lambda: right.command("sys_getst", "-s", "left").strip() == "ALIVE", 15, "left is heard again")
    # By how much it was late decides which of the two it is.
    wait_until(lambda: any(text in left.command("understudy", "events") for text in ("understudyd did not run for", "a heartbeat was")), 15,
               "the pause is an event")
    # What its timers say of that time is no reason to take over: right has run App.0 all the time.
    wait_until(lambda: left.command("sys_getst", "-s", "right").strip() == "ALIVE", 15, "right is ALIVE for left")
    assert "COMM_DOWN" not in (left.root / "var/log/understudy/understudyd.log").read_text()
    assert (left.state("App.0"), right.state("App.0"), calls(left)) == ("OSU", "ISP", [])
