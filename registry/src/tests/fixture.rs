//! A store fed by hand, and random commands and queries from a seed.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use glimpse_replication::{Committed, StateMachine as _};
use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::StdRng};
use redb::{StorageBackend, backends::InMemoryBackend};

use super::metadefs::random_metadef_command;
use crate::{
    command::{Bounds, Command, CommandId, Envelope, ImageData, UploadedData},
    encoding::encode_envelope,
    image::{
        Attributes, Image, ImageId, Location, ManifestRef, Member, MemberStatus, Timestamp,
        UploadId, Visibility,
    },
    outcome::{Outcome, Rejection},
    query::{
        Comparison, Direction, Filter, ListQuery, MemberFilter, NumberColumn, Scope, SortKey,
        TextColumn, TimeColumn, VisibilityFilter,
    },
    status::Status,
    store::{Remember, Store},
    view::View,
};

pub(super) const CACHE: usize = 1 << 20;
pub(super) const REMEMBER: Remember = remember(100_000);

/// So many commands.
pub(super) const fn remember(entries: u64) -> Remember {
    Remember {
        entries,
        bytes: 1 << 30,
    }
}
pub(super) const SECOND: u64 = 1_000_000;

/// A seed: from `GLIMPSE_SEED`, or random; printed, so that a failure can be repeated.
pub(super) fn seeded() -> StdRng {
    let seed = std::env::var("GLIMPSE_SEED")
        .ok()
        .map_or_else(|| rand::rng().next_u64(), |seed| seed.parse().unwrap());
    println!("GLIMPSE_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

/// A store and the position in its log.
pub(super) struct Node {
    pub(super) store: Store,
    pub(super) index: u64,
    /// The proposer's wall clock, in microseconds.
    pub(super) clock: u64,
}

impl Node {
    pub(super) fn new() -> Self {
        Self::on(InMemoryBackend::new(), remember(1000))
    }

    pub(super) fn on(backend: impl StorageBackend, remember: Remember) -> Self {
        let store = Store::open_with(backend, CACHE, remember).unwrap();
        Self {
            index: store.applied_index(),
            store,
            clock: 1_000 * SECOND,
        }
    }

    pub(super) fn entry(&mut self, id: u64, command: Command) -> Committed {
        self.index += 1;
        entry(self.index, id, self.clock, command)
    }

    /// Applies a command under a fresh id.
    pub(super) fn run(&mut self, command: Command) -> Outcome {
        let entry = self.entry(self.index + 1, command);
        self.store.apply(&[entry]).unwrap().remove(0)
    }

    /// The same with bounds on what its owner may have.
    pub(super) fn run_within(&mut self, command: Command, bounds: Bounds) -> Outcome {
        let mut entry = self.entry(self.index + 1, command);
        let mut envelope = crate::encoding::decode_envelope(&entry.command).unwrap();
        envelope.bounds = bounds;
        entry.command = Bytes::from(encode_envelope(&envelope).unwrap());
        self.store.apply(&[entry]).unwrap().remove(0)
    }

    pub(super) fn view(&self) -> View {
        self.store.reader().view()
    }

    pub(super) fn image(&self, id: u128) -> Image {
        Image::clone(&self.view().image(image_id(id)).unwrap().unwrap())
    }

    pub(super) fn create(&mut self, id: u128, attributes: Attributes) -> Image {
        image(self.run(Command::CreateImage {
            id: image_id(id),
            attributes,
        }))
    }

    pub(super) fn begin(&mut self, id: u128, upload: u128, reserve: u64) -> Outcome {
        let lease_until = Timestamp(self.clock + 60 * SECOND);
        self.run(begin(id, upload, reserve, None, lease_until))
    }

    /// Makes an active image of `size` bytes.
    pub(super) fn create_active(&mut self, id: u128, attributes: Attributes, size: u64) -> Image {
        self.create(id, attributes);
        self.begin(id, id, size);
        image(self.run(finish(id, id, size, None)))
    }
}

/// Compares two states without printing them.
pub(super) fn assert_same_state(left: &[u8], right: &[u8]) {
    let first = left.iter().zip(right).position(|(a, b)| a != b);
    assert!(
        left == right,
        "states of {} and {} bytes differ from byte {first:?} on",
        left.len(),
        right.len()
    );
}

pub(super) fn entry(index: u64, id: u64, time: u64, command: Command) -> Committed {
    Committed {
        index,
        command: encoded(id, time, command),
    }
}

/// A command as it stands in the log.
pub(super) fn encoded(id: u64, time: u64, command: Command) -> Bytes {
    let envelope = Envelope {
        id: CommandId {
            client: 7,
            sequence: id,
        },
        proposer: 1,
        time: Timestamp(time),
        command,
        bounds: Bounds::default(),
    };
    Bytes::from(encode_envelope(&envelope).unwrap())
}

pub(super) fn image_id(id: u128) -> ImageId {
    ImageId(id.to_be_bytes())
}

pub(super) fn image(outcome: Outcome) -> Image {
    match outcome {
        Outcome::Image(image) => *image,
        other => panic!("{other:?}"),
    }
}

pub(super) fn member(outcome: Outcome) -> Member {
    match outcome {
        Outcome::Member(member) => member,
        other => panic!("{other:?}"),
    }
}

pub(super) fn rejection(outcome: Outcome) -> Rejection {
    match outcome {
        Outcome::Rejected(rejection) => rejection,
        other => panic!("{other:?}"),
    }
}

/// A shared image of project `p`, ready for upload.
pub(super) fn attributes() -> Attributes {
    Attributes {
        name: Some("n".to_owned()),
        visibility: Visibility::Shared,
        protected: false,
        os_hidden: false,
        owner: Some("p".to_owned()),
        disk_format: Some("raw".to_owned()),
        container_format: Some("bare".to_owned()),
        min_disk: 0,
        min_ram: 0,
        tags: BTreeSet::new(),
        properties: BTreeMap::new(),
    }
}

pub(super) fn begin(
    id: u128,
    upload: u128,
    reserve: u64,
    quota: Option<u64>,
    lease_until: Timestamp,
) -> Command {
    Command::BeginUpload {
        id: image_id(id),
        upload: UploadId(upload),
        node: 1,
        incarnation: 7,
        store: "local".to_owned(),
        reserve,
        quota,
        lease_until,
    }
}

pub(super) fn finish(id: u128, upload: u128, size: u64, quota: Option<u64>) -> Command {
    Command::FinishUpload {
        id: image_id(id),
        upload: UploadId(upload),
        data: UploadedData {
            size,
            virtual_size: size.is_multiple_of(3).then_some(size * 2),
            checksum: format!("{:032x}", size % 5),
            os_hash_algo: "sha512".to_owned(),
            os_hash_value: format!("{size:0128x}"),
            manifest: ManifestRef {
                name: [3; 32],
                length: size,
                chunk_size: 1 << 20,
            },
            location: Location {
                url: format!("file:///images/{id}"),
                store: "local".to_owned(),
                metadata: BTreeMap::new(),
            },
        },
        quota,
    }
}

pub(super) fn query(scope: Scope) -> ListQuery {
    ListQuery {
        scope,
        visibility: VisibilityFilter::Default,
        member: MemberFilter::Only(MemberStatus::Accepted),
        hidden: false,
        filters: Vec::new(),
        sort: newest_first(),
        marker: None,
        limit: 25,
        weight: usize::MAX,
    }
}

pub(super) fn newest_first() -> Vec<(SortKey, Direction)> {
    vec![
        (SortKey::CreatedAt, Direction::Descending),
        (SortKey::Id, Direction::Descending),
    ]
}

pub(super) fn pick<'a, T>(rng: &mut StdRng, all: &'a [T]) -> &'a T {
    &all[rng.random_range(0..all.len())]
}

pub(super) const PROJECTS: [&str; 4] = ["p", "q", "r", ""];
const NAMES: [&str; 6] = ["", "a", "a\0", "aa", "b", "\u{e9}"];
const STATUSES: [MemberStatus; 3] = [
    MemberStatus::Pending,
    MemberStatus::Accepted,
    MemberStatus::Rejected,
];
const VISIBILITIES: [Visibility; 4] = [
    Visibility::Public,
    Visibility::Community,
    Visibility::Shared,
    Visibility::Private,
];

fn long(text: &str) -> String {
    text.repeat(300)
}

fn maybe(rng: &mut StdRng, all: &[&str]) -> Option<String> {
    rng.random_bool(0.8).then(|| (*pick(rng, all)).to_owned())
}

pub(super) fn random_attributes(rng: &mut StdRng) -> Attributes {
    let mut properties = BTreeMap::new();
    for name in ["os", "arch", "a\0"] {
        if rng.random_bool(0.5) {
            let value = pick(rng, &["x", "y", "x\0", "z"]);
            let value = if rng.random_bool(0.1) {
                long(value)
            } else {
                (*value).to_owned()
            };
            properties.insert(name.to_owned(), rng.random_bool(0.9).then_some(value));
        }
    }
    Attributes {
        name: maybe(rng, &NAMES),
        visibility: *pick(rng, &VISIBILITIES),
        protected: rng.random_bool(0.1),
        os_hidden: rng.random_bool(0.1),
        owner: maybe(rng, &PROJECTS),
        disk_format: maybe(rng, &["raw", "qcow2", "vmdk"]),
        container_format: maybe(rng, &["bare", "ovf"]),
        min_disk: rng.random_range(0..4),
        min_ram: if rng.random_bool(0.5) {
            0
        } else {
            rng.random_range(0..2048)
        },
        tags: ["t", "u", "v"]
            .into_iter()
            .filter(|_| rng.random_bool(0.3))
            .map(str::to_owned)
            .collect(),
        properties,
    }
}

/// Of an image with up to three locations, of few.
fn random_data(rng: &mut StdRng) -> ImageData {
    let count = rng.random_range(0..3);
    let locations: Vec<_> = (0..count)
        .map(|_| {
            let url = format!("http://h/{}", rng.random_range(0..4));
            Location {
                url,
                store: "web".to_owned(),
                metadata: BTreeMap::new(),
            }
        })
        .collect();
    ImageData {
        status: *pick(
            rng,
            &[
                Status::Queued,
                Status::Importing,
                Status::Active,
                Status::Saving,
            ],
        ),
        size: Some(rng.random_range(0..2000)),
        checksum: None,
        os_hash_algo: None,
        os_hash_value: None,
        locations,
        manifest: None,
    }
}

/// A command that is often lawful. `known`: what to expect of images as they are.
pub(super) fn random_command(
    rng: &mut StdRng,
    ids: u128,
    now: u64,
    known: impl Fn(ImageId) -> Option<(u64, Option<UploadId>)>,
    pending: &[u64],
) -> Command {
    let number = rng.random_range(0..ids);
    let id = image_id(number);
    let (version, upload) = known(id).unwrap_or_default();
    let upload = upload
        .filter(|_| rng.random_bool(0.9))
        .unwrap_or_else(|| UploadId(rng.random_range(0..1000)));
    let quota = rng.random_bool(0.5).then(|| rng.random_range(0..5000));
    let few = rng.random_bool(0.5).then(|| rng.random_range(0..4));
    let lease_until = Timestamp(now + rng.random_range(0..20 * SECOND));
    let member = (*pick(rng, &PROJECTS)).to_owned();
    let tag = (*pick(rng, &["t", "u", "v"])).to_owned();
    match rng.random_range(0..24) {
        20..24 => Command::Metadef(random_metadef_command(rng)),
        0..5 => Command::CreateImage {
            id,
            attributes: random_attributes(rng),
        },
        5..7 => Command::UpdateImage {
            id,
            expected: if rng.random_bool(0.9) { version } else { 1 },
            attributes: random_attributes(rng),
        },
        7 => Command::DeleteImage {
            id,
            expected: match rng.random_range(0..3) {
                0 => None,
                1 => Some(version),
                _ => Some(2),
            },
        },
        8 => Command::SetStatus {
            id,
            to: *pick(rng, &[Status::Active, Status::Deactivated, Status::Queued]),
        },
        9 => Command::AddTag {
            id,
            tag,
            quota: few,
        },
        10 => Command::RemoveTag { id, tag },
        11 | 12 => Command::AddMember {
            id,
            member,
            quota: few,
        },
        13 => Command::SetMemberStatus {
            id,
            member,
            status: *pick(rng, &STATUSES),
        },
        14 => Command::RemoveMember { id, member },
        15 | 16 => begin(
            number,
            rng.random_range(0..1000),
            rng.random_range(0..1000),
            quota,
            lease_until,
        ),
        17 => Command::ExtendUpload {
            id,
            upload,
            reserve: rng.random_range(0..2000),
            quota,
            lease_until,
        },
        18 => match rng.random_range(0..13) {
            10.. => Command::SetData {
                id,
                expected: if rng.random_bool(0.9) { version } else { 1 },
                attributes: random_attributes(rng),
                data: random_data(rng),
                quota,
            },
            0..7 => finish(number, upload.0, rng.random_range(0..2000), quota),
            7 => Command::CondemnUpload {
                id,
                upload,
                lease_seen: lease_until,
            },
            _ => Command::AbortUpload { id, upload },
        },
        _ => Command::DataReaped {
            sequences: pending
                .iter()
                .copied()
                .filter(|_| rng.random_bool(0.5))
                .collect(),
        },
    }
}

/// Any query; markers are among `ids`, times around `now`.
pub(super) fn random_query(rng: &mut StdRng, ids: u128, now: u64) -> ListQuery {
    let project = (*pick(rng, &PROJECTS)).to_owned();
    let scope = match rng.random_range(0..8) {
        0 => Scope::Admin { project: None },
        1 => Scope::Admin {
            project: Some(project),
        },
        2 => Scope::Anonymous,
        _ => Scope::Project(project),
    };
    let filters = (0..*pick(rng, &[0, 0, 1, 1, 2, 3]))
        .map(|_| random_filter(rng, ids, now))
        .collect();
    ListQuery {
        scope,
        visibility: match rng.random_range(0..4) {
            0 => VisibilityFilter::All,
            1 => VisibilityFilter::Only(*pick(rng, &VISIBILITIES)),
            _ => VisibilityFilter::Default,
        },
        member: match rng.random_range(0..3) {
            0 => MemberFilter::All,
            1 => MemberFilter::Only(*pick(rng, &STATUSES)),
            _ => MemberFilter::Only(MemberStatus::Accepted),
        },
        hidden: rng.random_bool(0.1),
        filters,
        sort: random_sort(rng),
        marker: rng
            .random_bool(0.4)
            .then(|| image_id(rng.random_range(0..ids))),
        limit: *pick(rng, &[0, 1, 5, 25, 1000]),
        weight: usize::MAX,
    }
}

fn random_sort(rng: &mut StdRng) -> Vec<(SortKey, Direction)> {
    let keys = [
        SortKey::Name,
        SortKey::Status,
        SortKey::ContainerFormat,
        SortKey::DiskFormat,
        SortKey::Size,
        SortKey::Id,
        SortKey::CreatedAt,
        SortKey::UpdatedAt,
    ];
    let mut direction = || *pick(rng, &[Direction::Ascending, Direction::Descending]);
    let appended = direction();
    let directions = [direction(), direction(), direction()];
    let mut sort = Vec::new();
    for direction in directions.into_iter().take(rng.random_range(0..4)) {
        sort.push((*pick(rng, &keys), direction));
    }
    for key in [SortKey::CreatedAt, SortKey::Id] {
        if sort.iter().all(|(known, _)| *known != key) {
            sort.push((key, appended));
        }
    }
    sort
}

fn random_filter(rng: &mut StdRng, ids: u128, now: u64) -> Filter {
    let comparisons = [
        Comparison::Gt,
        Comparison::Gte,
        Comparison::Lt,
        Comparison::Lte,
        Comparison::Eq,
        Comparison::Neq,
    ];
    match rng.random_range(0..12) {
        0 => Filter::Text(
            TextColumn::Name,
            vec![
                (*pick(rng, &NAMES)).to_owned(),
                (*pick(rng, &NAMES)).to_owned(),
            ],
        ),
        1 => Filter::Text(TextColumn::Owner, vec![(*pick(rng, &PROJECTS)).to_owned()]),
        2 => Filter::Text(TextColumn::DiskFormat, vec!["raw".to_owned()]),
        3 => Filter::Text(TextColumn::Checksum, vec![format!("{:032x}", 3)]),
        4 => {
            let column = *pick(
                rng,
                &[
                    NumberColumn::Size,
                    NumberColumn::VirtualSize,
                    NumberColumn::MinDisk,
                    NumberColumn::MinRam,
                ],
            );
            let low = *pick(rng, &[0, 1, 2, 500, 1024]);
            let high = *pick(rng, &[0, 1, 3, 1000, u64::MAX]);
            Filter::Number(column, low, high)
        }
        5 | 6 => {
            let column = *pick(rng, &[TimeColumn::CreatedAt, TimeColumn::UpdatedAt]);
            let time = now.saturating_sub(rng.random_range(0..60 * SECOND));
            Filter::Time(column, *pick(rng, &comparisons), Timestamp(time))
        }
        7 => Filter::Id((0..5).map(|_| image_id(rng.random_range(0..ids))).collect()),
        8 => Filter::Status(vec![
            *pick(rng, &Status::ALL),
            *pick(rng, &[Status::Active, Status::Queued]),
        ]),
        9 => Filter::Protected(rng.random_bool(0.5)),
        10 => Filter::Tag((*pick(rng, &["t", "u", "w"])).to_owned()),
        _ => Filter::Property(
            (*pick(rng, &["os", "arch", "a\0", "a"])).to_owned(),
            match *pick(rng, &["x", "y", "x\0", "long"]) {
                "long" => long("x"),
                value => value.to_owned(),
            },
        ),
    }
}
