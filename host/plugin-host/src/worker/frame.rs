//! What a message looks like on the socket between host and worker: the length of what follows (u32), the call that
//! it is about (u64, 0 = none), and the message, whose first byte is its kind. Little-endian.
//!
//! Invariant: no frame is longer than [`MAX_FRAME_BYTES`], in either direction, so that neither side buffers more
//! than that for the other.

use std::io::{self, Read};

use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

/// The most that follows the length: an HTTP answer of 1 MiB and its headers fit.
pub(super) const MAX_FRAME_BYTES: usize = 2 << 20;
const LENGTH_BYTES: usize = 4;
const ID_BYTES: usize = 8;
const READ_BYTES: usize = 64 * 1024;

/// A frame as it is written. It may hold options and codes, so it is wiped when it is dropped.
pub(super) type Frame = Zeroizing<Vec<u8>>;

/// A message that does not fit into a frame.
pub(super) struct TooLarge;

/// What came is no frame.
pub(super) struct Malformed;

/// Puts a message into a frame.
pub(super) fn encode(id: u64, message: &impl Serialize) -> Result<Frame, TooLarge> {
    let mut head = Vec::with_capacity(512);
    head.extend_from_slice(&[0; LENGTH_BYTES]);
    head.extend_from_slice(&id.to_le_bytes());
    let mut frame = Zeroizing::new(postcard::to_extend(message, head).map_err(|_| TooLarge)?);
    let length = frame.len() - LENGTH_BYTES;
    if length > MAX_FRAME_BYTES {
        return Err(TooLarge);
    }
    let length = u32::try_from(length).map_err(|_| TooLarge)?;
    frame[..LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
    Ok(frame)
}

/// Frames that arrive in pieces.
#[derive(Default)]
pub(super) struct Arrivals {
    bytes: Vec<u8>,
    /// What was taken out of `bytes` already.
    taken: usize,
    last_bytes: usize,
}

impl Arrivals {
    /// Reads once; 0 is the end of the stream.
    pub(super) fn read(&mut self, mut from: impl Read) -> io::Result<usize> {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        let before = self.bytes.len();
        self.bytes.resize(before + READ_BYTES, 0);
        let read = from.read(&mut self.bytes[before..]);
        self.bytes.truncate(before + read.as_ref().copied().unwrap_or(0));
        read
    }

    /// The length of the message that was taken out last.
    pub(super) fn last_bytes(&self) -> usize {
        self.last_bytes
    }

    /// The next whole message, with the call that it is about.
    pub(super) fn next<M: DeserializeOwned>(&mut self) -> Result<Option<(u64, M)>, Malformed> {
        let bytes = &self.bytes[self.taken..];
        let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*length) as usize;
        if !(ID_BYTES..=MAX_FRAME_BYTES).contains(&length) {
            return Err(Malformed);
        }
        let Some((id, body)) = rest
            .get(..length)
            .and_then(|frame| frame.split_first_chunk::<ID_BYTES>())
        else {
            return Ok(None);
        };
        let message = postcard::from_bytes(body).map_err(|_| Malformed)?;
        self.taken += LENGTH_BYTES + length;
        self.last_bytes = length;
        Ok(Some((u64::from_le_bytes(*id), message)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::worker::message::ToHost;

    proptest! {
        #[test]
        fn whatever_a_worker_puts_into_a_frame_leads_to_a_verdict(kind in 0..20_u8, rest in vec(any::<u8>(), 0..512)) {
            let length = u32::try_from(ID_BYTES + 1 + rest.len()).unwrap();
            let frame = [&length.to_le_bytes(), [7; ID_BYTES].as_slice(), &[kind], &rest].concat();
            let mut arrivals = Arrivals::default();
            arrivals.read(frame.as_slice()).unwrap();
            let taken = arrivals.next::<ToHost>().is_ok_and(|message| message.is_some());
            prop_assert_eq!(arrivals.taken == frame.len(), taken);
        }
    }

    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_cut() {
        let texts = ["", "one", &"x".repeat(100_000)];
        let stream: Vec<u8> = texts
            .iter()
            .zip(7..)
            .flat_map(|(text, id)| encode(id, text).ok().unwrap().to_vec())
            .collect();
        for piece in [1, 13, stream.len()] {
            let mut arrivals = Arrivals::default();
            let mut out = Vec::new();
            for bytes in stream.chunks(piece) {
                let mut bytes = bytes;
                while !bytes.is_empty() {
                    arrivals.read(&mut bytes).unwrap();
                    while let Some((id, text)) = arrivals.next::<String>().ok().unwrap() {
                        out.push((id, text));
                    }
                }
            }
            let out: Vec<_> = out.iter().map(|(id, text)| (*id, text.as_str())).collect();
            assert_eq!(out, [(7, texts[0]), (8, texts[1]), (9, texts[2])], "{piece}");
        }
    }

    #[test]
    fn no_more_than_a_thousand_pairs_are_sent_and_none_are_taken() {
        use phone_verify_plugin_abi::{
            RawReceipt,
            abi_stable::std_types::{RString, Tuple2},
        };

        use crate::raw::Receipt;

        let receipt = Receipt(RawReceipt {
            message_id: RString::new(),
            flags: 0,
            ext: (0..5000)
                .map(|_| Tuple2(RString::new(), RString::new()))
                .collect(),
        });
        let mut frame = encode(1, &receipt).ok().unwrap().to_vec();
        let mut arrivals = Arrivals::default();
        arrivals.read(frame.as_slice()).unwrap();
        let (_, heard) = arrivals.next::<Receipt>().ok().unwrap().unwrap();
        assert_eq!(heard.0.ext.len(), 1024);

        // The number of pairs follows the empty id and the flags: 1024 is 0x80 0x08.
        let at = LENGTH_BYTES + ID_BYTES + 2;
        assert_eq!(frame[at..at + 2], [0x80, 0x08]);
        frame[at] = 0x81;
        frame.extend_from_slice(&[0, 0]);
        frame[0] += 2;
        let mut arrivals = Arrivals::default();
        arrivals.read(frame.as_slice()).unwrap();
        assert!(arrivals.next::<Receipt>().is_err());
    }

    #[test]
    fn what_is_too_long_or_no_message_is_refused() {
        assert!(encode(1, &"x".repeat(MAX_FRAME_BYTES)).is_err());
        for bytes in [
            [255; LENGTH_BYTES + ID_BYTES].as_slice(),
            &[0; LENGTH_BYTES + ID_BYTES],
            &[9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 200],
        ] {
            let mut arrivals = Arrivals::default();
            arrivals.read(bytes).unwrap();
            assert!(arrivals.next::<String>().is_err(), "{bytes:?}");
        }
    }
}
