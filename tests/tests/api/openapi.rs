//! The description of the API: there for everyone, and of what the node was configured to offer.

use glimpse_tests::Setup;
use serde_json::Value;

#[tokio::test]
async fn the_description_needs_no_identity_and_is_of_what_is_offered() {
    for legacy in [false, true] {
        let node = Setup::trusted()
            .set("cache.legacy_api", legacy)
            .start()
            .await;
        let client = node.client();
        let document = client.get("/openapi.json").await.expect(200).json();
        assert_eq!(document["openapi"], "3.1.0");
        let paths = document["paths"].as_object().unwrap();
        assert_eq!(paths.contains_key("/v2/cached_images"), legacy);
        assert_eq!(paths["/v2/images"]["post"]["x-policy-rule"], "add_image");
        for method in ["POST", "PUT", "DELETE", "HEAD"] {
            let answer = client.call(method, "/openapi.json").send().await;
            assert_eq!(answer.expect(405).header("allow"), Some("GET"));
        }
    }
}

#[tokio::test]
async fn its_schema_of_an_image_is_the_one_that_clients_read() {
    let node = Setup::new().start().await;
    let client = node.client();
    let document = client.get("/openapi.json").await.expect(200).json();
    let shown = client.get("/v2/schemas/image").await.expect(200).json();
    let described: &Value = &document["components"]["schemas"]["image"];
    assert_eq!(described["properties"], shown["properties"]);
}
