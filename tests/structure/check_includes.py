"""A folder of src/ includes only from folders below it, and heavy libraries stay where they belong."""

from __future__ import annotations

import pathlib
import re
import sys

PROJECT = pathlib.Path(__file__).resolve().parents[2]
ORDER = ["base", "messages", "runtime", "config", "comm", "quorum", "recovery", "mirror", "api", "cli", "daemons"]
INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]')
# library prefix -> the only folders whose files may include it
ONLY_IN = {
    "boost/": ("runtime/posix", "api"),
    "openssl/": ("runtime/posix", "comm", "mirror/control", "api"),
    "sqlite3.h": ("config",),
    "liburing.h": ("mirror/io",),
    "spdlog/": ("messages",),
}
# heavy types that no header may show, wherever it lies
NOT_IN_HEADERS = ("boost/", "sqlite3.h", "google/protobuf/", "liburing.h", "spdlog/")
# headers that nothing outside their own folder includes
PRIVATE_FOLDERS = ("runtime/posix",)


def problems(path: pathlib.Path) -> list[str]:
    relative = path.relative_to(PROJECT / "src").as_posix()
    folder = relative.split("/")[0]
    found = []
    for number, line in enumerate(path.read_text(encoding="utf8").splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        quoted, target = match[1] == '"', match[2]
        where = f"src/{relative}:{number}"
        other = target.split("/")[0]
        if quoted and other in ORDER and ORDER.index(other) > ORDER.index(folder):
            found.append(f"{where}: {folder} must not include {target}: {other} is above it")
        if quoted and other in ("kits", "sim", "benchmarks", "tests"):
            found.append(f"{where}: src must not include {target}")
        for library, folders in ONLY_IN.items():
            if target.startswith(library) and not relative.startswith(folders):
                found.append(f"{where}: {target} belongs in {', '.join(folders)} only")
        private = relative.startswith(PRIVATE_FOLDERS)
        if path.suffix == ".h" and target.startswith(NOT_IN_HEADERS) and not private:
            found.append(f"{where}: {target} must not be seen through a header")
    return found


def main() -> int:
    unknown = [p.name for p in (PROJECT / "src").iterdir() if p.is_dir() and p.name not in ORDER]
    found = [f"src/{name} is not in the order of folders" for name in unknown]
    files = [p for p in (PROJECT / "src").rglob("*") if p.suffix in (".h", ".cpp")]
    if not files:
        found.append("no source files found: the check would pass on nothing")
    for path in sorted(files):
        found += problems(path)
    print("\n".join(found) or f"{len(files)} files keep the order")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
