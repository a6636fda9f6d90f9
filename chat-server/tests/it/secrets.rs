//! What is secret is in no log, not even in the most talkative one, in no error and in nothing that is printed for
//! developers.

use std::fs;

use chat_client::{RequestId, api};

use crate::support::{Cluster, RawClient, Setup, by, with_token};

const PASSWORD: &str = "correct-horse-battery-staple";
const NEXT: &str = "incorrect-donkey-battery-staple";
const WRONG: &str = "guessed-wrongly-by-somebody";
const TYPED_AS_NAME: &str = "typed-into-the-wrong-field";

fn mint() -> String {
    RequestId::mint().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_in_no_log_and_no_error() {
    let mut cluster = Cluster::new(&Setup::default());
    for id in 0..3 {
        cluster.launch_with(id, &["--log-level", "trace"]);
    }
    let leader = cluster.settled(3).await;
    let mut secrets = vec![PASSWORD.to_owned(), NEXT.into(), WRONG.into()];
    let mut said = Vec::new();
    let client = cluster.client().await;
    said.push(format!("{:?}", client.register("ada", PASSWORD).await));
    said.push(format!("{:?}", client.login("ada", WRONG).await));
    let logged_in = client.login("ada", PASSWORD).await.unwrap();
    secrets.push(logged_in.token.expose().to_owned());
    said.push(format!("{logged_in:?} {client:?}"));
    said.push(format!(
        "{:?}",
        client.register("eve", "\u{7}bad-password").await
    ));
    secrets.push("bad-password".into());
    // By way of a follower as well.
    let raw = cluster.raw((leader + 1) % 3);
    let login = raw.login(&mint(), "ada", PASSWORD).await.unwrap();
    secrets.push(login.session_token.clone());
    said.push(format!(
        "{login:?} {:?}",
        raw.login(&mint(), "ada", WRONG).await
    ));
    let forged = login.session_token.replace('A', "B") + "forged";
    secrets.push(forged.clone());
    let request = with_token(&forged, api::WhoAmIRequest::default());
    said.push(format!("{:?}", raw.auth().who_am_i(request).await));
    let change = api::ChangePasswordRequest {
        request_id: mint(),
        old_password: PASSWORD.into(),
        new_password: NEXT.into(),
    };
    said.push(format!("{change:?}"));
    raw.auth()
        .change_password(by(&client, change))
        .await
        .unwrap();
    for request in [
        format!(
            "{:?}",
            api::LoginRequest {
                password: PASSWORD.into(),
                ..Default::default()
            }
        ),
        format!(
            "{:?}",
            api::RegisterRequest {
                password: PASSWORD.into(),
                ..Default::default()
            }
        ),
        format!(
            "{:?}",
            api::DeleteAccountRequest {
                password: PASSWORD.into(),
                ..Default::default()
            }
        ),
    ] {
        said.push(request);
    }
    // A password in the field for the name is told back to whoever typed it, and to nobody else.
    let mistaken = RawClient::new(&cluster.address(leader));
    let refused = mistaken
        .login(&mint(), TYPED_AS_NAME, WRONG)
        .await
        .unwrap_err();
    said.push(format!("{refused:?}"));
    let (printed, code) = cluster.program(&["account", "reset-password", "ada"]).await;
    assert_eq!(code, Some(0), "{printed}");
    let made_up = printed
        .lines()
        .find_map(|line| line.strip_prefix("password: "));
    secrets.push(made_up.unwrap().to_owned());
    client.login("ada", made_up.unwrap()).await.unwrap();
    let deleted = client.delete_account(made_up.unwrap()).await;
    said.push(format!("{deleted:?}"));

    let mut logged = 0;
    for id in 0..3 {
        let log = cluster.log_of(id);
        logged += log.len();
        for secret in secrets
            .iter()
            .map(String::as_str)
            .chain(["argon2id$", "$argon2"])
        {
            let line = log.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "replica {id} logs {secret}");
            // Also as a list of numbers, as bytes are printed.
            let bytes = format!("{:?}", &secret.as_bytes()[..secret.len().min(8)]);
            let bytes = bytes.trim_matches(['[', ']']).to_owned();
            assert!(
                !log.contains(&bytes),
                "replica {id} logs the bytes of {secret}"
            );
        }
    }
    assert!(logged > 100_000, "the log is not talkative: {logged} bytes");
    for text in &said {
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "{secret} is in: {text}");
        }
    }
    let page = cluster.page(leader, "/metrics").unwrap().1;
    let state = fs::read(cluster.data(leader).join("state.redb")).unwrap_or_default();
    let segments: Vec<u8> = fs::read_dir(cluster.data(leader).join("log"))
        .unwrap()
        .flat_map(|entry| fs::read(entry.unwrap().path()).unwrap())
        .collect();
    assert!(segments.iter().any(|byte| *byte != 0));
    for secret in &secrets {
        assert!(!page.contains(secret.as_str()));
        for file in [&state, &segments] {
            let found = file
                .windows(secret.len())
                .any(|part| part == secret.as_bytes());
            assert!(!found, "{secret} is on the disk");
        }
    }
}
