//! The encodings as they stand in logs and tables that exist. A change of a type that is stored, be it
//! only the order of two fields, is seen here, and needs a new version of its format: a log or a
//! table of the old one must still be read, or be refused.
//!
//! `GLIMPSE_GOLDEN=write` makes the file anew, after such a step.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{Debug, Write as _},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    command::{Bounds, Command, CommandId, Envelope, ImageData, UploadedData},
    encoding::{decode, decode_envelope, encode, encode_envelope},
    image::{
        Attributes, Image, ImageId, Location, ManifestRef, Member, MemberStatus, PendingDelete,
        Timestamp, Upload, UploadId, Visibility,
    },
    metadef::{
        Definition, Kind, MetadefBounds, MetadefCommand, Namespace, NamespaceAttributes,
        NamespaceId, NewDefinition, ResourceType,
    },
    outcome::{CountedThing, Rejection, Remembered},
    status::Status,
    tables::{Counters, Meta, UploadState, Usage},
    task::{
        ImageChange, Import, NewTask, Plan, Progress, Run, Source, Staged, Step, Task, TaskCommand,
        TaskId, TaskKind, TaskStatus,
    },
};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tests/golden.txt");

const ID: ImageId = ImageId([0xa1; 16]);
const TASK: TaskId = TaskId([0xd4; 16]);
const UPLOAD: UploadId = UploadId(0xb2);

/// No two fields of one type have one value, so that swapping them shows.
fn attributes() -> Attributes {
    Attributes {
        name: Some("name".to_owned()),
        visibility: Visibility::Shared,
        protected: true,
        os_hidden: false,
        owner: Some("owner".to_owned()),
        disk_format: Some("qcow2".to_owned()),
        container_format: Some("bare".to_owned()),
        min_disk: 1,
        min_ram: 2,
        tags: BTreeSet::from(["tag".to_owned()]),
        properties: BTreeMap::from([
            ("key".to_owned(), Some("value".to_owned())),
            ("null".to_owned(), None),
        ]),
    }
}

fn location() -> Location {
    Location {
        url: "file:///url".to_owned(),
        store: "store".to_owned(),
        metadata: BTreeMap::from([("meta".to_owned(), "data".to_owned())]),
    }
}

fn manifest() -> ManifestRef {
    ManifestRef {
        name: [0xc3; 32],
        length: 3,
        chunk_size: 4,
    }
}

fn upload() -> Upload {
    Upload {
        id: UPLOAD,
        node: 5,
        incarnation: 6,
        store: "store".to_owned(),
        reserved: 7,
        lease_until: Timestamp(8),
    }
}

const NAMESPACE: NamespaceId = NamespaceId(0xd4);

fn namespace_attributes() -> NamespaceAttributes {
    NamespaceAttributes {
        name: "namespace".to_owned(),
        display_name: Some("display".to_owned()),
        description: Some("description".to_owned()),
        public: true,
        protected: false,
        owner: Some("owner".to_owned()),
    }
}

fn metadef_commands() -> Vec<MetadefCommand> {
    let (id, attributes) = (NAMESPACE, namespace_attributes());
    let bounds = MetadefBounds {
        namespaces: 60,
        resource_types: 61,
        definitions: 62,
        bytes: 63,
    };
    let definition = NewDefinition {
        kind: Kind::Object,
        name: "name".to_owned(),
        body: "body".to_owned(),
    };
    let definitions = vec![definition.clone()];
    let name = "old".to_owned();
    vec![
        MetadefCommand::CreateNamespace {
            id,
            attributes: attributes.clone(),
            definitions: definitions.clone(),
            bounds,
        },
        MetadefCommand::UpdateNamespace {
            id,
            expected: Some(64),
            attributes,
        },
        MetadefCommand::DeleteNamespace {
            id,
            expected: Some(65),
        },
        MetadefCommand::AddDefinition {
            id,
            definition: definition.clone(),
            bounds,
        },
        MetadefCommand::AddDefinitions {
            id,
            replace: Some(Kind::Tag),
            definitions,
            bounds,
        },
        MetadefCommand::UpdateDefinition {
            id,
            name: name.clone(),
            expected: Some(66),
            definition,
            bounds,
        },
        MetadefCommand::RemoveDefinition {
            id,
            kind: Kind::Property,
            name,
            expected: Some(67),
        },
        MetadefCommand::ClearDefinitions {
            id,
            kind: Kind::ResourceType,
        },
    ]
}

fn commands() -> Vec<Command> {
    let (id, upload, tag, member) = (ID, UPLOAD, "tag".to_owned(), "member".to_owned());
    vec![
        Command::CreateImage {
            id,
            attributes: attributes(),
        },
        Command::UpdateImage {
            id,
            expected: 9,
            attributes: attributes(),
        },
        Command::DeleteImage {
            id,
            expected: Some(10),
        },
        Command::SetStatus {
            id,
            to: Status::Deactivated,
        },
        Command::AddTag {
            id,
            tag: tag.clone(),
            quota: Some(11),
        },
        Command::RemoveTag { id, tag },
        Command::AddMember {
            id,
            member: member.clone(),
            quota: None,
        },
        Command::SetMemberStatus {
            id,
            member: member.clone(),
            status: MemberStatus::Accepted,
        },
        Command::RemoveMember { id, member },
        Command::BeginUpload {
            id,
            upload,
            node: 12,
            incarnation: 13,
            store: "store".to_owned(),
            reserve: 14,
            quota: Some(15),
            lease_until: Timestamp(16),
        },
        Command::ExtendUpload {
            id,
            upload,
            reserve: 17,
            quota: Some(18),
            lease_until: Timestamp(19),
        },
        Command::FinishUpload {
            id,
            upload,
            data: UploadedData {
                size: 20,
                virtual_size: Some(21),
                checksum: "checksum".to_owned(),
                os_hash_algo: "algo".to_owned(),
                os_hash_value: "hash".to_owned(),
                manifest: manifest(),
                location: location(),
            },
            quota: Some(22),
        },
        Command::AbortUpload { id, upload },
        Command::DataReaped {
            sequences: vec![23, 24],
        },
        Command::CondemnUpload {
            id,
            upload,
            lease_seen: Timestamp(25),
        },
        Command::SetData {
            id,
            expected: 55,
            attributes: attributes(),
            data: ImageData {
                status: Status::Active,
                size: Some(56),
                checksum: Some("checksum".to_owned()),
                os_hash_algo: Some("algo".to_owned()),
                os_hash_value: Some("hash".to_owned()),
                locations: vec![location()],
                manifest: Some(manifest()),
            },
            quota: Some(57),
        },
    ]
}

fn staged() -> Staged {
    Staged {
        node: 60,
        location: location(),
        manifest: manifest(),
    }
}

fn new_task() -> NewTask {
    NewTask {
        kind: TaskKind::Import,
        owner: Some("owner".to_owned()),
        user: Some("user".to_owned()),
        request: Some("request".to_owned()),
        input: "input".to_owned(),
        plan: Plan {
            source: Source::Region {
                region: "region".to_owned(),
                image: "image".to_owned(),
                interface: "interface".to_owned(),
            },
            stores: vec!["a".to_owned(), "b".to_owned()],
            must_succeed: true,
            inject: false,
            keep: 61,
        },
    }
}

fn uploaded() -> UploadedData {
    UploadedData {
        size: 62,
        virtual_size: None,
        checksum: "checksum".to_owned(),
        os_hash_algo: "algo".to_owned(),
        os_hash_value: "hash".to_owned(),
        manifest: manifest(),
        location: location(),
    }
}

fn task_commands() -> Vec<TaskCommand> {
    let step = |step| TaskCommand::Step {
        incarnation: 63,
        lease_until: Timestamp(64),
        step,
    };
    vec![
        TaskCommand::Begin {
            image: ID,
            task: Box::new(new_task()),
            quota: Some(65),
            steal_after: 66,
            most: 67,
        },
        TaskCommand::Claim {
            node: 68,
            incarnation: 69,
            lease_until: Timestamp(70),
        },
        step(Step::Progress {
            message: "message".to_owned(),
        }),
        step(Step::Staged {
            staged: Some(staged()),
            plugins: 71,
            change: ImageChange {
                disk_format: Some("raw".to_owned()),
                container_format: Some("bare".to_owned()),
                properties: BTreeMap::from([("key".to_owned(), "value".to_owned())]),
            },
            quota: None,
        }),
        step(Step::Stored {
            data: Box::new(uploaded()),
        }),
        step(Step::StoreFailed {
            store: "store".to_owned(),
        }),
        TaskCommand::End {
            incarnation: 72,
            success: true,
            message: "message".to_owned(),
        },
        TaskCommand::Cancel,
        TaskCommand::Expire,
    ]
}

fn task() -> Task {
    Task {
        id: TASK,
        sequence: 73,
        image: ID,
        made: new_task(),
        status: TaskStatus::Failure,
        message: "message".to_owned(),
        created_at: Timestamp(74),
        updated_at: Timestamp(75),
        expires_at: Some(Timestamp(76)),
        run: Run {
            node: 77,
            incarnation: 78,
            lease_until: Timestamp(79),
            cancelled: true,
            reserved: 80,
            owner: Some("owner".to_owned()),
            plugins: 81,
            held: vec![uploaded()],
            done: vec!["done".to_owned()],
            failed: vec!["failed".to_owned()],
        },
    }
}

fn rejections() -> Vec<Rejection> {
    vec![
        Rejection::ImageNotFound,
        Rejection::IdTaken,
        Rejection::VersionConflict { current: 26 },
        Rejection::ForbiddenMove {
            from: Status::Queued,
            to: Status::Killed,
        },
        Rejection::Protected,
        Rejection::FormatsUnset,
        Rejection::FormatsFrozen,
        Rejection::StorageQuota {
            used: 27,
            requested: 28,
            limit: 29,
        },
        Rejection::CountQuota {
            what: CountedThing::Member,
            attempted: 30,
            limit: 31,
        },
        Rejection::NotShared,
        Rejection::MemberExists,
        Rejection::MemberNotFound,
        Rejection::TagNotFound,
        Rejection::UploadLost,
        Rejection::UploadAlive,
        Rejection::NamespaceNotFound,
        Rejection::NamespaceExists,
        Rejection::NamespaceProtected,
        Rejection::DefinitionNotFound,
        Rejection::DefinitionExists {
            name: "name".to_owned(),
        },
        Rejection::ImportLocked,
        Rejection::StoreHolds("store".to_owned()),
        Rejection::TaskNotFound,
        Rejection::TaskEnded,
        Rejection::TaskLost,
        Rejection::TaskCancelled,
        Rejection::TooManyTasks,
        Rejection::LastLocation,
    ]
}

/// Encodings by name, each decoded again to what it was.
#[derive(Default)]
struct Golden(String);

impl Golden {
    fn line(&mut self, name: &str, bytes: &[u8]) {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(self.0, "{name} {hex}").unwrap();
    }

    fn value<T: Serialize + DeserializeOwned + PartialEq + Debug>(
        &mut self,
        name: &str,
        value: &T,
    ) {
        let bytes = encode(value).unwrap();
        assert_eq!(&decode::<T>("a sample", &bytes).unwrap(), value);
        self.line(name, &bytes);
    }

    fn command(&mut self, command: Command) {
        let name = format!("{command:?}");
        let name = name.split([' ', '(']).next().unwrap_or_default().to_owned();
        let envelope = Envelope {
            id: CommandId {
                client: 32,
                sequence: 33,
            },
            proposer: 34,
            time: Timestamp(35),
            command,
            bounds: Bounds {
                images: Some(36),
                transfers: None,
            },
        };
        let bytes = encode_envelope(&envelope).unwrap();
        assert_eq!(decode_envelope(&bytes).unwrap(), envelope);
        self.line(&name, &bytes);
    }
}

#[test]
fn what_logs_and_tables_hold_is_encoded_as_ever() {
    let mut golden = Golden::default();
    for command in commands() {
        golden.command(command);
    }
    for command in metadef_commands() {
        golden.command(Command::Metadef(command));
    }
    for command in task_commands() {
        golden.command(Command::Task { id: TASK, command });
    }
    golden.value(
        "image",
        &Image {
            id: ID,
            row: 36,
            version: 37,
            status: Status::Active,
            attributes: attributes(),
            size: Some(38),
            virtual_size: Some(39),
            checksum: Some("checksum".to_owned()),
            os_hash_algo: Some("algo".to_owned()),
            os_hash_value: Some("hash".to_owned()),
            created_at: Timestamp(40),
            updated_at: Timestamp(41),
            locations: vec![location()],
            manifest: Some(manifest()),
            upload: Some(upload()),
            import: Some(Box::new(Import {
                task: Some(TASK),
                staged: Some(staged()),
                progress: Some(Progress {
                    importing: vec!["to".to_owned()],
                    failed: vec!["failed".to_owned()],
                }),
                failure: Some("failure".to_owned()),
            })),
        },
    );
    golden.value("task", &task());
    golden.value(
        "member",
        &Member {
            image_id: ID,
            member_id: "member".to_owned(),
            status: MemberStatus::Rejected,
            created_at: Timestamp(42),
            updated_at: Timestamp(43),
        },
    );
    golden.value(
        "upload",
        &UploadState {
            upload: upload(),
            owner: Some("owner".to_owned()),
        },
    );
    golden.value(
        "pending-delete",
        &PendingDelete {
            sequence: 44,
            image_id: ID,
            location: location(),
            queued_at: Timestamp(45),
        },
    );
    golden.value(
        "usage",
        &Usage {
            live: 46,
            reserved: 47,
            images: 48,
            transfers: 49,
        },
    );
    golden.value(
        "state",
        &Meta {
            applied: 48,
            counters: Counters {
                time: Timestamp(49),
                next_row: 50,
                last_sequence: 51,
                images: 52,
                open_tasks: 55,
            },
            remembered: 53,
            remembered_bytes: 54,
        },
    );
    golden.value(
        "namespace",
        &Namespace {
            id: NAMESPACE,
            version: 70,
            attributes: namespace_attributes(),
            created_at: Timestamp(71),
            updated_at: Timestamp(72),
            definitions: 73,
            bytes: 74,
        },
    );
    golden.value(
        "definition",
        &Definition {
            name: "name".to_owned(),
            body: "body".to_owned(),
            version: 75,
            position: 76,
            created_at: Timestamp(77),
            updated_at: Timestamp(78),
        },
    );
    golden.value(
        "resource-type",
        &ResourceType {
            name: "name".to_owned(),
            created_at: Timestamp(79),
            updated_at: Timestamp(80),
        },
    );
    golden.value("remembered-namespace", &Remembered::Namespace(NAMESPACE));
    golden.value(
        "remembered-definition",
        &Remembered::Definition(NAMESPACE, Kind::Tag, "name".to_owned()),
    );
    golden.value("remembered-image", &Remembered::Image(ID));
    golden.value(
        "remembered-member",
        &Remembered::Member(ID, "member".to_owned()),
    );
    golden.value("remembered-done", &Remembered::Done);
    golden.value("remembered-task", &Remembered::Task(TASK));
    for rejection in rejections() {
        golden.value("remembered-rejection", &Remembered::Rejected(rejection));
    }
    if std::env::var("GLIMPSE_GOLDEN").as_deref() == Ok("write") {
        std::fs::write(FILE, &golden.0).unwrap();
    }
    let stored = std::fs::read_to_string(FILE).unwrap();
    for (ours, stored) in golden.0.lines().zip(stored.lines()) {
        assert_eq!(ours, stored, "a stored encoding has changed");
    }
    assert_eq!(golden.0.lines().count(), stored.lines().count());
}

#[test]
fn a_value_of_which_one_bit_has_changed_is_a_fault() {
    let bytes = encode(&attributes()).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(
            decode::<Attributes>("a sample", &changed).is_err(),
            "bit {bit}"
        );
    }
}
