"""What the tests of the kits share: calling an action as the engine does, and hosts beside the usual ones."""

from __future__ import annotations

import subprocess

from lab import Host, Lab, run


def action(host: Host, type_name: str, name: str, *words: str, code: int | None = 0, timeout: float = 120,
           checked: bool = False, **settings: object) -> subprocess.CompletedProcess[str]:
    """Runs the program of a kit's action, e.g. action(left, "comm/ip", "create", "-t", "10.0.0.1"), in the environment that
    the engine gives it; `settings` are those of etc/default/LifeKeeper. What is created is checked by the test only."""
    app, kind = type_name.split("/")
    lkroot = host.root / "usr/lib/understudy"
    values = [f"{key}={value}" for key, value in settings.items()]
    path = f"PATH={lkroot}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    done = host.run("env", "-i", path, f"LKROOT={lkroot}", f"UNDERSTUDY_ROOT={host.root}", "LANG=C.UTF-8", "LC_ALL=C.UTF-8",
                    *values, str(lkroot / "subsys" / app / "resources" / kind / "actions" / name), *words, code=code,
                    timeout=timeout)
    if name == "create" and done.returncode == 0 and not checked:
        unchecked(host, words[words.index("-t") + 1])
    return done


def unchecked(host: Host, tag: str) -> None:
    """The engine checks the resource no more by itself."""
    for kind in ("q", "d"):
        host.command("ins_setchkint", "-t", tag, "-c", kind, "-v", "0")


def check(host: Host, tag: str, kind: str = "quickchk") -> bool:
    """Whether a check of the resource, run by the engine, finds it healthy."""
    done = host.run("perform_action", "-t", tag, "-a", kind, code=None, timeout=120)
    assert done.returncode in (0, 1), done
    return done.returncode == 0


def info(host: Host, tag: str) -> str:
    return host.command("ins_list", "-f|", "-t", tag).split("|")[5]


def extend(template: Host, target: Host, type_name: str, tag: str, *words: str) -> None:
    """Extends one resource as the hierarchy operations do, by the kit's actions."""
    action(target, type_name, "canextend", "-t", tag, *words)
    action(target, type_name, "extend", "-t", tag, *words)
    unchecked(target, tag)
    template.command("eqv_create", "-t", tag, "-S", target.name, "-o", tag, "-e", "SHARED")


def spare_interface(lab: Lab, host: Host, name: str, network: int, address: str) -> None:
    """A second cable of the host to one of the networks."""
    port = f"s{host.number}{name}"
    run("ip", "-n", lab.switch, "link", "add", port, "type", "veth", "peer", "name", name, "netns", host.namespace)
    run("ip", "-n", lab.switch, "link", "set", port, "master", f"br{network}", "up")
    run("ip", "-n", host.namespace, "addr", "add", address, "dev", name)
    run("ip", "-n", host.namespace, "link", "set", name, "up")


def spare_link(lab: Lab, host: Host, name: str, up: bool) -> None:
    run("ip", "-n", lab.switch, "link", "set", f"s{host.number}{name}", "up" if up else "down")
