"""Commands that bring resources in and out of service, on real daemons: which scripts run, in which order, and what stays reserved."""

from __future__ import annotations

import re
import subprocess

from command_lab import INSTANCES, TAGS, abc, cluster, code, create, lines, outcome, restarted, scratch  # noqa: F401
from lab import Host, wait_until


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
