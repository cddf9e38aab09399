//! Listing among many images, spread over several chunks of rows.

use std::collections::{BTreeMap, HashMap};

use glimpse_replication::StateMachine as _;
use rand::RngExt as _;

use super::{
    fixture::{
        Node, SECOND, begin, entry, finish, image_id, newest_first, query, random_attributes,
        random_query, seeded,
    },
    oracle::World,
};
use crate::{
    command::Command,
    image::{Image, ImageId, Member, MemberStatus, Timestamp},
    query::{Direction, Filter, ListQuery, Scope, SortKey, VisibilityFilter},
};

const IMAGES: u128 = 20_000;
/// Rows left out after every group, so that the images lie in several chunks.
const GAP: u32 = 800;

fn fill(node: &mut Node, rng: &mut rand::rngs::StdRng) -> HashMap<(ImageId, String), Member> {
    let mut members = HashMap::new();
    let mut next = 0;
    while next < IMAGES {
        let mut entries = Vec::new();
        let mut push = |node: &mut Node, command| {
            node.index += 1;
            node.clock += rng.random_range(0..SECOND / 8);
            entries.push(entry(node.index, node.index, node.clock, command));
        };
        let group = next..IMAGES.min(next + 64);
        next = group.end;
        for number in group {
            let id = image_id(number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
            let number = u128::from_be_bytes(id.0);
            let attributes =
                random_attributes(&mut rand::SeedableRng::seed_from_u64(number as u64));
            push(node, Command::CreateImage { id, attributes });
            if number.is_multiple_of(2) {
                let lease = Timestamp(node.clock + 3600 * SECOND);
                push(node, begin(number, number, 0, None, lease));
                let size = (number % 10_000) as u64;
                push(node, finish(number, number, size, None));
            }
            if number.is_multiple_of(3) {
                let member = "q".to_owned();
                let quota = None;
                push(node, Command::AddMember { id, member, quota });
                if number.is_multiple_of(2) {
                    push(
                        node,
                        Command::SetMemberStatus {
                            id,
                            member: "q".to_owned(),
                            status: MemberStatus::Accepted,
                        },
                    );
                }
            }
        }
        for outcome in node.store.apply(&entries).unwrap() {
            if let crate::outcome::Outcome::Member(member) = outcome {
                members.insert((member.image_id, member.member_id.clone()), member);
            }
        }
        node.store.skip_rows(GAP);
    }
    members
}

#[test]
fn every_page_is_what_a_look_at_every_image_gives() {
    let mut rng = seeded();
    let mut node = Node::new();
    let members = fill(&mut node, &mut rng);
    let view = node.view();
    let images = view.images_from(0, usize::MAX).unwrap();
    assert_eq!(images.len() as u128, IMAGES);
    assert!(images.last().unwrap().row > 3 * 65_536);
    let member = |id: ImageId, project: &str| members.get(&(id, project.to_owned())).cloned();
    let world = World {
        images: images.iter().map(|image| &**image).collect(),
        member: &member,
    };
    let mut pages = 0;
    for _ in 0..150 {
        let mut query = random_query(&mut rng, 1, node.clock);
        query.marker = rng
            .random_bool(0.5)
            .then(|| images[rng.random_range(0..images.len())].id);
        for filter in &mut query.filters {
            if let Filter::Id(ids) = filter {
                ids.push(images[rng.random_range(0..images.len())].id);
            }
        }
        let expected = world.list(&query);
        let page = view.list(&query).ok();
        let page = page.map(|page| page.iter().map(|image| image.id).collect::<Vec<_>>());
        assert_eq!(page, expected, "{query:?}");
        pages += usize::from(expected.is_some_and(|page| !page.is_empty()));
    }
    assert!(pages > 30, "only {pages} pages had images");
}

/// Walks a whole list page by page, as a client does.
fn walk(node: &Node, mut query: ListQuery) -> Vec<ImageId> {
    let mut all = Vec::new();
    loop {
        let page = node.view().list(&query).unwrap();
        assert!(page.len() <= query.limit);
        let Some(last) = page.last() else { break };
        query.marker = Some(last.id);
        all.extend(page.iter().map(|image: &std::sync::Arc<Image>| image.id));
    }
    all
}

#[test]
fn pages_from_marker_to_marker_give_every_image_once_in_every_order() {
    let mut rng = seeded();
    let mut node = Node::new();
    fill(&mut node, &mut rng);
    let by_id: BTreeMap<_, _> = node
        .view()
        .images_from(0, usize::MAX)
        .unwrap()
        .into_iter()
        .filter(|image| !image.attributes.os_hidden)
        .map(|image| (image.id, image))
        .collect();
    for key in [
        SortKey::Name,
        SortKey::Status,
        SortKey::Size,
        SortKey::Id,
        SortKey::CreatedAt,
        SortKey::UpdatedAt,
    ] {
        for direction in [Direction::Ascending, Direction::Descending] {
            let mut sort = vec![
                (key, direction),
                (SortKey::DiskFormat, Direction::Ascending),
            ];
            sort.extend(newest_first());
            let query = ListQuery {
                visibility: VisibilityFilter::All,
                sort,
                limit: 997,
                ..query(Scope::Admin { project: None })
            };
            let all = walk(&node, query.clone());
            assert_eq!(all.len(), by_id.len(), "{key:?} {direction:?}");
            // A bound of weight ends pages earlier, and changes nothing else.
            let weight = 400 << 10;
            let light = ListQuery { weight, ..query };
            let page = node.view().list(&light).unwrap();
            assert!(!page.is_empty() && page.len() < light.limit && light.is_full(&page));
            assert_eq!(walk(&node, light), all, "{key:?} {direction:?}");
            let distinct: std::collections::BTreeSet<_> = all.iter().collect();
            assert_eq!(distinct.len(), all.len());
        }
    }
}
