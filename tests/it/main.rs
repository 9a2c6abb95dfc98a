//! The one black-box test binary; it mirrors `src`. `world` is the harness, `tidy` the house rules.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first thing that is not as it should be")]

#[macro_use]
mod world;

mod account;
mod api;
mod apns;
mod app;
mod cache;
mod campaign;
mod choice;
mod config;
mod consent;
mod decide;
mod device;
mod door;
mod event;
mod fcm;
mod gates;
mod gateway;
mod ground;
mod guarded;
mod idp;
mod idtoken;
mod isolation;
mod kill_9;
mod lane;
mod limits;
mod map;
mod moment;
mod outbound;
mod outbox;
mod partner;
mod place;
mod prehijack;
mod profile;
mod quiet;
mod replay;
mod rule;
mod sessions;
mod stage;
mod standin;
mod store;
mod subscriber;
mod template;
mod test_mode;
mod tidy;
mod transitions;
mod trigger;
mod value;
mod waiting;
mod webhook;
