//! Plain HTTP for this host's own users; it never listens anywhere else.

use std::future::IntoFuture;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// What is being answered when the program ends may take so long.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// Serves until `stop` turns true. Refuses a listener that others than this host could reach.
pub async fn serve(listener: TcpListener, router: Router, mut stop: watch::Receiver<bool>) -> io::Result<()> {
    let address: SocketAddr = listener.local_addr()?;
    if !address.ip().is_loopback() {
        let message = format!("{address} is no loopback address, and plain HTTP is served nowhere else");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let mut ended = stop.clone();
    let stopped = async move {
        let _ = ended.wait_for(|stop| *stop).await;
    };
    let serving = axum::serve(listener, router).with_graceful_shutdown(stopped).into_future();
    tokio::pin!(serving);
    tokio::select! {
        ended = &mut serving => return ended,
        _ = async { let _ = stop.wait_for(|stop| *stop).await; } => {}
    }
    tokio::time::timeout(LAST_ANSWERS, serving).await.unwrap_or(Ok(()))
}
