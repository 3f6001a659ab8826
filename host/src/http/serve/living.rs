//! The connections that are not closing, by client, and the choice of those that are closed to make room.

use std::{collections::HashMap, sync::Arc};

use super::connection::{Connection, Phase};
use crate::model::ClientAddress;

/// The connections that are not closing. A closing one no longer counts against the bound of its address.
#[derive(Default)]
pub(super) struct Living {
    by_client: HashMap<ClientAddress, HashMap<u64, Arc<Connection>>>,
    count: usize,
}

impl Living {
    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn of(&self, client: ClientAddress) -> Option<&HashMap<u64, Arc<Connection>>> {
        self.by_client.get(&client)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Connection>> {
        self.by_client.values().flat_map(HashMap::values)
    }

    pub(super) fn add(&mut self, connection: Arc<Connection>) {
        let of_client = self.by_client.entry(connection.client).or_default();
        of_client.insert(connection.id, connection);
        self.count += 1;
    }

    pub(super) fn remove(&mut self, connection: &Connection) {
        let Some(of_client) = self.by_client.get_mut(&connection.client) else {
            return;
        };
        if of_client.remove(&connection.id).is_some() {
            self.count -= 1;
        }
        if of_client.is_empty() {
            self.by_client.remove(&connection.client);
        }
    }
}

/// Chooses at most `few` connections to close, in that order. Among those that wait for the client, those go first that
/// have waited longest.
///
/// Silent connections, which have not sent a whole request yet, go before those that are kept open for a next request,
/// so that a flood of them does not close connections of regular clients. The exception is when silent ones are less
/// than a quarter: then a new client would be closed before its request could arrive. Connections whose requests are
/// all answered, and which only linger, go first of all.
pub(super) fn oldest<'a>(
    connections: impl Iterator<Item = &'a Arc<Connection>>,
    few: usize,
) -> Vec<Arc<Connection>> {
    let mut waiting: Vec<_> = connections
        .filter_map(|connection| Some((connection.waiting()?, connection)))
        .collect();
    let is_silent = |phase| phase == Phase::Fresh;
    let silent = waiting.iter().filter(|((phase, _), _)| is_silent(*phase)).count();
    let silent_go_first = silent * 4 >= waiting.len();
    let order = |((phase, since), connection): &((Phase, u64), &Arc<Connection>)| {
        let rank = match phase {
            Phase::Lingering => 0,
            phase if is_silent(*phase) == silent_go_first => 1,
            _ => 2,
        };
        (rank, *since, connection.id)
    };
    if waiting.len() > few {
        waiting.select_nth_unstable_by_key(few, order);
        waiting.truncate(few);
    }
    waiting.sort_unstable_by_key(order);
    let few = waiting.into_iter();
    few.map(|(_, connection)| Arc::clone(connection)).collect()
}
