//! Commands on metadata definitions (image-api 1.9).
//!
//! Every change to a definition gives its namespace a new version, so that the version stands for
//! all that a client reads of a namespace.

use std::collections::BTreeSet;

use glimpse_replication::Fault;

use super::{Change, Draft, StateView, Step};
use crate::{
    image::Version,
    metadef::{
        Definition, Kind, MetadefBounds, MetadefCommand, Namespace, NamespaceAttributes,
        NamespaceId, NewDefinition, ResourceType,
    },
    outcome::{CountedThing, Outcome, Rejection},
};

/// The metadata definitions as the machine reads them.
pub trait MetadefView {
    /// The namespace of that name.
    fn namespace_named(&self, name: &str) -> Result<Option<NamespaceId>, Fault>;
    /// A namespace.
    fn namespace(&self, id: NamespaceId) -> Result<Option<Namespace>, Fault>;
    /// Namespaces there are.
    fn namespace_count(&self) -> Result<u64, Fault>;
    /// A definition.
    fn definition(
        &self,
        id: NamespaceId,
        kind: Kind,
        name: &str,
    ) -> Result<Option<Definition>, Fault>;
    /// The definitions of a kind in a namespace, by name.
    fn definitions(&self, id: NamespaceId, kind: Kind) -> Result<Vec<Definition>, Fault>;
    /// A type of resource.
    fn resource_type(&self, name: &str) -> Result<Option<ResourceType>, Fault>;
    /// Types of resources there are.
    fn resource_type_count(&self) -> Result<u64, Fault>;
}

/// One change to the metadata definitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetadefChange {
    /// Makes or replaces a namespace.
    PutNamespace {
        /// Its name before, if it had another.
        renamed: Option<String>,
        /// As it is now.
        after: Box<Namespace>,
    },
    /// Removes a namespace and everything in it.
    RemoveNamespace(Box<Namespace>),
    /// Makes or replaces a definition.
    PutDefinition(NamespaceId, Kind, Definition),
    /// Removes a definition.
    RemoveDefinition(NamespaceId, Kind, String),
    /// Makes a type of resource.
    PutResourceType(ResourceType),
}

impl<V: StateView> Draft<'_, V> {
    pub(super) fn metadef(&mut self, command: &MetadefCommand) -> Step {
        match command {
            MetadefCommand::CreateNamespace {
                id,
                attributes,
                definitions,
                bounds,
            } => self.create_namespace(*id, attributes, definitions, bounds),
            MetadefCommand::UpdateNamespace {
                id,
                expected,
                attributes,
            } => self.update_namespace(*id, *expected, attributes),
            MetadefCommand::DeleteNamespace { id, expected } => {
                let namespace = self.namespace(*id)?;
                check_version(*expected, namespace.version)?;
                check_unprotected(&namespace)?;
                self.change(MetadefChange::RemoveNamespace(Box::new(namespace)));
                Ok(Outcome::Done)
            }
            MetadefCommand::AddDefinition {
                id,
                definition,
                bounds,
            } => {
                let mut namespace = self.namespace(*id)?;
                let added = std::slice::from_ref(definition);
                self.add_definitions(&mut namespace, None, added, bounds)?;
                self.touch(namespace);
                let made = self.new_definition(definition, 0);
                Ok(Outcome::Definition(*id, definition.kind, Box::new(made)))
            }
            MetadefCommand::AddDefinitions {
                id,
                replace,
                definitions,
                bounds,
            } => {
                let mut namespace = self.namespace(*id)?;
                if let Some(kind) = *replace {
                    self.remove_all(&mut namespace, kind)?;
                }
                self.add_definitions(&mut namespace, *replace, definitions, bounds)?;
                self.touch(namespace);
                Ok(Outcome::Done)
            }
            MetadefCommand::UpdateDefinition {
                id,
                name,
                expected,
                definition,
                bounds,
            } => self.update_definition(*id, name, *expected, definition, bounds),
            MetadefCommand::RemoveDefinition {
                id,
                kind,
                name,
                expected,
            } => {
                let mut namespace = self.namespace(*id)?;
                let definition = self.definition(*id, *kind, name)?;
                check_version(*expected, definition.version)?;
                check_unprotected(&namespace)?;
                self.remove_definition(&mut namespace, *kind, definition);
                self.touch(namespace);
                Ok(Outcome::Done)
            }
            MetadefCommand::ClearDefinitions { id, kind } => {
                let mut namespace = self.namespace(*id)?;
                check_unprotected(&namespace)?;
                self.remove_all(&mut namespace, *kind)?;
                self.touch(namespace);
                Ok(Outcome::Done)
            }
        }
    }

    fn create_namespace(
        &mut self,
        id: NamespaceId,
        attributes: &NamespaceAttributes,
        definitions: &[NewDefinition],
        bounds: &MetadefBounds,
    ) -> Step {
        let metadefs = self.view.metadefs();
        if metadefs.namespace(id)?.is_some() {
            return Err(Rejection::IdTaken.into());
        }
        if metadefs.namespace_named(&attributes.name)?.is_some() {
            return Err(Rejection::NamespaceExists.into());
        }
        check_bound(
            CountedThing::Namespace,
            metadefs.namespace_count()? + 1,
            bounds.namespaces,
        )?;
        let mut namespace = Namespace {
            id,
            version: self.index,
            attributes: attributes.clone(),
            created_at: self.now,
            updated_at: self.now,
            definitions: 0,
            bytes: 0,
        };
        self.add_definitions(&mut namespace, None, definitions, bounds)?;
        self.put_namespace(None, namespace)
    }

    fn update_namespace(
        &mut self,
        id: NamespaceId,
        expected: Option<Version>,
        attributes: &NamespaceAttributes,
    ) -> Step {
        let namespace = self.namespace(id)?;
        check_version(expected, namespace.version)?;
        let renamed =
            (namespace.attributes.name != attributes.name).then_some(namespace.attributes.name);
        let taken = self.view.metadefs().namespace_named(&attributes.name)?;
        if renamed.is_some() && taken.is_some() {
            return Err(Rejection::NamespaceExists.into());
        }
        let after = Namespace {
            version: self.index,
            attributes: attributes.clone(),
            updated_at: self.now,
            ..namespace
        };
        self.put_namespace(renamed, after)
    }

    fn update_definition(
        &mut self,
        id: NamespaceId,
        name: &str,
        expected: Option<Version>,
        new: &NewDefinition,
        bounds: &MetadefBounds,
    ) -> Step {
        let mut namespace = self.namespace(id)?;
        let before = self.definition(id, new.kind, name)?;
        check_version(expected, before.version)?;
        if new.name != name && self.exists(id, new.kind, &new.name)? {
            return Err(Rejection::DefinitionExists {
                name: new.name.clone(),
            }
            .into());
        }
        let after = Definition {
            position: before.position,
            created_at: before.created_at,
            ..self.new_definition(new, 0)
        };
        self.remove_definition(&mut namespace, new.kind, before);
        self.put_definition(&mut namespace, new.kind, after.clone(), bounds)?;
        self.touch(namespace);
        Ok(Outcome::Definition(id, new.kind, Box::new(after)))
    }

    /// Adds definitions to a namespace whose definitions of the kind `removed` are going.
    fn add_definitions(
        &mut self,
        namespace: &mut Namespace,
        removed: Option<Kind>,
        definitions: &[NewDefinition],
        bounds: &MetadefBounds,
    ) -> Step<()> {
        let mut added = BTreeSet::new();
        let mut types = self.view.metadefs().resource_type_count()?;
        for (new, position) in definitions.iter().zip(0..) {
            let known =
                removed != Some(new.kind) && self.exists(namespace.id, new.kind, &new.name)?;
            if known || !added.insert((new.kind, new.name.as_str())) {
                return Err(Rejection::DefinitionExists {
                    name: new.name.clone(),
                }
                .into());
            }
            let unknown_type = new.kind == Kind::ResourceType
                && self.view.metadefs().resource_type(&new.name)?.is_none();
            if unknown_type {
                types += 1;
                check_bound(CountedThing::ResourceType, types, bounds.resource_types)?;
                self.change(MetadefChange::PutResourceType(ResourceType {
                    name: new.name.clone(),
                    created_at: self.now,
                    updated_at: self.now,
                }));
            }
            let definition = self.new_definition(new, position);
            self.put_definition(namespace, new.kind, definition, bounds)?;
        }
        Ok(())
    }

    fn put_definition(
        &mut self,
        namespace: &mut Namespace,
        kind: Kind,
        definition: Definition,
        bounds: &MetadefBounds,
    ) -> Step<()> {
        namespace.definitions += 1;
        namespace.bytes = namespace.bytes.saturating_add(size(&definition));
        check_bound(
            CountedThing::Definition,
            namespace.definitions,
            bounds.definitions,
        )?;
        check_bound(CountedThing::DefinitionByte, namespace.bytes, bounds.bytes)?;
        self.change(MetadefChange::PutDefinition(namespace.id, kind, definition));
        Ok(())
    }

    fn remove_definition(&mut self, namespace: &mut Namespace, kind: Kind, definition: Definition) {
        namespace.definitions = namespace.definitions.saturating_sub(1);
        namespace.bytes = namespace.bytes.saturating_sub(size(&definition));
        let removed = MetadefChange::RemoveDefinition(namespace.id, kind, definition.name);
        self.change(removed);
    }

    fn remove_all(&mut self, namespace: &mut Namespace, kind: Kind) -> Step<()> {
        for definition in self.view.metadefs().definitions(namespace.id, kind)? {
            self.remove_definition(namespace, kind, definition);
        }
        Ok(())
    }

    fn new_definition(&self, new: &NewDefinition, position: u32) -> Definition {
        Definition {
            name: new.name.clone(),
            body: new.body.clone(),
            version: self.index,
            position,
            created_at: self.now,
            updated_at: self.now,
        }
    }

    /// Writes a namespace in which something has changed.
    fn touch(&mut self, namespace: Namespace) {
        self.change(MetadefChange::PutNamespace {
            renamed: None,
            after: Box::new(Namespace {
                version: self.index,
                ..namespace
            }),
        });
    }

    fn put_namespace(&mut self, renamed: Option<String>, after: Namespace) -> Step {
        let after = Box::new(after);
        self.change(MetadefChange::PutNamespace {
            renamed,
            after: after.clone(),
        });
        Ok(Outcome::Namespace(after))
    }

    fn change(&mut self, change: MetadefChange) {
        self.changes.push(Change::Metadef(change));
    }

    fn namespace(&self, id: NamespaceId) -> Step<Namespace> {
        let found = self.view.metadefs().namespace(id)?;
        Ok(found.ok_or(Rejection::NamespaceNotFound)?)
    }

    fn definition(&self, id: NamespaceId, kind: Kind, name: &str) -> Step<Definition> {
        let found = self.view.metadefs().definition(id, kind, name)?;
        Ok(found.ok_or(Rejection::DefinitionNotFound)?)
    }

    fn exists(&self, id: NamespaceId, kind: Kind, name: &str) -> Step<bool> {
        let found = self.view.metadefs().definition(id, kind, name)?;
        Ok(found.is_some())
    }
}

/// Bytes that a definition counts.
fn size(definition: &Definition) -> u64 {
    (definition.name.len() + definition.body.len()) as u64
}

fn check_version(expected: Option<Version>, current: Version) -> Step<()> {
    match expected {
        Some(expected) if expected != current => Err(Rejection::VersionConflict { current }.into()),
        _ => Ok(()),
    }
}

fn check_unprotected(namespace: &Namespace) -> Step<()> {
    match namespace.attributes.protected {
        true => Err(Rejection::NamespaceProtected.into()),
        false => Ok(()),
    }
}

fn check_bound(what: CountedThing, attempted: u64, limit: u64) -> Step<()> {
    match attempted > limit {
        true => Err(Rejection::CountQuota {
            what,
            attempted,
            limit,
        }
        .into()),
        false => Ok(()),
    }
}
