//! Voice, for measuring only: enters a channel, stays without a sound, and times the voice gateway's heartbeats and IP
//! discovery to the server that Discord chose.

mod admission;
mod frame;
mod glance;
mod reach;
mod session;

use std::time::Duration;

use model::{Measurement, Metric, WorkerName};
use tokio::sync::mpsc;
use tokio::time::Instant;
use twilight_gateway::MessageSender;

use crate::gateway::Event;
use crate::recorder::{lock, micros, stamps};
use crate::rest::{Endpoint, Trust};
use crate::snowflake::Snowflake;
use crate::turns::Want;
use crate::vitals::Vitals;
use crate::voice::admission::Moved;
pub(crate) use crate::voice::admission::{Known, Seat};
use crate::voice::frame::Admission;
pub(crate) use crate::voice::frame::voice_state;
pub(crate) use crate::voice::glance::glance;
pub(crate) use crate::voice::reach::{VoiceHost, ping_forever};
pub(crate) use crate::voice::session::{Left, VoiceBeat};
use crate::voice::session::{Memory, Session};

/// Discord answers op 4 within this, or looks for a server for longer and says so with a null endpoint.
const ADMISSION: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// What was refused for want of encryption is asked for again only after this.
const REFUSED_PAUSE: Duration = Duration::from_secs(3600);
const UNGRANTED: Duration = Duration::from_secs(600);
const IDLE: Duration = Duration::from_secs(1);
/// Resumes of one admission in a row that came to nothing.
const RESUMES: u32 = 3;

pub(crate) struct Voice {
    pub(crate) seat: Seat,
    pub(crate) trust: Trust,
    pub(crate) sender: MessageSender,
    pub(crate) events: mpsc::Receiver<Event>,
    /// Shares its account with others, so that it waits for its turn; under this name.
    pub(crate) turns: Option<WorkerName>,
}

impl Voice {
    /// Measures for ever, as long as the settings say so.
    pub(crate) async fn run(&mut self, vitals: &Vitals) {
        let mut pause = FIRST_PAUSE;
        let mut is_in = false;
        loop {
            let wanted = lock(&vitals.settings).voice != Some(false) && !vitals.recorder.is_paused();
            if !wanted {
                if std::mem::take(&mut is_in) {
                    self.leave();
                }
                while self.events.try_recv().is_ok() {}
                tokio::time::sleep(IDLE).await;
                continue;
            }
            let Some(turn) = self.turn(vitals).await else { continue };
            is_in = true;
            let outcome = self.stay(vitals).await;
            if let Some(message) = turn {
                self.leave();
                is_in = false;
                if let Err(error) = vitals.rest.delete(vitals.channel, message).await {
                    tracing::debug!("{error}");
                }
            }
            let wait = match outcome {
                Ok(()) => {
                    pause = FIRST_PAUSE;
                    Duration::ZERO
                }
                Err(Left::Encryption(code)) => {
                    tracing::warn!(
                        "the voice server refuses this bot for want of end-to-end encryption ({code}); everything else is measured, and voice is tried again in an hour"
                    );
                    self.refused(vitals, "dave-refused");
                    self.leave();
                    REFUSED_PAUSE
                }
                Err(left) => {
                    tracing::debug!(?left, "not in voice now");
                    self.leave();
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    pause.mul_f64(0.5 + fastrand::f64() / 2.0)
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// The message that asked for the turn, if turns are taken. `None`: not now.
    async fn turn(&self, vitals: &Vitals) -> Option<Option<Snowflake>> {
        let Some(worker) = &self.turns else { return Some(None) };
        match vitals.rest.turn(vitals.channel, worker, Want::Voice).await {
            Ok(Some(message)) => Some(Some(message)),
            Ok(None) => {
                tracing::info!("no server bot grants turns in voice; asking again in ten minutes");
                tokio::time::sleep(UNGRANTED).await;
                None
            }
            Err(error) => {
                tracing::debug!("no turn in voice: {error}");
                tokio::time::sleep(FIRST_PAUSE).await;
                None
            }
        }
    }

    fn command(&self, json: String) {
        if let Err(error) = self.sender.send(json) {
            tracing::debug!(%error, "the gateway is gone");
        }
    }

    pub(crate) fn leave(&self) {
        self.command(voice_state(self.seat.guild, None));
    }

    fn refused(&self, vitals: &Vitals, word: &str) {
        let mut measured = Measurement::new(Metric::VoiceHeartbeat, vitals.clock.now());
        measured.flag(word);
        vitals.recorder.keep(measured, Instant::now());
    }

    /// Ends well where the settings, or whoever moves the bot out of the channel, ask for it.
    async fn stay(&mut self, vitals: &Vitals) -> Result<(), Left> {
        while self.events.try_recv().is_ok() {}
        self.command(voice_state(self.seat.guild, Some(self.seat.channel)));
        let mut known = Known::default();
        let until = self.turns.is_some().then(|| Instant::now() + vitals.pace.voice_lease);
        // Each server that Discord names, until it names another.
        loop {
            let (admission, endpoint, target) = self.admission(&mut known).await?;
            tracing::info!(server = %target, "in voice");
            *lock(&vitals.voice_server) = Some(VoiceHost {
                endpoint: endpoint.clone(),
                target: target.clone(),
                named: Instant::now(),
                beaten: None,
            });
            let at_server = at_server(vitals, &self.trust, &endpoint, &admission, &target);
            let moved = tokio::select! {
                left = at_server => return Err(left),
                moved = moved(&mut self.events, &self.seat, &mut known) => moved,
                () = unwanted(vitals) => return Ok(()),
                () = lease(until) => return Ok(()),
            };
            match moved {
                Moved::ToAnotherServer => {}
                Moved::Out => return Ok(()),
            }
        }
    }

    /// Waits for both halves of an admission, in whichever order they come.
    async fn admission(&mut self, known: &mut Known) -> Result<(Admission, Endpoint, String), Left> {
        let both = async {
            loop {
                if let Some(found) = known.admission(&self.seat) {
                    return Some(found);
                }
                known.learn(self.events.recv().await?, &self.seat);
            }
        };
        let found = tokio::time::timeout(ADMISSION, both).await.ok().flatten();
        found.unwrap_or_else(|| Err(Left::Broken("Discord gave no voice server".to_owned())))
    }
}

/// Measures at one server, over as many connections as it takes.
async fn at_server(vitals: &Vitals, trust: &Trust, endpoint: &Endpoint, admission: &Admission, target: &str) -> Left {
    let mut memory = Memory::default();
    let mut resumes = 0;
    loop {
        let mut beats = 0;
        let left = match Session::open(endpoint, trust, admission, &mut memory).await {
            Ok((mut session, interval)) => {
                let mut told = |beat: VoiceBeat| {
                    beats += u32::from(beat.app.is_some());
                    keep(vitals, &beat, target);
                };
                session.stay(interval, &mut told).await
            }
            Err(left) => left,
        };
        match left {
            Left::Broken(problem) if resumes < RESUMES || beats > 0 => {
                tracing::debug!(%problem, "the voice connection ended; resuming");
                resumes = if beats > 0 { 1 } else { resumes + 1 };
                // At once where it worked before.
                tokio::time::sleep(if beats > 0 { Duration::ZERO } else { FIRST_PAUSE }).await;
            }
            left => return left,
        }
    }
}

/// Until Discord names another server, or takes the bot out of the channel.
async fn moved(events: &mut mpsc::Receiver<Event>, seat: &Seat, known: &mut Known) -> Moved {
    while let Some(event) = events.recv().await {
        if let Some(moved) = known.learn(event, seat) {
            return moved;
        }
    }
    std::future::pending().await
}

/// Never where the account is this bot's alone.
async fn lease(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

async fn unwanted(vitals: &Vitals) {
    while lock(&vitals.settings).voice != Some(false) && !vitals.recorder.is_paused() {
        tokio::time::sleep(IDLE).await;
    }
}

fn keep(vitals: &Vitals, beat: &VoiceBeat, target: &str) {
    let span = beat.sent.elapsed();
    let now = vitals.clock.now();
    let sent_at = now.plus(-i64::try_from(span.as_nanos()).unwrap_or_default());
    let mut measured = Measurement::new(Metric::VoiceHeartbeat, sent_at);
    measured.target = target.to_owned();
    measured.network_us = beat.network.map(micros);
    measured.connect_us = beat.connect.map(micros);
    measured.udp_us = beat.udp.map(micros);
    measured.icmp_us = beat.icmp.map(micros);
    measured.dns_us = beat.dns.map(|(_, took)| micros(took));
    measured.resolver = beat.dns.map(|(resolver, _)| resolver.to_canonical());
    match beat.app {
        Some(app) => {
            if let Some(host) = &mut *lock(&vitals.voice_server) {
                host.beaten = Some(Instant::now());
            }
            measured.app_us = Some(micros(app));
            let received = sent_at.plus(i64::try_from(app.as_nanos()).unwrap_or_default());
            stamps(&mut measured, sent_at, received);
        }
        None => measured.flag("timeout"),
    }
    vitals.recorder.keep(measured, beat.sent);
}
