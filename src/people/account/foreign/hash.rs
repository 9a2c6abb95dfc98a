//! A password hash that another system made: read with its limits, then compared.

use super::phc::{Phc, decoded};
use crate::config::Secret;
use crate::error::{Error, Result};
use argon2::{Algorithm, Argon2, Params, Version};
use bcrypt::HashParts;
use pbkdf2::pbkdf2_hmac;
use pbkdf2::sha2::{Sha256, Sha512};

/// Longest text of a hash, in bytes.
const TEXT_BYTES_MAX: usize = 512;
/// Shortest and longest result of a hash, in bytes: a shorter one many passwords have.
const HASH_BYTES: std::ops::RangeInclusive<usize> = 16..=64;
/// Memory that one comparison may take, in KiB: each thread of the hashing pool has this much at most beside its own.
const MEMORY_KIB_MAX: u32 = 64 * 1024;
/// Highest cost of bcrypt.
const BCRYPT_COST_MAX: u32 = 14;
/// Most passes and lanes of Argon2.
const ARGON2_PASSES_MAX: u32 = 10;
const ARGON2_LANES_MAX: u32 = 4;
/// Most rounds of PBKDF2.
const PBKDF2_ROUNDS_MAX: u32 = 2_000_000;
/// Most lanes of scrypt, one after another, and its largest block.
const SCRYPT_LANES_MAX: u32 = 16;
const SCRYPT_BLOCK_MAX: u32 = 32;

/// See the module. It can be compared with any password at a bounded cost.
#[derive(Debug, Clone)]
pub(in crate::people) struct ForeignHash(Scheme);

#[derive(Debug, Clone)]
enum Scheme {
    Bcrypt(String),
    Argon2(Box<(Argon2<'static>, Made)>),
    Pbkdf2(Sha, u32, Made),
    Scrypt(scrypt::Params, Made),
}

/// Salt and result.
#[derive(Debug, Clone)]
struct Made {
    salt: Vec<u8>,
    hash: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
enum Sha {
    Sha256,
    Sha512,
}

impl ForeignHash {
    /// Reads the text of a hash, as the other system kept it.
    ///
    /// # Errors
    /// 400 that names `password_hash`: an unknown scheme, a broken text, a cost beyond the limits.
    pub(in crate::people) fn parse(text: &str) -> Result<Self> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(invalid("is longer than any hash"));
        }
        if ["$2a$", "$2b$", "$2y$"].iter().any(|head| text.starts_with(head)) {
            return bcrypt(text);
        }
        if let Some(rest) = text.strip_prefix("pbkdf2_sha256$") {
            return django(rest);
        }
        let phc = Phc::read(text)?;
        match phc.scheme {
            "argon2i" => argon2(Algorithm::Argon2i, &phc),
            "argon2id" => argon2(Algorithm::Argon2id, &phc),
            "pbkdf2-sha256" => pbkdf2_phc(Sha::Sha256, &phc),
            "pbkdf2-sha512" => pbkdf2_phc(Sha::Sha512, &phc),
            "scrypt" => scrypt_phc(&phc),
            _ => Err(unknown()),
        }
    }

    /// Whether it is the hash of this password, as it was typed. The cost is the same for every password.
    pub(super) fn is_of(&self, password: &Secret) -> bool {
        let bytes = password.expose().as_bytes();
        match &self.0 {
            Scheme::Bcrypt(text) => {
                // Bcrypt sees 72 bytes and no more. What comes after a zero byte some systems do not see: none of them here.
                let same = bcrypt::verify(bytes, text).unwrap_or(false);
                same && !bytes.contains(&0)
            }
            Scheme::Argon2(hash) => {
                let (argon2, made) = hash.as_ref();
                made.is(|out| argon2.hash_password_into(bytes, &made.salt, out).is_ok())
            }
            Scheme::Pbkdf2(Sha::Sha256, rounds, made) => made.is(|out| {
                pbkdf2_hmac::<Sha256>(bytes, &made.salt, *rounds, out);
                true
            }),
            Scheme::Pbkdf2(Sha::Sha512, rounds, made) => made.is(|out| {
                pbkdf2_hmac::<Sha512>(bytes, &made.salt, *rounds, out);
                true
            }),
            Scheme::Scrypt(params, made) => made.is(|out| scrypt::scrypt(bytes, &made.salt, params, out).is_ok()),
        }
    }
}

impl Made {
    fn of(salt: Vec<u8>, hash: Vec<u8>) -> Result<Self> {
        if !HASH_BYTES.contains(&hash.len()) {
            return Err(invalid("has a result that is too short or too long: 16 to 64 bytes"));
        }
        if salt.is_empty() {
            return Err(invalid("has no salt"));
        }
        Ok(Self { salt, hash })
    }

    /// Whether this is worked out again; compared in a time that says nothing of where they differ.
    fn is(&self, work: impl FnOnce(&mut [u8]) -> bool) -> bool {
        let mut out = vec![0; self.hash.len()];
        work(&mut out) && out.iter().zip(&self.hash).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
    }
}

pub(super) fn invalid(message: &str) -> Error {
    Error::invalid("password_hash", "invalid", message)
}

fn unknown() -> Error {
    let message = "is of no known scheme: bcrypt ($2a$, $2b$, $2y$), argon2i or argon2id, pbkdf2-sha256, pbkdf2-sha512 or scrypt \
        as PHC strings, pbkdf2_sha256 of Django";
    Error::invalid("password_hash", "unknown", message)
}

fn too_dear(message: String) -> Error {
    Error::invalid("password_hash", "out_of_range", message)
}

fn bcrypt(text: &str) -> Result<ForeignHash> {
    let parts: HashParts = text.parse().map_err(|_| invalid("is no whole bcrypt hash: 60 characters"))?;
    if !(4..=BCRYPT_COST_MAX).contains(&parts.get_cost()) {
        return Err(too_dear(format!("bcrypt may have a cost of 4 to {BCRYPT_COST_MAX}")));
    }
    Ok(ForeignHash(Scheme::Bcrypt(text.to_owned())))
}

fn argon2(algorithm: Algorithm, phc: &Phc<'_>) -> Result<ForeignHash> {
    // The first version did not write its number down.
    let version = match phc.version {
        None | Some(16) => Version::V0x10,
        Some(19) => Version::V0x13,
        Some(_) => return Err(invalid("is of an unknown version of Argon2: 16 or 19")),
    };
    phc.only(&["m", "t", "p"])?;
    let (memory_kib, passes, lanes) = (phc.number("m")?, phc.number("t")?, phc.number("p")?);
    if memory_kib > MEMORY_KIB_MAX || passes > ARGON2_PASSES_MAX || lanes > ARGON2_LANES_MAX {
        return Err(too_dear(format!(
            "Argon2 may have m up to {MEMORY_KIB_MAX}, t up to {ARGON2_PASSES_MAX}, p up to {ARGON2_LANES_MAX}"
        )));
    }
    let made = Made::of(phc.salt()?, phc.hash()?)?;
    if made.salt.len() < argon2::MIN_SALT_LEN {
        return Err(invalid("has a salt that is too short for Argon2: at least 8 bytes"));
    }
    let params =
        Params::new(memory_kib, passes, lanes, Some(made.hash.len())).map_err(|_| invalid("has no parameters of Argon2"))?;
    Ok(ForeignHash(Scheme::Argon2(Box::new((Argon2::new(algorithm, version, params), made)))))
}

fn rounds(rounds: u32) -> Result<u32> {
    if !(1..=PBKDF2_ROUNDS_MAX).contains(&rounds) {
        return Err(too_dear(format!("PBKDF2 may have 1 to {PBKDF2_ROUNDS_MAX} rounds")));
    }
    Ok(rounds)
}

fn pbkdf2_phc(sha: Sha, phc: &Phc<'_>) -> Result<ForeignHash> {
    phc.only(&["i", "l"])?;
    let made = Made::of(phc.salt()?, phc.hash()?)?;
    if phc.has("l") && phc.number("l")? as usize != made.hash.len() {
        return Err(invalid("says another length than it has"));
    }
    Ok(ForeignHash(Scheme::Pbkdf2(sha, rounds(phc.number("i")?)?, made)))
}

/// Django's form: `rounds$salt$hash`, the salt as it is, the hash in base64.
fn django(rest: &str) -> Result<ForeignHash> {
    let parts: Vec<&str> = rest.split('$').collect();
    let [count, salt, hash] = parts[..] else { return Err(invalid("is no whole pbkdf2_sha256 of Django")) };
    let count = count.parse().map_err(|_| invalid("has no number of rounds"))?;
    let made = Made::of(salt.as_bytes().to_vec(), decoded(hash)?)?;
    Ok(ForeignHash(Scheme::Pbkdf2(Sha::Sha256, rounds(count)?, made)))
}

fn scrypt_phc(phc: &Phc<'_>) -> Result<ForeignHash> {
    phc.only(&["ln", "r", "p"])?;
    let (log_n, block, lanes) = (phc.number("ln")?, phc.number("r")?, phc.number("p")?);
    let most = u64::from(MEMORY_KIB_MAX) * 1024;
    let fits = (1..=20).contains(&log_n)
        && (1..=SCRYPT_BLOCK_MAX).contains(&block)
        && (1..=SCRYPT_LANES_MAX).contains(&lanes)
        && (128 * u64::from(block)) << log_n <= most
        // All lanes together: what one comparison may cost.
        && (128 * u64::from(block) * u64::from(lanes)) << log_n <= 2 * most;
    if !fits {
        return Err(too_dear(format!(
            "scrypt may take up to {MEMORY_KIB_MAX} KiB (2^ln times r times 128 bytes), twice as much over all p; r up to {SCRYPT_BLOCK_MAX}, p up to {SCRYPT_LANES_MAX}"
        )));
    }
    let log_n = u8::try_from(log_n).map_err(Error::broken)?;
    let params = scrypt::Params::new(log_n, block, lanes).map_err(|_| invalid("has no parameters of scrypt"))?;
    Ok(ForeignHash(Scheme::Scrypt(params, Made::of(phc.salt()?, phc.hash()?)?)))
}
