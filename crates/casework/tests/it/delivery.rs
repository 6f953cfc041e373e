//! Mail and web hooks to servers on loopback that fail first and answer later.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use casework::config::SmtpEncryption;
use casework::form::Text;
use casework::{CaseworkConfig, delivery::sign};
use store::PageRequest;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use crate::house::house;

/// Speaks as much of RFC 5321 as a submission needs; keeps what it is given.
async fn smtp_server() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let mails = Arc::new(Mutex::new(Vec::new()));
    let kept = mails.clone();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let kept = kept.clone();
            tokio::spawn(async move {
                let (read, mut write) = socket.into_split();
                let mut lines = BufReader::new(read).lines();
                write.write_all(b"220 test\r\n").await.expect("written");
                let mut mail: Option<String> = None;
                while let Ok(Some(line)) = lines.next_line().await {
                    if let Some(text) = &mut mail {
                        if line == "." {
                            kept.lock()
                                .expect("unpoisoned")
                                .push(mail.take().unwrap_or_default());
                            write.write_all(b"250 kept\r\n").await.expect("written");
                        } else {
                            text.push_str(&line);
                            text.push('\n');
                        }
                        continue;
                    }
                    let answer: &[u8] = match line.split(' ').next().unwrap_or_default() {
                        "EHLO" => b"250-test\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n",
                        "DATA" => {
                            mail = Some(String::new());
                            b"354 go on\r\n"
                        }
                        "QUIT" => b"221 bye\r\n",
                        _ => b"250 fine\r\n",
                    };
                    write.write_all(answer).await.expect("written");
                }
            });
        }
    });
    (port, mails)
}

/// Answers requests with the given statuses in turn, the last one for ever.
async fn http_server(statuses: Vec<u16>) -> (u16, Arc<Mutex<Vec<(String, String)>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let requests = Arc::new(Mutex::new(Vec::new()));
    let kept = requests.clone();
    tokio::spawn(async move {
        let mut turn = 0;
        while let Ok((socket, _)) = listener.accept().await {
            let status = statuses[turn.min(statuses.len() - 1)];
            turn += 1;
            let mut reader = BufReader::new(socket);
            let mut head = String::new();
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).await.unwrap_or(0) == 0 || line == "\r\n" {
                    break;
                }
                head.push_str(&line.to_lowercase());
            }
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .and_then(|text| text.trim().parse().ok())
                .unwrap_or(0);
            let mut body = vec![0; length];
            reader.read_exact(&mut body).await.expect("the body");
            kept.lock()
                .expect("unpoisoned")
                .push((head, String::from_utf8(body).expect("text")));
            let answer =
                format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            reader
                .into_inner()
                .write_all(answer.as_bytes())
                .await
                .expect("answered");
        }
    });
    (port, requests)
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_arrives_in_the_readers_language() {
    let (port, mails) = smtp_server().await;
    let mut config = CaseworkConfig::default();
    config.smtp.host = "127.0.0.1".into();
    config.smtp.port = port;
    config.smtp.encryption = SmtpEncryption::None;
    let house = house(store::Backend::Sqlite, config).await;
    let case = house.submitted().await;
    let mut tx = house.db.begin().await.expect("a transaction");
    house
        .casework
        .send_with(
            &mut tx,
            &case,
            &Text::new("有事", "News"),
            Some(&Text::new("類型:甲\n期限:乙", "Kind: A\nDue: B")),
            "/things/1",
            &[house.officers[0].user],
        )
        .await
        .expect("promised");
    tx.commit().await.expect("kept");
    let sent = house
        .casework
        .deliver(base::Clock::now(&*house.clock))
        .await
        .expect("a look");
    assert_eq!(sent, 4, "one for each officer, and one of its own");
    assert!(
        house
            .casework
            .deliveries(&PageRequest::first(10))
            .await
            .expect("a page")
            .items
            .is_empty(),
        "none waits"
    );
    let mails = mails.lock().expect("unpoisoned").clone();
    assert_eq!(mails.len(), 4);
    let own = mails.iter().find(|mail| mail.contains("Subject: News"));
    let own = own.expect("in English");
    assert!(
        own.contains("\nNews.\n\nKind: A\nDue: B\n\nOpen: "),
        "{own}"
    );
    let english = mails
        .iter()
        .filter(|mail| mail.contains("Open the case"))
        .count();
    assert_eq!(english, 1, "one officer reads English");
    assert!(
        mails
            .iter()
            .all(|mail| mail.contains("From: ") && mail.contains("@agency.example"))
    );
    for mail in &mails {
        assert!(mail.contains("\nMIME-Version: 1.0\n"), "{mail}");
        assert!(
            mail.contains("\nAuto-Submitted: auto-generated\n"),
            "{mail}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_waits_together_for_a_server_that_is_not_there() {
    let (port, requests) = http_server(vec![204]).await;
    let mut config = CaseworkConfig {
        allow_private: vec!["127.0.0.0/8".parse().expect("a prefix")],
        ..CaseworkConfig::default()
    };
    config.smtp.host = "127.0.0.1".into();
    // Nobody listens on a port that was only asked for.
    config.smtp.port = TcpListener::bind("127.0.0.1:0")
        .await
        .and_then(|socket| socket.local_addr())
        .expect("a free port")
        .port();
    config.smtp.encryption = SmtpEncryption::None;
    let house = house(store::Backend::Sqlite, config).await;
    house
        .casework
        .add_webhook(
            &house.applicant,
            house.org,
            &format!("http://127.0.0.1:{port}/"),
        )
        .await
        .expect("a web hook");
    house.submitted().await;
    let now = base::Clock::now(&*house.clock);
    house.casework.deliver(now).await.expect("a look");
    let waiting = house
        .casework
        .deliveries(&PageRequest::first(10))
        .await
        .expect("a page")
        .items;
    assert_eq!(waiting.len(), 3, "one for each officer: {waiting:?}");
    assert!(waiting.iter().all(|mail| mail.channel == "email"));
    assert!(waiting.iter().all(|mail| mail.next_at > now));
    let tried: i64 = waiting.iter().map(|mail| mail.attempts).sum();
    assert_eq!(tried, 1, "the others are not held against: {waiting:?}");
    assert_eq!(
        requests.lock().expect("unpoisoned").len(),
        1,
        "the web hook does not wait for mail"
    );
    let again = house.casework.deliver(now).await.expect("a look");
    assert_eq!(again, 0, "nothing is due");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_hook_is_signed_tried_again_and_given_up() {
    let (port, requests) = http_server(vec![500, 204]).await;
    let config = CaseworkConfig {
        allow_private: vec!["127.0.0.0/8".parse().expect("a prefix")],
        ..CaseworkConfig::default()
    };
    let house = house(store::Backend::Sqlite, config).await;
    let (hook, secret) = house
        .casework
        .add_webhook(
            &house.applicant,
            house.org,
            &format!("http://127.0.0.1:{port}/hook"),
        )
        .await
        .expect("a hook");
    let case = house.submitted().await;
    let now = base::Clock::now(&*house.clock);
    assert_eq!(house.casework.deliver(now).await.expect("a look"), 1);
    let waiting = house
        .casework
        .deliveries(&PageRequest::first(10))
        .await
        .expect("a page")
        .items;
    assert_eq!(
        (waiting[0].attempts, waiting[0].state.as_str()),
        (1, "queued")
    );
    assert!(waiting[0].error.contains("500"));
    assert_eq!(
        house.casework.deliver(now).await.expect("a look"),
        0,
        "not before its time"
    );
    let later = now.plus(Duration::from_secs(61));
    assert_eq!(house.casework.deliver(later).await.expect("a look"), 1);
    assert!(
        house
            .casework
            .deliveries(&PageRequest::first(10))
            .await
            .expect("a page")
            .items
            .is_empty()
    );
    let requests = requests.lock().expect("unpoisoned").clone();
    let (head, body) = &requests[1];
    assert!(
        head.contains(&format!(
            "x-civicnet-signature: {}",
            sign(secret.as_bytes(), later.seconds(), body.as_bytes())
        )),
        "{head}"
    );
    assert!(body.contains(&case.id.to_string()) && body.contains("submitted"));
    assert!(!body.contains("someone@"), "no personal data");
    house
        .casework
        .remove_webhook(&house.applicant, house.org, &hook.id)
        .await
        .expect("removed");
    assert!(
        house
            .casework
            .webhooks(house.org)
            .await
            .expect("a list")
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_hook_to_the_inside_is_not_called_and_ends_dead() {
    let (port, requests) = http_server(vec![204]).await;
    let house = house(store::Backend::Sqlite, CaseworkConfig::default()).await;
    house
        .casework
        .add_webhook(
            &house.applicant,
            house.org,
            &format!("http://127.0.0.1:{port}/hook"),
        )
        .await
        .expect("a hook");
    house.submitted().await;
    let mut now = base::Clock::now(&*house.clock);
    for _ in 0..casework::delivery::ATTEMPTS_MAX {
        house.casework.deliver(now).await.expect("a look");
        now = now.plus(casework::delivery::PAUSE_MAX);
    }
    assert!(requests.lock().expect("unpoisoned").is_empty());
    assert_eq!(house.casework.dead_deliveries().await.expect("a count"), 1);
    let dead = house
        .casework
        .deliveries(&PageRequest::first(10))
        .await
        .expect("a page")
        .items
        .remove(0);
    assert!(dead.error.contains("loopback"), "{}", dead.error);
    house
        .casework
        .retry_delivery(&house.officers[0], &dead.id)
        .await
        .expect("again");
    assert_eq!(house.casework.dead_deliveries().await.expect("a count"), 0);
}
