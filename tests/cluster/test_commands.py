"""The commands on real daemons, as a script that administers a cluster sees them: records, their order and exit codes."""

from __future__ import annotations

import time

from command_lab import INSTANCES, TAGS, abc, cluster, code, create, lines, outcome, scratch  # noqa: F401
from lab import Host, wait_until


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


# Spec: MOP-157
def test_a_lost_node_is_taken_out_by_hand_on_each_that_remains(abc) -> None:
    """The last test of the file: nodeC is a member no more."""
    _, a, b, c = abc
    c.power_off()
    for host in (a, b):
        wait_until(lambda h=host: h.command("sys_getst", "-s", "nodeC") == "DEAD\n", 30, "nodeC is found DEAD")
    for host in (a, b):
        equal = [line.split("|") for line in lines(host, "eqv_list", "-f|")]
        with_c = [fields for fields in equal if fields[0] == host.name and fields[2] == "nodeC"]
        assert {fields[1] for fields in with_c} == set(TAGS)
        for _, tag, system, other, *_ in with_c:
            host.command("eqv_remove", "-t", tag, "-S", system, "-o", other, "-e", "SHARED")
        for fields in (line.split("|") for line in lines(host, "net_list", "-f|")):
            if "nodeC" in fields:
                host.command("net_remove", "-D", fields[1])
        host.command("sys_remove", "-s", "nodeC")
        assert lines(host, "sys_list") == ["nodeA", "nodeB"]
        assert not [line for line in lines(host, "eqv_list", "-f|") if "nodeC" in line]
        assert not [line for line in lines(host, "net_list", "-f|") if "nodeC" in line]
    # The hierarchies of the two are as they were.
    for host in (a, b):
        assert {line.split("|")[3] for line in lines(host, *INSTANCES, "-a", "gen")} == set(TAGS)
