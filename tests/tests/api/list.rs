//! `GET /v2/images` (image-api 1.11).

use glimpse_tests::{Client, Node, Persona, Setup};
use serde_json::{Value, json};

/// Creates `count` images named `00`, `01`, ...; returns their ids in the order of creation.
async fn some(client: &Client, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 0..count {
        ids.push(
            client
                .created(json!({"name": format!("{number:02}")}))
                .await,
        );
    }
    ids
}

/// Names along the whole listing.
async fn names(client: &Client, query: &str) -> Vec<String> {
    let answer = client.list(query).await.expect(200);
    let images = answer.json();
    let images = images["images"].as_array().unwrap().clone();
    images
        .iter()
        .map(|image| image["name"].as_str().unwrap_or("null").to_owned())
        .collect()
}

fn sorted(mut list: Vec<String>) -> Vec<String> {
    list.sort();
    list
}

async fn all_refused(client: &Client, queries: &[&str]) {
    for query in queries {
        let answer = client.list(query).await;
        assert_eq!(answer.status, 400, "{query}: {}", answer.text());
    }
}

#[tokio::test]
async fn an_empty_list_has_its_links_and_no_next() {
    let node = Node::start().await;
    let list = node.client().get("/v2/images").await.expect(200).json();
    assert_eq!(
        list,
        json!({"images": [], "first": "/v2/images", "schema": "/v2/schemas/images"})
    );
}

#[tokio::test]
async fn rows_are_what_show_says() {
    let node = Node::start().await;
    let client = node.client();
    let id = client.created(json!({"color": "red", "tags": ["t"]})).await;
    let list = client.get("/v2/images").await.expect(200).json();
    assert_eq!(list["images"][0], client.show(&id).await.expect(200).json());
}

#[tokio::test]
async fn the_newest_comes_first() {
    let node = Node::start().await;
    let client = node.client();
    let mut ids = some(&client, 10).await;
    ids.reverse();
    assert_eq!(client.list_all("").await, ids);
}

#[tokio::test]
async fn pages_follow_each_other_without_gap_or_repeat() {
    let node = Node::start().await;
    let client = node.client();
    let ids = some(&client, 23).await;
    for limit in [1, 2, 7, 22, 23, 24, 100] {
        for sort in [
            "",
            "&sort=name:asc",
            "&sort=size:desc,name:desc",
            "&sort_key=status",
        ] {
            let all = client.list_all(&format!("limit={limit}{sort}")).await;
            assert_eq!(all.len(), 23, "limit {limit} {sort}");
            assert_eq!(sorted(all), sorted(ids.clone()), "limit {limit} {sort}");
        }
    }
}

#[tokio::test]
async fn a_page_without_limit_has_25_and_no_page_more_than_the_maximum() {
    let node = Setup::new().set("limits.api_limit_max", 30).start().await;
    let client = node.client();
    some(&client, 35).await;
    assert_eq!(client.list("").await.expect(200).ids("images").len(), 25);
    let page = client.list("limit=1000").await.expect(200);
    assert_eq!(page.ids("images").len(), 30);
    assert!(page.json()["next"].is_string());
}

#[tokio::test]
async fn limit_zero_is_an_empty_page_and_a_bad_limit_400() {
    let node = Node::start().await;
    some(&node.client(), 2).await;
    let page = node.client().list("limit=0").await.expect(200).json();
    assert_eq!(page["images"], json!([]));
    assert_eq!(page.get("next"), None);
    for limit in ["-1", "x", "1.5", ""] {
        node.client()
            .list(&format!("limit={limit}"))
            .await
            .expect(400);
    }
}

#[tokio::test]
async fn next_is_there_exactly_when_the_page_was_full() {
    let node = Node::start().await;
    let client = node.client();
    some(&client, 4).await;
    assert!(client.list("limit=4").await.expect(200).json()["next"].is_string());
    assert_eq!(
        client.list("limit=5").await.expect(200).json().get("next"),
        None
    );
}

#[tokio::test]
async fn links_keep_repeated_keys_and_escape_values() {
    let node = Node::start().await;
    let client = node.client();
    for number in 0..3 {
        client
            .created(json!({"name": format!("{number}"), "tags": ["a b", "c&d"]}))
            .await;
    }
    let query =
        "limit=1&tag=a%20b&tag=c%26d&sort_key=name&sort_key=size&sort_dir=asc&sort_dir=desc";
    let page = client.list(query).await.expect(200).json();
    for link in ["first", "next"] {
        let link = page[link].as_str().unwrap();
        assert!(link.starts_with("/v2/images?"), "{link}");
        assert_eq!(link.matches("tag=").count(), 2, "{link}");
        assert_eq!(link.matches("sort_key=").count(), 2, "{link}");
        assert_eq!(link.matches("sort_dir=").count(), 2, "{link}");
    }
    assert!(!page["first"].as_str().unwrap().contains("marker="));
    assert_eq!(client.list_all(query).await.len(), 3);
}

#[tokio::test]
async fn a_marker_must_be_an_image_that_the_caller_sees() {
    let node = Setup::trusted().start().await;
    let alpha = node.client_of(&Persona::member("alpha"));
    let beta = node.client_of(&Persona::member("beta"));
    let ids = some(&alpha, 3).await;
    let hidden = beta.created(json!({"visibility": "private"})).await;
    alpha.list(&format!("marker={hidden}")).await.expect(400);
    alpha
        .list("marker=11111111-2222-3333-4444-555555555555")
        .await
        .expect(400);
    alpha.list("marker=nonsense").await.expect(400);
    let after = alpha
        .list(&format!("marker={}", ids[2]))
        .await
        .expect(200)
        .ids("images");
    assert_eq!(after, [ids[1].clone(), ids[0].clone()]);
    alpha.remove(&ids[1]).await.expect(204);
    alpha.list(&format!("marker={}", ids[1])).await.expect(400);
}

#[tokio::test]
async fn a_marker_that_the_filter_leaves_out_still_marks_its_place() {
    let node = Node::start().await;
    let client = node.client();
    let first = client.created(json!({"name": "a", "color": "red"})).await;
    let marker = client.created(json!({"name": "b", "color": "blue"})).await;
    client.created(json!({"name": "c", "color": "red"})).await;
    let after = client
        .list(&format!("color=red&marker={marker}"))
        .await
        .expect(200);
    assert_eq!(after.ids("images"), [first]);
}

#[tokio::test]
async fn rows_sort_by_every_key_in_both_directions_with_null_smallest() {
    let node = Node::start().await;
    let client = node.client();
    for (name, size) in [(Some("b"), 3), (Some("a"), 1), (None, 2)] {
        let id = client
            .create(json!({"name": name, "disk_format": "raw", "container_format": "bare"}))
            .await
            .expect(201)
            .field("id");
        client.upload(&id, "x".repeat(size)).await.expect(204);
    }
    assert_eq!(names(&client, "sort=name:asc").await, ["null", "a", "b"]);
    assert_eq!(names(&client, "sort=name").await, ["b", "a", "null"]);
    assert_eq!(
        names(&client, "sort_key=size&sort_dir=asc").await,
        ["a", "null", "b"]
    );
    assert_eq!(names(&client, "sort_key=size").await, ["b", "null", "a"]);
    assert_eq!(
        names(&client, "sort=created_at:asc").await,
        ["b", "a", "null"]
    );
    assert_eq!(names(&client, "sort_dir=asc").await, ["b", "a", "null"]);
    for key in [
        "name",
        "status",
        "container_format",
        "disk_format",
        "size",
        "id",
        "created_at",
        "updated_at",
    ] {
        for direction in ["asc", "desc"] {
            let query = format!("sort_key={key}&sort_dir={direction}");
            assert_eq!(client.list_all(&query).await.len(), 3, "{query}");
        }
    }
    let ids = client.list_all("sort=id:asc").await;
    assert_eq!(ids, sorted(ids.clone()));
}

#[tokio::test]
async fn several_keys_sort_one_after_the_other() {
    let node = Node::start().await;
    let client = node.client();
    for (name, format) in [("b", "raw"), ("a", "raw"), ("c", "iso"), ("d", "iso")] {
        client
            .created(json!({"name": name, "disk_format": format}))
            .await;
    }
    let by_format_then_name = ["c", "d", "a", "b"];
    assert_eq!(
        names(&client, "sort=disk_format:asc,name:asc").await,
        by_format_then_name
    );
    let repeated = "sort_key=disk_format&sort_key=name&sort_dir=asc";
    assert_eq!(names(&client, repeated).await, by_format_then_name);
    let repeated = "sort_key=disk_format&sort_key=name&sort_dir=asc&sort_dir=desc";
    assert_eq!(names(&client, repeated).await, ["d", "c", "b", "a"]);
}

#[tokio::test]
async fn impossible_sorting_is_400() {
    let node = Node::start().await;
    for query in [
        "sort_key=color",
        "sort_key=owner",
        "sort_dir=up",
        "sort=name:up",
        "sort=color:asc",
        "sort=name:asc:desc",
        "sort=",
        "sort=name&sort_key=size",
        "sort=name&sort_dir=asc",
        "sort_key=name&sort_key=size&sort_dir=asc&sort_dir=asc&sort_dir=asc",
        "sort_key=name&sort_dir=asc&sort_dir=desc",
    ] {
        let answer = node.client().list(query).await;
        assert_eq!(answer.status, 400, "{query}: {}", answer.text());
    }
}

#[tokio::test]
async fn columns_and_properties_filter_by_equality() {
    let node = Node::start().await;
    let client = node.client();
    let id = client
        .created(
            json!({"name": "one", "owner": "x", "min_disk": 5, "min_ram": 7,
                        "color": "red", "disk_format": "iso"}),
        )
        .await;
    let with_data = client
        .active(json!({"name": "two", "color": "blue"}), "data")
        .await;
    let image = client.show(&with_data).await.expect(200);
    let (checksum, hash) = (image.field("checksum"), image.field("os_hash_value"));
    for (query, wanted) in [
        ("name=one".to_owned(), vec!["one"]),
        ("name=ONE".to_owned(), vec![]),
        ("owner=x".to_owned(), vec!["one"]),
        ("min_disk=5".to_owned(), vec!["one"]),
        ("min_ram=7".to_owned(), vec!["one"]),
        ("size=4".to_owned(), vec!["two"]),
        ("status=active".to_owned(), vec!["two"]),
        ("status=queued".to_owned(), vec!["one"]),
        ("disk_format=iso".to_owned(), vec!["one"]),
        ("container_format=bare".to_owned(), vec!["one", "two"]),
        ("color=red".to_owned(), vec!["one"]),
        ("color=blue&status=active".to_owned(), vec!["two"]),
        ("color=blue&status=queued".to_owned(), vec![]),
        ("no_such_property=x".to_owned(), vec![]),
        ("is_public=true".to_owned(), vec![]),
        (format!("checksum={checksum}"), vec!["two"]),
        (format!("os_hash_value={hash}"), vec!["two"]),
        ("os_hash_algo=sha512".to_owned(), vec!["two"]),
        (format!("id={id}"), vec!["one"]),
        ("id=nonsense".to_owned(), vec![]),
        ("deleted=true".to_owned(), vec!["one", "two"]),
    ] {
        assert_eq!(sorted(names(&client, &query).await), wanted, "{query}");
    }
    client
        .list("changes-since=2020-01-01T00:00:00Z")
        .await
        .expect(400);
}

#[tokio::test]
async fn in_and_eq_work_on_text_with_quotes_for_commas() {
    let node = Node::start().await;
    let client = node.client();
    for name in ["a", "b", "c,d", "e:f", "in:g"] {
        client.created(json!({"name": name})).await;
    }
    for (query, wanted) in [
        ("name=in:a,b", vec!["a", "b"]),
        ("name=in:a", vec!["a"]),
        ("name=in:%22c,d%22,a", vec!["a", "c,d"]),
        ("name=eq:e:f", vec!["e:f"]),
        ("name=eq:in:g", vec!["in:g"]),
        (
            "status=in:queued,active",
            vec!["a", "b", "c,d", "e:f", "in:g"],
        ),
        ("disk_format=in:raw,iso&name=a", vec!["a"]),
        ("container_format=in:ovf", vec![]),
    ] {
        assert_eq!(sorted(names(&client, query).await), wanted, "{query}");
    }
    let ids = client.list_all("sort=name:asc").await;
    let two = client
        .list_all(&format!("id=in:{},{}&sort=name:asc", ids[0], ids[1]))
        .await;
    assert_eq!(two, ids[..2]);
    all_refused(
        &client,
        &[
            "name=in:%22a",
            "name=in:a%22b%22",
            "name=neq:a",
            "name=gt:a",
            "status=foo:a",
        ],
    )
    .await;
}

#[tokio::test]
async fn times_compare() {
    let node = Node::start().await;
    let client = node.client();
    let id = client.created(json!({"name": "now"})).await;
    let at = client.show(&id).await.expect(200).field("created_at");
    for (query, found) in [
        (format!("created_at=gte:{at}"), true),
        (format!("created_at=lte:{at}"), true),
        (format!("created_at=eq:{at}"), true),
        (format!("created_at={at}"), true),
        (format!("created_at=gt:{at}"), false),
        (format!("created_at=lt:{at}"), false),
        (format!("created_at=neq:{at}"), false),
        ("created_at=gt:2001-02-03T04:05:06Z".to_owned(), true),
        ("updated_at=lt:2001-02-03T04:05:06Z".to_owned(), false),
        ("updated_at=gt:2001-02-03T04:05:06%2B02:00".to_owned(), true),
    ] {
        let ids = client.list(&query).await.expect(200).ids("images");
        assert_eq!(!ids.is_empty(), found, "{query}");
    }
    all_refused(
        &client,
        &[
            "created_at=gt:yesterday",
            "created_at=in:2001-02-03T04:05:06Z",
            "updated_at=x",
        ],
    )
    .await;
}

#[tokio::test]
async fn ranges_of_numbers() {
    let node = Node::start().await;
    let client = node.client();
    for size in [1, 5, 9] {
        client
            .active(
                json!({"name": format!("{size}"), "min_disk": size}),
                "x".repeat(size),
            )
            .await;
    }
    client
        .created(json!({"name": "empty", "min_disk": 3}))
        .await;
    for (query, wanted) in [
        ("size_min=5", vec!["5", "9"]),
        ("size_max=5", vec!["1", "5"]),
        ("size_min=2&size_max=8", vec!["5"]),
        ("size_min=10", vec![]),
        ("min_disk_max=3", vec!["1", "empty"]),
        ("min_disk_min=3", vec!["5", "9", "empty"]),
    ] {
        assert_eq!(sorted(names(&client, query).await), wanted, "{query}");
    }
    all_refused(
        &client,
        &[
            "size_min=x",
            "size_max=",
            "size_min=-1x",
            "foo_min=3",
            "foo_max=3",
            "name_min=1",
        ],
    )
    .await;
}

#[tokio::test]
async fn every_named_tag_must_be_there() {
    let node = Node::start().await;
    let client = node.client();
    client
        .created(json!({"name": "both", "tags": ["a", "b"]}))
        .await;
    client.created(json!({"name": "a", "tags": ["a"]})).await;
    client.created(json!({"name": "b", "tags": ["b"]})).await;
    assert_eq!(sorted(names(&client, "tag=a").await), ["a", "both"]);
    assert_eq!(names(&client, "tag=a&tag=b").await, ["both"]);
    assert!(names(&client, "tag=a&tag=c").await.is_empty());
}

#[tokio::test]
async fn hidden_images_are_listed_only_on_request() {
    let node = Node::start().await;
    let client = node.client();
    client
        .created(json!({"name": "shown", "protected": true}))
        .await;
    let id = client
        .created(json!({"name": "hidden", "os_hidden": true}))
        .await;
    assert_eq!(names(&client, "").await, ["shown"]);
    assert_eq!(names(&client, "os_hidden=false").await, ["shown"]);
    assert_eq!(names(&client, "os_hidden=true").await, ["hidden"]);
    assert_eq!(names(&client, "os_hidden=TRUE").await, ["hidden"]);
    assert_eq!(names(&client, "protected=true").await, ["shown"]);
    assert!(
        names(&client, "protected=true&os_hidden=true")
            .await
            .is_empty()
    );
    client.show(&id).await.expect(200);
    all_refused(
        &client,
        &[
            "os_hidden=maybe",
            "protected=maybe",
            "protected=TRUE",
            "visibility=x",
        ],
    )
    .await;
}

#[tokio::test]
async fn a_list_moves_with_its_images() {
    let node = Node::start().await;
    let client = node.client();
    let id = client
        .created(json!({"name": "old", "color": "red", "tags": ["a"]}))
        .await;
    client
        .patch(
            &id,
            json!([
                {"op": "replace", "path": "/name", "value": "new"},
                {"op": "replace", "path": "/color", "value": "blue"},
                {"op": "replace", "path": "/tags", "value": ["b"]},
                {"op": "replace", "path": "/min_ram", "value": 9},
            ]),
        )
        .await
        .expect(200);
    for query in ["name=old", "color=red", "tag=a", "min_ram=0"] {
        assert!(
            client
                .list(query)
                .await
                .expect(200)
                .ids("images")
                .is_empty(),
            "{query}"
        );
    }
    for query in [
        "name=new",
        "color=blue",
        "tag=b",
        "min_ram=9",
        "name=new&color=blue&tag=b",
    ] {
        assert_eq!(
            client.list(query).await.expect(200).ids("images"),
            std::slice::from_ref(&id),
            "{query}"
        );
    }
    client.remove(&id).await.expect(204);
    for query in ["name=new", "color=blue", "tag=b", "min_ram=9", ""] {
        assert!(
            client
                .list(query)
                .await
                .expect(200)
                .ids("images")
                .is_empty(),
            "{query}"
        );
    }
}

#[tokio::test]
async fn a_page_is_full_even_when_most_images_are_of_others() {
    let node = Setup::trusted().start().await;
    let alpha = node.client_of(&Persona::member("alpha"));
    let beta = node.client_of(&Persona::member("beta"));
    let mut mine = Vec::new();
    for number in 0..40 {
        beta.created(json!({"name": "theirs", "visibility": "private"}))
            .await;
        if number % 8 == 0 {
            mine.push(alpha.created(json!({"name": "mine"})).await);
        }
    }
    let page = alpha.list("limit=3").await.expect(200);
    assert_eq!(page.ids("images").len(), 3);
    mine.reverse();
    assert_eq!(alpha.list_all("limit=3").await, mine);
}

#[tokio::test]
async fn without_a_role_there_is_no_list() {
    let node = Setup::trusted().start().await;
    node.client_of(&Persona::nobody("alpha"))
        .list("")
        .await
        .expect(403);
    node.client_of(&Persona::reader("alpha"))
        .list("")
        .await
        .expect(200);
}

#[tokio::test]
async fn a_null_is_shown_as_null_and_never_matches() {
    let node = Node::start().await;
    let client = node.client();
    client.create(json!({})).await.expect(201);
    let list = client.list("").await.expect(200).json();
    assert_eq!(list["images"][0]["name"], Value::Null);
    for query in ["name=", "name=null", "name=None", "size_min=0", "checksum="] {
        assert!(
            client
                .list(query)
                .await
                .expect(200)
                .ids("images")
                .is_empty(),
            "{query}"
        );
    }
}

#[tokio::test]
async fn a_list_ends_where_the_policy_hides_a_whole_page() {
    let node = Setup::trusted().start().await;
    let member = node.client_of(&Persona::member("alpha"));
    let shown = member.created(json!({})).await;
    let admin = node.client_of(&Persona::admin());
    // Without an owner: found by everybody, seen by admins.
    let hidden = [(); 2].map(|()| json!({"owner": null, "visibility": "private"}));
    for body in hidden {
        admin.create(body).await.expect(201);
    }
    let page = member.list("limit=2").await.expect(200).json();
    assert_eq!(page["images"], json!([]));
    assert!(page.get("next").is_none(), "{page}");
    assert_eq!(member.list_all("limit=3").await, [shown]);
    assert_eq!(admin.list_all("limit=2").await.len(), 3);
}

#[tokio::test]
async fn the_number_of_filters_has_a_bound() {
    let node = Node::start().await;
    let client = node.client();
    let id = client
        .create(json!({"p1": "x"}))
        .await
        .expect(201)
        .field("id");
    let filters = |count: usize| {
        let pairs: Vec<_> = (0..count).map(|at| format!("p{at}=x")).collect();
        pairs.join("&")
    };
    assert!(client.list_all(&filters(300)).await.is_empty());
    let refused = client.list(&filters(301)).await.expect(400);
    assert!(refused.text().contains("filters"), "{}", refused.text());
    assert_eq!(client.list_all("p1=x").await, [id]);
}
