//! What a main bot says to people in its channel: what became of the tasks that the task board sent there.

use std::time::Duration;

use crate::error::BotError;
use crate::main_bot::MainBot;
use crate::recorder::lock;

/// Between looks for something to say. A worker looks for handed tasks every ten seconds.
const LOOKS: Duration = Duration::from_secs(2);
/// Lines that wait; of more the oldest go.
const MOST: usize = 16;
const LONGEST: usize = 1_800;

impl MainBot {
    pub(super) fn tell(&self, line: String) {
        tracing::warn!("{line}");
        let mut unsaid = lock(&self.unsaid);
        if unsaid.len() >= MOST {
            unsaid.pop_front();
        }
        unsaid.push_back(line);
    }

    pub(super) async fn tell_forever(&self) -> BotError {
        loop {
            tokio::time::sleep(LOOKS).await;
            if let Some(answer) = self.receiver.as_ref().and_then(|receiver| receiver.answer()) {
                self.tell(answer);
            }
            let next = lock(&self.unsaid).front().cloned();
            let Some(line) = next else { continue };
            let text: String = format!("`{}`: {line}", self.vitals.recorder.worker).chars().take(LONGEST).collect();
            match self.vitals.rest.post(self.vitals.channel, &text, None, None).await {
                Ok(_) => drop(lock(&self.unsaid).pop_front()),
                Err(error) if error.is_transient() => tracing::debug!("{error}; a line waits"),
                Err(error) => return self.explain(error),
            }
        }
    }
}
