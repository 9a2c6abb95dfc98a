//! Writes that wait for a database thread share transactions (SQLite); none of them may feel the others.

use crate::world::{World, number};
use kairos::error::{Error, Problem, Result};
use kairos::store::{Conn, Store};
use std::sync::mpsc;
use tokio::task::JoinHandle;

fn store(world: &World) -> Store {
    world.kairos.platform.store.clone()
}

fn note(conn: &mut Conn, key: &str) -> Result<()> {
    conn.batch(&format!("insert into epochs (app_id, scope, key, value) values ('app', 'consent', '{key}', 1)"))
}

async fn notes(world: &World) -> Vec<String> {
    world.lines("select key as line from epochs where app_id = 'app' order by key").await
}

/// Holds every writer until it is dropped or told to go on: what is sent meanwhile waits, in this order.
async fn hold(world: &World) -> (Vec<mpsc::Sender<()>>, Vec<JoinHandle<Result<()>>>) {
    let writers = world.kairos.platform.config.db_writers.max(1);
    let mut held = (Vec::new(), Vec::new());
    let (seen, here) = mpsc::channel::<()>();
    for _ in 0..writers {
        let ((go_on, wait), store, seen) = (mpsc::channel::<()>(), store(world), seen.clone());
        held.0.push(go_on);
        held.1.push(tokio::spawn(async move {
            let hold = move |_: &mut Conn| {
                let _ = seen.send(());
                let _ = wait.recv();
                Ok(())
            };
            store.write(hold).await
        }));
        // SQLite's one writer is taken by the first.
        if store_is_sqlite(world) {
            break;
        }
    }
    let many = held.0.len();
    tokio::task::spawn_blocking(move || (0..many).for_each(|_| here.recv().unwrap())).await.unwrap();
    held
}

fn store_is_sqlite(world: &World) -> bool {
    world.kairos.platform.store.engine() == kairos::store::Engine::Sqlite
}

/// Polls each call once, so that all of them are in the queue in this order.
fn send<F: Future + Send + 'static>(calls: impl IntoIterator<Item = F>) -> Vec<std::pin::Pin<Box<F>>> {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let mut calls: Vec<_> = calls.into_iter().map(Box::pin).collect();
    for call in &mut calls {
        assert!(call.as_mut().poll(&mut cx).is_pending());
    }
    calls
}

both! {
    async fn a_refusal_among_writes_that_share_a_transaction_is_its_own(world) {
        let (held, holders) = hold(world).await;
        let calls = send((0..100).map(|n| {
            let store = store(world);
            async move {
                store.write(move |conn| {
                    // One in ten sees that another one has been here before, in the same transaction perhaps.
                    note(conn, &format!("{:03}", if n % 10 == 9 { n - 1 } else { n }))?;
                    if n % 10 == 5 { Err(Problem::new(400, "no", "changed my mind").into()) } else { Ok(n) }
                }).await
            }
        }));
        drop(held);
        let (mut kept, mut second) = (Vec::new(), 0);
        for (n, call) in calls.into_iter().enumerate() {
            match (n % 10, call.await) {
                (5, Err(Error::Refused(problem))) => assert_eq!(problem.code, "no"),
                // PostgreSQL's writers may overtake each other.
                (8 | 9, Err(Error::Refused(problem))) => {
                    assert_eq!(problem.status, 409);
                    second += 1;
                }
                (digit, Ok(answer)) => {
                    assert_eq!(answer, n);
                    kept.push(format!("{:03}", if digit == 9 { n - 1 } else { n }));
                }
                (_, other) => panic!("{n}: {other:?}"),
            }
        }
        assert_eq!((kept.len(), second), (80, 10));
        assert_eq!(notes(world).await, kept, "what was said is what is there");
        for holder in holders {
            holder.await.unwrap().unwrap();
        }
    }

    async fn whoever_was_told_that_it_is_written_finds_it_whatever_happened_beside_it(world) {
        let (held, holders) = hold(world).await;
        let calls = send((0..60).map(|n| {
            let store = store(world);
            async move {
                store.write(move |conn| {
                    note(conn, &format!("{n:03}"))?;
                    match n {
                        20 => panic!("a bug in a closure; this message in the log is expected"),
                        40 => Err(Error::Busy("as if the disk were full")),
                        _ => Ok(()),
                    }
                }).await
            }
        }));
        drop(held);
        let (mut written, mut broken) = (Vec::new(), Vec::new());
        for (n, call) in calls.into_iter().enumerate() {
            match call.await {
                Ok(()) => written.push(format!("{n:03}")),
                Err(Error::Busy(_)) => {}
                Err(Error::Broken(_)) => broken.push(n),
                Err(other) => panic!("{n}: {other}"),
            }
        }
        assert_eq!(broken, [20]);
        assert!(!written.contains(&"040".to_owned()), "it said that it was not");
        assert!(written.len() >= 38, "what came after it is not sunk by it: {}", written.len());
        assert_eq!(notes(world).await, written);
        // It may have shared the transaction in which somebody panicked.
        for holder in holders {
            assert!(matches!(holder.await.unwrap(), Ok(()) | Err(Error::Busy(_))));
        }
    }

    async fn what_is_in_no_hurry_lets_others_go_first_and_goes_nevertheless(world) {
        let (held, holders) = hold(world).await;
        let order = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let noted = |name: &'static str| {
            let order = std::sync::Arc::clone(&order);
            move |conn: &mut Conn| {
                order.lock().unwrap().push(name);
                number(conn, "select count(*) as n from epochs")
            }
        };
        let patient = send((0..3).map(|_| {
            let (store, work) = (store(world), noted("patient"));
            async move { store.write_patiently(work).await }
        }));
        let others = send((0..2_000).map(|_| {
            let (store, work) = (store(world), noted("other"));
            async move { store.write(work).await }
        }));
        drop(held);
        for call in patient {
            call.await.unwrap();
        }
        for call in others {
            call.await.unwrap();
        }
        let order = std::mem::take(&mut *order.lock().unwrap());
        let place = |n: usize| order.iter().enumerate().filter(|(_, name)| **name == "patient").nth(n).unwrap().0;
        // One in nine, and whoever held the writer counts.
        assert!(place(0) >= 7, "{} came before it, though it had been there first", place(0));
        assert!(place(2) < 1_999, "it waited for everybody");
        for holder in holders {
            holder.await.unwrap().unwrap();
        }
    }
}
