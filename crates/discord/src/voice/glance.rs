//! A short stay at a voice server, for `netlat check`: a few heartbeats, and out again.

use std::time::Duration;

use crate::rest::{Endpoint, Trust};
use crate::voice::frame::Admission;
use crate::voice::session::{Left, Memory, Session, VoiceBeat};

/// Between heartbeats, and as long as one is waited for. A server asks for fewer and takes more; a look of half a minute cannot wait for
/// its pace.
const PACE: Duration = Duration::from_millis(1500);

/// Tells each heartbeat; ends well after `beats` of them.
pub(crate) async fn glance(
    endpoint: &Endpoint,
    trust: &Trust,
    admission: &Admission,
    beats: usize,
    told: &mut dyn FnMut(VoiceBeat),
) -> Result<(), Left> {
    let mut memory = Memory::default();
    let (mut session, interval) = Session::open(endpoint, trust, admission, &mut memory).await?;
    let (enough, done) = tokio::sync::oneshot::channel();
    let (mut enough, mut seen) = (Some(enough), 0);
    let mut told = |beat: VoiceBeat| {
        seen += 1;
        told(beat);
        if seen >= beats
            && let Some(enough) = enough.take()
        {
            let _ = enough.send(());
        }
    };
    tokio::select! {
        left = session.stay(interval.min(PACE), &mut told) => Err(left),
        _ = done => Ok(()),
    }
}
