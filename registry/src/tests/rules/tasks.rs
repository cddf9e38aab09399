//! Staging, and tasks that import.

use super::{abort, delete, update};
use crate::{
    command::{Command, UploadedData},
    image::{Image, ImageId, Location, ManifestRef, Timestamp, UploadId},
    outcome::{Outcome, Rejection},
    status::Status,
    task::{
        ImageChange, NewTask, Plan, STAGING, Source, Staged, Step, Task, TaskCommand, TaskId,
        TaskKind, TaskStatus,
    },
    tests::fixture::{Node, SECOND, attributes, image, image_id, rejection},
};

const HOUR: u64 = 3600 * SECOND;
const PROCESS: u128 = 77;

fn task_id(id: u8) -> TaskId {
    TaskId([id; 16])
}

fn location(store: &str) -> Location {
    Location {
        url: format!("file:///{store}/1"),
        store: store.to_owned(),
        metadata: [("store".to_owned(), store.to_owned())].into(),
    }
}

fn manifest(length: u64) -> ManifestRef {
    ManifestRef {
        name: [9; 32],
        length,
        chunk_size: 1 << 20,
    }
}

fn data(store: &str, size: u64) -> UploadedData {
    UploadedData {
        size,
        virtual_size: None,
        checksum: "md5".to_owned(),
        os_hash_algo: "sha512".to_owned(),
        os_hash_value: "hash".to_owned(),
        manifest: manifest(size),
        location: location(store),
    }
}

impl Node {
    fn command(&mut self, task: u8, command: TaskCommand) -> Outcome {
        let id = task_id(task);
        self.run(Command::Task { id, command })
    }

    /// A staged image.
    fn stage(&mut self, id: u128, size: u64) {
        self.create(id, attributes());
        let lease_until = Timestamp(self.clock + 60 * SECOND);
        image(self.run(Command::BeginUpload {
            id: image_id(id),
            upload: UploadId(id),
            node: 1,
            incarnation: PROCESS,
            store: STAGING.to_owned(),
            reserve: 0,
            quota: None,
            lease_until,
        }));
        image(self.run(Command::FinishUpload {
            id: image_id(id),
            upload: UploadId(id),
            data: data(STAGING, size),
            quota: None,
        }));
    }

    fn import(&mut self, task: u8, id: u128, source: Source, stores: &[&str]) -> Outcome {
        self.import_as(task, id, source, stores, true, None)
    }

    fn import_as(
        &mut self,
        task: u8,
        id: u128,
        source: Source,
        stores: &[&str],
        must_succeed: bool,
        quota: Option<u64>,
    ) -> Outcome {
        let new = NewTask {
            kind: TaskKind::ApiImageImport,
            owner: Some("p".to_owned()),
            user: None,
            request: None,
            input: "{}".to_owned(),
            plan: Plan {
                source,
                stores: stores.iter().map(|&store| store.to_owned()).collect(),
                must_succeed,
                inject: true,
                keep: 48 * HOUR,
            },
        };
        let begin = TaskCommand::Begin {
            image: image_id(id),
            task: Box::new(new),
            quota,
            steal_after: HOUR,
            most: 3,
        };
        self.command(task, begin)
    }

    fn claim(&mut self, id: u8, node: u64, incarnation: u128) -> Outcome {
        let lease_until = Timestamp(self.clock + 60 * SECOND);
        let claim = TaskCommand::Claim {
            node,
            incarnation,
            lease_until,
        };
        self.command(id, claim)
    }

    fn step(&mut self, task: u8, step: Step) -> Outcome {
        let lease_until = Timestamp(self.clock + 60 * SECOND);
        let step = TaskCommand::Step {
            incarnation: PROCESS,
            lease_until,
            step,
        };
        self.command(task, step)
    }

    fn stored(&mut self, task: u8, store: &str, size: u64) -> Outcome {
        let data = Box::new(data(store, size));
        self.step(task, Step::Stored { data })
    }

    fn end(&mut self, task: u8, success: bool) -> Outcome {
        let end = TaskCommand::End {
            incarnation: PROCESS,
            success,
            message: "why".to_owned(),
        };
        self.command(task, end)
    }

    fn usage(&self) -> (u64, u64) {
        self.view().usage("p").unwrap()
    }
}

fn task(outcome: Outcome) -> Task {
    match outcome {
        Outcome::Task(task) => *task,
        other => panic!("no task: {other:?}"),
    }
}

fn stores(image: &Image) -> Vec<&str> {
    image.locations.iter().map(|l| l.store.as_str()).collect()
}

fn progress(image: &Image) -> (String, String) {
    let progress = image.import.as_ref().unwrap().progress.as_ref().unwrap();
    (progress.importing.join(","), progress.failed.join(","))
}

#[test]
fn staged_data_waits_in_uploading_and_counts_as_reserved_until_the_image_is_deleted() {
    let mut node = Node::new();
    node.stage(1, 40);
    let staged = node.image(1);
    assert_eq!((staged.status, staged.size), (Status::Uploading, Some(40)));
    assert_eq!(staged.locations, []);
    assert_eq!(node.usage(), (0, 40));
    image(node.run(update(&node, 1, |a| a.owner = Some("q".to_owned()))));
    assert_eq!(node.usage(), (0, 0));
    assert_eq!(node.view().usage("q").unwrap(), (0, 40));
    assert_eq!(node.run(delete(1)), Outcome::Done);
    assert_eq!(node.view().usage("q").unwrap(), (0, 0));
    let queue = node.view().pending_deletes(0, 9).unwrap();
    assert_eq!(queue[0].location, location(STAGING));
}

#[test]
fn a_staging_that_is_given_up_leaves_the_image_queued() {
    let mut node = Node::new();
    let formless = crate::image::Attributes {
        disk_format: None,
        ..attributes()
    };
    node.create(1, formless);
    let lease_until = Timestamp(node.clock + 60 * SECOND);
    let begun = image(node.run(Command::BeginUpload {
        id: image_id(1),
        upload: UploadId(5),
        node: 1,
        incarnation: PROCESS,
        store: STAGING.to_owned(),
        reserve: 7,
        quota: None,
        lease_until,
    }));
    assert_eq!(begun.status, Status::Uploading);
    assert_eq!(begun, node.image(1));
    // Its data is not there yet.
    let refused = rejection(node.import(1, 1, Source::Staged, &["a"]));
    assert_eq!(
        refused,
        Rejection::ForbiddenMove {
            from: Status::Uploading,
            to: Status::Importing
        }
    );
    assert_eq!(node.run(abort(1, 5)), Outcome::Done);
    assert_eq!(node.image(1).status, Status::Queued);
    assert_eq!(node.usage(), (0, 0));
}

#[test]
fn an_import_to_two_stores_becomes_active_at_its_end_where_all_must_succeed() {
    let mut node = Node::new();
    node.stage(1, 40);
    let begun = task(node.import(1, 1, Source::Staged, &["a", "b"]));
    assert_eq!(begun.status, TaskStatus::Pending);
    let importing = node.image(1);
    assert_eq!(importing.status, Status::Importing);
    assert_eq!(progress(&importing), ("a,b".to_owned(), String::new()));
    assert_eq!(node.usage(), (0, 80));
    assert_eq!(
        task(node.claim(1, 1, PROCESS)).status,
        TaskStatus::Processing
    );
    task(node.stored(1, "a", 40));
    let half = node.image(1);
    assert_eq!((half.status, stores(&half)), (Status::Importing, vec![]));
    assert_eq!(progress(&half), ("b".to_owned(), String::new()));
    let later = task(node.stored(1, "b", 40));
    assert_eq!(later.remaining().count(), 0);
    let ended = task(node.end(1, true));
    assert_eq!(ended.status, TaskStatus::Success);
    assert_eq!(
        ended.expires_at,
        Some(Timestamp(ended.updated_at.0 + 48 * HOUR))
    );
    let active = node.image(1);
    assert_eq!((active.status, active.size), (Status::Active, Some(40)));
    assert_eq!(stores(&active), ["a", "b"]);
    assert_eq!(progress(&active), (String::new(), String::new()));
    let import = active.import.unwrap();
    assert_eq!(
        (import.task, import.staged, import.failure),
        (None, None, None)
    );
    assert_eq!(node.usage(), (80, 0));
    assert_eq!(node.view().open_tasks().unwrap(), []);
    assert_eq!(rejection(node.end(1, true)), Rejection::TaskLost);
}

#[test]
fn an_import_that_fails_leaves_the_image_queued_and_says_why() {
    let mut node = Node::new();
    node.stage(1, 40);
    task(node.import(1, 1, Source::Staged, &["a", "b"]));
    task(node.claim(1, 1, PROCESS));
    task(node.stored(1, "a", 40));
    task(node.step(
        1,
        Step::StoreFailed {
            store: "b".to_owned(),
        },
    ));
    assert_eq!(task(node.end(1, false)).status, TaskStatus::Failure);
    let queued = node.image(1);
    assert_eq!((queued.status, queued.size), (Status::Queued, None));
    assert_eq!((stores(&queued), node.usage()), (vec![], (0, 0)));
    assert_eq!(progress(&queued), (String::new(), "b".to_owned()));
    let import = queued.import.unwrap();
    assert_eq!((import.task, import.staged), (None, None));
    assert_eq!(import.failure.as_deref(), Some("why"));
}

#[test]
fn where_not_all_must_succeed_the_first_store_makes_the_image_active() {
    let mut node = Node::new();
    node.stage(1, 40);
    task(node.import_as(1, 1, Source::Staged, &["a", "b"], false, None));
    task(node.claim(1, 1, PROCESS));
    task(node.stored(1, "a", 40));
    let active = node.image(1);
    assert_eq!(
        (active.status, stores(&active)),
        (Status::Active, vec!["a"])
    );
    assert_eq!(node.usage(), (40, 40));
    task(node.step(
        1,
        Step::StoreFailed {
            store: "b".to_owned(),
        },
    ));
    task(node.end(1, true));
    assert_eq!(node.usage(), (40, 0));
    assert_eq!(progress(&node.image(1)), (String::new(), "b".to_owned()));
}

#[test]
fn an_import_without_any_data_does_not_end_well() {
    let mut node = Node::new();
    node.stage(1, 40);
    task(node.import_as(1, 1, Source::Staged, &["a"], false, None));
    task(node.claim(1, 1, PROCESS));
    assert!(matches!(
        rejection(node.end(1, true)),
        Rejection::ForbiddenMove { .. }
    ));
}

#[test]
fn a_copy_leaves_the_image_active_and_adds_its_stores_at_the_end() {
    let mut node = Node::new();
    node.create_active(1, attributes(), 50);
    let here = node.image(1).locations[0].store.clone();
    assert_eq!(
        rejection(node.import(1, 1, Source::Store, &["b", &here])),
        Rejection::StoreHolds(here.clone())
    );
    task(node.import(1, 1, Source::Store, &["b"]));
    assert_eq!(node.image(1).status, Status::Active);
    assert_eq!(node.usage(), (50, 50));
    assert_eq!(
        rejection(node.import(2, 1, Source::Store, &["c"])),
        Rejection::ImportLocked
    );
    task(node.claim(1, 1, PROCESS));
    task(node.stored(1, "b", 50));
    task(node.end(1, true));
    let image = node.image(1);
    assert_eq!(stores(&image), [here.as_str(), "b"]);
    assert_eq!(image.checksum.as_deref(), node.image(1).checksum.as_deref());
    assert_eq!(node.usage(), (100, 0));
}

#[test]
fn the_quota_holds_for_every_store_and_again_when_the_size_is_known() {
    let mut node = Node::new();
    node.stage(1, 40);
    let over = |used, requested| Rejection::StorageQuota {
        used,
        requested,
        limit: 100,
    };
    let three = ["a", "b", "c"];
    let refused = node.import_as(1, 1, Source::Staged, &three, true, Some(100));
    assert_eq!(rejection(refused), over(0, 120));
    assert_eq!(node.image(1).status, Status::Uploading);
    node.create(2, attributes());
    let web = Source::Web {
        uri: "http://x".to_owned(),
    };
    task(node.import_as(2, 2, web, &["a", "b"], true, Some(100)));
    task(node.claim(2, 1, PROCESS));
    let staged = |length| Step::Staged {
        staged: Some(Staged {
            node: 1,
            location: location(STAGING),
            manifest: manifest(length),
        }),
        plugins: 0,
        change: ImageChange::default(),
        quota: Some(100),
    };
    assert_eq!(rejection(node.step(2, staged(31))), over(40, 62));
    task(node.step(2, staged(30)));
    assert_eq!(node.usage(), (0, 100));
    assert_eq!(node.image(2).size, Some(30));
}

#[test]
fn the_task_of_a_deleted_image_stays_open_until_it_is_undone() {
    let mut node = Node::new();
    node.stage(1, 40);
    task(node.import(1, 1, Source::Staged, &["a"]));
    task(node.claim(1, 1, PROCESS));
    task(node.stored(1, "a", 40));
    assert_eq!(node.run(delete(1)), Outcome::Done);
    assert_eq!(node.usage(), (0, 40));
    assert_eq!(rejection(node.stored(1, "a", 40)), Rejection::ImageNotFound);
    assert_eq!(rejection(node.end(1, true)), Rejection::ImageNotFound);
    assert_eq!(node.view().open_tasks().unwrap().len(), 1);
    task(node.end(1, false));
    assert_eq!(node.usage(), (0, 0));
    assert_eq!(node.view().image_tasks(image_id(1)).unwrap().len(), 1);
}

#[test]
fn a_cancelled_task_can_only_be_undone() {
    let mut node = Node::new();
    node.stage(1, 40);
    task(node.import(1, 1, Source::Staged, &["a"]));
    task(node.claim(1, 1, PROCESS));
    assert!(task(node.command(1, TaskCommand::Cancel)).run.cancelled);
    assert_eq!(rejection(node.stored(1, "a", 40)), Rejection::TaskCancelled);
    assert_eq!(rejection(node.end(1, true)), Rejection::TaskCancelled);
    task(node.end(1, false));
    let again = node.command(1, TaskCommand::Cancel);
    assert_eq!(rejection(again), Rejection::TaskEnded);
    let unknown = node.command(2, TaskCommand::Cancel);
    assert_eq!(rejection(unknown), Rejection::TaskNotFound);
}

#[test]
fn a_task_goes_to_the_next_process_of_its_node_and_to_another_node_after_its_lease() {
    let mut node = Node::new();
    node.stage(1, 40);
    task(node.import(1, 1, Source::Staged, &["a"]));
    task(node.claim(1, 1, 5));
    assert_eq!(rejection(node.claim(1, 2, 6)), Rejection::TaskLost);
    task(node.claim(1, 1, PROCESS));
    task(node.stored(1, "a", 40));
    node.clock += HOUR;
    task(node.claim(1, 2, 6));
    assert_eq!(rejection(node.end(1, false)), Rejection::TaskLost);
}

#[test]
fn a_lock_without_a_sign_of_life_is_taken_and_the_old_task_has_failed() {
    let mut node = Node::new();
    node.create_active(1, attributes(), 50);
    task(node.import(1, 1, Source::Store, &["b"]));
    node.clock += HOUR + SECOND;
    // Nobody has begun with it: it is given twice as long.
    assert_eq!(
        rejection(node.import(2, 1, Source::Store, &["c"])),
        Rejection::ImportLocked
    );
    task(node.claim(1, 1, PROCESS));
    node.clock += HOUR + SECOND;
    task(node.import(2, 1, Source::Store, &["c"]));
    let old = node.view().task(task_id(1)).unwrap().unwrap();
    assert_eq!(old.status, TaskStatus::Failure);
    assert_eq!(rejection(node.stored(1, "b", 50)), Rejection::TaskLost);
    assert_eq!(node.usage(), (50, 50));
    assert_eq!(progress(&node.image(1)), ("c".to_owned(), String::new()));
}

#[test]
fn so_many_tasks_are_open_at_once_and_ended_ones_go_when_their_time_is_over() {
    let mut node = Node::new();
    for id in 1..=4u8 {
        node.stage(u128::from(id), 1);
    }
    for id in 1..=3u8 {
        task(node.import(id, u128::from(id), Source::Staged, &["a"]));
    }
    assert_eq!(
        rejection(node.import(4, 4, Source::Staged, &["a"])),
        Rejection::TooManyTasks
    );
    task(node.claim(2, 1, PROCESS));
    task(node.end(2, false));
    task(node.import(4, 4, Source::Staged, &["a"]));
    let ids = |tasks: Vec<Task>| tasks.iter().map(|task| task.id.0[0]).collect::<Vec<_>>();
    let view = node.view();
    assert_eq!(ids(view.open_tasks().unwrap()), [1, 3, 4]);
    assert_eq!(ids(view.tasks(None, true, 2, |_| true).unwrap()), [4, 3]);
    let third = view.task(task_id(3)).unwrap().unwrap().sequence;
    let rest = view.tasks(Some(third), true, 9, |_| true).unwrap();
    assert_eq!(ids(rest), [2, 1]);
    let open = view.tasks(None, false, 9, Task::is_open).unwrap();
    assert_eq!(ids(open), [1, 3, 4]);
    assert_eq!(view.expired_tasks(view.time(), 9).unwrap(), []);
    assert_eq!(node.command(2, TaskCommand::Expire), Outcome::Done);
    assert!(node.view().task(task_id(2)).unwrap().is_some());
    node.clock += 49 * HOUR;
    let view = node.view();
    let late = Timestamp(node.clock);
    assert_eq!(ids(view.expired_tasks(late, 9).unwrap()), [2]);
    assert_eq!(node.command(2, TaskCommand::Expire), Outcome::Done);
    assert!(node.view().task(task_id(2)).unwrap().is_none());
    assert_eq!(node.view().image_tasks(ImageId([0; 16])).unwrap(), []);
}
