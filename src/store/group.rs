//! Group commit: concurrent callers share one transaction and are answered after it is on disk.

use super::{Conn, Store};
use crate::error::{Error, Result};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

type Waiting<I, O> = (I, oneshot::Sender<Result<O>>);

/// Coalesces calls into batches. While one batch commits, the next one gathers; nobody waits for a timer.
pub struct GroupCommit<I, O> {
    queue: mpsc::Sender<Waiting<I, O>>,
}

impl<I, O> Clone for GroupCommit<I, O> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone() }
    }
}

impl<I: Clone + Send + Sync + 'static, O: Send + 'static> GroupCommit<I, O> {
    /// Starts the loop that commits; `apply` gets a batch in arrival order and answers in the same order.
    ///
    /// `queue_limit` callers may wait, `batch_limit` share a transaction. When a shared transaction fails for a reason
    /// that is not the database's absence, its members are tried one by one, so that one cannot sink the others.
    pub fn start(
        store: Store,
        queue_limit: usize,
        batch_limit: usize,
        apply: impl Fn(&mut Conn, &[I]) -> Result<Vec<O>> + Send + Sync + 'static,
    ) -> Self {
        let (queue, mut waiting) = mpsc::channel::<Waiting<I, O>>(queue_limit);
        let apply = Arc::new(apply);
        tokio::spawn(async move {
            let mut batch = Vec::new();
            while waiting.recv_many(&mut batch, batch_limit).await > 0 {
                let (inputs, replies): (Vec<I>, Vec<_>) = batch.drain(..).unzip();
                commit(&store, &apply, Arc::new(inputs), replies).await;
            }
        });
        Self { queue }
    }

    /// Adds one input and waits until it is on disk.
    ///
    /// # Errors
    /// `Busy` when too many are waiting; else what `apply` or the database says.
    pub async fn submit(&self, input: I) -> Result<O> {
        let (reply, answer) = oneshot::channel();
        self.queue.try_send((input, reply)).map_err(|_| Error::Busy("too many writes are waiting"))?;
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
