//! What each auth mode makes of a request's headers.

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use std::sync::Arc;

use futures_util::FutureExt as _;

use super::{Auth, AuthError, Call, Context, Unauthorized};
use crate::{
    config::{AuthConfig, AuthMode},
    metrics::Metrics,
    policy::Policy,
};

/// Who a request is from, in a mode that asks nobody.
fn authenticate(
    config: AuthConfig,
    headers: &HeaderMap,
    policy: &Policy,
) -> Result<Arc<Context>, Unauthorized> {
    let auth = Auth::new(&config, &Arc::new(Metrics::default())).unwrap();
    let call = Call {
        method: &Method::GET,
        path: "/v2/images",
        headers,
    };
    match auth.caller(&call, policy).now_or_never().unwrap() {
        Ok(context) => Ok(context),
        Err(AuthError::Unauthorized(cause)) => Err(cause),
        Err(other) => panic!("{other}"),
    }
}

fn of(mode: AuthMode) -> AuthConfig {
    AuthConfig {
        mode,
        ..AuthConfig::default()
    }
}

fn ask(headers: &[(&str, &str)]) -> Result<Context, Unauthorized> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        );
    }
    authenticate(of(AuthMode::TrustedHeaders), &map, &Policy::defaults()).map(|c| (*c).clone())
}

const CONFIRMED: (&str, &str) = ("X-Identity-Status", "Confirmed");

#[test]
fn without_auth_everyone_is_the_same_admin_whatever_the_headers() {
    let mut headers = HeaderMap::new();
    let policy = Policy::defaults();
    let first = authenticate(of(AuthMode::None), &headers, &policy).unwrap();
    headers.insert("x-identity-status", HeaderValue::from_static("Invalid"));
    headers.insert("x-roles", HeaderValue::from_static("reader"));
    let second = authenticate(of(AuthMode::None), &headers, &policy).unwrap();
    assert!(std::sync::Arc::ptr_eq(&first, &second));
    assert!(first.is_admin && !first.foreign_scope);
    assert_eq!(first.project_id.as_deref(), Some("default"));
    assert_eq!(first.roles, ["admin", "member", "reader"]);
}

#[test]
fn only_a_confirmed_identity_counts() {
    for headers in [
        &[][..],
        &[("X-Identity-Status", "Invalid"), ("X-Roles", "admin")],
        &[("X-Identity-Status", "confirmed"), ("X-Roles", "admin")],
        &[("X-Identity-Status", ""), ("X-Roles", "admin")],
        &[("X-User-Id", "u"), ("X-Roles", "admin")],
    ] {
        assert_eq!(ask(headers), Err(Unauthorized::NotConfirmed), "{headers:?}");
    }
}

#[test]
fn the_headers_of_the_proxy_fill_the_context() {
    let context = ask(&[
        CONFIRMED,
        ("X-User-Id", "u1"),
        ("X-Project-Id", "p1"),
        ("X-Roles", "Member, reader ,,READER"),
        ("X-Service-Roles", "Service"),
        ("X-Service-Identity-Status", "Confirmed"),
    ])
    .unwrap();
    assert_eq!(
        context,
        Context {
            user_id: Some("u1".into()),
            project_id: Some("p1".into()),
            roles: ["member", "reader", "reader"].map(String::from).into(),
            service_roles: vec!["service".into()],
            ..Context::default()
        }
    );
}

#[test]
fn the_old_name_of_the_project_counts_only_where_the_new_one_is_absent() {
    let context = ask(&[CONFIRMED, ("X-Tenant-Id", "p2"), ("X-Roles", "member")]).unwrap();
    assert_eq!(context.project_id.as_deref(), Some("p2"));
    let same = [CONFIRMED, ("X-Tenant-Id", "p"), ("X-Project-Id", "p")];
    assert_eq!(ask(&same).unwrap().project_id.as_deref(), Some("p"));
    let none = [CONFIRMED, ("X-Tenant-Id", ""), ("X-Project-Id", "")];
    assert_eq!(ask(&none).unwrap().project_id, None);
    for (project, tenant) in [("new", "old"), ("", "old"), (" ", "old")] {
        let both = [
            CONFIRMED,
            ("X-Tenant-Id", tenant),
            ("X-Project-Id", project),
        ];
        assert_eq!(
            ask(&both),
            Err(Unauthorized::Malformed("x-tenant-id")),
            "{project:?} {tenant:?}"
        );
    }
}

/// What a proxy does not set it does not remove either, so it is the client's.
#[test]
fn names_that_only_a_client_sends_give_it_nothing() {
    let context = ask(&[
        CONFIRMED,
        ("X-Project-Id", ""),
        ("X-Roles", ""),
        ("X-Role", "admin"),
        ("X-Tenant", "victim"),
        ("X-User", "victim"),
    ])
    .unwrap();
    assert_eq!(context, Context::default());
}

#[test]
fn an_admin_is_whom_the_policy_says() {
    let admin = ask(&[CONFIRMED, ("X-Roles", "aDmIn")]).unwrap();
    assert!(admin.is_admin);
    let policy = Policy::parse(
        "context_is_admin: 'role:cloud_admin'",
        std::path::Path::new("policy.yaml"),
    )
    .unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("x-identity-status", HeaderValue::from_static("Confirmed"));
    for (role, is_admin) in [("admin", false), ("cloud_admin", true)] {
        headers.insert("x-roles", HeaderValue::from_static(role));
        let context = authenticate(of(AuthMode::TrustedHeaders), &headers, &policy).unwrap();
        assert_eq!(context.is_admin, is_admin, "{role}");
    }
}

#[test]
fn a_token_of_the_system_or_a_domain_is_of_foreign_scope() {
    assert!(
        ask(&[CONFIRMED, ("OpenStack-System-Scope", "all")])
            .unwrap()
            .foreign_scope
    );
    assert!(
        ask(&[CONFIRMED, ("X-Domain-Id", "d")])
            .unwrap()
            .foreign_scope
    );
    assert!(
        !ask(&[CONFIRMED, ("X-Project-Domain-Id", "d")])
            .unwrap()
            .foreign_scope
    );
    assert!(
        !ask(&[CONFIRMED, ("X-Domain-Id", "")])
            .unwrap()
            .foreign_scope
    );
}

#[test]
fn roles_of_an_unconfirmed_service_do_not_count() {
    let headers = [
        CONFIRMED,
        ("X-Service-Roles", "service"),
        ("X-Service-Identity-Status", "Invalid"),
    ];
    assert!(ask(&headers).unwrap().service_roles.is_empty());
}

#[test]
fn a_header_given_twice_or_not_in_ascii_is_refused() {
    for (headers, name) in [
        (&[CONFIRMED, CONFIRMED][..], "x-identity-status"),
        (
            &[CONFIRMED, ("X-Project-Id", "a"), ("X-Project-Id", "b")],
            "x-project-id",
        ),
        (
            &[CONFIRMED, ("X-Roles", "reader"), ("X-Roles", "admin")],
            "x-roles",
        ),
        (&[CONFIRMED, ("X-User-Id", "\u{e9}")], "x-user-id"),
    ] {
        assert_eq!(ask(headers), Err(Unauthorized::Malformed(name)));
    }
}

#[test]
fn who_proves_no_identity_may_read_where_that_is_allowed_and_the_proven_are_who_they_are() {
    let config = AuthConfig {
        allow_anonymous: true,
        ..of(AuthMode::TrustedHeaders)
    };
    let policy = Policy::defaults();
    let mut headers = HeaderMap::new();
    headers.insert("x-roles", HeaderValue::from_static("admin"));
    headers.insert("x-project-id", HeaderValue::from_static("p"));
    for status in [None, Some("Invalid")] {
        if let Some(status) = status {
            headers.insert("x-identity-status", HeaderValue::from_static(status));
        }
        let caller = authenticate(config.clone(), &headers, &policy).unwrap();
        assert!(caller.read_only && !caller.is_admin);
        assert_eq!(caller.project_id.as_deref(), Some(""));
        assert_eq!(caller.user_id, None);
        assert_eq!(caller.roles, ["reader"]);
    }
    headers.insert("x-identity-status", HeaderValue::from_static("Confirmed"));
    let caller = authenticate(config, &headers, &policy).unwrap();
    assert!(!caller.read_only && caller.is_admin);
}
