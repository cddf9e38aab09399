//! TLS on the API listener, and its certificate's renewal.

use std::{path::Path, time::Duration};

use glimpse_tests::{
    Client, Node, Raw, Setup, TestCertificate, TlsVersion, eventually, glimpse, random_bytes,
};
use serde_json::json;

const MIB: usize = 1 << 20;

/// A setup with that certificate in its folder.
fn secured(setup: Setup, certificate: &TestCertificate) -> Setup {
    let (cert, key) = certificate.write(setup.folder());
    setup
        .set("api.tls.cert", cert.to_str().unwrap())
        .set("api.tls.key", key.to_str().unwrap())
        .set("api.tls.reload_interval", "50ms")
}

/// A client that trusts this certificate and no other.
fn client(node: &Node, certificate: &TestCertificate) -> Client {
    Client::secure(&format!("https://{}", node.address()), certificate, None)
}

#[tokio::test]
async fn tls_1_2_and_1_3_are_spoken_and_links_say_so() {
    let certificate = TestCertificate::generate();
    let node = secured(Setup::new(), &certificate).start().await;
    let base = format!("https://{}", node.address());
    for version in [TlsVersion::V12, TlsVersion::V13] {
        let client = Client::secure(&base, &certificate, Some(version));
        let versions = client.get("/versions").await.expect(200).json();
        assert_eq!(
            versions["versions"][0]["links"][0]["href"],
            format!("{base}/v2/")
        );
    }
    let created = client(&node, &certificate).create(json!({})).await;
    let location = created.header("location").unwrap();
    assert!(location.starts_with(&base), "{location}");
}

#[tokio::test]
async fn who_does_not_speak_tls_or_does_not_trust_the_node_gets_nothing() {
    let certificate = TestCertificate::generate();
    let node = secured(Setup::new(), &certificate).start().await;
    let plain = node.client().call("GET", "/versions").attempt().await;
    assert!(plain.is_err());
    eventually("a line about it", async || {
        let told = node.log().contains("TLS: received corrupt message");
        told.then_some(())
    })
    .await;
    let stranger = client(&node, &TestCertificate::generate());
    assert!(stranger.call("GET", "/versions").attempt().await.is_err());
    client(&node, &certificate)
        .get("/versions")
        .await
        .expect(200);
}

/// Cold from the store, and warm from the pool, which plain connections are sent by the kernel.
#[tokio::test]
async fn data_comes_back_as_it_was_sent_over_tls() {
    let certificate = TestCertificate::generate();
    let node = secured(Setup::on_disk(), &certificate).start().await;
    let client = client(&node, &certificate);
    let data = random_bytes(5 * MIB + 4321, 7);
    let id = client.active(json!({}), data.clone()).await;
    for _ in 0..3 {
        assert!(client.download(&id).await.expect(200).body == data);
    }
    let range = client.range(&id, "bytes=1048000-3145999").await.expect(206);
    assert!(range.body == data[1_048_000..3_146_000]);
    let file = node.folder().join("got");
    let url = format!("https://{}/v2/images/{id}/file", node.address());
    let cert = node.folder().join("cert.pem");
    curl(&cert, &file, &url).await;
    assert!(std::fs::read(file).unwrap() == data);
}

async fn curl(cert: &Path, into: &Path, url: &str) {
    let curl = tokio::process::Command::new("curl")
        .args(["--silent", "--show-error", "--fail", "--noproxy", "*"])
        .arg("--cacert")
        .arg(cert)
        .arg("--output")
        .arg(into)
        .arg(url)
        .output();
    let output = curl.await.expect("curl");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test]
async fn a_renewed_certificate_is_taken_and_running_connections_go_on() {
    let old = TestCertificate::generate();
    let node = secured(Setup::new(), &old).start().await;
    let before = client(&node, &old);
    let data = random_bytes(24 * MIB, 3);
    let id = before.active(json!({}), data.clone()).await;
    let running = before.call("GET", &format!("/v2/images/{id}/file"));
    let running = running.open().await;
    let new = TestCertificate::generate();
    new.write(node.folder());
    eventually("the new certificate", async || {
        let fresh = client(&node, &new);
        let answer = fresh.call("GET", "/versions").attempt().await;
        answer.is_ok().then_some(())
    })
    .await;
    assert!(running.bytes().await.unwrap() == data);
    // A connection that was there before is used on.
    before.get("/versions").await.expect(200);
    let stranger = client(&node, &old).call("GET", "/versions").attempt().await;
    assert!(stranger.is_err());
}

#[tokio::test]
async fn a_broken_new_certificate_leaves_the_old_one_and_is_told() {
    let certificate = TestCertificate::generate();
    let node = secured(Setup::new(), &certificate).start().await;
    std::fs::write(node.folder().join("cert.pem"), "nonsense").unwrap();
    eventually("a line about it", async || {
        let told = node.log().contains("the new certificate is not taken");
        told.then_some(())
    })
    .await;
    let client = client(&node, &certificate);
    client.get("/versions").await.expect(200);
    assert!(!node.log().contains("PRIVATE KEY"));
}

#[tokio::test]
async fn a_reload_takes_the_new_certificate_at_once_and_tells_of_a_broken_one() {
    let old = TestCertificate::generate();
    let setup = secured(Setup::new(), &old);
    let node = setup.set("api.tls.reload_interval", "1h").start().await;
    let new = TestCertificate::generate();
    new.write(node.folder());
    let words = ["reload", "--config", "glimpse.toml", "-o", "json"];
    let told = glimpse(node.folder(), &words, &[]).await;
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    client(&node, &new).get("/versions").await.expect(200);
    std::fs::write(node.folder().join("key.pem"), &old.key).unwrap();
    let told = glimpse(node.folder(), &words, &[]).await;
    assert_ne!(told.code, Some(0), "{told:?}");
    assert!(
        format!("{}{}", told.stdout, told.stderr).contains("api.tls"),
        "{told:?}"
    );
    client(&node, &new).get("/versions").await.expect(200);
}

#[tokio::test]
async fn a_handshake_that_stands_still_is_cut() {
    let certificate = TestCertificate::generate();
    let setup = secured(Setup::new(), &certificate);
    let node = setup
        .set("api.tls.handshake_timeout", "200ms")
        .start()
        .await;
    let mut silent = Raw::connect(&node.address()).await;
    let end = tokio::time::timeout(Duration::from_secs(30), silent.rest());
    assert_eq!(end.await.expect("the end of the connection").len(), 0);
}

#[tokio::test]
async fn a_node_stops_at_once_though_a_handshake_stands_still() {
    let certificate = TestCertificate::generate();
    let mut node = secured(Setup::new(), &certificate).start().await;
    let _silent = Raw::connect(&node.address()).await;
    eventually("the connection", async || {
        (node.metric("http_connections").await == 1.0).then_some(())
    })
    .await;
    assert!(node.stop().await.success());
    assert!(!node.log().contains("connections were cut"));
}

#[tokio::test]
async fn a_pair_that_cannot_be_used_is_refused_at_the_start_by_its_key() {
    let (one, two) = (TestCertificate::generate(), TestCertificate::generate());
    for (certificate, words) in [
        (
            TestCertificate {
                key: two.key.clone(),
                ..one.clone()
            },
            "api.tls: ",
        ),
        (
            TestCertificate {
                key: one.cert.clone(),
                ..one.clone()
            },
            "no private key in PEM form",
        ),
    ] {
        let refusal = secured(Setup::new(), &certificate).refused().await;
        assert_eq!(refusal.code, Some(2), "{}", refusal.output);
        assert!(refusal.output.contains(words), "{}", refusal.output);
    }
    let setup = Setup::new();
    let (cert, _) = one.write(setup.folder());
    let refusal = setup
        .set("api.tls.cert", cert.to_str().unwrap())
        .refused()
        .await;
    assert_eq!(refusal.code, Some(2), "{}", refusal.output);
    assert!(refusal.output.contains("api.tls.key"), "{}", refusal.output);
}
