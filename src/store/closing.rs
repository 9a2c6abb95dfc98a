//! What a request's transactions end with besides what its handler writes: it runs inside them, right before the commit.

use super::Conn;
use crate::error::Result;
use std::any::Any;
use std::sync::Arc;

/// The end of each transaction that is begun while it is in force.
pub trait Closing: Any + Send + Sync {
    /// Runs in the transaction, after everything else; an error undoes the whole of it.
    ///
    /// # Errors
    /// What the database says.
    fn close(&self, conn: &mut Conn) -> Result<()>;

    /// Runs as soon as the commit is on disk.
    fn committed(&self);
}

tokio::task_local! {
    static CURRENT: Arc<dyn Closing>;
}

/// Puts it in force for all that the future writes, and for what its closures do on the database's threads.
pub async fn with_closing<F: Future>(closing: Arc<dyn Closing>, future: F) -> F::Output {
    CURRENT.scope(closing, future).await
}

/// Shows the one in force, if it is of this kind.
pub fn closing<C: Closing, T>(show: impl FnOnce(&C) -> T) -> Option<T> {
    let current = current()?;
    let any: &dyn Any = &*current;
    any.downcast_ref::<C>().map(show)
}

/// The one in force.
pub(super) fn current() -> Option<Arc<dyn Closing>> {
    CURRENT.try_with(Arc::clone).ok()
}

/// Runs a transaction's closure and its end.
pub(super) fn closed<T>(
    closing: Option<&Arc<dyn Closing>>,
    conn: &mut Conn,
    f: impl FnOnce(&mut Conn) -> Result<T>,
) -> Result<T> {
    let Some(closing) = closing else { return f(conn) };
    CURRENT.sync_scope(Arc::clone(closing), || {
        let done = f(conn)?;
        closing.close(conn)?;
        Ok(done)
    })
}
