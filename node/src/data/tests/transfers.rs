//! Uploads and downloads from end to end.

use std::{path::PathBuf, sync::Arc, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use glimpse_registry::{
    image::{ImageId, Visibility},
    status::Status,
};
use http::{Method, StatusCode, header};
use http_body_util::BodyExt;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::rig::{MIB, Rig, bytes, chunked, fed, member, open, person, random, refused};
use crate::{
    api::error::ApiError,
    auth::Context,
    data::{hashes::hex, upload},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_uploaded_is_downloaded_whole_and_by_range() {
    use sha2::Digest;
    let rig = Rig::new();
    let mut random_ranges = StdRng::seed_from_u64(1);
    for (seed, length) in [0, 1, MIB - 1, MIB, MIB + 1, 7 * MIB + 12_345]
        .into_iter()
        .enumerate()
    {
        let mut data = random(seed as u64, length).to_vec();
        if length > 5 * MIB {
            // Two chunks of zeros.
            data[2 * MIB..4 * MIB].fill(0);
        }
        let data = Bytes::from(data);
        let id = rig.image().await;
        assert_eq!(
            rig.get(id, &[]).await.unwrap().status(),
            StatusCode::NO_CONTENT
        );
        let size = length.to_string();
        let body = match seed % 2 {
            0 => Body::from(data.clone()),
            _ => chunked(&data),
        };
        let put = rig
            .put_as(&member("p"), id, &[("x-openstack-image-size", &size)], body)
            .await
            .unwrap();
        assert_eq!(put.status(), StatusCode::NO_CONTENT);
        assert_eq!(rig.status(id).await, Some(Status::Active));
        let view = rig.app.registry.read().await.unwrap();
        let image = view.image(id).unwrap().unwrap();
        drop(view);
        assert_eq!(image.size, Some(length as u64));
        let md5 = hex(&md5::Md5::digest(&data));
        assert_eq!(image.checksum.as_deref(), Some(md5.as_str()));
        let sha = hex(&sha2::Sha512::digest(&data));
        assert_eq!(image.os_hash_value.as_deref(), Some(sha.as_str()));
        assert_eq!(image.os_hash_algo.as_deref(), Some("sha512"));

        let whole = rig.get(id, &[]).await.unwrap();
        assert_eq!(whole.status(), StatusCode::OK);
        let headers = whole.headers().clone();
        assert_eq!(headers["content-type"], "application/octet-stream");
        assert_eq!(headers["content-md5"], md5.as_str());
        assert_eq!(headers["content-length"], size.as_str());
        assert_eq!(headers["accept-ranges"], "bytes");
        let etag = headers["etag"].to_str().unwrap().to_owned();
        assert_eq!(etag.len(), 66);
        assert!(bytes(whole).await == data, "{length}: other bytes");

        let head = rig
            .read_as(
                &member("p"),
                Method::HEAD,
                id,
                "/",
                &[("range", "bytes=0-0")],
            )
            .await
            .unwrap();
        assert_eq!(head.status(), StatusCode::OK);
        assert_eq!(head.headers(), &headers);
        assert!(bytes(head).await.is_empty());

        let same = rig.get(id, &[("if-none-match", &etag)]).await.unwrap();
        assert_eq!(same.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(refused(rig.get(id, &[("if-match", "\"x\"")]).await).0, 412);

        let beyond = format!("bytes={length}-");
        let error = rig.get(id, &[("range", &beyond)]).await.unwrap_err();
        assert_eq!(error.status, StatusCode::RANGE_NOT_SATISFIABLE);
        let unsatisfied = format!("bytes */{length}");
        assert!(
            error
                .headers
                .iter()
                .any(|(name, value)| name == header::CONTENT_RANGE && *value == unsatisfied)
        );
        assert_eq!(
            refused(rig.get(id, &[("range", "bytes=0-0,2-2")]).await).0,
            400
        );

        for _ in 0..if length > 0 { 20 } else { 0 } {
            let a = random_ranges.random_range(0..length);
            let b = random_ranges.random_range(0..length);
            let (first, last) = (a.min(b), a.max(b));
            let range = format!("bytes={first}-{last}");
            let part = rig
                .get(id, &[("range", &range), ("if-range", &etag)])
                .await
                .unwrap();
            assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
            let content_range = format!("bytes {first}-{last}/{length}");
            assert_eq!(part.headers()["content-range"], content_range.as_str());
            assert_eq!(part.headers()["content-md5"], md5.as_str());
            assert!(
                bytes(part).await == data[first..=last],
                "{range} of {length}"
            );
            let other = rig
                .get(id, &[("range", &range), ("if-range", "\"x\"")])
                .await
                .unwrap();
            assert_eq!(other.status(), StatusCode::OK);
        }
    }
    assert_eq!(rig.app.download_slots.running(), 0);
    assert_eq!(rig.app.data.counters.downloads_broken.get(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_are_refused_in_the_order_of_the_inventory() {
    let rig = Rig::with(|config| config.limits.image_size_cap = 10);
    let id = rig.image().await;
    let me = member("p");
    let plain = [("content-type", "text/plain")];
    assert_eq!(refused(rig.put_as(&me, id, &plain, "x").await).0, 415);
    let gone = ImageId([7; 16]);
    assert_eq!(refused(rig.put_as(&me, gone, &[], "x").await).0, 404);
    assert_eq!(refused(rig.put_as(&member("q"), id, &[], "x").await).0, 404);
    let reader = person("p", &["reader"], false);
    assert_eq!(refused(rig.put_as(&reader, id, &[], "x").await).0, 403);
    let public = rig.image_of("p", Visibility::Public).await;
    assert_eq!(
        refused(rig.put_as(&member("q"), public, &[], "x").await).0,
        403
    );
    for (name, value, status) in [
        ("x-image-meta-store", "nowhere", 400),
        ("x-openstack-image-size", "ten", 400),
        ("x-openstack-image-size", "-1", 400),
        ("x-openstack-image-size", "", 400),
        ("x-openstack-image-size", "11", 413),
        ("x-openstack-image-size", "2", 400),
        ("x-openstack-image-size", "0", 400),
    ] {
        let (got, text) = refused(rig.put_as(&me, id, &[(name, value)], "x").await);
        assert_eq!(got, status, "{name}: {value}: {text}");
    }
    assert_eq!(refused(rig.put(id, "more than ten bytes").await).0, 413);
    rig.assert_untouched(id, "after the refusals").await;

    assert_eq!(rig.put(id, "ten bytes.").await.unwrap().status(), 204);
    let (status, text) = refused(rig.put(id, "x").await);
    assert_eq!(status, 409);
    assert!(text.contains("active") && text.contains("saving"), "{text}");
    assert_eq!(bytes(rig.get(id, &[]).await.unwrap()).await, "ten bytes.");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_cut_at_any_byte_leaves_nothing_and_a_second_one_works() {
    let rig = Rig::new();
    let data = random(3, 3 * MIB + 7);
    let id = rig.image().await;
    for cut_at in [0, 1, 4096, MIB, 2 * MIB + 5, data.len()] {
        let (sender, body) = fed();
        let feeding = async {
            for piece in data.slice(..cut_at).chunks(300_000) {
                sender.send(Bytes::copy_from_slice(piece)).await.unwrap();
            }
            drop(sender);
        };
        let (result, ()) = tokio::join!(rig.put(id, body), feeding);
        assert_eq!(refused(result).0, 400, "{cut_at}");
        rig.assert_untouched(id, &format!("cut at {cut_at}")).await;
    }
    assert_eq!(rig.put(id, data.clone()).await.unwrap().status(), 204);
    assert!(bytes(rig.get(id, &[]).await.unwrap()).await == data);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_whose_handler_is_dropped_is_cleaned_up_all_the_same() {
    let rig = Rig::new();
    let id = rig.image().await;
    let (sender, body) = fed();
    {
        let upload = rig.put(id, body);
        let feeding = async {
            for _ in 0..3 {
                sender.send(random(1, MIB)).await.unwrap();
            }
        };
        tokio::select! {
            biased;
            _ = upload => panic!("it has no end"),
            () = feeding => {}
        }
    }
    assert_eq!(rig.status(id).await, Some(Status::Saving));
    drop(sender);
    rig.until("queued again", async || {
        rig.status(id).await == Some(Status::Queued) && rig.app.upload_slots.running() == 0
    })
    .await;
    rig.assert_untouched(id, "after the drop").await;
    assert!(rig.app.data.settle(Duration::from_secs(20)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_deleted_during_its_upload_leaves_nothing() {
    let rig = Rig::new();
    let id = rig.image().await;
    let (sender, body) = open();
    let feeding = async {
        sender.send(random(1, 2 * MIB)).await.unwrap();
        rig.until("saving", async || {
            rig.status(id).await == Some(Status::Saving)
        })
        .await;
        rig.app.registry.delete_image(id, None).await.unwrap();
        sender.send(random(2, MIB)).await.unwrap();
        drop(sender);
    };
    let (result, ()) = tokio::join!(rig.put(id, body), feeding);
    assert_eq!(refused(result).0, 410);
    assert_eq!(rig.files(), Vec::<PathBuf>::new());
    let view = rig.app.registry.read().await.unwrap();
    assert_eq!(view.uploads(None, 10).unwrap(), []);
    assert_eq!(view.usage("p").unwrap(), (0, 0));
    assert_eq!(view.pending_deletes(0, 10).unwrap(), []);
}

/// As `DELETE` does it, while the client sends nothing more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_ends_the_upload_at_once() {
    let rig = Rig::new();
    let id = rig.image().await;
    let other = rig.image().await;
    let (sender, body) = open();
    let (other_sender, other_body) = open();
    let feeding = async {
        sender.send(random(1, 2 * MIB)).await.unwrap();
        other_sender.send(random(1, 2 * MIB)).await.unwrap();
        rig.until("written", async || rig.files().len() == 2).await;
        rig.app.registry.delete_image(id, None).await.unwrap();
        rig.app.data.end_uploads(id);
        rig.until("one left", async || rig.files().len() == 1).await;
        rig.until("the row is gone", async || {
            let view = rig.app.registry.read().await.unwrap();
            view.uploads(None, 10).unwrap().len() == 1
        })
        .await;
        // No other upload is touched.
        drop(other_sender);
    };
    let both = async { tokio::join!(rig.put(id, body), rig.put(other, other_body), feeding) };
    let (cut, whole, ()) = tokio::time::timeout(Duration::from_secs(60), both)
        .await
        .expect("the upload goes on");
    let (status, text) = refused(cut);
    assert_eq!(status, 410, "{text}");
    assert_eq!(whole.unwrap().status(), 204);
    drop(sender);
    let view = rig.app.registry.read().await.unwrap();
    assert_eq!(view.usage("p").unwrap(), (2 * MIB as u64, 0));
}

/// What the handler has read of the image is out of date by the time the upload begins.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_changed_just_before_its_upload_begins_is_judged_by_what_it_is() {
    let quota = 10;
    let rig = Rig::with(|config| config.limits.user_storage_quota = Some(quota));
    let mut backed = vec![0; 1024];
    backed[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
    backed[15] = 1;
    for (owner, data, status) in [
        (None, Bytes::from(backed), 415),
        (Some("p"), Bytes::from_static(b"eleven byte"), 413),
    ] {
        for declared in [None, Some(data.len() as u64)] {
            let id = rig.image().await;
            let read = async || {
                let view = rig.app.registry.read().await.unwrap();
                view.image(id).unwrap().unwrap()
            };
            let image = read().await;
            let mut attributes = image.attributes.clone();
            attributes.owner = None;
            let update =
                |version, attributes| rig.app.registry.update_image(id, version, attributes);
            update(image.version, attributes.clone()).await.unwrap();
            let stale = read().await;
            attributes.owner = owner.map(str::to_owned);
            attributes.container_format = Some("bare".to_owned());
            update(stale.version, attributes).await.unwrap();
            let job = upload::Job {
                image: stale,
                store: rig.app.stores.get("local").unwrap().clone(),
                declared,
                body: Body::from(data.clone()),
                expects_continue: false,
            };
            let slot = rig.app.upload_slots.take(Some("p")).unwrap();
            let error = upload::run(Arc::clone(&rig.app), job, slot)
                .await
                .unwrap_err();
            let error = ApiError::of_upload(error, "id");
            assert_eq!(error.status.as_u16(), status, "{owner:?}: {error:?}");
            assert_eq!(rig.status(id).await, Some(Status::Queued));
            assert_eq!(rig.files(), Vec::<PathBuf>::new());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_quota_holds_under_concurrent_uploads_of_unknown_size() {
    let quota = 5 * MIB as u64;
    let rig = Rig::with(|config| config.limits.user_storage_quota = Some(quota));
    // Each is 1.5 MiB: three fit.
    let data = random(5, MIB + MIB / 2);
    let mut ids = Vec::new();
    for _ in 0..6 {
        ids.push(rig.image().await);
    }
    let results =
        futures_util::future::join_all(ids.iter().map(|id| rig.put(*id, chunked(&data)))).await;
    let accepted = results.iter().filter(|result| result.is_ok()).count();
    for result in results {
        if let Err(error) = result {
            assert_eq!(
                error.status,
                StatusCode::PAYLOAD_TOO_LARGE,
                "{}",
                error.message
            );
        }
    }
    // Each may have been refused for the sake of the others.
    assert!(accepted <= 3, "{accepted} accepted");
    let usage = async || {
        let view = rig.app.registry.read().await.unwrap();
        view.usage("p").unwrap()
    };
    assert_eq!(usage().await, ((accepted * data.len()) as u64, 0));
    assert_eq!(rig.files().len(), accepted);

    // The last bytes can be had although a whole step does not fit.
    let left = quota - usage().await.0;
    let id = rig.image().await;
    let rest = random(6, usize::try_from(left).unwrap());
    assert_eq!(rig.put(id, chunked(&rest)).await.unwrap().status(), 204);
    assert_eq!(usage().await, (quota, 0));
    let id = rig.image().await;
    assert_eq!(
        refused(rig.put(id, chunked(&Bytes::from_static(b"x"))).await).0,
        413
    );
    assert_eq!(usage().await, (quota, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_of_unknown_size_side_by_side_leave_each_other_room_in_the_quota() {
    let rig = Arc::new(Rig::with(|config| {
        config.limits.user_storage_quota = Some(20 * MIB as u64);
        config.limits.reserve_step = 64 * MIB as u64;
        config.limits.concurrent_uploads = 10;
    }));
    let data = random(7, MIB);
    let mut all = Vec::new();
    for _ in 0..10 {
        let id = rig.image().await;
        let (sender, body) = open();
        let upload = tokio::spawn({
            let rig = Arc::clone(&rig);
            async move { rig.put(id, body).await.map(|response| response.status()) }
        });
        // Until it has what it reserves.
        for piece in data.chunks(MIB / 4) {
            sender.send(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        all.push((sender, upload));
    }
    for (sender, upload) in all {
        drop(sender);
        assert_eq!(upload.await.unwrap().unwrap(), 204);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_bound_uploads_and_downloads() {
    let rig = Rig::new();
    let id = rig.image().await;
    let take = |_| rig.app.upload_slots.take(Some("p")).unwrap();
    let held: Vec<_> = (0..8).map(take).collect();
    let error = rig.put(id, "x").await.unwrap_err();
    assert_eq!(error.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(error.retry_after.is_some());
    drop(held);
    rig.put(id, random(1, 2 * MIB)).await.unwrap();
    let mut open = Vec::new();
    for _ in 0..8 {
        open.push(rig.get(id, &[]).await.unwrap());
    }
    let error = rig.get(id, &[]).await.unwrap_err();
    assert_eq!(error.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(error.retry_after.is_some());
    open.pop();
    rig.get(id, &[("range", "bytes=0-9")]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_project_cannot_take_every_slot() {
    let rig = Rig::with(|config| {
        config.limits.concurrent_uploads_per_project = 2;
        config.limits.concurrent_downloads_per_project = 2;
    });
    let id = rig.image().await;
    let of_q = rig.image_of("q", Visibility::Private).await;
    let refused = |result: Result<axum::response::Response, ApiError>| {
        let error = result.unwrap_err();
        assert_eq!(error.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(error.retry_after.is_some());
        assert!(error.message.contains("project"), "{}", error.message);
    };
    let take = |_| rig.app.upload_slots.take(Some("p")).unwrap();
    let held: Vec<_> = (0..2).map(take).collect();
    refused(rig.put(id, "x").await);
    let put = rig.put_as(&member("q"), of_q, &[], "x").await;
    assert_eq!(put.unwrap().status(), 204);
    drop(held);
    assert_eq!(rig.put(id, random(1, 2 * MIB)).await.unwrap().status(), 204);

    let open = [
        rig.get(id, &[]).await.unwrap(),
        rig.get(id, &[]).await.unwrap(),
    ];
    refused(rig.get(id, &[]).await);
    let read = rig.read_as(&member("q"), Method::GET, of_q, "/", &[]).await;
    assert_eq!(read.unwrap().status(), 200);
    drop(open);
    assert_eq!(rig.get(id, &[]).await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_download_follows_status_and_policy() {
    let rig = Rig::new();
    let id = rig.image().await;
    rig.put(id, "data").await.unwrap();
    let ask = async |context: &Context, uri: &str| match rig
        .read_as(context, Method::GET, id, uri, &[])
        .await
    {
        Ok(response) => response.status().as_u16(),
        Err(error) => error.status.as_u16(),
    };
    let admin = person("a", &["admin", "member", "reader"], true);
    let reader = person("p", &["reader"], false);
    assert_eq!(ask(&member("p"), "/").await, 200);
    assert_eq!(ask(&member("q"), "/").await, 404);
    assert_eq!(ask(&reader, "/").await, 403);
    assert_eq!(ask(&admin, "/").await, 200);
    assert_eq!(ask(&member("p"), "/?prefer=local").await, 200);
    assert_eq!(
        ask(&member("p"), "/?x=y&prefer=local,%20nowhere").await,
        400
    );
    rig.app
        .registry
        .set_status(id, Status::Deactivated)
        .await
        .unwrap();
    assert_eq!(ask(&member("p"), "/").await, 403);
    assert_eq!(ask(&admin, "/").await, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_byte_in_the_store_is_never_served() {
    let rig = Rig::new();
    let data = random(9, 6 * MIB);
    let id = rig.image().await;
    rig.put(id, data.clone()).await.unwrap();
    let file = rig.files().pop().unwrap();
    let mut content = std::fs::read(&file).unwrap();
    assert!(content == data);
    content[5 * MIB + 17] ^= 1;
    std::fs::write(&file, &content).unwrap();

    let response = rig.get(id, &[]).await.unwrap();
    assert_eq!(response.headers()["content-length"], "6291456");
    let mut body = response.into_body();
    let mut got = Vec::new();
    let error = loop {
        match body.frame().await {
            Some(Ok(frame)) => got.extend_from_slice(frame.data_ref().unwrap()),
            Some(Err(error)) => break error,
            None => panic!("a short success"),
        }
    };
    assert!(got == data[..5 * MIB], "{error}: other bytes");
    assert_eq!(rig.app.data.counters.downloads_broken.get(), 1);
    drop(body);
    assert_eq!(rig.app.download_slots.running(), 0);
    // Where it is the first chunk, there is still a status to give.
    let (status, _) = refused(rig.get(id, &[("range", "bytes=5242880-")]).await);
    assert_eq!(status, 503);
    // What is sound is served.
    let part = rig.get(id, &[("range", "bytes=0-5242879")]).await.unwrap();
    assert!(bytes(part).await == data[..5 * MIB]);
}
