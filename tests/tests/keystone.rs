//! `auth.mode = "keystone"` against a real Keystone (image-api 4.1). What a Keystone answers that lies
//! is in `api/keystone.rs`. Stage `keystone` installs what these need.

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, future::join_all};
use glimpse_tests::{Client, Keystone, Node, Signal, eventually};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

/// The Keystone of tests that leave it as it is: starting one takes seconds. It ends with this process.
async fn shared() -> &'static Keystone {
    static SHARED: OnceCell<Keystone> = OnceCell::const_new();
    SHARED.get_or_init(Keystone::start).await
}

fn with_token(node: &Node, token: &str) -> Client {
    node.client().with("x-auth-token", token)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Keystone: cargo xtask test --stage keystone"]
async fn a_token_is_what_keystone_says_and_a_made_up_one_is_401() {
    let keystone = shared().await;
    let (user, project) = keystone.user("demo", "demo", &["Member", "reader"]).await;
    keystone.user("looker", "demo", &["reader"]).await;
    keystone.user("boss", "operators", &["admin"]).await;
    let node = keystone
        .setup()
        .set("auth.keystone.token_cache_time", "1s")
        .set(
            "auth.keystone.www_authenticate_uri",
            "https://identity.example.org",
        )
        .start()
        .await;

    let token = keystone.token("demo", "demo").await;
    let demo = with_token(&node, &token);
    let id = demo.active(json!({}), "data").await;
    let image = demo.show(&id).await.expect(200);
    assert_eq!(image.field("owner"), project);
    assert_eq!(demo.download(&id).await.expect(200).text(), "data");
    let stored = node.client().with("x-storage-token", &token);
    stored.show(&id).await.expect(200);

    let looker = with_token(&node, &keystone.token("looker", "demo").await);
    looker.show(&id).await.expect(200);
    looker.download(&id).await.expect(403);
    looker.create(json!({"name": "x"})).await.expect(403);
    // The identity is the token's, whatever else the client sends.
    let forged = looker
        .with("x-roles", "admin")
        .with("x-identity-status", "Confirmed")
        .with("x-project-id", "other")
        .with("x-user-id", &user);
    forged.show(&id).await.expect(200);
    forged.create(json!({"name": "x"})).await.expect(403);
    let boss = with_token(&node, &keystone.token("boss", "operators").await);
    boss.show(&id).await.expect(200);

    for client in [
        node.client(),
        with_token(&node, "made-up"),
        with_token(&node, "made up"),
        with_token(&node, ""),
        with_token(&node, &token[1..]),
        node.client().with("x-service-token", &token),
    ] {
        let answer = client.show(&id).await.expect(401);
        let wanted = "Keystone uri=\"https://identity.example.org\"";
        assert_eq!(answer.header("www-authenticate"), Some(wanted));
    }

    // A revoked one is known for the cache's time at most.
    let other = keystone.token("demo", "demo").await;
    with_token(&node, &other).show(&id).await.expect(200);
    keystone.revoke(&other).await;
    let revoked = Instant::now();
    eventually("the revoked token is refused", async || {
        (with_token(&node, &other).show(&id).await.status == 401).then_some(())
    })
    .await;
    // Keystone itself is slow on a busy machine; the node's part is a second.
    assert!(revoked.elapsed() < Duration::from_secs(20));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Keystone: cargo xtask test --stage keystone"]
async fn requests_with_one_new_token_share_one_validation_and_later_ones_ask_nobody() {
    let keystone = shared().await;
    keystone.user("demo", "demo", &["member"]).await;
    let node = keystone.setup().start().await;
    let demo = with_token(&node, &keystone.token("demo", "demo").await);
    for answer in join_all((0..50).map(|_| demo.list(""))).await {
        answer.expect(200);
    }
    assert_eq!(node.metric("auth_validations_total").await, 1.0);
    for _ in 0..50 {
        demo.list("").await.expect(200);
    }
    assert_eq!(node.metric("auth_validations_total").await, 1.0);
    assert!(node.metric("auth_cache_hits_total").await >= 50.0);
    assert_eq!(node.metric("auth_cached_tokens").await, 1.0);

    let nobody = with_token(&node, "made-up");
    for answer in join_all((0..20).map(|_| nobody.list(""))).await {
        answer.expect(401);
    }
    assert_eq!(node.metric("auth_validations_total").await, 2.0);
    assert_eq!(node.metric("auth_cached_tokens").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Keystone: cargo xtask test --stage keystone"]
async fn an_expired_token_counts_with_the_token_of_a_service_only() {
    let keystone = Keystone::with_tokens_of(15).await;
    keystone.user("demo", "demo", &["member"]).await;
    keystone.user("nova", "service", &["service"]).await;
    // Cached for longer than it lasts.
    let node = keystone
        .setup()
        .set("auth.keystone.token_cache_time", "5m")
        .start()
        .await;
    let demo = with_token(&node, &keystone.token("demo", "demo").await);
    let id = demo.created(json!({})).await;
    eventually("the token expires", async || {
        (demo.show(&id).await.status == 401).then_some(())
    })
    .await;

    // Others have expired by then, too: each its own.
    let served = async |user: &str| {
        demo.with(
            "x-service-token",
            &keystone.token(user, user_project(user)).await,
        )
    };
    served("nova").await.upload(&id, "late").await.expect(204);
    served("demo").await.show(&id).await.expect(401);
    let made_up = demo.with("x-service-token", "made-up");
    made_up.show(&id).await.expect(401);
    // A service token that is none takes nothing from a user token that holds.
    let fresh = with_token(&node, &keystone.token("demo", "demo").await);
    let with_junk = fresh.with("x-service-token", "made-up");
    assert_eq!(with_junk.download(&id).await.expect(200).text(), "late");
}

fn user_project(user: &str) -> &str {
    if user == "nova" { "service" } else { user }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Keystone: cargo xtask test --stage keystone"]
async fn an_upload_whose_token_expires_goes_on_and_one_that_is_deleted_meanwhile_leaves_nothing() {
    let keystone = Keystone::with_tokens_of(15).await;
    keystone.user("demo", "demo", &["member"]).await;
    let node = keystone
        .setup()
        .set("limits.user_storage_quota", "64MiB")
        .start()
        .await;
    let early = with_token(&node, &keystone.token("demo", "demo").await);
    let (kept, doomed) = (
        early.created(json!({})).await,
        early.created(json!({})).await,
    );
    let piece = || bytes::Bytes::from(vec![7; 1 << 20]);
    let upload = |id: &str| {
        let (more, taken) = tokio::sync::mpsc::channel(1);
        let (client, id) = (early.clone(), id.to_owned());
        let pieces = futures_util::stream::unfold(taken, |mut taken| async {
            taken.recv().await.map(|piece| (piece, taken))
        });
        let done = tokio::spawn(async move {
            let call = client.file(&id).stream(pieces.boxed());
            call.send().await
        });
        (more, done)
    };
    let (first, kept_done) = upload(&kept);
    let (second, doomed_done) = upload(&doomed);
    for more in [&first, &second] {
        more.send(piece()).await.unwrap();
    }
    early.reaches(&kept, "saving").await;
    early.reaches(&doomed, "saving").await;
    eventually("the token expires", async || {
        (early.show(&kept).await.status == 401).then_some(())
    })
    .await;

    let fresh = with_token(&node, &keystone.token("demo", "demo").await);
    fresh.remove(&doomed).await.expect(204);
    for more in [first, second] {
        // The second one may be gone.
        more.send(piece()).await.ok();
    }
    kept_done.await.unwrap().expect(204);
    let refused = doomed_done.await.unwrap().status;
    assert!([404, 409, 410].contains(&refused), "{refused}");
    assert_eq!(
        fresh.show(&kept).await.expect(200).field("status"),
        "active"
    );
    fresh.show(&doomed).await.expect(404);
    node.keeps(1).await;
    // The quota is as it was: 62 of 64 MiB are free.
    let rest = fresh.created(json!({})).await;
    fresh.upload(&rest, vec![0; 62 << 20]).await.expect(204);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Keystone: cargo xtask test --stage keystone"]
async fn an_application_credential_may_be_used_for_what_its_rules_say() {
    let keystone = shared().await;
    let (user, _) = keystone.user("demo", "demo", &["member"]).await;
    let (service, _) = keystone.user("glance", "service", &["service"]).await;
    let credential = async |who: &str, user: &str, project: &str, rules: Value| {
        let token = keystone.token(who, project).await;
        let mut body = json!({"name": "c", "unrestricted": true});
        if !rules.is_null() {
            body["name"] = json!("r");
            body["access_rules"] = rules;
        }
        let path = format!("/users/{user}/application_credentials");
        let body = json!({"application_credential": body});
        let (_, made) = keystone.call(&token, Method::POST, &path, &[], body).await;
        let made = &made["application_credential"];
        let text = |key: &str| made[key].as_str().unwrap().to_owned();
        (text("id"), text("secret"))
    };
    // The node's own account is one, too.
    let (id, secret) = credential("glance", &service, "service", Value::Null).await;
    let node = keystone
        .setup()
        .set("auth.keystone.application_credential_id", id)
        .set("auth.keystone.application_credential_secret", secret)
        .set("auth.keystone.username", "nobody")
        .start()
        .await;

    let (id, secret) = credential("demo", &user, "demo", Value::Null).await;
    let free = with_token(&node, &keystone.token_of_credential(&id, &secret).await);
    let image = free.active(json!({}), "data").await;

    let rule = |method: &str, service: &str, path: &str| json!({"method": method, "service": service, "path": path});
    let rules = json!([
        rule("GET", "image", "/v2/images"),
        rule("GET", "image", "/v2/images/{image_id}"),
        rule("POST", "compute", "/v2/images"),
    ]);
    let (id, secret) = credential("demo", &user, "demo", rules).await;
    let bound = with_token(&node, &keystone.token_of_credential(&id, &secret).await);
    bound.list("").await.expect(200);
    bound.show(&image).await.expect(200);
    bound.download(&image).await.expect(401);
    bound.create(json!({"name": "x"})).await.expect(401);
    bound.remove(&image).await.expect(401);
    // An escaped slash separates, for the rules as for the routes.
    let path = format!("/v2/images/{image}%2Ffile");
    bound.get(&path).await.expect(401);
    // A service acts for the user where the user itself could not; who is none does not.
    let nova = keystone.token("glance", "service").await;
    let served = bound.with("x-service-token", &nova);
    assert_eq!(served.download(&image).await.expect(200).text(), "data");
    for junk in ["made-up", &keystone.token("demo", "demo").await] {
        let served = bound.with("x-service-token", junk);
        served.download(&image).await.expect(401);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Keystone: cargo xtask test --stage keystone"]
async fn tokens_of_the_system_or_a_domain_are_403_and_unscoped_ones_have_no_roles() {
    let keystone = shared().await;
    let (user, _) = keystone.user("boss", "operators", &["admin"]).await;
    keystone.grant("/domains/default", &user, &["admin"]).await;
    keystone.grant("/system", &user, &["admin"]).await;
    let node = keystone.setup().start().await;
    let boss = with_token(&node, &keystone.token("boss", "operators").await);
    let id = boss.active(json!({"visibility": "public"}), "data").await;
    for scope in [
        json!({"system": {"all": true}}),
        json!({"domain": {"id": "default"}}),
        Value::Null,
    ] {
        let token = keystone.token_for("boss", scope.clone()).await;
        let client = with_token(&node, &token);
        for answer in [
            client.list("").await,
            client.show(&id).await,
            client.download(&id).await,
            client.create(json!({"name": "x"})).await,
            client.remove(&id).await,
        ] {
            // Without a role an image is not seen, where there is a scope that could see.
            let unseen = scope.is_null() && answer.status == 404;
            assert!(unseen || answer.status == 403, "{scope} {}", answer.asked);
        }
    }
    boss.show(&id).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Keystone: cargo xtask test --stage keystone"]
async fn while_keystone_is_slow_or_down_known_tokens_go_on_and_others_are_503() {
    let mut keystone = Keystone::start().await;
    keystone.user("demo", "demo", &["member"]).await;
    let tokens = [
        keystone.token("demo", "demo").await,
        keystone.token("demo", "demo").await,
    ];
    let setup = keystone
        .setup()
        .set("auth.allow_anonymous", true)
        .set("auth.keystone.timeout", "2s");
    keystone.kill();
    // The node starts all the same.
    let node = setup.start().await;
    let [known, other] = tokens.each_ref().map(|token| with_token(&node, token));
    let refused = known.list("").await.expect(503);
    assert!(refused.header("retry-after").is_some());
    assert!(!refused.text().contains("127.0.0.1"), "{}", refused.text());
    keystone.restart().await;
    eventually("the token counts", async || {
        (known.list("").await.status == 200).then_some(())
    })
    .await;

    keystone.signal(Signal::STOP);
    let begun = Instant::now();
    let answers = join_all((0..20).map(|_| other.list(""))).await;
    assert!(begun.elapsed() < Duration::from_secs(20));
    for answer in answers {
        answer.expect(503);
    }
    known.list("").await.expect(200);
    // Never an open door, not even the anonymous one, which is open to who shows no token.
    with_token(&node, "made-up").list("").await.expect(503);
    node.client().get("/v2/schemas/image").await.expect(200);
    keystone.signal(Signal::CONT);
    eventually("the other token counts", async || {
        (other.list("").await.status == 200).then_some(())
    })
    .await;

    // A Keystone with other keys: nothing that was given out counts, the node's own token included.
    keystone.kill();
    keystone.forget_tokens();
    keystone.restart().await;
    let new = with_token(&node, &keystone.token("demo", "demo").await);
    new.create(json!({"name": "x"})).await.expect(201);
    assert!(node.log().contains("the identity service answers again"));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Keystone: cargo xtask test --stage keystone"]
async fn the_anonymous_may_read_what_is_public_and_change_nothing() {
    let keystone = shared().await;
    keystone.user("boss", "operators", &["admin"]).await;
    let node = keystone
        .setup()
        .set("auth.allow_anonymous", true)
        .start()
        .await;
    let boss = with_token(&node, &keystone.token("boss", "operators").await);
    let public = boss.active(json!({"visibility": "public"}), "data").await;
    let private = boss.active(json!({}), "data").await;
    for client in [node.client(), with_token(&node, "made-up")] {
        assert_eq!(client.list_all("").await, [public.as_str()]);
        client.show(&public).await.expect(200);
        client.show(&private).await.expect(404);
        client.download(&public).await.expect(403);
        client.create(json!({"name": "x"})).await.expect(403);
        client.remove(&public).await.expect(403);
        client.upload(&public, "other").await.expect(403);
        client.tag(&public, "t").await.expect(403);
        client
            .replace(&public, "name", json!("x"))
            .await
            .expect(403);
    }
    assert_eq!(boss.download(&public).await.expect(200).text(), "data");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Keystone: cargo xtask test --stage keystone"]
async fn unified_limits_hold_to_the_last_image_and_byte_whoever_comes_together() {
    let keystone = Keystone::start().await;
    let (_, project) = keystone.user("demo", "demo", &["member"]).await;
    keystone.user("other", "other", &["member"]).await;
    let (service, _) = keystone.user("glance", "service", &["service"]).await;
    let setup = keystone
        .setup()
        .set("limits.unified", true)
        // It would refuse everything.
        .set("limits.user_storage_quota", "1B");
    keystone.grant("/system", &service, &["reader"]).await;
    let registered = [
        ("image_count_total", 0),
        ("image_count_uploading", 1),
        ("image_size_total", 5),
    ];
    let own = [("image_count_total", 4), ("image_size_total", 2)];
    keystone.limit(&registered, &project, &own).await;
    let node = setup.start().await;
    let demo = with_token(&node, &keystone.token("demo", "demo").await);
    let other = with_token(&node, &keystone.token("other", "other").await);

    // A project of its own limits, and one that has only those of everybody.
    let made = join_all(
        (0..12).map(|_| demo.create(json!({"disk_format": "raw", "container_format": "bare"}))),
    )
    .await;
    let count = |status: u16| made.iter().filter(|answer| answer.status == status).count();
    assert_eq!((count(201), count(413)), (4, 8));
    other.create(json!({"name": "x"})).await.expect(413);
    let usage = |size: u64, images: u64, uploading: u64| {
        json!({"usage": {
            "image_size_total": {"usage": size, "limit": 2},
            // Not registered.
            "image_stage_total": {"usage": 0, "limit": 0},
            "image_count_total": {"usage": images, "limit": 4},
            "image_count_uploading": {"usage": uploading, "limit": 1},
        }})
    };
    let shown = demo.get("/v2/info/usage").await.expect(200).json();
    assert_eq!(shown, usage(0, 4, 0));

    let ids: Vec<String> = made
        .iter()
        .filter(|answer| answer.status == 201)
        .map(|answer| answer.field("id"))
        .collect();
    // One upload at a time, of two that come while it stands.
    let (more, taken) = tokio::sync::mpsc::channel::<bytes::Bytes>(1);
    let pieces = futures_util::stream::unfold(taken, |mut taken| async {
        taken.recv().await.map(|piece| (piece, taken))
    });
    let call = demo.file(&ids[0]).stream(pieces.boxed());
    let first = tokio::spawn(call.send());
    more.send(vec![1; 1 << 20].into()).await.unwrap();
    demo.reaches(&ids[0], "saving").await;
    demo.upload(&ids[1], "x").await.expect(413);
    let shown = demo.get("/v2/info/usage").await.expect(200).json();
    assert_eq!(shown["usage"]["image_count_uploading"]["usage"], 1);
    drop(more);
    first.await.unwrap().expect(204);
    // Bytes, to the last one.
    demo.upload(&ids[1], vec![0; (1 << 20) + 1])
        .await
        .expect(413);
    demo.upload(&ids[1], vec![0; 1 << 20]).await.expect(204);
    demo.upload(&ids[2], "x").await.expect(413);
    let shown = demo.get("/v2/info/usage").await.expect(200).json();
    assert_eq!(shown, usage(2, 4, 0));
    // What is deleted is free again.
    demo.remove(&ids[1]).await.expect(204);
    demo.upload(&ids[2], vec![0; 1 << 20]).await.expect(204);
    demo.created(json!({})).await;
    demo.create(json!({"name": "x"})).await.expect(413);
}
