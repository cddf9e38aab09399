//! The tables of metadata definitions, open for reading or writing, and what is read from them.

use glimpse_replication::Fault;
use redb::{ReadableTableMetadata, Table, TableDefinition, TableError};

use crate::{
    encoding::{decode, encode, fault, sealed, unsealed},
    machine::{MetadefChange, MetadefView},
    metadef::{Definition, Kind, Namespace, NamespaceId, ResourceType},
    tables::{self, Rows},
};

/// Name of a namespace → its id, 16 bytes, and their checksum.
pub(crate) const NAMES: tables::Definition = TableDefinition::new("metadef_names");
/// Namespace id → [`Namespace`].
pub(crate) const NAMESPACES: tables::Definition = TableDefinition::new("metadef_namespaces");
/// Namespace id, kind, name → [`Definition`].
pub(crate) const DEFINITIONS: tables::Definition = TableDefinition::new("metadef_definitions");
/// Name of a type of resource → [`ResourceType`].
pub(crate) const RESOURCE_TYPES: tables::Definition =
    TableDefinition::new("metadef_resource_types");

const READING: &str = "reading metadata definitions";
const WRITING: &str = "writing metadata definitions";

/// The four tables.
pub(crate) struct MetadefTables<T> {
    names: T,
    namespaces: T,
    definitions: T,
    resource_types: T,
}

impl<T> MetadefTables<T> {
    /// Opens them with `open`.
    pub(crate) fn open(
        open: impl Fn(tables::Definition) -> Result<T, TableError>,
    ) -> Result<Self, Fault> {
        let open = |definition| open(definition).map_err(fault("opening a table"));
        Ok(Self {
            names: open(NAMES)?,
            namespaces: open(NAMESPACES)?,
            definitions: open(DEFINITIONS)?,
            resource_types: open(RESOURCE_TYPES)?,
        })
    }
}

impl<T: Rows + ReadableTableMetadata> MetadefTables<T> {
    /// All namespaces, in the order of their ids.
    pub(crate) fn namespaces(&self) -> Result<Vec<Namespace>, Fault> {
        all(&self.namespaces)
    }

    /// All types of resources, by name.
    pub(crate) fn resource_types(&self) -> Result<Vec<ResourceType>, Fault> {
        all(&self.resource_types)
    }
}

impl<T: Rows + ReadableTableMetadata> MetadefView for MetadefTables<T> {
    fn namespace_named(&self, name: &str) -> Result<Option<NamespaceId>, Fault> {
        let Some(value) = self.names.get(name.as_bytes()).map_err(fault(READING))? else {
            return Ok(None);
        };
        let id = unsealed(READING, value.value())?;
        let id = id.try_into().map_err(fault(READING))?;
        Ok(Some(NamespaceId(u128::from_be_bytes(id))))
    }

    fn namespace(&self, id: NamespaceId) -> Result<Option<Namespace>, Fault> {
        tables::get(&self.namespaces, READING, &id.0.to_be_bytes())
    }

    fn namespace_count(&self) -> Result<u64, Fault> {
        self.namespaces.len().map_err(fault(READING))
    }

    fn definition(
        &self,
        id: NamespaceId,
        kind: Kind,
        name: &str,
    ) -> Result<Option<Definition>, Fault> {
        tables::get(&self.definitions, READING, &definition_key(id, kind, name))
    }

    fn definitions(&self, id: NamespaceId, kind: Kind) -> Result<Vec<Definition>, Fault> {
        let prefix = definition_key(id, kind, "");
        let mut found = Vec::new();
        for entry in self
            .definitions
            .range(prefix.as_slice()..)
            .map_err(fault(READING))?
        {
            let (key, value) = entry.map_err(fault(READING))?;
            if !key.value().starts_with(&prefix) {
                break;
            }
            found.push(decode(READING, value.value())?);
        }
        Ok(found)
    }

    fn resource_type(&self, name: &str) -> Result<Option<ResourceType>, Fault> {
        tables::get(&self.resource_types, READING, name.as_bytes())
    }

    fn resource_type_count(&self) -> Result<u64, Fault> {
        self.resource_types.len().map_err(fault(READING))
    }
}

impl MetadefTables<Table<'_, &'static [u8], &'static [u8]>> {
    /// Carries out one change.
    pub(crate) fn carry_out(&mut self, change: MetadefChange) -> Result<(), Fault> {
        match change {
            MetadefChange::PutNamespace { renamed, after } => {
                if let Some(name) = renamed {
                    remove(&mut self.names, name.as_bytes())?;
                }
                let id = after.id.0.to_be_bytes();
                put(
                    &mut self.names,
                    after.attributes.name.as_bytes(),
                    &sealed(id.to_vec()),
                )?;
                put(&mut self.namespaces, &id, &encode(&*after)?)
            }
            MetadefChange::RemoveNamespace(namespace) => {
                remove(&mut self.names, namespace.attributes.name.as_bytes())?;
                remove(&mut self.namespaces, &namespace.id.0.to_be_bytes())?;
                for kind in Kind::ALL {
                    for definition in self.definitions(namespace.id, kind)? {
                        let key = definition_key(namespace.id, kind, &definition.name);
                        remove(&mut self.definitions, &key)?;
                    }
                }
                Ok(())
            }
            MetadefChange::PutDefinition(id, kind, definition) => put(
                &mut self.definitions,
                &definition_key(id, kind, &definition.name),
                &encode(&definition)?,
            ),
            MetadefChange::RemoveDefinition(id, kind, name) => {
                remove(&mut self.definitions, &definition_key(id, kind, &name))
            }
            MetadefChange::PutResourceType(resource_type) => put(
                &mut self.resource_types,
                resource_type.name.as_bytes(),
                &encode(&resource_type)?,
            ),
        }
    }
}

fn definition_key(id: NamespaceId, kind: Kind, name: &str) -> Vec<u8> {
    [&id.0.to_be_bytes()[..], &[kind as u8], name.as_bytes()].concat()
}

fn all<R: serde::de::DeserializeOwned>(table: &impl Rows) -> Result<Vec<R>, Fault> {
    let rows = table.iter().map_err(fault(READING))?;
    rows.map(|entry| {
        let (_, value) = entry.map_err(fault(READING))?;
        decode(READING, value.value())
    })
    .collect()
}

type Open<'t> = Table<'t, &'static [u8], &'static [u8]>;

fn put(table: &mut Open<'_>, key: &[u8], value: &[u8]) -> Result<(), Fault> {
    table.insert(key, value).map(drop).map_err(fault(WRITING))
}

fn remove(table: &mut Open<'_>, key: &[u8]) -> Result<(), Fault> {
    table.remove(key).map(drop).map_err(fault(WRITING))
}
