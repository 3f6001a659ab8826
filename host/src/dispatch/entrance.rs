//! Where messages come in: the verifier reserves a place here before it begins anything.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::{
    fleet::Fleet,
    store::{Destination, Order, Place},
    verifier::{NoPlace, Outbox},
};

/// The way to the dispatcher. Each backend has a queue of its own, so that one which is full holds up no message for
/// another.
pub struct Entrance {
    fleet: Arc<Fleet>,
    orders: mpsc::Sender<Order>,
}

impl Entrance {
    /// With its other end, for the dispatcher. What bounds it are the places in the lanes.
    pub fn new(fleet: Arc<Fleet>) -> (Self, mpsc::Receiver<Order>) {
        let (orders, to_dispatch) = mpsc::channel(tokio::sync::Semaphore::MAX_PERMITS);
        (Self { fleet, orders }, to_dispatch)
    }
}

impl Outbox for Entrance {
    fn reserve(&self, to: Destination<'_>) -> Result<Place, NoPlace> {
        let first = self.fleet.first(to).map_err(NoPlace::Nowhere)?;
        let waiting = first.lane().place().ok_or(NoPlace::Full)?;
        let orders = self.orders.clone().try_reserve_owned();
        let orders = orders.map_err(|_| NoPlace::Full)?;
        Ok(Place { orders, waiting })
    }
}
