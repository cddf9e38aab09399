//! What a token says, read from the identity service's answer. An answer that does not say who the
//! user is and until when, or that contradicts itself, is none.

use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::api::timestamp;

/// A valid token, or an expired one where that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Until when it holds.
    pub expires_at: SystemTime,
    /// Whose it is.
    pub user: User,
    /// What it entitles to act on.
    pub scope: Scope,
    /// Names of the roles there, as the identity service spells them.
    pub roles: Vec<String>,
    /// The calls that its application credential may be used for; `None`: any.
    pub access_rules: Option<Vec<AccessRule>>,
    /// Whether it holds only together with another proof of identity (Kerberos), which this node does
    /// not take.
    pub bound: bool,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its id.
    pub id: String,
    /// Id of its domain.
    pub domain_id: Option<String>,
}

/// What a token entitles to act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Nothing.
    None,
    /// One project.
    Project(Project),
    /// The system or a domain.
    Foreign,
}

/// A project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Its id.
    pub id: String,
    /// Id of its domain.
    pub domain_id: Option<String>,
}

/// A call that an application credential may be used for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AccessRule {
    /// Type of the service (`image`).
    pub service: String,
    /// `GET` …
    pub method: String,
    /// Template of the path: `{name}` and `*` stand for a segment, `**` for anything.
    pub path: String,
}

#[derive(Deserialize)]
struct Body {
    token: Raw,
}

#[derive(Deserialize)]
struct Raw {
    expires_at: String,
    user: RawNamed,
    project: Option<RawNamed>,
    domain: Option<RawId>,
    system: Option<Value>,
    #[serde(default)]
    roles: Vec<RawRole>,
    application_credential: Option<RawCredential>,
    bind: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
struct RawNamed {
    id: String,
    domain: Option<RawId>,
}

#[derive(Deserialize)]
struct RawId {
    id: Option<String>,
}

#[derive(Deserialize)]
struct RawRole {
    name: String,
}

#[derive(Deserialize)]
struct RawCredential {
    access_rules: Option<Vec<AccessRule>>,
}

impl Token {
    /// Reads an answer's body. The error says what is wrong and quotes nothing of it.
    pub(super) fn parse(body: &[u8]) -> Result<Self, String> {
        let Body { token } = serde_json::from_slice(body)
            .map_err(|error| format!("not a token at byte {}", error.column()))?;
        let expires_at = time(&token.expires_at).ok_or("a time of expiry that is none")?;
        if token.user.id.is_empty() {
            return Err("a user without id".to_owned());
        }
        let foreign = token.domain.is_some() || token.system.is_some();
        let scope = match token.project {
            Some(_) if foreign => return Err("a token of two scopes".to_owned()),
            Some(project) if project.id.is_empty() => {
                return Err("a project without id".to_owned());
            }
            Some(project) => Scope::Project(Project {
                id: project.id,
                domain_id: domain(project.domain),
            }),
            None if foreign => Scope::Foreign,
            None => Scope::None,
        };
        Ok(Self {
            expires_at,
            user: User {
                id: token.user.id,
                domain_id: domain(token.user.domain),
            },
            scope,
            roles: token.roles.into_iter().map(|role| role.name).collect(),
            access_rules: token
                .application_credential
                .and_then(|used| used.access_rules),
            bound: token.bind.is_some_and(|bind| bind.contains_key("kerberos")),
        })
    }
}

fn domain(named: Option<RawId>) -> Option<String> {
    named?.id.filter(|id| !id.is_empty())
}

/// `2026-01-31T23:59:59.000000Z`
fn time(text: &str) -> Option<SystemTime> {
    let micros = u64::try_from(timestamp::parse(text)?).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(micros))
}
