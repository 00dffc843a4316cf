//! Where the agent's configuration comes from: a file, or a config package of Service Fabric.
//!
//! Service Fabric lays each version of a config package into a folder of its own, and a guest executable is not told when another
//! comes into force. `PACKAGE.Package.Current.xml` in the application's folder says which one is; it is read again and again.

use anyhow::{Context, anyhow, bail, ensure};
use std::path::{Path, PathBuf};

/// What a config package must hold.
const FILE: &str = "leakhound.toml";
/// Such files have some kilobytes.
const CURRENT_LIMIT_BYTES: u64 = 4 << 20;

/// Where the configuration is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Always here.
    File(PathBuf),
    /// In the version of this config package that is in force.
    Package(ConfigPackage),
}

/// A config package of the service package that we are part of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigPackage {
    /// The application's folder on this node.
    folder: PathBuf,
    /// `LeakhoundPkg`.
    service_package: String,
    /// Set where each service has a process of its own.
    activation: Option<String>,
    /// `Config`.
    name: String,
}

impl Source {
    /// The file that is in force now.
    pub fn path(&self) -> anyhow::Result<PathBuf> {
        match self {
            Self::File(path) => Ok(path.clone()),
            Self::Package(package) => package.path(),
        }
    }

    /// The folder in which something changes when the configuration does. Editors and config maps replace the file, so the
    /// folder is what can be watched.
    pub fn folder(&self) -> &Path {
        match self {
            Self::File(path) => path
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty())
                .unwrap_or(Path::new(".")),
            Self::Package(package) => &package.folder,
        }
    }
}

impl From<&Path> for Source {
    fn from(path: &Path) -> Self {
        Self::File(path.to_owned())
    }
}

impl ConfigPackage {
    /// The one called `name`, by the environment that Service Fabric gives to a code package.
    pub fn named(
        name: &str,
        variable: impl Fn(&str) -> Option<String>,
    ) -> anyhow::Result<ConfigPackage> {
        let need = |key: &str| {
            variable(key).filter(|value| !value.is_empty()).with_context(|| {
                format!("--config-package is for programs that Service Fabric starts: {key} is not set")
            })
        };
        let package = ConfigPackage {
            folder: need("Fabric_Folder_Application")?.into(),
            service_package: need("Fabric_ServicePackageName")?,
            activation: variable("Fabric_ServicePackageActivationId").filter(|id| !id.is_empty()),
            name: name.to_owned(),
        };
        for part in [
            Some(&package.service_package),
            package.activation.as_ref(),
            Some(&package.name),
        ]
        .into_iter()
        .flatten()
        {
            check_name(part)?;
        }
        Ok(package)
    }

    /// Which version of each package is in force.
    fn current(&self) -> PathBuf {
        let activation = self.activation.iter().flat_map(|id| [".", id.as_str()]);
        let name: String = [self.service_package.as_str()]
            .into_iter()
            .chain(activation)
            .chain([".Package.Current.xml"])
            .collect();
        self.folder.join(name)
    }

    fn path(&self) -> anyhow::Result<PathBuf> {
        let current = self.current();
        let about = || {
            format!(
                "cannot read which version of {} is in force: {}",
                self.name,
                current.display()
            )
        };
        let size = std::fs::metadata(&current).with_context(about)?.len();
        ensure!(
            size <= CURRENT_LIMIT_BYTES,
            "{}: expected at most {CURRENT_LIMIT_BYTES} bytes, found {size}",
            current.display()
        );
        let text = std::fs::read_to_string(&current).with_context(about)?;
        let version = version(&text, &self.name).with_context(about)?;
        let folder = format!("{}.{}.{version}", self.service_package, self.name);
        Ok(self.folder.join(folder).join(FILE))
    }
}

/// The version of config package `name`.
fn version(xml: &str, name: &str) -> anyhow::Result<String> {
    // Windows writes a mark at the beginning.
    let document = roxmltree::Document::parse(xml.trim_start_matches('\u{feff}'))?;
    let package = document
        .descendants()
        .filter(|node| node.tag_name().name() == "ConfigPackage")
        .find(|node| node.attribute("Name") == Some(name))
        .ok_or_else(|| anyhow!("it names no ConfigPackage {name}"))?;
    let Some(version) = package.attribute("Version") else {
        bail!("its ConfigPackage {name} has no Version");
    };
    check_name(version)?;
    Ok(version.to_owned())
}

/// A part of a path that must not lead elsewhere.
fn check_name(part: &str) -> anyhow::Result<()> {
    let leads_on = part.contains(['/', '\\', '\0']) || part == "." || part == "..";
    ensure!(
        !part.is_empty() && !leads_on,
        "{part:?} is no name of a package and no version"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CURRENT: &str = r#"<?xml version="1.0"?>
<ServicePackage xmlns="http://schemas.microsoft.com/2011/01/fabric" Name="LeakhoundPkg" ManifestVersion="2" RolloutVersion="2.0">
  <DigestedCodePackage RolloutVersion="1.0"><CodePackage Name="Code" Version="1"/></DigestedCodePackage>
  <DigestedConfigPackage RolloutVersion="2.0"><ConfigPackage Name="Config" Version="VERSION"/></DigestedConfigPackage>
</ServicePackage>"#;

    fn package(folder: &Path, activation: &str) -> anyhow::Result<ConfigPackage> {
        ConfigPackage::named("Config", |key| {
            Some(match key {
                "Fabric_Folder_Application" => folder.display().to_string(),
                "Fabric_ServicePackageName" => "LeakhoundPkg".to_owned(),
                "Fabric_ServicePackageActivationId" => activation.to_owned(),
                _ => return None,
            })
        })
    }

    #[test]
    fn the_version_in_force_is_followed() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        for (activation, file) in [
            ("", "LeakhoundPkg.Package.Current.xml"),
            ("a1b2", "LeakhoundPkg.a1b2.Package.Current.xml"),
        ] {
            let source = Source::Package(package(folder.path(), activation)?);
            assert_eq!(source.folder(), folder.path());
            for version in ["0.1.0", "0.1.0-2"] {
                std::fs::write(
                    folder.path().join(file),
                    CURRENT.replace("VERSION", version),
                )?;
                let expected = format!("LeakhoundPkg.Config.{version}/leakhound.toml");
                assert_eq!(source.path()?, folder.path().join(expected));
            }
        }
        Ok(())
    }

    #[test]
    fn what_is_no_package_is_refused_with_a_reason() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let source = Source::Package(package(folder.path(), "")?);
        let file = folder.path().join("LeakhoundPkg.Package.Current.xml");
        for (text, reason) in [
            (None, "Package.Current.xml"),
            (Some("<ServicePackage".to_owned()), "in force"),
            (
                Some(CURRENT.replace("\"Config\"", "\"Other\"")),
                "no ConfigPackage Config",
            ),
            (
                Some(CURRENT.replace(" Version=\"VERSION\"", "")),
                "no Version",
            ),
            (
                Some(CURRENT.replace("VERSION", "../../../etc")),
                "no version",
            ),
        ] {
            if let Some(text) = text {
                std::fs::write(&file, text)?;
            }
            let error = format!("{:#}", source.path().expect_err(reason));
            assert!(error.contains(reason), "{error}");
        }
        let error = ConfigPackage::named("Config", |_| None).expect_err("no environment");
        assert!(
            error
                .to_string()
                .contains("Fabric_Folder_Application is not set"),
            "{error}"
        );
        assert!(package(Path::new("/x"), "../y").is_err());
        Ok(())
    }
}
