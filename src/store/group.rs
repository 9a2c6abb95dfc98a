//! Group commit: concurrent callers share one transaction and are answered after it is on disk.

use super::{Conn, Store};
use crate::error::{Error, Result};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// How much may wait, and how much shares a transaction.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Callers that may wait.
    pub queue_calls: usize,
    /// The weight of all that wait or are being committed; what a unit of it is, callers know.
    pub queue_weight: u32,
    /// Callers that share a transaction.
    pub batch_calls: usize,
    /// The weight from which a transaction takes no more callers in.
    pub batch_weight: u32,
}

struct Waiting<I, O> {
    input: I,
    reply: oneshot::Sender<Result<O>>,
    weight: u32,
    /// Held until the answer.
    room: OwnedSemaphorePermit,
}

/// Coalesces calls into batches. While one batch commits, the next one gathers; nobody waits for a timer.
pub struct GroupCommit<I, O> {
    queue: mpsc::Sender<Waiting<I, O>>,
    room: Arc<Semaphore>,
    queue_weight: u32,
}

impl<I, O> Clone for GroupCommit<I, O> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), room: Arc::clone(&self.room), queue_weight: self.queue_weight }
    }
}

impl<I: Clone + Send + Sync + 'static, O: Send + 'static> GroupCommit<I, O> {
    /// Starts the loop that commits; `apply` gets a batch in arrival order and answers in the same order.
    ///
    /// When a shared transaction fails for a reason that is not the database's absence, its members are tried one by
    /// one, so that one cannot sink the others.
    pub fn start(
        store: Store,
        limits: Limits,
        apply: impl Fn(&mut Conn, &[I]) -> Result<Vec<O>> + Send + Sync + 'static,
    ) -> Self {
        let (queue, mut waiting) = mpsc::channel::<Waiting<I, O>>(limits.queue_calls);
        let apply = Arc::new(apply);
        tokio::spawn(async move {
            while let Some(first) = waiting.recv().await {
                let mut weight = first.weight;
                let mut batch = vec![first];
                while batch.len() < limits.batch_calls && weight < limits.batch_weight {
                    let Ok(next) = waiting.try_recv() else { break };
                    weight = weight.saturating_add(next.weight);
                    batch.push(next);
                }
                let mut rooms = Vec::with_capacity(batch.len());
                let (inputs, replies): (Vec<I>, Vec<_>) = batch
                    .into_iter()
                    .map(|call| {
                        rooms.push(call.room);
                        (call.input, call.reply)
                    })
                    .unzip();
                commit(&store, &apply, Arc::new(inputs), replies).await;
            }
        });
        let room = Arc::new(Semaphore::new(limits.queue_weight as usize));
        Self { queue, room, queue_weight: limits.queue_weight }
    }

    /// The weight that still finds room.
    pub fn room(&self) -> usize {
        self.room.available_permits()
    }

    /// Adds one input and waits until it is on disk. What is heavier than the whole queue waits until that is empty.
    ///
    /// # Errors
    /// `Busy` when too many or too much is waiting; else what `apply` or the database says.
    pub async fn submit(&self, input: I, weight: u32) -> Result<O> {
        let weight = weight.min(self.queue_weight);
        let room = Arc::clone(&self.room)
            .try_acquire_many_owned(weight)
            .map_err(|_| Error::Busy("too much is waiting to be written"))?;
        let (reply, answer) = oneshot::channel();
        let call = Waiting { input, reply, weight, room };
        self.queue.try_send(call).map_err(|_| Error::Busy("too many writes are waiting"))?;
        answer.await.unwrap_or(Err(Error::Busy("the writer has stopped")))
    }
}

async fn commit<I: Clone + Send + Sync + 'static, O: Send + 'static>(
    store: &Store,
    apply: &Arc<impl Fn(&mut Conn, &[I]) -> Result<Vec<O>> + Send + Sync + 'static>,
    inputs: Arc<Vec<I>>,
    replies: Vec<oneshot::Sender<Result<O>>>,
) {
    let (all, shared) = (Arc::clone(apply), Arc::clone(&inputs));
    match store.write(move |conn| all(conn, &shared)).await {
        Ok(outputs) => {
            for (reply, output) in replies.into_iter().zip(outputs) {
                // A caller that went away has lost its answer, not its write.
                let _ = reply.send(Ok(output));
            }
        }
        Err(Error::Busy(what)) => replies.into_iter().for_each(|reply| drop(reply.send(Err(Error::Busy(what))))),
        Err(_) => {
            for (n, reply) in replies.into_iter().enumerate() {
                let (one, shared) = (Arc::clone(apply), Arc::clone(&inputs));
                let result = store.write(move |conn| one(conn, &shared[n..=n])).await;
                let result = result.and_then(|mut outputs| outputs.pop().ok_or_else(|| Error::broken("no answer for a write")));
                let _ = reply.send(result);
            }
        }
    }
}
