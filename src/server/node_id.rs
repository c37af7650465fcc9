//! This node's id: made at the first start, kept in the data folder, never changed.

use std::io;
use std::path::Path;

use uuid::Uuid;

/// The id kept in `folder`; a new one when there is none. A file that holds no id is replaced: nothing depends on it
/// but telemetry.
pub(super) fn read_or_make(folder: &Path) -> io::Result<Uuid> {
    let path = folder.join("node-id");
    let kept = match std::fs::read_to_string(&path) {
        Ok(text) => Uuid::parse_str(text.trim()).ok(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    match kept {
        Some(id) => Ok(id),
        None => {
            let id = Uuid::new_v4();
            std::fs::write(&path, format!("{id}\n"))?;
            Ok(id)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_stays() {
        let folder = tempfile::tempdir().unwrap();
        let first = read_or_make(folder.path()).unwrap();
        assert_eq!(read_or_make(folder.path()).unwrap(), first);
        std::fs::write(folder.path().join("node-id"), "torn").unwrap();
        let second = read_or_make(folder.path()).unwrap();
        assert_ne!(second, first);
        assert_eq!(read_or_make(folder.path()).unwrap(), second);
    }
}
