//! Cross-origin requests of browsers (oslo.middleware's `cors`; image-api 8.3): which pages of other
//! origins may send requests here and read the answers. Without an allowed origin nothing is said.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS,
        ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
        ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD,
        ORIGIN, VARY,
    },
};

use crate::config::CorsConfig;

/// Headers that pages may always send.
const SIMPLE: [&str; 8] = [
    "accept",
    "accept-language",
    "content-type",
    "cache-control",
    "content-language",
    "expires",
    "last-modified",
    "pragma",
];

/// The headers that an answer gets besides its own.
pub(super) struct Granted(Vec<(HeaderName, HeaderValue)>);

impl Granted {
    /// Puts them into an answer.
    pub(super) fn put(self, headers: &mut HeaderMap) {
        headers.append(VARY, HeaderValue::from_static("Origin"));
        headers.extend(self.0);
    }
}

/// What a request may, by its `Origin`; `None`: nothing, or it needs nothing.
pub(super) fn granted(
    config: &CorsConfig,
    method: &Method,
    request: &HeaderMap,
) -> Option<Granted> {
    let origins = &config.allowed_origin;
    if origins.is_empty() {
        return None;
    }
    let origin = request.get(ORIGIN)?;
    let origin = match origins.iter().any(|allowed| allowed == origin) {
        true => origin.clone(),
        false if origins.iter().any(|allowed| allowed == "*") => HeaderValue::from_static("*"),
        false => return None,
    };
    let mut granted = vec![(ACCESS_CONTROL_ALLOW_ORIGIN, origin)];
    if config.allow_credentials {
        let value = HeaderValue::from_static("true");
        granted.push((ACCESS_CONTROL_ALLOW_CREDENTIALS, value));
    }
    if *method == Method::OPTIONS {
        preflight(config, request, &mut granted)?;
    } else if !config.expose_headers.is_empty() {
        let names = HeaderValue::try_from(config.expose_headers.join(",")).ok()?;
        granted.push((ACCESS_CONTROL_EXPOSE_HEADERS, names));
    }
    Some(Granted(granted))
}

/// What a browser asks before a request that a form could not send; `None`: it may not send it.
fn preflight(
    config: &CorsConfig,
    request: &HeaderMap,
    granted: &mut Vec<(HeaderName, HeaderValue)>,
) -> Option<()> {
    let method = request.get(ACCESS_CONTROL_REQUEST_METHOD)?;
    if !config.allow_methods.iter().any(|allowed| allowed == method) {
        return None;
    }
    let mut names = Vec::new();
    for value in request.get_all(ACCESS_CONTROL_REQUEST_HEADERS) {
        let value = value.to_str().ok()?.split(',').map(str::trim);
        names.extend(value.filter(|name| !name.is_empty()));
    }
    let allowed = config.allow_headers.iter().map(String::as_str);
    let allowed: Vec<&str> = allowed.chain(SIMPLE).collect();
    let may = |name: &&str| allowed.iter().any(|known| known.eq_ignore_ascii_case(name));
    if !names.iter().all(may) {
        return None;
    }
    let age = config.max_age.as_secs();
    if age != 0 {
        granted.push((ACCESS_CONTROL_MAX_AGE, age.into()));
    }
    granted.push((ACCESS_CONTROL_ALLOW_METHODS, method.clone()));
    if !names.is_empty() {
        let names = HeaderValue::try_from(names.join(",")).ok()?;
        granted.push((ACCESS_CONTROL_ALLOW_HEADERS, names));
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(config: &CorsConfig, method: &str, sent: &[(&'static str, &str)]) -> Option<String> {
        let mut request = HeaderMap::new();
        for (name, value) in sent {
            request.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let method = method.parse().unwrap();
        let Granted(headers) = granted(config, &method, &request)?;
        let lines = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
        Some(lines.collect::<Vec<_>>().join("; "))
    }

    fn config(origins: &[&str]) -> CorsConfig {
        CorsConfig {
            allowed_origin: origins.iter().map(|origin| (*origin).to_owned()).collect(),
            ..CorsConfig::default()
        }
    }

    const PAGE: (&str, &str) = ("origin", "https://a");

    #[test]
    fn nobody_gets_anything_where_no_origin_is_allowed() {
        assert_eq!(asked(&config(&[]), "GET", &[PAGE]), None);
        assert_eq!(asked(&config(&["https://b"]), "GET", &[PAGE]), None);
        assert_eq!(asked(&config(&["https://a"]), "GET", &[]), None);
    }

    #[test]
    fn an_origin_is_allowed_by_name_before_it_is_by_the_star() {
        let mut config = config(&["*", "https://a"]);
        config.expose_headers.clear();
        let by_name = asked(&config, "GET", &[PAGE]).unwrap();
        assert_eq!(by_name, "access-control-allow-origin: https://a");
        let star = asked(&config, "GET", &[("origin", "https://b")]).unwrap();
        assert_eq!(star, "access-control-allow-origin: *");
        config.allow_credentials = true;
        let trusted = asked(&config, "GET", &[PAGE]).unwrap();
        assert!(trusted.ends_with("; access-control-allow-credentials: true"));
    }

    #[test]
    fn a_preflight_passes_with_allowed_method_and_headers_only() {
        let mut config = config(&["https://a"]);
        config.max_age = std::time::Duration::ZERO;
        let method = ("access-control-request-method", "PUT");
        let may = asked(
            &config,
            "OPTIONS",
            &[
                PAGE,
                method,
                (
                    "access-control-request-headers",
                    "x-auth-token, Content-Type",
                ),
            ],
        );
        assert_eq!(
            may.unwrap(),
            "access-control-allow-origin: https://a; access-control-allow-methods: PUT; \
             access-control-allow-headers: x-auth-token,Content-Type"
        );
        for wrong in [
            &[PAGE][..],
            &[PAGE, ("access-control-request-method", "TRACE")],
            &[PAGE, method, ("access-control-request-headers", "x-other")],
        ] {
            assert_eq!(asked(&config, "OPTIONS", wrong), None, "{wrong:?}");
        }
    }
}
