"""The support bundle: everything that helps, nothing that is secret."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Iterator

import pytest
from lab import Host, Lab

SECRETS = ("hunter2-in-info", "hunter2-in-settings", "hunter2-in-log", "hunter2 with blanks", "hunter2-on-a-command-line", "hunter2-in-url")


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    with Lab() as lab:
        left, right = lab.host("left"), lab.host("right")
        lab.form_cluster(left, right)
        yield left, right


def contents(path: str) -> dict[str, str]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


# Spec: CMD-139, CMD-140
def test_the_bundle_tells_the_cluster_and_no_secret(hosts: tuple[Host, Host]) -> None:
    left, right = hosts
    for host in hosts:
        host.command("app_create", "-a", "gen")
        host.command("typ_create", "-a", "gen", "-r", "app")
    left.command("ins_create", "-a", "gen", "-r", "app", "-t", "App.0", "-i", "id-0", "-v", f'user=joe password={SECRETS[0]}')
    left.command("ins_create", "-a", "gen", "-r", "app", "-t", "App.1", "-i", "id-1", "-v", f'password="{SECRETS[3]}" mount=/mnt')
    right.command("ins_create", "-a", "gen", "-r", "app", "-t", "App.2", "-i", "id-2")
    with open(left.root / "etc/default/LifeKeeper", "a", encoding="utf8") as settings:
        settings.write(f"MY_SECRET={SECRETS[1]}\nHTTP_PROXY=http://joe:{SECRETS[5]}@proxy:3128\n")
    (left.root / "var/log/understudy/extra.log").write_text(f"DB_PASSWORD: {SECRETS[2]}\nran tool --password {SECRETS[4]} --host x\n")
    token = left.command("understudy", "token").strip()
    (left.root / "var/log/understudy/token.log").write_text(f"join with {token}\n")

    path = left.run(str(left.root / "usr/lib/understudy/support/lksupport"), timeout=240).stdout.strip()
    assert stat.S_IMODE((left.root / path).stat().st_mode) == 0o600
    assert path.startswith(str(left.root / "usr/lib/understudy/support/left_lksupport_")), path
    files = contents(path)
    everything = "\n".join(files.values())
    for secret in (*SECRETS, token, "PRIVATE KEY"):
        assert secret not in everything, secret
    for key in left.root.glob("etc/understudy/pki/*.key"):
        assert key.read_text().splitlines()[1] not in everything, key.name
    assert "App.0" in files["cluster/ins_list_-f.txt"]
    assert "right" in files["cluster/understudy_status.txt"] and "ALIVE" in files["cluster/sys_getst_-s_right.txt"]
    assert "right|gen|app|App.2" in files["cluster/ins_list_-f_-d_right.txt"], "the other node's states are in it"
    assert "mount=/mnt" in everything, "only the value is masked"
    assert any(name.startswith("files/var/log/understudy/") for name in files)
    assert "system/ip_address.txt" in files


# Spec: CMD-140
def test_the_bundle_is_made_without_the_engine(hosts: tuple[Host, Host]) -> None:
    left, _ = hosts
    left.command("lkstop", timeout=60)
    path = left.run(str(left.root / "usr/lib/understudy/support/lksupport"), timeout=240).stdout.strip()
    files = contents(path)
    assert "ins_list" in files["errors.txt"]
    assert any(name.startswith("files/var/log/understudy/") for name in files)


def test_a_directory_that_cannot_be_written_is_named(hosts: tuple[Host, Host]) -> None:
    left, _ = hosts
    done = left.run(str(left.root / "usr/lib/understudy/support/lksupport"), "--directory", "/proc/nowhere", code=1)
    assert "cannot write /proc/nowhere/left_lksupport_" in done.stderr
