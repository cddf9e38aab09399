//! Tasks: listed, shown, cancelled, expired (image-api 1.7).

use glimpse_tests::{Page, Persona, Setup, Web, eventually, random_bytes};
use serde_json::{Value, json};

const MIB: usize = 1 << 20;

fn direct() -> Value {
    json!({"method": {"name": "glance-direct"}})
}

#[tokio::test]
async fn a_task_is_listed_shown_and_found_at_its_image() {
    let node = Setup::trusted().start().await;
    let owner = node.client_of(&Persona::member("alpha"));
    let admin = node.client_of(&Persona::admin());
    let mut ids = Vec::new();
    for _ in 0..3 {
        let id = owner.created(json!({})).await;
        owner.stage(&id, "data").await.expect(204);
        let asked = owner.with("x-openstack-request-id", "req-mine");
        asked.import(&id, direct()).await.expect(202);
        owner.task_ends(&id).await;
        ids.push(id);
    }
    let row = owner.tasks_of(&ids[0]).await.remove(0);
    assert_eq!(row["type"], "api_image_import");
    assert_eq!(
        (&row["owner"], &row["deleted"]),
        (&json!("alpha"), &json!(false))
    );
    assert_eq!(row["request_id"], "req-mine");
    assert_eq!(row["input"]["import_req"], direct());
    assert_eq!(row["input"]["backend"], json!(["local"]));
    assert_eq!(row["result"], json!({"image_id": ids[0]}));
    let created = row["created_at"].as_str().unwrap();
    assert_eq!(
        created.len(),
        "2026-01-31T23:59:59.123456".len(),
        "{created}"
    );

    let path = format!("/v2/tasks/{}", row["id"].as_str().unwrap());
    let task = admin.get(&path).await.expect(200).json();
    assert_eq!(
        (&task["status"], &task["image_id"]),
        (&json!("success"), &json!(ids[0]))
    );
    assert_eq!(
        (&task["self"], &task["schema"]),
        (&json!(path), &json!("/v2/schemas/task"))
    );
    assert!(task["expires_at"].as_str().unwrap().ends_with('Z'));
    owner.get(&path).await.expect(403);

    let list = admin.get("/v2/tasks").await.expect(200).json();
    let of = |list: &Value| -> Vec<String> {
        let tasks = list["tasks"].as_array().unwrap();
        tasks
            .iter()
            .map(|task| task["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let all = of(&list);
    assert_eq!(all.len(), 3);
    assert_eq!(Some(&all[2].as_str()), row["id"].as_str().as_ref());
    for hidden in ["input", "result", "message"] {
        assert!(list["tasks"][0].get(hidden).is_none(), "{hidden}");
    }
    let page = admin
        .get("/v2/tasks?limit=2&status=success")
        .await
        .expect(200)
        .json();
    assert_eq!(of(&page), all[..2]);
    let next = page["next"].as_str().unwrap();
    assert_eq!(of(&admin.get(next).await.expect(200).json()), all[2..]);
    for (query, count) in [
        ("status=failure", 0),
        ("type=import", 0),
        ("owner=alpha", 3),
        ("owner=beta", 0),
        ("sort_dir=asc", 3),
        ("limit=0", 0),
    ] {
        let list = admin
            .get(&format!("/v2/tasks?{query}"))
            .await
            .expect(200)
            .json();
        assert_eq!(of(&list).len(), count, "{query}");
    }
    for query in ["marker=x", "marker=11111111-2222-3333-4444-555555555555"] {
        admin.get(&format!("/v2/tasks?{query}")).await.expect(400);
    }
}

#[tokio::test]
async fn a_task_that_waits_or_runs_is_cancelled_and_undone() {
    // One at a time, so that the last one waits.
    let node = Setup::trusted()
        .more_stores("b")
        .set("import.concurrent_jobs", 1)
        .start()
        .await;
    let owner = node.client_of(&Persona::member("alpha"));
    let mut tasks = Vec::new();
    for seed in 0..4 {
        let id = owner.created(json!({})).await;
        owner
            .stage(&id, random_bytes(24 * MIB, seed))
            .await
            .expect(204);
        let mut body = direct();
        body["all_stores"] = json!(true);
        owner.import(&id, body).await.expect(202);
        let task = owner.tasks_of(&id).await.remove(0);
        tasks.push((
            id,
            format!("/v2/tasks/{}/actions/cancel", task["id"].as_str().unwrap()),
        ));
    }
    let (last, cancel) = tasks.pop().unwrap();
    let stranger = node.client_of(&Persona::member("beta"));
    stranger.call("POST", &cancel).send().await.expect(404);
    let reader = node.client_of(&Persona::reader("alpha"));
    reader.call("POST", &cancel).send().await.expect(403);
    owner.call("POST", &cancel).send().await.expect(204);
    for (_, cancel) in &tasks {
        // Those that are done already are conflicts.
        let answer = owner.call("POST", cancel).send().await;
        assert!(matches!(answer.status, 204 | 409), "{}", answer.status);
    }
    let ended = owner.task_ends(&last).await;
    assert_eq!(ended["status"], "failure");
    assert_eq!(ended["message"], "The task was cancelled.");
    owner.call("POST", &cancel).send().await.expect(409);
    for (id, _) in tasks.iter().chain([&(last, cancel)]) {
        let task = owner.task_ends(id).await;
        let image = owner.show(id).await.expect(200).json();
        let status = match task["status"] == "success" {
            true => "active",
            false => "queued",
        };
        assert_eq!(image["status"], status);
        if status == "queued" {
            owner.remove(id).await.expect(204);
        }
    }
    eventually("only data of active images", async || {
        let active = owner.list("status=active").await.expect(200).ids("images");
        let local = node.stored_files().len() == active.len();
        (local && node.files_of("b").len() == active.len() && node.staged_files().is_empty())
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn ended_tasks_expire() {
    let node = Setup::new()
        .set("import.task_time_to_live", "1s")
        .start()
        .await;
    let client = node.client();
    let id = client.created(json!({})).await;
    client.stage(&id, "data").await.expect(204);
    client.import(&id, direct()).await.expect(202);
    client.reaches(&id, "active").await;
    eventually("an expired task", async || {
        client.tasks_of(&id).await.is_empty().then_some(())
    })
    .await;
    assert_eq!(client.show(&id).await.field("status"), "active");
}

#[tokio::test]
async fn a_task_of_type_import_makes_an_image_and_fetches_it_within_the_filter() {
    let open = Setup::trusted()
        .set(
            "import.uri_filter.allowed_hosts",
            vec!["127.0.0.1".to_owned()],
        )
        .set("import.uri_filter.allowed_ports", Vec::<i64>::new());
    let node = open.start().await;
    let admin = node.client_of(&Persona::admin());
    let data = random_bytes(MIB, 1);
    let web = Web::serve(Page::new(data.clone())).await;
    let body = |uri: &str, properties: Value| {
        json!({"type": "import", "input": {
            "import_from": uri, "import_from_format": "raw", "image_properties": properties,
        }})
    };
    let made = admin
        .post("/v2/tasks", body(&web.url(), json!({"name": "fetched"})))
        .await
        .expect(201);
    let task = made.json();
    let path = format!("/v2/tasks/{}", task["id"].as_str().unwrap());
    assert_eq!(
        made.header("location"),
        Some(format!("http://{}{path}", node.address()).as_str())
    );
    assert_eq!(
        (&task["type"], &task["input"]["import_from"]),
        (&json!("import"), &json!(web.url()))
    );
    let id = task["image_id"].as_str().unwrap();
    admin.reaches(id, "active").await;
    let image = admin.show(id).await.expect(200).json();
    assert_eq!(
        (&image["name"], &image["disk_format"]),
        (&json!("fetched"), &json!("raw"))
    );
    assert_eq!(admin.download(id).await.expect(200).body, data);
    eventually("success", async || {
        let task = admin.get(&path).await.expect(200).json();
        (task["result"] == json!({"image_id": id})).then_some(())
    })
    .await;
    let list = admin.get("/v2/tasks?type=import").await.expect(200);
    assert_eq!(list.ids("tasks").len(), 1);
    let asked = web.asked();
    for bad in [
        body("http://169.254.169.254/latest", json!({})),
        body("ftp://127.0.0.1/x", json!({})),
        body(&web.url(), json!({"size": 7})),
        body(&web.url(), json!({"disk_format": "floppy"})),
        body(&web.url(), json!([])),
        json!({"type": "import", "input": {"import_from": web.url()}}),
        json!({"type": "import", "input": 7}),
        json!({"type": "location_import", "input": {}}),
        json!({"type": 7, "input": {}}),
    ] {
        let answer = admin.post("/v2/tasks", bad.clone()).await;
        assert!(
            matches!(answer.status, 400 | 403),
            "{bad}: {}",
            answer.text()
        );
    }
    assert_eq!(web.asked(), asked);
    assert_eq!(admin.list_all("limit=100").await.len(), 1);
    let owner = node.client_of(&Persona::member("alpha"));
    owner
        .post("/v2/tasks", body(&web.url(), json!({})))
        .await
        .expect(403);
}
