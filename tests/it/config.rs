//! Settings: where they come from, and the one line that a wrong one gets.

use std::process::{Command, Output};

/// `kairos config print` with these arguments and settings of the environment, and no others.
fn print(arguments: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kairos"));
    command.env_clear().args(["config", "print"]).args(arguments).envs(env.iter().copied());
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn numbers_come_from_flags_as_from_the_environment_and_flags_win() {
    for (arguments, env) in [
        (vec!["--set", "retry_base_ms=4711"], vec![]),
        (vec![], vec![("KAIROS_RETRY_BASE_MS", "4711")]),
        (vec!["--set", "retry_base_ms=4711"], vec![("KAIROS_RETRY_BASE_MS", "1")]),
    ] {
        let output = print(&arguments, &env);
        assert!(
            output.status.success() && text(&output.stdout).contains("retry_base_ms = 4711 # default: 10000\n"),
            "{arguments:?} {env:?}"
        );
    }
}

#[test]
fn what_is_printed_is_what_is_in_force_without_secrets() {
    let said =
        text(&print(&[], &[("KAIROS_DATABASE_URL", "postgres://kairos:hush@db/kairos"), ("KAIROS_LOG_FORMAT", "json")]).stdout);
    assert!(said.contains("database_url = \"(secret)\" # default: \"\"\n") && !said.contains("hush"), "{said}");
    assert!(said.contains("log_format = \"json\" # default: \"human\"\n") && said.contains("\ndrain_s = 22\n"), "{said}");
}

#[test]
fn a_wrong_setting_stops_the_start_with_one_line_that_names_it() {
    for setting in ["retry_base_ms=soon", "no_such_thing=1", "listen=here", "gateway_streams=-1"] {
        let (name, value) = setting.split_once('=').unwrap();
        let variable = format!("KAIROS_{}", name.to_uppercase());
        for output in [print(&["--set", setting], &[]), print(&[], &[(variable.as_str(), value)])] {
            let said = text(&output.stderr);
            assert!(!output.status.success(), "{setting}");
            assert!(said.to_lowercase().contains(name) && said.trim_end().lines().count() == 1, "{setting}: {said}");
        }
    }
}
