"""The parameters of the PowerShell module are the manual's. It is read, not run."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parents[2] / "packaging" / "powershell"
PAIR = "Node1Name! Node1IP! Node1Volume! Node2Name! Node2IP! Node2Volume! SyncType![Sync|Async|Disk]"
# name: required parameters end with "!", "@n" is a position, [] are the legal values.
# Requirements: tests/cluster/test_emcmd_host.py
MANUAL = {
    "New-DataKeeperMirror": "SourceIP!@0 SourceVolume!@1 TargetIP!@2 TargetVolume@3 SyncType!@4[Sync|Async] CreateFlags",
    "New-DataKeeperJob": f"JobName! JobDescription {PAIR}",
    "Remove-DataKeeperMirror": "Source! Volume! Target",
    "Remove-DataKeeperJob": "JobID! Node!",
    "Add-DataKeeperJobPair": f"JobID! {PAIR}",
    "Get-DataKeeperVolumeInfo": "Node!@0 Volume!@1",
}
# Ends with a status, throws one.
RETURNS = {name: (not name.endswith(("New-DataKeeperJob", "VolumeInfo")), name.endswith(("New-DataKeeperJob", "VolumeInfo"))) for name in MANUAL}
FUNCTION = re.compile(r"^function (\S+-DataKeeper\S+) \{\n.*?^    param\(\n(.*?)^    \)\n(.*?)^\}$", re.DOTALL | re.MULTILINE)
PARAMETER = re.compile(r"\[Parameter\(Mandatory = \$(true|false)(?:, Position = (\d+))?\)\]\s*(?:\[ValidateSet\(([^)]*)\)\]\s*)?"
                       r"(?:\[ValidatePattern\([^)]*\)\]\s*)?\[\w+\] \$(\w+)")


def described(block: str) -> str:
    words = []
    for required, position, values, name in PARAMETER.findall(block):
        legal = "[" + "|".join(re.findall(r"'([^']*)'", values)) + "]" if values else ""
        words.append(name + ("!" if required == "true" else "") + (f"@{position}" if position else "") + legal)
    return " ".join(words)


def main() -> int:
    found = []
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run([sys.executable, str(HERE / "generate.py"), directory], check=True)
        text = pathlib.Path(directory, "DKPwrShell.psm1").read_text(encoding="utf8")
    cmdlets = {name: (described(block), body) for name, block, body in FUNCTION.findall(text)}
    if set(cmdlets) != set(MANUAL):
        found.append(f"cmdlets: {sorted(set(cmdlets) ^ set(MANUAL))}")
    for name, expected in MANUAL.items():
        parameters, body = cmdlets.get(name, ("", ""))
        if parameters != expected:
            found.append(f"{name}: {parameters}\n  the manual has {expected}")
        for word in re.findall(r"(\w+)!?(?:@\d)?(?:\[[^\]]*\])?(?: |$)", expected):
            used = f"${word}" in body or ("$PSBoundParameters" in body and f"$Bound.{word}" in text)
            if not used:
                found.append(f"{name}: its parameter {word} is used for nothing")
    # What each returns: a number and nothing else, or an object, or an exception with the number. No pipeline input.
    for name, (_, body) in cmdlets.items():
        throws, status = "throw [System.ComponentModel.Win32Exception]::new(" in body, body.rstrip().endswith(").Status")
        if RETURNS[name] != (status, throws):
            found.append(f"{name}: it returns something else than the manual says")
        begin = text.index(f"function {name} ")
        if f"[OutputType([{'int' if status else 'PSCustomObject'}])]" not in text[begin:text.index("param(", begin)]:
            found.append(f"{name}: its output type is another one")
    if "ValueFromPipeline" in text:
        found.append("a parameter takes pipeline input")
    # Every command of emcmd that the module calls exists.
    table = (HERE.parents[1] / "src/mirror/emcmd/table.cpp").read_text(encoding="utf8")
    for command in set(re.findall(r"'([A-Z]{8,})'", text)):
        if f'"{command}"' not in table:
            found.append(f"emcmd has no command {command}")
    opening, closing = text.count("{"), text.count("}")
    if opening != closing:
        found.append(f"{opening} opening and {closing} closing braces")
    print("\n".join(found) or f"{len(cmdlets)} cmdlets are the manual's")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
