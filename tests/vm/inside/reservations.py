"""Reservations of disks that two hosts reach. Runs inside the machine of tests/vm.

    reservations.py disk      the calls themselves, on disks of every kind
    reservations.py volume    two mirrords with a shared volume on such a disk
"""

from __future__ import annotations

import pathlib
import subprocess
import sys

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent), str(pathlib.Path(__file__).resolve().parents[2] / "cluster")]

import storage  # noqa: E402
from storage import PERSISTENT, Unit, offer, reads, writes  # noqa: E402
from two_hosts import PROGRAMS, Host, openssl, wait_until  # noqa: E402

MIB = 1 << 20
PROBE = PROGRAMS.parent / "tests/reservation_probe"


def probe(verb: str, device: str, slot: int, generation: int) -> str:
    done = subprocess.run([PROBE, verb, device, str(slot), str(generation)], capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip()


def run(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def disk() -> None:
    storage.modprobe("loop", "dm_mod", "scsi_debug")
    unit = Unit(0, pathlib.Path("/run/unit"), 64 * MIB)
    (a,), (b,) = offer(1, unit), offer(2, unit)

    # The target cannot keep what it is asked to keep. It has reservations all the same: no host may take it for a
    # disk that every host can write to anyway.
    assert not PERSISTENT.exists()
    said = probe("take", a, 0, 1)
    assert "has reservations and refuses this one" in said, said
    assert writes(b)
    PERSISTENT.mkdir(parents=True)

    assert probe("take", a, 0, 1) == "taken"
    assert unit.survives_power_failures(), "the storage system keeps it over its own power failure"
    assert writes(a) and not writes(b) and reads(b)
    assert probe("take", b, 1, 3) == "taken", "generation 2 has reserved nothing"
    assert not writes(a) and writes(b)
    assert probe("take", b, 1, 4) == "taken", "again, by its next process"
    assert writes(b)
    # An owner of before comes back: it takes nothing, gives nothing away, and is not registered any more.
    before = unit.registered()
    assert "a newer owner" in probe("take", a, 0, 1)
    assert "a newer owner" in probe("take", a, 0, 3)
    assert probe("give", a, 0, 1) == "given up"
    assert probe("give", b, 1, 3) == "given up", "an earlier process of the owner"
    assert not writes(a) and writes(b), unit.reservation()
    assert unit.registered() == before
    # Told that it was preempted, before it does what it is asked.
    assert probe("take", a, 0, 5) == "taken"
    assert writes(a) and not writes(b)
    assert probe("give", a, 0, 5) == "given up"
    assert writes(a) and writes(b), unit.reservation()

    # Parts of a disk: what else is on it belongs to others.
    subprocess.run(["sfdisk", "-q", a], input="label: gpt\n,32M\n,16M\n", text=True, check=True)
    run("partx", "-u", a)
    run("dmsetup", "create", "part", "--noudevsync", "--table", f"0 16384 linear {a}2 0")
    for part in (f"{a}1", "/dev/dm-0"):
        wait_until(pathlib.Path(part).exists, part)
        assert probe("take", part, 0, 6) == "unsupported", part
    assert writes(b, 63 * MIB), unit.reservation()
    run("dmsetup", "remove", "--noudevsync", "part")

    # Kinds without: a loop device, a disk that knows no such command, a file.
    plain = pathlib.Path("/run/plain")
    plain.write_bytes(bytes(MIB))
    assert probe("take", run("losetup", "--find", "--show", str(plain)).strip(), 0, 6) == "unsupported"
    assert probe("take", str(plain), 0, 6) == "unsupported"
    simple = [f"/dev/{place.parents[1].name}" for place in pathlib.Path("/sys/block").glob("sd*/device/model")
              if "scsi_debug" in place.read_text()]
    assert len(simple) == 1, simple
    assert probe("take", simple[0], 0, 6) == "unsupported"
    print("the disk keeps its owner")


def say(host: Host, *words: str, code: int | None = 0) -> str:
    done = subprocess.run([str(PROGRAMS / words[0]), *words[1:]], capture_output=True, text=True, timeout=120, check=False,
                          env={"UNDERSTUDY_ROOT": str(host.root), "LC_ALL": "C.UTF-8", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
    assert code is None or done.returncode == code, f"{host.name}: {words}: {done.returncode}\n{done.stdout}{done.stderr}{host.log()}"
    return done.stdout + done.stderr


def volume() -> None:
    storage.modprobe("ublk_drv")
    PERSISTENT.mkdir(parents=True)
    units = (Unit(0, pathlib.Path("/run/data"), 64 * MIB), Unit(1, pathlib.Path("/run/area"), MIB))
    state = pathlib.Path("/run/hosts")
    state.mkdir()
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "10",
            "-subj", "/CN=test cluster", "-keyout", f"{state}/ca.key", "-out", f"{state}/ca.pem")
    hosts, disks = [], {}
    for number, name in enumerate(("left", "right"), 1):
        host = Host(state, name, f"127.0.0.{number}", state)
        disks[host] = offer(number, *units)
        # An emulated machine on a busy host stands still for seconds.
        settings = host.root / "etc/default/LifeKeeper"
        settings.parent.mkdir(parents=True, exist_ok=True)
        settings.write_text("VolumeLockLeaseMs=20000\n")
        host.start()
        hosts.append(host)
    left, right = hosts
    for host in hosts:
        say(host, "understudy", "volume", "set", "E", "--device", disks[host][0])
        more = ("--hosts", "left,right") if host is left else ()
        say(host, "understudy", "volume", "share", "E", "--area", disks[host][1], *more)

    def device(host: Host) -> str:
        return str(host.root / "dev/understudy/E")

    def raw(host: Host) -> bool:
        """What a host that does not know of its loss would do: past everything of ours, by its own way to the disk."""
        return writes(disks[host][0], 32 * MIB)

    try:
        say(left, "emcmd", ".", "UNLOCKVOLUME", "E")
        assert "reserved on its disk" in (left.root / "var/log/understudy/mirrord.log").read_text()
        assert writes(device(left)) and not raw(right) and reads(disks[right][0])
        say(right, "emcmd", ".", "UNLOCKVOLUME", "E", code=33)
        say(left, "emcmd", ".", "LOCKVOLUME", "E")
        assert raw(right), units[0].reservation()

        # The owner is gone with its processes; its kernel may still have something to write.
        say(left, "emcmd", ".", "UNLOCKVOLUME", "E")
        assert writes(device(left))
        left.crash()
        assert not raw(right), "the disk does not wait for the lease"
        say(right, "emcmd", ".", "UNLOCKVOLUME", "E")
        assert not raw(left), "what comes late is refused"
        assert reads(disks[left][0]) and writes(device(right))

        # It comes back, and the disk still has its owner.
        left.start()
        wait_until(lambda: "owned by right" in say(left, "emcmd", ".", "UNLOCKVOLUME", "E", code=33), f"left knows\n{left.log()}", 60)
        assert not raw(left) and writes(device(right))
        # A killed process of the owner goes on with the volume.
        right.kill()
        right.start()
        wait_until(lambda: writes(device(right)), "right writes again", 60)
        assert not raw(left)
        say(right, "emcmd", ".", "LOCKVOLUME", "E")
        say(left, "emcmd", ".", "UNLOCKVOLUME", "E")
        assert writes(device(left)) and not raw(right)
        say(left, "emcmd", ".", "LOCKVOLUME", "E")
        assert raw(left) and raw(right), units[0].reservation()
    finally:
        for host in hosts:
            host.clean_up()
    print("the volume keeps its owner")


if __name__ == "__main__":
    {"disk": disk, "volume": volume}[sys.argv[1]]()
