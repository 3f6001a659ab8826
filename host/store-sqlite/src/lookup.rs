//! Verifications of a number or of a caller's own name, the latest ones first.
//!
//! A name has an index, in which rows without one are not. Numbers have none: an index of digests would cost each
//! registration a page of its own, and numbers are looked up once in a while. So all rows are looked through for a
//! number, one look at a time.

use rusqlite::{Connection, ToSql, params_from_iter};

use super::Fault;
use crate::{
    model::VerificationId,
    store::{Keyring, Lookup},
};

/// Before every id.
const BEYOND_ALL: VerificationId = VerificationId([0xff; 16]);

/// The digests under which it is looked for, of all keys.
pub(super) fn digests(lookup: &Lookup, keyring: &Keyring) -> Vec<Vec<u8>> {
    match lookup {
        Lookup::Number(number) => {
            let digests = keyring.number_digests(number).into_iter();
            digests.map(|digest| digest.to_vec()).collect()
        }
        Lookup::ClientRef(name) => {
            let digests = keyring.client_ref_digests(name).into_iter();
            digests.map(|digest| digest.to_vec()).collect()
        }
    }
}

/// The ids before this one, the latest first.
pub(super) fn ids(
    connection: &Connection,
    lookup: &Lookup,
    digests: &[Vec<u8>],
    before: Option<VerificationId>,
    limit: u32,
) -> Result<Vec<VerificationId>, Fault> {
    let column = match lookup {
        Lookup::Number(_) => "number",
        Lookup::ClientRef(_) => "ref_digest",
    };
    let of = vec!["?"; digests.len()].join(", ");
    let mut statement = connection.prepare_cached(&format!(
        "SELECT id FROM verification WHERE id < ? AND {column} IN ({of}) ORDER BY id DESC LIMIT ?"
    ))?;
    let before = before.unwrap_or(BEYOND_ALL).0;
    let mut values: Vec<&dyn ToSql> = vec![&before];
    values.extend(digests.iter().map(|digest| digest as &dyn ToSql));
    values.push(&limit);
    let ids = statement.query_map(params_from_iter(values), |row| row.get(0).map(VerificationId))?;
    Ok(ids.collect::<rusqlite::Result<_>>()?)
}
