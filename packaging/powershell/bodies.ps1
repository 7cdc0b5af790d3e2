# What each cmdlet does with its arguments; generate.py puts the parameters of cmdlets.json in front. Every request goes
# through emcmd, so that rights, transport and status numbers are those of the command line.

#region helpers
$script:Emcmd = if ($env:EXTMIRRBASE) { Join-Path $env:EXTMIRRBASE 'emcmd' } else { 'emcmd' }

# Runs emcmd. Status: the number of its last line when it prints one, else its exit code.
function Invoke-Emcmd([string[]] $Words) {
    $lines = @(& $script:Emcmd @Words 2>$null)
    $status = $LASTEXITCODE
    $data = @()
    foreach ($line in $lines) {
        if ($line -match '^\s*Status = (\d+)\s*$') { $status = [int] $Matches[1] } else { $data += $line }
    }
    [pscustomobject] @{ Status = $status; Lines = $data }
}

function Get-PairWords([hashtable] $Bound) {
    $type = @{ Sync = 'S'; Async = 'A'; Disk = 'D' }[$Bound.SyncType]
    $first = if ($type -eq 'D') { '0.0.0.0' } else { $Bound.Node1IP }
    $second = if ($type -eq 'D') { '0.0.0.0' } else { $Bound.Node2IP }
    @($Bound.Node1Name, $Bound.Node1Volume, $first, $Bound.Node2Name, $Bound.Node2Volume, $second, $type)
}

function ConvertTo-Job([string[]] $Lines) {
    $job = [pscustomobject] @{ Id = ''; Name = ''; Description = ''; Pairs = @() }
    foreach ($line in $Lines) {
        if ($line -match '^ID = (.*)$') { $job.Id = $Matches[1] }
        elseif ($line -match '^Name = (.*)$') { $job.Name = $Matches[1] }
        elseif ($line -match '^Description = ?(.*)$') { $job.Description = $Matches[1] }
        elseif ($line -match '^MirrorEndPoints? = (.*)$') { $job.Pairs += $Matches[1] }
    }
    $job
}

function Test-SameSystem([string] $One, [string] $Other) {
    if ($One -eq $Other) { return $true }
    ($One.Contains('.') -ne $Other.Contains('.')) -and ($One.Split('.')[0] -eq $Other.Split('.')[0])
}
#endregion

#region New-DataKeeperMirror
if (-not $TargetVolume) { $TargetVolume = $SourceVolume }
if ($TargetVolume.Substring(0, 1) -ne $SourceVolume.Substring(0, 1)) { return 50 }  # one letter on both ends
$type = @{ Sync = 'S'; Async = 'A' }[$SyncType]
(Invoke-Emcmd @($SourceIP, 'CREATEMIRROR', $SourceVolume, $TargetIP, $type, "$CreateFlags")).Status
#endregion

#region New-DataKeeperJob
$made = Invoke-Emcmd (@('.', 'CREATEJOB', $JobName, $JobDescription) + (Get-PairWords $PSBoundParameters))
if ($made.Status -ne 0) {
    throw [System.ComponentModel.Win32Exception]::new($made.Status, "CREATEJOB ended with status $($made.Status)")
}
ConvertTo-Job (Invoke-Emcmd @('.', 'GETJOBINFO', (ConvertTo-Job $made.Lines).Id)).Lines
#endregion

#region Remove-DataKeeperMirror
$words = @($Source, 'DELETEMIRROR', $Volume)
if ($Target) { $words += $Target }
(Invoke-Emcmd $words).Status
#endregion

#region Remove-DataKeeperJob
(Invoke-Emcmd @($Node, 'DELETEJOB', "$JobID")).Status
#endregion

#region Add-DataKeeperJobPair
$known = Invoke-Emcmd @('.', 'GETJOBINFO', "$JobID")
if ($known.Status -ne 0) { return $known.Status }
$job = ConvertTo-Job $known.Lines
$words = @('.', 'UPDATEJOB', "$JobID", $job.Name, $job.Description)
foreach ($pair in $job.Pairs) {
    $fields = $pair.Split(';')
    $same = (Test-SameSystem $fields[0] $Node1Name) -and (Test-SameSystem $fields[3] $Node2Name) -and
        ($fields[1] -eq $Node1Volume) -and ($fields[4] -eq $Node2Volume)
    $turned = (Test-SameSystem $fields[0] $Node2Name) -and (Test-SameSystem $fields[3] $Node1Name) -and
        ($fields[1] -eq $Node2Volume) -and ($fields[4] -eq $Node1Volume)
    if (-not ($same -or $turned)) { $words += $fields }
}
(Invoke-Emcmd ($words + (Get-PairWords $PSBoundParameters))).Status
#endregion

#region Get-DataKeeperVolumeInfo
$asked = Invoke-Emcmd @($Node, 'GETVOLUMEINFO', $Volume, '3')
if ($asked.Status -ne 0) {
    throw [System.ComponentModel.Win32Exception]::new($asked.Status, "GETVOLUMEINFO ended with status $($asked.Status)")
}
$states = @{ INVALID = -1; NONE = 0; MIRROR = 1; RESYNC = 2; BROKEN = 3; PAUSED = 4; RESYNC_PENDING = 5 }
$names = @{ 'Volume Root' = 'VolumeRoot'; 'Last Modified' = 'LastModified'; 'Mirror Role' = 'MirrorRole'; 'Label' = 'Label';
    'FileSystem' = 'FileSystem'; 'Total Space' = 'TotalSpace'; 'Attributes' = 'Attributes' }
$info = [ordered] @{}
$targets = [ordered] @{}
$target = $null
foreach ($line in $asked.Lines) {
    if ($line -match '^>> Remote \[(\d+)\]\s+= (\S+), (\S+)$') {
        if (-not $targets.Contains($Matches[1])) {
            $targets[$Matches[1]] = [ordered] @{ TargetIP = $Matches[2]; Volume = $Matches[3] }
        }
        $target = $targets[$Matches[1]]
    }
    elseif ($line -match '^(\w[\w ]*?)\s*[=:] (.*)$') {
        $key, $value = $Matches[1], $Matches[2]
        if ($null -eq $target) { if ($names.ContainsKey($key)) { $info[$names[$key]] = $value } }
        elseif ($key -eq 'Mirror State') { $target.MirrorState = $states[$value]; $target.MirrorStateText = $value }
        else { $target[$key.Replace(' ', '')] = $value }
    }
}
$info.Targets = @($targets.Values | ForEach-Object { [pscustomobject] $_ })
[pscustomobject] $info
#endregion
