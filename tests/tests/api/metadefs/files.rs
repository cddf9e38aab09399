//! `glimpse metadefs load` and `export`.

use std::{fs, path::Path};

use glimpse_tests::{Client, Node, Output, glimpse};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{NAMESPACES, create, names, of, timeless};

struct Desk {
    node: Node,
    admin: Client,
    folder: TempDir,
}

async fn desk() -> Desk {
    let node = Node::start().await;
    Desk {
        admin: node.client(),
        node,
        folder: tempfile::tempdir().unwrap(),
    }
}

impl Desk {
    fn write(&self, name: &str, body: &Value) {
        fs::write(self.folder.path().join(name), body.to_string()).unwrap();
    }

    async fn run(&self, words: &[&str]) -> Output {
        let endpoint = format!("http://{}", self.node.address());
        let words = [&["metadefs"][..], words, &["--endpoint", &endpoint]].concat();
        glimpse(self.folder.path(), &words, &[]).await
    }

    /// Loads `words` and gives what became of each namespace.
    async fn load(&self, words: &[&str]) -> Vec<(String, String)> {
        let output = self
            .run(&[&["load", "-o", "json"][..], words].concat())
            .await;
        let lines: Value = serde_json::from_str(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}{}", output.stdout, output.stderr));
        let text = |line: &Value, key: &str| line[key].as_str().unwrap().to_owned();
        let lines = lines.as_array().unwrap().iter();
        let lines: Vec<_> = lines
            .map(|line| (text(line, "namespace"), text(line, "result")))
            .collect();
        let failed = lines.iter().any(|(_, result)| result == "failed");
        assert_eq!(output.code, Some(i32::from(failed)), "{lines:?}");
        lines
    }

    async fn show(&self, name: &str) -> Value {
        timeless(self.admin.get(&of(name, "")).await.expect(200).json())
    }
}

fn of_namespace(name: &str, result: &str) -> Vec<(String, String)> {
    vec![(name.to_owned(), result.to_owned())]
}

/// A file as the reference ships them.
fn file() -> Value {
    json!({
        "namespace": "OS::Test::Quota",
        "display_name": "Quota",
        "description": "What a thing may take",
        "visibility": "public",
        "protected": true,
        "resource_type_associations": [
            {"name": "OS::Nova::Flavor"},
            {"name": "OS::Glance::Image", "prefix": "hw_", "properties_target": "image"},
        ],
        "properties": {"cores": {"title": "Cores", "type": "integer", "minimum": 1, "default": 2}},
        "objects": [{
            "name": "Disk",
            "description": "Of the disk",
            "properties": {
                "rate": {"title": "Rate", "type": "string", "operators": ["<or>"], "enum": ["a", "b"]},
            },
        }],
        "tags": [{"name": "one"}, {"name": "two"}],
    })
}

#[tokio::test]
async fn a_directory_of_files_becomes_namespaces_once() {
    let desk = desk().await;
    desk.write("a.json", &file());
    desk.write("b.json", &json!({"namespace": "b", "owner": "beta"}));
    desk.write("c.txt", &json!({"namespace": "c"}));
    let all = |result: &str| {
        let one = of_namespace("OS::Test::Quota", result);
        [one, of_namespace("b", result)].concat()
    };
    assert_eq!(desk.load(&["."]).await, all("created"));
    let shown = desk.show("OS::Test::Quota").await;
    assert_eq!(shown["properties"], file()["properties"]);
    assert_eq!(shown["protected"], true);
    assert_eq!(
        shown["resource_type_associations"],
        file()["resource_type_associations"]
    );
    assert_eq!(
        shown["objects"][0]["properties"],
        file()["objects"][0]["properties"]
    );
    assert_eq!(desk.show("b").await["owner"], "beta");
    assert_eq!(desk.load(&["."]).await, all("skipped"));
    assert_eq!(desk.show("OS::Test::Quota").await, shown);
    let list = desk.admin.get(NAMESPACES).await.expect(200);
    assert_eq!(names(&list, "namespaces", "namespace").len(), 2);
}

#[tokio::test]
async fn merging_adds_what_is_missing_and_prefers_the_new_where_it_is_told_to() {
    let desk = desk().await;
    let name = "OS::Test::Quota";
    let known = json!({
        "namespace": name,
        "display_name": "Mine",
        "protected": true,
        "owner": "beta",
        "resource_type_associations": [{"name": "OS::Glance::Image", "prefix": "mine_"}],
        "properties": {
            "cores": {"title": "Mine", "type": "integer"},
            "other": {"title": "Mine", "type": "string"},
        },
        "objects": [{"name": "Disk", "description": "Mine"}],
        "tags": [{"name": "two"}, {"name": "three"}],
    });
    create(&desk.admin, known).await.expect(201);
    desk.write("a.json", &file());
    assert_eq!(
        desk.load(&["a.json", "--merge"]).await,
        of_namespace(name, "merged")
    );
    let shown = desk.show(name).await;
    assert_eq!(shown["display_name"], "Mine");
    assert_eq!(shown["properties"]["cores"]["title"], "Mine");
    assert_eq!(shown["objects"][0]["description"], "Mine");
    assert_eq!(shown["resource_type_associations"][0]["prefix"], "mine_");
    assert_eq!(
        shown["resource_type_associations"][1]["name"],
        "OS::Nova::Flavor"
    );
    assert_eq!(shown["tags"].as_array().unwrap().len(), 3);

    let words = ["a.json", "--merge", "--prefer-new"];
    assert_eq!(desk.load(&words).await, of_namespace(name, "merged"));
    let shown = desk.show(name).await;
    assert_eq!(shown["display_name"], "Quota");
    assert_eq!(shown["owner"], "beta");
    assert_eq!(shown["protected"], true);
    assert_eq!(shown["properties"]["cores"]["title"], "Cores");
    assert_eq!(shown["properties"]["other"]["title"], "Mine");
    assert_eq!(shown["objects"][0]["description"], "Of the disk");
    assert_eq!(shown["tags"].as_array().unwrap().len(), 3);
    let associations = shown["resource_type_associations"].as_array().unwrap();
    assert!(associations.contains(&file()["resource_type_associations"][1]));
}

#[tokio::test]
async fn overwriting_replaces_a_namespace_and_loses_nothing_where_it_fails() {
    let desk = desk().await;
    let name = "OS::Test::Quota";
    let known =
        json!({"namespace": name, "protected": true, "owner": "beta", "tags": [{"name": "mine"}]});
    create(&desk.admin, known).await.expect(201);
    let before = desk.show(name).await;
    let mut bad = file();
    bad["objects"] = json!([{"name": "o", "bogus": 1}]);
    desk.write("a.json", &bad);
    let words = ["a.json", "--overwrite"];
    assert_eq!(desk.load(&words).await, of_namespace(name, "failed"));
    assert_eq!(desk.show(name).await, before);
    desk.write("a.json", &file());
    assert_eq!(desk.load(&words).await, of_namespace(name, "replaced"));
    let shown = desk.show(name).await;
    assert_eq!(shown["tags"], json!([{"name": "two"}, {"name": "one"}]));
    assert_eq!(shown["protected"], true);
    assert_eq!(shown["owner"], "beta");
    let list = desk.admin.get(NAMESPACES).await.expect(200);
    assert_eq!(names(&list, "namespaces", "namespace"), [name]);
}

#[tokio::test]
async fn what_was_exported_is_loaded_again_as_it_was() {
    let desk = desk().await;
    create(&desk.admin, file()).await.expect(201);
    create(
        &desk.admin,
        json!({"namespace": "sp ace é", "owner": "beta"}),
    )
    .await
    .expect(201);
    let before = [
        desk.show("OS::Test::Quota").await,
        desk.show("sp%20ace%20%C3%A9").await,
    ];
    let folder = desk.folder.path().join("out");
    fs::create_dir(&folder).unwrap();
    let output = desk.run(&["export", "--path", "out"]).await;
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    assert!(
        output.stdout.contains("written   OS::Test::Quota"),
        "{}",
        output.stdout
    );
    let exported: Value =
        serde_json::from_slice(&fs::read(folder.join("OS__Test__Quota.json")).unwrap()).unwrap();
    for (key, value) in file().as_object().unwrap() {
        // Lists that an object did not have are written as empty ones.
        if key != "objects" {
            assert_eq!(exported[key], *value, "{key}");
        }
    }
    assert_eq!(exported.get("self"), None);
    let other = desk_with(&folder).await;
    other.load(&["out"]).await;
    let after = [
        other.show("OS::Test::Quota").await,
        other.show("sp%20ace%20%C3%A9").await,
    ];
    assert_eq!(after, before);
}

/// Another node, with a copy of a folder.
async fn desk_with(folder: &Path) -> Desk {
    let desk = desk().await;
    let copy = desk.folder.path().join("out");
    fs::create_dir(&copy).unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    desk
}

#[tokio::test]
async fn what_cannot_be_loaded_is_said_and_keeps_no_other_waiting() {
    let desk = desk().await;
    fs::write(desk.folder.path().join("a.json"), "{").unwrap();
    desk.write("b.json", &json!({"display_name": "without a name"}));
    desk.write("c.json", &json!({"namespace": "c", "bogus": 1}));
    desk.write("d.json", &json!({"namespace": "d"}));
    let results: Vec<_> = desk
        .load(&["."])
        .await
        .into_iter()
        .map(|(_, r)| r)
        .collect();
    assert_eq!(results, ["failed", "failed", "failed", "created"]);
    let output = desk.run(&["load", "c.json"]).await;
    assert!(
        output.stdout.contains("'bogus' was unexpected"),
        "{}",
        output.stdout
    );
    for (words, code) in [
        (&["load", "absent"][..], 1),
        (&["load"], 2),
        (&["load", "d.json", "--prefer-new"], 2),
        (&["load", "d.json", "--merge", "--overwrite"], 2),
        (&["export", "--path", "absent"], 1),
    ] {
        let output = desk.run(words).await;
        assert_eq!(output.code, Some(code), "{words:?}: {}", output.stderr);
    }
    let nobody = [
        "metadefs",
        "load",
        "d.json",
        "--endpoint",
        "http://127.0.0.1:1",
    ];
    let output = glimpse(desk.folder.path(), &nobody, &[]).await;
    assert_eq!(output.code, Some(1));
    assert!(output.stdout.contains("failed"), "{}", output.stdout);
}

/// The files of an installation of the reference, in the directory that `GLIMPSE_METADEFS` names.
#[tokio::test]
#[ignore = "needs the files of the reference: GLIMPSE_METADEFS=.../etc/glance/metadefs"]
async fn the_files_of_the_reference_are_loaded() {
    let path = std::env::var("GLIMPSE_METADEFS").expect("GLIMPSE_METADEFS");
    let desk = desk().await;
    let lines = desk.load(&[&path]).await;
    assert!(lines.len() > 20, "{lines:?}");
    for (namespace, result) in lines {
        assert_eq!(result, "created", "{namespace}");
    }
}
