//! Randomness is an argument: everything that needs it holds an [`Entropy`], so that a seeded test is
//! stable to the byte. Nothing else in the host draws from the operating system.
//!
//! Invariant: outside tests every byte comes from the operating system's CSPRNG.

use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};

/// Where random bytes come from.
#[derive(Clone)]
pub struct Entropy(Source);

#[derive(Clone)]
enum Source {
    System,
    Seeded(Arc<Mutex<(u64, u64)>>),
}

/// The operating system gave no randomness; nothing secret can be made.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the operating system gave no randomness: {0}")]
pub struct NoEntropy(String);

impl Entropy {
    /// The operating system's CSPRNG.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A reproducible stream, for tests only.
    pub fn seeded(seed: u64) -> Self {
        Self(Source::Seeded(Arc::new(Mutex::new((seed, 0)))))
    }

    /// Fills `bytes` with randomness.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where the system's randomness is drawn"
    )]
    pub fn fill(&self, bytes: &mut [u8]) -> Result<(), NoEntropy> {
        match &self.0 {
            Source::System => getrandom::fill(bytes).map_err(|error| NoEntropy(error.to_string())),
            Source::Seeded(state) => {
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                for chunk in bytes.chunks_mut(32) {
                    let mut hash = Sha256::new();
                    hash.update(state.0.to_be_bytes());
                    hash.update(state.1.to_be_bytes());
                    state.1 += 1;
                    chunk.copy_from_slice(&hash.finalize()[..chunk.len()]);
                }
                Ok(())
            }
        }
    }

    /// A random array.
    pub fn array<const N: usize>(&self) -> Result<[u8; N], NoEntropy> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }
}
