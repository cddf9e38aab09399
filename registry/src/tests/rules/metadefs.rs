//! Metadata definitions: each refusal, and that a refusal changes nothing.

use crate::{
    command::Command,
    metadef::{
        Definition, Kind, MetadefBounds, MetadefCommand, Namespace, NamespaceAttributes,
        NamespaceId, NewDefinition,
    },
    outcome::{CountedThing, Outcome, Rejection},
    tests::{
        fixture::{Node, rejection},
        metadefs::{attributes, new},
    },
};

const BOUNDS: MetadefBounds = MetadefBounds {
    namespaces: 2,
    resource_types: 2,
    definitions: 3,
    bytes: 100,
};

const ID: NamespaceId = NamespaceId(1);

fn run(node: &mut Node, command: MetadefCommand) -> Outcome {
    node.run(Command::Metadef(command))
}

fn refused(node: &mut Node, command: MetadefCommand) -> Rejection {
    let before = node.view();
    let rejection = rejection(run(node, command));
    let after = node.view();
    assert_eq!(before.namespaces().unwrap(), after.namespaces().unwrap());
    for kind in Kind::ALL {
        assert_eq!(
            before.definitions(ID, kind).unwrap(),
            after.definitions(ID, kind).unwrap()
        );
    }
    assert_eq!(
        before.resource_types().unwrap(),
        after.resource_types().unwrap()
    );
    rejection
}

fn create(id: NamespaceId, name: &str, definitions: Vec<NewDefinition>) -> MetadefCommand {
    MetadefCommand::CreateNamespace {
        id,
        attributes: attributes(name),
        definitions,
        bounds: BOUNDS,
    }
}

fn namespace(outcome: Outcome) -> Namespace {
    match outcome {
        Outcome::Namespace(namespace) => *namespace,
        other => panic!("{other:?}"),
    }
}

fn definition(outcome: Outcome) -> Definition {
    match outcome {
        Outcome::Definition(_, _, definition) => *definition,
        other => panic!("{other:?}"),
    }
}

fn add(definition: NewDefinition) -> MetadefCommand {
    MetadefCommand::AddDefinition {
        id: ID,
        definition,
        bounds: BOUNDS,
    }
}

fn update(name: &str, definition: NewDefinition) -> MetadefCommand {
    MetadefCommand::UpdateDefinition {
        id: ID,
        name: name.to_owned(),
        expected: None,
        definition,
        bounds: BOUNDS,
    }
}

fn exists(name: &str) -> Rejection {
    Rejection::DefinitionExists {
        name: name.to_owned(),
    }
}

fn too_many(what: CountedThing, limit: u64) -> Rejection {
    Rejection::CountQuota {
        what,
        attempted: limit + 1,
        limit,
    }
}

#[test]
fn a_namespace_is_made_with_all_that_is_in_it_or_not_at_all() {
    let mut node = Node::new();
    let (tag, object) = (new(Kind::Tag, "t"), new(Kind::Object, "o"));
    let twice = vec![new(Kind::ResourceType, "r"), tag.clone(), tag.clone()];
    assert_eq!(refused(&mut node, create(ID, "n", twice)), exists("t"));
    let four: Vec<_> = ["a", "b", "c", "d"].map(|n| new(Kind::Tag, n)).into();
    assert_eq!(
        refused(&mut node, create(ID, "n", four)),
        too_many(CountedThing::Definition, 3)
    );
    let types: Vec<_> = ["a", "b", "c"].map(|n| new(Kind::ResourceType, n)).into();
    assert_eq!(
        refused(&mut node, create(ID, "n", types)),
        too_many(CountedThing::ResourceType, 2)
    );
    let long = NewDefinition {
        body: "x".repeat(100),
        ..object.clone()
    };
    assert_eq!(
        refused(&mut node, create(ID, "n", vec![long])),
        too_many(CountedThing::DefinitionByte, 100)
    );
    let made = namespace(run(&mut node, create(ID, "n", vec![tag, object])));
    assert_eq!((made.definitions, made.bytes), (2, 6));
    assert_eq!(node.view().namespace("n").unwrap(), Some(made));
}

#[test]
fn namespaces_have_names_and_ids_of_their_own_and_a_bound() {
    let mut node = Node::new();
    run(&mut node, create(ID, "n", Vec::new()));
    let other = NamespaceId(2);
    assert_eq!(
        refused(&mut node, create(other, "n", Vec::new())),
        Rejection::NamespaceExists
    );
    assert_eq!(
        refused(&mut node, create(ID, "m", Vec::new())),
        Rejection::IdTaken
    );
    run(&mut node, create(other, "m", Vec::new()));
    assert_eq!(
        refused(&mut node, create(NamespaceId(3), "o", Vec::new())),
        too_many(CountedThing::Namespace, 2)
    );
    let rename = |id, name| MetadefCommand::UpdateNamespace {
        id,
        expected: None,
        attributes: attributes(name),
    };
    assert_eq!(
        refused(&mut node, rename(ID, "m")),
        Rejection::NamespaceExists
    );
    assert_eq!(
        refused(&mut node, rename(NamespaceId(3), "x")),
        Rejection::NamespaceNotFound
    );
    run(&mut node, add(new(Kind::Tag, "t")));
    let renamed = namespace(run(&mut node, rename(ID, "x")));
    assert!(renamed.updated_at > renamed.created_at);
    assert_eq!(node.view().namespace("n").unwrap(), None);
    assert_eq!(node.view().namespace("x").unwrap(), Some(renamed));
    assert_eq!(node.view().definitions(ID, Kind::Tag).unwrap().len(), 1);
    run(&mut node, rename(other, "n"));
}

#[test]
fn nothing_is_removed_from_a_protected_namespace() {
    let mut node = Node::new();
    run(&mut node, create(ID, "n", vec![new(Kind::Tag, "t")]));
    let protect = |protected| MetadefCommand::UpdateNamespace {
        id: ID,
        expected: None,
        attributes: NamespaceAttributes {
            protected,
            ..attributes("n")
        },
    };
    run(&mut node, protect(true));
    let removals = [
        MetadefCommand::DeleteNamespace {
            id: ID,
            expected: None,
        },
        MetadefCommand::RemoveDefinition {
            id: ID,
            kind: Kind::Tag,
            name: "t".to_owned(),
            expected: None,
        },
        MetadefCommand::ClearDefinitions {
            id: ID,
            kind: Kind::Tag,
        },
    ];
    for removal in removals {
        assert_eq!(refused(&mut node, removal), Rejection::NamespaceProtected);
    }
    definition(run(&mut node, add(new(Kind::Tag, "u"))));
    definition(run(&mut node, update("u", new(Kind::Tag, "v"))));
    run(&mut node, protect(false));
    let delete = MetadefCommand::DeleteNamespace {
        id: ID,
        expected: None,
    };
    assert_eq!(run(&mut node, delete.clone()), Outcome::Done);
    assert_eq!(refused(&mut node, delete), Rejection::NamespaceNotFound);
    assert!(node.view().definitions(ID, Kind::Tag).unwrap().is_empty());
}

#[test]
fn definitions_are_unique_by_kind_and_name_and_keep_their_age() {
    let mut node = Node::new();
    assert_eq!(
        refused(&mut node, add(new(Kind::Tag, "t"))),
        Rejection::NamespaceNotFound
    );
    run(&mut node, create(ID, "n", Vec::new()));
    let made = definition(run(&mut node, add(new(Kind::Tag, "t"))));
    assert_eq!(refused(&mut node, add(new(Kind::Tag, "t"))), exists("t"));
    definition(run(&mut node, add(new(Kind::Object, "t"))));
    definition(run(&mut node, add(new(Kind::Tag, "u"))));
    assert_eq!(
        refused(&mut node, add(new(Kind::Tag, "v"))),
        too_many(CountedThing::Definition, 3)
    );
    assert_eq!(
        refused(&mut node, update("t", new(Kind::Tag, "u"))),
        exists("u")
    );
    assert_eq!(
        refused(&mut node, update("x", new(Kind::Tag, "u"))),
        Rejection::DefinitionNotFound
    );
    let renamed = definition(run(&mut node, update("t", new(Kind::Tag, "w"))));
    assert_eq!(renamed.created_at, made.created_at);
    assert!(renamed.version > made.version);
    let names = |node: &Node| -> Vec<_> {
        let found = node.view().definitions(ID, Kind::Tag).unwrap();
        found.into_iter().map(|found| found.name).collect()
    };
    assert_eq!(names(&node), ["w", "u"]);
    let version = node.view().namespace("n").unwrap().unwrap().version;
    assert_eq!(version, renamed.version);
}

#[test]
fn a_list_is_added_whole_and_replaces_those_of_its_kind_where_it_is_asked_to() {
    let mut node = Node::new();
    let tags = |names: &[&str]| names.iter().map(|n| new(Kind::Tag, n)).collect::<Vec<_>>();
    run(&mut node, create(ID, "n", tags(&["a", "b"])));
    let list = |replace, names: &[&str]| MetadefCommand::AddDefinitions {
        id: ID,
        replace,
        definitions: tags(names),
        bounds: BOUNDS,
    };
    let replace = Some(Kind::Tag);
    assert_eq!(
        refused(&mut node, list(replace, &["c", "d", "c"])),
        exists("c")
    );
    assert_eq!(refused(&mut node, list(None, &["c", "a"])), exists("a"));
    assert_eq!(
        refused(&mut node, list(None, &["c", "d"])),
        too_many(CountedThing::Definition, 3)
    );
    assert_eq!(
        run(&mut node, list(replace, &["a", "c", "d"])),
        Outcome::Done
    );
    assert_eq!(node.view().namespace("n").unwrap().unwrap().definitions, 3);
    assert_eq!(node.view().definitions(ID, Kind::Tag).unwrap().len(), 3);
}

#[test]
fn a_change_that_expects_another_version_is_refused() {
    let mut node = Node::new();
    let made = namespace(run(&mut node, create(ID, "n", vec![new(Kind::Tag, "t")])));
    let stale = Some(made.version + 1);
    let conflict = Rejection::VersionConflict {
        current: made.version,
    };
    let changes = [
        MetadefCommand::UpdateNamespace {
            id: ID,
            expected: stale,
            attributes: attributes("m"),
        },
        MetadefCommand::DeleteNamespace {
            id: ID,
            expected: stale,
        },
        MetadefCommand::UpdateDefinition {
            id: ID,
            name: "t".to_owned(),
            expected: stale,
            definition: new(Kind::Tag, "u"),
            bounds: BOUNDS,
        },
        MetadefCommand::RemoveDefinition {
            id: ID,
            kind: Kind::Tag,
            name: "t".to_owned(),
            expected: stale,
        },
    ];
    for change in changes {
        assert_eq!(refused(&mut node, change), conflict);
    }
}

#[test]
fn a_type_of_resource_is_made_once_and_stays() {
    let mut node = Node::new();
    run(
        &mut node,
        create(ID, "n", vec![new(Kind::ResourceType, "r")]),
    );
    let types = node.view().resource_types().unwrap();
    assert_eq!(types.len(), 1);
    let remove = MetadefCommand::RemoveDefinition {
        id: ID,
        kind: Kind::ResourceType,
        name: "r".to_owned(),
        expected: None,
    };
    assert_eq!(run(&mut node, remove), Outcome::Done);
    definition(run(&mut node, add(new(Kind::ResourceType, "r"))));
    assert_eq!(node.view().resource_types().unwrap(), types);
}
