//! Turns among bots that share a token: identifies are few (one in five seconds, a thousand a day), and an account has one
//! voice seat in a guild. A main bot asks in its channel, the server bot grants with a reaction, one after the other.

use std::collections::VecDeque;
use std::time::Duration;

use model::WorkerName;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::batch::fenced;
use crate::error::BotError;
use crate::rest::{Call, Rest, RestError};
use crate::snowflake::Snowflake;

pub const SCHEMA: &str = "turn/1";
/// How a turn is granted: a check mark, as it stands in a message and in a path.
const GRANTED: (&str, &str) = ("\u{2705}", "%E2%9C%85");
/// And how it is noted that somebody waits: an hourglass.
const NOTED: (&str, &str) = ("\u{23f3}", "%E2%8F%B3");

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Want {
    /// To identify at the gateway.
    Identify,
    /// The voice seat, for [`crate::Pace::voice_lease`] at most.
    Voice,
}

/// A bot that has not given the voice seat back so long after its lease ended is taken to be gone.
const VOICE_OVERDUE: Duration = Duration::from_secs(60);
/// Discord's: one identify in five seconds (`max_concurrency` 1); and as much more as a bot takes to see its turn.
const IDENTIFY_SPACING: Duration = Duration::from_millis(7500);
/// Between a bot's looks whether its turn has come: fifty of them stay below what one token may ask.
const POLL: Duration = Duration::from_secs(2);
/// Whoever grants turns notes a request within this; a queue of fifty is through in the other.
const NOTICE: Duration = Duration::from_secs(30);
pub(crate) const QUEUE: Duration = Duration::from_secs(3600);
/// Bots of one deployment that wait at a time.
const MOST: usize = 1_000;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    pub netlat: String,
    pub worker: WorkerName,
    pub want: Want,
}

impl Ask {
    pub fn text(worker: &WorkerName, want: Want) -> String {
        let ask = Ask { netlat: SCHEMA.to_owned(), worker: worker.clone(), want };
        // Plain data with string keys: writing it cannot fail.
        let json = serde_json::to_string(&ask).unwrap_or_default();
        let what = match want {
            Want::Identify => "to log in at the gateway",
            Want::Voice => "in voice",
        };
        format!("`{worker}` waits for its turn {what}.\n```json\n{json}\n```")
    }

    pub fn read(content: &str) -> Option<Ask> {
        let ask: Ask = serde_json::from_str(fenced(content)?).ok()?;
        (ask.netlat == SCHEMA).then_some(ask)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    pub channel: Snowflake,
    pub message: Snowflake,
    pub want: Want,
}

/// Whose turn it is; times are since any fixed moment.
#[derive(Debug)]
pub struct Turns {
    voice_lease: Duration,
    waiting: VecDeque<Request>,
    voice: Option<(Request, Duration)>,
    next_identify: Duration,
    /// Messages whose turn was granted, the newest last.
    granted: VecDeque<Snowflake>,
}

impl Turns {
    pub fn new(voice_lease: Duration) -> Turns {
        Turns {
            voice_lease,
            waiting: VecDeque::new(),
            voice: None,
            next_identify: Duration::ZERO,
            granted: VecDeque::new(),
        }
    }

    /// False if it is known already: it waits, or was granted.
    pub fn ask(&mut self, request: Request) -> bool {
        let known = self.waiting.iter().any(|waiting| waiting.message == request.message)
            || self.granted.contains(&request.message);
        let is_new = !known && self.waiting.len() < MOST;
        if is_new {
            self.waiting.push_back(request);
        }
        is_new
    }

    /// The message is gone: done, or no longer wanted. False if it asked for nothing.
    pub fn withdraw(&mut self, message: Snowflake) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|waiting| waiting.message != message);
        let held = self.voice.is_some_and(|(holder, _)| holder.message == message);
        self.voice = self.voice.filter(|_| !held);
        let granted = self.granted.iter().position(|granted| *granted == message);
        if let Some(at) = granted {
            self.granted.remove(at);
        }
        held || granted.is_some() || self.waiting.len() < before
    }

    /// Grants what may be granted now.
    pub fn grant(&mut self, now: Duration) -> Vec<Request> {
        let mut granted = Vec::new();
        self.voice = self.voice.filter(|(_, until)| *until > now);
        if self.voice.is_none()
            && let Some(at) = self.waiting.iter().position(|waiting| waiting.want == Want::Voice)
            && let Some(request) = self.waiting.remove(at)
        {
            self.voice = Some((request, now + self.voice_lease + VOICE_OVERDUE));
            granted.push(request);
        }
        if self.next_identify <= now
            && let Some(at) = self.waiting.iter().position(|waiting| waiting.want == Want::Identify)
            && let Some(request) = self.waiting.remove(at)
        {
            self.next_identify = now + IDENTIFY_SPACING;
            granted.push(request);
        }
        self.granted.extend(granted.iter().map(|request| request.message));
        while self.granted.len() > MOST {
            self.granted.pop_front();
        }
        granted
    }
}

#[derive(Deserialize)]
struct WithReactions {
    #[serde(default)]
    reactions: Vec<Reaction>,
}

#[derive(Deserialize)]
struct Reaction {
    emoji: Emoji,
}

#[derive(Deserialize)]
struct Emoji {
    #[serde(default)]
    name: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Unnoticed,
    Noted,
    Granted,
}

impl Rest {
    /// The server bot's word.
    pub async fn grant(&self, request: Request) -> Result<(), RestError> {
        self.react(request, GRANTED.1).await
    }

    /// The server bot has seen it.
    pub async fn note(&self, request: Request) -> Result<(), RestError> {
        self.react(request, NOTED.1).await
    }

    async fn react(&self, request: Request, emoji: &str) -> Result<(), RestError> {
        let Request { channel, message, .. } = request;
        let path = format!("/channels/{channel}/messages/{message}/reactions/{emoji}/@me");
        let call = Call::new("PUT /channels/{}/messages/{}/reactions/{}/@me", channel.0, path);
        self.send(call).await.map(drop)
    }

    async fn standing(&self, channel: Snowflake, message: Snowflake) -> Result<Standing, RestError> {
        let path = format!("/channels/{channel}/messages/{message}");
        let call = Call::new("GET /channels/{}/messages/{}", channel.0, path);
        let message: WithReactions = self.call(call).await?.value;
        let has = |mark: &str| message.reactions.iter().any(|reaction| reaction.emoji.name.as_deref() == Some(mark));
        Ok(match (has(GRANTED.0), has(NOTED.0)) {
            (true, _) => Standing::Granted,
            (false, true) => Standing::Noted,
            (false, false) => Standing::Unnoticed,
        })
    }

    /// Asks for a turn and waits for it. `None`: nobody grants turns. A granted turn ends with the message's deletion.
    pub async fn turn(
        &self,
        channel: Snowflake,
        worker: &WorkerName,
        want: Want,
    ) -> Result<Option<Snowflake>, BotError> {
        let message = self.post(channel, &Ask::text(worker, want), None, None).await?.value.id;
        let began = Instant::now();
        loop {
            tokio::time::sleep(POLL.mul_f64(0.75 + fastrand::f64() / 4.0)).await;
            let outcome = match self.standing(channel, message).await {
                Ok(Standing::Granted) => return Ok(Some(message)),
                Ok(Standing::Noted) if began.elapsed() < QUEUE => continue,
                Ok(Standing::Unnoticed) if began.elapsed() < NOTICE => continue,
                Ok(_) => Ok(None),
                Err(error) => Err(error.into()),
            };
            // Not waited for any longer. Where even this fails, the server bot's own bound ends the turn.
            let _ = self.delete(channel, message).await;
            return outcome;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(message: u64, want: Want) -> Request {
        Request { channel: Snowflake(1), message: Snowflake(message), want }
    }

    fn seconds(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    #[test]
    fn identifies_are_spaced_and_the_seat_goes_round() {
        let mut turns = Turns::new(seconds(120));
        for message in 1..=3 {
            turns.ask(request(message, Want::Identify));
            turns.ask(request(10 + message, Want::Voice));
        }
        assert!(!turns.ask(request(1, Want::Identify)));
        assert_eq!(turns.grant(seconds(0)), [request(11, Want::Voice), request(1, Want::Identify)]);
        assert!(!turns.ask(request(1, Want::Identify)), "granted already");
        assert_eq!(turns.grant(seconds(7)), []);
        assert_eq!(turns.grant(seconds(8)), [request(2, Want::Identify)]);
        // Given back, then never given back.
        assert!(turns.withdraw(Snowflake(11)) && !turns.withdraw(Snowflake(11)));
        assert_eq!(turns.grant(seconds(9)), [request(12, Want::Voice)]);
        assert_eq!(turns.grant(seconds(100)), [request(3, Want::Identify)]);
        assert_eq!(turns.grant(seconds(9) + seconds(120) + VOICE_OVERDUE), [request(13, Want::Voice)]);
    }

    #[test]
    fn who_no_longer_wants_a_turn_gets_none() {
        let mut turns = Turns::new(seconds(120));
        turns.ask(request(1, Want::Voice));
        turns.withdraw(Snowflake(1));
        assert_eq!(turns.grant(seconds(0)), []);
    }

    #[test]
    fn what_is_asked_is_read_and_nothing_else() {
        let worker = WorkerName::new("nyc1").unwrap();
        let text = Ask::text(&worker, Want::Voice);
        assert_eq!(Ask::read(&text).map(|ask| (ask.worker, ask.want)), Some((worker, Want::Voice)));
        assert_eq!(Ask::read(&text.replace("turn/1", "turn/2")), None);
        assert!(crate::batch::Batch::read(&text).is_err());
    }
}
