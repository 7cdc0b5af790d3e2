"""Commands about hosts, on real daemons: remote commands, who may run them, start and stop, names, the programs' directory."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator

import pytest
from command_lab import TAGS, CommandLab, abc, cluster, code, lines, outcome, restarted, scratch  # noqa: F401
from lab import PROJECT, Host, Lab, wait_until


# Spec: CMD-041, CMD-042, CMD-043, CMD-044, CLU-098
def test_lcdremexec_gives_output_and_exit_code_of_the_other_system(abc) -> None:
    cluster, a, b, _ = abc
    root = str(b.root / "usr/lib/understudy")
    both = ("--", "echo $LKROOT; echo e >&2; exit 37")
    assert outcome(a, "lcdremexec", "-d", "nodeB", *both) == (37, f"{root}\ne\n", "")
    assert outcome(a, "lcdremexec", "-e", "-d", "nodeB", *both) == (37, f"{root}\n", "e\n")
    assert a.command("lcdremexec", "-d", "nodeB", "--", "pwd") == root + "\n"
    assert a.command("lcdremexec", "-d", "nodeB", "--", "echo", "$PATH").startswith(root + "/bin:")
    assert a.command("lcdremexec", "-d", "nodeB", "--", "cat; printf '\\000\\377' | od -An -tx1") == " 00 ff\n"
    assert code(a, "lcdremexec", "-d", "nosuch", "--", "true") == 7
    assert code(a, "lcdremexec", "-d", "nodeB") == 2
    local = outcome(a, "lcdremexec", "-d", "nodeA", *both)
    assert local == (37, f"{a.root}/usr/lib/understudy\n", "e\n")


# Spec: CMD-041
def test_lcdremexec_fails_when_the_other_system_dies_meanwhile(module_lab: Lab, abc) -> None:
    _, a, _, c = abc
    running = subprocess.Popen(a.enter("lcdremexec", "-d", "nodeC", "--", "sleep 600"), env=a.environment(),
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_until(lambda: c.pids_of("sleep") and c.run("pgrep", "-f", "sleep 600", code=None).stdout, 10, "it runs on nodeC")
    c.kill("understudyd")
    try:
        assert running.wait(30) == 9
        assert b"nodeC" in running.communicate()[1]
    finally:
        c.start()
        wait_until(lambda: a.command("sys_getst", "-s", "nodeC") == "ALIVE\n", 20, "nodeC is back")


# Spec: CMD-031, CMD-032, CMD-033, CLU-098
def test_lcdrcp_copies_byte_for_byte(abc) -> None:
    cluster, a, b, _ = abc
    source = cluster.lab.directory / "sources"
    target = cluster.lab.directory / "in"
    source.mkdir(exist_ok=True)
    target.mkdir(exist_ok=True)
    content = bytes(range(256)) * 4096
    (source / "a").write_bytes(content)
    (source / "b").write_text("text\n")
    a.command("lcdrcp", str(source / "a"), str(source / "b"), f"nodeB:{target}/")
    assert (target / "a").read_bytes() == content
    assert (target / "b").read_text() == "text\n"
    assert (target / "a").stat().st_mode & 0o777 == 0o644
    a.command("lcdrcp", str(source / "b"), f"nodeB:{target}/c:d")
    assert (target / "c:d").read_text() == "text\n"
    assert code(a, "lcdrcp", str(source / "a"), str(source / "b"), f"nodeB:{target}/a") == 5
    assert code(a, "lcdrcp", str(source / "a"), str(target)) == 2
    assert code(a, "lcdrcp", str(source / "a"), f"nosuch:{target}") == 7
    assert code(a, "lcdrcp", str(source / "none"), f"nodeB:{target}") == 1
    with open(source / "big", "wb") as big:
        big.truncate((8 << 20) + 1)
    assert code(a, "lcdrcp", str(source / "b"), str(source / "big"), f"nodeB:{target}/") == 1


# Spec: CMD-056, CMD-057, CMD-087, CMD-088
def test_applications_and_types_have_directories_for_their_scripts(scratch: Host) -> None:
    scratch.command("app_create", "-a", "own")
    scratch.command("typ_create", "-a", "own", "-r", "kind")
    below = scratch.root / "usr/lib/understudy/subsys/own"
    for part in ("actions", "resources/kind/actions", "resources/kind/instances"):
        assert (below / part).is_dir(), part
    assert lines(scratch, "app_list") == sorted(lines(scratch, "app_list"))
    assert code(scratch, "app_create", "-a", "own") == 4
    assert code(scratch, "app_create", "-a", "a/b") == 5
    assert code(scratch, "typ_create", "-a", "none", "-r", "kind") == 7
    scratch.command("app_remove", "-a", "own")


# Spec: CMD-006, CMD-107, CMD-108
def test_lk_err_prints_and_logs_in_the_layout_of_all_messages(abc) -> None:
    _, a, _, _ = abc
    log = a.root / "var/log/understudy/messages.log"
    for category, severity in (("FRS_ERR", "*ERROR* "), ("FRS_WARN", "*WARNING* "), ("FRS_MES", "")):
        number, out, err = outcome(a, "lk_err", "-c", category, "-n", "77", "-p", "myscript", "disk is \"gone\"")
        assert (number, out) == (0, "")
        assert re.fullmatch(r"Process: myscript\(\d+\)\n" + re.escape(f'{severity}(No. 77) disk is "gone"\n'), err), err
        assert log.read_text().splitlines()[-1].endswith(f'{severity}(No. 77) disk is "gone"')
    size = log.stat().st_size
    assert outcome(a, "lk_err", "-c", "FRS_MES", "-n", "1", "-p", "p", "-d", "TO_LOG", "quiet")[1:] == ("", "")
    assert log.stat().st_size > size
    size = log.stat().st_size
    a.command("lk_err", "-c", "FRS_MES", "-n", "1", "-p", "p", "-d", "TO_STDERR", "loud")
    assert log.stat().st_size == size
    assert code(a, "lk_err", "-c", "FRS_BAD", "-n", "1", "-p", "p", "x") == 2
    assert code(a, "lk_err", "-c", "FRS_MES", "-n", "0", "-p", "p", "x") == 5
    assert code(a, "lk_err", "-n", "1", "-p", "p", "x") == 2


# Spec: CMD-003, CMD-045, CMD-047, CMD-051, CMD-053, CMD-107
def test_stopping_without_touching_resources_and_starting_again(abc) -> None:
    cluster, a, b, c = abc
    out = a.command("lkstop", "-f")
    assert out.splitlines()[-1] == "LIFEKEEPER NOW STOPPED"
    assert cluster.take_trace() == []
    number, out, err = outcome(a, "sys_list")
    assert (number, out) == (1, "") and "CRITICAL (No. 472) Can't run this application without LCD Daemon running." in err
    assert outcome(a, "lk_err", "-c", "FRS_MES", "-n", "1", "-p", "p", "x")[0] == 0
    assert outcome(a, "lcdremexec", "-d", "nodeA", "--", "true")[0] == 0
    assert a.command("lkstart") == "LIFEKEEPER NOW STARTED\n"
    assert cluster.states(a) == "ISP ISP ISP ISP"
    assert not [line for line in cluster.take_trace() if line.startswith(("nodeB", "nodeC"))]
    assert a.command("lkstart") == "LIFEKEEPER ALREADY RUNNING\n"
    assert code(a, "lkstop", "-n", "-f") == 2
    assert code(a, "lkstart", "-w", "x") == 5
    for host in (b, c):
        wait_until(lambda h=host: h.command("sys_getst", "-s", "nodeA") == "ALIVE\n", 20, "nodeA is back")


# Spec: CMD-050, CMD-051, CMD-052, CMD-099
def test_an_orderly_stop_takes_down_from_the_top_and_nothing_moves(abc) -> None:
    cluster, a, b, c = abc
    a.command("lkstop")
    removed = [line.split()[3] for line in cluster.take_trace() if line.startswith("nodeA remove ")]
    assert sorted(removed) == sorted(TAGS)
    assert max(removed.index("web.0"), removed.index("db.0")) < removed.index("Vol.E")
    assert removed.index("web.0") < removed.index("ip.0")
    wait_until(lambda: b.command("sys_getst", "-s", "nodeA") == "DEAD\n", 10, "nodeA is DEAD for nodeB")
    assert "!nofailover!nodeA" in lines(b, "flg_list")
    assert cluster.states(b) == "OSU OSU OSU OSU" and cluster.states(c) == "OSU OSU OSU OSU"
    a.start()
    assert cluster.states(a) == "ISP ISP ISP ISP"
    wait_until(lambda: "!nofailover!nodeA" not in lines(b, "flg_list"), 10, "the flag goes")
    assert not [line for line in cluster.take_trace() if not line.startswith("nodeA")]


# Spec: CMD-009
def test_usage_goes_to_whom_it_belongs(abc) -> None:
    _, a, _, _ = abc
    number, out, err = outcome(a, "ins_create")
    assert (number, out) == (2, "") and "usage: ins_create" in err
    for ask in ("--help", "-?"):
        number, out, err = outcome(a, "ins_create", ask)
        assert number == 0 and out.startswith("usage: ins_create") and err == ""
    # Of a word that has commands behind it, those are shown.
    number, out, err = outcome(a, "understudy", "mirror", "frob")
    assert (number, out) == (2, "") and 'there is no command "mirror frob"' in err
    assert "mirror pause " in err and "sys_list" not in err and "resource create" not in err
    number, _, err = outcome(a, "understudy", "frob")
    assert number == 2 and 'there is no command "frob"' in err and "sys_list" in err


# Spec: CMD-135, CMD-097, CMD-086
def test_a_lost_system_is_removed_from_those_that_remain(module_lab: Lab, abc) -> None:
    cluster, a, _, _ = abc
    a.command("net_create", "-s", "nodeX", "-D", "TCP:1700", "-n", "TLI", "-r", "10.9.0.2", "-l", "10.9.0.1", "-p", "1")
    out = lines(a, "delallsys.pl", "-f", "nodeX")
    assert out == ["Removing network comm path(s) 10.9.0.1 -> 10.9.0.2..."]
    assert lines(a, "sys_list") == ["nodeA", "nodeB", "nodeC"]
    assert code(a, "delallsys", "-f", "nodeX") == 7
    assert code(a, "delallsys", "-f", "nodeA") == 5


def checksums(host: Host) -> dict[str, bytes]:
    directories = (host.root / "var/lib/understudy", host.root / "etc/understudy", host.root / "usr/lib/understudy/subsys")
    return {str(path): path.read_bytes() for directory in directories for path in directory.rglob("*")
            if path.is_file() and not path.is_symlink() and path.suffix != ".lock"}


# Spec: CMD-103, CMD-104, CMD-105, CMD-106
def test_a_renamed_system_is_known_by_its_new_name_after_lk_chg_value_on_every_node(lab: Lab) -> None:
    cluster = CommandLab(lab, ("nodeA", "nodeB"))
    a, b = cluster.hosts
    change = ("lk_chg_value", "-o", "nodeA", "-n", "nodeX")
    assert code(a, *change) == 3
    for host in (b, a):
        host.command("lkstop", "-f")
        host.kill("mirrord", "TERM")
        wait_until(lambda h=host: not h.pids_of("mirrord"), 15, "mirrord ends")
    pairs = lab.directory / "pairs"
    pairs.write_text(f"# new names and an address\n\nnodeA=nodeX\nnodeB=nodeY\n{a.address(1)}=10.77.1.99\n")
    before = checksums(a)
    shown = lines(a, "lk_chg_value", "-M", "-f", str(pairs))
    assert any(line.endswith(":nodeA -> nodeX") for line in shown)
    assert all(re.fullmatch(r".+:\d+:.+ -> .+", line) for line in shown), shown
    assert checksums(a) == before, "only shown"
    assert code(a, "lk_chg_value", "-o", "none", "-n", "x") == 7
    assert code(a, "lk_chg_value", "-o", "web.0", "-n", "www") == 5, "it is a whole id too"
    assert code(a, "lk_chg_value") == 2
    assert code(a, "lk_chg_value", "-o", "x") == 2
    assert code(a, "env", "-u", "LKROOT", *change) == 6
    assert code(a, "setpriv", "--reuid=12345", *change) == 4
    assert checksums(a) == before, "nothing of that changed anything"

    for host in (a, b):
        host.run("lk_chg_value.ksh", "-vf", str(pairs))
    for host in (b, a):
        host.start()
    assert lines(a, "sys_list") == ["nodeX", "nodeY"] and lines(b, "sys_list") == ["nodeX", "nodeY"]
    assert a.command("lcduname") == "nodeX\n" and b.command("lcduname") == "nodeY\n", "both can make a certificate"
    wait_until(lambda: b.command("sys_getst", "-s", "nodeX") == "ALIVE\n", 20, "the other network's path is up")
    assert "nodeY|web.0|nodeX|web.0|SHARED|10|1" in lines(b, "eqv_list", "-f|")
    assert "10.77.1.99" in b.command("net_list") and a.address(1) not in b.command("net_list")
    assert cluster.states(a) == "ISP ISP ISP ISP"


@pytest.fixture
def account() -> Iterator[str]:
    """An ordinary account of this machine."""
    name = f"us{os.getpid() % 10000}"
    subprocess.run(["useradd", "--no-create-home", name], check=True)
    yield name
    subprocess.run(["userdel", name], check=True)


def as_account(host: Host, name: str, *words: str) -> tuple[int, str, str]:
    return outcome(host, "setpriv", f"--reuid={name}", f"--regid={name}", "--init-groups", *words)


def readable_by_all(host: Host) -> None:
    """The programs of the build tree may lie where ordinary accounts cannot go."""
    for path in (host.root, host.root / "run", host.root / "run/understudy"):
        host.run("chmod", "a+rx", str(path), code=None)


# Spec: CMD-002
def test_only_root_and_the_groups_may_run_commands_and_others_are_told_so(abc, account: str) -> None:
    _, a, _, _ = abc
    readable_by_all(a)
    a.run("chmod", "a+rx", "/run/understudy", code=None)
    roles = {"lkadmin": (0, 0, 0), "LK_OPERATOR": (0, 0, 1), "LK_GUEST": (0, 1, 1), None: (1, 1, 1)}
    asked = (("sys_list",), ("perform_action", "-a", "restore", "-t", "web.0"), ("lcdsync",))
    made = []
    for group in ("lkadmin", "LK_OPERATOR", "LK_GUEST"):
        if subprocess.run(["groupadd", group], check=False, capture_output=True).returncode == 0:
            made.append(group)
    try:
        for group, expected in roles.items():
            subprocess.run(["usermod", "-G", group or "", account], check=True)
            for words, wanted in zip(asked, expected):
                number, out, err = as_account(a, account, *words)
                assert number == wanted, (group, words, number, out, err)
                if wanted:
                    assert out == "" and "needs root or membership in the group lkadmin" in err
    finally:
        for group in made:
            subprocess.run(["groupdel", group], check=True)


def short(path: str) -> str:
    """A socket's address has 107 bytes; the directory's descriptor makes a long path short."""
    return f"/proc/self/fd/{os.open(pathlib.Path(path).parent, os.O_PATH)}/{pathlib.Path(path).name}"


# Spec: CMD-002
def test_more_clients_than_can_be_served_are_told_so(abc) -> None:
    _, a, _, _ = abc
    path = str(a.root / "run/understudy/understudyd.sock")
    # The host has a /run of its own: its processes' view of the file system is the way in.
    path = f"/proc/{a.pid}/root{path}"
    held = []
    try:
        for _ in range(256):
            one = socket.socket(socket.AF_UNIX)
            one.connect(short(path))
            held.append(one)
        number, out, err = wait_until(lambda: (lambda o: o if o[0] != 0 else None)(outcome(a, "sys_list")), 10, "a refusal")
        assert (number, out) == (1, "") and "which is its limit; try again" in err
    finally:
        for one in held:
            one.close()
    wait_until(lambda: outcome(a, "sys_list")[0] == 0, 10, "room again")


# Spec: CMD-001, CMD-020
def test_every_command_lies_in_the_programs_directory_and_kits_bring_their_types(abc) -> None:
    _, a, _, _ = abc
    programs = set(lines(a, "bash", "-c", "ls $LKROOT/bin"))
    pages = {path.stem for path in (PROJECT / "docs/man").glob("*.scd") if not path.stem.startswith("understudy-")}
    assert pages - programs == set()
    assert {"filesys:volume", "comm:ip", "database:pgsql"} <= set(lines(a, "typ_list", "-f:"))


# Spec: CMD-014
def test_the_parts_of_the_engine_are_where_scripts_and_administrators_look_for_them(abc) -> None:
    cluster, a, _, c = abc
    for daemon in ("understudyd", "mirrord"):
        assert len(a.pids_of(daemon)) == 1
    listening = set(re.findall(r":(\d+)\s", c.run("ss", "-Hltn").stdout))
    paths = {line.split("|")[1].removeprefix("TCP:") for line in lines(c, "net_list", "-f|")}
    assert paths | {"3278"} <= listening, "the paths that others dial, and management"
    assert all(1500 <= int(port) <= 10000 for port in paths)
    assert (a.root / "run/understudy/understudyd.sock").is_socket()
    cluster.script(a, "subsys/gen/actions/show", "#!/bin/sh\nenv\n")
    shown = dict(line.split("=", 1) for line in lines(a, "perform_action", "-t", "ip.0", "-a", "show"))
    lkroot = f"{a.root}/usr/lib/understudy"
    assert shown["LKROOT"] == lkroot and shown["PATH"].startswith(f"{lkroot}/bin:") and shown["INIT_PEER_WAIT"] == "2"
    units = {path.stem: path.read_text() for path in (PROJECT / "packaging/systemd").glob("*.service")}
    assert "Requires=understudy-mirror.service" in units["understudy"] and "Restart=on-failure" in units["understudy"]
    assert "Requires=understudy-keeper.service" in units["understudy-mirror"]


# Spec: CMD-018, CLU-083, CMD-100
def test_the_programs_directory_is_laid_out_as_scripts_know_it(scratch: Host) -> None:
    lkroot = scratch.root / "usr/lib/understudy"
    for directory in ("admin", "config", "bin", "subsys", "events", "out", "etc", "include", "support"):
        assert (lkroot / directory).is_dir(), directory
    assert (lkroot / "etc/default/LifeKeeper").read_text() == (scratch.root / "etc/default/LifeKeeper").read_text()
    assert (lkroot / "out/understudyd.log").stat().st_size > 0
    assert (lkroot / "config/config.db").exists()
    for program in ("getlocks", "rlslocks"):
        assert scratch.run(str(lkroot / "admin/bin" / program), "--help").stdout.startswith(f"usage: {program}")


# Spec: CMD-018, CLU-083
def test_the_programs_directory_may_be_elsewhere(scratch: Host) -> None:
    scratch.run("cp", "-a", f"{scratch.root}/usr/lib/understudy", "/tmp/moved")
    elsewhere = ("env", "LKROOT=/tmp/moved")
    try:
        scratch.command("lkstop", "-f")
        scratch.run(*elsewhere, "lkstart")
        assert scratch.run(*elsewhere, "lcdremexec", "-d", "nodeC", "--", "pwd").stdout == "/tmp/moved\n"
        scratch.run(*elsewhere, "app_create", "-a", "moved")
        assert scratch.run("ls", "/tmp/moved/subsys/moved").stdout.split() == ["actions", "resources"]
        assert not (scratch.root / "usr/lib/understudy/subsys/moved").exists()
    finally:
        scratch.run("app_remove", "-a", "moved", code=None)
        scratch.command("lkstop", "-f")
        scratch.start()


# Spec: CLU-084, CLU-085
def test_a_kit_that_is_installed_is_known_whatever_the_case_of_its_directories(scratch: Host) -> None:
    subsys = scratch.root / "usr/lib/understudy/subsys/Shop"
    for where, text in (("Resources/Till/Actions/Probe.sh", "of the type"), ("Actions/count", "of the application")):
        script = subsys / where
        script.parent.mkdir(parents=True)
        script.write_text(f"#!/bin/sh\necho {text}\n")
        script.chmod(0o755)
    with restarted(scratch):
        assert "Shop:Till" in lines(scratch, "typ_list", "-f:")
        scratch.command("ins_create", "-a", "Shop", "-r", "Till", "-t", "till", "-i", "till")
        assert scratch.command("perform_action", "-t", "till", "-a", "probe") == "of the type\n"
        assert scratch.command("perform_action", "-t", "till", "-a", "count") == "of the application\n"
        shutil.rmtree(subsys)
        scratch.command("app_remove", "-a", "Shop")


# Spec: CMD-044
def test_a_remote_command_that_does_not_end_is_ended_and_told(abc, scratch: Host) -> None:
    _, a, _, _ = abc
    with restarted(scratch, REMOTETIMEOUT=1):
        wait_until(lambda: a.command("sys_getst", "-s", "nodeC") == "ALIVE\n", 20, "nodeC is back")
        number, out, err = outcome(a, "lcdremexec", "-d", "nodeC", "--", "sleep 601")
        assert (number, out) == (9, "") and "did not end within REMOTETIMEOUT=1 s" in err
        assert scratch.run("pgrep", "-f", "sleep 601", code=None).stdout == ""
    wait_until(lambda: a.command("sys_getst", "-s", "nodeC") == "ALIVE\n", 20, "nodeC is back")
