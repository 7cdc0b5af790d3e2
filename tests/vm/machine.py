"""Virtual machines with a kernel of Debian that has what the test host's kernel may lack: ublk, nbd, drbd.

A machine boots that kernel under software emulation, with the host's own root as its root: read-only over 9p, with
what it writes kept in its memory. Programs, libraries and this tree are therefore the host's, under the same paths.
It runs one bash script and ends. Disks are files that outlive the machine.

    with Machine("build/vm/example", script="uname -r", disks=[Disk(path, 1 << 30)]) as machine:
        code, output = machine.wait(120)
"""

from __future__ import annotations

import lzma
import os
import pathlib
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field

PROJECT = pathlib.Path(__file__).resolve().parents[2]
CACHE = PROJECT / "build" / "vm"
# Filled by packaging/dependencies; UNDERSTUDY_VM_KERNEL: a directory into which another kernel's package was unpacked.
KERNEL = pathlib.Path(os.environ.get("UNDERSTUDY_VM_KERNEL", CACHE / "packages" / "linux"))
QEMU = "qemu-system-x86_64"
BUSYBOX = "/bin/busybox"
BOOT_LIMIT = 120  # seconds until the script starts
LOADED = 3  # limits are so much longer for a machine that gets little of its host's processors
# What the initramfs loads to reach the host's root; everything else is loaded from there.
BOOT_MODULES = ("9pnet_virtio", "9p", "overlay", "virtio_blk", "virtio-rng")

INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /lower /memory /root
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
for module in $(/bin/busybox cat /modules/order); do /bin/busybox insmod /modules/$module || echo "cannot load $module"; done
/bin/busybox mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=512000 host /lower || exec /bin/busybox poweroff -f
/bin/busybox mount -t tmpfs -o size=75% memory /memory
/bin/busybox mkdir /memory/upper /memory/work
/bin/busybox mount -t overlay -o lowerdir=/lower,upperdir=/memory/upper,workdir=/memory/work root /root
for place in /proc /sys /dev; do /bin/busybox mount --move $place /root$place; done
exec /bin/busybox switch_root /root @bash@ @start@
"""

START = """#!/bin/bash
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 UNDERSTUDY_VM=1
mount -t tmpfs run /run; mount -t tmpfs tmp /tmp; mount -t tmpfs tmp /var/tmp; mkdir -p /dev/shm /dev/pts /run/exchange /run/lock
mount -t tmpfs shm /dev/shm; mount -t devpts devpts /dev/pts
ln -sf /proc/self/fd /dev/fd
mount -t 9p -o trans=virtio,version=9p2000.L,cache=none,msize=512000 exchange /run/exchange
mkdir -p /lib/modules; mount --bind @modules@ /lib/modules
hostname @name@; ip link set lo up
touch /run/exchange/started
cd @project@
bash /run/exchange/script >/run/exchange/output 2>&1 </dev/null
echo $? >/run/exchange/code.new; mv /run/exchange/code.new /run/exchange/code
sync; echo o >/proc/sysrq-trigger; sleep 60
"""


def why_not() -> str:
    """Empty when machines can be started here."""
    if shutil.which(QEMU) is None:
        return f"{QEMU} is not installed; packaging/dependencies vm"
    if not os.path.exists(BUSYBOX) or not list(KERNEL.glob("boot/vmlinuz-*")):
        return "the machine's kernel is missing; packaging/dependencies vm"
    return "" if os.geteuid() == 0 else "needs root: the machine reads the host's files"


def kernel() -> tuple[pathlib.Path, str]:
    image = sorted(KERNEL.glob("boot/vmlinuz-*"))[-1]
    return image, image.name.removeprefix("vmlinuz-")


def modules() -> pathlib.Path:
    return next(place for place in (KERNEL / "lib/modules", KERNEL / "usr/lib/modules") if place.is_dir())


def load_order(release: str) -> list[pathlib.Path]:
    """Files of BOOT_MODULES and of what they need, dependencies first."""
    base = modules() / release
    if not (base / "modules.dep.bin").exists():
        subprocess.run(["depmod", "-b", str(modules().parents[1]), release], check=True)
    needs: dict[str, list[str]] = {}
    for line in (base / "modules.dep").read_text().splitlines():
        module, _, rest = line.partition(":")
        needs[module] = rest.split()
    by_name = {pathlib.Path(module).name.split(".")[0]: module for module in needs}
    order: list[str] = []
    for name in BOOT_MODULES:
        if name not in by_name:  # part of the kernel itself
            continue
        for module in [*reversed(needs[by_name[name]]), by_name[name]]:
            if module not in order:
                order.append(module)
    return [base / module for module in order]


def initramfs(directory: pathlib.Path) -> pathlib.Path:
    """Made anew for each machine: it takes a second."""
    tree = directory / "initramfs"
    shutil.rmtree(tree, ignore_errors=True)
    (tree / "bin").mkdir(parents=True)
    (tree / "modules").mkdir()
    shutil.copy(BUSYBOX, tree / "bin/busybox")
    names = []
    for number, module in enumerate(load_order(kernel()[1])):
        names.append(f"{number:02}-{module.name.split('.')[0]}.ko")
        data = module.read_bytes()
        (tree / "modules" / names[-1]).write_bytes(lzma.decompress(data) if module.suffix == ".xz" else data)
    (tree / "modules/order").write_text("\n".join(names))
    (tree / "init").write_text(INIT.replace("@bash@", os.path.realpath("/bin/bash")).replace("@start@", str(directory / "start")))
    (tree / "init").chmod(0o755)
    image = directory / "initramfs.cpio"
    names_in = subprocess.run(["find", "."], cwd=tree, stdout=subprocess.PIPE, check=True).stdout
    with image.open("wb") as file:
        subprocess.run(["cpio", "--quiet", "-o", "-H", "newc"], cwd=tree, input=names_in, stdout=file, check=True)
    shutil.rmtree(tree)
    return image


@dataclass
class Disk:
    """/dev/vda, /dev/vdb, ... in the order they are given. Made when missing."""

    path: pathlib.Path
    size: int  # bytes


@dataclass
class Machine:
    name: str
    script: str
    disks: list[Disk] = field(default_factory=list)
    processors: int = 1
    memory_mib: int = 1536
    # Without "enhanced rep movsb": the kernel copies with it where a processor claims it, and in the emulator that takes eight times as
    # long as by words (8.4 and 1.0 us for 4 KiB), out of all proportion to everything else.
    processor: str = "max,-erms"
    # Its processor's own counter, whose rate the kernel may guess wrong while the host is busy, so that limits end early; else a timer
    # that is right and three times as slow to read.
    fast_clock: bool = False
    exchange_files: dict[str, str] = field(default_factory=dict)  # for the script, in /run/exchange

    def __post_init__(self) -> None:
        self.directory = CACHE / "machines" / self.name
        self.exchange = self.directory / "exchange"
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Machine:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.power_off()

    def start(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)
        self.exchange.mkdir(parents=True)
        (self.exchange / "script").write_text(self.script)
        for name, text in self.exchange_files.items():
            (self.exchange / name).write_text(text)
        start = self.directory / "start"
        start.write_text(START.replace("@modules@", str(modules())).replace("@project@", str(PROJECT)).replace("@name@", self.name))
        start.chmod(0o755)
        words = [QEMU, "-accel", "tcg,thread=multi", "-cpu", self.processor, "-smp", str(self.processors),
                 "-m", f"{self.memory_mib}M", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
                 "-kernel", str(kernel()[0]), "-initrd", str(initramfs(self.directory)),
                 "-append", "console=ttyS0 quiet panic=-1 mitigations=off nokaslr "
                 + ("tsc=reliable" if self.fast_clock else "tsc=unstable clocksource=hpet"),
                 "-serial", f"file:{self.directory}/console", "-device", "virtio-rng-pci",
                 "-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap",
                 "-device", "virtio-9p-pci,fsdev=host,mount_tag=host",
                 "-fsdev", f"local,id=exchange,path={self.exchange},security_model=none",
                 "-device", "virtio-9p-pci,fsdev=exchange,mount_tag=exchange"]
        for number, disk in enumerate(self.disks):
            if not disk.path.exists():
                disk.path.parent.mkdir(parents=True, exist_ok=True)
                with disk.path.open("wb") as file:
                    os.posix_fallocate(file.fileno(), 0, disk.size)
            words += ["-drive", f"if=none,id=disk{number},file={disk.path},format=raw,cache=writeback,discard=unmap",
                      "-device", f"virtio-blk-pci,drive=disk{number}"]
        with (self.directory / "qemu").open("wb") as log:
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def processor_time(self) -> float:
        """Seconds that the emulator has had."""
        assert self.process is not None
        try:
            words = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            return 0
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def wait_until(self, condition: Callable[[], bool], limit: float) -> bool:
        """False after `limit` seconds; after LOADED times as many when the emulator had less than half of one processor."""
        begin, used = time.monotonic(), self.processor_time()
        while (passed := time.monotonic() - begin) < limit * LOADED:
            if condition():
                return True
            if not self.running():
                return condition()
            if passed > limit and self.processor_time() - used > passed / 2:
                return False
            time.sleep(0.1)
        return False

    def wait_for(self, name: str, limit: float) -> bool:
        """Until the script has made the file NAME in /run/exchange."""
        return self.wait_until((self.exchange / name).exists, limit)

    def wait(self, limit: float) -> tuple[int, str]:
        """The script's exit code (124 when it did not come within `limit` seconds) and its output."""
        started = self.wait_for("started", BOOT_LIMIT)
        done = started and self.wait_for("code", limit)
        code = int((self.exchange / "code").read_text()) if done else 124
        self.power_off()
        text = self.output()
        if not done:
            text += f"\nno end within {limit:.0f} s" if started else "\nthe machine did not start"
            text += "\n" + self.console()[-4000:]
        return code, text

    def output(self) -> str:
        """What the script has printed so far."""
        output = self.exchange / "output"
        return output.read_text(errors="replace") if output.exists() else ""

    def console(self) -> str:
        parts = [self.directory / "qemu", self.directory / "console"]
        return "\n".join(part.read_text(errors="replace") for part in parts if part.exists())

    def power_off(self) -> None:
        """At once, as if the power failed. What the disks have acknowledged is in their files."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(30)
