//! Unified limits: what a project may have of each resource of this service.

use std::collections::BTreeMap;

use http::StatusCode;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use serde::{Deserialize, de::DeserializeOwned};

use super::{Error, Keystone, own_token::OwnToken};

/// By the resource's name; -1: as much as it likes. What is not registered is not there.
pub type Limits = BTreeMap<String, i64>;

#[derive(Deserialize)]
struct Catalog {
    catalog: Vec<Service>,
}

#[derive(Deserialize)]
struct Service {
    id: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Registered {
    registered_limits: Vec<Limit>,
}

#[derive(Deserialize)]
struct Own {
    limits: Vec<Limit>,
}

#[derive(Deserialize)]
struct Limit {
    resource_name: String,
    #[serde(alias = "default_limit", alias = "resource_limit")]
    limit: i64,
    region_id: Option<String>,
}

impl Keystone {
    /// The limits of a project: its own, or else what is registered for all. Read with a role on the
    /// system, which this node's user needs.
    pub async fn limits(&self, project: &str) -> Result<Limits, Error> {
        self.noted(self.limits_of(project).await)
    }

    async fn limits_of(&self, project: &str) -> Result<Limits, Error> {
        let found: Catalog = self.read(&self.own, "/auth/catalog").await?;
        let is_ours = |service: &&Service| service.kind == self.service_type;
        let Some(service) = found.catalog.iter().find(is_ours) else {
            let kind = &self.service_type;
            return Err(Error::Answer(format!(
                "no service of type {kind:?} in its catalog"
            )));
        };
        let service = utf8_percent_encode(&service.id, NON_ALPHANUMERIC);
        let project = utf8_percent_encode(project, NON_ALPHANUMERIC);
        let registered = format!("/registered_limits?service_id={service}");
        let Registered { registered_limits } = self.read(&self.system, &registered).await?;
        let own = format!("/limits?service_id={service}&project_id={project}");
        let Own { limits } = self.read(&self.system, &own).await?;
        let here = |limit: &Limit| {
            let region = limit.region_id.as_deref();
            self.region.is_empty() || region.is_none_or(|region| region == self.region)
        };
        let all = registered_limits.into_iter().chain(limits);
        let of_here = all.filter(here);
        // The later one counts.
        Ok(of_here
            .map(|limit| (limit.resource_name, limit.limit))
            .collect())
    }

    /// The catalog is a project's, the limits of all projects are the system's.
    async fn read<T: DeserializeOwned>(&self, account: &OwnToken, path: &str) -> Result<T, Error> {
        let answer = self.call(account, Method::GET, path, &[]).await?;
        let what = path.split('?').next().unwrap_or_default();
        if answer.status != StatusCode::OK {
            return Err(Error::Answer(format!("{what} with {}", answer.status)));
        }
        serde_json::from_slice(&answer.body)
            .map_err(|error| Error::Answer(format!("{what}: nonsense at byte {}", error.column())))
    }
}
