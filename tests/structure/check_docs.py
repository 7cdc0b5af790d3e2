"""Links and paths in the tree's pages lead somewhere, READMEs name files that exist, and no file grows past its limit."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

PROJECT = pathlib.Path(__file__).resolve().parents[2]
MOST_LINES = 600  # of one file: past that it has a second subject
CODE = (".h", ".cpp", ".py")
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
PATH = re.compile(r"`((?:src|docs|tests|kits|sim|packaging|benchmarks|cmake)/[\w./*-]+)`")
FILE = re.compile(r"`([a-z_0-9]+\.(?:h|cpp|py|def|proto|\*))`")
EMPTY_ON_PURPOSE = {"src/api"}  # has a place in the order of folders and no content yet


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=PROJECT, capture_output=True, text=True,
                            check=True).stdout.split("\n")
    return [name for name in listed if name and (PROJECT / name).is_file()]


def exists(path: str) -> bool:
    """Of a path from the top, perhaps with a pattern, perhaps of a file without its ending."""
    found = [*PROJECT.glob(path.rstrip("/")), *PROJECT.glob(path + ".*")]
    return bool(found) or path in EMPTY_ON_PURPOSE


def problems_of_page(name: str, names: set[str]) -> list[str]:
    text = (PROJECT / name).read_text(encoding="utf8")
    folder = (PROJECT / name).parent
    found = [f"{name}: dead link {target}" for target in LINK.findall(text) if not (folder / target).exists()]
    found += [f"{name}: there is no {path}" for path in PATH.findall(text) if not exists(path)]
    for file in FILE.findall(text):
        stem, _, ending = file.rpartition(".")
        if (file not in names) if ending != "*" else not any(other.startswith(stem + ".") for other in names):
            found.append(f"{name}: there is no {file}")
    return found


def main() -> int:
    files = tracked()
    names = {pathlib.Path(name).name for name in files}
    pages = [name for name in files if name.endswith(".md")]
    found = [problem for name in pages for problem in problems_of_page(name, names)]
    if not pages:
        found.append("no pages found: the check would pass on nothing")
    for name in files:
        if name.endswith(CODE):
            lines = (PROJECT / name).read_text(encoding="utf8").count("\n")
            if lines > MOST_LINES:
                found.append(f"{name} has {lines} lines, more than {MOST_LINES}: split it by subject")
    print("\n".join(found) or f"{len(pages)} pages lead somewhere")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
