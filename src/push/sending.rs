//! How pushes go out under a credential, as this node sees it: what an operator is shown beside the credential.

use super::dispatch::Dispatcher;
use super::lane::Lane;
use super::message::Gateway;
use crate::clock::Time;
use crate::id::AppId;
use crate::people::device::Environment;
use serde::Serialize;

/// One set of connections under a credential, on the node that answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Sending {
    /// Browsers: to which push service.
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<String>,
    /// Whether it is for tests.
    test: bool,
    /// Pushes that wait for the gateway's answer.
    in_flight: usize,
    /// How many may at once; fewer after the gateway was slow.
    in_flight_max: usize,
    /// Set while nothing goes out, or one push at a time, because the gateway has failed push after push.
    #[serde(skip_serializing_if = "Option::is_none")]
    broken: Option<Broken>,
}

/// Why nothing goes out. What waits goes when the gateway works again, or expires at its deadline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = SendingBroken)]
struct Broken {
    /// The gateway's word for its last failure, `timeout`, or `no_connection`.
    reason: String,
    /// Since when.
    since: Time,
    /// When it is asked again, with a single push.
    until: Time,
}

impl Sending {
    fn of(lane: &Lane) -> Self {
        let (open, in_flight_max) = lane.pulse.show();
        let broken =
            open.map(|open| Broken { reason: open.reason.into_owned(), since: Time(open.since_ms), until: Time(open.until_ms) });
        Self {
            service: lane.service.as_deref().map(str::to_owned),
            test: lane.test,
            in_flight: lane.in_flight(),
            in_flight_max,
            broken,
        }
    }
}

impl Dispatcher {
    /// The lanes that this node has opened for an app's credential.
    pub(super) fn sending(&self, (app, gateway): (AppId, Gateway), (environment, key_id): (Environment, &str)) -> Vec<Sending> {
        let is = |lane: &Lane| lane.gateway == gateway && lane.environment == environment && lane.standing.key_id() == key_id;
        let mut all: Vec<Sending> =
            self.0.lanes.of_app(app).iter().filter(|lane| is(lane)).map(|lane| Sending::of(lane)).collect();
        all.sort_by(|a, b| (a.test, &a.service).cmp(&(b.test, &b.service)));
        all
    }
}
