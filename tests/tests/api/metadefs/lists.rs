//! Lists: filters, order, pages and links.

use serde_json::json;

use super::{NAMESPACES, cast, create, names, of};

#[tokio::test]
async fn namespaces_are_listed_newest_first_with_their_associations() {
    let cast = cast().await;
    let empty = cast.admin.get(NAMESPACES).await.expect(200).json();
    let expected = json!({
        "namespaces": [],
        "first": "/v2/metadefs/namespaces",
        "schema": "/v2/schemas/metadefs/namespaces",
    });
    assert_eq!(empty, expected);
    for name in ["b", "c", "a"] {
        let body = json!({"namespace": name, "resource_type_associations": [{"name": name}], "tags": [{"name": "t"}]});
        create(&cast.admin, body).await.expect(201);
    }
    let list = cast.admin.get(NAMESPACES).await.expect(200);
    assert_eq!(names(&list, "namespaces", "namespace"), ["a", "c", "b"]);
    let first = &list.json()["namespaces"][0];
    assert_eq!(first["resource_type_associations"][0]["name"], "a");
    assert_eq!(first["tags"], json!(null));
    assert_eq!(first["self"], "/v2/metadefs/namespaces/a");
}

#[tokio::test]
async fn pages_follow_each_other_by_the_name_of_the_last() {
    let cast = cast().await;
    for name in ["b", "d é", "a", "c"] {
        create(&cast.admin, json!({"namespace": name}))
            .await
            .expect(201);
    }
    let mut path = format!("{NAMESPACES}?limit=3&sort_key=namespace&sort_dir=asc");
    let mut seen = Vec::new();
    let first = path.clone();
    let mut pages = 0;
    loop {
        let page = cast.admin.get(&path).await.expect(200);
        assert_eq!(page.json()["first"], first);
        seen.extend(names(&page, "namespaces", "namespace"));
        pages += 1;
        match page.json().get("next") {
            Some(next) => path = next.as_str().unwrap().to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, ["a", "b", "c", "d é"]);
    assert_eq!(pages, 2);
    let last = cast
        .admin
        .get(&format!("{NAMESPACES}?limit=1&sort_key=namespace"))
        .await
        .expect(200);
    let next = last.field("next");
    assert_eq!(
        next,
        format!("{NAMESPACES}?limit=1&sort_key=namespace&marker=d+%C3%A9")
    );
    let next = cast.admin.get(&next).await.expect(200);
    assert_eq!(names(&next, "namespaces", "namespace"), ["c"]);
    let none = cast
        .admin
        .get(&format!("{NAMESPACES}?limit=0"))
        .await
        .expect(200)
        .json();
    assert_eq!(none["namespaces"], json!([]));
    assert_eq!(none.get("next"), None);
}

#[tokio::test]
async fn a_page_is_no_longer_than_the_configured_limits() {
    let setup = glimpse_tests::Setup::trusted()
        .set("limits.api_limit_max", 2)
        .set("limits.limit_param_default", 1);
    let cast = super::cast_of(setup).await;
    for name in ["a", "b", "c"] {
        create(&cast.admin, json!({"namespace": name}))
            .await
            .expect(201);
    }
    for (query, count) in [("", 1), ("?limit=3", 2), ("?limit=2", 2)] {
        let page = cast
            .admin
            .get(&format!("{NAMESPACES}{query}"))
            .await
            .expect(200);
        assert_eq!(
            names(&page, "namespaces", "namespace").len(),
            count,
            "{query}"
        );
        assert!(page.json().get("next").is_some(), "{query}");
    }
}

#[tokio::test]
async fn namespaces_are_filtered_by_visibility_and_resource_types() {
    let cast = cast().await;
    for (name, visibility, types) in [
        ("a", "public", vec!["X"]),
        ("b", "private", vec!["X", "Y"]),
        ("c", "public", vec!["Y"]),
        ("d", "public", vec![]),
    ] {
        let types: serde_json::Value = types.iter().map(|name| json!({"name": name})).collect();
        let body = json!({"namespace": name, "visibility": visibility, "resource_type_associations": types});
        create(&cast.admin, body).await.expect(201);
    }
    let list = async |client: &glimpse_tests::Client, query: &str| {
        let path = format!("{NAMESPACES}?sort_key=namespace&sort_dir=asc&{query}");
        let page = client.get(&path).await.expect(200);
        names(&page, "namespaces", "namespace").concat()
    };
    for (query, admin, other) in [
        ("visibility=public", "acd", "acd"),
        ("visibility=private", "b", ""),
        ("visibility=", "", ""),
        ("resource_types=X", "ab", "a"),
        ("resource_types=X,Y,Z", "abc", "ac"),
        ("resource_types=Z", "", ""),
        ("resource_types=", "", ""),
        ("resource_types=Y&visibility=public", "c", "c"),
        ("unknown=x", "abcd", "acd"),
    ] {
        assert_eq!(list(&cast.admin, query).await, admin, "{query}");
        assert_eq!(list(&cast.other, query).await, other, "{query}");
    }
}

#[tokio::test]
async fn every_sort_key_orders_in_both_directions() {
    let cast = cast().await;
    for (name, display, protected) in [("a", Some("z"), true), ("b", None, false)] {
        let mut body = json!({"namespace": name, "protected": protected, "description": name,
            "owner": name, "visibility": if protected { "public" } else { "private" }});
        if let Some(display) = display {
            body["display_name"] = json!(display);
        }
        create(&cast.admin, body).await.expect(201);
    }
    for (key, ascending) in [
        ("namespace", "ab"),
        ("display_name", "ba"),
        ("description", "ab"),
        ("owner", "ab"),
        ("visibility", "ba"),
        ("protected", "ba"),
        ("created_at", "ab"),
        ("updated_at", "ab"),
        ("id", "ab"),
    ] {
        for (direction, expected) in [
            ("asc", ascending.to_owned()),
            ("desc", ascending.chars().rev().collect()),
        ] {
            let path = format!("{NAMESPACES}?sort_key={key}&sort_dir={direction}");
            let page = cast.admin.get(&path).await.expect(200);
            let shown = names(&page, "namespaces", "namespace").concat();
            assert_eq!(shown, expected, "{key} {direction}");
        }
    }
}

#[tokio::test]
async fn queries_that_make_no_sense_are_refused() {
    let cast = cast().await;
    create(
        &cast.admin,
        json!({"namespace": "n", "tags": [{"name": "t"}]}),
    )
    .await
    .expect(201);
    for query in [
        "limit=abc",
        "limit=-1",
        "limit=",
        "sort_key=bogus",
        "sort_key=",
        "sort_dir=up",
        "visibility=shared",
    ] {
        let answer = cast.admin.get(&format!("{NAMESPACES}?{query}")).await;
        assert_eq!(answer.status, 400, "{query}: {}", answer.text());
    }
    for query in [
        "limit=x",
        "limit=-1",
        "sort_key=bogus",
        "sort_dir=up",
        "visibility=x",
    ] {
        cast.admin
            .get(&of("n", &format!("/tags?{query}")))
            .await
            .expect(400);
    }
    for query in ["limit=0", "limit=x", "sort_dir=up", "visibility=x"] {
        cast.admin
            .get(&of("n", &format!("/objects?{query}")))
            .await
            .expect(400);
    }
    cast.admin
        .get(&format!("{NAMESPACES}?marker=none"))
        .await
        .expect(404);
    cast.admin
        .get(&of("n", "/tags?marker=none"))
        .await
        .expect(404);
    // One that the caller may not see says nothing of itself.
    cast.other
        .get(&format!("{NAMESPACES}?marker=n"))
        .await
        .expect(404);
}

#[tokio::test]
async fn tags_are_listed_in_pages_and_orders() {
    let cast = cast().await;
    let tags = json!([{"name": "b"}, {"name": "c"}, {"name": "a"}]);
    create(&cast.admin, json!({"namespace": "n", "tags": tags}))
        .await
        .expect(201);
    for (query, expected) in [
        ("", "acb"),
        ("?limit=2", "ac"),
        ("?limit=0", ""),
        ("?marker=c", "b"),
        ("?sort_key=name&sort_dir=asc", "abc"),
        ("?sort_key=name&sort_dir=asc&marker=a&limit=1", "b"),
        ("?sort_key=created_at&sort_dir=asc", "bca"),
        ("?sort_key=id", "acb"),
        ("?visibility=shared", "acb"),
    ] {
        let page = cast
            .admin
            .get(&of("n", &format!("/tags{query}")))
            .await
            .expect(200);
        assert_eq!(names(&page, "tags", "name").concat(), expected, "{query}");
    }
}
