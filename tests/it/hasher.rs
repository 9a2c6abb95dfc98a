//! The hashing threads: apps take turns, and each has places of its own.

use futures_util::FutureExt as _;
use futures_util::future::{join, join_all};
use kairos::config::Secret;
use kairos::id::AppId;
use kairos::platform::Hasher;
use std::sync::atomic::{AtomicUsize, Ordering};

fn app(n: u128) -> AppId {
    uuid::Uuid::from_u128(n).into()
}

#[tokio::test]
async fn the_crowd_of_one_app_keeps_no_other_waiting() {
    let hasher = Hasher::start(1).unwrap();
    let done = AtomicUsize::new(0);
    let password = || Secret::new("correct horse");
    let crowd = join_all((0..60).map(|_| async {
        hasher.hash(Some(app(1)), password(), [1; 16]).await.unwrap();
        done.fetch_add(1, Ordering::SeqCst);
    }));
    // The crowd is asked first, so all of it is in line before the other comes.
    let other = async {
        hasher.hash(Some(app(2)), password(), [1; 16]).await.unwrap();
        done.load(Ordering::SeqCst)
    };
    let (_, before) = join(crowd, other).await;
    assert!(before <= 4, "{before} hashes of the crowd came before the other app's only one");
}

#[tokio::test]
async fn a_full_app_is_refused_and_others_are_not() {
    let hasher = Hasher::start(1).unwrap();
    let password = || Secret::new("correct horse");
    let mut crowd: Vec<_> = (0..100).map(|_| Box::pin(hasher.hash(Some(app(1)), password(), [1; 16]))).collect();
    // Each is polled once: it takes a place, or is refused at once.
    let refused = crowd.iter_mut().filter_map(|hash| hash.as_mut().now_or_never()).filter(Result::is_err).count();
    assert!((30..=36).contains(&refused), "{refused} of 100 were refused, with 64 places and one thread");
    hasher.hash(Some(app(2)), password(), [1; 16]).await.unwrap();
    hasher.hash(None, password(), [1; 16]).await.unwrap();
    // Who hangs up frees the place without a hash.
    let count = hasher.count();
    drop(crowd);
    hasher.hash(Some(app(1)), password(), [1; 16]).await.unwrap();
    assert!(hasher.count() - count <= 3, "hashes were made for nobody");
}
