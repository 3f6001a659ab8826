//! The content codings of an answer (RFC 9110, section 8.4). Requests ask for none, but there are servers and gateways
//! that compress all the same, and an answer that nobody can read makes a failure of an SMS that was taken.
//!
//! Invariant: what comes out is bounded like any answer, however small what came in is.

use std::io::Read;

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use phone_verify_plugin_abi::{RawError, RawHttpResponse, abi_stable::std_types::RVec, http_error, kind};

use super::{Answer, MAX_BODY_BYTES, too_large, too_much_held};
use crate::convert::raw_error;

/// No server codes an answer more often.
const MAX_CODINGS: usize = 4;
const BROTLI_BUFFER_BYTES: usize = 4096;

/// The answer with its body as it was before it was coded. Where that cannot be had, a failure of the provider's still
/// says what it is by its status, and has no body.
pub(super) fn decode(
    mut answer: RawHttpResponse,
    held: &mut Answer<'_>,
) -> Result<RawHttpResponse, RawError> {
    let codings = codings(&answer);
    if codings.is_empty() {
        return Ok(answer);
    }
    let succeeded = (200..300).contains(&answer.status);
    match decoded(&answer.body, &codings) {
        Ok(body) if !held.grow(body.len()) => return Err(too_much_held()),
        Ok(body) => answer.body = RVec::from(body),
        Err(Fault::TooLarge) => return Err(too_large()),
        Err(Fault::Unreadable(why)) if succeeded => {
            let message = format!("the answer is coded as {}, and {why}", codings.join(", "));
            return Err(raw_error(kind::OUTCOME_UNKNOWN, http_error::RESET, &message));
        }
        Err(Fault::Unreadable(_)) => answer.body = RVec::new(),
    }
    // They are about what came.
    answer
        .headers
        .retain(|header| !["content-encoding", "content-length"].contains(&header.0.as_str()));
    Ok(answer)
}

/// In the order in which they were applied.
fn codings(answer: &RawHttpResponse) -> Vec<String> {
    answer
        .headers
        .iter()
        .filter(|header| header.0.as_str() == "content-encoding")
        .flat_map(|header| header.1.split(','))
        .map(|coding| coding.trim().to_lowercase())
        .filter(|coding| !coding.is_empty() && coding != "identity")
        .collect()
}

enum Fault {
    TooLarge,
    Unreadable(String),
}

fn decoded(body: &[u8], codings: &[String]) -> Result<Vec<u8>, Fault> {
    let mut body = body.to_vec();
    // The answer to a HEAD request, or of a status that has none.
    if body.is_empty() {
        return Ok(body);
    }
    if codings.len() > MAX_CODINGS {
        return Err(Fault::Unreadable(format!(
            "more than {MAX_CODINGS} codings are not read"
        )));
    }
    for coding in codings.iter().rev() {
        body = match coding.as_str() {
            "gzip" | "x-gzip" => read(MultiGzDecoder::new(&*body)),
            // The standard means zlib's format; some servers leave its frame away.
            "deflate" => match read(ZlibDecoder::new(&*body)) {
                Err(Fault::Unreadable(_)) => read(DeflateDecoder::new(&*body)),
                read => read,
            },
            "br" => read(brotli_decompressor::Decompressor::new(
                &*body,
                BROTLI_BUFFER_BYTES,
            )),
            _ => Err(Fault::Unreadable(format!(
                "{coding} is not known here; have the provider, or the gateway before it, send answers uncoded"
            ))),
        }?;
    }
    Ok(body)
}

fn read(decoder: impl Read) -> Result<Vec<u8>, Fault> {
    let mut body = Vec::new();
    let read = decoder.take(MAX_BODY_BYTES as u64 + 1).read_to_end(&mut body);
    match read {
        _ if body.len() > MAX_BODY_BYTES => Err(Fault::TooLarge),
        Ok(_) => Ok(body),
        Err(error) => Err(Fault::Unreadable(format!("cannot be decoded: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{
        Compression,
        write::{DeflateEncoder, GzEncoder, ZlibEncoder},
    };
    use phone_verify_plugin_abi::abi_stable::std_types::{RString, Tuple2};

    use super::*;
    use crate::services::http::Bounds;

    const BODY: &[u8] = br#"{"messages":[{"status":"0","message-id":"0A0"}]}"#;

    fn gzip(body: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(body: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    fn raw_deflate(body: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    /// One block that is stored as it is (RFC 7932, section 9.2), and the empty last one.
    fn brotli(body: &[u8]) -> Vec<u8> {
        let head = u32::try_from(body.len() - 1).unwrap() << 4 | 1 << 20;
        [&head.to_le_bytes()[..3], body, &[3]].concat()
    }

    fn answer(status: u16, codings: &[&str], body: &[u8]) -> Result<RawHttpResponse, RawError> {
        let header = |coding: &&str| Tuple2(RString::from("content-encoding"), RString::from(*coding));
        let mut headers: RVec<_> = codings.iter().map(header).collect();
        headers.push(Tuple2("content-length".into(), body.len().to_string().into()));
        headers.push(Tuple2("content-type".into(), "application/json".into()));
        let answer = RawHttpResponse {
            status,
            headers,
            body: RVec::from(body),
            flags: 0,
            ext: RVec::new(),
        };
        decode(answer, &mut Bounds::new(1).answer())
    }

    #[test]
    fn a_coded_answer_is_read_whatever_the_coding() {
        for (codings, body) in [
            (&["gzip"][..], gzip(BODY)),
            (&["x-gzip"], gzip(BODY)),
            (&[" GZip "], gzip(BODY)),
            (&["gzip"], [gzip(&BODY[..9]), gzip(&BODY[9..])].concat()),
            (&["deflate"], zlib(BODY)),
            (&["deflate"], raw_deflate(BODY)),
            (&["br"], brotli(BODY)),
            (&["deflate, gzip"], gzip(&zlib(BODY))),
            (&["deflate", "identity, gzip"], gzip(&zlib(BODY))),
        ] {
            let decoded = answer(200, codings, &body).unwrap();
            assert_eq!(decoded.body.as_slice(), BODY, "{codings:?}");
            let names: Vec<_> = decoded.headers.iter().map(|header| header.0.as_str()).collect();
            assert_eq!(names, ["content-type"], "{codings:?}");
        }
        for codings in [&["identity"][..], &[""], &[]] {
            assert_eq!(answer(200, codings, BODY).unwrap().body.as_slice(), BODY);
        }
        assert!(answer(204, &["gzip"], b"").unwrap().body.is_empty());
    }

    #[test]
    fn an_answer_that_cannot_be_decoded_leaves_open_what_became_of_the_sms() {
        let cut = gzip(BODY);
        for (codings, body) in [
            (&["gzip"][..], &cut[..cut.len() - 9]),
            (&["gzip"], BODY),
            (&["br"], BODY),
            (&["zstd"], BODY),
            (&["gzip, gzip, gzip, gzip, gzip"], &cut),
        ] {
            let error = answer(200, codings, body).err().unwrap();
            assert_eq!(error.kind, kind::OUTCOME_UNKNOWN, "{codings:?}");
            assert!(
                error.message.starts_with("the answer is coded as "),
                "{}",
                error.message
            );
            // A failure is one by its status.
            let failed = answer(429, codings, body).unwrap();
            assert!(failed.status == 429 && failed.body.is_empty());
        }
    }

    #[test]
    fn a_bomb_is_an_answer_that_is_too_large() {
        let bomb = gzip(&vec![0; 64 * MAX_BODY_BYTES]);
        let nested = gzip(&gzip(&vec![0; 4 * MAX_BODY_BYTES]));
        for (codings, body) in [(&["gzip"][..], bomb), (&["gzip", "gzip"], nested)] {
            let error = answer(200, codings, &body).err().unwrap();
            assert_eq!(error.code.as_str(), http_error::TOO_LARGE);
        }
        assert_eq!(
            answer(200, &["gzip"], &gzip(&vec![0; MAX_BODY_BYTES]))
                .unwrap()
                .body
                .len(),
            MAX_BODY_BYTES
        );
    }
}
