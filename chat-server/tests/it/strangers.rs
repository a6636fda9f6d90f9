//! What comes to the wrong port, or makes no sense, is refused and does no harm.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use chat_client::RequestId;

use crate::support::{Cluster, RawClient};

#[tokio::test(flavor = "multi_thread")]
async fn a_client_at_the_port_for_peers_is_refused_and_never_taken_for_one() {
    let cluster = Cluster::three().await;
    let ada = cluster.user("ada").await;
    let before = cluster.status(0).await.unwrap();
    let stranger = RawClient::new(&cluster.peer_address(0));
    let id = RequestId::mint().to_string();
    let status = stranger
        .register(&id, "mallory", "password")
        .await
        .unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unimplemented);
    for address in [cluster.peer_address(0), cluster.address(0)] {
        for garbage in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            &[0xff; 4096],
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\xff\xff\xff",
        ] {
            let mut connection = TcpStream::connect(&address).unwrap();
            connection
                .set_read_timeout(Some(Duration::from_millis(200)))
                .unwrap();
            // Either end may close first.
            let _ = connection.write_all(garbage);
            let _ = connection.read(&mut [0; 64]);
        }
    }
    ada.send_message("ada", "all is well").await.unwrap();
    let after = cluster.status(0).await.unwrap();
    assert_eq!(
        (before.epoch, before.accounts),
        (after.epoch, after.accounts)
    );
}
