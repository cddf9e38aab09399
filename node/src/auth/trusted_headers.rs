//! `auth.mode = "trusted-headers"`: an authenticating proxy in front, like keystonemiddleware, has
//! removed the client's identity headers and set its own (image-api 4.1). Whoever reaches the node
//! past the proxy is whom it says it is; the network must see to that.
//!
//! Other old names that middleware sets beside the new ones (`X-Role`, `X-Tenant`, `X-User`) are not
//! read: a proxy that does not know them does not remove them from what the client sends.

use http::HeaderMap;

use super::{Context, Unauthorized};
use crate::policy::Policy;

/// Reads the identity headers. An empty value is an absent one.
pub(super) fn context(headers: &HeaderMap, policy: &Policy) -> Result<Context, Unauthorized> {
    if one(headers, "x-identity-status")? != Some("Confirmed") {
        return Err(Unauthorized::NotConfirmed);
    }
    let service_confirmed =
        one(headers, "x-service-identity-status")?.is_none_or(|status| status == "Confirmed");
    let mut context = Context {
        user_id: one(headers, "x-user-id")?.map(String::from),
        user_domain_id: one(headers, "x-user-domain-id")?.map(String::from),
        project_id: project(headers)?.map(String::from),
        project_domain_id: one(headers, "x-project-domain-id")?.map(String::from),
        roles: roles(one(headers, "x-roles")?),
        service_roles: match service_confirmed {
            true => roles(one(headers, "x-service-roles")?),
            false => Vec::new(),
        },
        foreign_scope: one(headers, "openstack-system-scope")?.is_some()
            || one(headers, "x-domain-id")?.is_some(),
        ..Context::default()
    };
    context.is_admin = super::is_admin(policy, &context);
    Ok(context)
}

/// `X-Tenant-Id` is the old name of `X-Project-Id`, and speaks only where there is no header of the
/// new name at all: an empty one says that there is no project. A proxy that knows the new names
/// only lets the old one of a client pass, so one that says something else is the client's.
fn project(headers: &HeaderMap) -> Result<Option<&str>, Unauthorized> {
    let project = one(headers, "x-project-id")?;
    let tenant = one(headers, "x-tenant-id")?;
    if !headers.contains_key("x-project-id") {
        return Ok(tenant);
    }
    match tenant {
        Some(_) if tenant != project => Err(Unauthorized::Malformed("x-tenant-id")),
        _ => Ok(project),
    }
}

/// The value of a header. Two of them mean that one is not the proxy's, and there is no telling
/// which.
fn one<'h>(headers: &'h HeaderMap, name: &'static str) -> Result<Option<&'h str>, Unauthorized> {
    let mut values = headers.get_all(name).into_iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    match (value.to_str(), values.next()) {
        (Ok(text), None) => Ok(Some(text.trim()).filter(|text| !text.is_empty())),
        _ => Err(Unauthorized::Malformed(name)),
    }
}

fn roles(list: Option<&str>) -> Vec<String> {
    list.into_iter()
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .filter(|role| !role.is_empty())
        .map(str::to_ascii_lowercase)
        .collect()
}
