//! What only a bot may ask, and only where it was told to: a session of its own on the connections that stand already, for a message's
//! way from its POST to the gateway's event of it, and for a stay in voice.

use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout, timeout_at};

use super::http::{ANSWER, Answer, exchange};
use super::socket::GatewayConnection;
use super::{CheckConfig, Row, Step, voice};
use crate::gateway::{Event, Frame};
use crate::main_bot::intents;
use crate::rest::connection::Connection;
use crate::snowflake::Snowflake;
use crate::types::{Channel, Message, TEXT, VOICE};

/// Below Discord's five messages in five seconds of one channel.
const TIMES: usize = 4;
const PAUSE: Duration = Duration::from_millis(300);
const ENOUGH: Duration = Duration::from_secs(4);
/// An event that was not there by then is not waited for.
const ECHO: Duration = Duration::from_secs(5);
const DELETING: Duration = Duration::from_secs(2);
const CONTENT: &str = "netlat check: how long a message takes (deleted at once)";
/// `SUPPRESS_NOTIFICATIONS`.
const SILENT: u64 = 1 << 12;

/// A session as the bot, on connections of this check's own.
pub(super) struct Session<'a> {
    pub config: &'a CheckConfig,
    rest: Connection,
    pub gateway: GatewayConnection,
    pub me: Snowflake,
    pub until: Instant,
}

/// Adds the rows of what was asked for; of each a row that says why not, where it came to nothing.
pub(super) async fn ask(
    config: &CheckConfig,
    connections: (Option<Connection>, Option<GatewayConnection>),
    until: Instant,
    (rows, notes): (&mut Vec<Row>, &mut Vec<String>),
    progress: &mut dyn FnMut(&str),
) {
    progress("entering as the bot");
    let entered = match connections {
        (Some(rest), Some(gateway)) => enter(config, rest, gateway, until).await,
        (_, Some(gateway)) => {
            gateway.close().await;
            Err("not tried: REST was not well".to_owned())
        }
        _ => Err("not tried: the gateway was not well".to_owned()),
    };
    let mut session = match entered {
        Ok(session) => session,
        Err(problem) => {
            rows.extend(config.channel.map(|channel| Row::failed(Step::MessageEcho, &target(channel), &problem)));
            rows.extend(config.voice.map(|channel| Row::failed(Step::VoiceHeartbeat, &target(channel), &problem)));
            return;
        }
    };
    if let Some(channel) = config.channel {
        progress("timing messages");
        let row = session.echoes(channel, notes).await;
        rows.push(row);
    }
    if let Some(channel) = config.voice {
        progress("staying in voice");
        match session.channel(channel, VOICE).await {
            Ok(found) => voice::stay(&mut session, &found, rows, notes).await,
            Err(problem) => rows.push(Row::failed(Step::VoiceHeartbeat, &target(channel), problem)),
        }
    }
    session.gateway.close().await;
}

fn target(channel: Snowflake) -> String {
    format!("channel {channel}")
}

/// Identifies, which is one of the bot's thousand a day.
async fn enter(
    config: &CheckConfig,
    rest: Connection,
    mut gateway: GatewayConnection,
    until: Instant,
) -> Result<Session<'_>, String> {
    let Some(token) = &config.token else { return Err("needs a token".to_owned()) };
    let properties = json!({ "os": "linux", "browser": "netlat", "device": "netlat" });
    let d = json!({ "token": token.reveal(), "intents": intents().bits(), "properties": properties });
    let ready = async {
        gateway.send(json!({ "op": 2, "d": d }).to_string()).await?;
        loop {
            match gateway.next().await? {
                Frame::InvalidSession { .. } => {
                    return Err(
                        "the gateway takes no session now (op 9): another one of this token may have just begun"
                            .to_owned(),
                    );
                }
                Frame::Event(event) => {
                    if let Event::Ready(ready) = *event {
                        return Ok(ready.user.id);
                    }
                }
                _ => {}
            }
        }
    };
    let ready = timeout_at(until.min(Instant::now() + ANSWER), ready).await;
    let ready = ready.unwrap_or_else(|_| Err("the gateway did not take the session in time".to_owned()));
    match ready {
        Ok(me) => Ok(Session { config, rest, gateway, me, until }),
        Err(problem) => {
            gateway.close().await;
            Err(problem)
        }
    }
}

impl Session<'_> {
    async fn call(&mut self, method: Method, route: &str, json: Option<&Value>) -> Result<Answer, String> {
        let answer = exchange(&mut self.rest, self.config, method, route, json);
        let answer = timeout(ANSWER, answer).await;
        let answer = answer.unwrap_or_else(|_| Err(format!("no answer within {} s", ANSWER.as_secs())))?;
        problem(&answer).map_or(Ok(answer), Err)
    }

    /// The channel, if the bot sees it and it is of this kind.
    async fn channel(&mut self, channel: Snowflake, kind: u8) -> Result<Channel, String> {
        let answer = self.call(Method::GET, &format!("/channels/{channel}"), None).await?;
        let found: Channel = serde_json::from_slice(&answer.body).map_err(|error| format!("no channel: {error}"))?;
        match (found.kind == kind, kind) {
            (true, _) => Ok(found),
            (false, TEXT) => Err("this is no text channel of a guild".to_owned()),
            (false, _) => Err("this is no voice channel of a guild".to_owned()),
        }
    }

    async fn echoes(&mut self, channel: Snowflake, notes: &mut Vec<String>) -> Row {
        let target = target(channel);
        if let Err(problem) = self.channel(channel, TEXT).await {
            return Row::failed(Step::MessageEcho, &target, problem);
        }
        let (mut times, mut problem) = (Vec::new(), None);
        let begun = Instant::now();
        while times.len() < TIMES && begun.elapsed() < ENOUGH && problem.is_none() {
            tokio::time::sleep(PAUSE).await;
            match self.echo(channel, notes).await {
                Ok(took) => times.push(took),
                Err(error) => problem = Some(error),
            }
        }
        // Half of its way is on each of the two connections.
        let half = |info: Option<net::tcp_info::TcpInfo>| info.and_then(|info| info.min_rtt).map(|rtt| rtt / 2);
        let (rest, gateway) = (self.rest.socket.info(), self.gateway.socket.info());
        let network = half(rest).zip(half(gateway)).map(|(up, down)| up + down);
        let row = Row::timed(Step::MessageEcho, &target, &times, network, 1);
        Row { retransmits: rest.map(|info| info.retransmits), problem, ..row }
    }

    /// From a POST to the gateway's event of it, which may come before the POST's own answer. The message is deleted in any case.
    async fn echo(&mut self, channel: Snowflake, notes: &mut Vec<String>) -> Result<Duration, String> {
        let route = format!("/channels/{channel}/messages");
        let body = json!({ "content": CONTENT, "flags": SILENT, "allowed_mentions": { "parse": [] } });
        let (mut sent, mut posted, mut heard) = (None, None, Vec::<(Snowflake, Instant)>::new());
        let outcome = {
            let post = exchange(&mut self.rest, self.config, Method::POST, &route, Some(&body));
            tokio::pin!(post);
            let both = async {
                loop {
                    if let (Some(sent), Some(id)) = (sent, posted)
                        && let Some((_, at)) = heard.iter().find(|(message, _)| *message == id)
                    {
                        return Ok(at.saturating_duration_since(sent));
                    }
                    tokio::select! {
                        answer = &mut post, if posted.is_none() => {
                            let answer = answer?;
                            if let Some(problem) = problem(&answer) {
                                return Err(problem);
                            }
                            let message: Message = serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
                            (sent, posted) = (Some(answer.sent), Some(message.id));
                        }
                        frame = self.gateway.next() => match frame? {
                            Frame::Event(event) => {
                                if let Event::MessageCreate(message) = *event
                                    && message.channel_id == channel && message.author.id == self.me
                                    // The bot itself may be posting there.
                                    && message.content == CONTENT
                                {
                                    heard.push((message.id, Instant::now()));
                                }
                            }
                            Frame::Reconnect | Frame::InvalidSession { .. } => {
                                return Err("the gateway ended the session".to_owned());
                            }
                            _ => {}
                        },
                    }
                }
            };
            let outcome = timeout_at(self.until.min(Instant::now() + ECHO), both).await;
            outcome.unwrap_or_else(|_| Err(String::new()))
        };
        let outcome = outcome.map_err(|problem| match (problem.is_empty(), posted) {
            (false, _) => problem,
            (true, Some(_)) => "Discord took the message, and no event of it came in time".to_owned(),
            (true, None) => "no answer to the POST in time; its message may stand in the channel".to_owned(),
        });
        // Whichever of the two told its id.
        if let Some(message) = posted.or_else(|| heard.first().map(|(message, _)| *message)) {
            let route = format!("/channels/{channel}/messages/{message}");
            let deleted = timeout(DELETING, self.call(Method::DELETE, &route, None)).await;
            if !matches!(deleted, Ok(Ok(_))) {
                notes.push(format!("message {message} of this check could not be deleted: please do it by hand"));
            }
        }
        outcome
    }
}

/// What a bot may be told and a stranger is not.
fn problem(answer: &Answer) -> Option<String> {
    match answer.status {
        403 => {
            Some("403: the bot may not do that here; it needs View Channel and Send Messages, or Connect".to_owned())
        }
        404 => Some("404: there is no such channel, or the bot does not see it".to_owned()),
        _ => answer.problem(),
    }
}
