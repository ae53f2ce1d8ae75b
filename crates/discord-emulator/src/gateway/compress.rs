//! Transport compression: one context for the whole connection, flushed after each payload, one frame a payload.

use flate2::{Compress, Compression, FlushCompress};
use tokio_websockets::Message;
use zstd::stream::raw::{Encoder as ZstdEncoder, InBuffer, Operation, OutBuffer};

pub enum Encoder {
    Plain,
    /// Each message ends with 00 00 FF FF, zlib's empty stored block of a sync flush (RFC 1950, 1951).
    Zlib(Box<Compress>),
    /// RFC 8878; the frame is flushed and never ended.
    Zstd(Box<ZstdEncoder<'static>>),
}

impl Encoder {
    /// What Discord does not know it does not compress.
    pub fn by_name(name: Option<&str>) -> Encoder {
        match name {
            Some("zlib-stream") => Encoder::Zlib(Box::new(Compress::new(Compression::fast(), true))),
            Some("zstd-stream") => match ZstdEncoder::new(1) {
                Ok(encoder) => Encoder::Zstd(Box::new(encoder)),
                Err(_) => Encoder::Plain,
            },
            _ => Encoder::Plain,
        }
    }

    /// `None`: the context is broken and the connection cannot go on.
    pub fn message(&mut self, text: &str) -> Option<Message> {
        match self {
            Encoder::Plain => Some(Message::text(text.to_owned())),
            Encoder::Zlib(context) => deflate(context, text.as_bytes()).map(Message::binary),
            Encoder::Zstd(context) => zstandard(context, text.as_bytes()).map(Message::binary),
        }
    }
}

fn deflate(context: &mut Compress, input: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(input.len() / 2 + 64);
    let start = context.total_in();
    loop {
        let used = (context.total_in() - start) as usize;
        context.compress_vec(&input[used..], &mut out, FlushCompress::Sync).ok()?;
        // A sync flush is complete when it leaves room in the output.
        if context.total_in() - start == input.len() as u64 && out.len() < out.capacity() {
            return Some(out);
        }
        out.reserve(out.capacity().max(64));
    }
}

fn zstandard(context: &mut ZstdEncoder<'static>, input: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut chunk = vec![0; input.len() / 2 + 128];
    let mut source = InBuffer::around(input);
    while source.pos() < input.len() {
        let mut target = OutBuffer::around(chunk.as_mut_slice());
        context.run(&mut source, &mut target).ok()?;
        out.extend_from_slice(target.as_slice());
    }
    loop {
        let mut target = OutBuffer::around(chunk.as_mut_slice());
        let left = context.flush(&mut target).ok()?;
        out.extend_from_slice(target.as_slice());
        if left == 0 {
            return Some(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Decompress, FlushDecompress};

    /// Sizes around the buffers' growth: a flush that just fills its buffer must not leave a stray block for the next message.
    #[test]
    fn each_zlib_message_ends_with_a_sync_flush_and_decodes_alone() {
        let mut encoder = Encoder::by_name(Some("zlib-stream"));
        let mut decoder = Decompress::new(true);
        for size in (0..6000).step_by(37) {
            let text: String = (0..size).map(|at| char::from(b' ' + (at * 31 % 90) as u8)).collect();
            let message = encoder.message(&text).unwrap();
            let bytes: &[u8] = message.as_payload();
            assert!(bytes.ends_with(&[0, 0, 0xff, 0xff]));
            let mut out = Vec::with_capacity(size + 16);
            decoder.decompress_vec(bytes, &mut out, FlushDecompress::Sync).unwrap();
            assert_eq!(out, text.as_bytes());
        }
    }

    #[test]
    fn zstd_messages_decode_one_by_one() {
        let mut encoder = Encoder::by_name(Some("zstd-stream"));
        let mut decoder = zstd::stream::raw::Decoder::new().unwrap();
        for size in (1..6000).step_by(113) {
            let text = "abcdefghij".repeat(size / 10 + 1);
            let message = encoder.message(&text).unwrap();
            let bytes: &[u8] = message.as_payload();
            let mut out = vec![0; text.len() + 1024];
            let mut source = InBuffer::around(bytes);
            let mut target = OutBuffer::around(out.as_mut_slice());
            while source.pos() < bytes.len() {
                decoder.run(&mut source, &mut target).unwrap();
            }
            assert_eq!(target.as_slice(), text.as_bytes());
        }
    }
}
