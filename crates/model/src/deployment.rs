//! What joins bots to the rest of a deployment without either knowing the other: where records go, where scraping stopped,
//! which tasks there are. The server's API and a store of one's own both serve.

use std::future::Future;
use std::pin::Pin;

use serde::{Deserialize, Serialize};

use crate::ids::{TaskId, WorkerName};

/// What a server bot calls itself in its records unless it was given another name: it measures, but is no city.
pub const SERVER_BOT: &str = "server";
use crate::record::Record;
use crate::report::Application;
use crate::task::{Task, TaskSpec};

/// Where a source of records was read up to. Positions only grow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// At most 80 printable ASCII characters.
    pub source: String,
    /// At most `i64::MAX`.
    pub position: u64,
}

/// Records, and how far their source was read, to be kept together or not at all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RecordSubmission {
    pub records: Vec<Record>,
    #[serde(default)]
    pub cursors: Vec<Cursor>,
    /// Events to add to the deployment's counters, by reason (`record_forged`, `record_edited`, ...).
    #[serde(default)]
    pub counted: Vec<(String, u64)>,
}

impl RecordSubmission {
    /// The most records one submission may hold.
    pub const LIMIT: usize = 2_000;
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordsAccepted {
    pub new: u64,
    /// Were there already, the very same.
    pub known: u64,
    /// Had an id that is there with another content; the first one stays.
    pub conflicting: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CursorList {
    pub cursors: Vec<Cursor>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ApplicationList {
    pub applications: Vec<Application>,
}

/// The most bytes of records as CSV that are handed out in one piece.
pub const LONGEST_CSV: usize = 8 << 20;

/// What to do where records are too many to be handed out in one piece.
pub const ASK_FOR_LESS: &str =
    "Ask for fewer hours, such as `export hours=1`, or run `netlat export --dataset discord` on the server's host.";

/// Says that records are longer than [`LONGEST_CSV`], and what to do instead.
pub fn too_long() -> String {
    format!("the records of that time are more than {} MiB as CSV. {ASK_FOR_LESS}", LONGEST_CSV >> 20)
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CsvExport {
    pub csv: String,
}

/// What tasks that came another way than by the server's API are handed to.
pub trait TaskReceiver: Send + Sync {
    /// All tasks of this worker; none are left of the earlier ones.
    fn receive(&self, tasks: &[Task]) -> Result<(), Problem>;

    /// What became of the tasks that were received last, for people; each answer once.
    fn answer(&self) -> Option<String>;
}

/// One line for people: what failed and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Problem(pub String);

pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Problem>> + Send + 'a>>;

/// A worker as the deployment sees it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerState {
    pub name: WorkerName,
    /// Open measuring sessions.
    pub sessions: usize,
    /// Seconds since the deployment last heard of it.
    pub silent_s: u64,
}

/// A deployment: the server's API, or a data directory of one's own.
pub trait Deployment: Send + Sync {
    /// What it is, for people: `the server at ...`, `the data directory ...`.
    fn name(&self) -> String;

    /// Answered once it is on the disk. Submitting the same again changes nothing.
    fn submit(&self, submission: RecordSubmission) -> Answer<'_, RecordsAccepted>;

    fn cursors(&self) -> Answer<'_, Vec<Cursor>>;

    fn workers(&self) -> Answer<'_, Vec<WorkerState>>;

    fn tasks(&self) -> Answer<'_, Vec<Task>>;

    /// Replaces a task of the same id; chooses an id where none is given.
    fn put_task(&self, id: Option<TaskId>, worker: Option<WorkerName>, spec: TaskSpec) -> Answer<'_, Task>;

    /// False if there is no such task.
    fn remove_task(&self, id: TaskId) -> Answer<'_, bool>;

    /// Application latencies since a moment (microseconds since the epoch), of one worker or of all.
    fn applications(&self, worker: Option<WorkerName>, since_us: i64) -> Answer<'_, Vec<Application>>;

    /// The records since a moment as CSV; refused where that is more than [`LONGEST_CSV`].
    fn csv(&self, since_us: i64) -> Answer<'_, String>;
}
