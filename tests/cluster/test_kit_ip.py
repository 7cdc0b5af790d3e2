"""The IP kit: local recovery, the ping list, restore mode, IPv6, creation and extension."""

from __future__ import annotations

import pathlib

import pytest
from kit_lab import action, check, extend, info, spare_interface, spare_link
from lab import Host, Lab, wait_until

IP = "comm/ip"
ADDRESS = "10.77.1.100"
SIX = "fd00:77::100"


@pytest.fixture
def left(lab: Lab) -> Host:
    host = lab.host("left")
    host.start()
    return host


@pytest.fixture
def client(lab: Lab) -> Host:
    host = lab.host("client")
    host.power_on()
    return host


def interface_of(host: Host, address: str) -> str:
    """The interface that holds the address, "" when none does."""
    for line in host.run("ip", "-o", "addr").stdout.splitlines():
        fields = line.split()
        if fields[3].split("/")[0] == address:
            return fields[1]
    return ""


def in_service(host: Host, *words: str) -> None:
    action(host, IP, "create", "-t", ADDRESS, *words)
    host.command("perform_action", "-t", ADDRESS, "-a", "restore")


def reaches(client: Host, address: str) -> bool:
    return client.run("ping", "-c1", "-W1", address, code=None).returncode == 0


def ping_list(host: Host, *lines: str) -> pathlib.Path:
    path = host.root / f"usr/lib/understudy/subsys/comm/resources/ip/pinglist.{ADDRESS}"
    path.write_text("\n".join(lines) + "\n")
    return path


# Spec: CLU-168, CMD-141, CMD-142, KIT-106, KIT-107
def test_an_address_that_was_taken_away_comes_back_on_its_interface(left: Host, client: Host) -> None:
    in_service(left, "local_recovery=yes")
    assert info(left, ADDRESS) == "device=eth0 prefix=24" and check(left, ADDRESS)
    left.run("ip", "addr", "del", f"{ADDRESS}/24", "dev", "eth0")
    assert not check(left, ADDRESS)
    left.command("perform_action", "-t", ADDRESS, "-a", "recover")
    assert interface_of(left, ADDRESS) == "eth0" and check(left, ADDRESS) and left.state(ADDRESS) == "ISP"
    assert reaches(client, ADDRESS)


# Spec: CLU-168, CMD-141, KIT-104, KIT-106, KIT-109
def test_local_recovery_moves_to_the_backup_interface_and_back(lab: Lab, left: Host, client: Host) -> None:
    spare_interface(lab, left, "eth2", 1, "10.78.0.11/24")
    in_service(left, "local_recovery=yes", "backup=eth2")
    lab.link(left, 1, up=False)
    wait_until(lambda: not check(left, ADDRESS), 10, "the check sees the missing link")
    left.command("perform_action", "-t", ADDRESS, "-a", "recover")
    assert interface_of(left, ADDRESS) == "eth2" and left.state(ADDRESS) == "ISP"
    # The check follows the interface in use, and so does a client.
    assert check(left, ADDRESS) and reaches(client, ADDRESS)

    lab.link(left, 1, up=True)
    spare_link(lab, left, "eth2", up=False)
    wait_until(lambda: not check(left, ADDRESS), 10, "the check sees the missing link")
    wait_until(lambda: reaches(client, left.address(1)), 10, "eth0 carries packets again")
    left.command("perform_action", "-t", ADDRESS, "-a", "recover")
    assert interface_of(left, ADDRESS) == "eth0" and check(left, ADDRESS) and reaches(client, ADDRESS)

    lab.link(left, 1, up=False)
    wait_until(lambda: not check(left, ADDRESS), 10, "the check sees the missing link")
    action(left, IP, "recover", "-t", ADDRESS, code=1, IP_MAX_LINKCHK=0)
    assert interface_of(left, ADDRESS) == "", "what cannot be used here is free for another node"


# Spec: KIT-109
def test_a_restore_after_a_remove_starts_with_the_primary_interface(lab: Lab, left: Host) -> None:
    spare_interface(lab, left, "eth2", 1, "10.78.0.11/24")
    in_service(left, "local_recovery=yes", "backup=eth2")
    lab.link(left, 1, up=False)
    left.command("perform_action", "-t", ADDRESS, "-a", "recover")
    # What is there already is left where it is: the engine affirms what runs when it starts again.
    left.command("lkstop", "-f")
    left.command("lkstart")
    wait_until(lambda: left.state(ADDRESS) == "ISP", 30, "protected again")
    assert interface_of(left, ADDRESS) == "eth2"
    lab.link(left, 1, up=True)
    left.command("perform_action", "-t", ADDRESS, "-a", "remove")
    assert interface_of(left, ADDRESS) == ""
    left.command("perform_action", "-t", ADDRESS, "-a", "restore")
    assert interface_of(left, ADDRESS) == "eth0"


# Spec: CLU-169, CMD-146, KIT-114, KIT-115, KIT-102
def test_the_ping_list_is_tried_by_checks_and_at_the_end_of_restore(left: Host, client: Host) -> None:
    in_service(left)
    quick = {"IP_PINGTRIES": 1}
    listed = ping_list(left, "# routers", "10.77.1.250", "", f"{client.address(1)} # the client")
    action(left, IP, "quickchk", "-t", ADDRESS, **quick)
    ping_list(left, "10.77.1.250", "10.77.1.251")
    failed = action(left, IP, "quickchk", "-t", ADDRESS, code=1, **quick)
    assert "none of 10.77.1.250, 10.77.1.251 answers" in failed.stderr
    left.command("perform_action", "-t", ADDRESS, "-a", "remove")
    action(left, IP, "restore", "-t", ADDRESS, code=1, **quick)
    assert interface_of(left, ADDRESS) == ""
    ping_list(left, "# nothing")
    left.command("perform_action", "-t", ADDRESS, "-a", "restore")
    listed.unlink()
    assert check(left, ADDRESS)


# Spec: KIT-105
def test_a_broadcast_ping_counts_only_where_it_was_ever_answered(left: Host, client: Host) -> None:
    in_service(left)
    quick = {"IP_PINGTRIES": 1}
    silent = action(left, IP, "deepchk", "-t", ADDRESS, **quick)
    assert "proves nothing" in silent.stdout
    assert action(left, IP, "deepchk", "-t", ADDRESS, **quick).stdout == "", "said once"
    client.run("sysctl", "-qw", "net.ipv4.icmp_echo_ignore_broadcasts=0")
    action(left, IP, "deepchk", "-t", ADDRESS, **quick)
    client.run("sysctl", "-qw", "net.ipv4.icmp_echo_ignore_broadcasts=1")
    failed = action(left, IP, "deepchk", "-t", ADDRESS, code=1, **quick)
    assert "any more" in failed.stderr
    action(left, IP, "quickchk", "-t", ADDRESS)
    action(left, IP, "deepchk", "-t", ADDRESS, NOBCASTPING=1, **quick)
    ping_list(left, client.address(1))
    action(left, IP, "deepchk", "-t", ADDRESS, **quick)


# Spec: KIT-099, KIT-101, CLU-258, CMD-146
def test_restore_mode_changes_while_in_service(left: Host) -> None:
    in_service(left)
    left.command("perform_action", "-t", ADDRESS, "-a", "restore-mode", "--", "disable")
    assert interface_of(left, ADDRESS) == "" and info(left, ADDRESS) == "device=eth0 prefix=24 restore_mode=disable"
    assert left.state(ADDRESS) == "ISP" and check(left, ADDRESS) and check(left, ADDRESS, "deepchk")
    left.command("perform_action", "-t", ADDRESS, "-a", "recover")
    assert interface_of(left, ADDRESS) == "", "nothing to recover"
    left.command("perform_action", "-t", ADDRESS, "-a", "remove")
    left.command("perform_action", "-t", ADDRESS, "-a", "restore")
    assert left.state(ADDRESS) == "ISP" and interface_of(left, ADDRESS) == ""
    left.command("perform_action", "-t", ADDRESS, "-a", "restore-mode", "--", "enable")
    assert interface_of(left, ADDRESS) == "eth0" and info(left, ADDRESS) == "device=eth0 prefix=24"
    left.run("perform_action", "-t", ADDRESS, "-a", "restore-mode", "--", "maybe", code=1)


# Spec: KIT-118, KIT-102, KIT-089
def test_an_ipv6_address_is_protected_alike(lab: Lab, left: Host, client: Host) -> None:
    client.run("ip", "addr", "add", "fd00:77::13/64", "dev", "eth0", "nodad")
    action(left, IP, "create", "-t", "six", f"address={SIX}", "device=eth0", "local_recovery=yes")
    assert info(left, "six") == "device=eth0 prefix=64"
    left.command("perform_action", "-t", "six", "-a", "restore")
    assert check(left, "six") and reaches(client, SIX)
    left.run("ip", "addr", "del", f"{SIX}/64", "dev", "eth0")
    assert not check(left, "six")
    left.command("perform_action", "-t", "six", "-a", "recover")
    assert check(left, "six") and check(left, "six", "deepchk") and reaches(client, SIX)
    left.command("perform_action", "-t", "six", "-a", "remove")
    client.run("ip", "addr", "add", f"{SIX}/64", "dev", "eth0", "nodad")
    refused = left.run("perform_action", "-t", "six", "-a", "restore", code=1)
    assert "in use" in refused.stderr and interface_of(left, SIX) == ""


# Spec: KIT-103
def test_removing_one_address_leaves_the_others_of_its_subnet(lab: Lab, left: Host) -> None:
    spare_interface(lab, left, "eth2", 1, "10.78.0.11/24")
    for last in (100, 101):
        action(left, IP, "create", "-t", f"10.77.1.{last}", "device=eth2", "prefix=24")
        left.command("perform_action", "-t", f"10.77.1.{last}", "-a", "restore")
    # The first one of a subnet takes the others along, unless the kernel is told otherwise.
    left.command("perform_action", "-t", "10.77.1.100", "-a", "remove")
    assert interface_of(left, "10.77.1.100") == "" and interface_of(left, "10.77.1.101") == "eth2"


# Spec: KIT-093, KIT-094, KIT-095, KIT-096, KIT-111, KIT-112, KIT-113, CMD-145
def test_creation_chooses_and_validates(lab: Lab, left: Host, client: Host) -> None:
    action(left, IP, "create", "-t", "10.77.1.10")
    assert left.command("ins_list", "-f|", "-t", "10.77.1.10").split("|")[4:6] == ["10.77.1.10", "device=eth0 prefix=24"]
    assert left.command("ins_list", "-f|", "-t", "10.77.1.10").strip().split("|")[-1] == "0", "no local recovery"
    left.command("perform_action", "-t", "10.77.1.10", "-a", "restore")
    action(left, IP, "create", "-t", "10.77.1.1")  # part of another one's text
    for words, why in (((f"address={client.address(1)}",), "is in use"),
                       ((f"address={left.address(1)}",), "is an address of this host already"),
                       (("address=10.99.0.1",), "no interface of left has an address in the subnet"),
                       (("address=web",), "is not an address"),
                       (("address=10.77.1.50", "mask=255.0.255.0"), "no prefix length"),
                       (("address=10.77.1.50", "device=eth9"), "no network interface eth9"),
                       (("address=10.77.1.50", "backup=eth1"), "local_recovery=yes only"),
                       (("address=10.77.1.50", "colour=red"), '"colour=" is not one of')):
        assert why in action(left, IP, "create", "-t", "x", *words, code=1).stderr
        left.run("ins_list", "-t", "x", code=7)
    action(left, IP, "create", "-t", "cloud", "address=10.99.0.1", "mask=255.255.255.255", "device=eth1")
    assert info(left, "cloud") == "device=eth1 prefix=32"
    spare_interface(lab, left, "eth2", 1, "10.77.1.61/24")
    warned = action(left, IP, "create", "-t", "10.77.1.60", "local_recovery=yes", "backup=eth2").stdout
    assert "no default gateway" in warned and "10.77.1.61 of the backup interface eth2 is in the subnet" in warned
    assert left.command("ins_list", "-f|", "-t", "10.77.1.60").strip().split("|")[-1] == "1"


# Spec: KIT-097, KIT-098, KIT-095, CLU-147
def test_extension_takes_the_mask_and_leaves_local_recovery_to_each_node(lab: Lab, pair: tuple[Host, Host]) -> None:
    left, right = pair
    spare_interface(lab, left, "eth2", 1, "10.78.0.11/24")
    action(left, IP, "create", "-t", ADDRESS, "prefix=25", "local_recovery=yes", "backup=eth2")
    left.command("perform_action", "-t", ADDRESS, "-a", "restore")
    extend(left, right, IP, ADDRESS)
    assert info(right, ADDRESS) == "device=eth0 prefix=25"
    assert right.command("ins_list", "-f|", "-t", ADDRESS).strip().split("|")[-1] == "0"
    left.command("understudy", "switchover", ADDRESS, "--to", "right")
    assert interface_of(right, ADDRESS) == "eth0" and interface_of(left, ADDRESS) == ""


# Spec: KIT-097, CLU-147
def test_an_instance_that_is_defined_first_is_completed(lab: Lab, pair: tuple[Host, Host]) -> None:
    """As the hierarchy operations do it: the instance, then the kit; and NODE TAG INFO for an extension."""
    left, right = pair
    left.command("ins_create", "-a", "comm", "-r", "ip", "-t", "vip", "-i", ADDRESS, "-v", "mask=255.255.255.0")
    action(left, IP, "create", "-t", "vip", "-i", ADDRESS)
    assert info(left, "vip") == "device=eth0 prefix=24"
    assert left.command("ins_list", "-f|", "-t", "vip").strip().split("|")[-1] == "0", "local recovery is off unless asked for"
    words = "device=eth9 prefix=24 restore_mode=disable"
    action(right, IP, "canextend", "-t", "vip", "-i", ADDRESS, "left", "vip", words)
    right.command("ins_create", "-a", "comm", "-r", "ip", "-t", "vip", "-i", ADDRESS, "-v", words)
    action(right, IP, "extend", "-t", "vip", "-i", ADDRESS, "left", "vip")
    assert info(right, "vip") == "device=eth0 prefix=24 restore_mode=disable"
    left.command("ins_create", "-a", "comm", "-r", "ip", "-t", "bad", "-i", "bad", "-v", "")
    assert "is not an address (address=, or --id)" in action(left, IP, "create", "-t", "bad", "-i", "bad", code=1).stderr


# Spec: KIT-089, CLU-147
def test_an_address_that_the_target_has_itself_is_not_extended_to_it(pair: tuple[Host, Host]) -> None:
    left, right = pair
    action(left, IP, "create", "-t", ADDRESS)
    right.run("ip", "addr", "add", f"{ADDRESS}/24", "dev", "eth1")
    refused = action(right, IP, "canextend", "-t", ADDRESS, code=1)
    assert "is an address of this host already, on eth1" in refused.stderr


# Spec: CLU-149, CLU-171, APP-044
def test_maintenance_suspends_checks_and_recovery(left: Host) -> None:
    in_service(left, "local_recovery=yes")
    left.run("ip", "addr", "del", f"{ADDRESS}/24", "dev", "eth0")
    left.command("flg_create", "-f", f"Maintenance_{ADDRESS}")
    assert check(left, ADDRESS) and check(left, ADDRESS, "deepchk")
    refused = left.run("perform_action", "-t", ADDRESS, "-a", "recover", code=1)
    assert "under maintenance" in refused.stdout
    left.command("flg_remove", "-f", f"Maintenance_{ADDRESS}")
    assert not check(left, ADDRESS)
    left.command("perform_action", "-t", ADDRESS, "-a", "remove")
    assert check(left, ADDRESS), "what is not in service is not checked"
