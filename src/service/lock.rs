//! One process per storage folder.

use std::fs::{File, TryLockError};
use std::path::Path;

use super::settings::OpenError;

const LOCK_FILE: &str = "quiver.lock";

/// The folder is ours until this is dropped, or the process ends in whatever way.
pub(super) struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Creates `folder` if it is missing and takes it.
    pub(super) fn take(folder: &Path) -> Result<FolderLock, OpenError> {
        let unusable = |source| OpenError::Folder { path: folder.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(unusable)?;
        let file =
            File::options().create(true).truncate(false).write(true).open(folder.join(LOCK_FILE)).map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => Ok(FolderLock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: folder.to_owned() }),
            Err(TryLockError::Error(source)) => Err(unusable(source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_owner_until_the_lock_is_dropped() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("a/b");
        let lock = FolderLock::take(&folder).unwrap();
        assert!(matches!(FolderLock::take(&folder), Err(OpenError::InUse { path }) if path == folder));
        drop(lock);
        FolderLock::take(&folder).unwrap();
    }

    #[test]
    fn a_file_in_the_place_of_the_folder_is_reported() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("file");
        std::fs::write(&path, b"").unwrap();
        assert!(matches!(FolderLock::take(&path), Err(OpenError::Folder { .. })));
    }
}
