"""A storage system in the machine: the kernel's own SCSI target, whose logical units two hosts reach by iSCSI, each
through a target of its own, so that the units tell them apart. Not by the kernel's loopback (tcm_loop): with that the
target waits for itself when it aborts the commands of a preempted host (Linux 6.12)."""

from __future__ import annotations

import os
import pathlib
import subprocess
import time

TARGET = pathlib.Path("/sys/kernel/config/target")
PERSISTENT = pathlib.Path("/var/target/pr")  # where the target keeps reservations over a power failure
INITIATOR = pathlib.Path(__file__).resolve().parents[3] / "build/vm/packages/open-iscsi"
MODULES = ("target_core_mod", "target_core_file", "iscsi_target_mod", "iscsi_tcp", "sd_mod")
LIMIT = 60  # seconds


def modprobe(*modules: str) -> None:
    subprocess.run(["modprobe", "-a", *MODULES, *modules], check=True)
    if not os.path.ismount("/sys/kernel/config"):
        subprocess.run(["mount", "-t", "configfs", "config", "/sys/kernel/config"], check=True)


class Unit:
    """A logical unit over a file."""

    def __init__(self, number: int, file: pathlib.Path, size: int) -> None:
        self.serial = f"understudy-{number}"
        self.file = file
        with file.open("wb") as made:
            made.truncate(size)
        self.place = TARGET / f"core/fileio_{number}/lun"
        self.place.mkdir(parents=True)
        (self.place / "control").write_text(f"fd_dev_name={file},fd_dev_size={size}")
        (self.place / "wwn/vpd_unit_serial").write_text(self.serial)
        (self.place / "enable").write_text("1")

    def reservation(self) -> str:
        return (self.place / "pr/res_holder").read_text().strip()

    def registered(self) -> str:
        return (self.place / "pr/res_pr_registered_i_pts").read_text().strip()

    def survives_power_failures(self) -> bool:
        return (self.place / "pr/res_aptpl_active").read_text().strip().endswith("Activated")


def offer(host: int, *units: Unit) -> list[str]:
    """The units' devices, as the host with that number has them: by iSCSI, over a target and an initiator of its own."""
    name, initiator, address = f"iqn.2026-01.test.storage:port{host}", f"iqn.2026-01.test:host{host}", f"127.0.0.{host}"
    port = TARGET / "iscsi" / name / "tpgt_1"
    for number, unit in enumerate(units):
        (port / f"lun/lun_{number}").mkdir(parents=True)
        (port / f"lun/lun_{number}/disk").symlink_to(unit.place)
    (port / f"np/{address}:3260").mkdir(parents=True)
    (port / "attrib/authentication").write_text("0")
    for number in range(len(units)):
        (port / f"acls/{initiator}/lun_{number}").mkdir(parents=True)
        (port / f"acls/{initiator}/lun_{number}/unit").symlink_to(port / f"lun/lun_{number}")
    (port / "enable").write_text("1")
    before = disks()
    subprocess.run([INITIATOR / "sbin/iscsistart", "-i", initiator, "-t", name, "-g", "1", "-a", address,
                    "-P", "node.conn[0].timeo.noop_out_interval=0"], check=True, timeout=LIMIT,
                   env={"LD_LIBRARY_PATH": str(INITIATOR / "usr/lib/x86_64-linux-gnu")}, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + LIMIT
    while len(new := disks() - before) < len(units) or not all(os.path.exists(device) for _, device in new):
        assert time.monotonic() < deadline, f"host {host} has {new}"
        time.sleep(0.05)
    return [device for _, device in sorted(new)]


def disks() -> set[tuple[int, str]]:
    """Number of the unit and device of each SCSI disk."""
    return {(int(place.resolve().name.split(":")[3]), f"/dev/{place.parent.name}") for place in pathlib.Path("/sys/block").glob("sd*/device")}


def writes(device: str, offset: int = 0) -> bool:
    """Whether the disk takes a block; past every cache."""
    done = subprocess.run(["dd", "if=/dev/zero", f"of={device}", "bs=4096", "count=1", f"seek={offset // 4096}", "oflag=direct",
                           "conv=notrunc", "status=none"], capture_output=True, text=True, check=False)
    return done.returncode == 0


def reads(device: str) -> bool:
    return subprocess.run(["dd", f"if={device}", "of=/dev/null", "bs=4096", "count=1", "iflag=direct", "status=none"],
                          capture_output=True, check=False).returncode == 0
