//! The format inspector: looks at image data as it streams by and says what it is and whether it
//! is safe (image-api 10.4), in bounded memory whatever the headers claim.
//!
//! Every format looks at the stream for itself, until it knows whether it is its own; then it is
//! dropped, so that the bulk of an image costs nothing. More than one may find its own: data that
//! is two things at once is refused, but for an ISO that boots as a disk.
//!
//! The safety checks run on whatever is found, whatever is declared: what a later reader takes it
//! for is not in the hand of this service. Wanted over the reference: refusal as soon as it is
//! certain, and files that end within the header of a format are refused instead of being raw.

mod capture;
mod gpt;
mod header;
mod iso;
mod luks;
mod qcow2;
mod qed;
mod vdi;
mod vhd;
mod vhdx;
mod vmdk;

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
    /// What it is (`raw` when nothing else, or not inspected).
    pub format: &'static str,
    /// Bytes of the disk within, where the format says it and it is the declared one. Of data
    /// declared raw, its length.
    pub virtual_size: Option<u64>,
}

/// The data must not be stored: 415.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// What `vmdk_allowed_types` may hold: all others name further files as their data.
pub const VMDK_TYPES: [&str; 2] = ["streamOptimized", "monolithicSparse"];
/// What `gpt_safety_checks_nonfatal` may hold.
pub const GPT_CHECKS: [&str; 1] = [gpt::MBR];

/// The name of data that is nothing else.
const RAW: &str = "raw";
/// What can be told apart. Other disk formats (ami, aki, ari, ploop) are not inspectable.
const INSPECTABLE: [&str; 10] = [
    RAW, "qcow2", "qed", "vhd", "vhdx", "vmdk", "vdi", "iso", "gpt", "luks",
];
/// Kernels and ramdisks: a kernel begins with what looks like a boot sector.
const BOOT_FILES: [&str; 2] = ["aki", "ari"];

/// One format looking at the stream.
trait Format: Send {
    /// As in `disk_format`.
    fn name(&self) -> &'static str;
    /// Looks at the piece that starts at `at`. Not called again after anything but [`Step::More`].
    fn update(&mut self, at: u64, piece: &[u8]) -> Step;
    /// The stream ended while the format wanted more.
    fn finish(&mut self) -> Option<Found>;
    /// Bytes that it keeps.
    fn held(&self) -> usize;
}

/// What a format makes of the stream so far.
enum Step {
    /// It cannot say yet.
    More,
    /// It is not of this format.
    NotThis,
    /// It is, and all that matters is known.
    This(Found),
}

/// What a format found.
#[derive(Debug)]
struct Found {
    size: Size,
    violation: Option<Violation>,
}

/// The size of the disk within.
#[derive(Debug, Clone, Copy)]
enum Size {
    Unknown,
    Bytes(u64),
    /// All of the stream but so many bytes.
    StreamBut(u64),
}

/// Why the data is not safe.
#[derive(Debug)]
struct Violation {
    check: &'static str,
    reason: &'static str,
}

impl Violation {
    const fn new(check: &'static str, reason: &'static str) -> Self {
        Self { check, reason }
    }
}

impl Found {
    const fn of_size(bytes: u64) -> Self {
        Self {
            size: Size::Bytes(bytes),
            violation: None,
        }
    }

    const fn of_stream_size(but: u64) -> Self {
        Self {
            size: Size::StreamBut(but),
            violation: None,
        }
    }

    const fn of_unknown_size() -> Self {
        Self {
            size: Size::Unknown,
            violation: None,
        }
    }

    /// The stream ended where the format must go on.
    const fn cut_short() -> Self {
        Self {
            size: Size::Unknown,
            violation: Some(Violation::new("complete", "it is cut short")),
        }
    }

    fn checked(mut self, check: Result<(), Violation>) -> Self {
        self.violation = check.err();
        self
    }
}

/// Inspects one stream.
pub struct Inspector {
    rules: Rules,
    /// Bytes seen.
    position: u64,
    /// Formats that cannot say yet.
    open: Vec<Box<dyn Format>>,
    found: Vec<(&'static str, Found)>,
    refused: Option<Refused>,
}

impl Inspector {
    /// Starts.
    pub fn new(rules: Rules) -> Self {
        let open = match &*rules.container_format {
            "bare" => vec![
                qcow2::format(),
                qed::format(),
                vhd::format(),
                vhdx::format(),
                vmdk::format(&rules.vmdk_allowed_types),
                vdi::format(),
                iso::format(),
                gpt::format(),
                luks::format(),
            ],
            _ => Vec::new(),
        };
        Self {
            rules,
            position: 0,
            open,
            found: Vec::new(),
            refused: None,
        }
    }

    /// Looks at nothing and refuses nothing: for data that is judged elsewhere.
    pub fn idle() -> Self {
        Self::new(Rules {
            disk_format: String::new(),
            container_format: String::new(),
            vmdk_allowed_types: Vec::new(),
            require_match: false,
            gpt_nonfatal: Vec::new(),
        })
    }

    /// Takes the next bytes. An early refusal comes as soon as it is certain, and again for every
    /// further call. Once all formats have decided, a call costs nothing.
    pub fn update(&mut self, data: &[u8]) -> Result<(), Refused> {
        let at = self.position;
        self.position = at.saturating_add(data.len() as u64);
        if let Some(refused) = &self.refused {
            return Err(refused.clone());
        }
        if self.open.is_empty() {
            return Ok(());
        }
        let before = self.open.len();
        let found = &mut self.found;
        self.open
            .retain_mut(|format| match format.update(at, data) {
                Step::More => true,
                Step::NotThis => false,
                Step::This(what) => {
                    found.push((format.name(), what));
                    false
                }
            });
        match self.open.len() == before {
            true => Ok(()),
            false => self.judge(),
        }
    }

    /// The data has ended.
    pub fn finish(mut self) -> Result<Verdict, Refused> {
        if let Some(refused) = self.refused {
            return Err(refused);
        }
        if self.rules.container_format != "bare" {
            return Ok(Verdict {
                format: RAW,
                virtual_size: None,
            });
        }
        for mut format in std::mem::take(&mut self.open) {
            if let Some(what) = format.finish() {
                self.found.push((format.name(), what));
            }
        }
        if self.found.is_empty() {
            self.found.push((RAW, Found::of_stream_size(0)));
        }
        self.judge()?;
        Ok(self.verdict())
    }

    /// Bytes of the stream that are kept. Bounded, whatever the stream.
    pub fn held(&self) -> usize {
        self.open.iter().map(|format| format.held()).sum()
    }

    /// Refuses what is certain by now. Never revoked by what follows in the stream.
    fn judge(&mut self) -> Result<(), Refused> {
        let refused = self.violation().or_else(|| self.mismatch());
        self.refused.clone_from(&refused);
        refused.map_or(Ok(()), Err)
    }

    /// A failed safety check.
    fn violation(&self) -> Option<Refused> {
        let boot_sector_of_iso = self.is_bootable_iso() || self.may_become_bootable_iso();
        self.found.iter().find_map(|(name, found)| {
            let violation = found.violation.as_ref()?;
            let tolerated = *name == "gpt"
                && (boot_sector_of_iso
                    || BOOT_FILES.contains(&&*self.rules.disk_format)
                    || self
                        .rules
                        .gpt_nonfatal
                        .iter()
                        .any(|name| name.eq_ignore_ascii_case(violation.check)));
            (!tolerated).then(|| {
                let Violation { check, reason } = violation;
                Refused(format!(
                    "Image failed safety checks: as {name}, {reason} ({check})"
                ))
            })
        })
    }

    /// Not what is declared.
    fn mismatch(&self) -> Option<Refused> {
        if !self.rules.require_match {
            return None;
        }
        let declared = &*self.rules.disk_format;
        let refuse = |what: &str| {
            let text = format!("Image disk_format {declared} does not match stream data {what}");
            Some(Refused(text))
        };
        match &*self.found {
            // Only before the end: what is declared is out.
            [] => {
                let inspectable = declared != RAW && INSPECTABLE.contains(&declared);
                let possible = self.open.iter().any(|format| format.name() == declared);
                match inspectable && !possible {
                    true => refuse("of another format"),
                    false => None,
                }
            }
            [(found, _)] => {
                let accepted = *found == declared
                    || declared == RAW
                    || *found == RAW && !INSPECTABLE.contains(&declared)
                    || *found == "gpt" && BOOT_FILES.contains(&declared)
                    || declared == "iso" && self.may_become_bootable_iso();
                match accepted {
                    true => None,
                    false => refuse(found),
                }
            }
            _ if self.is_bootable_iso() => match matches!(declared, RAW | "iso") {
                true => None,
                false => refuse("iso"),
            },
            several => {
                let names: Vec<_> = several.iter().map(|(name, _)| *name).collect();
                Some(Refused(format!(
                    "Multiple formats detected: {}",
                    names.join(",")
                )))
            }
        }
    }

    /// An ISO with a partition table, and nothing else.
    fn is_bootable_iso(&self) -> bool {
        match &*self.found {
            [(a, _), (b, _)] => matches!((*a, *b), ("iso", "gpt") | ("gpt", "iso")),
            _ => false,
        }
    }

    /// A partition table, and it is not known yet whether an ISO follows.
    fn may_become_bootable_iso(&self) -> bool {
        matches!(&*self.found, [("gpt", _)])
            && self.open.iter().any(|format| format.name() == "iso")
    }

    /// Of data that has ended and is not refused.
    fn verdict(&self) -> Verdict {
        let declared = &*self.rules.disk_format;
        let main = match self.is_bootable_iso() {
            true => self.found.iter().find(|(name, _)| *name == "iso"),
            false => self.found.first(),
        };
        let (format, size) = main.map_or((RAW, Size::Unknown), |(name, found)| (*name, found.size));
        let size = match declared {
            RAW => Size::StreamBut(0),
            _ if declared == format => size,
            _ => Size::Unknown,
        };
        let virtual_size = match size {
            Size::Unknown => None,
            Size::Bytes(bytes) => Some(bytes),
            Size::StreamBut(bytes) => self.position.checked_sub(bytes),
        };
        Verdict {
            format,
            // The column of the reference, and what clients read it into, is signed.
            virtual_size: virtual_size.filter(|bytes| i64::try_from(*bytes).is_ok()),
        }
    }
}

#[cfg(test)]
mod tests;
