//! The body of `POST /v2/images` as attributes (image-api 1.4, 2.1).

use glimpse_registry::image::{Attributes, ImageId, Visibility};
use serde_json::{Map, Value};

use crate::{
    api::attribute::{self, Invalid},
    config::{ImageFormatConfig, Limits},
};

/// What a client asks to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NewImage {
    /// The id it chose.
    pub(super) id: Option<ImageId>,
    /// Whether it named a visibility; the default one needs no right of its own.
    pub(super) visibility: Option<Visibility>,
    /// All attributes, defaults included.
    pub(super) attributes: Attributes,
}

/// Reads the body. Names that are the service's own win over values out of schema, as 403 over 400.
pub(super) fn parse(
    body: &Map<String, Value>,
    project: Option<&str>,
    formats: &ImageFormatConfig,
    limits: &Limits,
) -> Result<NewImage, Invalid> {
    for name in body.keys().filter(|name| *name != "id") {
        if let Err(refusal @ (Invalid::ReadOnly(_) | Invalid::Reserved(_))) = attribute::kind(name)
        {
            return Err(refusal);
        }
    }
    let mut required = formats.properties.required().iter();
    if let Some(name) = required.find(|name| !body.contains_key(*name)) {
        return Err(Invalid::schema(name, "is required"));
    }
    let mut attributes = Attributes {
        owner: project.map(str::to_owned),
        ..attribute::defaults()
    };
    let mut id = None;
    for (name, value) in body {
        if name == "id" {
            id = Some(attribute::image_id(value)?);
        } else {
            attribute::set(&mut attributes, name, value, formats)?;
        }
    }
    attribute::check_quotas(None, &attributes, limits)?;
    let visibility = body
        .contains_key("visibility")
        .then_some(attributes.visibility);
    Ok(NewImage {
        id,
        visibility,
        attributes,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::api::{error::ApiError, properties::Properties};

    fn formats() -> ImageFormatConfig {
        ImageFormatConfig {
            disk_formats: vec!["raw".into(), "qcow2".into()],
            container_formats: vec!["bare".into()],
            ..ImageFormatConfig::default()
        }
    }

    fn create(body: &Value) -> Result<NewImage, u16> {
        let limits = Limits {
            image_property_quota: Some(2),
            image_tag_quota: Some(2),
            image_property_bytes: 600,
            image_properties_bytes: 1000,
            ..Limits::default()
        };
        parse(body.as_object().unwrap(), Some("p"), &formats(), &limits)
            .map_err(|invalid| ApiError::from(invalid).status.as_u16())
    }

    #[test]
    fn an_empty_object_makes_a_shared_image_of_the_callers_project() {
        let image = create(&json!({})).unwrap();
        assert_eq!(image.id, None);
        assert_eq!(image.visibility, None);
        assert_eq!(image.attributes.visibility, Visibility::Shared);
        assert_eq!(image.attributes.owner.as_deref(), Some("p"));
        assert_eq!(image.attributes.name, None);
    }

    #[test]
    fn every_attribute_is_taken() {
        let image = create(&json!({
            "id": "71C675AB-D94F-49CD-A114-E12490B328D9",
            "name": "n", "visibility": "private", "protected": true, "os_hidden": true,
            "owner": "q", "disk_format": "raw", "container_format": "bare",
            "min_disk": 1, "min_ram": 2_147_483_647, "tags": ["b", "a", "b"],
            "os_distro": "debian", "kernel_id": null,
        }))
        .unwrap();
        assert_eq!(
            image.id.unwrap().to_string(),
            "71c675ab-d94f-49cd-a114-e12490b328d9"
        );
        let attributes = image.attributes;
        assert_eq!(image.visibility, Some(Visibility::Private));
        assert!(attributes.protected && attributes.os_hidden);
        assert_eq!(attributes.owner.as_deref(), Some("q"));
        assert_eq!(attributes.min_ram, i32::MAX as u32);
        assert_eq!(attributes.tags.len(), 2);
        assert_eq!(attributes.properties["kernel_id"], None);
        assert_eq!(
            attributes.properties["os_distro"].as_deref(),
            Some("debian")
        );
    }

    #[test]
    fn an_owner_of_null_is_no_owner() {
        assert_eq!(
            create(&json!({"owner": null})).unwrap().attributes.owner,
            None
        );
    }

    #[test]
    fn refusals_are_of_their_class() {
        let long = "x".repeat(256);
        for (body, status) in [
            (json!({"id": "x"}), 400),
            (json!({"id": null}), 400),
            (json!({"id": "71c675abd94f49cda114e12490b328d9"}), 400),
            (json!({"name": 1}), 400),
            (json!({"name": long}), 400),
            (json!({"name": "\u{1F600}"}), 400),
            (json!({"tags": ["\u{1F600}"]}), 400),
            (json!({"p": "\u{1F600}"}), 400),
            (json!({"\u{1F600}": "p"}), 400),
            (json!({"owner": "\u{1F600}"}), 400),
            (json!({"visibility": "secret"}), 400),
            (json!({"visibility": null}), 400),
            (json!({"protected": "true"}), 400),
            (json!({"os_hidden": 1}), 400),
            (json!({"disk_format": "floppy"}), 400),
            (json!({"container_format": 7}), 400),
            (json!({"min_disk": -1}), 400),
            (json!({"min_disk": 2_147_483_648_u64}), 400),
            (json!({"min_ram": 1.5}), 400),
            (json!({"min_ram": "1"}), 400),
            (json!({"min_ram": null}), 400),
            (json!({"tags": "a"}), 400),
            (json!({"tags": [1]}), 400),
            (json!({"tags": [long]}), 400),
            (json!({"p": 1}), 400),
            (json!({"p": true}), 400),
            (json!({"p": null}), 400),
            (json!({"p": {}}), 400),
            (json!({"kernel_id": "k"}), 400),
            (json!({"cinder_encryption_key_deletion_policy": "k"}), 400),
            (json!({"": "x"}), 400),
            (json!({long.clone(): "x"}), 400),
            (json!({"status": "active"}), 403),
            (json!({"size": 1}), 403),
            (json!({"checksum": "x"}), 403),
            (json!({"os_hash_algo": "sha512"}), 403),
            (json!({"stores": "local"}), 403),
            (json!({"direct_url": "x"}), 403),
            (json!({"self": "x"}), 403),
            (json!({"deleted": "x"}), 403),
            (json!({"location": "x"}), 403),
            (json!({"os_glance_import_task": "x"}), 403),
            (json!({"os_glancex": "x"}), 403),
            (json!({"name": 1, "status": "active"}), 403),
            (json!({"a": "1", "b": "2", "c": "3"}), 413),
            (json!({"tags": ["a", "b", "c"]}), 413),
            (json!({"p": "x".repeat(601)}), 413),
            (json!({"a": "x".repeat(600), "b": "x".repeat(399)}), 413),
        ] {
            assert_eq!(create(&body), Err(status), "{body}");
        }
    }

    #[test]
    fn what_is_required_must_be_there_after_what_is_not_allowed_is_refused() {
        let defined = json!({"properties": {"team": {}}, "required": ["team"]});
        let formats = ImageFormatConfig {
            properties: Properties::parse(defined).unwrap(),
            ..formats()
        };
        let create = |body: Value| {
            parse(
                body.as_object().unwrap(),
                None,
                &formats,
                &Limits::default(),
            )
            .map(drop)
            .map_err(|invalid| ApiError::from(invalid).status.as_u16())
        };
        assert_eq!(create(json!({})), Err(400));
        assert_eq!(create(json!({"size": 1})), Err(403));
        assert_eq!(create(json!({"team": "a"})), Ok(()));
        // The operator's file stands in place of the shipped one.
        assert_eq!(create(json!({"team": "a", "kernel_id": "free"})), Ok(()));
    }

    #[test]
    fn lengths_of_properties_count_bytes_and_only_where_they_change() {
        let fits = json!({"p": "0123456789", "bc": "0123456"});
        assert!(create(&json!({"a": "x".repeat(600), "b": "x".repeat(398)})).is_ok());
        let attributes = create(&fits).unwrap().attributes;
        assert_eq!(create(&json!({"p": "é".repeat(300)})).map(drop), Ok(()));
        assert_eq!(create(&json!({"p": "é".repeat(301)})).map(drop), Err(413));
        // What is there stays, though the limits are lower now.
        let tight = Limits {
            image_property_bytes: 5,
            image_properties_bytes: 10,
            ..Limits::default()
        };
        let check = |after: &Attributes| attribute::check_quotas(Some(&attributes), after, &tight);
        let mut after = attributes.clone();
        after.name = Some("n".to_owned());
        assert!(check(&after).is_ok());
        after.properties.remove("bc");
        assert!(check(&after).is_ok());
        after.properties.insert("p".into(), Some("123456".into()));
        assert!(matches!(
            check(&after),
            Err(Invalid::Length { limit: 5, .. })
        ));
        after.properties.insert("p".into(), Some("1".into()));
        assert!(check(&after).is_ok());
    }

    #[test]
    fn lengths_count_characters() {
        let name = "é".repeat(255);
        assert!(create(&json!({"name": name, "tags": [name]})).is_ok());
        assert!(create(&json!({name: ""})).is_ok());
    }

    #[test]
    fn whole_floats_are_integers() {
        assert_eq!(
            create(&json!({"min_disk": 3.0}))
                .unwrap()
                .attributes
                .min_disk,
            3
        );
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(
            names in proptest::collection::vec("(name|tags|min_disk|id|visibility|\\PC{0,4})", 0..6),
            text in "\\PC{0,8}",
            number in any::<f64>(),
        ) {
            let values = [json!(text), json!(number), json!(null), json!([text]), json!({"a": text})];
            let body: Map<String, Value> =
                names.into_iter().zip(values.into_iter().cycle()).collect();
            let _ = create(&Value::Object(body));
        }
    }
}
