"""Fixtures of the cluster tests: a fresh lab per test, logs of the hosts shown when it fails."""

from __future__ import annotations

import os
import pathlib
import sys
import tempfile
from collections.abc import Iterator

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from emcmd_lab import EmcmdLab  # noqa: E402
from lab import Host, Lab  # noqa: E402


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    outcome = yield
    report = outcome.get_result()
    setattr(item, f"report_{report.when}", report)


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    if os.geteuid() != 0:
        pytest.skip("needs root: hosts are made of namespaces")
    with Lab() as made:
        yield made
        report = getattr(request.node, "report_call", None)
        if report is not None and report.failed:
            for host in made.hosts.values():
                for log in sorted((host.root / "var/log/understudy").glob("*")):
                    text = log.read_text(errors="replace").splitlines()[-60:]
                    print(f"--- {host.name}: {log.name}\n" + "\n".join(text))


@pytest.fixture(scope="module")
def module_lab() -> Iterator[Lab]:
    """A lab that the tests of one file share."""
    if os.geteuid() != 0:
        pytest.skip("needs root: hosts are made of namespaces")
    with Lab() as made:
        yield made


@pytest.fixture(scope="module")
def emcmd_hosts() -> Iterator[EmcmdLab]:
    """Two mirrord processes that the tests of one file share."""
    with tempfile.TemporaryDirectory(prefix="understudy-emcmd-") as directory:
        made = EmcmdLab(pathlib.Path(directory))
        try:
            yield made
        finally:
            made.close()


@pytest.fixture
def pair(lab: Lab) -> tuple[Host, Host]:
    """Two hosts in one cluster, heartbeats 200 ms x 3 on two paths."""
    left, right = lab.host("left"), lab.host("right")
    lab.form_cluster(left, right)
    return left, right
