"""Hosts made of namespaces, for tests, the demo and benchmarks.

    with Lab() as lab:
        left, right = lab.host("left"), lab.host("right")
        left.start(); right.start()
        left.command("sys_list")
        left.power_off()                 # every process of the host dies at once
        lab.partition(left, right)       # both ways; lab.cut(left, right) drops one direction

A host has its own network, mounts, pids and host name, and its own root directory for Understudy's files. Each host
is on two networks (10.77.1.0/24, 10.77.2.0/24) made by bridges in a namespace of their own, which is where faults of
the network are made. Needs root. Everything made here carries the lab's id and is removed at the end, also after a
failure.
"""

from __future__ import annotations

import itertools
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from types import TracebackType

PROJECT = pathlib.Path(__file__).resolve().parents[2]
NETWORKS = (1, 2)
_ids = itertools.count()


class CommandFailed(AssertionError):
    """A command ended with another exit code than expected."""


def build_directory() -> pathlib.Path:
    return pathlib.Path(os.environ.get("UNDERSTUDY_BUILD", PROJECT / "build" / "release"))


def run(*words: str, check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(words, capture_output=True, text=True, timeout=timeout, check=False)
    if check and done.returncode != 0:
        raise CommandFailed(f"{' '.join(words)} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def wait_until(condition: Callable[[], object], limit: float, what: str, interval: float = 0.02) -> object:
    """Returns the first true value of `condition`; fails with `what` after `limit` seconds."""
    deadline = time.monotonic() + limit
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {limit} s: {what}")
        time.sleep(interval)


class Host:
    def __init__(self, lab: Lab, name: str, number: int, generic_application: bool = False) -> None:
        self.lab = lab
        self.name = name
        self.number = number
        self.generic_application = generic_application
        self.root = lab.directory / name
        self.namespace = f"{lab.id}-{name}"
        self.pid = 0
        self._init: subprocess.Popen[bytes] | None = None
        self._spawned: list[subprocess.Popen[bytes]] = []
        for part in ("etc/default", "etc/understudy", "var/lib/understudy", "var/log/understudy", "run", "dev", "disks", "mnt"):
            (self.root / part).mkdir(parents=True, exist_ok=True)
        # Servers that drop their rights must be able to reach their files.
        for directory in (lab.directory, self.root, self.root / "mnt"):
            directory.chmod(0o755)
        self._install()

    def address(self, network: int = 1) -> str:
        return f"10.77.{network}.{self.number}"

    def _install(self) -> None:
        """The kits of the build tree, as an installed host has them."""
        target = self.root / "usr/lib/understudy"
        if target.exists():
            shutil.rmtree(target)
        built = build_directory() / "lkroot"
        if built.exists():
            shutil.copytree(built, target, symlinks=True)
        else:
            target.mkdir(parents=True)
        # Most tests put scripts of their own in the place of this kit.
        if not self.generic_application:
            shutil.rmtree(target / "subsys/gen", ignore_errors=True)
        (target / "bin").unlink(missing_ok=True)
        (target / "bin").symlink_to(build_directory() / "bin")

    # --- power -------------------------------------------------------------------------------------------------

    def power_on(self) -> None:
        assert self._init is None, f"{self.name} is on"
        # /run does not survive a boot.
        shutil.rmtree(self.root / "run", ignore_errors=True)
        (self.root / "run").mkdir()
        self.lab.plug(self)
        memory = ["/tmp"]
        if not self.lab.directory.is_relative_to("/dev/shm"):
            memory.append("/dev/shm")  # what a database shares there goes with its host's power
        # The init of the host: waits for ever and reaps what it inherits. Its death is the host's.
        script = (
            f"hostname {self.name}; mount -t tmpfs -o mode=755 none /run; "
            + "".join(f"mount -t tmpfs -o mode=1777 none {place}; " for place in memory) + "ip link set lo up; "
            "echo up >&3; exec 3>&-; while :; do sleep 1000000 & wait $!; done"
        )
        read_end, write_end = os.pipe()
        self._init = subprocess.Popen(
            ["ip", "netns", "exec", self.namespace, "unshare", "--mount", "--pid", "--uts", "--ipc", "--fork",
             "--mount-proc", "--kill-child", "--propagation", "private", "bash", "-c", script],
            pass_fds=(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            preexec_fn=lambda: os.dup2(write_end, 3), close_fds=False,
        )
        os.close(write_end)
        try:
            with os.fdopen(read_end, "rb") as ready:
                if ready.readline().strip() != b"up":
                    raise RuntimeError(f"host {self.name} did not come up")
        except BaseException:
            self._init.kill()
            self._init = None
            raise
        self.pid = self._child_of(self._init.pid)
        self.lab.remember_boot(self)

    @staticmethod
    def _child_of(pid: int) -> int:
        """The pid (as seen here) of the host's init: the innermost only child."""
        def only_child(of: int) -> int:
            children = pathlib.Path(f"/proc/{of}/task/{of}/children").read_text().split()
            return int(children[0]) if children else 0
        child = wait_until(lambda: only_child(pid), 5, "the host's init process")
        assert isinstance(child, int)
        return child

    def power_off(self) -> None:
        """The plug is pulled: all processes of the host die at once, and its network goes silent."""
        if self._init is None:
            return
        self.lab.unplug(self)
        if not self.died:
            os.kill(self.pid, signal.SIGKILL)
        # nsenter stops itself when its program is stopped. Nothing inside wakes it, and the host's init is not gone
        # before nsenter, which lives outside, has reaped the program or is gone too.
        for process in self._spawned:
            process.kill()
        self._spawned.clear()
        self._init.wait(20)
        self._init = None
        self.pid = 0
        self._release_loops()

    def _release_loops(self) -> None:
        """A loop device belongs to the kernel, which a real power-off ends too."""
        for node in (self.root / "dev/understudy").glob("*"):
            if node.is_block_device():
                run("losetup", "--detach", f"/dev/loop{os.minor(node.stat().st_rdev)}", check=False)

    @property
    def died(self) -> bool:
        """The host ended by itself: its watchdog reset it."""
        return self._init is not None and self._init.poll() is not None

    @property
    def running(self) -> bool:
        return self._init is not None

    # --- commands ----------------------------------------------------------------------------------------------

    def enter(self, *words: str) -> list[str]:
        return ["nsenter", "-t", str(self.pid), "--mount", "--pid", "--uts", "--ipc", "--net", "--", *words]

    def environment(self) -> dict[str, str]:
        own = {"UNDERSTUDY_ROOT": str(self.root), "LKROOT": str(self.root / "usr/lib/understudy"), "LC_ALL": "C.UTF-8"}
        return {**os.environ, **own, "PATH": f"{build_directory()}/bin:/usr/lib/postgresql/15/bin:{os.environ['PATH']}"}

    def run(self, *words: str, code: int | None = 0, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Runs a program on the host; `code` is the exit code it must have (None: any)."""
        done = subprocess.run(self.enter(*words), capture_output=True, text=True, timeout=timeout,
                              env=self.environment(), check=False)
        if code is not None and done.returncode != code:
            raise CommandFailed(f"{self.name}: {' '.join(words)} ended with {done.returncode}, not {code}\n"
                                f"{done.stdout}{done.stderr}")
        return done

    def command(self, *words: str, code: int | None = 0, timeout: float = 60) -> str:
        """Runs one of Understudy's commands; its standard output."""
        return self.run(*words, code=code, timeout=timeout).stdout

    def spawn(self, *words: str, log: str = "spawned") -> subprocess.Popen[bytes]:
        with open(self.root / "var/log/understudy" / f"{log}.out", "ab") as out:
            process = subprocess.Popen(self.enter(*words), stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                       env=self.environment())
        self._spawned.append(process)
        return process

    def kill_group(self, process: subprocess.Popen[bytes]) -> None:
        """Ends what spawn() started, by its pid inside the host."""
        children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
        for pid in [*(children.read_text().split() if children.exists() else []), str(process.pid)]:
            try:
                os.kill(int(pid), signal.SIGTERM)
            except ProcessLookupError:
                pass
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)

    def status(self) -> dict:
        return json.loads(self.command("understudy", "status", "--json"))

    def state(self, tag: str) -> str:
        """The local state of a resource: ISP, OSU, ..."""
        return self.command("ins_list", "-f|", "-t", tag).split("|")[6]

    def mirror(self, volume: str) -> dict:
        mirrors = json.loads(self.command("understudy", "mirror", "status", volume, "--json"))
        return (mirrors.get("mirrors", [mirrors]) if isinstance(mirrors, dict) else mirrors)[0]

    def pids_of(self, program: str) -> list[int]:
        """Pids, as the host sees them, of its processes with this name."""
        found = self.run("pgrep", "-x", program[:15], code=None).stdout.split()
        return [int(pid) for pid in found]

    def kill(self, program: str, sig: str = "KILL") -> None:
        for pid in self.pids_of(program):
            self.run("kill", f"-{sig}", str(pid), code=None)

    def settings(self, **values: object) -> None:
        text = "".join(f"{key}={value}\n" for key, value in values.items())
        (self.root / "etc/default/LifeKeeper").write_text(text)

    def start(self, wait: int = 60) -> None:
        """Powers on when needed and starts the engine."""
        if not self.running:
            self.power_on()
        self.command("lkstart", "-w", str(wait), timeout=wait + 30)

    def disk(self, name: str, size: int) -> str:
        """A sparse file used as a disk."""
        path = self.root / "disks" / name
        with open(path, "wb") as file:
            file.truncate(size)
        return str(path)


class Lab:
    def __init__(self, directory: str | None = None) -> None:
        self.id = f"us{os.getpid() % 100000}x{next(_ids)}"
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="understudy-", dir=directory or "/var/tmp"))
        self.hosts: dict[str, Host] = {}
        self.switch = f"{self.id}-switch"
        self._boots: list[int] = []
        self.keep = False

    def __enter__(self) -> Lab:
        try:
            run("ip", "netns", "add", self.switch)
            for network in NETWORKS:
                self._in_switch("ip", "link", "add", f"br{network}", "type", "bridge", "forward_delay", "0")
                self._in_switch("ip", "link", "set", f"br{network}", "up")
            self._in_switch("nft", "add table bridge faults; "
                            "add chain bridge faults forward { type filter hook forward priority 0; }", nft=True)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not self.keep:
            self.close()

    def _in_switch(self, *words: str, nft: bool = False, check: bool = True) -> subprocess.CompletedProcess[str]:
        if nft:
            return run("ip", "netns", "exec", self.switch, "nft", words[-1], check=check)
        return run("ip", "netns", "exec", self.switch, *words, check=check)

    def host(self, name: str, generic_application: bool = False) -> Host:
        host = Host(self, name, 11 + len(self.hosts), generic_application)
        self.hosts[name] = host
        return host

    def remember_boot(self, host: Host) -> None:
        self._boots.append(host.pid)

    # --- cables ------------------------------------------------------------------------------------------------

    def plug(self, host: Host) -> None:
        run("ip", "netns", "add", host.namespace)
        for network in NETWORKS:
            port = f"p{host.number}n{network}"
            # A host boots with the cards that it had: others remember their hardware addresses for a while.
            run("ip", "-n", self.switch, "link", "add", port, "type", "veth", "peer", "name", f"eth{network - 1}",
                "address", f"02:75:73:00:{network:02x}:{host.number:02x}", "netns", host.namespace)
            run("ip", "-n", self.switch, "link", "set", port, "master", f"br{network}", "up")
            run("ip", "-n", host.namespace, "addr", "add", f"{host.address(network)}/24", "dev", f"eth{network - 1}")
            run("ip", "-n", host.namespace, "link", "set", f"eth{network - 1}", "up")
        run("ip", "-n", host.namespace, "link", "set", "lo", "up")

    def unplug(self, host: Host) -> None:
        for network in NETWORKS:
            run("ip", "-n", self.switch, "link", "del", f"p{host.number}n{network}", check=False)
        run("ip", "netns", "del", host.namespace, check=False)

    def link(self, host: Host, network: int, up: bool) -> None:
        """Pulls or plugs one network cable of a host."""
        run("ip", "-n", self.switch, "link", "set", f"p{host.number}n{network}", "up" if up else "down")

    def cut(self, source: Host, destination: Host, network: int | None = None) -> None:
        """Drops everything from `source` to `destination`, one way."""
        for one in NETWORKS if network is None else (network,):
            rule = (f'add rule bridge faults forward iifname "p{source.number}n{one}" '
                    f'oifname "p{destination.number}n{one}" drop')
            self._in_switch(rule, nft=True)

    def cut_tcp(self, one: Host, other: Host) -> None:
        """Drops TCP between two hosts on all networks; they still answer pings."""
        for source, destination in ((one, other), (other, one)):
            for network in NETWORKS:
                self._in_switch(f'add rule bridge faults forward iifname "p{source.number}n{network}" '
                                f'oifname "p{destination.number}n{network}" ip protocol tcp drop', nft=True)

    def partition(self, one: Host, other: Host, network: int | None = None) -> None:
        self.cut(one, other, network)
        self.cut(other, one, network)

    def heal(self) -> None:
        self._in_switch("flush chain bridge faults forward", nft=True)

    # --- two hosts, one cluster --------------------------------------------------------------------------------

    def form_cluster(self, first: Host, *others: Host, interval: str = "200ms", misses: int = 3) -> None:
        """init on the first host, join on the others, two paths each; returns when every path is ALIVE."""
        for host in (first, *others):
            host.settings(ALLOW_FAST_HEARTBEATS=1, INIT_PEER_WAIT=2)
            host.start()
        first.command("understudy", "init")
        for host in others:
            token = first.command("understudy", "token").strip()
            pairs = ",".join(f"{host.address(n)}:{first.address(n)}" for n in NETWORKS)
            host.command("understudy", "join", first.address(), "--token", token, "--path", pairs,
                         "--interval", interval, "--misses", str(misses))
        for host in (first, *others):
            wait_until(lambda h=host: self._paths_alive(h), 15, f"paths of {host.name} ALIVE")

    @staticmethod
    def _paths_alive(host: Host) -> bool:
        lines = host.command("net_list", "-f|").split()
        return bool(lines) and all(line.split("|")[6] == "ALIVE" for line in lines)

    # --- the end -----------------------------------------------------------------------------------------------

    def close(self) -> None:
        for host in self.hosts.values():
            try:
                host.power_off()
            except (OSError, subprocess.SubprocessError):
                pass
        run("ip", "netns", "del", self.switch, check=False)
        for host in self.hosts.values():
            run("ip", "netns", "del", host.namespace, check=False)
        self._release_devices()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _release_devices(self) -> None:
        """Loop devices belong to the kernel, not to a namespace: a host that died may have left one."""
        here = str(self.directory)
        for line in run("losetup", "--list", "--noheadings", "--raw", "--output", "NAME,BACK-FILE", check=False).stdout.splitlines():
            name, _, backing = line.partition(" ")
            if here in backing:
                run("losetup", "--detach", name, check=False)
        mounts = [line.split()[4] for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines()]
        for mount in sorted((m for m in mounts if m.startswith(here)), reverse=True):
            run("umount", "--lazy", mount, check=False)
