//! Message echo: from the POST of a message to the gateway's event of it. The event may come before the POST's own answer,
//! which alone tells the message's id.

use std::collections::VecDeque;
use std::time::Duration;

use model::{Measurement, Metric};
use tokio::time::Instant;

use crate::main_bot::MainBot;
use crate::recorder::{lock, micros, stamps};
use crate::rest::Timing;
use crate::snowflake::Snowflake;

/// An event that has not come by then does not come any more (a lost session that could not be resumed).
const LONGEST: Duration = Duration::from_secs(60);
const MOST: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Echoes {
    posted: VecDeque<Echo>,
    heard: VecDeque<(Snowflake, Instant)>,
}

/// A post whose answer came.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Echo {
    message: Snowflake,
    /// When the request that made it was sent.
    pub(super) sent: Instant,
    pub(super) timing: Timing,
}

impl Echoes {
    /// Answers with the echo's end if the event was there first.
    pub(super) fn posted(&mut self, message: Snowflake, sent: Instant, timing: Timing) -> Option<(Echo, Instant)> {
        let echo = Echo { message, sent, timing };
        if let Some(at) = self.heard.iter().position(|(heard, _)| *heard == message) {
            let (_, heard) = self.heard.remove(at)?;
            return Some((echo, heard));
        }
        if self.posted.len() >= MOST {
            self.posted.pop_front();
        }
        self.posted.push_back(echo);
        None
    }

    /// Answers with the echo if the post's answer was there first.
    pub(super) fn heard(&mut self, message: Snowflake, at: Instant) -> Option<Echo> {
        match self.posted.iter().position(|echo| echo.message == message) {
            Some(index) => self.posted.remove(index),
            None => {
                if self.heard.len() >= MOST {
                    self.heard.pop_front();
                }
                self.heard.push_back((message, at));
                None
            }
        }
    }

    pub(super) fn overdue(&mut self, now: Instant) -> Vec<Echo> {
        self.heard.retain(|(_, at)| now.saturating_duration_since(*at) < LONGEST);
        // In the order of their sending.
        let late = self.posted.iter().take_while(|echo| now.saturating_duration_since(echo.sent) >= LONGEST).count();
        self.posted.drain(..late).collect()
    }
}

/// Records an echo that was heard at `at`.
pub(super) fn keep(bot: &MainBot, echo: &Echo, at: Instant) {
    let mut measured = begun(bot, echo);
    let app = at.saturating_duration_since(echo.sent);
    measured.app_us = Some(micros(app));
    let span = i64::try_from(app.as_nanos()).unwrap_or(i64::MAX);
    stamps(&mut measured, echo.timing.sent_at, echo.timing.sent_at.plus(span));
    bot.vitals.recorder.keep(measured, echo.sent);
}

/// Records the echoes that never came.
pub(super) fn give_up(bot: &MainBot) {
    let late = lock(&bot.echoes).overdue(Instant::now());
    for echo in late {
        let mut measured = begun(bot, &echo);
        measured.flag("timeout");
        (measured.sent_us, measured.received_us) = (None, None);
        bot.vitals.recorder.keep(measured, echo.sent);
    }
}

fn begun(bot: &MainBot, echo: &Echo) -> Measurement {
    let mut measured = Measurement::new(Metric::MessageEcho, echo.timing.sent_at);
    bot.vitals.recorder.timed(&mut measured, &echo.timing);
    measured.target = "POST /channels/{}/messages".to_owned();
    measured
}

#[cfg(test)]
mod tests {
    use model::UnixNanos;

    use super::*;

    fn timing() -> Timing {
        Timing {
            sent_at: UnixNanos(0),
            received_at: UnixNanos(0),
            app: Duration::ZERO,
            wait: Duration::ZERO,
            network: None,
            peer: "127.0.0.1:1".parse().unwrap(),
            edge: None,
            status: 200,
            date_s: None,
        }
    }

    #[test]
    fn either_end_may_come_first() {
        let (mut echoes, now) = (Echoes::default(), Instant::now());
        let later = now + Duration::from_millis(30);
        assert_eq!(echoes.heard(Snowflake(1), later), None);
        let (echo, heard) = echoes.posted(Snowflake(1), now, timing()).unwrap();
        assert_eq!((echo.sent, heard), (now, later));
        assert_eq!(echoes.posted(Snowflake(2), now, timing()), None);
        assert_eq!(echoes.heard(Snowflake(2), later).map(|echo| echo.sent), Some(now));
        // Each only once.
        assert_eq!(echoes.heard(Snowflake(2), later), None);
    }

    #[test]
    fn what_never_comes_is_given_up_once() {
        let (mut echoes, now) = (Echoes::default(), Instant::now());
        echoes.posted(Snowflake(1), now, timing());
        assert!(echoes.overdue(now + LONGEST / 2).is_empty());
        assert_eq!(echoes.overdue(now + LONGEST).len(), 1);
        assert!(echoes.overdue(now + LONGEST).is_empty());
    }
}
