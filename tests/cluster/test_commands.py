"""The commands on real daemons, as a script that administers a cluster sees them: output, order, exit codes."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest
from command_lab import TAGS, CommandLab, code, lines, outcome
from lab import PROJECT, Host, Lab, wait_until

INSTANCES = ("ins_list", "-f|")


@pytest.fixture(scope="module")
def cluster(module_lab: Lab) -> Iterator[CommandLab]:
    yield CommandLab(module_lab, ("nodeA", "nodeB", "nodeC"))


@pytest.fixture
def abc(cluster: CommandLab) -> tuple[CommandLab, Host, Host, Host]:
    """The shared cluster, everything in service on nodeA."""
    cluster.all_on_first()
    a, b, c = cluster.hosts
    return cluster, a, b, c


@pytest.fixture
def scratch(cluster: CommandLab) -> Iterator[Host]:
    """nodeC, whose additional instances are removed afterwards."""
    host = cluster.hosts[2]
    yield host
    for line in lines(host, *INSTANCES, "-a", "gen"):
        tag = line.split("|")[3]
        if tag not in TAGS:
            host.run("ins_remove", "-G", "-t", tag, code=None)


def create(host: Host, *tags: str) -> None:
    for tag in tags:
        host.command("ins_create", "-a", "gen", "-r", "app", "-t", tag, "-i", tag)


# Spec: CMD-008, CMD-089
def test_fields_are_separated_by_one_byte_or_by_the_character_asked_for(abc) -> None:
    _, a, _, _ = abc
    assert "gen\x01app" in lines(a, "typ_list")
    assert "gen:app" in lines(a, "typ_list", "-f:")
    assert code(a, "typ_list", "-f") == 2
    assert code(a, "typ_list", "-f::") == 2


# Spec: CMD-004, CMD-005, CMD-059, CMD-060, CMD-061, CMD-062, CMD-063, CLU-101, CLU-103
def test_ins_create_checks_its_arguments_and_ins_list_shows_fifteen_fields(scratch: Host) -> None:
    words = ("ins_create", "-a", "gen", "-r", "app", "-t", "t1", "-i", "id1")
    scratch.command(*words, "-I", "INIT_OSU", "-v", "x y", "-Q", "120", "-D", "0", "-l", "N")
    assert lines(scratch, *INSTANCES, "-t", "t1") == ["nodeC|gen|app|t1|id1|x y|OSU||INIT_OSU||0|0|120|0|0"]
    extended = lines(scratch, *INSTANCES, "--extended", "-t", "t1")[0].split("|")
    assert len(extended) == 17 and extended[15] == "INTELLIGENT" and int(extended[16]) > 1_700_000_000
    assert code(scratch, *words) == 4
    assert code(scratch, "ins_create", "-a", "gen", "-r", "app", "-t", "t2", "-i", "id1") == 4, "the id is taken here"
    assert scratch.command("ins_gettag", "-i", "id1") == "t1\n"
    assert code(scratch, "ins_gettag", "-d", "nodeA", "-i", "id1") == 7, "it says nothing about another system"
    assert code(scratch, "ins_create", "-a", "gen", "-r", "nosuch", "-t", "t2", "-i", "id2") == 7
    assert code(scratch, "ins_create", "-a", "gen", "-r", "app", "-t", "t2", "-i", "id2", "-Q", "604801") == 6
    assert code(scratch, "ins_create", "-a", "gen", "-r", "app", "-t", "t2", "-i", "id2", "-Q", "abc") == 5
    assert code(scratch, "ins_create", "-a", "gen", "-r", "app", "-i", "id2") == 2
    assert code(scratch, "ins_create", "-a", "gen", "-r", "app", "-t", "t+2", "-i", "id2") == 5
    assert code(scratch, *INSTANCES, "-t", "t2") == 7


# Spec: CMD-061
def test_selectors_choose_roots_and_hierarchies(abc) -> None:
    _, a, _, _ = abc
    tags = lambda *words: [line.split("|")[3] for line in lines(a, *INSTANCES, *words)]  # noqa: E731
    assert tags("-R", "") == ["web.0", "db.0"]
    assert tags("-R", "web.0") == ["web.0", "ip.0", "Vol.E"]
    assert code(a, *INSTANCES, "-t", "none") == 7


# Spec: CMD-007, CMD-011, CMD-028
def test_another_systems_answer_is_the_same_as_its_own(abc) -> None:
    _, a, b, _ = abc
    for words in (("ins_list", "-f|"), ("dep_list",), ("eqv_list", "-f:"), ("app_list",), ("typ_list",), ("flg_list",),
                  ("sys_list",), ("net_list", "-f|"), ("ins_gettag", "-i", "ip.0"), ("sys_getst", "-s", "nodeC"),
                  ("lcduname",)):
        assert b.command(*words, "-d", "nodeA") == a.command(*words), words
    assert b.command("ins_list", "-d", "nodeB") == b.command("ins_list")
    assert code(b, "ins_list", "-d", "nosuch") == 7
    assert code(b, "ins_gettag", "-d", "nodeA", "-i", "none") == 7


# Spec: CMD-007, CMD-041
def test_a_system_that_cannot_be_reached_gives_code_9(abc) -> None:
    cluster, a, b, _ = abc
    b.command("flg_create", "-f", "!nofailover!nodeA")  # a partition without quorum would be a takeover
    cluster.lab.partition(a, b)
    try:
        wait_until(lambda: b.command("sys_getst", "-s", "nodeA") == "DEAD\n", 10, "nodeA is DEAD for nodeB")
        begin = time.monotonic()
        assert code(b, "ins_list", "-d", "nodeA") == 9
        assert code(b, "lcdremexec", "-d", "nodeA", "--", "true") == 9
        assert time.monotonic() - begin < 10
    finally:
        cluster.lab.heal()
        wait_until(lambda: b.command("sys_getst", "-s", "nodeA") == "ALIVE\n", 20, "nodeA is back")


# Spec: CMD-078, CMD-080, CMD-030, CLU-088
def test_dependencies_are_listed_by_every_selector(abc) -> None:
    _, a, _, _ = abc
    assert lines(a, "dep_list", "-f|", "-C", "web.0") == ["web.0|ip.0", "web.0|Vol.E"]
    assert lines(a, "dep_list", "-f|", "-P", "Vol.E") == ["web.0|Vol.E", "db.0|Vol.E"]
    assert lines(a, "dep_list", "-f|", "-c", "web.0") == ["web.0|ip.0", "web.0|Vol.E"]
    assert lines(a, "dep_list", "-f|", "-p", "ip.0") == ["web.0|ip.0"]
    assert code(a, "dep_create", "-p", "Vol.E", "-c", "web.0") == 5
    assert code(a, "dep_create", "-p", "web.0", "-c", "Vol.E") == 4
    assert code(a, "dep_list", "-C", "web.0", "-P", "Vol.E") == 2
    assert [line.split("|")[6] for line in lines(a, *INSTANCES, "-t", "web.0")] == ["ISP"]
    assert lines(a, "eqv_list", "-f|", "-t", "web.0") == ["nodeA|web.0|nodeB|web.0|SHARED|1|10",
                                                          "nodeA|web.0|nodeC|web.0|SHARED|1|20"]


# Spec: CMD-081
def test_dep_remove_without_options_removes_all_and_tells_how_many(scratch: Host) -> None:
    wanted = lines(scratch, "dep_list", "-f|")
    try:
        scratch.command("dep_remove", "-p", "web.0")
        assert lines(scratch, "dep_list", "-f|") == ["db.0|Vol.E"]
        number, out, err = outcome(scratch, "dep_remove")
        assert (number, out) == (0, "") and err.startswith("1 ")
        assert lines(scratch, "dep_list") == []
        assert outcome(scratch, "dep_remove")[0] == 0
        assert code(scratch, "dep_remove", "-p", "web.0") == 7
    finally:
        for edge in wanted:
            parent, child = edge.split("|")
            scratch.run("dep_create", "-p", parent, "-c", child, code=None)


# Spec: CMD-027, CMD-082, CMD-083, CMD-084, CMD-085, CMD-086
def test_an_equivalency_has_a_record_on_both_systems(abc) -> None:
    _, a, b, c = abc
    for host in (a, b, c):
        create(host, "t1")
    try:
        a.command("eqv_create", "-t", "t1", "-S", "nodeB", "-o", "t1", "-p", "1", "-r", "10", "-e", "SHARED")
        assert lines(a, "eqv_list", "-f|", "-t", "t1") == ["nodeA|t1|nodeB|t1|SHARED|1|10"]
        assert lines(b, "eqv_list", "-f|", "-t", "t1") == ["nodeB|t1|nodeA|t1|SHARED|10|1"]
        to_c = ("eqv_create", "-t", "t1", "-S", "nodeC", "-o", "t1", "-e", "SHARED", "-p", "1")
        assert code(a, *to_c, "-r", "10") == 5
        assert code(a, *to_c, "-r", "1025") == 6
        a.command("eqv_remove", "-t", "t1", "-S", "nodeB")
        assert lines(b, "eqv_list", "-f|", "-t", "t1") == []
    finally:
        for host in (a, b, c):
            host.run("ins_remove", "-G", "-t", "t1", code=None)


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


# Spec: CMD-122, CMD-116, CMD-118, CMD-034, CMD-036, CLU-003
def test_a_restore_runs_the_scripts_in_the_order_of_the_worked_example(abc) -> None:
    cluster, a, b, c = abc
    for host in (a, b):
        for when in ("pre", "post"):
            for action in ("restore", "remove"):
                cluster.script(host, f"subsys/gen/actions/{when}{action}")
    b.command("perform_action", "-a", "restore", "-t", "Vol.E")
    assert cluster.short_trace() == [
        "nodeB prerestore", "nodeA preremove", "nodeA remove web.0", "nodeA remove db.0", "nodeA remove Vol.E",
        "nodeB restore Vol.E", "nodeA remove ip.0", "nodeB restore ip.0", "nodeB restore web.0",
        "nodeB restore db.0", "nodeB postrestore", "nodeA postremove"]
    assert cluster.states(b) == "ISP ISP ISP ISP" and cluster.states(a) == "OSU OSU OSU OSU"
    assert {line.split("|")[7] for line in lines(b, *INSTANCES, "-a", "gen")} == {"restore action has succeeded"}
    assert lines(a, "flg_list") == [] and lines(b, "flg_list") == []


# Spec: CMD-037, CMD-111, CMD-110
def test_arguments_reach_the_scripts_and_a_types_script_comes_first(abc) -> None:
    cluster, a, b, _ = abc
    a.command("perform_action", "-G", "-s", "-a", "remove", "-t", "db.0")
    a.command("perform_action", "-G", "-s", "-a", "restore", "-t", "db.0", "--", "-x", "7")
    assert cluster.take_trace()[-1] == "nodeA restore -t db.0 -i db.0 -x 7"
    cluster.script(a, "subsys/gen/actions/reset-heads")
    a.command("perform_action", "-t", "ip.0", "-a", "reset-heads", "--", "-h", "7")
    assert cluster.take_trace() == ["nodeA reset-heads -t ip.0 -h 7"]
    cluster.script(a, "subsys/gen/resources/app/actions/reset-heads", "#!/bin/sh\nexit 3\n")
    assert code(a, "perform_action", "-t", "ip.0", "-a", "reset-heads") == 1
    assert code(a, "perform_action", "-t", "ip.0", "-a", "nosuch") == 7


# Spec: CMD-066, CMD-067, CMD-068
def test_ins_remove_takes_dependents_first_and_runs_their_delete_scripts(abc, scratch: Host) -> None:
    cluster = abc[0]
    for where in ("subsys/gen/actions/predelete", "subsys/gen/actions/postdelete", "subsys/gen/resources/app/actions/delete"):
        cluster.script(scratch, where)
    create(scratch, "s.web", "s.db", "s.vol", "s.ip")
    for parent, child in (("s.web", "s.ip"), ("s.web", "s.vol"), ("s.db", "s.vol")):
        scratch.command("dep_create", "-p", parent, "-c", child)
    assert lines(scratch, "ins_remove", "-v", "-t", "s.vol") == ["s.web", "s.db", "s.vol"]
    assert cluster.take_trace() == ["nodeC predelete ", "nodeC delete -t s.web -i s.web", "nodeC delete -t s.db -i s.db",
                                    "nodeC delete -t s.vol -i s.vol", "nodeC postdelete "]
    assert scratch.command("ins_gettag", "-i", "s.ip") == "s.ip\n"
    assert code(scratch, "ins_remove", "-t", "s.ip", "-I", "-N") == 2
    assert code(scratch, "ins_remove") == 2
    assert code(scratch, "ins_remove", "-t", "none") == 7

    create(scratch, "s.web", "s.db", "s.vol")
    for parent, child in (("s.web", "s.ip"), ("s.web", "s.vol"), ("s.db", "s.vol")):
        scratch.command("dep_create", "-p", parent, "-c", child)
    assert lines(scratch, "ins_remove", "-G", "-R", "s.web", "-v") == ["s.web", "s.ip"]
    assert scratch.command("ins_gettag", "-i", "s.vol") == "s.vol\n"

    cluster.result_of("s.vol", "delete", 5)
    number, out, err = outcome(scratch, "ins_remove", "-G", "-v", "-t", "s.vol")
    assert (number, out) == (1, "s.db\n") and "s.vol" in err
    assert scratch.command("ins_gettag", "-i", "s.vol") == "s.vol\n", "the failing one stays"


# Spec: CMD-066, CMD-067
def test_a_delete_script_may_remove_more_with_its_own_ins_remove(abc, scratch: Host) -> None:
    cluster = abc[0]
    cluster.script(scratch, "subsys/gen/resources/app/actions/delete",
                   '#!/bin/sh\n[ "$2" = n.top ] || exit 0\nins_remove -N -G -t n.top && ins_remove -N -G -t n.other\n')
    create(scratch, "n.top", "n.other")
    scratch.command("ins_remove", "-t", "n.top")
    assert code(scratch, "ins_gettag", "-i", "n.top") == 7
    assert code(scratch, "ins_gettag", "-i", "n.other") == 7


# Spec: CMD-066, CMD-069
def test_ins_remove_drops_the_equivalencies_of_the_other_systems_and_works_there(abc) -> None:
    _, a, b, _ = abc
    for host in (a, b):
        create(host, "t1")
    a.command("eqv_create", "-t", "t1", "-S", "nodeB", "-o", "t1", "-e", "SHARED")
    assert b.command("ins_remove", "-d", "nodeA", "-v", "-t", "t1") == "t1\n"
    assert lines(b, "eqv_list", "-f|", "-t", "t1") == []
    assert code(a, "ins_gettag", "-i", "t1") == 7
    b.command("ins_remove", "-t", "t1")


# Spec: CMD-058, CMD-090, CMD-068
def test_an_application_goes_with_its_types_unless_another_needs_its_instances(scratch: Host) -> None:
    scratch.command("app_create", "-a", "other")
    scratch.command("typ_create", "-a", "other", "-r", "kind")
    scratch.command("ins_create", "-a", "other", "-r", "kind", "-t", "o.1", "-i", "o.1")
    create(scratch, "g.1")
    scratch.command("dep_create", "-p", "g.1", "-c", "o.1")
    for words in (("app_remove", "-a", "other"), ("typ_remove", "-a", "other", "-r", "kind"), ("ins_remove", "-a", "other")):
        assert code(scratch, *words) == 8, words
    scratch.command("dep_remove", "-p", "g.1")
    scratch.command("app_remove", "-a", "other")
    assert "other" not in lines(scratch, "app_list")
    assert code(scratch, "ins_gettag", "-i", "o.1") == 7


# Spec: CMD-058, CMD-090, CLU-093
def test_the_other_systems_lose_their_records_of_a_type_that_is_removed(abc) -> None:
    _, a, b, _ = abc
    for command, words in (("app_remove", ("-a", "other")), ("typ_remove", ("-a", "other", "-r", "kind"))):
        for host in (a, b):
            host.command("app_create", "-a", "other")
            host.command("typ_create", "-a", "other", "-r", "kind")
            host.command("ins_create", "-a", "other", "-r", "kind", "-t", "o.1", "-i", "o.1")
        a.command("eqv_create", "-t", "o.1", "-S", "nodeB", "-o", "o.1", "-e", "SHARED")
        a.command(command, *words)
        assert [line for line in lines(b, "eqv_list", "-f|") if "|o.1|" in line] == []
        assert b.command("ins_gettag", "-i", "o.1") == "o.1\n", "its own instance stays"
        for host in (a, b):
            host.run("app_remove", "-a", "other", code=None)


# Spec: CMD-039, CMD-040, CLU-111
def test_lcdrecover_tells_the_primary_and_the_other_systems(abc) -> None:
    _, a, b, _ = abc
    assert a.command("lcdrecover", "-p", "Vol.E") == "primary\n"
    assert b.command("lcdrecover", "-p", "Vol.E") == "secondary\n"
    assert b.command("lcdrecover", "-o", "Vol.E") == "nodeA\nnodeC\n"
    assert code(a, "lcdrecover", "-p", "none") == 7
    assert code(a, "lcdrecover", "-g", "remote") == 2
    assert code(a, "lcdrecover") == 2


# Spec: CMD-038, CMD-101
def test_one_run_of_the_global_scripts_serves_several_actions(abc) -> None:
    cluster, a, _, _ = abc
    for script in ("preremove", "postremove"):
        cluster.script(a, f"subsys/gen/actions/{script}")
    a.command("lcdrecover", "-g", "remove", "--", "-m", "x")
    assert lines(a, "flg_list") == ["!remove"]
    a.command("perform_action", "-G", "-a", "remove", "-t", "web.0")
    a.command("perform_action", "-G", "-a", "remove", "-t", "db.0")
    a.command("lcdrecover", "-G", "remove", "--", "-m", "x")
    assert lines(a, "flg_list") == []
    assert cluster.take_trace() == ["nodeA preremove -m x", "nodeA remove -t web.0 -i web.0", "nodeA remove -t db.0 -i db.0",
                                    "nodeA postremove -m x"]
    a.command("lcdrecover", "-G", "remove")
    assert cluster.take_trace() == [], "nothing ran before it"


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


# Spec: CMD-091, CMD-092, CMD-094, CMD-095, CMD-096, CMD-134
def test_a_system_is_known_by_its_first_path_and_goes_with_its_paths(scratch: Host) -> None:
    scratch.command("net_create", "-s", "nodeX", "-D", "TCP:1700", "-n", "TLI", "-r", "10.9.0.2", "-l", "10.9.0.1", "-p", "1")
    assert "nodeX" in lines(scratch, "sys_list")
    line = next(line for line in lines(scratch, "net_list", "-f|") if line.startswith("nodeX|"))
    assert line == "nodeX|TCP:1700|TLI|0|0|0|DEAD|1|6|5|0|0|0|0|0|0|0|10.9.0.2|10.9.0.1"
    number, out, err = outcome(scratch, "sys_remove", "-s", "nodeX")
    assert (number, out) == (0, "") and "TCP:1700" in err
    assert "nodeX" not in scratch.command("net_list")
    assert code(scratch, "sys_remove", "-s", "nodeX") == 7
    number, out, err = outcome(scratch, "sys_remove", "-s", "nodeC")
    assert (number, out) == (5, "") and "(No. 424)" in err and '"nodeC"' in err
    assert code(scratch, "sys_remove", "-s", "nodeA") == 8


# Spec: CMD-134
def test_a_disk_path_between_more_than_two_systems_is_refused(scratch: Host) -> None:
    words = ("net_create", "-s", "nodeX", "-D", "DISK:/dev/sdx1", "-n", "DISK", "-p", "61")
    assert code(scratch, *words, "-r", "10.9.0.2") == 2
    assert code(scratch, *words) == 5, "three systems"
    assert "nodeX" not in lines(scratch, "sys_list")


# Spec: CMD-137
def test_lcduname_is_the_first_field_of_ins_list(abc) -> None:
    _, a, _, _ = abc
    assert a.command("lcduname") == lines(a, *INSTANCES)[0].split("|")[0] + "\n"


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


# Spec: CMD-010, CMD-045, CMD-098
def test_lcdsync_makes_changes_survive_a_crash(scratch: Host) -> None:
    scratch.command("flg_create", "-f", "F2")
    scratch.command("lcdsync")
    files = {path: path.stat().st_mtime_ns for path in (scratch.root / "var/lib/understudy").glob("config.db*")}
    scratch.command("lcdsync")
    assert {path: path.stat().st_mtime_ns for path in files} == files, "nothing to write"
    scratch.kill("understudyd")
    scratch.start()
    assert outcome(scratch, "flg_test", "-f", "F2") == (0, "", "")
    assert outcome(scratch, "flg_test", "-f", "none") == (7, "", "")
    scratch.command("flg_remove", "-f", "F2")


# Spec: CMD-012, CMD-074, CMD-098, CMD-102
def test_flags_have_names_of_up_to_256_bytes(scratch: Host) -> None:
    name = "f" * 256
    scratch.command("flg_create", "-f", name)
    assert name in lines(scratch, "flg_list")
    assert code(scratch, "flg_create", "-f", name) == 4
    scratch.command("flg_remove", "-f", name)
    assert code(scratch, "flg_remove", "-f", name) == 7
    assert code(scratch, "flg_create", "-f", name + "f") == 5
    number, out, err = outcome(scratch, "flg_create", "-f", "!mine")
    assert (number, out) == (0, "") and err != "", "a warning"
    scratch.command("flg_remove", "-f", "!mine")
    create(scratch, "t1")
    assert code(scratch, "ins_setin", "-t", "t1", "-v", "a\x01b") == 5


# Spec: CMD-023, CMD-077
def test_a_state_is_recorded_without_scripts_but_never_twice_in_the_cluster(abc) -> None:
    cluster, a, b, _ = abc
    assert code(b, "ins_setst", "-t", "Vol.E", "-S", "ISP") == 5
    assert code(a, "ins_setst", "-t", "Vol.E", "-S", "OSF") == 5
    a.command("ins_setst", "-t", "Vol.E", "-S", "ISU", "-R", "by hand", "-A")
    assert cluster.states(a) == "ISU ISP ISU ISU"
    a.command("ins_setst", "-t", "Vol.E", "-S", "ISP", "-A")
    assert cluster.take_trace() == []


# Spec: CMD-009
def test_usage_goes_to_whom_it_belongs(abc) -> None:
    _, a, _, _ = abc
    number, out, err = outcome(a, "ins_create")
    assert (number, out) == (2, "") and "usage: ins_create" in err
    for ask in ("--help", "-?"):
        number, out, err = outcome(a, "ins_create", ask)
        assert number == 0 and out.startswith("usage: ins_create") and err == ""


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


def short(path: str) -> str:
    """A socket's address has 107 bytes; the directory's descriptor makes a long path short."""
    return f"/proc/self/fd/{os.open(pathlib.Path(path).parent, os.O_PATH)}/{pathlib.Path(path).name}"


# Spec: CMD-119, CMD-022
def test_a_failing_restore_stops_there_and_leaves_nothing_reserved(abc) -> None:
    cluster, a, b, _ = abc
    cluster.script(b, "subsys/gen/actions/postrestore")
    cluster.result_of("ip.0", "restore", 1)
    assert code(b, "perform_action", "-b", "-a", "restore", "-t", "web.0") == 1
    trace = cluster.short_trace()
    assert "nodeB restore web.0" not in trace and trace[-1] == "nodeB postrestore" or "nodeB postrestore" in trace
    fields = {line.split("|")[3]: line.split("|") for line in lines(b, *INSTANCES, "-a", "gen")}
    assert fields["ip.0"][6:8] == ["OSF", "restore action has failed"]
    assert fields["web.0"][6] == "OSU"
    assert {field[9] + field[10] for field in fields.values()} == {"0"}


# Spec: CMD-120, CMD-121
def test_a_failing_remove_stops_the_rest(abc) -> None:
    cluster, a, _, _ = abc
    cluster.result_of("db.0", "remove", 1)
    assert code(a, "perform_action", "-G", "-a", "remove", "-t", "Vol.E") == 1
    assert [line for line in cluster.short_trace()] == ["nodeA remove web.0", "nodeA remove db.0"]
    assert cluster.states(a) == "OSU ISP ISP OSF"


# Spec: CMD-023, CMD-112
def test_what_cannot_be_taken_down_there_is_not_started_here(abc) -> None:
    cluster, a, b, _ = abc
    cluster.result_of("Vol.E", "remove", 1)
    assert code(b, "perform_action", "-G", "-a", "restore", "-t", "Vol.E") == 1
    assert not [line for line in cluster.short_trace() if line.startswith("nodeB restore")]
    assert "ISP" not in cluster.states(b)


# Spec: CMD-022, CMD-116
def test_an_unprotected_resource_becomes_protected_without_a_script(abc) -> None:
    cluster, a, _, _ = abc
    a.command("ins_setst", "-t", "ip.0", "-S", "ISU")
    a.command("perform_action", "-b", "-a", "restore", "-t", "ip.0")
    assert a.state("ip.0") == "ISP"
    assert cluster.take_trace() == []


# Spec: CMD-113, CMD-115
def test_a_reserved_resource_is_waited_for_unless_told_otherwise(abc) -> None:
    cluster, a, _, _ = abc
    cluster.duration_of("web.0", "remove", 2)
    running = subprocess.Popen(a.enter("perform_action", "-G", "-a", "remove", "-t", "web.0"), env=a.environment())
    wait_until(lambda: lines(a, *INSTANCES, "-t", "web.0")[0].split("|")[9] == "REMOVE", 10, "it is reserved")
    assert int(lines(a, *INSTANCES, "-t", "web.0")[0].split("|")[10]) > 0
    a.command("perform_action", "-n", "-G", "-s", "-a", "remove", "-t", "ip.0")
    assert running.poll() is None, "-n does not wait"
    a.command("perform_action", "-G", "-a", "remove", "-t", "Vol.E")
    assert running.wait(10) == 0, "without it the other one has ended"
    assert cluster.short_trace() == ["nodeA remove web.0", "nodeA remove ip.0", "nodeA remove db.0", "nodeA remove Vol.E"]


# Spec: CMD-013, CMD-037, CMD-100
def test_postrestore_waits_for_the_admin_lock_unless_told_that_it_is_held(abc) -> None:
    cluster, a, _, c = abc
    holder = subprocess.Popen(a.enter("bash", "-c", "getlocks -i Create_Hierarchy && sleep 600"), env=a.environment())
    try:
        wait_until(lambda: any("Create_Hierarchy" in flag for flag in lines(c, "flg_list")), 20, "the lock shows everywhere")
        flag = next(flag for flag in lines(a, "flg_list") if "Create_Hierarchy" in flag)
        assert re.fullmatch(r"!action!\d+!\d+!nodeA:Create_Hierarchy", flag), flag
        a.command("lcdrecover", "-g", "restore")
        waiting = subprocess.Popen(a.enter("lcdrecover", "-G", "restore"), env=a.environment())
        wait_until(lambda: any("Restore_hierarchy" in flag for flag in lines(a, "flg_list")), 20, "it waits")
        assert waiting.poll() is None
        a.command("lcdrecover", "-G", "restore", "--", "-m")
        a.command("perform_action", "-G", "-a", "restore", "-t", "web.0")
    finally:
        a.kill_group(holder)
        a.run("pkill", "-f", "sleep 600", code=None)
    assert waiting.wait(30) == 0, "the lock ends with its owner"
    wait_until(lambda: not [flag for flag in lines(c, "flg_list") if flag.startswith("!action")], 20, "no lock is left")


# Spec: CMD-024, CMD-025, CMD-075
def test_the_first_state_at_start_is_as_each_resource_says(abc) -> None:
    cluster, a, b, c = abc
    for host in (a, b, c):
        create(host, "auto", "given", "hand")
    try:
        for one, other, first, second in ((a, b, 1, 10), (a, c, 1, 20), (b, c, 10, 20)):
            for tag in ("auto", "given", "hand"):
                one.command("eqv_create", "-t", tag, "-S", other.name, "-o", tag, "-p", str(first), "-r", str(second), "-e", "SHARED")
        for tag, init in (("auto", "AUTORES_ISP"), ("given", "INIT_ISP"), ("hand", "INIT_OSU")):
            a.command("ins_setit", "-t", tag, "-I", init)
        a.command("lkstop")
        b.command("perform_action", "-G", "-a", "restore", "-t", "web.0")
        cluster.take_trace()
        a.command("lkstart")
        assert [a.state(tag) for tag in ("auto", "given", "hand")] == ["ISP", "ISP", "OSU"]
        assert a.state("web.0") == "OSU", "it is in service on nodeB"
        own = [line for line in cluster.short_trace() if line.startswith("nodeA")]
        assert "nodeA restore auto" in own and "nodeA restore web.0" not in own
        assert not [line for line in own if line.endswith(("given", "hand"))]
    finally:
        for host in (a, b, c):
            for tag in ("auto", "given", "hand"):
                host.run("ins_remove", "-G", "-t", tag, code=None)


# Spec: CMD-064, CMD-138
def test_a_hierarchy_is_built_from_the_command_line_on_each_system_and_undone(abc) -> None:
    _, a, b, _ = abc
    for host in (a, b):
        host.command("app_create", "-a", "shop")
        host.command("typ_create", "-a", "shop", "-r", "till")
        for tag in ("till.0", "disk.0"):
            host.command("ins_create", "-a", "shop", "-r", "till", "-t", tag, "-i", tag)
        host.command("dep_create", "-p", "till.0", "-c", "disk.0")
    for tag in ("till.0", "disk.0"):
        a.command("eqv_create", "-t", tag, "-S", "nodeB", "-o", tag, "-e", "SHARED")
    for host in (a, b):
        host.command("lcdsync")
    number, _, err = outcome(a, "perform_action", "-G", "-a", "restore", "-t", "till.0")
    assert number == 1 and "restore" in err, "the type has no scripts"
    for host in (a, b):
        host.command("ins_remove", "-R", "till.0")
        host.command("app_remove", "-a", "shop")
    assert "till.0" not in a.command("eqv_list") + b.command("eqv_list")


# Spec: CMD-001, CMD-020
def test_every_command_lies_in_the_programs_directory_and_kits_bring_their_types(abc) -> None:
    _, a, _, _ = abc
    programs = set(lines(a, "bash", "-c", "ls $LKROOT/bin"))
    pages = {path.stem for path in (PROJECT / "docs/man").glob("*.scd") if not path.stem.startswith("understudy-")}
    assert pages - programs == set()
    assert {"filesys:volume", "comm:ip", "database:pgsql"} <= set(lines(a, "typ_list", "-f:"))


# Spec: CMD-019, CMD-021, CMD-110
def test_an_actions_script_is_found_by_its_endings_in_order(abc) -> None:
    cluster, a, _, _ = abc
    where = "subsys/gen/resources/app/actions/probe"
    made = []
    try:
        for ending in (".pl", ".py", ".ksh", ".sh", ""):
            made.append(cluster.script(a, where + ending, f"#!/bin/sh\necho 'by {ending}'\n"))
            assert a.command("perform_action", "-t", "ip.0", "-a", "probe") == f"by {ending}\n"
        made[-1].chmod(0o644)
        assert a.command("perform_action", "-t", "ip.0", "-a", "probe") == "by .sh\n", "what is not executable is no script"
    finally:
        for path in made:
            path.unlink()


# Spec: CMD-136
def test_hry_setpri_changes_the_whole_hierarchy_on_all_systems(abc) -> None:
    _, a, b, c = abc
    a.command("hry_setpri", "-t", "ip.0", "-p", "5")
    try:
        for tag in TAGS:
            assert f"nodeA|{tag}|nodeC|{tag}|SHARED|5|20" in lines(a, "eqv_list", "-f|")
            assert f"nodeC|{tag}|nodeA|{tag}|SHARED|20|5" in lines(c, "eqv_list", "-f|")
        assert code(a, "hry_setpri", "-t", "none", "-p", "5") == 7
        assert code(a, "hry_setpri", "-t", "ip.0", "-p", "20") == 5, "nodeC has it"
    finally:
        a.command("hry_setpri", "-t", "ip.0", "-p", "1")


# Spec: CMD-017
def test_the_configuration_survives_a_reboot(scratch: Host) -> None:
    def kept() -> list[str]:
        return [scratch.command(*words) for words in (("dep_list",), ("eqv_list",), ("typ_list",), ("sys_list",))]

    before = kept()
    scratch.command("lcdsync")
    scratch.power_off()
    scratch.start()
    assert kept() == before


@contextlib.contextmanager
def restarted(host: Host, **settings: object) -> Iterator[None]:
    """The engine of the host with other settings, and afterwards with the usual ones; resources are left alone."""
    usual = {"ALLOW_FAST_HEARTBEATS": 1, "INIT_PEER_WAIT": 2}
    try:
        host.settings(**usual, **settings)
        host.command("lkstop", "-f")
        host.start()
        yield
    finally:
        host.settings(**usual)
        host.command("lkstop", "-f")
        host.start()


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


# Spec: CLU-130
def test_a_kit_that_is_not_enabled_brings_nothing_in_service(abc, scratch: Host) -> None:
    cluster = abc[0]
    create(scratch, "gated")
    with restarted(scratch, DISABLED_KITS="comm/ip, Gen/App"):
        log = (scratch.root / "var/log/understudy/understudyd.log").read_text()
        assert "(No. 20042) kit Gen/App is not enabled" in log
        number, out, err = outcome(scratch, "perform_action", "-G", "-a", "restore", "-t", "gated")
        assert (number, out) == (1, "") and "*ERROR* (No. 1001) resource gated requires the kit gen/app" in err
        assert lines(scratch, *INSTANCES, "-t", "gated")[0].split("|")[6:8] == ["OSF", "restore action has failed"]
        assert cluster.take_trace() == [], "its script did not run"
    scratch.command("perform_action", "-G", "-a", "restore", "-t", "gated")


# Spec: CMD-044
def test_a_remote_command_that_does_not_end_is_ended_and_told(abc, scratch: Host) -> None:
    _, a, _, _ = abc
    with restarted(scratch, REMOTETIMEOUT=1):
        wait_until(lambda: a.command("sys_getst", "-s", "nodeC") == "ALIVE\n", 20, "nodeC is back")
        number, out, err = outcome(a, "lcdremexec", "-d", "nodeC", "--", "sleep 601")
        assert (number, out) == (9, "") and "did not end within REMOTETIMEOUT=1 s" in err
        assert scratch.run("pgrep", "-f", "sleep 601", code=None).stdout == ""
    wait_until(lambda: a.command("sys_getst", "-s", "nodeC") == "ALIVE\n", 20, "nodeC is back")


# Spec: CLU-115
def test_what_an_interrupted_creation_left_is_removed_and_the_creation_repeated(scratch: Host) -> None:
    def begin() -> None:
        create(scratch, "half.top", "half.disk")
        scratch.command("dep_create", "-p", "half.top", "-c", "half.disk")

    begin()  # and never went on
    scratch.kill("understudyd")
    scratch.start()
    scratch.run("dep_remove", "-p", "half.top", code=None)
    for tag in ("half.top", "half.disk"):
        scratch.run("ins_remove", "-t", tag, code=None)
    begin()
    assert lines(scratch, *INSTANCES, "-R", "half.top")[1].split("|")[3] == "half.disk"


# Spec: CLU-216
def test_reservations_are_per_resource_and_have_nothing_to_do_with_the_admin_lock(abc) -> None:
    cluster, a, _, c = abc
    create(a, "alone")
    a.command("perform_action", "-G", "-a", "restore", "-t", "alone")
    cluster.take_trace()
    holder = subprocess.Popen(a.enter("bash", "-c", "getlocks -i Other_operation && exec sleep 602"), env=a.environment())
    try:
        wait_until(lambda: any("Other_operation" in flag for flag in lines(c, "flg_list")), 20, "the lock is held")
        cluster.duration_of("db.0", "remove", 30)
        running = subprocess.Popen(a.enter("perform_action", "-G", "-s", "-a", "remove", "-t", "db.0"), env=a.environment())
        wait_until(lambda: lines(a, *INSTANCES, "-t", "db.0")[0].split("|")[9] == "REMOVE", 10, "db.0 is reserved")
        assert [line.split("|")[9] for line in lines(a, *INSTANCES, "-a", "gen")].count("") == len(TAGS)
        a.command("perform_action", "-G", "-a", "remove", "-t", "alone")
        assert running.poll() is None, "another hierarchy waits neither for the reservation nor for the lock"
        assert cluster.short_trace() == ["nodeA remove db.0", "nodeA remove alone"]
        a.run("pkill", "-f", "^sleep 30$")
        assert running.wait(40) == 0
    finally:
        a.kill_group(holder)
        a.command("ins_remove", "-G", "-t", "alone")
    wait_until(lambda: not [flag for flag in lines(c, "flg_list") if flag.startswith("!action")], 20, "no lock is left")
