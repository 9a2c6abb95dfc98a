//! How long a gateway has taken lately: the p95 of the last hour, by the domain's clock.

use super::message::Gateway;
use crate::clock::HOUR_MS;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Fewer known pushes than this say nothing.
const KNOWN_MIN: usize = 100;
/// More than this are not kept: the newest speak for the hour.
const KNOWN_MAX: usize = 4_096;
/// How many new pushes make the figure worth another sort.
const STALE_AFTER: usize = 64;

/// What is known of one gateway.
#[derive(Default)]
struct Known {
    samples: VecDeque<(i64, i64)>,
    since: usize,
    p95_ms: Option<i64>,
}

impl Known {
    fn tidy(&mut self, now_ms: i64) {
        let before = self.samples.len();
        while self.samples.front().is_some_and(|(at_ms, _)| *at_ms <= now_ms - HOUR_MS) || self.samples.len() > KNOWN_MAX {
            self.samples.pop_front();
        }
        self.since += before - self.samples.len();
    }

    fn p95(&mut self, now_ms: i64) -> Option<i64> {
        self.tidy(now_ms);
        if self.samples.len() < KNOWN_MIN {
            return None;
        }
        if self.since >= STALE_AFTER || self.p95_ms.is_none() {
            let mut taken: Vec<i64> = self.samples.iter().map(|(_, latency_ms)| *latency_ms).collect();
            let rank = (taken.len() * 95).div_ceil(100) - 1;
            self.p95_ms = Some(*taken.select_nth_unstable(rank).1);
            self.since = 0;
        }
        self.p95_ms
    }
}

/// What is known of all gateways.
#[derive(Default)]
pub struct Latency([Mutex<Known>; 3]);

impl Latency {
    /// Notes an accepted push.
    pub fn note(&self, gateway: Gateway, at_ms: i64, latency_ms: i64) {
        let mut known = self.of(gateway).lock().unwrap_or_else(PoisonError::into_inner);
        known.samples.push_back((at_ms, latency_ms));
        known.since += 1;
        known.tidy(at_ms);
    }

    /// The p95 in milliseconds, once enough is known.
    pub fn p95_ms(&self, gateway: Gateway, now_ms: i64) -> Option<i64> {
        self.of(gateway).lock().unwrap_or_else(PoisonError::into_inner).p95(now_ms)
    }

    fn of(&self, gateway: Gateway) -> &Mutex<Known> {
        let [apns, fcm, webpush] = &self.0;
        match gateway {
            Gateway::Apns => apns,
            Gateway::Fcm => fcm,
            Gateway::WebPush => webpush,
        }
    }
}
