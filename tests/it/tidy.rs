//! The house rules, as far as a machine can check them; each message says what to do instead.

use kairos::routes::ApiDoc;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use utoipa::OpenApi as _;

/// Left may import right, never the other way round.
const ORDER: [&str; 28] = [
    "main", "cli", "serve", "routes", "console", "insight", "privacy", "moment", "campaign", "partner", "event", "place", "push",
    "people", "webhook", "mail", "app", "platform", "http", "audit", "worker", "outbound", "store", "cache", "config", "id",
    "clock", "error",
];
/// The same inside people.
const PEOPLE: [&str; 4] = ["account", "profile", "device", "consent"];
/// Leaves that everybody may use.
const FREE: [&str; 3] = ["telemetry", "planted", "on"];

const FILE_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 70;
const PARAMETERS_MAX: usize = 4;

struct Source {
    path: String,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn walk(folder: &Path, out: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let skipped = ["target", "data", "node_modules", ".git", ".venv", ".cache", ".hypothesis", ".schemathesis"];
        if path.is_dir() && !skipped.contains(&name.as_str()) {
            walk(&path, out);
        } else if path.is_file() && !skipped.contains(&name.as_str()) {
            out.push(path);
        }
    }
}

/// All text files below a folder of the repository, by their path in it.
fn files(folder: &str, ends: &[&str]) -> Vec<Source> {
    let mut paths = Vec::new();
    if root().join(folder).is_dir() {
        walk(&root().join(folder), &mut paths);
    }
    let wanted = |p: &PathBuf| ends.is_empty() || ends.iter().any(|end| p.to_string_lossy().ends_with(end));
    paths
        .into_iter()
        .filter(wanted)
        .filter_map(|p| {
            let path = p.strip_prefix(root()).unwrap().display().to_string();
            std::fs::read(&p).ok().and_then(|bytes| String::from_utf8(bytes).ok()).map(|text| Source { path, text })
        })
        .collect()
}

fn rust() -> Vec<Source> {
    let all: Vec<Source> = ["src", "tests", "benches"].iter().flat_map(|folder| files(folder, &[".rs"])).collect();
    assert!(all.len() > 20, "the sources were not found");
    all
}

/// The code without what stands after `//`; string literals stay.
fn code(line: &str) -> &str {
    line.find("//").filter(|at| !line[..*at].ends_with(':')).map_or(line, |at| &line[..at])
}

#[track_caller]
fn none(found: &[String], rule: &str) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

/// The words that follow each `marker` up to the next character that is not part of a name.
fn names_after<'a>(line: &'a str, marker: &str) -> Vec<&'a str> {
    line.match_indices(marker)
        .filter(|(at, _)| !line[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
        .map(|(at, _)| {
            let rest = &line[at + marker.len()..];
            &rest[..rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())]
        })
        .collect()
}

#[test]
fn a_module_imports_only_from_further_right() {
    let place = |name: &str| ORDER.iter().position(|m| *m == name);
    let mut found = Vec::new();
    for source in files("src", &[".rs"]) {
        let module = source.path.trim_start_matches("src/").split(['/', '.']).next().unwrap_or_default();
        if module == "lib" || FREE.contains(&module) {
            continue;
        }
        let own = place(module).unwrap_or_else(|| panic!("src/{module} has no place in the order of architecture.md"));
        for (n, line) in source.text.lines().enumerate() {
            for name in names_after(code(line), "crate::") {
                match place(name) {
                    Some(other) if other >= own => {}
                    Some(_) => found.push(format!("{}:{} imports {name}", source.path, n + 1)),
                    None if FREE.contains(&name) => {}
                    None => found.push(format!(
                        "{}:{} imports from crate::{{…}} or from {name}, which has no place",
                        source.path,
                        n + 1
                    )),
                }
            }
        }
    }
    none(&found, "a module imports only from further right (architecture.md §2); pass it in, or move the handler left");
}

#[test]
fn a_room_of_people_imports_only_from_further_right() {
    let mut found = Vec::new();
    for source in files("src/people", &[".rs"]) {
        let Some(own) = PEOPLE.iter().position(|room| source.path.starts_with(&format!("src/people/{room}"))) else { continue };
        for (n, line) in source.text.lines().enumerate() {
            for (other, room) in PEOPLE.iter().enumerate().take(own) {
                if ["people::", "super::"].iter().any(|m| names_after(code(line), m).contains(room)) {
                    found.push(format!("{}:{} imports {}", source.path, n + 1, PEOPLE[other]));
                }
            }
        }
    }
    none(&found, "inside people: account → profile → device → consent");
}

#[test]
fn every_file_begins_with_one_sentence_about_itself() {
    let found: Vec<String> = rust().iter().filter(|s| !s.text.starts_with("//! ")).map(|s| s.path.clone()).collect();
    none(&found, "the first line is `//! ` and a sentence");
}

#[test]
fn files_are_short() {
    let found: Vec<String> = files("src", &[".rs"])
        .iter()
        // The lists of tables and of routes are as long as there are tables and routes.
        .filter(|s| !["src/store/schema.rs", "src/routes.rs"].contains(&s.path.as_str()))
        .filter(|s| s.text.lines().count() > FILE_LINES_MAX)
        .map(|s| format!("{}: {} lines", s.path, s.text.lines().count()))
        .collect();
    none(&found, "a file has at most 400 lines, better 250: split it by meaning");
}

/// The functions of a file: (line, name, lines, parameters), from code as rustfmt lays it out.
fn functions(text: &str) -> Vec<(usize, String, usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (n, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let words =
            line.trim_start().trim_start_matches("pub ").trim_start_matches("pub(super) ").trim_start_matches("pub(crate) ");
        let words = words.trim_start_matches("const ").trim_start_matches("async ");
        let Some(rest) = words.strip_prefix("fn ") else { continue };
        let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let close = format!("{}}}", " ".repeat(indent));
        let same_line = line.ends_with('}') || line.ends_with(';');
        let length = if same_line { 1 } else { lines[n..].iter().position(|l| *l == close).map_or(1, |at| at + 1) };
        found.push((n + 1, name, length, parameters(&lines[n..(n + length).min(lines.len())].join("\n"))));
    }
    found
}

/// Counts the parameters of a signature, without `self`, the connection and what the web framework hands in.
fn parameters(signature: &str) -> usize {
    let Some(name_at) = signature.find("fn ") else { return 0 };
    // Generic bounds may hold parentheses: the list begins after the name and its balanced <…>.
    let (mut angle, mut start) = (0_i32, None);
    for (at, c) in signature[name_at..].char_indices() {
        match c {
            '<' => angle += 1,
            '>' if !signature[..name_at + at].ends_with('-') => angle -= 1,
            '(' if angle == 0 => {
                start = Some(name_at + at + 1);
                break;
            }
            _ => {}
        }
    }
    let Some(start) = start else { return 0 };
    let (mut depth, mut parts) = (0_i32, vec![String::new()]);
    for (at, c) in signature[start..].char_indices() {
        match c {
            '(' | '<' | '[' | '{' => depth += 1,
            ')' if depth == 0 => break,
            '>' if signature[..start + at].ends_with('-') => {}
            ')' | '>' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().unwrap().push(c);
    }
    let counts =
        |p: &&String| !p.trim().is_empty() && !p.contains("self") && !p.contains("web::Data<") && !p.contains("&mut Conn");
    parts.iter().filter(counts).count()
}

#[test]
fn functions_are_short_and_take_few_parameters() {
    let mut found = Vec::new();
    for source in files("src", &[".rs"]) {
        for (line, name, length, parameters) in functions(&source.text) {
            // The list of routes is as long as there are routes.
            if length > FUNCTION_LINES_MAX && source.path != "src/routes.rs" {
                found.push(format!("{}:{line} {name} has {length} lines (at most {FUNCTION_LINES_MAX})", source.path));
            }
            if parameters > PARAMETERS_MAX {
                found.push(format!(
                    "{}:{line} {name} has {parameters} parameters (at most {PARAMETERS_MAX}, then a struct)",
                    source.path
                ));
            }
        }
    }
    none(&found, "functions");
}

#[test]
fn the_measure_of_functions_measures() {
    let text = "impl X {\n    pub fn a<F: Fn(u8, u8) -> u8>(\n        &self,\n        b: HashMap<A, B>,\n        c: (u8, u8),\n    ) -> u8 {\n        1\n    }\n}\n";
    assert_eq!(functions(text), [(2, "a".to_owned(), 7, 2)]);
    assert_eq!(parameters("fn a(b: u8, c: impl Fn(u8) -> Result<u8>, d: web::Data<P>, e: &[u8], f: u8) {"), 4);
    assert_eq!(names_after("use crate::store::X; my_crate::y(); crate::id", "crate::"), ["store", "id"]);
}

#[test]
fn names_mean_something() {
    let forbidden = ["utils", "util", "common", "helpers", "helper", "manager", "service", "services", "misc"];
    let mut found = Vec::new();
    for source in files("src", &[".rs"]) {
        let parts: Vec<&str> = source.path.trim_end_matches(".rs").split('/').collect();
        found.extend(parts.iter().filter(|p| forbidden.contains(p)).map(|p| format!("{}: {p}", source.path)));
        for (n, line) in source.text.lines().enumerate() {
            let kinds = ["struct ", "enum ", "trait ", "type "];
            for name in kinds.iter().flat_map(|k| names_after(code(line), k)) {
                if ["Manager", "Helper", "Service", "Util", "Utils"].iter().any(|end| name.ends_with(end)) {
                    found.push(format!("{}:{} {name}", source.path, n + 1));
                }
            }
        }
    }
    none(&found, "a folder is a noun of the domain, a type says what it is");
}

#[test]
fn lints_are_expected_and_never_allowed() {
    let (outer, inner) = (concat!("#[", "allow"), concat!("#![", "allow"));
    let has = |s: &Source| s.text.lines().any(|l| code(l).contains(outer) || code(l).contains(inner));
    let found: Vec<String> = rust().iter().filter(|s| has(s)).map(|s| s.path.clone()).collect();
    none(&found, "use #[expect(lint, reason = \"…\")]: it goes stale by itself");
}

/// SQL belongs to the `store` file or folder of its room; these few are the floor itself.
#[test]
fn each_room_keeps_its_sql_to_itself() {
    let floor = ["src/store/", "src/platform/epoch.rs", "src/platform/personal.rs", "src/id.rs"];
    let mut found = Vec::new();
    for source in files("src", &[".rs"]) {
        // What a room shows, forgets and hands over of a person is its tables, whole: that has a file of its own.
        let own = ["/store.rs", "/personal.rs"].iter().any(|end| source.path.ends_with(end)) || source.path.contains("/store/");
        if own || floor.iter().any(|f| source.path.starts_with(f)) {
            continue;
        }
        let sql = |l: &str| ["diesel::", "store::schema", "on!"].iter().any(|m| !names_after(code(l), m).is_empty());
        found.extend(source.text.lines().position(sql).map(|n| format!("{}:{}", source.path, n + 1)));
    }
    none(&found, "all diesel of a room is in its store.rs (or store/)");
}

/// Whoever else opened connections could be led to an inner address by a URL that somebody chose.
#[test]
fn only_the_guarded_client_and_the_gateways_transport_call_out() {
    let callers = ["src/outbound/", "src/push/standin/", "src/cli/"];
    let words = [
        "TcpStream",
        "lookup_host",
        "ToSocketAddrs",
        "to_socket_addrs",
        "hyper::client",
        "h2::client",
        "TlsConnector",
        "reqwest",
        "ureq",
    ];
    let mut found = Vec::new();
    for source in files("src", &[".rs"]).iter().filter(|s| !callers.iter().any(|c| s.path.starts_with(c))) {
        let calls = |line: &&str| words.iter().any(|word| code(line).contains(word));
        found.extend(source.text.lines().find(calls).map(|line| format!("{}: {}", source.path, line.trim())));
    }
    none(&found, "use platform.web (outbound/guarded.rs) for URLs that others choose");
}

/// One query text serves both databases; what truly differs is listed here.
#[test]
fn the_databases_differ_only_where_it_is_written_down() {
    let listed = [
        // Rows as JSON: each database has its own name for the function.
        "src/platform/personal.rs",
        // Says at start where the data is.
        "src/cli/serve.rs",
        // Bulk inserts in each database's fast form, and PostgreSQL's row locks.
        "src/event/store/log.rs",
        // SQLite is fastest with cached single-row inserts, PostgreSQL with multi-row ones; the log is the hottest write.
        "src/event/store/log.rs",
        // The same for the outbox; PostgreSQL's claim skips what another node has locked.
        "src/push/store/mod.rs",
        "src/push/store/queue.rs",
        // What is handed over is locked on PostgreSQL, or a claim would take it half way.
        "src/push/personal.rs",
        // A device that is registered again is locked before its user's epoch on PostgreSQL, as whoever ends its token does.
        "src/people/device/store/mod.rs",
    ];
    let mut found = Vec::new();
    for source in files("src", &[".rs"]).iter().filter(|s| !s.path.starts_with("src/store/")) {
        let differs = |l: &str| ["Engine::", "Conn::Sqlite", "Conn::Postgres", ".engine()"].iter().any(|m| code(l).contains(m));
        if source.text.lines().any(differs) && !listed.contains(&source.path.as_str()) {
            found.push(source.path.clone());
        }
    }
    none(&found, "a second body is allowed only where SQL truly differs: add the file to this test's list and say why there");
}

/// Pure files: same input, same output. They can be run again on what was stored.
#[test]
fn pure_files_touch_neither_store_nor_clock() {
    let pure = [
        "src/moment/value.rs",
        "src/moment/permission.rs",
        "src/moment/choice.rs",
        "src/moment/quiet.rs",
        "src/moment/message.rs",
        "src/outbound/address.rs",
        "src/outbound/url.rs",
        "src/place/geometry.rs",
        "src/place/transition.rs",
        "src/webhook/filter.rs",
        "src/webhook/schedule.rs",
        "src/webhook/sign.rs",
    ];
    let mut found = Vec::new();
    for source in files("src", &[".rs"]).iter().filter(|s| pure.contains(&s.path.as_str())) {
        let impure = ["crate::store", "Clock", "async ", "await", "tokio::", "crate::platform"];
        for (n, line) in source.text.lines().enumerate() {
            if impure.iter().any(|word| code(line).contains(word)) {
                found.push(format!("{}:{} {}", source.path, n + 1, line.trim()));
            }
        }
    }
    none(&found, "a pure file takes what it needs as values");
}

/// Machine paths, registry hosts and left-over notes have no place in what is published.
#[test]
fn words_that_stay_out() {
    let words = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("/Us", "ers/"),
        concat!("crates", ".io"),
        concat!("py", "pi.org"),
        concat!("pythonhos", "ted"),
        concat!("npm", "js.org"),
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("HA", "CK:"),
    ];
    let mut found = Vec::new();
    for source in files(".", &[]) {
        if source.path.ends_with(".lock") || source.path.starts_with("examples/") || source.path == "LICENSE" {
            continue;
        }
        for (n, line) in source.text.lines().enumerate() {
            found.extend(words.iter().filter(|w| line.contains(**w)).map(|w| format!("{}:{} {w}", source.path, n + 1)));
        }
    }
    none(&found, "words that stay out of the repository");
}

fn mounted() -> BTreeSet<(String, String)> {
    let text = std::fs::read_to_string(root().join("src/routes.rs")).unwrap();
    let text: String = text.lines().map(code).collect::<String>().split_whitespace().collect();
    let route = |part: &str| {
        let (path, rest) = part.strip_prefix('"')?.split_once('"')?;
        let method = rest.strip_prefix(",web::")?.split('(').next()?;
        Some((method.to_owned(), path.to_owned()))
    };
    let found: Vec<_> =
        text.split(".route(").skip(1).map(|part| route(part).expect("routes.rs: one plain line per route")).collect();
    let set: BTreeSet<_> = found.iter().cloned().collect();
    assert_eq!(set.len(), found.len(), "a route is mounted twice");
    set
}

#[test]
fn the_openapi_document_lists_exactly_the_mounted_routes() {
    let document = serde_json::to_value(ApiDoc::openapi()).unwrap();
    let methods = ["get", "post", "put", "patch", "delete"];
    let described: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            methods.iter().filter(|m| item.get(**m).is_some()).map(|m| ((*m).to_owned(), path.clone())).collect::<Vec<_>>()
        })
        .collect();
    // Operations' own pages (health, metrics, the document itself) are not part of the API.
    let api = |(_, path): &&(String, String)| path.starts_with("/v1/") || path.starts_with("/.well-known/");
    let mounted: BTreeSet<_> = mounted().iter().filter(api).cloned().collect();
    let described: BTreeSet<_> = described.iter().filter(api).cloned().collect();
    assert!(mounted.len() > 5, "the routes were not found");
    let missing: Vec<_> = mounted.symmetric_difference(&described).map(|(m, p)| format!("{m} {p}")).collect();
    none(&missing, "in mount() or in paths(), but not in both");
}

#[test]
fn there_is_one_set_of_migrations_and_all_of_it_is_embedded() {
    let mut folders: Vec<String> = std::fs::read_dir(root().join("migrations"))
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    folders.sort();
    let embedded = std::fs::read_to_string(root().join("src/store/migrate.rs")).unwrap();
    for folder in &folders {
        for way in ["up", "down"] {
            assert!(embedded.contains(&format!("migrations/{folder}/{way}.sql")), "{folder}/{way}.sql is not in migrate.rs");
        }
    }
    let other: Vec<String> =
        files(".", &[".sql"]).iter().map(|s| s.path.clone()).filter(|p| !p.starts_with("migrations/")).collect();
    none(&other, "SQL files outside migrations/");
}

#[test]
fn the_licence_is_said_everywhere_it_must_be() {
    let read = |name: &str| std::fs::read_to_string(root().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert!(read("LICENSE").contains("Apache License") && read("LICENSE").contains("Version 2.0"));
    assert!(read("Cargo.toml").contains("license = \"Apache-2.0\""));
    assert!(read("NOTICE").contains("Copyright The Kairos authors"));
    assert!(read("deny.toml").contains("[licenses]"));
}

#[test]
fn every_setting_is_explained_in_the_manual_and_listed_in_the_readme() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let mut sections = BTreeMap::new();
    let (mut comment, mut found) = (false, Vec::new());
    for line in kairos::config::DEFAULTS.lines() {
        if line.starts_with('#') {
            comment = true;
        } else if line.trim().is_empty() {
            comment = false;
        } else if let Some((name, _)) = line.split_once(" = ") {
            sections.insert(name.to_owned(), comment);
            if !comment {
                found.push(format!("{name} has no comment above it in config.default.toml"));
            }
            if !readme.contains(&format!("`KAIROS_{}`", name.to_uppercase())) {
                found.push(format!("`KAIROS_{}` is not in the README's table", name.to_uppercase()));
            }
        }
    }
    assert!(sections.len() > 20, "the settings were not found");
    none(&found, "settings");
}
