use std::fs;
use std::path::Path;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use uuid::Uuid;

use super::authority::Authority;
use super::*;

const OURS: ClusterId = ClusterId(Uuid::from_u128(1));
const OTHER: ClusterId = ClusterId(Uuid::from_u128(2));

/// The files of an authority's replicas.
struct Cluster {
    folder: TempDir,
    id: ClusterId,
    authority: Authority,
}

impl Cluster {
    fn new(id: ClusterId) -> Cluster {
        let folder = TempDir::new().expect("a temporary folder");
        let (authority, issued) = Authority::establish(id).expect("random numbers");
        write(&folder.path().join("ca.pem"), &issued.certificate);
        Cluster {
            folder,
            id,
            authority,
        }
    }

    fn files(&self, replica: u32) -> TlsFiles {
        let path = |name: &str| self.folder.path().join(name);
        TlsFiles {
            ca: path("ca.pem"),
            cert: path(&format!("{replica}.cert")),
            key: path(&format!("{replica}.key")),
        }
    }

    /// Gives replica `number`'s files a certificate of whatever kind.
    fn issue(&self, number: u32, of: (ClusterId, u32), days: i64) -> TlsFiles {
        let hosts = ["127.0.0.1".to_owned()];
        let issued = self
            .authority
            .issue(of.0, ReplicaId(of.1), &hosts, time::Duration::days(days))
            .expect("random numbers");
        let files = self.files(number);
        write(&files.cert, &issued.certificate);
        write(&files.key, &issued.key);
        files
    }

    fn expired(&self, number: u32) -> TlsFiles {
        let issued = self.authority.issue(
            self.id,
            ReplicaId(number),
            &["127.0.0.1".to_owned()],
            time::Duration::minutes(-1),
        );
        let issued = issued.expect("random numbers");
        let files = self.files(number);
        write(&files.cert, &issued.certificate);
        write(&files.key, &issued.key);
        files
    }

    fn replica(&self, number: u32) -> Arc<Tls> {
        let files = self.issue(number, (self.id, number), 1);
        Arc::new(Tls::load(files, self.id, ReplicaId(number)).expect("certificates"))
    }
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("a writable folder");
}

/// One connects to the other's port for peers, expecting replica `to` there, and says something.
async fn meet(from: &Arc<Tls>, at: &Arc<Tls>, to: u32) -> (io::Result<()>, io::Result<ReplicaId>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let accepting = {
        let at = Arc::clone(at);
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a connection");
            let (mut stream, who) = at.accept_peer(stream).await?;
            stream.read_exact(&mut [0; 5]).await?;
            stream.write_all(b"there").await?;
            stream.shutdown().await?;
            Ok(who)
        })
    };
    let connecting = async {
        let stream = TcpStream::connect(address).await?;
        let mut stream = from.connect(ReplicaId(to), stream).await?;
        stream.write_all(b"hello").await?;
        stream.read_exact(&mut [0; 5]).await.map(drop)
    };
    let connected = connecting.await;
    (connected, accepting.await.expect("no panic"))
}

#[tokio::test]
async fn replicas_of_one_cluster_know_each_other() {
    let cluster = Cluster::new(OURS);
    let (zero, one) = (cluster.replica(0), cluster.replica(1));
    let (connected, accepted) = meet(&zero, &one, 1).await;
    connected.expect("the same authority");
    assert_eq!(accepted.expect("the same authority"), ReplicaId(0));
}

#[tokio::test]
async fn who_is_another_replica_than_wanted_hears_nothing() {
    let cluster = Cluster::new(OURS);
    let (zero, one) = (cluster.replica(0), cluster.replica(1));
    let (connected, accepted) = meet(&zero, &one, 2).await;
    let refusal = connected.expect_err("replica 1 is not replica 2");
    assert_eq!(refusal.kind(), io::ErrorKind::InvalidData);
    assert!(refusal.to_string().contains("replica 1 answers there"));
    assert!(accepted.is_err());
}

#[tokio::test]
async fn another_authority_or_another_cluster_of_the_same_one_is_refused() {
    let ours = Cluster::new(OURS);
    let theirs = Cluster::new(OURS);
    let at = ours.replica(1);
    let (connected, accepted) = meet(&theirs.replica(0), &at, 1).await;
    assert!(connected.is_err() && accepted.is_err());

    // An authority that serves two clusters.
    let files = ours.issue(0, (OTHER, 0), 1);
    let stranger = Arc::new(Tls::load(files, OTHER, ReplicaId(0)).expect("certificates"));
    let (connected, accepted) = meet(&stranger, &at, 1).await;
    assert!(connected.is_err() && accepted.is_err());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let caller = tokio::spawn(async move {
        let stream = TcpStream::connect(address).await?;
        let connector = TlsConnector::from(Arc::clone(&stranger.current.load().outgoing));
        let name = ServerName::try_from("replica").expect("a name");
        connector
            .connect(name, stream)
            .await?
            .read(&mut [0; 1])
            .await
    });
    let (stream, _) = listener.accept().await.expect("a connection");
    let refusal = at.accept_peer(stream).await.expect_err("another cluster");
    assert!(
        refusal.to_string().contains(&OTHER.to_string()),
        "{refusal}"
    );
    let heard = caller.await.expect("no panic");
    assert!(!matches!(heard, Ok(1..)));
}

#[test]
fn files_that_do_not_fit_are_told_apart() {
    let cluster = Cluster::new(OURS);
    let load = |files| {
        Tls::load(files, OURS, ReplicaId(0))
            .expect_err("cannot be used")
            .to_string()
    };
    assert!(load(cluster.files(0)).contains("copy it to this machine"));
    let of_another = load(cluster.issue(0, (OURS, 1), 1));
    assert!(of_another.contains("is for chat://"), "{of_another}");
    let expired = load(cluster.expired(0));
    assert!(expired.contains("expired"), "{expired}");
    let files = cluster.issue(0, (OURS, 0), 1);
    cluster.issue(1, (OURS, 1), 1);
    let swapped = TlsFiles {
        key: cluster.files(1).key,
        ..files.clone()
    };
    assert!(load(swapped).contains("do not belong together"));
    let stranger = Cluster::new(OURS);
    let unsigned = TlsFiles {
        ca: stranger.files(0).ca,
        ..files.clone()
    };
    assert!(load(unsigned).contains("not signed by the cluster's authority"));
    write(&files.cert, "nothing");
    assert!(load(files).contains("holds no certificate"));
}

#[tokio::test]
async fn a_bad_certificate_leaves_the_old_one_in_use() {
    let cluster = Cluster::new(OURS);
    let (zero, one) = (cluster.replica(0), cluster.replica(1));
    let before = one.expires_at();
    write(&cluster.files(1).cert, "nothing");
    one.reload().expect_err("no certificate");
    meet(&zero, &one, 1).await.0.expect("the old one serves");
    cluster.issue(1, (OURS, 1), 30);
    one.reload().expect("a good one");
    assert!(one.expires_at() > before);
    meet(&zero, &one, 1).await.0.expect("the new one serves");
}
