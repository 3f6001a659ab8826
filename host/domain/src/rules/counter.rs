//! What a registration is counted in. A counter is a [`Log`] in the store, so that it
//! survives a restart and holds for all processes on one database.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::{FailureClass, Limit, limits::Log};

/// Names a counter: what is counted, and of whom. Of a number or an address there is only a keyed digest in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CounterKey(pub [u8; 17]);

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// SMS to a number.
    Number,
    /// Wrong codes for a number.
    FailedChecks,
    /// SMS that a client address asked for.
    Address,
    /// SMS to a country.
    Country,
    /// SMS of the whole service.
    Service,
    /// What the SMS of the whole service cost.
    Spend,
    /// SMS to numbers of a prefix whose code did not come back.
    UnverifiedOfPrefix,
    /// SMS to a country whose code did not come back.
    UnverifiedOfCountry,
    /// Numbers of a country that were verified, by day.
    History,
    /// The countries that a client address asked for.
    Countries,
}

impl Counted {
    /// What its keys begin with, never to be changed.
    pub fn tag(self) -> u8 {
        match self {
            Self::Number | Self::FailedChecks => b'n',
            Self::Address => b'a',
            Self::Country => b'c',
            Self::Service => b's',
            Self::Spend => b'$',
            Self::UnverifiedOfPrefix => b'p',
            Self::UnverifiedOfCountry => b'u',
            Self::History => b'h',
            Self::Countries => b'C',
        }
    }

    /// What is taken back after one failure or another.
    const TAKEN_BACK: [Self; 4] = [Self::Number, Self::Country, Self::Service, Self::Spend];

    /// Whether it is taken back after one failure or another.
    pub fn can_be_taken_back(self) -> bool {
        Self::TAKEN_BACK.contains(&self)
    }

    /// Whether what was counted is taken back when the SMS certainly was not sent.
    ///
    /// What is for the whole service follows what left it. The number's budget is its owner's, and a fault of ours
    /// does not use it up; but a number that cannot be texted does, lest it be tried for ever. An address stays
    /// charged: it asked, and whoever can make sends fail could ask without end.
    pub fn is_taken_back_after(self, failure: FailureClass) -> bool {
        match self {
            Self::Country | Self::Service | Self::Spend => true,
            Self::Number => !failure.blames_number(),
            // The guard takes back its own by itself, for it also does when a code comes back.
            Self::Address
            | Self::FailedChecks
            | Self::UnverifiedOfPrefix
            | Self::UnverifiedOfCountry
            | Self::History
            | Self::Countries => false,
        }
    }

    /// The key of what there is one of in public: a country's code, or nothing.
    pub fn in_public(self, name: &str) -> CounterKey {
        let mut of = [0; 16];
        for (place, byte) in of.iter_mut().zip(name.bytes()) {
            *place = byte;
        }
        self.of(&of)
    }

    fn of(self, of: &[u8; 16]) -> CounterKey {
        let mut key = [self.tag(); 17];
        key[1..].copy_from_slice(of);
        CounterKey(key)
    }
}

/// Where it is kept when a key of the server was used: beside the counters, which also hold for all processes on
/// one database.
pub fn of_server_key(id: u32) -> CounterKey {
    // As no [`Counted::tag`] is.
    let mut key = [b'k'; 17];
    key[13..].copy_from_slice(&id.to_be_bytes());
    CounterKey(key)
}

/// The keys of the counters of a number, its prefix, and who asks.
#[derive(Clone, Copy, Debug)]
pub struct CounterKeys {
    /// A keyed digest of the number.
    pub number: [u8; 16],
    /// One of the number without its last four digits.
    pub prefix: [u8; 16],
    /// One of the client's address; `None`: no client asks.
    pub address: Option<[u8; 16]>,
}

impl CounterKeys {
    /// All that is remembered of the number, [`Counted::Number`] and [`Counted::FailedChecks`] among it.
    pub fn number(&self) -> CounterKey {
        Counted::Number.of(&self.number)
    }

    /// What is counted of the number's prefix.
    pub fn prefix(&self, counted: Counted) -> CounterKey {
        counted.of(&self.prefix)
    }

    /// What is counted of the client's address, if one asks.
    pub fn address(&self, counted: Counted) -> Option<CounterKey> {
        self.address.map(|address| counted.of(&address))
    }
}

/// What was counted lately against a cap.
#[derive(Clone, Debug)]
pub struct CapLog {
    /// [`Counted::Service`], [`Counted::Spend`] or [`Counted::Country`].
    pub counted: Counted,
    /// Its ISO 3166 code; empty: the whole service, or numbers of no country.
    pub country: String,
    /// What was counted.
    pub log: Log,
}

/// What a registration adds to a counter, and the limits that it must keep.
#[derive(Clone, Debug)]
pub struct Counter {
    /// What is counted.
    pub counted: Counted,
    /// Which one of those.
    pub key: CounterKey,
    /// How much must have room. It is added, except to [`Counted::FailedChecks`], where a check adds.
    pub amount: u64,
    /// How much there may be.
    pub limits: Arc<[Limit]>,
}

impl Counter {
    /// One that a message was counted in, of what can be [taken back](Counted::is_taken_back_after): with no limits,
    /// for they were kept.
    pub fn counted_before(key: CounterKey, amount: u64) -> Option<Self> {
        let counted = Counted::TAKEN_BACK
            .into_iter()
            .find(|counted| counted.tag() == key.0[0])?;
        Some(Self {
            counted,
            key,
            amount,
            limits: Arc::default(),
        })
    }
}
