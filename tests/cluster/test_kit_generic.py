"""Generic Application: user's scripts, the copies that nodes keep, and the templates with real programs."""

from __future__ import annotations

import pathlib

import pytest
from kit_lab import action, check, extend, info, unchecked
from lab import Host, Lab, wait_until

GEN = "gen/app"
TAG = "App.0"
TEMPLATES = "usr/lib/understudy/admin/kit/app/templates"


@pytest.fixture
def left(lab: Lab) -> Host:
    host = lab.host("left", generic_application=True)
    host.start()
    return host


@pytest.fixture
def both(lab: Lab) -> tuple[Host, Host]:
    hosts = lab.host("left", generic_application=True), lab.host("right", generic_application=True)
    lab.form_cluster(*hosts)
    return hosts


def script(host: Host, name: str, body: str, interpreter: str = "/bin/sh") -> str:
    path = host.root / "scripts" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f'#!{interpreter}\necho "{name} $*" >>"$UNDERSTUDY_ROOT/calls"\n{body}\n')
    return str(path)


def calls(host: Host) -> list[str]:
    path = host.root / "calls"
    return path.read_text().splitlines() if path.exists() else []


def copies(host: Host) -> dict[str, str]:
    directory = host.root / f"var/lib/understudy/subsys/gen/resources/app/actions/{TAG}"
    return {path.name: path.read_text() for path in sorted(directory.glob("*"))}


def fields(host: Host) -> list[str]:
    return host.command("ins_list", "-f|", "-t", TAG).strip().split("|")


# Spec: KIT-173, KIT-175, KIT-177, KIT-214, KIT-165, CLU-154, CLU-156, CLU-148
def test_scripts_are_copied_and_called_as_the_contract_says(left: Host) -> None:
    restore = script(left, "restore.sh", 'env >"$UNDERSTUDY_ROOT/environment"')
    remove = script(left, "remove.pl", "print 'stopped'", "/bin/sh")
    script(left, "create.sh", "")
    script(left, "delete.sh", "")
    quick = script(left, "healthy", "exit 3")
    action(left, GEN, "create", "-t", TAG, f"restore={restore}", f"remove={remove}", f"quickCheck={quick}", 'info=port 80, "x"',
           checked=True)
    assert list(copies(left)) == ["create", "delete", "quickchk", "remove", "restore"]
    assert calls(left) == [f"create.sh -t {TAG} -i {TAG}"]
    assert info(left, TAG) == 'port 80, "x"'
    assert fields(left)[-3:] == ["180", "0", "0"], "no deep check and no recovery without their scripts"
    unchecked(left, TAG)
    left.command("perform_action", "-t", TAG, "-a", "restore")
    environment = dict(line.split("=", 1) for line in (left.root / "environment").read_text().splitlines() if "=" in line)
    assert [environment[f"LK_{name}"] for name in ("TAG", "ID", "INFO", "ACTION")] == [TAG, TAG, 'port 80, "x"', "restore"]
    assert calls(left)[-1] == f"restore.sh -t {TAG} -i {TAG}"
    assert not check(left, TAG)
    assert check(left, TAG, "deepchk"), "what has no script says nothing"
    assert left.run("perform_action", "-t", TAG, "-a", "recover", code=1), "what cannot be recovered fails over"
    left.command("ins_remove", "-t", TAG)
    assert calls(left)[-1] == f"delete.sh -t {TAG} -i {TAG}" and copies(left) == {}


# Spec: KIT-214, KIT-165
def test_a_failing_create_script_leaves_nothing(left: Host) -> None:
    restore, remove = script(left, "restore", ""), script(left, "remove", "")
    script(left, "create", "echo 'no licence' >&2; exit 1")
    refused = action(left, GEN, "create", "-t", TAG, f"restore={restore}", f"remove={remove}", code=1)
    assert "no licence" in refused.stderr
    left.run("ins_list", "-t", TAG, code=7)
    assert copies(left) == {}


# Spec: CLU-155, CLU-156, KIT-173, KIT-179, KIT-166
def test_what_is_no_script_is_refused(left: Host) -> None:
    restore, remove = script(left, "restore", ""), script(left, "remove", "")
    plain = left.root / "scripts/plain"
    plain.write_text("echo no interpreter\n")
    strange = script(left, "strange", "", "/opt/no/such/language")
    for words, why in ((("restore=" + restore,), "needs a remove script"),
                       (("restore=" + restore, "remove=/no/such/file"), "there is no file /no/such/file"),
                       (("restore=" + restore, "remove=remove"), "is not the full path"),
                       (("restore=" + restore, "remove=/x y"), "letters, digits and"),
                       (("restore=" + restore, f"remove={plain}"), "does not name an interpreter"),
                       (("restore=" + restore, f"remove={strange}"), "needs /opt/no/such/language"),
                       (("restore=" + restore, "remove=" + remove, "start=x"), '"start=" is not one of')):
        assert why in action(left, GEN, "create", "-t", TAG, *words, code=1).stderr
        left.run("ins_list", "-t", TAG, code=7)


# Spec: KIT-174, KIT-176, KIT-178, KIT-180, KIT-214, CLU-154, CLU-155
def test_every_node_has_its_copies_and_an_update_reaches_all_or_one(both: tuple[Host, Host]) -> None:
    left, right = both
    restore, remove = script(left, "restore", "exit 0"), script(left, "remove", "exit 0")
    script(left, "extend", 'hostname >>"$UNDERSTUDY_ROOT/extended"')
    action(left, GEN, "create", "-t", TAG, f"restore={restore}", f"remove={remove}", "info=abc")
    left.command("perform_action", "-t", TAG, "-a", "restore")
    extend(left, right, GEN, TAG)
    assert copies(left) == copies(right) and info(right, TAG) == "abc" and fields(right)[-3:] == ["0", "0", "0"]
    assert (right.root / "extended").read_text() == "right\n"

    script(left, "restore", "exit 1")  # the original; nobody looks at it any more
    left.command("understudy", "switchover", TAG, "--to", "right")
    assert right.state(TAG) == "ISP" and calls(right)[-1].startswith("restore")
    left.command("understudy", "switchover", TAG, "--to", "left")

    quick = script(left, "quick", "exit 0")
    said = action(left, GEN, "update", "-t", TAG, "action=quickCheck", f"script={quick}").stdout
    assert "old: none" in said and f"new: {pathlib.Path(quick).stat().st_size} bytes, changed" in said
    assert copies(left) == copies(right) and "quickchk" in copies(left)
    assert fields(left)[-3] == fields(right)[-3] == "180", "a check that has a script now is run"

    here = script(left, "new-restore", "exit 0 # only here")
    left.command("perform_action", "-t", TAG, "-a", "update", "--", "action=restore", f"script={here}", "systems=here")
    assert "only here" in copies(left)["restore"] and "only here" not in copies(right)["restore"]

    for words, why in ((("action=start", f"script={here}"), "is not one of restore, remove"),
                       (("action=remove", "script=relative"), "is not the full path"),
                       (("action=remove", f"script={here}", "systems=some"), "neither all nor here")):
        assert why in action(left, GEN, "update", "-t", TAG, *words, code=1).stderr
    right.power_off()
    wait_until(lambda: left.command("sys_getst", "-s", "right").strip() == "DEAD", 10, "right DEAD")
    before = copies(left)
    refused = action(left, GEN, "update", "-t", TAG, "action=remove", f"script={here}", code=1)
    assert "nothing was changed" in refused.stderr and copies(left) == before


# Spec: CLU-147, KIT-173
def test_an_instance_that_is_defined_first_gets_its_scripts_from_its_information(both: tuple[Host, Host]) -> None:
    """As the hierarchy operations do it: the instance, then the kit; and NODE TAG INFO for an extension."""
    left, right = both
    restore, remove = script(left, "restore", ""), script(left, "remove", "")
    left.command("ins_create", "-a", "gen", "-r", "app", "-t", TAG, "-i", "x1", "-v", f'restore={restore} remove={remove} info="port 80"')
    action(left, GEN, "create", "-t", TAG, "-i", "x1")
    assert info(left, TAG) == "port 80" and fields(left)[-3:] == ["0", "0", "0"] and list(copies(left)) == ["remove", "restore"]
    left.command("perform_action", "-t", TAG, "-a", "restore")
    action(right, GEN, "canextend", "-t", TAG, "-i", "x1", "left", TAG, "port 80")
    right.command("ins_create", "-a", "gen", "-r", "app", "-t", TAG, "-i", "x1", "-v", "port 80")
    action(right, GEN, "extend", "-t", TAG, "-i", "x1", "left", TAG)
    assert copies(right) == copies(left) and fields(right)[-3:] == ["0", "0", "0"]
    assert "no node that can be reached has a resource" in action(right, GEN, "canextend", "-t", "App.9", code=1).stderr


# Spec: KIT-214, KIT-166, CLU-147
def test_a_node_without_the_interpreter_is_no_target(both: tuple[Host, Host]) -> None:
    left, right = both
    language = "/usr/local/bin/us-test-language"
    # Each host has its own /usr/local/bin; only left has the language.
    for host in both:
        host.run("mount", "-t", "tmpfs", "none", "/usr/local/bin")
    left.run("ln", "-s", "/bin/sh", language)
    restore, remove = script(left, "restore", "", language), script(left, "remove", "")
    action(left, GEN, "create", "-t", TAG, f"restore={restore}", f"remove={remove}")
    refused = action(right, GEN, "canextend", "-t", TAG, code=1)
    assert f"needs {language}, which is not on this host" in refused.stderr
    right.run("ln", "-s", "/bin/sh", language)
    extend(left, right, GEN, TAG)


# Spec: KIT-164, KIT-167, KIT-169, KIT-011, CLU-157, CLU-166
def test_the_daemon_template_watches_and_restarts_a_real_server(left: Host) -> None:
    daemon = left.root / TEMPLATES / "daemon"
    site = left.root / "site"
    site.mkdir()
    (site / "index.html").write_text("hello\n")
    url = "http://127.0.0.1:8000/index.html"
    action(left, GEN, "create", "-t", TAG, f"scripts={daemon}",
           f'info=command="/usr/bin/python3 -m http.server 8000" directory={site} user=nobody probe="curl -fsS -m 2 {url}" probe_timeout=5',
           checked=True)
    assert list(copies(left)) == ["deepchk", "quickchk", "recover", "remove", "restore"] and fields(left)[-3:] == ["180", "300", "1"]
    unchecked(left, TAG)
    left.command("perform_action", "-t", TAG, "-a", "restore")
    assert left.run("curl", "-fsS", url).stdout == "hello\n"

    def pid() -> str:
        return left.run("pgrep", "-u", "nobody", "-f", "http.server").stdout.strip()
    first = pid()
    left.command("perform_action", "-t", TAG, "-a", "restore")
    action(left, GEN, "restore", "-t", TAG)
    assert pid() == first, "what runs is left alone"
    assert check(left, TAG) and check(left, TAG, "deepchk")

    left.run("kill", "-KILL", first)
    wait_until(lambda: not check(left, TAG), 10, "the quick check finds it dead")
    left.command("perform_action", "-t", TAG, "-a", "recover")
    assert left.run("curl", "-fsS", url).stdout == "hello\n" and check(left, TAG)

    second = pid()
    left.run("kill", "-STOP", second)
    assert check(left, TAG) and not check(left, TAG, "deepchk"), "one that hangs is found by the probe"
    left.command("perform_action", "-t", TAG, "-a", "recover")
    assert pid() != second and check(left, TAG, "deepchk")

    left.command("perform_action", "-t", TAG, "-a", "remove")
    assert left.run("curl", "-fsS", url, code=None).returncode != 0
    action(left, GEN, "remove", "-t", TAG)


# Spec: KIT-164, KIT-166, KIT-167
def test_the_templates_for_commands_and_for_systemd_units(left: Host) -> None:
    """Here with stand-ins for systemctl and for a program's own commands; the templates are what is tested."""
    left.run("mount", "-t", "tmpfs", "none", "/usr/local/bin")
    state = left.root / "unit-state"
    systemctl = f"""#!/bin/sh
for word; do case $word in is-active|start|stop|restart|reset-failed) verb=$word;; esac; done
case $verb in
  is-active) cat {state} 2>/dev/null || echo inactive; grep -qx active {state} 2>/dev/null;;
  start|restart) echo active >{state};;
  stop) echo inactive >{state};;
esac
"""
    for name, text in (("systemctl", systemctl), ("app-start", f"#!/bin/sh\necho active >{state}\n"), ("app-stop", f"#!/bin/sh\nrm -f {state}\n"),
                       ("app-status", f"#!/bin/sh\ngrep -qx active {state}\n")):
        left.run("bash", "-c", f"cat >/usr/local/bin/{name} <<'END'\n{text}END\nchmod 755 /usr/local/bin/{name}")
    programs = "/usr/local/bin/app-"
    for template, text in (("systemd-unit", "my.service"), ("commands", f"start={programs}start stop={programs}stop status={programs}status")):
        action(left, GEN, "create", "-t", TAG, f"scripts={left.root / TEMPLATES / template}", f"info={text}")
        left.command("perform_action", "-t", TAG, "-a", "restore")
        assert state.read_text() == "active\n" and check(left, TAG)
        state.write_text("failed\n")
        assert not check(left, TAG)
        left.command("perform_action", "-t", TAG, "-a", "recover")
        assert check(left, TAG)
        left.command("perform_action", "-t", TAG, "-a", "remove")
        assert not state.exists() or state.read_text() == "inactive\n"
        left.command("ins_remove", "-t", TAG)
