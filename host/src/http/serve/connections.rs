//! All connections of the server: how many there may be, which one makes room for another, and how many ended why.
//!
//! Invariants: there are never more connections than permits. A connection with a request under way is never closed to
//! make room. No client address takes more than its share, except a trusted proxy, which carries the connections of
//! many clients.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    connection::{Connection, Patience},
    ended::{ConnectionCounts, Ended, Pressure},
    living::{Living, oldest},
};
use crate::{
    clock::Clock,
    model::{ClientAddress, Peer, TrustedProxies},
};

/// How long to wait for a connection to end, before looking again for one that can make room.
const ROOM_INTERVAL: Duration = Duration::from_millis(20);

/// Bounds on what clients may use of the server.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// The most connections at once.
    pub max_connections: usize,
    /// The most connections of one client address at once.
    pub max_connections_per_address: usize,
    /// Proxies, for which the bound of an address does not hold.
    pub trusted_proxies: TrustedProxies,
    /// How long a request's head may take to arrive, and how long a client may take to read an answer.
    pub read_timeout: Duration,
    /// How long a connection may wait for its next request.
    pub idle_timeout: Duration,
}

/// All connections of a server.
pub struct Connections {
    bounds: Bounds,
    clock: Clock,
    /// One permit for each connection that may be open.
    places: Arc<Semaphore>,
    /// The connections that are not closing.
    living: Mutex<Living>,
    accepted: AtomicU64,
    ended: [AtomicU64; Ended::ALL.len()],
}

/// An accepted connection. Dropping it removes it from the list and gives its permit back.
pub(super) struct Admitted {
    pub(super) connection: Arc<Connection>,
    connections: Arc<Connections>,
    _place: OwnedSemaphorePermit,
}

impl Connections {
    /// No connections yet.
    pub fn new(bounds: Bounds, clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            places: Arc::new(Semaphore::new(bounds.max_connections)),
            bounds,
            clock,
            living: Mutex::default(),
            accepted: AtomicU64::new(0),
            ended: std::array::from_fn(|_| AtomicU64::new(0)),
        })
    }

    /// The counts for metrics.
    pub fn counts(&self) -> ConnectionCounts {
        let places = self.places.available_permits();
        ConnectionCounts {
            open: self.bounds.max_connections.saturating_sub(places) as u64,
            accepted: self.accepted.load(Ordering::Relaxed),
            closed: Ended::ALL.map(|ended| (ended.reason(), self.count(ended))).into(),
        }
    }

    /// How often connections had to go because of a bound, for the log.
    pub(super) fn pressure(&self) -> Pressure {
        Pressure {
            of_all: self.count(Ended::Room),
            of_address: self.count(Ended::RoomOfAddress),
            refused: self.count(Ended::Refused),
        }
    }

    fn count(&self, ended: Ended) -> u64 {
        self.ended[ended as usize].load(Ordering::Relaxed)
    }

    fn add(&self, ended: Ended) {
        self.ended[ended as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn living(&self) -> MutexGuard<'_, Living> {
        self.living.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a permit for a new connection, and closes others to make room if needed. If all have a request under
    /// way, waits until the first one ends.
    pub(super) async fn place(&self) -> OwnedSemaphorePermit {
        loop {
            if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
                return place;
            }
            // If fewer connections are alive, some are already closing: waiting is enough.
            if self.living().count() >= self.bounds.max_connections {
                self.make_room();
            }
            let place = Arc::clone(&self.places).acquire_owned();
            if let Ok(Ok(place)) = tokio::time::timeout(ROOM_INTERVAL, place).await {
                return place;
            }
        }
    }

    /// Closes the connections that have waited longest. With many connections, several at once: otherwise a flood would
    /// make the server search the whole list for each new connection.
    pub(super) fn make_room(&self) {
        let mut living = self.living();
        let few = 1 + self.bounds.max_connections / 128;
        for connection in oldest(living.all(), few) {
            if connection.close_if_waiting(Ended::Room) {
                living.remove(&connection);
            }
        }
    }

    /// Adds a new connection; `None`: its address has as many as it may have, and each of them has a request under way.
    pub(super) fn admit(self: &Arc<Self>, peer: Peer, place: OwnedSemaphorePermit) -> Option<Admitted> {
        let id = self.accepted.fetch_add(1, Ordering::Relaxed);
        let client = ClientAddress::from(peer);
        let mut living = self.living();
        let bound = self.bounds.max_connections_per_address;
        if let Some(of_client) = living.of(client)
            && of_client.len() >= bound
            && !self.bounds.trusted_proxies.contain(peer)
        {
            // The chosen connection may have begun a request just now. Then the next one is tried.
            let closed = oldest(of_client.values(), 8)
                .into_iter()
                .find(|connection| connection.close_if_waiting(Ended::RoomOfAddress));
            let Some(closed) = closed else {
                self.add(Ended::Refused);
                return None;
            };
            living.remove(&closed);
        }
        let patience = Patience {
            read: self.bounds.read_timeout,
            idle: self.bounds.idle_timeout,
        };
        let connection = Connection::new(id, client, patience, self.clock.clone());
        living.add(Arc::clone(&connection));
        Some(Admitted {
            connection,
            connections: Arc::clone(self),
            _place: place,
        })
    }

    /// Closes all connections that have been too long in their phase.
    pub(super) fn close_late(&self) {
        let mut living = self.living();
        let late = |connection: &&Arc<Connection>| connection.close_if_late();
        let late: Vec<_> = living.all().filter(late).cloned().collect();
        for connection in late {
            living.remove(&connection);
        }
    }

    /// Closes all connections that wait for a request. The others end after their request.
    pub(super) fn stop(&self) {
        for connection in self.living().all() {
            if !connection.close_if_idle(Ended::Stopped) {
                connection.make_last_request();
            }
        }
    }

    /// Waits until no connection is left. Nothing may be admitted meanwhile.
    pub(super) async fn all_ended(&self) {
        let all = u32::try_from(self.bounds.max_connections).unwrap_or(u32::MAX);
        let _ = self.places.acquire_many(all).await;
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.connections.living().remove(&self.connection);
        self.connections.add(self.connection.ended());
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::{clock::UnixMillis, http::serve::connection::Phase};

    const ONE: Peer = Peer::Address(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));
    const OTHER: Peer = Peer::Address(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2)));

    fn connections(max: usize, per_address: usize) -> (Arc<Connections>, Clock) {
        let clock = Clock::manual(UnixMillis(1_800_000_000_000));
        let bounds = Bounds {
            max_connections: max,
            max_connections_per_address: per_address,
            trusted_proxies: TrustedProxies {
                networks: vec!["10.0.0.0/8".parse().unwrap()],
                unix_socket: false,
            },
            read_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
        };
        (Connections::new(bounds, clock.clone()), clock)
    }

    async fn connect(connections: &Arc<Connections>, peer: Peer) -> Option<Admitted> {
        let place = connections.place().await;
        connections.admit(peer, place)
    }

    fn is_to_end(admitted: &Admitted) -> bool {
        admitted.connection.phase() == Phase::Closing
    }

    #[tokio::test]
    async fn the_one_of_its_address_that_waited_longest_makes_room() {
        let (connections, clock) = connections(100, 3);
        let mut all = Vec::new();
        for _ in 0..3 {
            all.push(connect(&connections, ONE).await.unwrap());
            clock.advance(Duration::from_millis(10));
        }
        let other = connect(&connections, OTHER).await.unwrap();
        all[0].connection.enter(Phase::Busy);
        all.push(connect(&connections, ONE).await.unwrap());
        let ending: Vec<bool> = all.iter().map(is_to_end).collect();
        assert_eq!(ending, [false, true, false, false]);
        assert!(!is_to_end(&other));
    }

    #[tokio::test]
    async fn an_address_whose_connections_are_all_busy_gets_no_more() {
        let (connections, _) = connections(100, 2);
        let busy = [
            connect(&connections, ONE).await.unwrap(),
            connect(&connections, ONE).await.unwrap(),
        ];
        for admitted in &busy {
            admitted.connection.enter(Phase::Busy);
        }
        assert!(connect(&connections, ONE).await.is_none());
        assert!(connect(&connections, OTHER).await.is_some());
        assert_eq!(connections.count(Ended::Refused), 1);
        drop(busy);
        assert!(connect(&connections, ONE).await.is_some());
    }

    #[tokio::test]
    async fn a_trusted_proxy_has_the_clients_of_many() {
        let (connections, _) = connections(100, 2);
        let proxy = Peer::Address("10.0.0.1".parse().unwrap());
        let mut all = Vec::new();
        for _ in 0..50 {
            all.push(connect(&connections, proxy).await.unwrap());
        }
        assert!(!all.iter().any(is_to_end));
    }

    #[tokio::test]
    async fn of_all_the_one_that_waited_longest_makes_room() {
        let (connections, clock) = connections(3, 3);
        let mut all = Vec::new();
        for host in 1..=3 {
            let peer = Peer::Address(IpAddr::from([192, 0, 2, host]));
            all.push(Some(connect(&connections, peer).await.unwrap()));
            clock.advance(Duration::from_millis(10));
        }
        all[0].as_ref().unwrap().connection.enter(Phase::Busy);
        connections.make_room();
        let ending: Vec<bool> = all.iter().flatten().map(is_to_end).collect();
        assert_eq!(ending, [false, true, false]);
        all[1] = None;
        connect(&connections, OTHER).await.unwrap();
        assert_eq!(connections.count(Ended::Room), 1);
    }

    #[tokio::test]
    async fn a_flood_of_silent_connections_leaves_the_kept_ones_alone() {
        let (connections, clock) = connections(100, 8);
        let kept = connect(&connections, ONE).await.unwrap();
        kept.connection.enter(Phase::KeepAlive);
        clock.advance(Duration::from_secs(60));
        let mut flood = Vec::new();
        for _ in 0..50 {
            flood.push(connect(&connections, ONE).await.unwrap());
        }
        assert!(!is_to_end(&kept));
        assert_eq!(flood.iter().filter(|silent| !is_to_end(silent)).count(), 7);
    }

    #[tokio::test]
    async fn a_newcomer_among_kept_connections_has_time_for_its_request() {
        let (connections, clock) = connections(100, 8);
        let mut kept = Vec::new();
        for _ in 0..8 {
            let connection = connect(&connections, ONE).await.unwrap();
            connection.connection.enter(Phase::KeepAlive);
            kept.push(connection);
            clock.advance(Duration::from_millis(10));
        }
        let newcomer = connect(&connections, ONE).await.unwrap();
        let next = connect(&connections, ONE).await.unwrap();
        assert!(!is_to_end(&newcomer) && !is_to_end(&next));
        let ending: Vec<usize> = (0..8).filter(|at| is_to_end(&kept[*at])).collect();
        assert_eq!(ending, [0, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_about_to_end_costs_no_other_one_its_place() {
        let (connections, _) = connections(3, 2);
        let other = connect(&connections, OTHER).await.unwrap();
        let ending = connect(&connections, ONE).await.unwrap();
        let kept = connect(&connections, ONE).await.unwrap();
        // This one makes room, and its task has not noticed that yet.
        ending.connection.close_if_waiting(Ended::RoomOfAddress);
        connections.living().remove(&ending.connection);
        tokio::spawn(async move {
            tokio::time::sleep(ROOM_INTERVAL * 3).await;
            drop(ending);
        });
        let place = connections.place().await;
        assert!(connections.admit(ONE, place).is_some());
        assert!(!is_to_end(&other) && !is_to_end(&kept));
        assert_eq!(connections.pressure().refused, 0);
    }

    #[tokio::test]
    async fn what_became_of_them_is_counted() {
        let (connections, clock) = connections(10, 10);
        let idle = connect(&connections, ONE).await.unwrap();
        let open = connect(&connections, ONE).await.unwrap();
        idle.connection.enter(Phase::KeepAlive);
        open.connection.enter(Phase::Busy);
        clock.advance(Duration::from_secs(75));
        connections.close_late();
        drop(idle);
        let counts = connections.counts();
        assert_eq!((counts.open, counts.accepted), (1, 2));
        let closed: Vec<_> = counts
            .closed
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .collect();
        assert_eq!(closed, [("idle_timeout", 1)]);
        connections.stop();
        assert!(open.connection.is_last_request());
        drop(open);
        connections.all_ended().await;
    }
}
