//! The dashboard: pages (built from `web/`, embedded), the JSON behind them (`openapi.json`), and who may see and do what.
//! It reads a data directory through `store`, judges through `measure`, and writes nothing; tasks go through [`Control`].

mod access;
mod answer;
mod assets;
mod events;
mod openapi;
mod range;
mod sentence;
mod serve;
mod shield;
mod views;

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::routing::{delete, get, post};
use model::deployment::Answer;
use model::{Task, TaskId, TaskSpec, WorkerName};
use tokio::sync::{Semaphore, watch};

pub use access::{Gate, Role};
pub use serve::serve;
pub use shield::Entrance;

/// What the pages may have done by the server that runs on the data directory.
pub trait Control: Send + Sync {
    /// Replaces a task of the same id; chooses an id where none is given.
    fn put_task(&self, id: Option<TaskId>, worker: Option<WorkerName>, spec: TaskSpec) -> Answer<'_, Task>;

    /// False if there is no such task.
    fn remove_task(&self, id: TaskId) -> Answer<'_, bool>;
}

/// What a dashboard is made of.
pub struct Parts {
    pub data_dir: PathBuf,
    pub clock: net::Clock,
    pub gate: Arc<Gate>,
    /// `None`: a data directory without a server, of which nothing can be started.
    pub control: Option<Arc<dyn Control>>,
    /// The city that a media host's name tells of.
    pub media_city: fn(&str) -> Option<String>,
    /// Turns true when the program ends; what streams then ends too.
    pub stop: watch::Receiver<bool>,
}

pub(crate) struct Inner {
    parts: Parts,
    /// Readers at once: each may hold some megabytes, and there are few cores.
    readers: Semaphore,
    /// Pages that listen for news.
    listeners: Arc<Semaphore>,
}

/// The dashboard of one data directory.
#[derive(Clone)]
pub struct Dashboard(pub(crate) Arc<Inner>);

const READERS: usize = 3;
const LISTENERS: usize = 64;
/// A login, or a task.
const MAX_BODY: usize = 16 << 10;

impl Dashboard {
    pub fn new(parts: Parts) -> Dashboard {
        let inner = Inner { parts, readers: Semaphore::new(READERS), listeners: Arc::new(Semaphore::new(LISTENERS)) };
        Dashboard(Arc::new(inner))
    }

    /// Pages and API, as they are reached by this entrance.
    pub fn router(&self, entrance: Entrance) -> Router {
        let api = Router::new()
            .route("/state", get(views::state::state))
            .route("/cities", get(views::cities::cities))
            .route("/classes", get(views::classes::classes))
            .route("/series", get(views::series::series))
            .route("/marks", get(views::marks::marks))
            .route("/variation", get(views::variation::variation))
            .route("/verdicts", get(views::verdicts::verdicts))
            .route("/path", get(views::path::path))
            .route("/applications", get(views::applications::applications))
            .route("/media", get(views::media::media))
            .route("/workers", get(views::workers::workers))
            .route("/tasks", post(views::workers::put_task))
            .route("/tasks/{id}", delete(views::workers::remove_task))
            .route("/samples", get(views::samples::samples))
            .route("/events", get(events::events))
            .route("/login", post(access::login).delete(access::logout))
            .route("/openapi.json", get(openapi::document));
        Router::new()
            .nest("/api/v1/view", api)
            .route("/metrics", get(views::metrics::metrics))
            .route("/", get(assets::page))
            .route("/{file}", get(assets::file))
            .layer(axum::extract::DefaultBodyLimit::max(MAX_BODY))
            .layer(axum::middleware::from_fn(answer::compress))
            .layer(axum::middleware::from_fn_with_state(entrance, shield::shield))
            .layer(axum::Extension(entrance))
            .with_state(self.clone())
    }
}
