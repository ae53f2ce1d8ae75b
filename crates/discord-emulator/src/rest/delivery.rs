//! How an answer's body goes out: at once, slowly, or only half; and the stamp when its last byte was taken.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::clock::system_ns;
use crate::hub::Hub;
use crate::socket::Control;
use crate::stamps::Exchange;

/// Pieces of a slow body.
const PIECES: u32 = 20;
/// Between half a body and the end of the sending side.
const FLUSHED: Duration = Duration::from_millis(20);
/// A half answer keeps its connection this long.
const HALF_OPEN: Duration = Duration::from_secs(60);

pub enum Manner {
    Whole,
    Slow(Duration),
    Half(Arc<Control>),
}

/// Body of an answer. Its exchange is recorded when the body is through, or, without the sending time, when it is dropped before.
pub struct Delivery {
    data: Bytes,
    total: usize,
    manner: Manner,
    wait: Option<Pin<Box<Sleep>>>,
    halved: bool,
    hub: Arc<Hub>,
    exchange: Option<Exchange>,
}

impl Delivery {
    pub fn new(data: Bytes, manner: Manner, hub: Arc<Hub>, exchange: Exchange) -> Delivery {
        Delivery { total: data.len(), data, manner, wait: None, halved: false, hub, exchange: Some(exchange) }
    }

    fn finish(&mut self, sent: bool) {
        if let Some(mut exchange) = self.exchange.take() {
            exchange.sent_ns = sent.then(system_ns);
            self.hub.stamps.record(exchange);
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        // An empty body is never asked for.
        let sent = self.data.is_empty() && !self.halved;
        self.finish(sent);
    }
}

impl http_body::Body for Delivery {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(wait) = &mut self.wait {
            ready!(wait.as_mut().poll(context));
            self.wait = None;
        }
        if self.halved {
            return Poll::Ready(None);
        }
        if self.data.is_empty() {
            self.finish(true);
            return Poll::Ready(None);
        }
        let piece = match &self.manner {
            Manner::Whole => std::mem::take(&mut self.data),
            Manner::Slow(over) => {
                let next = Instant::now() + *over / PIECES;
                let size = self.total.div_ceil(PIECES as usize).min(self.data.len());
                self.wait = Some(Box::pin(sleep_until(next)));
                self.data.split_to(size)
            }
            Manner::Half(control) => {
                if self.data.len() < self.total || self.total < 2 {
                    control.half_close();
                    self.halved = true;
                    self.wait = Some(Box::pin(sleep_until(Instant::now() + HALF_OPEN)));
                    return self.poll_frame(context);
                }
                // While this body waits, hyper writes out the head and this half.
                self.wait = Some(Box::pin(sleep_until(Instant::now() + FLUSHED)));
                let half = self.total / 2;
                self.data.split_to(half)
            }
        };
        if self.data.is_empty() {
            self.finish(true);
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_empty() && self.wait.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.len() as u64)
    }
}
