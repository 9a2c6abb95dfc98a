//! An authenticator made of software: signs what a real one signs, and what none would.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use ring::{digest, digest::SHA256};
use serde_json::{Value, json};

/// The user was there.
pub const PRESENT: u8 = 1;
/// The user was known by finger or PIN.
pub const VERIFIED: u8 = 4;

/// One passkey and its private key.
pub struct Authenticator {
    key: EcdsaKeyPair,
    id: Vec<u8>,
    handle: String,
    /// How often it has signed; 0 stays 0.
    pub counter: u32,
}

/// What an answer says of itself; the default is what a good one says.
#[derive(Clone)]
pub struct Says {
    /// Where the page was.
    pub origin: String,
    /// Another `type` than the right one.
    pub kind: Option<&'static str>,
    /// Another challenge than the one that was asked for.
    pub challenge: Option<String>,
    /// Another domain than the one that was asked for.
    pub rp_id: Option<&'static str>,
    /// [`PRESENT`] and [`VERIFIED`].
    pub flags: u8,
}

impl Says {
    /// What a good one says.
    pub fn at(origin: &str) -> Self {
        Self { origin: origin.to_owned(), kind: None, challenge: None, rp_id: None, flags: PRESENT | VERIFIED }
    }

    fn client_data(&self, kind: &str, options: &Value) -> String {
        let challenge = self.challenge.clone().unwrap_or_else(|| options["challenge"].as_str().unwrap().to_owned());
        json!({"type": self.kind.unwrap_or(kind), "challenge": challenge, "origin": self.origin, "crossOrigin": false})
            .to_string()
    }

    fn data(&self, rp_id: &Value, flags: u8, counter: u32) -> Vec<u8> {
        let rp_id = self.rp_id.unwrap_or_else(|| rp_id.as_str().unwrap());
        let hash = digest::digest(&SHA256, rp_id.as_bytes());
        [hash.as_ref(), &[self.flags | flags], &counter.to_be_bytes()].concat()
    }
}

impl Authenticator {
    /// Makes a passkey for creation options; the second is what the client sends.
    pub fn create(options: &Value, says: &Says) -> (Self, Value) {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document.as_ref(), &random).unwrap();
        let mut id = vec![0; 32];
        random.fill(&mut id).unwrap();
        let handle = options["user"]["id"].as_str().unwrap().to_owned();
        let made = Self { key, id, handle, counter: 1 };
        let answer = made.created(options, says);
        (made, answer)
    }

    /// The answer to creation options with this same passkey.
    pub fn created(&self, options: &Value, says: &Says) -> Value {
        let public = self.key.public_key().as_ref();
        // COSE: EC2, ES256, P-256, x, y.
        let cose =
            [&[0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 0x20], &public[1..33], &[0x22, 0x58, 0x20], &public[33..]].concat();
        let attested = [&[0; 16][..], &[0, 32], &self.id, &cose].concat();
        let data = [says.data(&options["rp"]["id"], 0x40, self.counter), attested].concat();
        let length = u8::try_from(data.len()).unwrap();
        let head =
            [&[0xa3, 0x63][..], b"fmt", &[0x64], b"none", &[0x67], b"attStmt", &[0xa0, 0x68], b"authData", &[0x58, length]]
                .concat();
        json!({"id": encode(&self.id), "rawId": encode(&self.id), "type": "public-key", "clientExtensionResults": {},
            "response": {"clientDataJSON": encode(says.client_data("webauthn.create", options).as_bytes()),
                "attestationObject": encode(&[head, data].concat()), "transports": ["internal"]}})
    }

    /// Signs for request options.
    pub fn sign(&mut self, options: &Value, says: &Says) -> Value {
        self.counter += u32::from(self.counter > 0);
        let client_data = says.client_data("webauthn.get", options);
        let data = says.data(&options["rpId"], 0, self.counter);
        let hash = digest::digest(&SHA256, client_data.as_bytes());
        let signature = self.key.sign(&SystemRandom::new(), &[&data, hash.as_ref()].concat()).unwrap();
        json!({"id": encode(&self.id), "rawId": encode(&self.id), "type": "public-key", "clientExtensionResults": {},
            "response": {"clientDataJSON": encode(client_data.as_bytes()), "authenticatorData": encode(&data),
                "signature": encode(signature.as_ref()), "userHandle": self.handle}})
    }
}

/// Base64url without padding.
pub fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
