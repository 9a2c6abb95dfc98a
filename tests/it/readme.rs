//! What the README prints works as it is printed there, on one machine with nothing but bash, curl and the program.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

/// The shell blocks of a section, one after the other.
fn printed(readme: &str, section: &str) -> String {
    let section = readme.split(&format!("\n## {section}\n")).nth(1).unwrap_or_else(|| panic!("there is no section {section}"));
    let section = section.split("\n## ").next().unwrap();
    let blocks: Vec<&str> = section.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(!blocks.is_empty());
    blocks.join("\n")
}

/// Runs sections in a folder of their own, on other ports than those that are printed; answers what they said.
fn run(sections: &[&str], between: &str) -> String {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    // Both are held until both are known, so that they differ.
    let ports = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [server, standin] = ports.map(|listener| listener.local_addr().unwrap().port());
    let folder = std::env::temp_dir().join(format!("kairos-readme-{}-{server}", std::process::id()));
    std::fs::create_dir_all(folder.join("target/release")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_kairos"), folder.join("target/release/kairos")).unwrap();
    let script: Vec<String> = sections.iter().map(|section| printed(&readme, section)).collect();
    let script = script.join(between).replace(":9443", &format!(":{standin}")).replace(":8080", &format!(":{server}"));
    let script = format!("set -e\ntrap 'kill $(jobs -p)' EXIT\n{script}");
    let run = Command::new("bash")
        .args(["-c", &script])
        .env("KAIROS_LISTEN", format!("127.0.0.1:{server}"))
        .env_remove("KAIROS_DATABASE_URL")
        .env_remove("KAIROS_REDIS_URL")
        .current_dir(&folder)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(run.status.success(), "{said} {}", String::from_utf8_lossy(&run.stderr));
    assert!(Path::exists(&folder.join("standin-ca.pem")));
    std::fs::remove_dir_all(&folder).unwrap();
    said
}

#[test]
fn one_can_test_ones_own_sender() {
    let said = run(&["Test your own sender"], "\n");
    for part in ["BEGIN PRIVATE KEY", "\"project_id\":\"example\"", "\"tokens\":[", "\"arrived\":0", "[]"] {
        assert!(said.contains(part), "{part} is missing: {said}");
    }
}

#[test]
fn a_first_push_goes_out_and_a_live_activity_and_users_move_in() {
    let said = run(&["A first push", "Live Activities", "Moving in"], "\nexport INSTALLATION=phone-1\n");
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
