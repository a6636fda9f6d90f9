//! A cluster as `chat-server init` makes it: encrypted, and closed to everybody without the right certificate.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use chat_client::{Client, Error, TlsSettings};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::codegen::Service;
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::support::{PROGRAM, RawClient, eventually, free_base_port};

/// What `init` wrote, and the replicas that run from it.
struct Secured {
    folder: TempDir,
    base_port: u16,
    replicas: Vec<Child>,
}

impl Secured {
    fn init() -> Secured {
        let folder = TempDir::new().unwrap();
        let secured = Secured {
            folder,
            base_port: free_base_port(),
            replicas: Vec::new(),
        };
        let made = secured.again(&["--base-port", &secured.base_port.to_string()]);
        assert!(made.status.success(), "{made:?}");
        let file = secured.path("cluster.toml");
        let text = fs::read_to_string(&file).unwrap();
        // Tests need many accounts and no secrecy.
        let limits = "[limits]\nhash_memory_kib = 64\nhash_passes = 1";
        fs::write(file, text.replace("# [limits]", limits)).unwrap();
        secured
    }

    /// Runs `init` on the folder.
    fn again(&self, arguments: &[&str]) -> Output {
        Command::new(PROGRAM)
            .arg("init")
            .arg(self.folder.path().join("chat"))
            .args(arguments)
            .output()
            .unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("chat").join(name)
    }

    fn address(&self, id: u16) -> String {
        format!("127.0.0.1:{}", self.base_port + id)
    }

    fn peer_address(&self, id: u16) -> String {
        format!("127.0.0.1:{}", self.base_port + 100 + id)
    }

    fn metrics_address(&self, id: u16) -> String {
        format!("127.0.0.1:{}", self.base_port + 200 + id)
    }

    /// A channel as any gRPC tool would have it.
    fn channel(&self, id: u16) -> Channel {
        let ca = CertificateDer::from_pem_file(self.path("ca.pem")).unwrap();
        let mut authorities = RootCertStore::empty();
        authorities.add(ca).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(authorities)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let connector = Connector {
            tls: TlsConnector::from(Arc::new(config)),
            address: self.address(id),
        };
        Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector)
    }

    fn run(&mut self, id: u16) {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log(id))
            .unwrap();
        let child = Command::new(PROGRAM)
            .args(["run", "--exit-with-stdin", "--id", &id.to_string()])
            .arg("--config")
            .arg(self.path("cluster.toml"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.replicas.push(child);
    }

    fn hang_up(&self, id: usize) {
        let process = nix::unistd::Pid::from_raw(self.replicas[id].id() as i32);
        nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGHUP).unwrap();
    }

    /// A page of a replica's listener for metrics.
    fn page(&self, id: u16, path: &str) -> String {
        let mut stream = TcpStream::connect(self.metrics_address(id)).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: chat\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        page
    }

    /// What `chat-server status` says at a replica.
    fn status(&self, id: u16) -> String {
        let output = Command::new(PROGRAM)
            .args(["status", "--id", &id.to_string(), "--config"])
            .arg(self.path("cluster.toml"))
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        String::from_utf8(said).unwrap()
    }

    fn log(&self, id: u16) -> PathBuf {
        self.path(&format!("replica-{id}.log"))
    }

    fn log_of(&self, id: u16) -> String {
        fs::read_to_string(self.log(id)).unwrap_or_default()
    }

    async fn logged(&self, id: u16, words: &str) {
        eventually(words, async || {
            self.log_of(id).contains(words).then_some(())
        })
        .await;
    }

    async fn client(&self, ca: &Path) -> Client {
        let tls = TlsSettings::new().ca_pem(&fs::read(ca).unwrap()).unwrap();
        Client::builder()
            .endpoints((0..3).map(|id| self.address(id)))
            .total_deadline(Duration::from_secs(20))
            .tls(tls)
            .connect()
            .await
            .unwrap()
    }

    /// Waits for a view of so many replicas.
    async fn settled(&self, replicas: usize) {
        let client = &self.client(&self.path("ca.pem")).await;
        eventually("a view of all", async || {
            let status = client.cluster_status().await.ok()?;
            let in_view = status.replicas.iter().filter(|one| one.in_view).count();
            (status.leader.is_some() && in_view == replicas).then_some(())
        })
        .await;
    }
}

/// Encrypts.
struct Connector {
    tls: TlsConnector,
    address: String,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<tokio::net::TcpStream>>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let (tls, address) = (self.tls.clone(), self.address.clone());
        Box::pin(async move {
            let stream = tokio::net::TcpStream::connect(address).await?;
            let name = ServerName::try_from("localhost").unwrap();
            tls.connect(name, stream).await.map(TokioIo::new)
        })
    }
}

impl Drop for Secured {
    #[allow(clippy::print_stderr)]
    fn drop(&mut self) {
        for child in &mut self.replicas {
            let _ = child.kill();
            let _ = child.wait();
        }
        for id in 0..3 {
            let log = self.log_of(id);
            if std::thread::panicking() {
                eprintln!("--- log of replica {id} ---\n{log}");
            } else {
                assert!(!log.contains("a defect at"), "{log}");
            }
        }
    }
}

#[test]
fn init_makes_secrets_that_only_their_owner_reads_and_never_takes_the_place_of_a_cluster() {
    let secured = Secured::init();
    let mode = |name: &str| {
        let data = fs::metadata(secured.path(name)).unwrap();
        data.permissions().mode() & 0o777
    };
    for secret in ["ca-key.pem", "replica-0/key.pem", "replica-2/key.pem"] {
        assert_eq!(mode(secret), 0o600, "{secret}");
    }
    let id = fs::read(secured.path("cluster.toml")).unwrap();
    let key = fs::read(secured.path("ca-key.pem")).unwrap();
    let again = secured.again(&[]);
    assert_eq!(again.status.code(), Some(1));
    let words = String::from_utf8(again.stderr).unwrap();
    assert!(words.contains("is there already"), "{words}");
    assert_eq!(fs::read(secured.path("cluster.toml")).unwrap(), id);
    assert_eq!(fs::read(secured.path("ca-key.pem")).unwrap(), key);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_as_init_makes_it_serves_those_who_know_its_authority() {
    let mut secured = Secured::init();
    for id in 0..3 {
        secured.run(id);
    }
    secured.settled(3).await;
    let ada = secured.client(&secured.path("ca.pem")).await;
    ada.register("ada", "password").await.unwrap();
    ada.login("ada", "password").await.unwrap();
    ada.send_message("ada", "hello").await.unwrap();
    // A follower passes the call on over a connection of its own, which is encrypted as well.
    let tls = TlsSettings::new()
        .ca_pem(&fs::read(secured.path("ca.pem")).unwrap())
        .unwrap();
    for id in 0..3 {
        let client = Client::builder()
            .endpoints([format!("https://{}", secured.address(id))])
            .tls(tls.clone())
            .connect()
            .await
            .unwrap();
        client.login("ada", "password").await.unwrap();
    }

    // Another authority: told at once, not after the deadline.
    let other = Secured::init();
    let stranger = secured.client(&other.path("ca.pem")).await;
    let error = stranger.login("ada", "password").await.unwrap_err();
    assert!(matches!(error, Error::Untrusted(_)), "{error}");
    assert!(error.to_string().contains("--ca"), "{error}");
    // A certificate for another name.
    let elsewhere = Client::builder()
        .endpoints([secured.address(0)])
        .tls(tls.domain("chat.example.org").unwrap())
        .connect()
        .await
        .unwrap();
    let error = elsewhere.login("ada", "password").await.unwrap_err();
    assert!(error.to_string().contains("for another host"), "{error}");
    // Without encryption: told at once as well.
    let plain = Client::connect([secured.address(0)]).await.unwrap();
    let error = plain.login("ada", "password").await.unwrap_err();
    assert!(matches!(error, Error::Untrusted(_)), "{error}");
    assert!(error.to_string().contains("--ca"), "{error}");
    // Without encryption nothing is heard, at neither port.
    for address in [secured.address(0), secured.peer_address(0)] {
        let plain = RawClient::new(&address);
        assert!(plain.login("", "ada", "password").await.is_err());
        let mut connection = TcpStream::connect(&address).unwrap();
        connection
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        let _ = connection.write_all(b"GET / HTTP/1.1\r\n\r\n");
        let mut heard = Vec::new();
        let _ = connection.read_to_end(&mut heard);
        assert!(!heard.starts_with(b"HTTP"), "{heard:?}");
    }
    ada.send_message("ada", "all is well").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_see_an_encrypted_replica_as_they_see_any_other() {
    let mut secured = Secured::init();
    for id in 0..3 {
        secured.run(id);
    }
    secured.settled(3).await;
    let channel = secured.channel(1);
    let mut health = HealthClient::new(channel.clone());
    eventually("it is healthy", || {
        let mut health = health.clone();
        async move {
            let answer = health.check(HealthCheckRequest::default()).await.unwrap();
            (answer.into_inner().status() == ServingStatus::Serving).then_some(())
        }
    })
    .await;
    let request = HealthCheckRequest {
        service: "chat.v1.MessageService".to_owned(),
    };
    let answer = health.check(request).await.unwrap().into_inner();
    assert_eq!(answer.status(), ServingStatus::Serving);

    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let asked = tokio_stream::iter([request]);
    let mut reflection = ServerReflectionClient::new(channel);
    let answers = reflection.server_reflection_info(asked).await;
    let answer = answers.unwrap().into_inner().message().await.unwrap();
    let Some(MessageResponse::ListServicesResponse(listed)) = answer.unwrap().message_response
    else {
        panic!("no list of services");
    };
    let mut names = listed.service.iter().map(|service| service.name.as_str());
    assert!(names.any(|name| name == "chat.v1.MessageService"));

    // On its own listener, which tools read without certificates.
    for (path, words) in [
        ("/livez", "alive"),
        ("/readyz", "ready"),
        ("/metrics", "chat_ready 1"),
    ] {
        let page = secured.page(1, path);
        assert!(page.starts_with("HTTP/1.1 200"), "{page}");
        assert!(page.contains(words), "{words} in {page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_with_the_certificate_of_a_stranger_takes_no_part() {
    let mut secured = Secured::init();
    // Another authority made this one, for the same cluster and replica: all but the authority is right.
    let id = |secured: &Secured| {
        let text = fs::read_to_string(secured.path("cluster.toml")).unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with("id = \""))
            .unwrap();
        line.to_owned()
    };
    let stranger = Secured::init();
    let theirs = fs::read_to_string(stranger.path("cluster.toml")).unwrap();
    let claimed = theirs.replace(&id(&stranger), &id(&secured));
    fs::write(stranger.path("cluster.toml"), claimed).unwrap();
    let renewed = stranger.again(&["--renew", "2"]);
    assert!(renewed.status.success(), "{renewed:?}");
    let file = fs::read_to_string(secured.path("cluster.toml")).unwrap();
    let mixed = file
        .replace("replica-{id}/cert.pem", "mixed-{id}/cert.pem")
        .replace("replica-{id}/key.pem", "mixed-{id}/key.pem")
        .replace("ca = \"ca.pem\"", "ca = \"mixed-{id}/ca.pem\"");
    fs::write(secured.path("cluster.toml"), mixed).unwrap();
    for (number, from) in [(0, &secured), (1, &secured), (2, &stranger)] {
        let mixed = secured.path(&format!("mixed-{number}"));
        fs::create_dir(&mixed).unwrap();
        for name in ["cert.pem", "key.pem"] {
            let source = from.path(&format!("replica-{number}/{name}"));
            fs::copy(source, mixed.join(name)).unwrap();
        }
        fs::copy(from.path("ca.pem"), mixed.join("ca.pem")).unwrap();
    }
    for id in 0..3 {
        secured.run(id);
    }
    for (id, words) in [
        (0, "not signed by the cluster's authority"),
        (2, "not signed by the cluster's authority"),
        (0, "to the peers' port was refused"),
        (2, "to the peers' port was refused"),
        (0, "a peer connected from=1"),
    ] {
        secured.logged(id, words).await;
    }
    for (id, words) in [
        (0, "a peer connected from=2"),
        (1, "a peer connected from=2"),
        (2, "a peer connected"),
        (2, "connected to the peer"),
    ] {
        assert!(!secured.log_of(id).contains(words), "replica {id}: {words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_taken_at_sighup_and_a_bad_one_is_not() {
    let mut secured = Secured::init();
    for id in 0..3 {
        secured.run(id);
    }
    secured.settled(3).await;
    let good = fs::read(secured.path("replica-1/cert.pem")).unwrap();
    fs::write(secured.path("replica-1/cert.pem"), "nothing").unwrap();
    secured.hang_up(1);
    secured
        .logged(1, "the certificates stay as they were")
        .await;
    let client = secured.client(&secured.path("ca.pem")).await;
    client.register("ada", "password").await.unwrap();
    let renewed = secured.again(&["--renew", "1", "--days", "30"]);
    assert!(renewed.status.success(), "{renewed:?}");
    assert_ne!(fs::read(secured.path("replica-1/cert.pem")).unwrap(), good);
    secured.hang_up(1);
    secured.logged(1, "the certificates were read again").await;
    secured.settled(3).await;
    client.login("ada", "password").await.unwrap();
}

/// Nobody looked at certificates, and one day the replicas did not talk with each other any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_about_to_end_is_told_of_until_there_is_a_new_one() {
    let mut secured = Secured::init();
    let renewed = secured.again(&["--renew", "1", "--days", "3"]);
    assert!(renewed.status.success(), "{renewed:?}");
    for id in 0..3 {
        secured.run(id);
    }
    secured.settled(3).await;
    let what = "WRONG: the certificate of replica 1 ends in 2 days: nobody connects to it then";
    for asked in 0..3 {
        let said = eventually("all replicas have heard of it", async || {
            let said = secured.status(asked);
            said.contains(what).then_some(said)
        })
        .await;
        assert!(said.contains("DO: make a new one with"), "{said}");
        assert!(said.contains("init DIR --renew 1`"), "{said}");
        assert_eq!(said.matches("certificate of").count(), 1, "{said}");
    }
    secured
        .logged(1, "this replica's certificate ends in")
        .await;
    assert!(!secured.log_of(0).contains("certificate ends"));
    let ends = |id| {
        let page = secured.page(id, "/metrics");
        let figure = "\nchat_certificate_ends_timestamp_seconds ";
        let (_, rest) = page.split_once(figure).unwrap();
        rest.lines().next().unwrap().parse::<i64>().unwrap()
    };
    let day = 24 * 3600;
    let apart = ends(0) - ends(1);
    assert!((361 * day..=363 * day).contains(&apart), "{apart}");

    // What the operator is told to do.
    let renewed = secured.again(&["--renew", "1"]);
    assert!(renewed.status.success(), "{renewed:?}");
    secured.hang_up(1);
    for asked in 0..3 {
        eventually("nobody tells of it any more", async || {
            let said = secured.status(asked);
            (!said.contains("certificate")).then_some(())
        })
        .await;
    }
}
