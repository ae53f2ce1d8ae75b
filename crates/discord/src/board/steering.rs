//! Steering by Discord alone: the server bot writes a worker's tasks and its bot's settings into the worker's channel, and
//! the main bot there obeys the newest such message of the server bot's account.

use model::{Task, WorkerName};
use serde::{Deserialize, Serialize};

use crate::batch::{LONGEST_MESSAGE, fenced};

pub const SCHEMA: &str = "tasks/1";

/// What a main bot measures. A value that is absent leaves its default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BotSettings {
    /// Seconds between REST calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rest_s: Option<u32>,
    /// Seconds between posts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub post_s: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub voice: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measure: Option<bool>,
}

impl BotSettings {
    /// What `newer` says comes first.
    pub fn overlaid(self, newer: BotSettings) -> BotSettings {
        BotSettings {
            rest_s: newer.rest_s.or(self.rest_s),
            post_s: newer.post_s.or(self.post_s),
            voice: newer.voice.or(self.voice),
            measure: newer.measure.or(self.measure),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Steering {
    pub netlat: String,
    pub worker: WorkerName,
    /// The worker's tasks, all of them. Absent: leave them as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<Vec<Task>>,
    #[serde(default)]
    pub bot: BotSettings,
}

impl Steering {
    pub fn new(worker: WorkerName, tasks: Vec<Task>, bot: BotSettings) -> Steering {
        Steering { netlat: SCHEMA.to_owned(), worker, tasks: Some(tasks), bot }
    }

    /// The message's text. Tasks that do not fit into a message are left out, and it says so.
    pub fn text(&self, mention: &str) -> String {
        let compose = |steering: &Steering, line: &str| {
            // Plain data with string keys: writing it cannot fail.
            let json = serde_json::to_string(steering).unwrap_or_default();
            format!("{mention}Settings of `{}`: {line}\n```json\n{json}\n```", steering.worker)
        };
        let count = self.tasks.as_ref().map_or(0, Vec::len);
        let text = compose(self, &format!("{count} task(s)"));
        if text.chars().count() <= LONGEST_MESSAGE {
            return text;
        }
        compose(&Steering { tasks: None, ..self.clone() }, &format!("{count} tasks, too long for a message"))
    }

    /// `None` if the message is none of this version, or says nonsense.
    pub fn read(content: &str) -> Option<Steering> {
        let steering: Steering = serde_json::from_str(fenced(content)?).ok()?;
        let in_range = |value: Option<u32>, least: u32| value.is_none_or(|value| (least..=3600).contains(&value));
        let tasks_fine = steering.tasks.iter().flatten().all(|task| task.spec.check().is_ok());
        let fine = in_range(steering.bot.rest_s, 5) && in_range(steering.bot.post_s, 15) && tasks_fine;
        (steering.netlat == SCHEMA && fine).then_some(steering)
    }
}

#[cfg(test)]
mod tests {
    use model::{TaskId, TaskSpec};

    use super::*;

    fn task(id: String) -> Task {
        Task { id: TaskId(id), worker: None, spec: TaskSpec::default() }
    }

    #[test]
    fn what_is_written_is_obeyed() {
        let bot = BotSettings { voice: Some(false), ..BotSettings::default() };
        let steering = Steering::new(WorkerName::new("nyc1").unwrap(), vec![task("voice".to_owned())], bot);
        assert_eq!(Steering::read(&steering.text("<@1> ")), Some(steering.clone()));
        assert_eq!(Steering::read(&steering.text("").replace("tasks/1", "tasks/2")), None);
        assert_eq!(Steering::read(&steering.text("").replace("\"voice\":false", "\"post_s\":1")), None);
    }

    #[test]
    fn too_many_tasks_change_none() {
        let tasks = (0..40).map(|n| task(format!("task-{n}"))).collect();
        let steering = Steering::new(WorkerName::new("nyc1").unwrap(), tasks, BotSettings::default());
        let text = steering.text("");
        assert!(text.chars().count() <= LONGEST_MESSAGE && text.contains("40 tasks, too long"));
        assert_eq!(Steering::read(&text).unwrap().tasks, None);
    }
}
