"""The PostgreSQL kit with a real server: what its checks find, local recovery, creation and extension."""

from __future__ import annotations

import pytest
from kit_lab import action, check, extend, info
from lab import Host, Lab, wait_until

PG = "database/pgsql"
TAG = "pgsql-5432"
BIN = "/usr/lib/postgresql/15/bin"


def as_postgres(host: Host, *words: str, code: int | None = 0) -> str:
    return host.run("runuser", "-u", "postgres", "--", *words, code=code, timeout=120).stdout


def data_of(host: Host) -> str:
    return str(host.root / "mnt/pg")


def initdb(host: Host, *settings: str) -> None:
    """A database as a volume would have it, on the host's own disk, which a fake volume resource stands for."""
    data = data_of(host)
    host.run("mount", "-t", "tmpfs", "-o", "mode=755", "none", str(host.root / "mnt"))
    host.run("install", "-d", "-o", "postgres", "-g", "postgres", "-m", "700", data)
    as_postgres(host, f"{BIN}/initdb", "-D", data, "-A", "trust", "--no-sync", "-N", "-E", "UTF8")
    lines = ("unix_socket_directories='/tmp'", "shared_buffers='16MB'", "listen_addresses=''", *settings)
    host.run("bash", "-c", f"printf '%s\\n' \"$@\" >>{data}/postgresql.conf", "-", *lines)


def define(host: Host) -> None:
    host.command("ins_create", "-a", "database", "-r", "pgsql", "-t", TAG, "-i", "5432", "-v", f"data={data_of(host)}")


@pytest.fixture
def left(lab: Lab) -> Host:
    host = lab.host("left")
    host.start()
    return host


@pytest.fixture
def running(left: Host) -> Host:
    initdb(left, "max_connections=8", "superuser_reserved_connections=0")
    define(left)
    left.command("perform_action", "-t", TAG, "-a", "restore", timeout=120)
    psql(left, "CREATE TABLE rows (n int); INSERT INTO rows VALUES (1)")
    return left


def psql(host: Host, sql: str) -> str:
    return as_postgres(host, "psql", "-h", "/tmp", "-XAtc", sql, "template1").strip()


def postmaster(host: Host) -> int:
    return int(host.run("head", "-1", f"{data_of(host)}/postmaster.pid").stdout)


# Spec: APP-206, APP-212, APP-217, APP-223
def test_a_killed_postmaster_with_a_busy_backend_is_restarted(running: Host) -> None:
    busy = running.spawn("runuser", "-u", "postgres", "--", "psql", "-h", "/tmp", "-Xc", "SELECT sum(sqrt(n)) FROM generate_series(1, 100000000000) n", "template1")
    wait_until(lambda: psql(running, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%generate_series%' AND state = 'active' AND pid <> pg_backend_pid()") == "1",
               20, "the backend is busy")
    running.run("kill", "-KILL", str(postmaster(running)))
    assert not check(running, TAG)
    assert running.pids_of("postgres"), "the backend has survived, which would stop a plain start"
    running.command("perform_action", "-t", TAG, "-a", "recover", timeout=120)
    assert check(running, TAG) and check(running, TAG, "deepchk") and running.state(TAG) == "ISP"
    assert psql(running, "SELECT n FROM rows") == "1"
    running.kill_group(busy)


# Spec: APP-216, APP-217, APP-223
def test_a_server_that_hangs_fails_its_check_and_is_restarted(running: Host) -> None:
    before = postmaster(running)
    for pid in running.pids_of("postgres"):
        running.run("kill", "-STOP", str(pid))
    failed = action(running, PG, "deepchk", "-t", TAG, code=1, LKPGSQL_CHECK_TIMEOUT=2)
    assert "does not answer within 2000 ms" in failed.stderr
    running.command("perform_action", "-t", TAG, "-a", "recover", timeout=180)
    assert postmaster(running) != before and psql(running, "SELECT n FROM rows") == "1"


# Spec: APP-215, APP-216, APP-043, APP-223, CLU-160
def test_a_server_without_a_free_connection_is_not_a_failed_one(running: Host) -> None:
    def client(statement: str) -> list[str]:
        return ["runuser", "-u", "postgres", "--", "psql", "-h", "/tmp", "-Xc", statement, "template1"]
    holders = [running.spawn(*client("SELECT pg_sleep(600)")) for _ in range(8)]
    refusals = 0

    def full() -> bool:
        """Refused several times in a row: a client that asks takes a place itself, and a holder may miss it for that."""
        nonlocal refusals
        refused = "too many clients" in running.run(*client("SELECT 1"), code=None).stderr
        refusals = refusals + 1 if refused else 0
        if not refused:
            holders.append(running.spawn(*client("SELECT pg_sleep(600)")))
        return refusals == 5
    wait_until(full, 30, "every connection is used")
    answer = action(running, PG, "deepchk", "-t", TAG)
    assert "turns the check away" in answer.stdout and "too many clients" in answer.stdout
    for holder in holders:
        running.kill_group(holder)


# Spec: APP-187, APP-189, APP-191, APP-216, APP-223, CLU-175
def test_passwords_come_from_a_file_that_nobody_else_can_read(running: Host) -> None:
    psql(running, "ALTER ROLE postgres PASSWORD 'secret'")
    running.run("bash", "-c", f"echo 'local all all scram-sha-256' >{data_of(running)}/pg_hba.conf")
    running.run("kill", "-HUP", str(postmaster(running)))
    refused = ("runuser", "-u", "postgres", "--", "psql", "-w", "-h", "/tmp", "-Xc", "SELECT 1", "template1")
    wait_until(lambda: running.run(*refused, code=None).returncode != 0, 20, "a password is needed")
    passwords = running.root / "mnt/pgpass"
    running.run("bash", "-c", f"echo '*:*:*:postgres:secret' >{passwords}; chown postgres {passwords}; chmod 600 {passwords}")
    with_file = action(running, PG, "deepchk", "-t", TAG, LKPGSQL_PGPASSFILE=passwords)
    assert "turns the check away" not in with_file.stdout
    running.run("chmod", "644", str(passwords))
    without = action(running, PG, "deepchk", "-t", TAG, LKPGSQL_PGPASSFILE=passwords)
    assert "turns the check away as postgres" in without.stdout, "an open file is ignored; the server lives all the same"
    fake_volume(running)
    create = action(running, PG, "create", "-t", "other", f"data={data_of(running)}", code=1)
    assert "(No. 34002)" in create.stderr and "no password supplied" in create.stderr
    # An outage because of a changed password would be worse than none: what runs counts as running.
    running.command("perform_action", "-t", TAG, "-a", "recover", timeout=120)
    assert running.state(TAG) == "ISP" and check(running, TAG)


# Spec: APP-205
def test_a_stale_lock_file_of_a_process_of_somebody_else_is_no_obstacle(running: Host) -> None:
    running.command("perform_action", "-t", TAG, "-a", "remove", timeout=120)
    stranger = running.spawn("runuser", "-u", "postgres", "--", "sleep", "600")
    pid = wait_until(lambda: running.run("pgrep", "-u", "postgres", "-x", "sleep", code=None).stdout.strip(), 10, "a stranger")
    running.run("bash", "-c", f"printf '{pid}\\n{data_of(running)}\\n1\\n5432\\n/tmp\\n\\n\\nready\\n' >{data_of(running)}/postmaster.pid; chown postgres {data_of(running)}/postmaster.pid")
    running.command("perform_action", "-t", TAG, "-a", "restore", timeout=120)
    assert psql(running, "SELECT n FROM rows") == "1"
    running.kill_group(stranger)


# Spec: APP-204, APP-028
def test_restore_leaves_alone_what_runs_and_refuses_another_port(running: Host) -> None:
    before = postmaster(running)
    action(running, PG, "restore", "-t", TAG)
    assert postmaster(running) == before
    action(running, PG, "remove", "-t", TAG)
    action(running, PG, "remove", "-t", TAG)
    as_postgres(running, f"{BIN}/pg_ctl", "start", "-w", "-D", data_of(running), "-l", "/tmp/log", "-o", "-p 5433")
    refused = action(running, PG, "restore", "-t", TAG, code=1)
    assert "runs on port 5433, not on 5432" in refused.stderr


# Spec: APP-210, APP-211
def test_a_server_that_cannot_start_says_why_at_once_and_leaves_nothing(running: Host) -> None:
    action(running, PG, "remove", "-t", TAG)
    running.run("bash", "-c", f"echo 'shared_buffers=nonsense' >>{data_of(running)}/postgresql.conf")
    failed = action(running, PG, "restore", "-t", TAG, code=1, timeout=50)
    assert "ended while it started" in failed.stderr and "shared_buffers" in failed.stderr
    wait_until(lambda: not running.pids_of("postgres"), 10, "what was started is gone and reaped")
    assert running.run("test", "-e", f"{data_of(running)}/postmaster.pid", code=None).returncode == 1


# Spec: APP-051, APP-206, APP-211
def test_remove_ends_the_server_whose_volume_is_gone(running: Host) -> None:
    running.run("umount", "--lazy", str(running.root / "mnt"))
    assert running.pids_of("postgres")
    assert not check(running, TAG)
    running.command("perform_action", "-t", TAG, "-a", "remove", timeout=120)
    wait_until(lambda: not running.pids_of("postgres"), 10, "the server is gone and reaped")


def fake_volume(host: Host) -> None:
    host.command("ins_create", "-a", "filesys", "-r", "volume", "-t", "Vol.pg", "-i", "pg", "-v", f"mount={host.root}/mnt")
    host.command("ins_setst", "-t", "Vol.pg", "-S", "ISP")


# Spec: APP-176, APP-178, APP-192, APP-194, APP-197, APP-198, APP-199, APP-012
def test_creation_wants_the_port_argument_and_a_protected_volume(left: Host) -> None:
    initdb(left)
    data = data_of(left)

    def create(*words: str, code: int = 1) -> str:
        done = action(left, PG, "create", "-t", TAG, f"data={data}", *words, code=code)
        return done.stderr if code else done.stdout
    assert "does not run" in create()
    as_postgres(left, f"{BIN}/pg_ctl", "start", "-w", "-D", data, "-l", "/tmp/log")
    assert "(No. 34001)" in create() and "-p" in create()
    as_postgres(left, f"{BIN}/pg_ctl", "restart", "-w", "-D", data, "-l", "/tmp/log", "-o", "-p 5432")
    assert "(No. 34006)" in create() and str(left.root / "mnt") in create()
    fake_volume(left)
    assert "5432 in postmaster.opts, 5432 in postmaster.pid, 5433 wanted" in create("port=5433")
    left.run("ins_list", "-t", TAG, code=7)
    create(code=0)
    assert info(left, TAG) == f"data={data}"
    assert left.command("dep_list", "-f|", "-c", TAG).strip().startswith(f"{TAG}|Vol.pg")
    outside = left.root / "disks/outside"
    left.run("install", "-d", "-o", "postgres", str(outside))
    psql(left, f"CREATE TABLESPACE elsewhere LOCATION '{outside}'")
    left.command("ins_setst", "-t", TAG, "-S", "ISP")
    warned = action(left, PG, "deepchk", "-t", TAG)
    assert "which is on no volume of this hierarchy" in warned.stdout and str(outside) in warned.stdout


# Spec: APP-202, APP-004, APP-184, CLU-147
def test_extension_compares_version_account_and_port(lab: Lab, pair: tuple[Host, Host]) -> None:
    left, right = pair
    initdb(left)
    define(left)
    left.command("perform_action", "-t", TAG, "-a", "restore", timeout=120)
    differs = action(right, PG, "canextend", "-t", TAG, "bin=/usr/bin", code=1)
    assert "(No. 14003)" in differs.stderr and "missing here, but 15 on the node it is extended from" in differs.stderr
    listener = right.spawn("/usr/bin/python3", "-m", "http.server", "5432")
    wait_until(lambda: "is used by another process" in action(right, PG, "canextend", "-t", TAG, code=None).stderr, 20, "the port is taken")
    right.kill_group(listener)
    wait_until(lambda: action(right, PG, "canextend", "-t", TAG, code=None).returncode == 0, 20, "the port is free")
    extend(left, right, PG, TAG)
    assert info(right, TAG) == f"data={data_of(left)}"
    # As the hierarchy operations call it.
    action(right, PG, "extend", "-t", TAG, "-i", "5432", "left", TAG)
    assert info(right, TAG) == f"data={data_of(left)}"
