"""Every example of the man pages, run on a cluster as it stands there. A block is fenced; "$ " is nodeA's prompt,
"nodeB$ " another node's. What follows is the command's whole standard output; the exit code is 0 unless `echo $?` shows
another. A page leaves the cluster as it found it."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterator

import pytest
from command_lab import CommandLab, outcome
from lab import PROJECT, Host, Lab, wait_until

PAGES = sorted(path for path in (PROJECT / "docs/man").glob("*.scd") if "# EXAMPLES" in path.read_text())
PROMPT = re.compile(r"^(node[A-Z])?\$ (.*)$")
STATE = (("ins_list", "-f|"), ("dep_list", "-f|"), ("eqv_list", "-f|"), ("flg_list",), ("typ_list", "-f|"), ("app_list",),
         ("sys_list",), ("understudy", "mirror", "status"), ("net_list", "-f|"))


@pytest.fixture(scope="module")
def cluster(module_lab: Lab) -> Iterator[CommandLab]:
    made = CommandLab(module_lab, ("nodeA", "nodeB"))
    alone = module_lab.host("nodeC")
    alone.start()
    mirror(*made.hosts)
    yield made


def mirror(source: Host, target: Host) -> None:
    """The volume of the pages about mirrors; each host's disks are below its /mnt."""
    for host in (source, target):
        for name in ("data", "other"):
            host.disk(f"{name}.img", 32 << 20)
        host.run("mount", "--bind", str(host.root / "disks"), "/mnt")
    source.command("understudy", "mirror", "create", "data", "--device", "/mnt/data.img", "--target", target.name,
                   "--target-device", "/mnt/data.img", "--source-address", source.address(), "--target-address",
                   target.address())
    source.command("understudy", "mirror", "wait", "data")


def examples(page: pathlib.Path) -> list[tuple[str, str, list[str]]]:
    """(node, command, expected output lines), in order."""
    section = page.read_text().split("# EXAMPLES", 1)[1].split("\n# ", 1)[0]
    found: list[tuple[str, str, list[str]]] = []
    for block in re.findall(r"^```\n(.*?)^```$", section, re.DOTALL | re.MULTILINE):
        for line in block.splitlines():
            prompt = PROMPT.match(line)
            if prompt:
                found.append((prompt[1] or "nodeA", prompt[2], []))
            else:
                found[-1][2].append(line)
    return found


def without(text: str, field: int) -> str:
    return "\n".join("|".join(line.split("|")[:field] + line.split("|")[field + 1:]) for line in text.splitlines())


def state_of(host: Host) -> list[str]:
    """All that the database shows, but for reasons and how often a path went down."""
    text = [host.command(*words) for words in STATE]
    return [without(text[0], 7), *text[1:-1], without(text[-1], 10)]


# Spec: CMD-009, CMD-138
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_examples_of_the_page_do_what_they_show(cluster: CommandLab, page: pathlib.Path) -> None:
    before = [state_of(host) for host in cluster.hosts]
    steps = examples(page)
    assert steps, f"{page.name} has an EXAMPLES section without a command"
    for node, command, expected in steps:
        code, out, err = outcome(cluster.lab.hosts[node], "bash", "-c", command, timeout=120)
        assert out.splitlines() == expected, f"{node}$ {command}\n{out}{err}"
        assert code == 0, f"{node}$ {command} ended with {code}\n{out}{err}"
    try:
        wait_until(lambda: [state_of(host) for host in cluster.hosts] == before, 15, "the cluster as it was")
    except TimeoutError:
        assert [state_of(host) for host in cluster.hosts] == before
        raise
