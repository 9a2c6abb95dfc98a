//! Whether it is the tokens that are wrong, or we: what a gateway's refusals of tokens say when they come in numbers. Pure.
//!
//! One token that a gateway does not know is a token; all of them are a wrong host, a wrong key or a wrong project. Then
//! the lane pauses, with the reason, and tries a single push from time to time until one is taken.

/// So many refusals in a row say so while nothing has ever been taken.
const ROW: u32 = 10;
/// Of at least so many answers lately, more than half.
const LATELY_MIN: u32 = 50;
const LATELY_MAX: u32 = 200;

/// What was answered lately.
#[derive(Debug, Clone, Default)]
pub struct Health {
    /// Whether anything was ever taken.
    ever: bool,
    row: u32,
    good: u32,
    bad: u32,
    suspected: bool,
}

impl Health {
    /// A push was taken. Answers whether that ends a suspicion.
    pub fn good(&mut self) -> bool {
        self.ever = true;
        self.row = 0;
        self.count(1, 0);
        // After a suspicion one success is enough: the count begins anew.
        let ends = std::mem::take(&mut self.suspected);
        if ends {
            (self.good, self.bad) = (1, 0);
        }
        ends
    }

    /// The gateway does not know a token, or not for us. Answers whether we are suspected by now.
    pub fn bad(&mut self) -> bool {
        self.row = self.row.saturating_add(1);
        self.count(0, 1);
        let all = !self.ever && self.row >= ROW;
        let most = self.good + self.bad >= LATELY_MIN && self.bad > self.good;
        self.suspected |= all || most;
        self.suspected
    }

    /// Whether a push was ever taken.
    pub fn has_taken(&self) -> bool {
        self.ever
    }

    /// Whether a single refusal is about its token: much was taken lately, and hardly anything refused so.
    pub fn is_sound(&self) -> bool {
        !self.suspected && self.row == 0 && self.good >= LATELY_MIN && self.bad * 20 <= self.good + self.bad
    }

    /// Whether one push at a time is enough until one is taken.
    pub fn is_suspected(&self) -> bool {
        self.suspected
    }

    fn count(&mut self, good: u32, bad: u32) {
        (self.good, self.bad) = (self.good + good, self.bad + bad);
        if self.good + self.bad > LATELY_MAX {
            (self.good, self.bad) = (self.good / 2, self.bad / 2);
        }
    }
}
