"""clang-tidy over every source file that changed, or includes something that changed, since it was last found clean.

    tests/tidy.py [-j JOBS] [FILE...]

Uses the release build's compile commands and dependencies. What was found clean is remembered in build/tidy.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import hashlib
import json
import pathlib
import shlex
import subprocess
import sys

PROJECT = pathlib.Path(__file__).resolve().parents[1]
BUILD = PROJECT / "build" / "release"
CLEAN = PROJECT / "build" / "tidy"
TIDY = "clang-tidy-16"
FOR_GCC_ONLY = {"-fcoroutines", "-fpch-preprocess", "-Winvalid-pch"}
WITH_VALUE = {"-o", "-include"}


def dependencies() -> dict[str, list[str]]:
    """What each object file was made from, by ninja's record."""
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in subprocess.run(["ninja", "-C", str(BUILD), "-t", "deps"], capture_output=True, text=True, check=True).stdout.splitlines():
        if line.startswith("    "):
            current.append(line.strip())
        elif ": #deps" in line:
            current = found[line.split(":")[0]] = []
    return found


def arguments(command: list[str]) -> list[str]:
    """The compiler's arguments without what only g++ knows, its own precompiled header and the output."""
    compiler = next(i for i, word in enumerate(command) if word.endswith("++"))
    kept, words = [], iter(command[compiler + 1:])
    for word in words:
        if word in WITH_VALUE:
            next(words)
        elif word != "-c" and word not in FOR_GCC_ONLY and not word.startswith("-Wno-"):
            kept.append(word)
    return [*kept, "-Wno-unknown-warning-option", "-Wno-missing-field-initializers"]


def fingerprint(files: list[str], command: list[str]) -> str:
    digest = hashlib.sha256(" ".join(command).encode())
    digest.update((PROJECT / ".clang-tidy").read_bytes())
    for name in sorted(set(files)):
        path = pathlib.Path(BUILD, name)
        if path.is_relative_to(PROJECT) or not path.is_absolute():
            digest.update(path.read_bytes())
    return digest.hexdigest()


def check(source: str, directory: str, words: list[str], files: list[str]) -> str:
    """What clang-tidy found, or nothing."""
    mark = CLEAN / fingerprint([*files, source], words)
    if mark.exists():
        return ""
    # The check does not know that ASSERT_TRUE returns.
    checks = ["--checks=-bugprone-unchecked-optional-access"] if source.endswith("_test.cpp") else []
    done = subprocess.run([TIDY, "--quiet", *checks, source, "--", *words], cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        mark.touch()
        return ""
    return done.stdout.strip() or done.stderr.strip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-j", type=int, default=2, metavar="JOBS")
    parser.add_argument("files", nargs="*", metavar="FILE", help="only files whose path contains one of these")
    options = parser.parse_args()
    CLEAN.mkdir(parents=True, exist_ok=True)
    made_from = dependencies()
    work: dict[str, tuple[str, list[str], list[str]]] = {}
    for entry in json.loads((BUILD / "compile_commands.json").read_text(encoding="utf8")):
        source = entry["file"]
        if "build/" in source or options.files and not any(part in source for part in options.files):
            continue
        command = shlex.split(entry["command"])
        work[source] = (entry["directory"], arguments(command), made_from.get(command[command.index("-o") + 1], []))
    found: set[str] = set()
    with concurrent.futures.ThreadPoolExecutor(options.j) as pool:
        for text in pool.map(lambda item: check(item[0], *item[1]), work.items()):
            if text and text not in found:
                found.add(text)
                print(text, flush=True)
    print(f"clang-tidy: {len(work)} files, findings in {len(found)}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
