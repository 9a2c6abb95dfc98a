//! A PostgreSQL server whose answers can be lost: a proxy that, when told to, lets a commit through and cuts the line.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixListener, UnixStream};

/// See the module.
pub struct Lossy {
    url: String,
    armed: Arc<AtomicBool>,
}

/// libpq's name of a socket in a folder.
const SOCKET: &str = ".s.PGSQL.5432";

trait Line: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Line for T {}

impl Lossy {
    /// Listens in a folder of its own, in front of the server of a `postgres://` URL.
    pub fn before(server: &str, folder: &Path) -> Self {
        let folder = folder.join("lossy");
        std::fs::create_dir_all(&folder).unwrap();
        let listener = UnixListener::bind(folder.join(SOCKET)).unwrap();
        let (user, rest) = server.trim_start_matches("postgres://").split_once('@').unwrap();
        let (host, name) = rest.split_once('/').unwrap();
        let url = format!("postgres://{user}@{}/{name}", folder.display().to_string().replace('/', "%2F"));
        let armed = Arc::new(AtomicBool::new(false));
        let (trigger, host) = (Arc::clone(&armed), host.to_owned());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = connect(&host).await;
                tokio::spawn(carry(client, server, Arc::clone(&trigger)));
            }
        });
        Self { url, armed }
    }

    /// The URL for `KAIROS_DATABASE_URL`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The next transaction that says `sending` commits, and nobody hears of it.
    pub fn lose_the_next_claim(&self) {
        self.armed.store(true, Ordering::SeqCst);
    }

    /// Whether that has happened.
    pub fn has_lost(&self) -> bool {
        !self.armed.load(Ordering::SeqCst)
    }
}

async fn connect(host: &str) -> Box<dyn Line> {
    if host.starts_with("%2F") {
        let folder = PathBuf::from(host.replace("%2F", "/"));
        return Box::new(UnixStream::connect(folder.join(SOCKET)).await.unwrap());
    }
    let address = if host.contains(':') { host.to_owned() } else { format!("{host}:5432") };
    Box::new(TcpStream::connect(address).await.unwrap())
}

async fn carry(client: UnixStream, server: Box<dyn Line>, armed: Arc<AtomicBool>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let mut back = tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await.map(|_| to_client) });
    let (mut buffer, mut claims) = (vec![0; 1 << 16], false);
    loop {
        let read = tokio::select! {
            read = from_client.read(&mut buffer) => read.unwrap_or(0),
            _ = &mut back => return,
        };
        let said = &buffer[..read];
        claims = (claims || holds(said, b"sending")) && !holds(said, b"BEGIN");
        let lose = claims && holds(said, b"COMMIT") && armed.swap(false, Ordering::SeqCst);
        if lose {
            back.abort();
        }
        if read == 0 || to_server.write_all(said).await.is_err() {
            return;
        }
        if lose {
            // The server hangs up by itself once it has read the commit and finds the line closed.
            let _ = to_server.shutdown().await;
            return;
        }
    }
}

fn holds(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|w| w == word)
}
