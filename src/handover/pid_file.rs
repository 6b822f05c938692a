//! A file with the process id, for those who send signals by it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Removed with the handle, unless another process has written its own by then.
#[derive(Debug)]
pub struct PidFile(PathBuf);

impl PidFile {
    /// Writes it whole: nobody ever reads half a number.
    ///
    /// # Errors
    /// It can't be written.
    pub fn write(path: &Path) -> io::Result<Self> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        fs::write(&beside, content())?;
        fs::rename(&beside, path)?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if fs::read_to_string(&self.0).is_ok_and(|text| text == content()) {
            fs::remove_file(&self.0).ok();
        }
    }
}

fn content() -> String {
    format!("{}\n", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_with_its_process_and_not_with_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("transom.pid");
        let file = PidFile::write(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), content());
        drop(file);
        assert!(!path.exists());
        let file = PidFile::write(&path).unwrap();
        fs::write(&path, "1\n").unwrap();
        drop(file);
        assert!(path.exists());
    }
}
