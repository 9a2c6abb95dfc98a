//! Kairos: the mobile backend that seizes business moments.
//!
//! An event says that something is happening to a person right now. It opens a *moment*; the offers of the app and of
//! its partners compete; the one right offer reaches the phone while it is still worth something, or silence does,
//! with the reason stored.
//!
//! `event → who → context → moment → may we? → which offer? → in whose words? → push → what came of it`
//!
//! The modules, in story order:
//!
//! - [`event`] takes facts in and keeps them; [`place`] turns positions into enters, exits and dwells;
//! - [`moment`] is the story itself: gather, decide (pure), commit; its room `direct` is the pushes of an app's own back end;
//! - [`campaign`] and [`partner`] say what may be said, to whom, when;
//! - [`people`] knows who: account, profile, consent, device;
//! - [`privacy`] shows, forgets and hands over what they all hold of a person;
//! - [`push`] takes messages out to phones through the gateways, and knows nothing of campaigns;
//! - [`mail`] delivers the few mails of accounts;
//! - [`app`] holds tenants, keys and operators; [`platform`] what handlers share; [`audit`] who changed what;
//! - [`webhook`] tells the app's own servers and its partners what happened, signed;
//! - [`http`], [`worker`], [`outbound`], [`store`], [`cache`] are mechanics;
//! - [`serve`] puts it all together, [`routes`] is every URL, [`cli`] every command.
//!
//! Who may import whom is a total order: a module imports only from further right in
//! `cli → serve → routes → privacy → moment → campaign → partner → event → place → push → people → webhook → mail → app →
//! platform → http → audit → worker → outbound → store → cache → config → id → clock → error → telemetry`, and
//! `tests/it/tidy.rs` checks it.

pub mod app;
pub mod audit;
pub mod cache;
pub mod campaign;
pub mod cli;
pub mod clock;
pub mod config;
pub mod error;
pub mod event;
pub mod http;
pub mod id;
pub mod mail;
pub mod moment;
pub mod outbound;
pub mod partner;
pub mod people;
pub mod place;
pub mod planted;
pub mod platform;
pub mod privacy;
pub mod push;
pub mod routes;
pub mod serve;
pub mod store;
pub mod telemetry;
pub mod webhook;
pub mod worker;
