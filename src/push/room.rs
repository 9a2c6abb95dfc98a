//! Whether there is room for a claim, and what becomes of what waits when there is none.

use super::dispatch::{BATCH, Dispatcher, LATER_MS};
use super::lane::Lane;
use super::look::{Look, Wish};
use super::{outbox, store};
use crate::error::Result;
use crate::outbound::Slot;
use std::sync::Arc;

/// A claim waits for more free slots than this while the lane is busy, or than a third of what is in flight where that is
/// less: a transaction for a few messages is not worth it.
const WORTH: usize = 250;
/// So many in flight make a lane busy.
const BUSY: usize = 64;
/// How long it waits for them, in milliseconds: streams that are never answered must not keep the others from use.
const PATIENCE_MS: i64 = 50;
/// How often what waits behind a shut lane is looked at for passed deadlines, in milliseconds.
pub(super) const EXPIRES_MS: i64 = 1_000;

impl Dispatcher {
    /// Slots for a claim, or none when it is better to wait.
    pub(super) async fn slots(&self, lane: &Arc<Lane>, wish: &Wish, look: &mut Look) -> Result<Vec<Slot>> {
        let now_ms = self.0.platform.clock.now_ms();
        let bulk = wish.queue.bulk;
        if bulk {
            lane.traffic.bulk_waits(now_ms);
        } else {
            lane.traffic.single_asks(now_ms);
        }
        let limit = if bulk { self.bulk_limit() } else { None };
        let most = limit.map_or(BATCH, |limit| limit.saturating_sub(lane.traffic.bulk()).min(BATCH));
        if most < BATCH {
            look.due(now_ms + LATER_MS);
        }
        let slots = lane.take((most, bulk), now_ms);
        let in_flight = lane.in_flight();
        let few = in_flight > BUSY && slots.len() < WORTH.min(in_flight / 3).min(most);
        // What goes before bulk would wait for slots that bulk fills again.
        let waits = few && !wish.before_bulk && lane.traffic.waits_for_more(now_ms, PATIENCE_MS);
        if waits && !slots.is_empty() {
            look.due(now_ms + PATIENCE_MS);
        }
        if waits || slots.is_empty() {
            lane.give_back(slots.len());
            self.wait_for(lane, wish, look).await?;
            return Ok(Vec::new());
        }
        // A single one may be there to find out whether the gateway is well again.
        if slots.len() > 1 {
            lane.traffic.moves(&wish.queue);
        }
        if !wish.before_bulk {
            lane.traffic.waits_no_longer();
        }
        Ok(slots)
    }

    /// No lane now: what has passed its deadline ends on time.
    pub(super) async fn no_room(&self, wish: &Wish, look: &mut Look) -> Result<()> {
        let now_ms = self.0.platform.clock.now_ms();
        look.due(now_ms + LATER_MS);
        self.expire((wish, now_ms), look).await.map(drop)
    }

    /// Answers whether there may be more of it.
    async fn expire(&self, (wish, now_ms): (&Wish, i64), look: &mut Look) -> Result<bool> {
        let (app, queue, store) = (wish.app, wish.queue.clone(), &self.0.platform.store);
        let late = store.read(move |conn| store::late(conn, (app, &queue), now_ms)).await?;
        let more = late.len() >= store::CHUNK;
        if late.is_empty() {
            return Ok(false);
        }
        if store.write(move |conn| store::expire(conn, &late, now_ms)).await? > 0 {
            look.progress = true;
            self.0.platform.feedback_hint.nudge();
        }
        Ok(more)
    }

    /// No slot now: what ends without one (deadline, consent, device) still ends on time.
    async fn wait_for(&self, lane: &Lane, wish: &Wish, look: &mut Look) -> Result<()> {
        let now_ms = self.0.platform.clock.now_ms();
        let paused_until_ms = lane.paused_until_ms(now_ms);
        if let Some(paused_until_ms) = paused_until_ms {
            look.due(paused_until_ms);
        } else if lane.in_flight() == 0 {
            look.blocked = true;
        }
        // A lane that is merely busy has slots again in a moment; one that is shut may stay so past many a deadline.
        let shut = look.blocked || paused_until_ms.is_some();
        if !shut {
            // Another claim has the slots, and may find nothing to send.
            if self.is_idle() {
                look.due(now_ms + PATIENCE_MS);
            }
            return Ok(());
        }
        look.due(now_ms + EXPIRES_MS);
        if lane.traffic.may_expire(&wish.queue, now_ms) && self.expire((wish, now_ms), look).await? {
            lane.traffic.expires_more(&wish.queue, now_ms);
        }
        Ok(())
    }

    /// Moves what waits where the first key's messages do, and for which another one speaks, to where that one looks: it was
    /// planned before the key was there, or comes from Apple's other host. The first key's troubles are not theirs.
    pub(super) async fn leave_to_others(&self, (lane, wish): (&Lane, &Wish), look: &mut Look) -> Result<()> {
        let now_ms = self.0.platform.clock.now_ms();
        let Some(named) = lane.serves.named().filter(|_| wish.queue.key.is_none()) else { return Ok(()) };
        if !lane.traffic.may_leave(wish.queue.bulk, now_ms) {
            return Ok(());
        }
        let (app, queue, topics, store) = (wish.app, wish.queue.clone(), named.topics(), &self.0.platform.store);
        let theirs = store.read(move |conn| store::of_topics(conn, (app, &queue), &topics)).await?;
        if theirs.is_empty() {
            return Ok(());
        }
        look.progress = true;
        // There may be more.
        lane.traffic.leaves(wish.queue.bulk);
        let (queue, serves) = (wish.queue.clone(), lane.serves.clone());
        store.write_patiently(move |conn| outbox::to_their_keys(conn, (&queue, &serves), &theirs)).await
    }
}
