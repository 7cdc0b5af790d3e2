"""The tests of exports where the kernel has ublk: the same programs as in the suite "unit"."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest
from machine import PROJECT, Machine

BOOT_OF_ALL = """
modprobe ublk_drv && modprobe loop && modprobe fuse || exit 1
code=0
for program in mirror_export_test mirror_takeover_test; do
  build/release/tests/$program --gtest_filter='*Ublk*:*Device*:*Fuse*' --gtest_brief=1 --gtest_output=xml:/run/exchange/$program.xml || code=1
done
exit $code
"""
LIMIT = 420


@pytest.fixture(scope="module")
def results() -> dict[str, str]:
    """Name -> "passed", why it was skipped, or how it failed; all in one machine."""
    with Machine("exports", BOOT_OF_ALL) as machine:
        _, output = machine.wait(LIMIT)
        found: dict[str, str] = {"output": output}
        for file in machine.exchange.glob("*.xml"):
            for case in ElementTree.parse(file).iter("testcase"):
                name = f"{case.get('classname')}.{case.get('name')}"
                skipped = case.find("skipped")
                failures = [failure.get("message", "") for failure in case.findall("failure")]
                found[name] = "\n".join(failures) or (f"skipped: {skipped.get('message')}" if skipped is not None else "passed")
    return found


@pytest.mark.parametrize("part", ["DeviceExportTest", "TakeoverTest"])
@pytest.mark.parametrize("kind", ["Ublk", "Fuse"])
def test_exports_of_both_kinds_do_the_same(results: dict[str, str], part: str, kind: str) -> None:
    ran = {name: result for name, result in results.items() if f"Kinds/{part}." in name and name.endswith(f"/{kind}")}
    assert len(ran) >= {"DeviceExportTest": 9, "TakeoverTest": 3}[part], results["output"]
    assert {name: result for name, result in ran.items() if result != "passed"} == {}, results["output"]


def test_ublk_devices_outlive_their_servers(results: dict[str, str]) -> None:
    ran = {name: result for name, result in results.items() if name.startswith("UblkTakeoverTest.")}
    assert len(ran) >= 5, results["output"]
    assert {name: result for name, result in ran.items() if result != "passed"} == {}, results["output"]


def test_the_tree_is_the_hosts() -> None:
    with Machine("host", f"set -e; cmp {PROJECT}/tests/vm/machine.py tests/vm/machine.py; touch {PROJECT}/build/vm/written; rm -r {PROJECT}/tests/vm") as machine:
        code, output = machine.wait(60)
    assert code == 0, output
    assert not (PROJECT / "build/vm/written").exists(), "what a machine writes must stay in it"
