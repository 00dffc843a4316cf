// Leakhound on a cluster that Azure Resource Manager knows. Zip the contents of package/ as leakhound.sfpkg and put it where the
// cluster can read it; a change of version and address upgrades. A managed cluster: managedClusters/ in place of clusters/.
@description('Name of the cluster resource.')
param cluster string
@description('Address of leakhound.sfpkg, such as a blob with a read-only signature.')
@secure()
param package string
param placementConstraints string = ''
param memoryInMB string = '2048'
param cpuPercent string = '20'
param log string = 'info'
@secure()
param LEAKHOUND_WEBHOOK string

resource type 'Microsoft.ServiceFabric/clusters/applicationTypes@2021-06-01' = {
  name: '${cluster}/LeakhoundType'
}

resource version 'Microsoft.ServiceFabric/clusters/applicationTypes/versions@2021-06-01' = {
  parent: type
  name: '0.1.0'
  properties: {
    appPackageUrl: package
  }
}

resource application 'Microsoft.ServiceFabric/clusters/applications@2021-06-01' = {
  name: '${cluster}/Leakhound'
  properties: {
    typeName: 'LeakhoundType'
    typeVersion: '0.1.0'
    parameters: {
      PlacementConstraints: placementConstraints
      MemoryInMB: memoryInMB
      CpuPercent: cpuPercent
      Log: log
      LEAKHOUND_WEBHOOK: LEAKHOUND_WEBHOOK
    }
    upgradePolicy: {
      rollingUpgradeMonitoringPolicy: {
        failureAction: 'Rollback'
        healthCheckWaitDuration: '00:00:30'
        healthCheckStableDuration: '00:01:00'
        healthCheckRetryTimeout: '00:10:00'
        upgradeDomainTimeout: '00:20:00'
        upgradeTimeout: '12:00:00'
      }
    }
  }
  dependsOn: [ version ]
}