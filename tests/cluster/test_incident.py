"""The page on a takeover, from every node and after restarts; and maintenance, which keeps takeovers from happening."""

from __future__ import annotations

import json

from lab import Host, Lab, wait_until
from test_recovery import protect_script


def incident(host: Host, which: str = "last") -> dict:
    return json.loads(host.command("understudy", "incident", which, "--json"))


def texts(page: dict) -> list[str]:
    return [notice["text"] for notice in page["noticed"]]


# Spec: CLU-181, CLU-188
def test_a_takeover_is_on_one_page_from_every_node(lab: Lab, pair: tuple[Host, Host]) -> None:
    left, right = pair
    protect_script(left, right, restore="sleep 0.3")
    left.command("perform_action", "-a", "restore", "-t", "App.0")
    assert "no incident is recorded" in right.run("understudy", "incident", code=7).stderr
    left.power_off()
    wait_until(lambda: right.state("App.0") == "ISP", 10, "right has taken over")
    wait_until(lambda: incident(right)["ended"], 10, "its end is recorded")
    page = incident(right)
    assert (page["kind"], page["subject"], page["clock"]) == ("node failure", "left", "right")
    assert [(s["node"], s["action"], s["tag"], s["result"]) for s in page["steps"]] == [("right", "restore", "App.0", "ok")]
    assert page["steps"][0]["took_us"] >= 300_000
    (outage,) = page["outages"]
    assert outage["tag"] == "App.0" and outage["to_us"] - outage["from_us"] == page["outage_us"] >= 300_000
    assert len(page["paths"]) == 2 and all(path["heard_us"] for path in page["paths"])
    assert page["silent"] == ["left"]
    assert any(advice.startswith("left is DEAD: repair it") for advice in page["advice"])
    assert any("App.0 has no standby" in advice for advice in page["advice"])

    right.kill("understudyd")
    right.start()
    assert incident(right)["id"] == page["id"], "it survives the daemon's end"

    left.start()
    wait_until(lambda: left.state("App.0") == "OSU", 20, "left is standby")
    asked = incident(left, page["id"])
    assert asked["steps"] == page["steps"] and asked["silent"] == []
    assert "its daemon starts, the host booted" in texts(asked)
    assert asked["clocks"]["left"]["uncertainty_us"] is not None
    assert not any("no standby" in advice or "DEAD" in advice for advice in asked["advice"])
    assert page["id"] in left.command("understudy", "incident", "list")
    text = left.command("understudy", "incident", page["id"])
    assert "failure of node left" in text and "What to do now\n  nothing" in text


# Spec: CLU-144
def test_a_switchover_is_a_move_with_its_outage(lab: Lab, pair: tuple[Host, Host]) -> None:
    left, right = pair
    protect_script(left, right)
    left.command("perform_action", "-a", "restore", "-t", "App.0")
    left.command("understudy", "switchover", "App.0", "--to", "right")
    page = incident(left)
    assert (page["kind"], page["subject"], page["ended"]) == ("move", "App.0", True)
    assert [(s["node"], s["action"], s["result"]) for s in page["steps"]] == [("left", "remove", "ok"), ("right", "restore", "ok")]
    assert page["outage_us"] > 0 and page["advice"] == []


# Spec: CLU-170, CLU-171, CLU-220
def test_maintenance_is_on_all_nodes_or_on_none_and_ends_by_itself(lab: Lab, pair: tuple[Host, Host]) -> None:
    left, right = pair
    protect_script(left, right)
    left.command("understudy", "maintenance", "on", "App.0", "--why", "a new disk")
    for host in pair:
        host.run("flg_test", "-f", "Maintenance_App.0")
    (entry,) = wait_until(lambda: json.loads(right.command("understudy", "maintenance", "list", "--json")), 10, "right knows")
    assert entry["subject"] == "App.0" and entry["why"] == "a new disk" and entry["who"] == "root@left"
    assert "a new disk" in right.command("understudy", "status")
    right.command("understudy", "maintenance", "off", "App.0")
    for host in pair:
        host.run("flg_test", "-f", "Maintenance_App.0", code=7)
        assert "maintenance" not in host.command("flg_list")

    left.command("understudy", "maintenance", "on", "right", "--for", "1s")
    for host in pair:
        wait_until(lambda host=host: host.command("flg_list") == "", 20, "it has ended by itself")

    right.kill("understudyd")
    wait_until(lambda: left.command("sys_getst", "-s", "right").strip() == "DEAD", 10, "right is DEAD")
    refused = left.run("understudy", "maintenance", "on", "App.0", code=9)
    assert "right cannot be told; nothing is changed" in refused.stderr
    left.run("flg_test", "-f", "Maintenance_App.0", code=7)
    assert "right was not told" in left.run("understudy", "maintenance", "on", "App.0", "--force").stderr
    left.run("flg_test", "-f", "Maintenance_App.0")
