//! Who calls: the request's headers to the one [`Context`] that handlers and rules see.

use std::sync::{Arc, LazyLock};

use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::{api::error::ApiError, app::App, auth::Context, config::AuthMode, policy::Target};

/// `auth.mode = "none"`: every caller is an admin of project "default".
static ADMIN: LazyLock<Arc<Context>> = LazyLock::new(|| {
    Arc::new(Context {
        user_id: Some("default".to_owned()),
        project_id: Some("default".to_owned()),
        roles: ["admin", "member", "reader"].map(str::to_owned).to_vec(),
        is_admin: true,
        ..Context::default()
    })
});

/// The caller, or 401 naming the identity service.
pub(super) fn identify(
    app: &App,
    headers: &HeaderMap,
    base: impl FnOnce() -> String,
) -> Result<Arc<Context>, ApiError> {
    match app.config.auth.mode {
        AuthMode::None => Ok(Arc::clone(&ADMIN)),
        AuthMode::TrustedHeaders => match trusted(headers) {
            Some(mut context) => {
                context.is_admin =
                    app.policy
                        .allows("context_is_admin", &context, &Target::default());
                Ok(Arc::new(context))
            }
            None => {
                let mut error = ApiError::new(StatusCode::UNAUTHORIZED, "");
                if let Ok(value) = HeaderValue::try_from(format!("Keystone uri=\"{}\"", base())) {
                    error = error.with_header(header::WWW_AUTHENTICATE, value);
                }
                Err(error)
            }
        },
    }
}

/// The identity that an authenticating proxy wrote into the headers (image-api 4.1).
fn trusted(headers: &HeaderMap) -> Option<Context> {
    let text = |name: &str| {
        let value = headers.get(name)?.to_str().ok()?.trim();
        (!value.is_empty()).then(|| value.to_owned())
    };
    let roles = |name: &str| -> Vec<String> {
        text(name)
            .iter()
            .flat_map(|roles| roles.split(','))
            .map(|role| role.trim().to_lowercase())
            .filter(|role| !role.is_empty())
            .collect()
    };
    if !text("x-identity-status")?.eq_ignore_ascii_case("confirmed") {
        return None;
    }
    let project_id = text("x-project-id").or_else(|| text("x-tenant-id"));
    Some(Context {
        user_id: text("x-user-id"),
        foreign_scope: project_id.is_none()
            && (text("openstack-system-scope").is_some() || text("x-domain-id").is_some()),
        project_id,
        roles: roles("x-roles"),
        service_roles: roles("x-service-roles"),
        is_admin: false,
        read_only: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    http::HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn trusted_headers_name_user_project_and_roles() {
        let context = trusted(&headers(&[
            ("x-identity-status", "Confirmed"),
            ("x-user-id", "u"),
            ("x-tenant-id", "p"),
            ("x-roles", "Member, reader,,"),
            ("x-service-roles", "SERVICE"),
        ]))
        .unwrap();
        assert_eq!(context.user_id.as_deref(), Some("u"));
        assert_eq!(context.project_id.as_deref(), Some("p"));
        assert_eq!(context.roles, ["member", "reader"]);
        assert_eq!(context.service_roles, ["service"]);
        assert!(!context.foreign_scope);
    }

    #[test]
    fn without_a_confirmed_identity_there_is_no_caller() {
        assert_eq!(trusted(&headers(&[("x-user-id", "u")])), None);
        assert_eq!(
            trusted(&headers(&[
                ("x-identity-status", "Invalid"),
                ("x-project-id", "p")
            ])),
            None
        );
    }

    #[test]
    fn a_system_token_is_of_a_foreign_scope() {
        let context = trusted(&headers(&[
            ("x-identity-status", "Confirmed"),
            ("openstack-system-scope", "all"),
            ("x-roles", "admin"),
        ]))
        .unwrap();
        assert!(context.foreign_scope);
    }
}
