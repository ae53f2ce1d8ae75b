//! How a worker comes to its credential: the stored one, or a join string's token exchanged for one.

use std::path::Path;
use std::time::Duration;

use model::WorkerName;

use crate::backoff::Backoff;
use crate::config::{WorkerConfig, host_name};
use crate::credential::Credential;
use crate::error::WorkerError;
use crate::join::JoinString;
use crate::uplink::Uplink;

/// How often a first join is tried while the server is away: long enough for a server that starts at the same time.
const TRIES: u32 = 6;

/// An uplink with the worker's credential, which is stored.
pub(crate) async fn admit(config: &WorkerConfig) -> Result<(Uplink, WorkerName), WorkerError> {
    let stored = Credential::load(&config.data_dir)?;
    match (stored, &config.join) {
        (Some(stored), None) => uplink_of(stored),
        (None, None) => Err(WorkerError::NotJoined { data_dir: config.data_dir.clone() }),
        (None, Some(join)) => enroll_and_store(config, join).await,
        // Service units keep the join string they were installed with, long after its token was used up.
        (Some(stored), Some(join)) if stored.fingerprint == join.fingerprint => {
            let current = Credential { server: join.server.clone(), ..stored.clone() };
            let (uplink, name) = uplink_of(current.clone())?;
            match uplink.tasks().await {
                Err(WorkerError::Revoked { .. }) => {
                    tracing::info!("the stored credential is not valid any more; joining again");
                    enroll_and_store(config, join).await
                }
                _ => {
                    if current != stored {
                        current.store(&config.data_dir)?;
                    }
                    Ok((uplink, name))
                }
            }
        }
        (Some(stored), Some(join)) => {
            tracing::info!("the join string is of another server than {}; joining that one", stored.server);
            enroll_and_store(config, join).await
        }
    }
}

fn uplink_of(credential: Credential) -> Result<(Uplink, WorkerName), WorkerError> {
    let uplink = Uplink::new(credential.server, credential.fingerprint, credential.secret)?;
    Ok((uplink, credential.name))
}

async fn enroll_and_store(config: &WorkerConfig, join: &JoinString) -> Result<(Uplink, WorkerName), WorkerError> {
    let name = config.name.clone().unwrap_or_else(host_name);
    let credential = enroll(join, name, false).await?;
    credential.store(&config.data_dir)?;
    tracing::info!("joined {} as {}", credential.server, credential.name);
    uplink_of(credential)
}

/// Exchanges the token; tries again for a while if the server is away.
pub(crate) async fn enroll(join: &JoinString, name: WorkerName, ephemeral: bool) -> Result<Credential, WorkerError> {
    let uplink = Uplink::new(join.server.clone(), join.fingerprint, join.token.clone())?;
    let mut backoff = Backoff::default();
    let tries = if ephemeral { 1 } else { TRIES };
    let mut tried = 0;
    let enrolled = loop {
        tried += 1;
        match uplink.enroll(name.clone(), ephemeral).await {
            Ok(enrolled) => break enrolled,
            Err(error) if error.is_transient() && tried < tries => {
                let wait: Duration = backoff.next();
                tracing::warn!("{error}; trying again in {:.1} s", wait.as_secs_f64());
                tokio::time::sleep(wait).await;
            }
            Err(error) => return Err(error),
        }
    };
    Ok(Credential {
        server: join.server.clone(),
        fingerprint: join.fingerprint,
        name: enrolled.name,
        secret: crate::join::Secret::new(enrolled.credential),
    })
}

/// The stored credential, for one measurement; not while a worker uses it, whose sessions the server would then end.
pub(crate) fn borrow(data_dir: &Path) -> Result<Option<(Credential, std::fs::File)>, WorkerError> {
    match Credential::load(data_dir)? {
        Some(credential) => Ok(Some((credential, crate::credential::claim(data_dir)?))),
        None => Ok(None),
    }
}
