//! Metadata definitions: what may be said of images and other resources, in namespaces (image-api
//! 1.9). Records and commands; the rules are in `machine/metadefs.rs`.
//!
//! What a definition says is a JSON object that the proposer has validated; the registry only keeps
//! it.

use serde::{Deserialize, Serialize};

use crate::image::{Timestamp, Version};

/// A namespace's id, chosen by the proposer and never shown: a namespace keeps it when it is renamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NamespaceId(pub u128);

/// What a client says of a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceAttributes {
    /// Unique in the registry.
    pub name: String,
    /// For people.
    pub display_name: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// Seen by all projects; else by its owner's only.
    pub public: bool,
    /// Neither the namespace nor anything in it is removed.
    pub protected: bool,
    /// A project; `None`: seen by all.
    pub owner: Option<String>,
}

impl NamespaceAttributes {
    /// `public` or `private`
    pub const fn visibility(&self) -> &'static str {
        match self.public {
            true => "public",
            false => "private",
        }
    }
}

/// A namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// Its id.
    pub id: NamespaceId,
    /// Log index of the last change to it or to anything in it.
    pub version: Version,
    /// What a client said.
    pub attributes: NamespaceAttributes,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its attributes were last changed.
    pub updated_at: Timestamp,
    /// Definitions in it.
    pub definitions: u64,
    /// Bytes of them: names and bodies.
    pub bytes: u64,
}

/// What a definition is of. The order is the encoding, also that of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// The namespace applies to a type of resource, with a prefix.
    ResourceType,
    /// A property.
    Property,
    /// An object: a group of properties.
    Object,
    /// A tag.
    Tag,
}

impl Kind {
    /// All of them, in order.
    pub const ALL: [Self; 4] = [Self::ResourceType, Self::Property, Self::Object, Self::Tag];
}

/// A definition that is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewDefinition {
    /// What it is of.
    pub kind: Kind,
    /// Unique among its kind in its namespace.
    pub name: String,
    /// A JSON object.
    pub body: String,
}

/// A definition in a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// Unique among its kind in its namespace.
    pub name: String,
    /// A JSON object.
    pub body: String,
    /// Log index of the last change to it.
    pub version: Version,
    /// Its place among those that one command made.
    pub position: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// A type of resource, made by the first association with it; it stays when that ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceType {
    /// Unique.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// How much there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetadefBounds {
    /// Namespaces in the registry.
    pub namespaces: u64,
    /// Types of resources in the registry.
    pub resource_types: u64,
    /// Definitions in one namespace.
    pub definitions: u64,
    /// Bytes of the definitions of one namespace, names and bodies.
    pub bytes: u64,
}

/// One change to metadata definitions. Variants are only ever appended: their order is the encoding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetadefCommand {
    /// Makes a namespace with everything in it.
    CreateNamespace {
        /// Chosen by the proposer.
        id: NamespaceId,
        /// As validated by the proposer.
        attributes: NamespaceAttributes,
        /// In their order.
        definitions: Vec<NewDefinition>,
        /// How much there may be.
        bounds: MetadefBounds,
    },
    /// Replaces the attributes of a namespace.
    UpdateNamespace {
        /// Which.
        id: NamespaceId,
        /// `Some`: only if it is still at this version.
        expected: Option<Version>,
        /// The whole new set.
        attributes: NamespaceAttributes,
    },
    /// Removes a namespace with everything in it.
    DeleteNamespace {
        /// Which.
        id: NamespaceId,
        /// `Some`: only if it is still at this version.
        expected: Option<Version>,
    },
    /// Adds a definition to a namespace.
    AddDefinition {
        /// Of the namespace.
        id: NamespaceId,
        /// What to add.
        definition: NewDefinition,
        /// How much there may be.
        bounds: MetadefBounds,
    },
    /// Adds definitions to a namespace; all or none.
    AddDefinitions {
        /// Of the namespace.
        id: NamespaceId,
        /// Those of this kind that there are, are removed first.
        replace: Option<Kind>,
        /// In their order.
        definitions: Vec<NewDefinition>,
        /// How much there may be.
        bounds: MetadefBounds,
    },
    /// Replaces a definition, name included.
    UpdateDefinition {
        /// Of the namespace.
        id: NamespaceId,
        /// Its name until now.
        name: String,
        /// `Some`: only if it is still at this version.
        expected: Option<Version>,
        /// The whole new one.
        definition: NewDefinition,
        /// How much there may be.
        bounds: MetadefBounds,
    },
    /// Removes a definition.
    RemoveDefinition {
        /// Of the namespace.
        id: NamespaceId,
        /// What it is of.
        kind: Kind,
        /// Its name.
        name: String,
        /// `Some`: only if it is still at this version.
        expected: Option<Version>,
    },
    /// Removes all definitions of a kind.
    ClearDefinitions {
        /// Of the namespace.
        id: NamespaceId,
        /// What they are of.
        kind: Kind,
    },
}

impl MetadefCommand {
    /// As [`crate::command::Command::grows`].
    pub(crate) const fn grows(&self) -> bool {
        match self {
            Self::CreateNamespace { .. }
            | Self::UpdateNamespace { .. }
            | Self::AddDefinition { .. }
            | Self::AddDefinitions { .. }
            | Self::UpdateDefinition { .. } => true,
            Self::DeleteNamespace { .. }
            | Self::RemoveDefinition { .. }
            | Self::ClearDefinitions { .. } => false,
        }
    }
}
