//! Reads the chain of clients that proxies report, in `X-Forwarded-For` and `Forwarded` (RFC 7239).
//!
//! Invariant: both headers are read from their end, where the nearest proxy appends its entry. What a client wrote
//! comes before that, and cannot change how the proxies' entries are read, not even with an unclosed quotation.

use std::net::{IpAddr, SocketAddr};

/// The addresses in `X-Forwarded-For`, nearest first. `None`: an entry that is not an address.
pub(super) fn by_x_forwarded_for<'a>(values: &'a [&'a str]) -> impl Iterator<Item = Option<IpAddr>> + 'a {
    let hops = values.iter().rev().flat_map(|value| value.rsplit(','));
    hops.map(|hop| address(hop.trim()))
}

/// The addresses in `Forwarded`, nearest first. `None`: an entry without an address, such as `unknown`, a name such as
/// `_hidden`, or an element without `for`.
pub(super) fn by_forwarded<'a>(values: &'a [&'a str]) -> impl Iterator<Item = Option<IpAddr>> + 'a {
    let elements = values.iter().rev().flat_map(|value| from_end(value, b','));
    elements.map(|element| {
        let mut named = from_end(element, b';').filter_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            name.trim().eq_ignore_ascii_case("for").then_some(value.trim())
        });
        match (named.next(), named.next()) {
            (Some(node), None) => node_address(node),
            _ => None,
        }
    })
}

/// The parts of a list, last first. A separator inside a quotation does not count.
fn from_end(list: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(list);
    std::iter::from_fn(move || {
        let list = rest?;
        let bytes = list.as_bytes();
        let mut is_quoted = false;
        for at in (0..bytes.len()).rev() {
            if bytes[at] == b'"' && !is_escaped(bytes, at) {
                is_quoted = !is_quoted;
            } else if bytes[at] == separator && !is_quoted {
                rest = Some(&list[..at]);
                return Some(&list[at + 1..]);
            }
        }
        rest = None;
        Some(list)
    })
}

/// Whether the character comes after an odd number of backslashes.
fn is_escaped(bytes: &[u8], at: usize) -> bool {
    let backslashes = bytes[..at]
        .iter()
        .rev()
        .take_while(|byte| **byte == b'\\')
        .count();
    backslashes % 2 == 1
}

/// The address of a node (RFC 7239, section 6): an address with an optional port, which may be a name, quoted or not.
fn node_address(node: &str) -> Option<IpAddr> {
    let node = node
        .strip_prefix('"')
        .and_then(|node| node.strip_suffix('"'))
        .unwrap_or(node);
    let without_named_port = node.split_once(":_").map_or(node, |(node, _)| node);
    address(without_named_port)
}

/// An address with or without brackets and port. Proxies write all of these forms.
fn address(hop: &str) -> Option<IpAddr> {
    if let Ok(address) = hop.parse() {
        return Some(address);
    }
    if let Ok(socket) = hop.parse::<SocketAddr>() {
        return Some(socket.ip());
    }
    hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}
