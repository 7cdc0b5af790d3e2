"""OCF resource agents of Debian's resource-agents, protected as they are, with their real programs."""

from __future__ import annotations

import pathlib

import pytest
from kit_lab import action, check, extend, info
from lab import Host, Lab, wait_until

OCF = "ocf/agent"
ADDRESS = "10.77.1.101"
PROBE = """#!/bin/sh
# An agent whose exit codes a test chooses: the file "<action>" holds one.
echo "$1 level=$OCF_CHECK_LEVEL interval=$OCF_RESKEY_CRM_meta_interval" >>"$OCF_RESKEY_state/calls"
[ "$1" = meta-data ] && { cat <<END
<?xml version="1.0"?><resource-agent name="probe"><parameters>
<parameter name="state" required="1"><content type="string"/></parameter>
<parameter name="port"><content type="integer"/></parameter>
</parameters><actions><action name="start" timeout="5"/><action name="stop" timeout="5"/><action name="monitor" timeout="2"/>
<action name="monitor" depth="10" timeout="2"/><action name="validate-all" timeout="2"/></actions></resource-agent>
END
exit 0; }
env | grep -E '^(OCF|HA)_' >"$OCF_RESKEY_state/environment"
[ -f "$OCF_RESKEY_state/$1.hang" ] && exec sleep 60
[ -f "$OCF_RESKEY_state/$1" ] && exit "$(cat "$OCF_RESKEY_state/$1")"
case $1 in
  start) echo running >"$OCF_RESKEY_state/run";;
  stop) rm -f "$OCF_RESKEY_state/run";;
  monitor) [ -f "$OCF_RESKEY_state/run" ] || exit 7;;
esac
exit 0
"""


def agents_root(host: Host) -> str:
    """Debian's agents and one of the test's own."""
    root = host.root / "ocf"
    (root / "resource.d/test").mkdir(parents=True)
    (root / "lib").symlink_to("/usr/lib/ocf/lib")
    (root / "resource.d/heartbeat").symlink_to("/usr/lib/ocf/resource.d/heartbeat")
    (root / "resource.d/test/probe").write_text(PROBE)
    (root / "resource.d/test/probe").chmod(0o755)
    return str(root)


@pytest.fixture
def left(lab: Lab) -> Host:
    host = lab.host("left")
    host.settings(OCF_ROOT=agents_root(host))
    host.start()
    return host


@pytest.fixture
def probe(left: Host) -> pathlib.Path:
    """The directory that steers the test's agent, protected as "probe" and in service."""
    state = left.root / "probe"
    state.mkdir()
    create(left, "probe", "ocf:test:probe", f"state={state}", "port=80", "op.monitor.level=10")
    left.command("perform_action", "-t", "probe", "-a", "restore")
    return state


def create(host: Host, tag: str, *words: str, code: int | None = 0) -> str:
    done = action(host, OCF, "create", "-t", tag, *words, code=code, OCF_ROOT=host.root / "ocf")
    return done.stderr if code else done.stdout


def took(state: pathlib.Path) -> list[str]:
    """The actions since the last call."""
    path = state / "calls"
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return [line.split()[0] for line in lines if not line.startswith("meta-data")]


def answer(state: pathlib.Path, name: str, code: int | None) -> None:
    if code is None:
        (state / name).unlink(missing_ok=True)
    else:
        (state / name).write_text(str(code))


def test_parameters_are_those_of_the_agents_metadata(left: Host) -> None:
    for words, why in ((("ocf:heartbeat:nginx", "prt=80"), "no parameter prt (it has: configfile,"),
                       (("ocf:heartbeat:IPaddr2",), "ip= is required"),
                       (("ocf:heartbeat:NoSuchAgent",), "is not installed on left"),
                       (("nginx",), "is not an agent's name like ocf:heartbeat:nginx"),
                       (("ocf:heartbeat:nginx", "op.monitor.level=11"), "no monitor of level 11 (it has: 0, 10, 20, 30)"),
                       (("ocf:heartbeat:pgsql",), "op.promotable=no"),
                       (("ocf:heartbeat:Stateful",), "promotable"),
                       (("ocf:heartbeat:Dummy", "CRM_meta_clone_max=2"), "clone"),
                       (("ocf:heartbeat:nginx", "configfile=/no/such/file"), "validate-all of ocf:heartbeat:nginx")):
        assert why in create(left, "x", *words, code=1), words
        left.run("ins_list", "-t", "x", code=7)


def test_the_agents_environment_and_the_order_of_its_actions(left: Host, probe: pathlib.Path) -> None:
    assert took(probe) == ["validate-all", "monitor", "start", "monitor"]
    assert info(left, "probe") == f"agent=ocf:test:probe port=80 state={probe} op.monitor.level=10"
    environment = dict(line.split("=", 1) for line in (probe / "environment").read_text().splitlines())
    assert environment["OCF_RESKEY_port"] == "80" and environment["OCF_RESOURCE_INSTANCE"] == "probe"
    assert environment["OCF_RESOURCE_PROVIDER"] == "test" and environment["OCF_RESOURCE_TYPE"] == "probe"
    assert environment["OCF_RA_VERSION_MAJOR"] == "1" and environment["OCF_ROOT"].endswith("/ocf")
    assert environment["OCF_RESKEY_CRM_meta_timeout"] == "2000"
    assert pathlib.Path(environment["HA_RSCTMP"]).is_dir()
    assert check(left, "probe") and "level=0 interval=10000" in (probe / "calls").read_text()
    assert check(left, "probe", "deepchk") and "level=10 interval=10000" in (probe / "calls").read_text()
    took(probe)
    action(left, OCF, "restore", "-t", "probe", OCF_ROOT=left.root / "ocf")
    assert took(probe) == ["monitor"], "what runs is left alone"
    left.command("perform_action", "-t", "probe", "-a", "remove")
    assert took(probe) == ["stop", "monitor"]


def test_exit_codes_decide_what_is_done(left: Host, probe: pathlib.Path) -> None:
    took(probe)
    for code, healthy in ((0, True), (190, True), (7, False), (1, False), (5, False), (8, False), (9, False), (77, False)):
        answer(probe, "monitor", code)
        assert check(left, "probe") == healthy, code
    # Soft: restarted here. Hard: a restart here would not help.
    answer(probe, "monitor", 5)
    took(probe)
    refused = left.run("perform_action", "-t", "probe", "-a", "recover", code=1)
    assert "would not help" in refused.stdout and "OCF_ERR_INSTALLED" in refused.stdout and took(probe) == ["monitor"]
    answer(probe, "monitor", 8)
    refused = left.run("perform_action", "-t", "probe", "-a", "recover", code=1)
    assert "two active states" in refused.stdout
    answer(probe, "monitor", None)
    (probe / "run").unlink()
    took(probe)
    left.command("perform_action", "-t", "probe", "-a", "recover")
    assert took(probe) == ["monitor", "stop", "monitor", "start", "monitor"] and check(left, "probe")
    took(probe)
    left.command("perform_action", "-t", "probe", "-a", "recover")
    assert took(probe) == ["monitor"], "it answers again; nothing is restarted"


def test_a_check_without_an_answer_fails_in_the_agents_time(left: Host, probe: pathlib.Path) -> None:
    (probe / "monitor.hang").touch()
    failed = left.run("perform_action", "-t", "probe", "-a", "quickchk", code=1, timeout=30)
    assert "it did not end within 2 s" in failed.stderr + failed.stdout


def test_a_failed_start_is_stopped_and_a_stop_that_lies_is_found_out(left: Host, probe: pathlib.Path) -> None:
    left.command("perform_action", "-t", "probe", "-a", "remove")
    took(probe)
    answer(probe, "start", 1)
    left.run("perform_action", "-t", "probe", "-a", "restore", code=1)
    assert took(probe) == ["monitor", "start", "stop"] and left.state("probe") == "OSF"
    answer(probe, "start", 0)  # it says so, and does not run
    left.run("perform_action", "-t", "probe", "-a", "restore", code=1)
    assert took(probe) == ["monitor", "start", "monitor", "stop"]
    answer(probe, "start", None)
    left.command("perform_action", "-t", "probe", "-a", "restore")
    answer(probe, "stop", 0)  # it says so, and runs on
    refused = left.run("perform_action", "-t", "probe", "-a", "remove", code=1)
    assert "it was stopped, but monitor of ocf:test:probe: OCF_SUCCESS" in refused.stderr and left.state("probe") == "OSF"


# Spec: CLU-147
def test_an_instance_that_is_defined_first_is_validated(left: Host) -> None:
    left.command("ins_create", "-a", "ocf", "-r", "agent", "-t", "vip", "-i", "vip", "-v", f"cidr_netmask=24 agent=ocf:heartbeat:IPaddr2 ip={ADDRESS}")
    action(left, OCF, "create", "-t", "vip", "-i", "vip", checked=True, OCF_ROOT=left.root / "ocf")
    assert info(left, "vip") == f"agent=ocf:heartbeat:IPaddr2 cidr_netmask=24 ip={ADDRESS}"
    assert left.command("ins_list", "-f|", "-t", "vip").strip().split("|")[-3:] == ["180", "0", "1"]
    left.command("ins_create", "-a", "ocf", "-r", "agent", "-t", "bad", "-i", "bad", "-v", "agent=ocf:heartbeat:IPaddr2")
    assert "ip= is required" in action(left, OCF, "create", "-t", "bad", "-i", "bad", code=1, OCF_ROOT=left.root / "ocf").stderr


def test_pgsql_in_its_plain_mode(left: Host) -> None:
    data = str(left.root / "mnt/pg")
    left.run("install", "-d", "-o", "postgres", "-g", "postgres", "-m", "700", data)
    as_postgres = ("runuser", "-u", "postgres", "--")
    left.run(*as_postgres, "/usr/lib/postgresql/15/bin/initdb", "-D", data, "-A", "trust", "--no-sync", "-N", timeout=120)
    left.run("bash", "-c", f"printf \"unix_socket_directories='/tmp'\\nlisten_addresses=''\\nshared_buffers='16MB'\\n\" >>{data}/postgresql.conf")
    create(left, "pg", "ocf:heartbeat:pgsql", "op.promotable=no", f"pgdata={data}", "pgctl=/usr/lib/postgresql/15/bin/pg_ctl",
           "psql=/usr/lib/postgresql/15/bin/psql", "socketdir=/tmp", "pgdba=postgres", "logfile=/tmp/pg.log")
    left.command("perform_action", "-t", "pg", "-a", "restore", timeout=120)
    assert left.run(*as_postgres, "psql", "-h", "/tmp", "-Atc", "SELECT 7").stdout == "7\n" and check(left, "pg")
    for pid in left.pids_of("postgres"):
        left.run("kill", "-KILL", str(pid), code=None)
    wait_until(lambda: not check(left, "pg"), 20, "the check finds it dead")
    left.command("perform_action", "-t", "pg", "-a", "recover", timeout=120)
    assert check(left, "pg")
    left.command("perform_action", "-t", "pg", "-a", "remove", timeout=120)
    assert not left.pids_of("postgres")


def protect_site(left: Host, right: Host, shared: pathlib.Path) -> None:
    """nginx on a file system, behind an address, each of them an agent; on both hosts."""
    (shared / "html").mkdir(parents=True)
    (shared / "html/index.html").write_text("the site\n")
    mount, run = "/srv", "/run"
    (shared / "nginx.conf").write_text(f"""
worker_processes 1;
pid {run}/site.pid;
error_log {run}/site.error;
events {{ worker_connections 64; }}
http {{ access_log off; client_body_temp_path {run}/site.body; proxy_temp_path {run}/site.proxy; fastcgi_temp_path {run}/site.fcgi;
  uwsgi_temp_path {run}/site.uwsgi; scgi_temp_path {run}/site.scgi;
  server {{ listen {ADDRESS}:8080; listen 127.0.0.1:8080; root {mount}/html; location /nginx_status {{ stub_status on; }} }} }}
""")
    resources = {
        "site-files": ("ocf:heartbeat:Filesystem", f"device={shared}", f"directory={mount}", "fstype=none", "options=bind"),
        "site-address": ("ocf:heartbeat:IPaddr2", f"ip={ADDRESS}", "cidr_netmask=24", "nic=eth0"),
        "site": ("ocf:heartbeat:nginx", f"configfile={mount}/nginx.conf", f"port=8080", f"status10url=http://127.0.0.1:8080/nginx_status", "op.monitor.level=10"),
    }
    for tag, words in resources.items():
        action(left, OCF, "create", "-t", tag, *words)
        if tag == "site":
            for child in ("site-files", "site-address"):
                left.command("dep_create", "-p", "site", "-c", child)
        left.command("perform_action", "-t", tag, "-a", "restore", timeout=120)
    for tag in resources:
        extend(left, right, OCF, tag)
    for child in ("site-files", "site-address"):
        right.command("dep_create", "-p", "site", "-c", child)


# Spec: CLU-144, CLU-181
def test_a_site_of_three_agents_recovers_and_fails_over(lab: Lab, pair: tuple[Host, Host]) -> None:
    left, right = pair
    client = lab.host("client")
    client.power_on()
    protect_site(left, right, lab.directory / "shared")

    def page() -> str:
        return client.run("curl", "-fsS", "-m", "2", f"http://{ADDRESS}:8080/index.html", code=None).stdout
    assert page() == "the site\n"
    for tag in ("site", "site-files", "site-address"):
        assert left.state(tag) == "ISP" and check(left, tag)
    assert check(left, "site", "deepchk")

    left.kill("nginx")
    wait_until(lambda: not check(left, "site"), 20, "the check finds nginx dead")
    left.command("perform_action", "-t", "site", "-a", "recover", timeout=120)
    assert page() == "the site\n"
    left.run("ip", "addr", "del", f"{ADDRESS}/24", "dev", "eth0")
    assert not check(left, "site-address")
    left.command("perform_action", "-t", "site-address", "-a", "recover", timeout=120)
    assert check(left, "site-address")
    wait_until(lambda: page() == "the site\n", 20, "the page again")

    left.command("understudy", "switchover", "site", "--to", "right", timeout=120)
    assert page() == "the site\n" and [right.state(tag) for tag in ("site", "site-files", "site-address")] == ["ISP"] * 3
    assert not left.pids_of("nginx") and ADDRESS not in left.run("ip", "addr").stdout
    right.power_off()
    wait_until(lambda: left.state("site") == "ISP", 60, "left has taken over")
    assert page() == "the site\n"
