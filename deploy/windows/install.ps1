<#
.SYNOPSIS
    Installs, upgrades or removes Leakhound on this Windows machine. Run it elevated.
.DESCRIPTION
    Install: program, configuration and archive, readable by SYSTEM and administrators only; a service that runs as LocalSystem, starts
    with the machine and is started again after a failure; the event source Leakhound in the log Application. The service is started
    once the configuration is found to be good. Run it again with a newer program to upgrade: the configuration, the archive and what
    the agent remembers stay.
.EXAMPLE
    .\install.ps1 -Program .\leakhound.exe -Config .\leakhound.toml
.EXAMPLE
    .\install.ps1 -Uninstall             # configuration and archive stay
.EXAMPLE
    .\install.ps1 -Uninstall -Purge      # they go too, with every dump
#>
[CmdletBinding(DefaultParameterSetName = 'Install')]
param(
    # The program, leakhound.exe.
    [Parameter(Mandatory, ParameterSetName = 'Install')] [string] $Program,
    # The configuration; one that is there already is kept unless this is given.
    [Parameter(ParameterSetName = 'Install')] [string] $Config,
    # Except the program and the archive from Microsoft Defender's scans (see deploy/README.md for what that means).
    [Parameter(ParameterSetName = 'Install')] [switch] $DefenderExclusion,
    # Remove the service and the program.
    [Parameter(Mandatory, ParameterSetName = 'Uninstall')] [switch] $Uninstall,
    # With -Uninstall: remove configuration and archive as well.
    [Parameter(ParameterSetName = 'Uninstall')] [switch] $Purge,
    [string] $ProgramFolder = (Join-Path $env:ProgramFiles 'Leakhound'),
    [string] $DataFolder = (Join-Path $env:ProgramData 'Leakhound')
)
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'

$exe = Join-Path $ProgramFolder 'leakhound.exe'
$toml = Join-Path $DataFolder 'leakhound.toml'

function Invoke-Leakhound {
    & $exe @args
    if ($LASTEXITCODE -ne 0) { throw "leakhound $args ended with $LASTEXITCODE" }
}

function Test-Service { [bool](Get-Service -Name 'Leakhound' -ErrorAction SilentlyContinue) }

function Stop-Leakhound {
    # A running capture is finished or given up first; every process that was stopped goes on.
    if ((Test-Service) -and (Get-Service -Name 'Leakhound').Status -ne 'Stopped') { Invoke-Leakhound service stop }
}

$identity = [Security.Principal.WindowsPrincipal][Security.Principal.WindowsIdentity]::GetCurrent()
if (-not $identity.IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator)) {
    throw 'This needs an elevated PowerShell: "Run as administrator".'
}

if ($Uninstall) {
    if (Test-Service) {
        Stop-Leakhound
        Invoke-Leakhound service uninstall
    }
    if (Test-Path -LiteralPath $ProgramFolder) { Remove-Item -LiteralPath $ProgramFolder -Recurse -Force }
    if ($Purge -and (Test-Path -LiteralPath $DataFolder)) { Remove-Item -LiteralPath $DataFolder -Recurse -Force }
    Write-Output 'Leakhound is removed.'
    return
}

if (-not (Test-Path -LiteralPath $Program -PathType Leaf)) { throw "There is no program $Program." }
if (-not $Config -and -not (Test-Path -LiteralPath $toml)) {
    throw "There is no configuration $toml yet: name one with -Config. deploy/config/leakhound.toml explains every key."
}
if ($Config -and -not (Test-Path -LiteralPath $Config -PathType Leaf)) { throw "There is no configuration $Config." }

# Whoever can change the program or the configuration is SYSTEM; whoever can read the archive has what the services held. By their ids,
# since the names differ between languages: S-1-5-18 is SYSTEM, S-1-5-32-544 are the administrators.
foreach ($folder in $ProgramFolder, $DataFolder) {
    New-Item -ItemType Directory -Path $folder -Force | Out-Null
    icacls.exe $folder /inheritance:r /grant:r '*S-1-5-18:(OI)(CI)F' '*S-1-5-32-544:(OI)(CI)F' | Out-Null
    if ($LASTEXITCODE -ne 0) { throw "icacls could not protect $folder" }
}

Stop-Leakhound
Copy-Item -LiteralPath $Program -Destination $exe -Force
if ($Config) { Copy-Item -LiteralPath $Config -Destination $toml -Force }
Invoke-Leakhound run --check --config $toml
if (-not (Test-Service)) { Invoke-Leakhound service install --config $toml }
if ($DefenderExclusion) {
    Add-MpPreference -ExclusionProcess $exe -ExclusionPath $DataFolder
}
Invoke-Leakhound service start
Write-Output "Leakhound watches. Its words: Get-WinEvent -FilterHashtable @{ LogName = 'Application'; ProviderName = 'Leakhound' }"
