//! Whether a request is known again.

use std::time::Duration;

use crate::clock::UnixMillis;

/// How long a request is known again.
const MEMORY: Duration = Duration::from_secs(24 * 60 * 60);

/// What is remembered of the request that was made under a key.
#[derive(Clone, Copy, Debug)]
pub struct Remembered {
    /// When it was made.
    pub made_at: UnixMillis,
    /// Whether it asked for the same.
    pub is_the_same: bool,
}

/// What a request under a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recognised {
    /// New, or so late that it is taken for new.
    New,
    /// The same as before: it is not done again.
    Again,
    /// Another one under the key of one that is still known.
    Another,
}

/// Decides it.
pub fn recognise(remembered: Option<Remembered>, now: UnixMillis) -> Recognised {
    match remembered {
        Some(before) if before.made_at.plus(MEMORY) > now => {
            if before.is_the_same {
                Recognised::Again
            } else {
                Recognised::Another
            }
        }
        _ => Recognised::New,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_known_again_for_a_day_by_what_it_asks() {
        let now = UnixMillis(0).plus(MEMORY);
        let seen = |made_at, is_the_same| {
            let remembered = Remembered {
                made_at: UnixMillis(made_at),
                is_the_same,
            };
            recognise(Some(remembered), now)
        };
        assert_eq!(seen(1, true), Recognised::Again);
        assert_eq!(seen(1, false), Recognised::Another);
        assert_eq!(seen(0, true), Recognised::New, "a day later");
        assert_eq!(seen(0, false), Recognised::New);
        assert_eq!(recognise(None, now), Recognised::New);
    }
}
