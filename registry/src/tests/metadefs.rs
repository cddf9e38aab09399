//! Random commands on metadata definitions, and a small model of their rules. The model keeps no
//! sums: it counts anew.

use std::collections::BTreeMap;

use rand::{RngExt as _, rngs::StdRng};

use super::fixture::pick;
use crate::{
    image::{Timestamp, Version},
    metadef::{
        Definition, Kind, MetadefBounds, MetadefCommand, Namespace, NamespaceAttributes,
        NamespaceId, NewDefinition, ResourceType,
    },
    outcome::{CountedThing, Outcome, Rejection},
    view::View,
};

const NAMESPACES: [&str; 5] = ["", "a", "a\0", "b", "\u{e9}"];
const NAMES: [&str; 5] = ["x", "x\0", "y", "z", "w"];
/// Tight enough to be reached now and then.
pub(super) const BOUNDS: MetadefBounds = MetadefBounds {
    namespaces: 4,
    resource_types: 4,
    definitions: 6,
    bytes: 60,
};

pub(super) fn attributes(name: &str) -> NamespaceAttributes {
    NamespaceAttributes {
        name: name.to_owned(),
        display_name: None,
        description: Some("d".to_owned()),
        public: false,
        protected: false,
        owner: Some("p".to_owned()),
    }
}

pub(super) fn new(kind: Kind, name: &str) -> NewDefinition {
    NewDefinition {
        kind,
        name: name.to_owned(),
        body: "{}".to_owned(),
    }
}

/// A command that is often lawful.
pub(super) fn random_metadef_command(rng: &mut StdRng) -> MetadefCommand {
    let id = NamespaceId(rng.random_range(0..6));
    let kind = *pick(rng, &Kind::ALL);
    let name = (*pick(rng, &NAMES)).to_owned();
    let expected = rng.random_bool(0.1).then(|| rng.random_range(0..50));
    let attributes = NamespaceAttributes {
        public: rng.random_bool(0.5),
        protected: rng.random_bool(0.2),
        ..attributes(pick::<&str>(rng, &NAMESPACES))
    };
    let bounds = BOUNDS;
    let definition = random_definition(rng, kind);
    match rng.random_range(0..12) {
        0..3 => MetadefCommand::CreateNamespace {
            id,
            attributes,
            definitions: random_definitions(rng),
            bounds,
        },
        3 => MetadefCommand::UpdateNamespace {
            id,
            expected,
            attributes,
        },
        4 => MetadefCommand::DeleteNamespace { id, expected },
        5 | 6 => MetadefCommand::AddDefinition {
            id,
            definition,
            bounds,
        },
        7 => MetadefCommand::AddDefinitions {
            id,
            replace: rng.random_bool(0.5).then_some(kind),
            definitions: random_definitions(rng),
            bounds,
        },
        8 | 9 => MetadefCommand::UpdateDefinition {
            id,
            name,
            expected,
            definition,
            bounds,
        },
        10 => MetadefCommand::RemoveDefinition {
            id,
            kind,
            name,
            expected,
        },
        _ => MetadefCommand::ClearDefinitions { id, kind },
    }
}

fn random_definition(rng: &mut StdRng, kind: Kind) -> NewDefinition {
    NewDefinition {
        body: (*pick(rng, &["{}", "{\"a\":1}", "{\"title\":\"long\"}"])).to_owned(),
        ..new(kind, pick::<&str>(rng, &NAMES))
    }
}

fn random_definitions(rng: &mut StdRng) -> Vec<NewDefinition> {
    let count = *pick(rng, &[0, 0, 1, 2, 3]);
    (0..count)
        .map(|_| {
            let kind = *pick(rng, &Kind::ALL);
            random_definition(rng, kind)
        })
        .collect()
}

#[derive(Clone, Default)]
pub(super) struct Model {
    namespaces: BTreeMap<NamespaceId, Namespace>,
    definitions: BTreeMap<(NamespaceId, Kind, String), Definition>,
    types: BTreeMap<String, ResourceType>,
}

impl Model {
    /// A refusal leaves all as it was.
    pub(super) fn run(
        &mut self,
        index: u64,
        now: Timestamp,
        command: &MetadefCommand,
    ) -> Result<Outcome, Rejection> {
        let mut after = self.clone();
        let outcome = after.answer(index, now, command)?;
        *self = after;
        Ok(outcome)
    }

    fn answer(
        &mut self,
        index: u64,
        now: Timestamp,
        command: &MetadefCommand,
    ) -> Result<Outcome, Rejection> {
        match command {
            MetadefCommand::CreateNamespace {
                id,
                attributes,
                definitions,
                bounds,
            } => {
                if self.namespaces.contains_key(id) {
                    return Err(Rejection::IdTaken);
                }
                self.unnamed(&attributes.name)?;
                let count = self.namespaces.len() as u64 + 1;
                bounded(CountedThing::Namespace, count, bounds.namespaces)?;
                let namespace = Namespace {
                    id: *id,
                    version: index,
                    attributes: attributes.clone(),
                    created_at: now,
                    updated_at: now,
                    definitions: 0,
                    bytes: 0,
                };
                self.namespaces.insert(*id, namespace);
                self.add(index, now, *id, definitions, bounds)?;
                Ok(self.touched(*id, index))
            }
            MetadefCommand::UpdateNamespace {
                id,
                expected,
                attributes,
            } => {
                let before = self.find(*id)?;
                current(*expected, before.version)?;
                if before.attributes.name != attributes.name {
                    self.unnamed(&attributes.name)?;
                }
                let namespace = self.namespaces.get_mut(id).unwrap();
                namespace.attributes = attributes.clone();
                namespace.updated_at = now;
                Ok(self.touched(*id, index))
            }
            MetadefCommand::DeleteNamespace { id, expected } => {
                let namespace = self.find(*id)?;
                current(*expected, namespace.version)?;
                self.unprotected(*id)?;
                self.namespaces.remove(id);
                self.definitions.retain(|(of, ..), _| of != id);
                Ok(Outcome::Done)
            }
            MetadefCommand::AddDefinition {
                id,
                definition,
                bounds,
            } => {
                self.find(*id)?;
                self.add(index, now, *id, std::slice::from_ref(definition), bounds)?;
                self.touched(*id, index);
                Ok(self.shown(*id, definition.kind, &definition.name))
            }
            MetadefCommand::AddDefinitions {
                id,
                replace,
                definitions,
                bounds,
            } => {
                self.find(*id)?;
                self.definitions
                    .retain(|(of, kind, _), _| of != id || Some(*kind) != *replace);
                self.add(index, now, *id, definitions, bounds)?;
                self.touched(*id, index);
                Ok(Outcome::Done)
            }
            MetadefCommand::UpdateDefinition {
                id,
                name,
                expected,
                definition,
                bounds,
            } => {
                self.find(*id)?;
                let key = (*id, definition.kind, name.clone());
                let before = self.definitions.get(&key).cloned();
                let before = before.ok_or(Rejection::DefinitionNotFound)?;
                current(*expected, before.version)?;
                self.definitions.remove(&key);
                let types = self.types.clone();
                self.add(index, now, *id, std::slice::from_ref(definition), bounds)?;
                self.types = types;
                let key = (*id, definition.kind, definition.name.clone());
                let after = self.definitions.get_mut(&key).unwrap();
                after.created_at = before.created_at;
                after.position = before.position;
                self.touched(*id, index);
                Ok(self.shown(*id, definition.kind, &definition.name))
            }
            MetadefCommand::RemoveDefinition {
                id,
                kind,
                name,
                expected,
            } => {
                self.find(*id)?;
                let key = (*id, *kind, name.clone());
                let found = self.definitions.get(&key);
                current(
                    *expected,
                    found.ok_or(Rejection::DefinitionNotFound)?.version,
                )?;
                self.unprotected(*id)?;
                self.definitions.remove(&key);
                self.touched(*id, index);
                Ok(Outcome::Done)
            }
            MetadefCommand::ClearDefinitions { id, kind } => {
                self.unprotected(*id)?;
                self.definitions
                    .retain(|(of, known, _), _| of != id || known != kind);
                self.touched(*id, index);
                Ok(Outcome::Done)
            }
        }
    }

    /// Everything that a view shows.
    pub(super) fn compare(&self, view: &View) {
        let mut shown = view.namespaces().unwrap();
        shown.sort_by_key(|namespace| namespace.id);
        assert!(shown.iter().eq(self.namespaces.values()));
        for name in NAMESPACES {
            let mut named = self.namespaces.values();
            let named = named.find(|namespace| namespace.attributes.name == name);
            assert_eq!(view.namespace(name).unwrap().as_ref(), named, "{name:?}");
        }
        for id in (0..6).map(NamespaceId) {
            for kind in Kind::ALL {
                let known = self.definitions.iter();
                let mut known: Vec<_> = known
                    .filter(|((of, of_kind, _), _)| *of == id && *of_kind == kind)
                    .map(|(_, definition)| definition.clone())
                    .collect();
                known.sort_by_key(|known| (known.created_at, known.position));
                assert_eq!(view.definitions(id, kind).unwrap(), known);
            }
        }
        let mut types = view.resource_types().unwrap();
        assert!(types.is_sorted_by_key(|known| known.created_at));
        types.sort_by(|a, b| a.name.cmp(&b.name));
        assert!(types.iter().eq(self.types.values()));
    }

    fn find(&self, id: NamespaceId) -> Result<Namespace, Rejection> {
        let found = self.namespaces.get(&id).cloned();
        found.ok_or(Rejection::NamespaceNotFound)
    }

    fn unnamed(&self, name: &str) -> Result<(), Rejection> {
        let mut names = self.namespaces.values();
        match names.any(|namespace| namespace.attributes.name == name) {
            true => Err(Rejection::NamespaceExists),
            false => Ok(()),
        }
    }

    fn unprotected(&self, id: NamespaceId) -> Result<(), Rejection> {
        match self.find(id)?.attributes.protected {
            true => Err(Rejection::NamespaceProtected),
            false => Ok(()),
        }
    }

    fn add(
        &mut self,
        index: u64,
        now: Timestamp,
        id: NamespaceId,
        definitions: &[NewDefinition],
        bounds: &MetadefBounds,
    ) -> Result<(), Rejection> {
        for (new, position) in definitions.iter().zip(0..) {
            let key = (id, new.kind, new.name.clone());
            if self.definitions.contains_key(&key) {
                let name = new.name.clone();
                return Err(Rejection::DefinitionExists { name });
            }
            if new.kind == Kind::ResourceType && !self.types.contains_key(&new.name) {
                let made = ResourceType {
                    name: new.name.clone(),
                    created_at: now,
                    updated_at: now,
                };
                self.types.insert(new.name.clone(), made);
                let count = self.types.len() as u64;
                bounded(CountedThing::ResourceType, count, bounds.resource_types)?;
            }
            let made = Definition {
                name: new.name.clone(),
                body: new.body.clone(),
                version: index,
                position,
                created_at: now,
                updated_at: now,
            };
            self.definitions.insert(key, made);
            let (count, bytes) = self.size(id);
            bounded(CountedThing::Definition, count, bounds.definitions)?;
            bounded(CountedThing::DefinitionByte, bytes, bounds.bytes)?;
        }
        Ok(())
    }

    fn size(&self, id: NamespaceId) -> (u64, u64) {
        let mine = self.definitions.iter().filter(|((of, ..), _)| *of == id);
        mine.fold((0, 0), |(count, bytes), (_, definition)| {
            let size = definition.name.len() + definition.body.len();
            (count + 1, bytes + size as u64)
        })
    }

    fn touched(&mut self, id: NamespaceId, index: u64) -> Outcome {
        let (definitions, bytes) = self.size(id);
        let namespace = self.namespaces.get_mut(&id).unwrap();
        namespace.version = index;
        namespace.definitions = definitions;
        namespace.bytes = bytes;
        Outcome::Namespace(Box::new(namespace.clone()))
    }

    fn shown(&self, id: NamespaceId, kind: Kind, name: &str) -> Outcome {
        let definition = self.definitions[&(id, kind, name.to_owned())].clone();
        Outcome::Definition(id, kind, Box::new(definition))
    }
}

fn current(expected: Option<Version>, current: Version) -> Result<(), Rejection> {
    match expected {
        Some(expected) if expected != current => Err(Rejection::VersionConflict { current }),
        _ => Ok(()),
    }
}

fn bounded(what: CountedThing, attempted: u64, limit: u64) -> Result<(), Rejection> {
    match attempted > limit {
        true => Err(Rejection::CountQuota {
            what,
            attempted,
            limit,
        }),
        false => Ok(()),
    }
}
