//! The format inspector: looks at image data as it streams by and says what it is and whether it
//! is safe (image-api 10.4), in bounded memory whatever the headers claim.

/// How strict the verdict is: `[image_format]` and what the image declares.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Declared `disk_format`.
    pub disk_format: String,
    /// Declared `container_format`; only `bare` is inspected.
    pub container_format: String,
    /// `vmdk_allowed_types`
    pub vmdk_allowed_types: Vec<String>,
    /// `require_image_format_match`
    pub require_match: bool,
    /// `gpt_safety_checks_nonfatal`
    pub gpt_nonfatal: Vec<String>,
}

/// The data may be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What it is (`raw` when nothing else).
    pub format: &'static str,
    /// Bytes of the disk within, where the format says it.
    pub virtual_size: Option<u64>,
}

/// The data must not be stored: 415.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// Inspects one stream.
pub struct Inspector {}

impl Inspector {
    /// Starts.
    pub fn new(rules: Rules) -> Self {
        let _ = rules;
        Self {}
    }
    /// Takes the next bytes. An early refusal comes as soon as it is certain.
    pub fn update(&mut self, data: &[u8]) -> Result<(), Refused> {
        let _ = data;
        Ok(())
    }
    /// The data has ended.
    pub fn finish(self) -> Result<Verdict, Refused> {
        Ok(Verdict {
            format: "raw",
            virtual_size: None,
        })
    }
}
