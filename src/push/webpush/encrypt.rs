//! The body of a web push: RFC 8291 over the content coding `aes128gcm` of RFC 8188, one record. Pure.

use crate::people::device::web::{AUTH_BYTES, POINT_BYTES};
use bytes::Bytes;
use p256::elliptic_curve::sec1::ToSec1Point as _;
use p256::{PublicKey, SecretKey};
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hmac;

/// Most bytes of plaintext and padding: a body of 4,096 bytes is all that a push service need take.
pub const PLAINTEXT_LIMIT_BYTES: usize = BODY_LIMIT_BYTES - HEADER_BYTES - 1 - TAG_BYTES;
/// Most bytes of a body.
pub const BODY_LIMIT_BYTES: usize = 4_096;
/// Salt, record size, length of the key's name, and the key itself.
const HEADER_BYTES: usize = 16 + 4 + 1 + POINT_BYTES;
const TAG_BYTES: usize = 16;
/// What the record may have at most; there is one only.
const RECORD_BYTES: u32 = 4_096;
/// What ends the last record, before its padding.
const LAST: u8 = 2;

/// A browser, as far as encryption knows it.
#[derive(Clone, Copy)]
pub struct Recipient {
    /// Its public key: an uncompressed point of P-256.
    pub p256dh: [u8; POINT_BYTES],
    /// Its secret.
    pub auth: [u8; AUTH_BYTES],
}

/// What is new with every push: nothing of it may be used twice.
#[derive(Clone, Copy)]
pub struct Fresh {
    /// A private key of P-256.
    pub private: [u8; 32],
    /// The salt of the content coding.
    pub salt: [u8; 16],
}

/// Plaintexts are padded to a multiple of this many bytes, so that their length says little of what they say.
const PAD_BYTES: usize = 128;

/// How many bytes of padding stand behind a plaintext, where so many may be sent at most.
pub(in crate::push) fn padding(plaintext_bytes: usize, limit_bytes: usize) -> usize {
    plaintext_bytes.next_multiple_of(PAD_BYTES).min(limit_bytes).saturating_sub(plaintext_bytes)
}

/// How many bytes the body of a padded plaintext has.
pub(in crate::push) fn body_bytes(plaintext_bytes: usize) -> usize {
    HEADER_BYTES + plaintext_bytes + padding(plaintext_bytes, PLAINTEXT_LIMIT_BYTES) + 1 + TAG_BYTES
}

/// Encrypts a plaintext, with this many bytes of padding behind it. Costs two multiplications on the curve, and little
/// beside them.
///
/// # Errors
/// A word that says why it can never be: the keys are none, or it is too long.
pub fn encrypt(to: &Recipient, plaintext: &[u8], pad: usize, fresh: &Fresh) -> Result<Bytes, &'static str> {
    if plaintext.len() + pad > PLAINTEXT_LIMIT_BYTES {
        return Err("payload_too_large");
    }
    let theirs = PublicKey::from_sec1_bytes(&to.p256dh).map_err(|_| "malformed_token")?;
    let ours = SecretKey::from_slice(&fresh.private).map_err(|_| "cannot_encrypt")?;
    let our_point = ours.public_key().to_sec1_point(false);
    let shared = ours.diffie_hellman(&theirs);
    let (key, nonce) = derive(to, our_point.as_bytes(), (shared.raw_secret_bytes(), &fresh.salt));
    let mut body = Vec::with_capacity(HEADER_BYTES + plaintext.len() + pad + 1 + TAG_BYTES);
    body.extend_from_slice(&fresh.salt);
    body.extend_from_slice(&RECORD_BYTES.to_be_bytes());
    body.push(u8::try_from(POINT_BYTES).unwrap_or(u8::MAX));
    body.extend_from_slice(our_point.as_bytes());
    body.extend_from_slice(plaintext);
    body.push(LAST);
    body.resize(body.len() + pad, 0);
    let cipher = UnboundKey::new(&AES_128_GCM, &key).map(LessSafeKey::new).map_err(|_| "cannot_encrypt")?;
    let record = body.get_mut(HEADER_BYTES..).unwrap_or_default();
    let nonce = Nonce::assume_unique_for_key(nonce);
    let tag = cipher.seal_in_place_separate_tag(nonce, Aad::empty(), record).map_err(|_| "cannot_encrypt")?;
    body.extend_from_slice(tag.as_ref());
    Ok(body.into())
}

/// The key and the nonce of the record.
fn derive(to: &Recipient, our_point: &[u8], (shared, salt): (&[u8], &[u8])) -> ([u8; 16], [u8; 12]) {
    let step = |key: &[u8], parts: &[&[u8]]| {
        let mut mac = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
        parts.iter().for_each(|part| mac.update(part));
        mac.sign()
    };
    let of_both = step(&to.auth, &[shared]);
    let input = step(of_both.as_ref(), &[b"WebPush: info\0", &to.p256dh, our_point, &[1]]);
    let of_record = step(salt, &[input.as_ref()]);
    let key = step(of_record.as_ref(), &[b"Content-Encoding: aes128gcm\0", &[1]]);
    let nonce = step(of_record.as_ref(), &[b"Content-Encoding: nonce\0", &[1]]);
    (first(key.as_ref()), first(nonce.as_ref()))
}

fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    out
}
