"""Runs the test suites and counts. Called by ./test."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree

PROJECT = pathlib.Path(__file__).resolve().parents[1]
SUITES = ("structure", "unit", "scenarios", "sim", "sanitize", "fuzz", "cluster", "web", "vm", "tidy")
# By name only: vm needs an emulated machine, tidy takes an hour.
DEFAULT = tuple(suite for suite in SUITES if suite not in ("vm", "tidy"))
ROOT_ONLY = {"cluster", "vm"}
FUZZ_SECONDS = 60
SIM_SEEDS = {"release": 2000, "asan": 60}
# Tests of ublk devices are of the suite vm: the same programs run there, with a kernel that has the driver.
WITHOUT_UBLK = () if os.path.exists("/dev/ublk-control") else ("--gtest_filter=-*/Ublk:UblkTakeoverTest.*",)
# Tests of code that runs on several threads. Everything else runs on one, and has no use for TSan.
THREADED = ("runtime_posix_test", "runtime_network_test", "comm_posix_test", "sqlite_store_test", "keeper_test", "mirror_io_test",
            "mirror_export_test", "mirror_takeover_test", "mirror_volume_test", "mirror_control_posix_test")


class Count:
    def __init__(self) -> None:
        self.passed = self.failed = self.skipped = 0
        self.failures: list[str] = []

    def add(self, name: str, outcome: str, why: str = "") -> None:
        if outcome == "passed":
            self.passed += 1
        elif outcome == "skipped":
            self.skipped += 1
            print(f"  skipped {name}: {why}", flush=True)
        else:
            self.failed += 1
            self.failures.append(name)
            print(f"  FAILED {name}\n{why}", flush=True)


def call(*words: str, env: dict[str, str] | None = None, timeout: float = 3600) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(words, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              env={**os.environ, **(env or {})}, timeout=timeout, check=False)
    except subprocess.TimeoutExpired as expired:
        output = expired.stdout.decode(errors="replace") if isinstance(expired.stdout, bytes) else expired.stdout
        return subprocess.CompletedProcess(words, 124, f"{output or ''}\nended after {timeout} s", "")


def build(preset: str, *targets: str) -> str | None:
    """None, or the build's output when it failed."""
    start = time.monotonic()
    configured = call("cmake", "--preset", preset)
    if configured.returncode != 0:
        return configured.stdout
    made = call("ninja", "-C", f"build/{preset}", *targets)
    print(f"  built {preset} {' '.join(targets)} in {time.monotonic() - start:.0f} s", flush=True)
    return made.stdout[-8000:] if made.returncode != 0 else None


def gtest(count: Count, binary: pathlib.Path, label: str = "", env: dict[str, str] | None = None) -> None:
    with tempfile.NamedTemporaryFile(suffix=".xml") as report:
        done = call(str(binary), f"--gtest_output=xml:{report.name}", "--gtest_brief=1", *WITHOUT_UBLK, env=env, timeout=900)
        name = f"{label}{binary.name}"
        try:
            cases = list(ElementTree.parse(report.name).iter("testcase"))
        except ElementTree.ParseError:
            cases = []
        failed = 0
        for case in cases:
            full = f"{name}: {case.get('classname')}.{case.get('name')}"
            failures = case.findall("failure")
            if failures:
                failed += 1
                count.add(full, "failed", "\n".join(f.get("message", "") for f in failures))
            elif case.get("result") == "skipped" or case.find("skipped") is not None:
                skipped = case.find("skipped")
                count.add(full, "skipped", (skipped.get("message", "") if skipped is not None else "").strip())
            elif case.get("status") == "run":
                count.add(full, "passed")
        if done.returncode != 0 and not failed:  # crashed, or a sanitizer spoke
            count.add(name, "failed", done.stdout[-6000:])


def binaries(preset: str, pattern: str = "*_test") -> list[pathlib.Path]:
    return sorted((PROJECT / "build" / preset / "tests").glob(pattern))


def structure(count: Count) -> None:
    for script in sorted((PROJECT / "tests" / "structure").glob("check_*.py")):
        done = call("/usr/bin/python3", str(script))
        count.add(script.stem, "passed" if done.returncode == 0 else "failed", done.stdout)


def unit(count: Count) -> None:
    if broken := build("release", "all", "unit_tests"):
        return count.add("build release", "failed", broken)
    for binary in binaries("release"):
        if binary.name not in ("scenario_test", "sim_test"):
            gtest(count, binary)


def scenarios(count: Count) -> None:
    if broken := build("release", "scenario_test"):
        return count.add("build scenario_test", "failed", broken)
    gtest(count, PROJECT / "build/release/tests/scenario_test")


def run_seeds(count: Count, preset: str, extra: list[str]) -> None:
    seeds = SIM_SEEDS[preset]
    done = call(f"build/{preset}/bin/understudy-sim", *(extra or ["--seeds", str(seeds), "--jobs", str(os.cpu_count() or 1)]), timeout=1800)
    found = re.search(r"^(\d+) passed, (\d+) failed", done.stdout, re.MULTILINE)
    if not found:
        return count.add(f"understudy-sim {preset}", "failed", done.stdout[-4000:])
    count.passed += int(found[1])
    if int(found[2]) or done.returncode:
        count.add(f"understudy-sim {preset}", "failed", done.stdout[-4000:])
    return None


def sim(count: Count, extra: list[str] | None = None) -> None:
    if broken := build("release", "sim_test", "understudy-sim"):
        return count.add("build sim", "failed", broken)
    gtest(count, PROJECT / "build/release/tests/sim_test")
    run_seeds(count, "release", extra or [])


def sanitize(count: Count) -> None:
    """Unit tests and the simulator under ASan+UBSan; whatever starts threads under TSan."""
    for preset, targets in (("asan", ("unit_tests", "understudy-sim")), ("tsan", THREADED)):
        if broken := build(preset, *targets):
            count.add(f"build {preset}", "failed", broken)
            continue
        for binary in binaries(preset):
            if preset == "asan" or binary.name in THREADED:
                gtest(count, binary, f"{preset} ", {"ASAN_OPTIONS": "detect_stack_use_after_return=1"})
    run_seeds(count, "asan", [])


def fuzz(count: Count) -> None:
    if broken := build("fuzz", "fuzzers"):
        return count.add("build fuzz", "failed", broken)
    targets = sorted((PROJECT / "build/fuzz/fuzz").glob("*_fuzz"))
    if not targets:
        return count.add("fuzz targets", "failed", "none were built")
    seconds = max(5, FUZZ_SECONDS // len(targets))
    for target in targets:
        with tempfile.TemporaryDirectory() as corpus:
            done = call(str(target), f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=2048",
                        f"-artifact_prefix={corpus}/", corpus, timeout=seconds + 120)
        count.add(target.name, "passed" if done.returncode == 0 else "failed", done.stdout[-4000:])


def cluster(count: Count, extra: list[str] | None = None) -> None:
    pytest(count, "tests/cluster", extra)


def pytest(count: Count, folder: str, extra: list[str] | None = None) -> None:
    if broken := build("release"):
        return count.add("build release", "failed", broken)
    with tempfile.NamedTemporaryFile(suffix=".xml") as report:
        done = call("/usr/bin/python3", "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider",
                    f"--junitxml={report.name}", *(extra or [folder]), timeout=2400)
        try:
            cases = list(ElementTree.parse(report.name).iter("testcase"))
        except ElementTree.ParseError:
            return count.add(folder, "failed", done.stdout[-6000:])
        for case in cases:
            name = f"{case.get('classname')}.{case.get('name')}"
            trouble = [*case.findall("failure"), *case.findall("error")]
            skipped = case.find("skipped")
            if trouble:
                text = "\n".join((t.text or "")[-6000:] for t in trouble)
                out = case.find("system-out")
                count.add(name, "failed", text + ("\n" + (out.text or "")[-8000:] if out is not None else ""))
            elif skipped is not None:
                count.add(name, "skipped", skipped.get("message", ""))
            else:
                count.add(name, "passed")
    return None


def web(count: Count) -> None:
    """The console has no pages yet; its suite starts with them."""
    del count


def vm(count: Count, extra: list[str] | None = None) -> None:
    """What needs a kernel with ublk: in an emulated machine."""
    prepared = call("packaging/dependencies", "vm")
    if prepared.returncode != 0:
        return count.add("packaging/dependencies vm", "failed", prepared.stdout)
    if broken := build("release", "unit_tests"):
        return count.add("build unit_tests", "failed", broken)
    pytest(count, "tests/vm", extra)


def tidy(count: Count) -> None:
    if broken := build("release"):
        return count.add("build release", "failed", broken)
    done = call("/usr/bin/python3", "tests/tidy.py", timeout=7200)
    count.add("clang-tidy", "passed" if done.returncode == 0 else "failed", done.stdout)


def main(arguments: list[str]) -> int:
    if arguments and arguments[0] in ("-h", "--help"):
        print(f"usage: ./test [SUITE...]\nsuites: {' '.join(SUITES)}\n./test sim|cluster|vm ARG... passes arguments on")
        return 0
    suites = [word for word in arguments if word in SUITES]
    extra = [word for word in arguments if word not in SUITES]
    if extra and suites not in (["sim"], ["cluster"], ["vm"]):
        print(f"there is no suite \"{extra[0]}\"; suites: {' '.join(SUITES)}", file=sys.stderr)
        return 2
    count = Count()
    prepared = call("packaging/dependencies", "test")
    if prepared.returncode != 0:
        print(prepared.stdout)
        return 1
    start = time.monotonic()
    for suite in suites or DEFAULT:
        print(f"== {suite}", flush=True)
        began, before = time.monotonic(), (count.passed, count.failed)
        if suite in ROOT_ONLY and os.geteuid() != 0:
            if os.environ.get("CI"):
                count.add(suite, "failed", "needs root")
            else:
                count.add(suite, "skipped", "needs root: hosts are made of namespaces and machines read the host's files")
            continue
        if suite in ("sim", "cluster", "vm"):
            {"sim": sim, "cluster": cluster, "vm": vm}[suite](count, extra)
        else:
            globals()[suite](count)
        print(f"  {suite}: {count.passed - before[0]} passed, {count.failed - before[1]} failed, "
              f"{time.monotonic() - began:.0f} s", flush=True)
    if count.failures:
        print("\nfailed:\n" + "\n".join(f"  {name}" for name in count.failures))
    print(f"\nall of it took {time.monotonic() - start:.0f} s")
    print(f"{count.passed} passed, {count.failed} failed, {count.skipped} skipped")
    return 1 if count.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
