"""A mirrored volume whose devices grow while a file system on it is in use."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from lab import Host, run, wait_until

VOLUME = "grows"
MIB = 1 << 20
SMALL, LARGE = 48 * MIB, 96 * MIB


@contextlib.contextmanager
def loop_device(path: str) -> Iterator[str]:
    device = run("losetup", "--find", "--show", path).stdout.strip()
    try:
        yield device
    finally:
        run("losetup", "--detach", device, check=False)


def size_of(host: Host) -> int:
    return int(host.run("blockdev", "--getsize64", str(host.root / "dev/understudy" / VOLUME)).stdout)


def truncate(path: str, size: int) -> None:
    with open(path, "r+b") as file:
        file.truncate(size)


def mirror(host: Host, *words: str, code: int = 0) -> str:
    return host.command("understudy", "mirror", words[0], VOLUME, *words[1:], code=code, timeout=90)


def problem(host: Host) -> str:
    return str(host.mirror(VOLUME)["problem"])


# Spec: REP-144, REP-178, REP-304, REP-305, REP-306, REP-307, REP-308, MOP-136, MOP-138, MOP-139, MOP-140, MOP-144
def test_a_file_system_grows_with_its_device_and_the_standby_has_all_of_it(pair: tuple[Host, Host]) -> None:
    left, right = pair
    lower, there = left.disk("lower.img", SMALL), right.disk("lower.img", SMALL)
    with loop_device(lower) as device:
        left.run("understudy", "mirror", "create", VOLUME, "--device", device, "--target", right.name, "--target-device", there,
                 "--source-address", left.address(2), "--target-address", right.address(2), timeout=90)
        mirror(left, "wait")
        node = str(left.root / "dev/understudy" / VOLUME)
        mounted = str(left.root / "mnt/v")
        left.run("mkfs.ext4", "-q", node)
        left.run("mkdir", "-p", mounted)
        left.run("mount", node, mounted)
        left.run("dd", "if=/dev/urandom", f"of={mounted}/before", "bs=1M", "count=8", "status=none", "conv=fsync")

        truncate(lower, LARGE)
        run("losetup", "--set-capacity", device)
        wait_until(lambda: "event 289" in problem(left), 30, "the mirror noticed that its device has grown")
        state = left.mirror(VOLUME)
        assert (state["state"], state["user_requested"], state["pause_cause"]) == ("paused", True, "volume resized")
        assert (state["size"], state["device_size"], size_of(left)) == (SMALL, LARGE, SMALL)
        left.run("dd", "if=/dev/urandom", f"of={mounted}/meanwhile", "bs=1M", "count=2", "status=none", "conv=fsync")

        mirror(left, "continue")  # the target is too small
        wait_until(lambda: "event 225" in problem(left), 30, "the target is refused")
        assert left.mirror(VOLUME)["state"] == "paused"
        assert size_of(left) == LARGE
        if left.run("resize2fs", node, code=None).returncode != 0:  # in use only with CAP_SYS_RESOURCE
            left.run("umount", mounted)
            left.run("e2fsck", "-fp", node)
            left.run("resize2fs", node)
            left.run("mount", node, mounted)
        left.run("dd", "if=/dev/urandom", f"of={mounted}/after", "bs=1M", "count=50", "status=none", "conv=fsync")

        # A daemon that dies finds the device as large as the volume is now.
        left.kill("mirrord")
        wait_until(lambda: not left.pids_of("mirrord"), 10, "mirrord is gone")
        left.command("lkstart")
        left.run("dd", "if=/dev/urandom", f"of={mounted}/again", "bs=1M", "count=2", "status=none", "conv=fsync")
        assert size_of(left) == LARGE

        truncate(there, LARGE)
        mirror(left, "continue")
        mirror(left, "wait", "--timeout", "60")
        assert left.mirror(VOLUME)["size"] == right.mirror(VOLUME)["size"] == LARGE
        assert "no difference" in mirror(left, "verify", "--rate", "1000")
        sums = left.run("sh", "-c", f"cd {mounted} && sha256sum after again before meanwhile").stdout
        left.run("umount", mounted)

        mirror(right, "promote")
        assert size_of(right) == LARGE
        mounted = str(right.root / "mnt/v")
        right.run("mkdir", "-p", mounted)
        right.run("mount", str(right.root / "dev/understudy" / VOLUME), mounted)
        assert right.run("sh", "-c", f"cd {mounted} && sha256sum after again before meanwhile").stdout == sums
        right.run("umount", mounted)
        right.run("e2fsck", "-fn", str(right.root / "dev/understudy" / VOLUME))
        left.power_off()


# The check and what it repairs are part of the procedure; the partial resync carries both.
# Spec: REP-304, REP-306, REP-307, REP-338, MOP-137
def test_a_volume_shrinks_with_its_file_system(pair: tuple[Host, Host]) -> None:
    left, right = pair
    lower, there = left.disk("lower.img", LARGE), right.disk("lower.img", LARGE)
    left.run("understudy", "mirror", "create", VOLUME, "--device", lower, "--target", right.name, "--target-device", there,
             "--source-address", left.address(2), "--target-address", right.address(2), timeout=90)
    mirror(left, "wait")
    node = str(left.root / "dev/understudy" / VOLUME)
    left.run("mkfs.ext4", "-q", node)
    mirror(left, "pause")
    left.run("e2fsck", "-fp", node)
    left.run("resize2fs", node, "40M")
    truncate(lower, SMALL)
    mirror(left, "continue")
    mirror(left, "wait", "--timeout", "60")
    assert size_of(left) == left.mirror(VOLUME)["size"] == right.mirror(VOLUME)["size"] == SMALL
    assert 0 < int(left.mirror(VOLUME)["resync_bytes_sent"]) < SMALL
    assert right.mirror(VOLUME)["device_size"] == LARGE
    mirror(right, "promote")
    assert size_of(right) == SMALL
    right.run("e2fsck", "-fn", str(right.root / "dev/understudy" / VOLUME))
