//! The server's keys, and all that is done with them: digests of codes and numbers, session tokens, sealed
//! texts.
//!
//! Invariants: keys never leave this module; a digest is bound to what it is for, so that one cannot stand
//! for another; comparisons take the same time wherever the difference is.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwap;
use chacha20poly1305::{
    XChaCha20Poly1305, XNonce,
    aead::{Aead, KeyInit, Payload},
};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{CounterKeys, JobId};
use crate::{
    entropy::{Entropy, NoEntropy},
    model::{Bound, ClientAddress, PhoneNumber, Purpose, SecurityCode, SessionToken, VerificationId},
};

/// A keyed digest as it is stored.
pub type Digest = [u8; 32];

/// How many bytes of a session token are its MAC.
const TOKEN_MAC_LENGTH: usize = 16;
const NONCE_LENGTH: usize = 24;

/// A key of the server, of 256 bits, from which those for each use are derived.
#[derive(Clone)]
pub struct MasterKey(Zeroizing<[u8; 32]>);

impl MasterKey {
    /// Reads 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = HEXLOWER_PERMISSIVE
            .decode(text.as_bytes())
            .map(Zeroizing::new)
            .ok()?;
        let key = <[u8; 32]>::try_from(bytes.as_slice()).ok()?;
        Some(Self(Zeroizing::new(key)))
    }
}

/// It never prints.
impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Reads the keys again where they came from, the current one first; the error is a sentence.
pub type KeySource = Arc<dyn Fn() -> Result<Vec<MasterKey>, String> + Send + Sync>;

/// The current key, and others that open what they closed. They may be exchanged while they are in use.
pub struct Keyring {
    keys: ArcSwap<Keys>,
    entropy: Entropy,
    source: Option<KeySource>,
    /// Whether the database is being written with a key that is not among them.
    lacks: AtomicBool,
}

/// Never empty; the first one is current.
struct Keys {
    all: Vec<Key>,
    /// Under which limits are counted, and requests and jobs known again: the one that the database has known for
    /// longest, so that a new one sets nothing back.
    counting: usize,
}

impl Keys {
    fn of(masters: &[MasterKey]) -> Option<Self> {
        let all: Vec<_> = masters.iter().map(|MasterKey(master)| Key::new(master)).collect();
        let counting = all.len().checked_sub(1)?;
        Some(Self { all, counting })
    }

    fn current(&self) -> &Key {
        &self.all[0]
    }

    fn counting(&self) -> &Key {
        &self.all[self.counting]
    }

    fn find(&self, id: u32) -> Option<&Key> {
        self.all.iter().find(|key| key.id == id)
    }
}

#[derive(Clone)]
struct Key {
    /// Names the key in a row: the start of a digest of it.
    id: u32,
    code: Hmac<Sha256>,
    number: Hmac<Sha256>,
    token: Hmac<Sha256>,
    job: Hmac<Sha256>,
    request: Hmac<Sha256>,
    counter: Hmac<Sha256>,
    receipt_address: Hmac<Sha256>,
    client_ref: Hmac<Sha256>,
    seal: XChaCha20Poly1305,
}

impl Key {
    fn new(master: &[u8; 32]) -> Self {
        let derive = |label: &str| {
            let mut mac = keyed(master);
            mac.update(label.as_bytes());
            Zeroizing::new(<[u8; 32]>::from(mac.finalize().into_bytes()))
        };
        let id = derive("phone-verify key id v1");
        Self {
            id: u32::from_be_bytes([id[0], id[1], id[2], id[3]]),
            code: keyed(&derive("phone-verify security code v1")),
            number: keyed(&derive("phone-verify phone number v1")),
            token: keyed(&derive("phone-verify session token v1")),
            job: keyed(&derive("phone-verify bulk job v1")),
            request: keyed(&derive("phone-verify request v1")),
            counter: keyed(&derive("phone-verify counter v1")),
            receipt_address: keyed(&derive("phone-verify receipt address v1")),
            client_ref: keyed(&derive("phone-verify client ref v1")),
            seal: XChaCha20Poly1305::new((&*derive("phone-verify sealed text v1")).into()),
        }
    }

    /// Of what is compared, whichever way the code came here, so that there is one digest of a code.
    fn code_digest(&self, id: VerificationId, code: &SecurityCode) -> Digest {
        digest(&self.code, &[&id.0, code.folded().as_bytes()])
    }

    fn number_digest(&self, number: &PhoneNumber) -> Digest {
        digest(&self.number, &[number.e164().as_bytes()])
    }

    fn bound(&self, purpose: &Purpose) -> Option<Bound> {
        if *purpose == Purpose::default() {
            return None;
        }
        let part = |text: &Option<String>| {
            let text = text.as_deref();
            let length = text.map_or(u64::MAX, |text| text.len() as u64);
            [&length.to_be_bytes()[..], text.unwrap_or_default().as_bytes()].concat()
        };
        let (name, binding) = (part(&purpose.name), part(&purpose.binding));
        Some(Bound(digest(&self.counter, &[b"b", &name, &binding])))
    }

    /// Over the digest, so that a token can be judged with a row that holds no number.
    fn receipt_secret(&self, backend: &str) -> Zeroizing<String> {
        let secret: [u8; 16] = start(&digest(&self.receipt_address, &[backend.as_bytes()]));
        Zeroizing::new(data_encoding::HEXLOWER.encode(&secret))
    }

    fn client_ref_digest(&self, name: &str) -> [u8; 16] {
        start(&digest(&self.client_ref, &[name.as_bytes()]))
    }

    fn provider_id_digest(&self, member: &str, id: &str) -> [u8; 16] {
        let length = (member.len() as u64).to_be_bytes();
        start(&digest(
            &self.request,
            &[b"m", &length, member.as_bytes(), id.as_bytes()],
        ))
    }

    fn token_mac(&self, id: VerificationId, number: &[u8]) -> [u8; TOKEN_MAC_LENGTH] {
        start(&digest(&self.token, &[&id.0, number]))
    }
}

fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

/// All parts but the last have a fixed length, so no two lists of parts run together.
fn digest(keyed: &Hmac<Sha256>, parts: &[&[u8]]) -> Digest {
    let mut mac = keyed.clone();
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn start<const N: usize>(digest: &Digest) -> [u8; N] {
    let mut start = [0; N];
    start.copy_from_slice(&digest[..N]);
    start
}

impl Keyring {
    /// With these keys, the current one first; `None` if there is none.
    pub fn of(keys: &[MasterKey], entropy: Entropy) -> Option<Self> {
        Some(Self::with(Arc::new(Keys::of(keys)?), entropy))
    }

    fn with(keys: Arc<Keys>, entropy: Entropy) -> Self {
        Self {
            keys: ArcSwap::new(keys),
            entropy,
            source: None,
            lacks: AtomicBool::new(false),
        }
    }

    /// The same, and where they are read again once they were exchanged there.
    #[must_use]
    pub fn read_again_by(self, source: KeySource) -> Self {
        Self {
            source: Some(source),
            ..self
        }
    }

    /// Where they are read again, if that is more than what was given.
    pub fn source(&self) -> Option<KeySource> {
        self.source.clone()
    }

    /// The keys as they are now: whoever writes several things under the current one must not see it exchanged between.
    #[must_use]
    pub fn as_it_is(&self) -> Self {
        Self::with(self.keys.load_full(), self.entropy.clone())
    }

    /// Another one with these keys; `None` if there is none.
    pub fn with_keys(&self, masters: &[MasterKey]) -> Option<Self> {
        Self::of(masters, self.entropy.clone())
    }

    /// Takes these keys from now on, the current one first. None at all changes nothing.
    pub fn exchange(&self, masters: &[MasterKey]) {
        if let Some(keys) = Keys::of(masters) {
            self.keys.store(Arc::new(keys));
        }
    }

    /// The ids of all keys, the current one first.
    pub fn ids(&self) -> Vec<u32> {
        self.keys.load().all.iter().map(|key| key.id).collect()
    }

    /// Counts under the key of that id.
    pub fn count_under(&self, id: u32) {
        let keys = self.keys.load();
        let at = keys.all.iter().position(|key| key.id == id);
        if let Some(counting) = at.filter(|at| *at != keys.counting) {
            let all = keys.all.clone();
            self.keys.store(Arc::new(Keys { all, counting }));
        }
    }

    /// Whether the database is being written with a key that is not among them, by another process: then it cannot be
    /// told whether what was made with it is right.
    pub fn lacks_a_key(&self) -> bool {
        self.lacks.load(Ordering::Relaxed)
    }

    /// Notes whether it lacks one.
    pub fn set_lacking(&self, lacks: bool) {
        self.lacks.store(lacks, Ordering::Relaxed);
    }

    /// A keyring with one random key, for a database that does not outlive the process.
    pub fn ephemeral(entropy: Entropy) -> Result<Self, NoEntropy> {
        let key = Key::new(&Zeroizing::new(entropy.array()?));
        let keys = Keys {
            all: vec![key],
            counting: 0,
        };
        Ok(Self::with(Arc::new(keys), entropy))
    }

    /// Names the current key in a row.
    pub fn current_key_id(&self) -> u32 {
        self.keys.load().current().id
    }

    /// Whether it holds the key of that id.
    pub fn holds(&self, id: u32) -> bool {
        self.keys.load().find(id).is_some()
    }

    /// The token for a verification: its id and a MAC over id and number, so that nothing secret of it needs
    /// to be stored.
    pub fn session_token(&self, id: VerificationId, number: &PhoneNumber) -> SessionToken {
        let keys = self.keys.load();
        let mac = keys
            .current()
            .token_mac(id, &keys.current().number_digest(number));
        SessionToken::from_client(BASE64URL_NOPAD.encode(&[&id.0[..], &mac[..]].concat()))
    }

    /// The verification that a token names, if the token is ours and was made for this number.
    pub fn open_session_token(&self, token: &SessionToken, number: &PhoneNumber) -> Option<VerificationId> {
        let (id, mac) = token_parts(token)?;
        let keys = self.keys.load();
        let ours = keys
            .all
            .iter()
            .any(|key| bool::from(key.token_mac(id, &key.number_digest(number)).ct_eq(&mac)));
        ours.then_some(id)
    }

    /// Whether a token was made for this verification, whose row has this digest of the number under the key of
    /// that id.
    pub fn is_session_token(
        &self,
        token: &SessionToken,
        id: VerificationId,
        key_id: u32,
        number: &[u8],
    ) -> bool {
        let keys = self.keys.load();
        match (token_parts(token), keys.find(key_id)) {
            (Some((named, mac)), Some(key)) => {
                named == id && bool::from(key.token_mac(id, number).ct_eq(&mac))
            }
            _ => false,
        }
    }

    /// The digest of a code under the current key, bound to its verification. All ways to write it have the same.
    pub fn code_digest(&self, id: VerificationId, code: &SecurityCode) -> Digest {
        self.keys.load().current().code_digest(id, code)
    }

    /// The same under the key of that id; `None`: it is gone.
    pub fn code_digest_under(&self, key_id: u32, id: VerificationId, code: &SecurityCode) -> Option<Digest> {
        let keys = self.keys.load();
        keys.find(key_id).map(|key| key.code_digest(id, code))
    }

    /// Whether this is the code of that digest, made under the key of that id.
    pub fn code_matches(&self, key_id: u32, id: VerificationId, code: &SecurityCode, stored: &[u8]) -> bool {
        self.code_digest_under(key_id, id, code)
            .is_some_and(|ours| ours[..].ct_eq(stored).into())
    }

    /// What a number is stored as: a digest under the current key.
    pub fn number_digest(&self, number: &PhoneNumber) -> Digest {
        self.keys.load().current().number_digest(number)
    }

    /// What a number is found by: a digest under each key, the current one first.
    pub fn number_digests(&self, number: &PhoneNumber) -> Vec<Digest> {
        let keys = self.keys.load();
        keys.all.iter().map(|key| key.number_digest(number)).collect()
    }

    /// What a request is known again by.
    pub fn request_digest(&self, text: &[u8]) -> Digest {
        digest(&self.keys.load().counting().request, &[text])
    }

    /// Where a number and who asks for it are counted.
    pub fn counter_keys(&self, number: &PhoneNumber, client: Option<ClientAddress>) -> CounterKeys {
        let keys = self.keys.load();
        let keyed = &keys.counting().counter;
        CounterKeys {
            prefix: start(&digest(keyed, &[b"p", number.prefix().as_bytes()])),
            number: start(&digest(keyed, &[b"n", number.e164().as_bytes()])),
            address: client.map(|client| start(&digest(keyed, &[b"a", client.to_string().as_bytes()]))),
        }
    }

    /// What a purpose is stored as, and found by: a digest under each key, in the order of [`Self::number_digests`];
    /// `None`: there is no purpose.
    pub fn bounds(&self, purpose: &Purpose) -> Vec<Option<Bound>> {
        let keys = self.keys.load();
        keys.all.iter().map(|key| key.bound(purpose)).collect()
    }

    /// What a purpose is stored as under the key of that id; `None`: there is no purpose, or the key is gone.
    pub fn bound_under(&self, key_id: u32, purpose: &Purpose) -> Option<Bound> {
        let keys = self.keys.load();
        keys.find(key_id).and_then(|key| key.bound(purpose))
    }

    /// What a provider's id for a message is stored as. `member`: the name of the backend in the settings, since two
    /// accounts at one provider, or two providers, may give the same id.
    pub fn provider_id_digest(&self, member: &str, id: &str) -> [u8; 16] {
        self.keys.load().counting().provider_id_digest(member, id)
    }

    /// What it is found by: a digest under each key, that of [`Self::provider_id_digest`] first.
    pub fn provider_id_digests(&self, member: &str, id: &str) -> Vec<[u8; 16]> {
        let keys = self.keys.load();
        let counting = keys.counting();
        let others = keys.all.iter().filter(|key| key.id != counting.id);
        std::iter::once(counting)
            .chain(others)
            .map(|key| key.provider_id_digest(member, id))
            .collect()
    }

    /// What a caller's own name for a verification is stored as.
    pub fn client_ref_digest(&self, name: &str) -> [u8; 16] {
        self.keys.load().counting().client_ref_digest(name)
    }

    /// What it is found by: a digest under each key.
    pub fn client_ref_digests(&self, name: &str) -> Vec<[u8; 16]> {
        let keys = self.keys.load();
        keys.all.iter().map(|key| key.client_ref_digest(name)).collect()
    }

    /// The secret part of the address for the receipts of a backend: 32 hexadecimal digits, of 128 bits. It is derived, so
    /// that it need not be set, and changes with the key.
    pub fn receipt_secret(&self, backend: &str) -> Zeroizing<String> {
        self.keys.load().current().receipt_secret(backend)
    }

    /// Whether this is the secret part of the address for the receipts of a backend, under any of the keys: providers
    /// keep the address over an exchange of keys. It takes the same time for every text of the right length.
    pub fn is_receipt_secret(&self, backend: &str, given: &str) -> bool {
        let keys = self.keys.load();
        let is_of = |key: &Key| bool::from(key.receipt_secret(backend).as_bytes().ct_eq(given.as_bytes()));
        keys.all.iter().any(is_of)
    }

    /// The job that sends this text to these numbers, in whichever order they are given: a file that was sorted since
    /// must not have everybody texted again. `again` tells repetitions apart.
    pub fn job_id(&self, numbers: &[PhoneNumber], message: &str, again: &str) -> JobId {
        let mut mac = self.keys.load().counting().job.clone();
        let mut numbers: Vec<&str> = numbers.iter().map(PhoneNumber::e164).collect();
        numbers.sort_unstable();
        for part in numbers.into_iter().chain([message, again]) {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        JobId(start(&mac.finalize().into_bytes().into()))
    }

    /// A new name for a process.
    pub fn process_id(&self) -> Result<[u8; 16], NoEntropy> {
        self.entropy.array()
    }

    /// Seals a text for a while in the database. `bound_to` must be given again to open it.
    pub fn seal(&self, text: impl AsRef<[u8]>, bound_to: &[u8]) -> Result<Vec<u8>, NoEntropy> {
        let keys = self.keys.load();
        let key = keys.current();
        let nonce = self.entropy.array::<NONCE_LENGTH>()?;
        let payload = Payload {
            msg: text.as_ref(),
            aad: bound_to,
        };
        let sealed = key
            .seal
            .encrypt(&XNonce::from(nonce), payload)
            .expect("a text of less than 256 GiB can be sealed");
        Ok([&key.id.to_be_bytes()[..], &nonce[..], &sealed[..]].concat())
    }

    /// The text again; `None` if it was sealed under a key that is gone, for something else, or was changed.
    pub fn open_sealed(&self, sealed: &[u8], bound_to: &[u8]) -> Option<Zeroizing<String>> {
        let text = std::mem::take(&mut *self.open_sealed_bytes(sealed, bound_to)?);
        String::from_utf8(text).ok().map(Zeroizing::new)
    }

    /// The same of what is no text.
    pub fn open_sealed_bytes(&self, sealed: &[u8], bound_to: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (id, rest) = sealed.split_first_chunk::<4>()?;
        let (nonce, msg) = rest.split_first_chunk::<NONCE_LENGTH>()?;
        let keys = self.keys.load();
        let key = keys.find(u32::from_be_bytes(*id))?;
        let opened = key
            .seal
            .decrypt(&XNonce::from(*nonce), Payload { msg, aad: bound_to });
        opened.ok().map(Zeroizing::new)
    }
}

fn token_parts(token: &SessionToken) -> Option<(VerificationId, [u8; TOKEN_MAC_LENGTH])> {
    let bytes = BASE64URL_NOPAD.decode(token.expose().as_bytes()).ok()?;
    let (id, mac) = bytes.split_first_chunk::<16>()?;
    Some((VerificationId(*id), mac.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, UnixMillis};

    fn keyring() -> Keyring {
        Keyring::ephemeral(Entropy::system()).unwrap()
    }

    fn number(text: &str) -> PhoneNumber {
        PhoneNumber::parse(text, None).unwrap()
    }

    fn id() -> VerificationId {
        VerificationId::generate(&Clock::manual(UnixMillis(1)), &Entropy::system()).unwrap()
    }

    #[test]
    fn a_token_is_good_for_its_number_alone() {
        let (keyring, id, number_of_token) = (keyring(), id(), number("+13478379634"));
        let token = keyring.session_token(id, &number_of_token);
        assert_eq!(keyring.open_session_token(&token, &number_of_token), Some(id));
        assert_eq!(keyring.open_session_token(&token, &number("+13478379635")), None);
        let mut changed = token.expose().to_owned().into_bytes();
        changed[30] ^= 1;
        let changed = SessionToken::from_client(String::from_utf8(changed).unwrap());
        assert_eq!(keyring.open_session_token(&changed, &number_of_token), None);
        for nonsense in ["", "a", "not base64 ✗", &"A".repeat(10_000)] {
            assert_eq!(
                keyring.open_session_token(&SessionToken::from_client(nonsense), &number_of_token),
                None
            );
        }
    }

    #[test]
    fn a_digest_of_a_code_is_good_for_its_verification_alone() {
        let (keyring, first, second) = (keyring(), id(), id());
        let code = SecurityCode::new("123456").unwrap();
        let stored = keyring.code_digest(first, &code);
        let key = keyring.current_key_id();
        assert!(keyring.code_matches(key, first, &code, &stored));
        assert!(!keyring.code_matches(key, second, &code, &stored));
        assert!(!keyring.code_matches(key, first, &SecurityCode::new("123457").unwrap(), &stored));
        assert!(!keyring.code_matches(key ^ 1, first, &code, &stored));
    }

    #[test]
    fn a_code_has_one_digest_however_it_is_written_and_whichever_way_it_came() {
        let (keyring, id) = (keyring(), id());
        let key = keyring.current_key_id();
        for made in ["KX7TRM", "kx7trm", "kx7-trm"] {
            let made = SecurityCode::new(made).unwrap();
            let stored = keyring.code_digest(id, &made);
            assert_eq!(keyring.code_digest_under(key, id, &made), Some(stored));
            let matches = |typed| keyring.code_matches(key, id, &SecurityCode::from_client(typed), &stored);
            for right in ["KX7TRM", "kx7trm", "Kx7 tRm", "ＫＸ７ＴＲＭ", "\u{200e}KX٧TRM"] {
                assert!(matches(right), "{right}");
            }
            for wrong in ["KX7TRN", "KX7TR", "", "KX7TRMM", "КX7TRM"] {
                assert!(!matches(wrong), "{wrong}");
            }
        }
    }

    #[test]
    fn a_providers_id_is_found_after_the_keys_were_exchanged() {
        let master = |n: u8| MasterKey::parse(&format!("{n:064x}")).unwrap();
        let before = Keyring::of(&[master(1)], Entropy::seeded(1)).unwrap();
        let stored = before.provider_id_digest("eu", "SM1");
        let after = before.with_keys(&[master(2), master(1)]).unwrap();
        let digests = after.provider_id_digests("eu", "SM1");
        assert_eq!(
            (digests.len(), digests[0]),
            (2, after.provider_id_digest("eu", "SM1"))
        );
        assert!(digests.contains(&stored));
        assert!(
            !after.provider_id_digests("us", "SM1").contains(&stored),
            "of another account"
        );
    }

    #[test]
    fn the_secret_of_an_address_is_of_one_backend_and_lives_as_long_as_its_key() {
        let master = |n: u8| MasterKey::parse(&format!("{n:064x}")).unwrap();
        let before = Keyring::of(&[master(1)], Entropy::seeded(1)).unwrap();
        let secret = before.receipt_secret("eu");
        assert!(secret.len() == 32 && before.is_receipt_secret("eu", &secret));
        for wrong in ["", &secret[1..], &secret.to_uppercase(), "0"] {
            assert!(!before.is_receipt_secret("eu", wrong), "{wrong}");
        }
        assert!(!before.is_receipt_secret("us", &secret));
        let both = before.with_keys(&[master(2), master(1)]).unwrap();
        assert!(both.is_receipt_secret("eu", &secret));
        assert_ne!(both.receipt_secret("eu"), secret);
        let after = before.with_keys(&[master(2)]).unwrap();
        assert!(!after.is_receipt_secret("eu", &secret));
    }

    #[test]
    fn a_sealed_text_opens_only_for_what_it_was_sealed_for() {
        let keyring = keyring();
        let sealed = keyring.seal("Your code is 123456", b"one").unwrap();
        assert_eq!(
            keyring.open_sealed(&sealed, b"one").unwrap().as_str(),
            "Your code is 123456"
        );
        assert!(keyring.open_sealed(&sealed, b"two").is_none());
        assert!(keyring.open_sealed(&sealed[..20], b"one").is_none());
        assert!(!sealed.windows(6).any(|window| window == b"123456"));
    }
}
