//! `web-download` (image-api 3.1, 3.6): what is fetched, resumed, bounded and refused.

use glimpse_tests::{Node, Page, Persona, Setup, Web, eventually, random_bytes, samples};
use serde_json::{Value, json};

const MIB: usize = 1 << 20;

fn download(uri: &str) -> Value {
    json!({"method": {"name": "web-download", "uri": uri}})
}

/// A node that may fetch from this machine.
fn open() -> Setup {
    Setup::trusted()
        .set(
            "import.uri_filter.allowed_hosts",
            vec!["127.0.0.1".to_owned()],
        )
        .set("import.uri_filter.allowed_ports", Vec::<i64>::new())
}

/// Nothing is left of what failed.
async fn nothing(node: &Node) {
    eventually("nothing left", async || {
        (node.staged_files().is_empty() && node.stored_files().is_empty()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn data_is_fetched_with_or_without_a_length_and_resumed_where_it_is_cut() {
    let node = open().more_stores("b").start().await;
    let client = node.client_of(&Persona::member("alpha"));
    let data = random_bytes(5 * MIB + 3, 1);
    for (length, cuts) in [(true, 0), (false, 0), (true, 2), (false, 1)] {
        let page = Page {
            length,
            cuts,
            ..Page::new(data.clone())
        };
        let web = Web::serve(page).await;
        let id = client.created(json!({})).await;
        let mut body = download(&web.url());
        body["all_stores"] = json!(true);
        client.import(&id, body).await.expect(202);
        let task = client.task_ends(&id).await;
        assert_eq!(task["status"], "success", "{length} {cuts}: {task}");
        assert_eq!(web.asked(), 1 + cuts);
        let image = client.show(&id).await.expect(200).json();
        assert_eq!(
            (&image["status"], &image["stores"]),
            (&json!("active"), &json!("b,local"))
        );
        assert_eq!(client.download(&id).await.expect(200).body, data);
        client.remove(&id).await.expect(204);
        nothing(&node).await;
    }
}

#[tokio::test]
async fn what_may_not_be_fetched_is_400_and_nothing_is_asked() {
    let node = Setup::trusted().start().await;
    let client = node.client_of(&Persona::member("alpha"));
    let web = Web::serve(Page::new("secret")).await;
    let id = client.created(json!({})).await;
    for uri in [
        web.url(),
        "ftp://example.org/x".to_owned(),
        "file:///etc/passwd".to_owned(),
        "http://169.254.169.254/latest".to_owned(),
        format!("http://2130706433:{}/", web.port),
        "http://example.org:22/".to_owned(),
        "http://[::ffff:127.0.0.1]/".to_owned(),
        "http://".to_owned(),
        String::new(),
    ] {
        let refused = client.import(&id, download(&uri)).await.expect(400);
        assert!(!refused.text().contains("127.0.0.1"), "{}", refused.text());
    }
    let without = json!({"method": {"name": "web-download"}});
    client.import(&id, without).await.expect(400);
    let long = download(&format!("http://example.org/{}", "x".repeat(4000)));
    client.import(&id, long).await.expect(400);
    assert_eq!(web.asked(), 0);
    assert_eq!(client.show(&id).await.field("status"), "queued");
    assert_eq!(client.tasks_of(&id).await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_fetch_that_fails_leaves_nothing_and_says_no_more_than_it_may() {
    let node = open()
        .set("limits.image_size_cap", "2MiB")
        .set("outbound.connect_timeout", "2s")
        .start()
        .await;
    let client = node.client_of(&Persona::member("alpha"));
    let to_metadata = "http://169.254.169.254/latest".to_owned();
    let big = |length| Page {
        length,
        ..Page::new(random_bytes(2 * MIB + 1, 1))
    };
    let closed = {
        let web = Web::serve(Page::new("gone")).await;
        web.url()
    };
    let mut said = Vec::new();
    for page in [
        Some(big(true)),
        Some(big(false)),
        Some(Page {
            status: Some(404),
            ..Page::new("")
        }),
        Some(Page {
            redirect: Some(to_metadata),
            ..Page::new("")
        }),
        Some(Page {
            cuts: usize::MAX,
            ..Page::new(random_bytes(MIB, 1))
        }),
        None,
    ] {
        let web = match page {
            Some(page) => Some(Web::serve(page).await),
            None => None,
        };
        let uri = web.as_ref().map_or_else(|| closed.clone(), Web::url);
        let id = client.created(json!({})).await;
        client.import(&id, download(&uri)).await.expect(202);
        let task = client.task_ends(&id).await;
        assert_eq!(task["status"], "failure");
        let message = task["message"].as_str().unwrap().to_owned();
        assert!(
            !message.contains("127.0.0.1") && !message.contains("169"),
            "{message}"
        );
        let image = client.show(&id).await.expect(200).json();
        assert_eq!(
            (&image["status"], &image["size"]),
            (&json!("queued"), &Value::Null)
        );
        assert_eq!(image["last_import_error"], json!(message));
        said.push(message);
        nothing(&node).await;
    }
    assert_eq!(said[0], said[1]);
}

#[tokio::test]
async fn what_is_fetched_is_judged_and_counted_as_an_upload_is() {
    let node = open()
        .set("limits.user_storage_quota", "1MiB")
        .start()
        .await;
    let client = node.client_of(&Persona::member("alpha"));
    for (format, data) in [
        (
            "qcow2",
            bytes::Bytes::from(samples::qcow2_with_backing_file()),
        ),
        ("qcow2", random_bytes(MIB, 1)),
        ("raw", random_bytes(MIB + 1, 1)),
    ] {
        let web = Web::serve(Page::new(data)).await;
        let id = client.created(json!({"disk_format": format})).await;
        client.import(&id, download(&web.url())).await.expect(202);
        assert_eq!(client.task_ends(&id).await["status"], "failure");
        client.reaches(&id, "queued").await;
        nothing(&node).await;
    }
    let web = Web::serve(Page::new(random_bytes(MIB, 1))).await;
    let id = client.created(json!({})).await;
    client.import(&id, download(&web.url())).await.expect(202);
    client.reaches(&id, "active").await;
    // Only what is queued.
    client.import(&id, download(&web.url())).await.expect(409);
}
