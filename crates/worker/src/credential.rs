//! What the worker keeps of its server, `DATA-DIR/credential.json`, mode 0600; and the lock on the data directory.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use model::WorkerName;
use serde::{Deserialize, Serialize};

use crate::error::WorkerError;
use crate::join::{Fingerprint, Secret, ServerAddress};

const FILE: &str = "credential.json";
const LOCK: &str = "worker.lock";

/// How this worker is known to its server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    pub server: ServerAddress,
    pub fingerprint: Fingerprint,
    pub name: WorkerName,
    pub secret: Secret,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    url: String,
    fingerprint: String,
    name: WorkerName,
    credential: String,
}

impl Credential {
    pub fn path(data_dir: &Path) -> PathBuf {
        data_dir.join(FILE)
    }

    /// `None` if none is stored.
    pub fn load(data_dir: &Path) -> Result<Option<Credential>, WorkerError> {
        let path = Credential::path(data_dir);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(WorkerError::data("reading", path, error)),
        };
        if fs::metadata(&path).is_ok_and(|meta| meta.permissions().mode() & 0o077 != 0) {
            tracing::warn!("{} could be read by others; setting its mode to 0600", path.display());
            let _ = fs::set_permissions(&path, fs::Permissions::from_mode(0o600));
        }
        let bad = |problem: String| WorkerError::BadCredentialFile { path: path.clone(), problem };
        // serde_json's own message may quote what it read.
        let stored: Stored = serde_json::from_slice(&text)
            .map_err(|error| bad(format!("not its JSON at line {}, column {}", error.line(), error.column())))?;
        let address = stored.url.strip_prefix("https://").ok_or_else(|| bad("its url is not https".to_owned()))?;
        Ok(Some(Credential {
            server: address.parse().map_err(|_| bad("its url has no host and port".to_owned()))?,
            fingerprint: stored.fingerprint.parse().map_err(|_| bad("its fingerprint is wrong".to_owned()))?,
            name: stored.name,
            secret: Secret::new(stored.credential),
        }))
    }

    /// Replaces what was stored, whole or not at all.
    pub fn store(&self, data_dir: &Path) -> Result<(), WorkerError> {
        let path = Credential::path(data_dir);
        let stored = Stored {
            url: format!("https://{}", self.server),
            fingerprint: self.fingerprint.to_string(),
            name: self.name.clone(),
            credential: self.secret.reveal().to_owned(),
        };
        let write = || -> io::Result<()> {
            let text = serde_json::to_vec_pretty(&stored)?;
            let aside = path.with_extension("json.new");
            let _ = fs::remove_file(&aside);
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&aside, &path)?;
            File::open(data_dir)?.sync_all()
        };
        write().map_err(|error| WorkerError::data("storing the credential in", &path, error))
    }
}

/// Makes the directory (0700) where it is missing and takes it for this process, as long as the answer lives.
pub fn claim(data_dir: &Path) -> Result<File, WorkerError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data_dir)
        .map_err(|error| WorkerError::data("creating the data directory", data_dir, error))?;
    let path = data_dir.join(LOCK);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| WorkerError::data("opening", &path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(WorkerError::Locked { path: data_dir.to_owned() }),
        Err(TryLockError::Error(error)) => Err(WorkerError::data("locking", path, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_credential_comes_back_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Credential::load(dir.path()).unwrap(), None);
        let credential = Credential {
            server: "[2001:db8::1]:8443".parse().unwrap(),
            fingerprint: Fingerprint([7; 32]),
            name: WorkerName::new("nyc1").unwrap(),
            secret: Secret::new("s3cret".to_owned()),
        };
        credential.store(dir.path()).unwrap();
        assert_eq!(Credential::load(dir.path()).unwrap(), Some(credential));
        let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(Credential::path(dir.path())), 0o600);

        fs::set_permissions(Credential::path(dir.path()), fs::Permissions::from_mode(0o644)).unwrap();
        Credential::load(dir.path()).unwrap();
        assert_eq!(mode(Credential::path(dir.path())), 0o600);
    }

    #[test]
    fn a_broken_file_is_named_and_not_quoted() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(Credential::path(dir.path()), "{\"credential\": \"s3cret\"}").unwrap();
        let error = Credential::load(dir.path()).unwrap_err().to_string();
        assert!(error.contains("credential.json") && !error.contains("s3cret"), "{error}");
    }

    #[test]
    fn a_data_directory_serves_one_worker() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let held = claim(&path).unwrap();
        assert!(matches!(claim(&path), Err(WorkerError::Locked { .. })));
        drop(held);
        claim(&path).unwrap();
    }
}
