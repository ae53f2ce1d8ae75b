//! A dashboard over a small generated directory, and requests to it.

use std::sync::{Arc, LazyLock, Mutex};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use dashboard::{Control, Dashboard, Entrance, Gate, Parts};
use http_body_util::BodyExt;
use model::deployment::Answer;
use model::{Task, TaskId, TaskSpec, UnixNanos, WorkerName};
use tokio::sync::watch;
use tower::ServiceExt;

use crate::world::{CITIES, Extent, generate, name};

/// The data's newest time: now, for the pages ask for the last hour unless told.
pub static WORLD: LazyLock<(tempfile::TempDir, UnixNanos)> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let end = net::Clock::identity().now();
    let extent = Extent { cities: 6, minutes: 120, per_minute: 3, all_classes_minutes: 10 };
    generate(dir.path(), end, extent).expect("generated");
    // However long the tests take, nobody has fallen silent.
    let mut store = store::Store::open(dir.path(), store::StoreOptions::default()).expect("opened");
    let later = end.plus(24 * 3_600_000_000_000);
    let seen = CITIES
        .iter()
        .take(extent.cities)
        .map(|city| store::Seen { worker: name(city), at: later, waiting_bytes: Some(0) })
        .collect();
    store.commit(&store::Commit { seen, ..store::Commit::default() }).expect("committed");
    (dir, end)
});

pub const ADMIN: &str = "adminadminadminadminadmin1";

#[derive(Default)]
pub struct Tasks(pub Mutex<Vec<Task>>);

impl Control for Tasks {
    fn put_task(&self, id: Option<TaskId>, worker: Option<WorkerName>, spec: TaskSpec) -> Answer<'_, Task> {
        let task = Task { id: id.unwrap_or_else(|| TaskId("task-1".to_owned())), worker, spec };
        self.0.lock().expect("tasks").push(task.clone());
        Box::pin(async move { Ok(task) })
    }

    fn remove_task(&self, id: TaskId) -> Answer<'_, bool> {
        let mut tasks = self.0.lock().expect("tasks");
        let before = tasks.len();
        tasks.retain(|task| task.id != id);
        let removed = tasks.len() < before;
        Box::pin(async move { Ok(removed) })
    }
}

pub struct Site {
    pub gate: Arc<Gate>,
    pub tasks: Arc<Tasks>,
    dashboard: Dashboard,
    /// Dropped with the site, which ends its streams.
    pub stop: watch::Sender<bool>,
}

pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: header::HeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl Site {
    pub fn new() -> Site {
        Site::over(WORLD.0.path())
    }

    pub fn over(dir: &std::path::Path) -> Site {
        let hash = ring::digest::digest(&ring::digest::SHA256, ADMIN.as_bytes());
        let gate = Arc::new(Gate::new(&[9; 32], hash.as_ref().try_into().ok()));
        let tasks = Arc::new(Tasks::default());
        let (stop, stopped) = watch::channel(false);
        let dashboard = Dashboard::new(Parts {
            data_dir: dir.to_owned(),
            clock: net::Clock::identity(),
            gate: gate.clone(),
            control: Some(tasks.clone()),
            media_city: |host| host.starts_with("c-fra").then(|| "frankfurt".to_owned()),
            stop: stopped,
        });
        Site { gate, tasks, dashboard, stop }
    }

    pub fn router(&self, entrance: Entrance) -> Router {
        self.dashboard.router(entrance)
    }

    pub async fn send(&self, entrance: Entrance, request: Request<Body>) -> Reply {
        let response = self.router(entrance).oneshot(request).await.expect("infallible");
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a body").to_bytes().to_vec();
        Reply { status: parts.status, headers: parts.headers, body }
    }

    /// As a browser on the same host.
    pub async fn get(&self, path: &str) -> Reply {
        let request = Request::get(path).header(header::HOST, "localhost:8080").body(Body::empty()).expect("a request");
        self.send(Entrance::Loopback, request).await
    }
}
