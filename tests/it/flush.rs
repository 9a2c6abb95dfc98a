//! SQLite's log and the disk under it: who is told is on disk, and who cannot be is not told.

use crate::world::{Answer, Api, Db, Process, Tenant, nap, stand_in};
use kairos::clock::Clock;
use serde_json::json;
use std::path::PathBuf;
use std::process::Command;
use tokio::task::JoinSet;

/// The real program on a disk that does as it is told.
struct Disk {
    process: Process,
    flag: PathBuf,
}

impl Disk {
    fn under(process: Process) -> Self {
        let folder = process.database.folder().to_owned();
        let (source, shim, flag) = (folder.join("flush.c"), folder.join("flush.so"), folder.join("flush.flag"));
        std::fs::write(&source, include_str!("flush.c")).unwrap();
        let made = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&shim, &source]).arg("-ldl").output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut me = Self { process, flag };
        me.process.settings.push(("LD_PRELOAD", shim.display().to_string()));
        me.process.settings.push(("FLUSH_FLAG", me.flag.display().to_string()));
        me
    }

    fn stalls(&self) {
        std::fs::write(&self.flag, "s").unwrap();
    }

    fn fails(&self) {
        std::fs::write(&self.flag, "f").unwrap();
    }

    fn works(&self) {
        std::fs::remove_file(&self.flag).unwrap();
    }
}

async fn write(api: Api, tenant: Tenant, name: &str) -> Option<Answer> {
    let body = json!({"external_id": name});
    api.call("POST", "/v1/users").by(&tenant.server).json(&body).try_send().await.ok()
}

fn users(disk: &Disk) -> i64 {
    disk.process.database.number("select count(*) as n from users")
}

fn in_a_process(test: impl AsyncFnOnce(Disk, Tenant)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let standin = stand_in(Clock::system()).await;
        let process = Process::new(Db::Sqlite, &standin);
        let tenant = process.make_app();
        let mut disk = Disk::under(process);
        disk.process.start().await;
        test(disk, tenant).await;
    });
}

#[test]
fn nobody_is_told_before_the_flush_and_one_flush_is_for_all_who_wait() {
    in_a_process(async |disk, tenant| {
        disk.stalls();
        let mut calls = JoinSet::new();
        for n in 0..20 {
            let (api, tenant) = (disk.process.api, tenant.clone());
            calls.spawn(async move { write(api, tenant, &format!("waits-{n}")).await.map(|answer| answer.status) });
        }
        while users(&disk) < 20 {
            nap(20).await;
        }
        // All are committed, and the writer goes on: only the disk is missing.
        nap(300).await;
        assert!(calls.try_join_next().is_none(), "one was told before it was on disk");
        disk.works();
        while let Some(status) = calls.join_next().await {
            assert_eq!(status.unwrap(), Some(201));
        }
    });
}

/// Three calls for one import, one after the other, under this key.
fn asks_thrice(disk: &Disk, tenant: &Tenant, key: &str) -> JoinSet<(u16, Option<String>)> {
    let call = |n: usize| {
        let (api, tenant, key) = (disk.process.api, tenant.clone(), key.to_owned());
        async move {
            nap(200 * n as u64).await;
            let call = api.call("POST", "/v1/users/import").by(&tenant.server).header("Idempotency-Key", &key);
            let answer = call.text("application/x-ndjson", "{\"external_id\": \"one\"}").try_send().await.unwrap();
            (answer.status, answer.json()["id"].as_str().map(str::to_owned))
        }
    };
    (0..3).map(call).collect()
}

#[test]
fn who_asks_again_is_not_told_before_the_first_one_could_be() {
    in_a_process(async |disk, tenant| {
        let imports = || disk.process.database.number("select count(*) as n from imports");
        let mut round = 0;
        let mut calls = loop {
            disk.stalls();
            let mut calls = asks_thrice(&disk, &tenant, &format!("same-{round}"));
            for _ in 0..100 {
                if imports() <= round {
                    nap(20).await;
                }
            }
            if imports() > round {
                break calls;
            }
            // A write of the server's own was the first to stall, and the calls wait behind it.
            disk.works();
            while calls.join_next().await.is_some() {}
            round += 1;
            assert!(round < 5, "nothing is written");
        };
        nap(800).await;
        assert!(calls.try_join_next().is_none(), "it was told of what is not on disk");
        disk.works();
        let mut answers = Vec::new();
        while let Some(answer) = calls.join_next().await {
            answers.push(answer.unwrap());
        }
        assert!(answers.iter().all(|(status, id)| *status == 202 && id.is_some() && *id == answers[0].1), "{answers:?}");
    });
}

#[test]
fn a_disk_that_keeps_nothing_stops_the_process_and_nobody_is_told_otherwise() {
    in_a_process(async |mut disk, tenant| {
        assert_eq!(write(disk.process.api, tenant.clone(), "before").await.unwrap().status, 201);
        disk.fails();
        let answer = write(disk.process.api, tenant.clone(), "lost").await;
        assert!(answer.is_none_or(|answer| answer.status >= 500), "it was told that it is on disk");
        let ended = disk.process.child.take().unwrap().wait().unwrap();
        assert!(!ended.success());
        assert!(disk.process.log().contains("cannot be flushed to disk"), "{}", disk.process.log());
        disk.works();
        disk.process.start().await;
        assert_eq!(write(disk.process.api, tenant, "after").await.unwrap().status, 201);
        assert!(users(&disk) >= 2);
    });
}
