# Installs, upgrades and removes Leakhound with the Service Fabric module, which must be connected: Connect-ServiceFabricCluster.
#   .\deploy.ps1 install     the first time
#   .\deploy.ps1 upgrade     another program, or only another configuration: then no process is restarted
#   .\deploy.ps1 remove      application and type; the archive stays on the nodes
# Values for this cluster stand in parameters.json beside it. It holds secrets: keep it where they may lie.
param([Parameter(Mandatory)][ValidateSet('install', 'upgrade', 'remove')][string]$Action)
$ErrorActionPreference = 'Stop'
$version = '0.1.0'
$type = 'LeakhoundType'
$application = 'fabric:/Leakhound'

$parameters = @{}
(Get-Content "$PSScriptRoot\parameters.json" -Raw | ConvertFrom-Json).PSObject.Properties |
    ForEach-Object { $parameters[$_.Name] = [string]$_.Value }

function Provision {
    $path = "$PSScriptRoot\package"
    Test-ServiceFabricApplicationPackage -ApplicationPackagePath $path | Out-Null
    Copy-ServiceFabricApplicationPackage -ApplicationPackagePath $path -ApplicationPackagePathInImageStore $type
    Register-ServiceFabricApplicationType -ApplicationPathInImageStore $type
    # The image store has a copy of its own by now.
    Remove-ServiceFabricApplicationPackage -ApplicationPackagePathInImageStore $type
}

switch ($Action) {
    'install' {
        Provision
        New-ServiceFabricApplication -ApplicationName $application -ApplicationTypeName $type `
            -ApplicationTypeVersion $version -ApplicationParameter $parameters
    }
    'upgrade' {
        Provision
        Start-ServiceFabricApplicationUpgrade -ApplicationName $application -ApplicationTypeVersion $version `
            -ApplicationParameter $parameters -Monitored -FailureAction Rollback
    }
    'remove' {
        Remove-ServiceFabricApplication -ApplicationName $application -Force
        Unregister-ServiceFabricApplicationType -ApplicationTypeName $type -ApplicationTypeVersion $version -Force
    }
}