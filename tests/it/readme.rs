//! What the README prints works as it is printed there, on one machine with nothing but bash, curl and the program.

use std::net::TcpListener;
use std::process::Command;

/// The shell blocks of a section, one after the other.
fn printed(readme: &str, section: &str) -> String {
    let section = readme.split(&format!("\n## {section}\n")).nth(1).unwrap_or_else(|| panic!("there is no section {section}"));
    let section = section.split("\n## ").next().unwrap();
    let blocks: Vec<&str> = section.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(!blocks.is_empty());
    blocks.join("\n")
}

/// Two ports below those that the system hands out by itself, so that nobody takes them before the programs do; `n` tells
/// the tests of one process apart.
fn two_ports(n: u32) -> [u16; 2] {
    let first = (0..5_000).map(|again| 12_000 + (std::process::id() * 2 + n + again) % 5_000 * 4);
    let pairs = first.map(|first| [first, first + 1].map(|port| u16::try_from(port).unwrap()));
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    pairs.into_iter().find(|pair| pair.iter().all(is_free)).expect("two free ports")
}

/// Runs sections in a folder of their own, on other ports than those that are printed, with nothing of this machine's
/// settings; answers what they said.
fn run(n: u32, sections: &[&str], between: &str) -> String {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let [server, standin] = two_ports(n);
    let folder = std::env::temp_dir().join(format!("kairos-readme-{}-{n}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(folder.join("target/release")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_kairos"), folder.join("target/release/kairos")).unwrap();
    // One of an earlier run.
    std::fs::write(folder.join("standin-ca.pem"), "old").unwrap();
    let script: Vec<String> = sections.iter().map(|section| printed(&readme, section)).collect();
    let script = script.join(between).replace(":9443", &format!(":{standin}")).replace(":8080", &format!(":{server}"));
    let script = format!("set -e\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{script}");
    // What is printed waits for programs without end.
    let run = Command::new("timeout")
        .args(["--kill-after=5", "90", "bash", "-c", &script])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", &folder)
        .env("NO_PROXY", "*")
        .env("KAIROS_LISTEN", format!("127.0.0.1:{server}"))
        .current_dir(&folder)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(run.status.success(), "{} {said} {}", run.status, String::from_utf8_lossy(&run.stderr));
    std::fs::remove_dir_all(&folder).unwrap();
    said
}

#[test]
fn one_can_test_ones_own_sender() {
    let said = run(0, &["Test your own sender"], "\n");
    for part in ["BEGIN PRIVATE KEY", "\"project_id\":\"example\"", "\"tokens\":[", "\"arrived\":0", "[]"] {
        assert!(said.contains(part), "{part} is missing: {said}");
    }
}

#[test]
fn a_first_push_goes_out_and_a_live_activity_and_users_move_in() {
    let said = run(1, &["A first push", "Live Activities", "Moving in"], "\nexport INSTALLATION=phone-1\n");
    let parts = [
        "\"result\":\"good\"",
        "\"state\":\"accepted\"",
        "Bestellung 4711",
        "\"id\":\"act_",
        "\"event\":\"update\"",
        "\"event\":\"end\"",
        "\"id\":\"imp_",
    ];
    for part in parts {
        assert!(said.contains(part), "{part} is missing: {said}");
    }
    assert!(!said.contains("about:blank#"), "something was refused: {said}");
}
