//! What can go wrong with the disk, as branches someone takes.

use std::path::PathBuf;

/// A failed storage operation.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// No room on the device (or the reserve is reached). Reads go on; writes succeed again once there is room.
    #[error("no space left on the device that holds {}", path.display())]
    OutOfDisk {
        /// The database's folder.
        path: PathBuf,
    },
    /// Stored bytes are damaged. Never served; the message says which file and what to do.
    #[error("{} is damaged: {what}. {advice}", path.display())]
    Damaged {
        /// The file, or the folder where the file is not known.
        path: PathBuf,
        /// What does not fit.
        what: String,
        /// What to do now.
        advice: &'static str,
    },
    /// The format on disk is newer than this program.
    #[error("{} has format version {found}; this program reads up to {supported}", path.display())]
    FormatVersion {
        /// The file or folder.
        path: PathBuf,
        /// What is stored.
        found: u8,
        /// The newest this program knows.
        supported: u8,
    },
    /// A sync failed: nothing more is acknowledged until the node is reopened.
    #[error("writing {} failed: {what}", path.display())]
    Failed {
        /// The file, or the folder where the file is not known.
        path: PathBuf,
        /// What the system said.
        what: String,
    },
}
