//! The dashboard beside the server that writes its data: what its pages may have done, and where it listens.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;

use dashboard::Control;
use model::deployment::{Answer, Problem};
use model::{Task, TaskId, TaskSpec, WorkerName};

use crate::ServerError;
use crate::api::AddTask;
use crate::coordinator::Coordinator;
use crate::error::bind_hint;

/// Where the dashboard is served as plain HTTP, which is on a loopback address only. Unless nowhere, it is also on the HTTPS port,
/// for whoever has logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DashboardAddress {
    /// There, or the server does not start.
    At(SocketAddr),
    /// There, unless another program has that port.
    Usually(SocketAddr),
    /// On a listening socket that was handed over as standard input (systemd's `StandardInput=socket`): of another network
    /// namespace, for one, which this process cannot reach.
    HandedOver,
    Nowhere,
}

/// Opens the listener. Plain HTTP is for this host's own users, so no other address is taken.
pub(crate) fn listener(wanted: DashboardAddress) -> Result<Option<std::net::TcpListener>, ServerError> {
    let (address, needed) = match wanted {
        DashboardAddress::Nowhere => return Ok(None),
        DashboardAddress::HandedOver => return handed_over().map(Some),
        DashboardAddress::At(address) => (address, true),
        DashboardAddress::Usually(address) => (address, false),
    };
    if !address.ip().is_loopback() {
        return Err(ServerError::DashboardNotLoopback(address));
    }
    let opened = std::net::TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    match opened {
        Ok(listener) => Ok(Some(listener)),
        Err(source) if needed => Err(ServerError::Dashboard { address, hint: bind_hint(&source), source }),
        Err(error) => {
            tracing::warn!(%address, %error, "no dashboard here: give another --dashboard ADDR:PORT");
            Ok(None)
        }
    }
}

fn handed_over() -> Result<std::net::TcpListener, ServerError> {
    let taken = || {
        let listener = std::net::TcpListener::from(std::io::stdin().as_fd().try_clone_to_owned()?);
        listener.set_nonblocking(true)?;
        Ok((listener.local_addr()?, listener))
    };
    let (address, listener) = taken().map_err(ServerError::NoSocket)?;
    if address.ip().is_loopback() { Ok(listener) } else { Err(ServerError::DashboardNotLoopback(address)) }
}

/// The same listener for the async runtime, in which this is called.
pub(crate) fn in_runtime(listener: std::net::TcpListener) -> Result<tokio::net::TcpListener, ServerError> {
    let address = listener.local_addr().unwrap_or_else(|_| SocketAddr::from(([127, 0, 0, 1], 0)));
    let failed = |source| ServerError::Dashboard { address, source, hint: "" };
    tokio::net::TcpListener::from_std(listener).map_err(failed)
}

/// The coordinator as the pages see it.
pub(crate) struct ByCoordinator(pub Arc<Coordinator>);

fn problem(refusal: crate::api::Refusal) -> Problem {
    Problem(refusal.2)
}

impl Control for ByCoordinator {
    fn put_task(&self, id: Option<TaskId>, worker: Option<WorkerName>, spec: TaskSpec) -> Answer<'_, Task> {
        let add = AddTask { id: id.map(|id| id.0), worker, spec };
        Box::pin(async move { self.0.add_task(add).await.map_err(problem) })
    }

    fn remove_task(&self, id: TaskId) -> Answer<'_, bool> {
        Box::pin(async move { self.0.remove_task(id).await.map_err(problem) })
    }
}
