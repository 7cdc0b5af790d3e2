"""Two mirrords on the machine's two disks, /dev/vda and /dev/vdb; their state is on /dev/vdc, so that it outlives a
power-off like the disks. Runs inside the machine of tests/vm.

    pair.py kills        mirrords killed with -9 under load and a file system, both ends equal afterwards
    pair.py write        numbered blocks until the power fails; acknowledged ones are told to the host
    pair.py check        after that: the mirror comes back, and every acknowledged block is on both disks
"""

from __future__ import annotations

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "cluster"))

from two_hosts import BLOCK, Host, openssl, wait_until  # noqa: E402

STATE = pathlib.Path("/mnt/state")
EXCHANGE = pathlib.Path("/run/exchange")
LIMIT = 90  # seconds; the machine is emulated
WRITERS = 4
FIO_INTERRUPTED = 128  # its exit code after SIGINT, when it saw no error


def run(*words: str, timeout: float = LIMIT) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, f"{' '.join(words)} ended with {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def mount_state(fresh: bool) -> None:
    run("modprobe", "ublk_drv")
    STATE.mkdir(exist_ok=True)
    if fresh:
        run("mkfs.ext4", "-q", "/dev/vdc")
    run("mount", "/dev/vdc", str(STATE))


def clear_state() -> None:
    for name in ("left", "right"):
        shutil.rmtree(STATE / name, ignore_errors=True)


def pair(fresh: bool) -> tuple[Host, Host]:
    if fresh:
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "10",
                "-subj", "/CN=test cluster", "-keyout", f"{STATE}/ca.key", "-out", f"{STATE}/ca.pem")
    hosts = []
    for name, address, disk in (("left", "127.0.0.1", "/dev/vda"), ("right", "127.0.0.2", "/dev/vdb")):
        if fresh:
            host = Host(STATE, name, address, STATE)
        else:
            host = Host.__new__(Host)
            host.name, host.address, host.root, host.process = name, address, STATE / name, None
        host.disk = pathlib.Path(disk)
        hosts.append(host)
    for host in hosts:
        host.start()
    return hosts[0], hosts[1]


def in_sync(*hosts: Host) -> None:
    for host in hosts:
        wait_until(lambda h=host: h.view()["state"] == "mirroring" and h.view()["connected"],
                   f"{host.name} mirroring\n{host.log()}", LIMIT)


def create(left: Host, right: Host) -> None:
    left.command("create", "R", "--device", str(left.disk), "--target", "right", "--target-device", str(right.disk),
                 "--source-address", left.address, "--target-address", right.address, "--type", "sync", "--no-resync")
    in_sync(left, right)
    node = os.stat(left.device)
    name = os.path.basename(os.path.realpath(f"/sys/dev/block/{os.major(node.st_rdev)}:{os.minor(node.st_rdev)}"))
    assert name.startswith("ublkb"), f"{left.device} is {name}\n{left.log()}"


def equal(left: Host, right: Host) -> None:
    run("cmp", str(left.disk), str(right.disk))


def kills() -> None:
    mount_state(fresh=True)
    left, right = pair(fresh=True)
    create(left, right)
    run("mkfs.ext4", "-q", left.device)
    pathlib.Path("/mnt/volume").mkdir()
    run("mount", left.device, "/mnt/volume")
    load = subprocess.Popen(["fio", "--name=load", "--directory=/mnt/volume", "--size=24m", "--rw=randwrite", "--bs=4k", "--iodepth=16",
                             "--ioengine=libaio", "--direct=1", "--fsync=64", "--verify=crc32c", "--verify_backlog=256", "--loops=100",
                             "--time_based", "--runtime=3600"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for turn in range(6):
        before = left.view()["writes"]
        wait_until(lambda: left.view()["writes"] > before + 50, "the load goes on", LIMIT)
        host = right if turn % 3 == 2 else left
        host.kill()
        host.start()
    load.send_signal(signal.SIGINT)
    output, _ = load.communicate(timeout=180)
    assert load.returncode == FIO_INTERRUPTED, output  # an error would add to it
    assert " rw," in next(line for line in pathlib.Path("/proc/mounts").read_text().splitlines() if "/mnt/volume" in line)
    refused = left.refuse("delete", "R")
    assert "/mnt/volume" in refused, refused
    run("umount", "/mnt/volume")
    run("e2fsck", "-fn", left.device)
    in_sync(left, right)
    assert int(left.view()["writes"]) > 0
    left.command("wait", "R")
    equal(left, right)
    left.command("delete", "R")
    assert not list(pathlib.Path("/sys/class/ublk-char").glob("*")), "no device is left"


def block_of(number: int, index: int) -> bytes:
    return f"{index}:{number};".encode().ljust(16, b" ") * (BLOCK // 16)


def write() -> None:
    mount_state(fresh=True)
    left, right = pair(fresh=True)
    create(left, right)
    os.sync()
    blocks = 64

    def writer(which: int) -> None:
        device = os.open(left.device, os.O_RDWR | os.O_SYNC)
        with open(EXCHANGE / f"acknowledged.{which}", "w", encoding="utf8") as told:
            for number in range(1, 1 << 30):
                index = which * blocks + number * 37 % blocks
                assert os.pwrite(device, block_of(number, index), index * BLOCK) == BLOCK
                told.write(f"{index} {number}\n")
                told.flush()

    for which in range(WRITERS):
        threading.Thread(target=writer, args=(which,), daemon=True).start()
    time.sleep(LIMIT)
    raise AssertionError("the power did not fail")


def check() -> None:
    mount_state(fresh=False)
    left, right = pair(fresh=False)
    in_sync(left, right)
    left.command("wait", "R")
    equal(left, right)
    newest: dict[int, int] = {}
    for file in EXCHANGE.glob("acknowledged.*"):
        for line in file.read_text().splitlines():
            words = line.split()
            if len(words) == 2 and line:
                newest[int(words[0])] = max(newest.get(int(words[0]), 0), int(words[1]))
    assert newest, "nothing was acknowledged"
    device = os.open(left.device, os.O_RDONLY)
    for index, number in newest.items():
        data = os.pread(device, BLOCK, index * BLOCK)
        found = int(data.split(b";")[0].split(b":")[1])
        # A block may hold what was written after the last acknowledgement that the host heard of.
        assert found >= number and data == block_of(found, index), f"block {index}: {found} instead of {number}"
    os.close(device)
    print(f"{sum(1 for _ in newest)} blocks checked, newest write {max(newest.values())}")
    left.command("delete", "R")


if __name__ == "__main__":
    {"kills": kills, "write": write, "check": check}[sys.argv[1]]()
