//! What a person found out about a capture: the answer that diagnoses are measured against.

use crate::archive::Archive;
use crate::bundle::{Bundle, LABEL_FILE};
use crate::error::{ArchiveError, Result};
use serde::{Deserialize, Serialize};

/// The right answer, as somebody who looked into it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Label {
    /// Categories that are right, the main one first; none when the process was well.
    #[serde(default)]
    pub categories: Vec<String>,
    /// What is to blame, or a part of its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub culprit: Option<String>,
    /// Anything worth remembering.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Archive {
    /// Labels a bundle; an earlier label is replaced.
    ///
    /// # Errors
    /// The label cannot be written.
    pub fn label(&self, bundle: &Bundle, label: &Label) -> Result<()> {
        // Texts and options of texts always serialize.
        self.put_file(
            bundle,
            LABEL_FILE,
            &serde_json::to_vec_pretty(label).unwrap_or_default(),
        )
    }

    /// Takes the label off a bundle.
    ///
    /// # Errors
    /// The label cannot be removed.
    pub fn unlabel(&self, bundle: &Bundle) -> Result<()> {
        let path = bundle.path().join(LABEL_FILE);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(ArchiveError::io("remove", &path, error))
            }
            _ => Ok(()),
        }
    }
}

impl Bundle {
    /// Its label, when it has one.
    ///
    /// # Errors
    /// The label is there and cannot be read.
    pub fn label(&self) -> Result<Option<Label>> {
        if self.has(LABEL_FILE) {
            self.read_json(LABEL_FILE).map(Some)
        } else {
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::manifest::Manifest;

    #[test]
    fn a_label_is_kept_replaced_and_taken_off() {
        let folder = tempfile::tempdir().unwrap();
        let archive = Archive::open_or_create(folder.path()).unwrap();
        let writer = archive
            .begin("Shop.Cart", jiff::Timestamp::UNIX_EPOCH, "node-1", 7)
            .unwrap();
        let bundle = writer.seal(Manifest::default()).unwrap();
        assert_eq!(bundle.label().unwrap(), None);
        let mut label = Label {
            categories: vec!["static-root".to_owned()],
            culprit: Some("Shop.Cart.Lines".to_owned()),
            note: None,
        };
        archive.label(&bundle, &label).unwrap();
        assert_eq!(bundle.label().unwrap().as_ref(), Some(&label));
        label.categories.clear();
        archive.label(&bundle, &label).unwrap();
        assert_eq!(bundle.label().unwrap(), Some(label));
        archive.unlabel(&bundle).unwrap();
        archive.unlabel(&bundle).unwrap();
        assert_eq!(bundle.label().unwrap(), None);
        std::fs::write(bundle.path().join(LABEL_FILE), "{\"category\": 5}").unwrap();
        assert!(bundle.label().is_err());
    }
}
