//! Commands as words: the same whether they come as a slash command's options or as text. A mistake is one line that says
//! what would be right.

use model::{Dscp, Duration, Kind, TaskId, TaskSpec, WorkerName};
use serde_json::{Value, json};

use crate::board::steering::BotSettings;
use crate::types::{CommandData, CommandOption};

#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    Help,
    Status,
    Workers,
    Tasks,
    Start {
        id: Option<TaskId>,
        worker: Option<WorkerName>,
        spec: Box<TaskSpec>,
    },
    Stop {
        id: TaskId,
    },
    /// What a main bot measures, of one worker or of all.
    Set {
        worker: Option<WorkerName>,
        settings: BotSettings,
    },
    Report {
        worker: WorkerName,
    },
    Export {
        hours: u32,
    },
}

pub const HELP: &str = "Commands, here as `!netlat ...` or anywhere as `/netlat ...`:\n\
    `status`, `workers`, `tasks`\n\
    `start [id=NAME] [worker=NAME] [kinds=rtp,udp,http,dns] [dscp=0,46|all] [rate=20] [duration=10m] [direction=up|down|both]`\n\
    `stop id=NAME`\n\
    `set [worker=NAME] [rest=15s] [post=60s] [voice=on|off] [measure=on|off]`\n\
    `report worker=NAME`, `export [hours=24]`";

/// The name of the slash command, and the prefix of text.
pub const NAME: &str = "netlat";
const LONGEST: usize = 500;

impl Command {
    /// Text of the control channel. `None`: it is no command. `mention` is how the bot itself is mentioned.
    pub fn of_text(text: &str, mention: &str) -> Option<Result<Command, String>> {
        let text = text.trim();
        let nick = mention.replace("<@", "<@!");
        let rest =
            [mention, nick.as_str(), "!netlat", "netlat"].into_iter().find_map(|start| text.strip_prefix(start))?;
        if !rest.is_empty() && !rest.starts_with(char::is_whitespace) {
            return None;
        }
        if rest.len() > LONGEST {
            return Some(Err("a command has at most 500 characters".to_owned()));
        }
        let mut words = rest.split_whitespace();
        let verb = words.next().unwrap_or("help").to_lowercase();
        let pairs = words.map(|word| match word.split_once('=') {
            Some((key, value)) => (key.to_lowercase(), value.to_owned()),
            // `stop voice`, `report nyc1`: the one thing such a command is about.
            None => (String::new(), word.to_owned()),
        });
        Some(Command::parse(&verb, pairs.collect()))
    }

    pub fn of_interaction(data: &CommandData) -> Result<Command, String> {
        if data.name != NAME {
            return Err("this command is not known here".to_owned());
        }
        let Some(sub) = data.options.first() else { return Ok(Command::Help) };
        let text = |option: &CommandOption| match &option.value {
            Some(Value::String(text)) => text.chars().take(LONGEST).collect(),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
            _ => String::new(),
        };
        Command::parse(&sub.name, sub.options.iter().map(|option| (option.name.clone(), text(option))).collect())
    }

    fn parse(verb: &str, pairs: Vec<(String, String)>) -> Result<Command, String> {
        let mut pairs = Pairs(pairs);
        let command = match verb {
            "help" => Command::Help,
            "status" => Command::Status,
            "workers" => Command::Workers,
            "tasks" => Command::Tasks,
            "start" => Command::Start { id: pairs.id()?, worker: pairs.worker()?, spec: Box::new(pairs.spec()?) },
            "stop" => Command::Stop { id: pairs.id()?.ok_or("say which: stop id=NAME (see tasks)")? },
            "set" => Command::Set { worker: pairs.worker()?, settings: pairs.settings()? },
            "report" => Command::Report { worker: pairs.worker()?.ok_or("say of whom: report worker=NAME")? },
            "export" => Command::Export { hours: pairs.number("hours", 1..=24 * 31)?.unwrap_or(24) },
            _ => return Err("unknown command: try help".to_owned()),
        };
        match pairs.0.first() {
            Some((key, value)) => {
                let shown: String = if key.is_empty() { value } else { key }.chars().take(40).collect();
                Err(format!("{verb} does not take '{shown}': try help"))
            }
            None => Ok(command),
        }
    }
}

/// Options not yet used.
struct Pairs(Vec<(String, String)>);

impl Pairs {
    fn take(&mut self, key: &str) -> Option<String> {
        let at = self.0.iter().position(|(known, _)| known == key)?;
        Some(self.0.remove(at).1)
    }

    fn worker(&mut self) -> Result<Option<WorkerName>, String> {
        match self.take("worker").or_else(|| self.take("")) {
            None => Ok(None),
            Some(all) if all == "all" || all == "*" => Ok(None),
            Some(name) => WorkerName::new(&name).map(Some).map_err(|error| error.to_string()),
        }
    }

    fn id(&mut self) -> Result<Option<TaskId>, String> {
        let Some(id) = self.take("id").or_else(|| self.take("")) else { return Ok(None) };
        let fine = (1..=63).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if fine { Ok(Some(TaskId(id))) } else { Err("a task's id has 1 to 63 letters, digits and '-'".to_owned()) }
    }

    fn number(&mut self, key: &str, range: std::ops::RangeInclusive<u32>) -> Result<Option<u32>, String> {
        let Some(text) = self.take(key) else { return Ok(None) };
        match text.parse::<u32>() {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            _ => Err(format!("{key} lies between {} and {}", range.start(), range.end())),
        }
    }

    fn spec(&mut self) -> Result<TaskSpec, String> {
        let mut spec = TaskSpec::default();
        if let Some(kinds) = self.take("kinds") {
            let parse = |word: &str| word.trim().parse::<Kind>().map_err(|error| error.to_string());
            spec.kinds = kinds.split(',').map(parse).collect::<Result<_, _>>()?;
            spec.kinds.dedup();
            if spec.kinds.contains(&Kind::Stamp) {
                return Err("kind stamp is no task: it has a command of its own, netlat stamp".to_owned());
            }
        }
        if let Some(dscp) = self.take("dscp") {
            let parse = |word: &str| word.trim().parse::<Dscp>().map_err(|error| format!("dscp {word}: {error}"));
            spec.dscp = match dscp.as_str() {
                "all" => Dscp::all().collect(),
                list => list.split(',').map(parse).collect::<Result<_, _>>()?,
            };
        }
        if let Some(rate) = self.take("rate") {
            spec.rate_pps = rate.parse().map_err(|_| "rate is packets per second, such as 20".to_owned())?;
        }
        if let Some(direction) = self.take("direction") {
            spec.direction = direction.parse().map_err(|error: model::sample::UnknownWord| error.to_string())?;
        }
        if let Some(duration) = self.take("duration") {
            spec.duration = match duration.as_str() {
                "forever" => Duration::Forever,
                text => Duration::Seconds(seconds(text).ok_or("duration is 30s, 10m, 2h, 1d or forever")?),
            };
        }
        // Nobody at a task board means to fill a line for ever.
        if spec.duration == Duration::Forever {
            spec.bytes_per_day = TaskSpec::unattended().bytes_per_day;
        }
        spec.check().map_err(|error| error.to_string())?;
        Ok(spec)
    }

    fn settings(&mut self) -> Result<BotSettings, String> {
        let mut span = |key: &str, range: std::ops::RangeInclusive<u32>| -> Result<Option<u32>, String> {
            let Some(text) = self.take(key) else { return Ok(None) };
            let wrong = || format!("{key} lies between {} s and {} s", range.start(), range.end());
            seconds(&text).filter(|value| range.contains(value)).map(Some).ok_or_else(wrong)
        };
        let (rest_s, post_s) = (span("rest", 5..=3600)?, span("post", 15..=3600)?);
        let mut switch = |key: &str| match self.take(key).as_deref() {
            None => Ok(None),
            Some("on" | "true") => Ok(Some(true)),
            Some("off" | "false") => Ok(Some(false)),
            Some(_) => Err(format!("{key} is on or off")),
        };
        let settings = BotSettings { rest_s, post_s, voice: switch("voice")?, measure: switch("measure")? };
        if settings == BotSettings::default() {
            return Err("say what: set [worker=NAME] rest=15s post=60s voice=on|off measure=on|off".to_owned());
        }
        Ok(settings)
    }
}

/// `90`, `30s`, `10m`, `2h`, `1d`; at least one second.
fn seconds(text: &str) -> Option<u32> {
    let (number, unit) = match text.strip_suffix(['s', 'm', 'h', 'd']) {
        Some(number) => (number, &text[number.len()..]),
        None => (text, "s"),
    };
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => 86_400,
    };
    number.parse::<u32>().ok()?.checked_mul(factor).filter(|seconds| *seconds > 0)
}

/// The slash command as Discord registers it (reference, "Application Command Object").
pub fn registration() -> Value {
    let text = |name: &str, description: &str, required: bool| json!({ "type": 3, "name": name, "description": description, "required": required, "max_length": 200 });
    let sub = |name: &str, description: &str, options: Vec<Value>| json!({ "type": 1, "name": name, "description": description, "options": options });
    json!([{
        "name": NAME,
        "type": 1,
        "description": "NetLat: latencies, workers and tasks",
        // MANAGE_GUILD, until an admin of the guild allows others.
        "default_member_permissions": "32",
        "dm_permission": false,
        "options": [
            sub("status", "The deployment at a glance", vec![]),
            sub("workers", "Workers and when they were last heard of", vec![]),
            sub("tasks", "What the workers are told to measure", vec![]),
            sub("start", "Start a task", vec![
                text("id", "Its name; chosen if left out", false),
                text("worker", "One worker, or all", false),
                text("kinds", "rtp,udp,http,dns,tls,icmp", false),
                text("dscp", "Numbers or names, or all", false),
                text("rate", "Packets per second of each kind", false),
                text("duration", "30s, 10m, 2h, 1d or forever", false),
                text("direction", "up, down or both", false),
            ]),
            sub("stop", "Stop a task", vec![text("id", "Its name", true)]),
            sub("set", "What the main bots measure", vec![
                text("worker", "One worker, or all", false),
                text("rest", "Between REST calls, such as 15s", false),
                text("post", "Between posts, such as 60s", false),
                text("voice", "on or off", false),
                text("measure", "on or off", false),
            ]),
            sub("report", "A worker's latencies of the last hour", vec![text("worker", "Its name", true)]),
            sub("export", "The data set as CSV", vec![
                json!({ "type": 4, "name": "hours", "description": "How far back", "min_value": 1, "max_value": 744 }),
            ]),
            sub("help", "What there is", vec![]),
        ],
    }])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Result<Command, String> {
        Command::of_text(text, "<@5>").expect("a command")
    }

    #[test]
    fn text_and_slash_command_mean_the_same() {
        let data: CommandData = serde_json::from_str(
            r#"{"name":"netlat","options":[{"name":"start","type":1,"options":[
                {"name":"worker","type":3,"value":"nyc1"},{"name":"kinds","type":3,"value":"rtp,udp"},
                {"name":"duration","type":3,"value":"10m"}]}]}"#,
        )
        .unwrap();
        let slash = Command::of_interaction(&data).unwrap();
        assert_eq!(text("!netlat start worker=nyc1 kinds=rtp,udp duration=10m"), Ok(slash.clone()));
        let Command::Start { worker, spec, .. } = slash else { panic!("a start") };
        assert_eq!(worker.unwrap().as_str(), "nyc1");
        assert_eq!((spec.kinds, spec.duration), (vec![Kind::Rtp, Kind::Udp], Duration::Seconds(600)));
    }

    #[test]
    fn talk_is_no_command() {
        assert!(Command::of_text("netlatency is bad today", "<@5>").is_none());
        assert!(Command::of_text("hello", "<@5>").is_none());
        assert_eq!(text("netlat"), Ok(Command::Help));
        assert_eq!(text("<@5> stop voice"), Ok(Command::Stop { id: TaskId("voice".to_owned()) }));
    }

    #[test]
    fn mistakes_say_what_would_be_right() {
        for (given, part) in [
            ("!netlat frobnicate", "help"),
            ("!netlat stop", "stop id=NAME"),
            ("!netlat start kinds=quic", "rtp"),
            ("!netlat start dscp=99", "dscp 99"),
            ("!netlat start rate=1e9", "rate"),
            ("!netlat start duration=0s", "duration"),
            ("!netlat start kinds=stamp", "netlat stamp"),
            ("!netlat start colour=red", "colour"),
            ("!netlat set", "rest=15s"),
            ("!netlat set post=1s", "15 s"),
            ("!netlat report worker=NYC", "a-z"),
            ("!netlat export hours=9999", "744"),
        ] {
            let error = text(given).unwrap_err();
            assert!(error.contains(part), "{given}: {error}");
        }
    }

    #[test]
    fn tasks_without_an_end_keep_to_the_unattended_bound() {
        let Ok(Command::Start { spec, .. }) = text("!netlat start") else { panic!("a start") };
        assert_eq!(spec.bytes_per_day, TaskSpec::unattended().bytes_per_day);
    }
}
