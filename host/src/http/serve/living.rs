//! The connections that are not to end, by whose they are, and which of them make room first.

use std::{collections::HashMap, sync::Arc};

use super::connection::{Connection, Phase};
use crate::model::ClientAddress;

/// Those that are not to end: one that is takes no place among those of its address any more.
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

/// The few of these that are to make room, the first one first: of those that wait, the ones that have waited longest.
///
/// Silent ones, which have yet to send a whole request, go before those that are kept for a next request, so that a flood
/// takes nothing from regular clients; but not where they are few among kept ones, or a new client would be closed before
/// its request comes.
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
