//! A TCP connection that can be disturbed from outside: half-closed, stalled, reset; and the list of all of them.

use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

const OPEN: u8 = 0;
/// Our sending side is closed; what would be written vanishes.
const HALF_CLOSED: u8 = 1;
/// Nothing is read; what would be written vanishes.
const STALLED: u8 = 2;
/// Ends with a reset.
const RESET: u8 = 3;

/// What happens to one connection.
pub struct Control {
    pub id: u64,
    pub peer: SocketAddr,
    pub local: SocketAddr,
    state: AtomicU8,
    stream: Weak<TcpStream>,
    waiting: Mutex<[Option<Waker>; 2]>,
}

impl Control {
    fn set(&self, state: u8) {
        self.state.fetch_max(state, Ordering::AcqRel);
        for waker in self.waiting.lock().unwrap_or_else(PoisonError::into_inner).iter_mut().filter_map(Option::take) {
            waker.wake();
        }
    }

    /// FIN is sent; what the peer sends is still read.
    pub fn half_close(&self) {
        self.set(HALF_CLOSED);
        if let Some(stream) = self.stream.upgrade() {
            let _ = SockRef::from(&*stream).shutdown(Shutdown::Write);
        }
    }

    /// Open, and silent from now on.
    pub fn stall(&self) {
        self.set(STALLED);
    }

    /// RST instead of an orderly end.
    pub fn reset(&self) {
        if let Some(stream) = self.stream.upgrade() {
            let _ = SockRef::from(&*stream).set_linger(Some(Duration::ZERO));
        }
        self.set(RESET);
    }

    fn remember(&self, slot: usize, context: &Context<'_>) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)[slot] = Some(context.waker().clone());
    }
}

/// The stream under TLS and HTTP.
pub struct Socket {
    stream: Arc<TcpStream>,
    control: Arc<Control>,
}

fn reset_error() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.control.remember(0, context);
        loop {
            match self.control.state.load(Ordering::Acquire) {
                RESET => return Poll::Ready(Err(reset_error())),
                STALLED => return Poll::Pending,
                _ => {}
            }
            ready!(self.stream.poll_read_ready(context))?;
            match self.stream.try_read(buffer.initialize_unfilled()) {
                Ok(count) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.control.remember(1, context);
        loop {
            match self.control.state.load(Ordering::Acquire) {
                RESET => return Poll::Ready(Err(reset_error())),
                HALF_CLOSED | STALLED => return Poll::Ready(Ok(data.len())),
                _ => {}
            }
            ready!(self.stream.poll_write_ready(context))?;
            match self.stream.try_write(data) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.control.state.load(Ordering::Acquire) == OPEN {
            let _ = SockRef::from(&*self.stream).shutdown(Shutdown::Write);
        }
        Poll::Ready(Ok(()))
    }
}

/// All open connections.
#[derive(Default)]
pub struct Connections {
    next: AtomicU64,
    open: Mutex<HashMap<u64, Weak<Control>>>,
}

impl Connections {
    /// Takes an accepted stream in. `None`: there are `most` already.
    pub fn admit(self: &Arc<Self>, stream: TcpStream, most: usize) -> Option<(Socket, Arc<Control>)> {
        let (peer, local) = (stream.peer_addr().ok()?, stream.local_addr().ok()?);
        let _ = stream.set_nodelay(true);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= most {
            open.retain(|_, control| control.strong_count() > 0);
        }
        if open.len() >= most {
            return None;
        }
        let stream = Arc::new(stream);
        let control = Arc::new(Control {
            id: self.next.fetch_add(1, Ordering::Relaxed) + 1,
            peer,
            local,
            state: AtomicU8::new(OPEN),
            stream: Arc::downgrade(&stream),
            waiting: Mutex::default(),
        });
        open.insert(control.id, Arc::downgrade(&control));
        Some((Socket { stream, control: control.clone() }, control))
    }

    /// Resets every one.
    pub fn reset_all(&self) {
        let open: Vec<_> = self.open.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        for control in open.iter().filter_map(Weak::upgrade) {
            control.reset();
        }
    }

    pub fn count(&self) -> usize {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.values().filter_map(Weak::upgrade).filter(|control| control.stream.strong_count() > 0).count()
    }
}
