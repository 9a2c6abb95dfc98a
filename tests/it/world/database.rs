//! Fresh databases: a folder with an SQLite file, or a PostgreSQL database copied from a migrated template.

use diesel::connection::SimpleConnection as _;
use diesel::sql_types::{BigInt, Text};
use diesel::{Connection as _, PgConnection, QueryableByName, RunQueryDsl as _, SqliteConnection, sql_query};
use kairos::on;
use kairos::store::{Conn, migrate_up};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Which database a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Db {
    /// A file in a temporary folder.
    Sqlite,
    /// A database on the server of `KAIROS_TEST_POSTGRES_URL`.
    Postgres,
}

/// A database of one test.
pub struct Database {
    url: String,
    folder: PathBuf,
    name: Option<String>,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

/// The server on which tests make their databases: a URL without a database name, or with any.
pub fn server_url() -> String {
    std::env::var("KAIROS_TEST_POSTGRES_URL").unwrap_or_else(|_| {
        panic!("KAIROS_TEST_POSTGRES_URL is not set: run `make test`, which provides a server, or set it to one of yours")
    })
}

impl Database {
    /// A fresh, empty database with the newest schema.
    pub fn make(db: Db) -> Self {
        let name = format!("kairos_test_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(&name);
        let (url, name) = match db {
            Db::Sqlite => (format!("sqlite://{}", folder.join("kairos.db").display()), None),
            Db::Postgres => {
                admin(&format!("create database {name} template {}", template()));
                (with_name(&server_url(), &name), Some(name))
            }
        };
        // A test that was killed leaves its folder, and process numbers come again: its database may have an older schema.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        Self { url, folder, name }
    }

    /// A database without any table, for tests of the migrations.
    pub fn bare(db: Db) -> Self {
        let mut database = Self::make(db);
        if let Some(name) = &mut database.name {
            admin(&format!("drop database {name}"));
            admin(&format!("create database {name} template template0"));
        }
        database
    }

    /// The URL for `KAIROS_DATABASE_URL`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A folder of this test's own.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Which engine this is.
    pub fn db(&self) -> Db {
        if self.name.is_some() { Db::Postgres } else { Db::Sqlite }
    }

    /// The column `n` of a query's one row, over a connection of its own.
    pub fn number(&self, sql: &str) -> i64 {
        number(&mut self.connect(), sql).unwrap()
    }

    /// Ends every connection to this PostgreSQL database, as a failing server or network does.
    pub fn cut_connections(&self) {
        cut_connections(&self.url);
    }

    /// The column `line` of every row, over a connection of its own.
    pub fn lines(&self, sql: &str) -> Vec<String> {
        lines(&mut self.connect(), sql).unwrap()
    }

    fn connect(&self) -> Conn {
        match self.db() {
            Db::Sqlite => Conn::Sqlite(SqliteConnection::establish(self.url.trim_start_matches("sqlite://")).unwrap()),
            Db::Postgres => Conn::Postgres(PgConnection::establish(&self.url).unwrap()),
        }
    }

    /// Removes it, whoever is still connected.
    pub fn remove(&self) {
        if let Some(name) = &self.name {
            admin(&format!("drop database if exists {name} with (force)"));
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Ends every connection to the PostgreSQL database at this URL.
pub fn cut_connections(url: &str) {
    let name = url.rsplit('/').next().unwrap_or_default();
    admin(&format!("select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = '{name}'"));
}

/// The name of the migrated template, made once per server and set of migrations, whoever comes first.
fn template() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        let name = format!("kairos_template_{:016x}", migrations_hash());
        let mut conn = PgConnection::establish(&with_name(&server_url(), "postgres")).expect("KAIROS_TEST_POSTGRES_URL");
        // The lock ends with this connection, so also when a test is killed in between.
        conn.batch_execute("select pg_advisory_lock(7203515946319)").unwrap();
        let found = one_number(&mut conn, &format!("select count(*) as n from pg_database where datname = '{name}'"));
        let version = one_number(&mut conn, "select current_setting('server_version_num')::bigint as n");
        assert!(version >= 150_000, "the server of KAIROS_TEST_POSTGRES_URL is too old: PostgreSQL 15 or newer is needed");
        if found == 0 {
            let draft = format!("{name}_draft");
            conn.batch_execute(&format!("drop database if exists {draft} with (force)")).unwrap();
            conn.batch_execute(&format!("create database {draft} template template0")).unwrap();
            migrate_up(&with_name(&server_url(), &draft)).unwrap();
            // The rename makes it whole or absent; the session that migrated it may need a moment to be gone.
            let rename = format!("alter database {draft} rename to {name}");
            let mut tries = 0;
            while let Err(error) = conn.batch_execute(&rename) {
                assert!(tries < 100, "cannot finish the template database: {error}");
                tries += 1;
                conn.batch_execute("select pg_sleep(0.05)").unwrap();
            }
        }
        name
    })
}

fn migrations_hash() -> u64 {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let mut files: Vec<PathBuf> = std::fs::read_dir(root).unwrap().map(|e| e.unwrap().path().join("up.sql")).collect();
    files.sort();
    let mut hash = DefaultHasher::new();
    files.iter().for_each(|file| std::fs::read_to_string(file).unwrap().hash(&mut hash));
    hash.finish()
}

/// Runs one statement on the server's own database.
fn admin(sql: &str) {
    let mut conn = PgConnection::establish(&with_name(&server_url(), "postgres")).expect("KAIROS_TEST_POSTGRES_URL");
    conn.batch_execute(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
}

/// The URL with another database name.
pub fn with_name(url: &str, name: &str) -> String {
    let (main, query) = url.split_once('?').map_or((url, String::new()), |(main, query)| (main, format!("?{query}")));
    let (scheme, rest) = main.split_once("://").expect("KAIROS_TEST_POSTGRES_URL must start with postgres://");
    let host = rest.split('/').next().unwrap_or_default();
    format!("{scheme}://{host}/{name}{query}")
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

fn one_number(conn: &mut PgConnection, sql: &str) -> i64 {
    sql_query(sql).get_result::<Number>(conn).unwrap().n
}

/// The column `n` of a query's one row.
pub fn number(conn: &mut Conn, sql: &str) -> kairos::error::Result<i64> {
    Ok(on!(conn, c => sql_query(sql).get_result::<Number>(c))?.n)
}

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

/// The column `line` of every row of a query.
pub fn lines(conn: &mut Conn, sql: &str) -> kairos::error::Result<Vec<String>> {
    let rows: Vec<Line> = on!(conn, c => sql_query(sql).load(c))?;
    Ok(rows.into_iter().map(|row| row.line).collect())
}
