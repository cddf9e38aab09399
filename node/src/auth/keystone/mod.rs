//! `auth.mode = "keystone"`: a token is what the identity service says of it (image-api 4.1).
//!
//! What it said is remembered for a while, so that most requests ask nobody; requests that come with
//! a token nobody knows yet share one validation. Nothing but a "yes" of the identity service opens
//! the door: "no" is 401, and where there is no telling the answer is 503.

pub(crate) mod cache;
mod rules;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Instant, SystemTime},
};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use http::{HeaderMap, HeaderValue};
use parking_lot::Mutex;

use super::{AuthError, Call, Context, Unauthorized, is_admin};
use crate::{
    config::KeystoneConfig,
    keystone::{AccessRule, Error, Keystone, Scope, Token},
    metrics::Metrics,
    policy::Policy,
};
use cache::{Cache, Key};

/// What is known of a valid token.
#[derive(Debug)]
struct Known {
    /// The caller, and the same where the policy calls it an admin: it is asked each time, since it
    /// may have changed.
    contexts: [Arc<Context>; 2],
    access_rules: Option<Vec<AccessRule>>,
    /// Whether it has one of the roles that make it a service's.
    service: bool,
    expires_at: SystemTime,
}

/// What a validation has come to. `None`: the token is invalid.
type Verdict = Result<Option<Arc<Known>>, Error>;
type Flight = Shared<BoxFuture<'static, Verdict>>;

/// See the module. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tokens(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    keystone: Arc<Keystone>,
    config: KeystoneConfig,
    metrics: Arc<Metrics>,
    /// Of the keyed hash that tokens are known by.
    secret: [u8; 32],
    valid: Cache<Arc<Known>>,
    /// Apart, so that whoever makes tokens up drives out no valid one.
    invalid: Cache<()>,
    flights: Mutex<HashMap<Key, Flight>>,
}

impl Tokens {
    /// Of this configuration.
    pub(super) fn new(
        keystone: Arc<Keystone>,
        config: &KeystoneConfig,
        metrics: &Arc<Metrics>,
    ) -> Self {
        Self(Arc::new(Inner {
            keystone,
            config: config.clone(),
            metrics: Arc::clone(metrics),
            secret: rand::random(),
            valid: Cache::new(config.cached_tokens),
            invalid: Cache::new(config.cached_tokens),
            flights: Mutex::default(),
        }))
    }

    /// The identity service that is asked.
    pub fn keystone(&self) -> &Arc<Keystone> {
        &self.0.keystone
    }

    /// Valid tokens that are remembered.
    pub fn remembered(&self) -> usize {
        self.0.valid.len()
    }

    /// The caller of a request.
    pub(super) async fn caller(
        &self,
        call: &Call<'_>,
        policy: &Policy,
    ) -> Result<Arc<Context>, AuthError> {
        let user = user_token(call.headers)?.ok_or(Unauthorized::NoToken)?;
        let service = match one(call.headers, "x-service-token")? {
            // An invalid one gives nothing, and takes nothing away.
            Some(token) => self.known(token, false).await?,
            None => None,
        };
        let is_service = service.as_ref().is_some_and(|service| service.service);
        let known = self
            .known(user, is_service)
            .await?
            .ok_or(Unauthorized::InvalidToken)?;
        // A service acts for the user elsewhere than the user itself could.
        if let Some(rules) = &known.access_rules
            && !is_service
            && !rules::allow(rules, &self.0.config.service_type, call.method, call.path)
        {
            return Err(Unauthorized::AccessRules.into());
        }
        let counts = is_service || !self.0.config.service_token_roles_required;
        let [plain, admin] = &known.contexts;
        match service.filter(|_| counts) {
            Some(service) => {
                let mut context = Context {
                    service_roles: service.contexts[0].roles.clone(),
                    ..Context::clone(plain)
                };
                context.is_admin = is_admin(policy, &context);
                Ok(Arc::new(context))
            }
            None if is_admin(policy, plain) => Ok(Arc::clone(admin)),
            None => Ok(Arc::clone(plain)),
        }
    }

    /// What is known of a token, asking where nothing is.
    async fn known(
        &self,
        token: &HeaderValue,
        allow_expired: bool,
    ) -> Result<Option<Arc<Known>>, AuthError> {
        let key = self.key(token, allow_expired);
        if let Some(verdict) = self.0.remembered(&key, allow_expired) {
            self.0.metrics.auth_cache_hits.inc();
            return Ok(verdict);
        }
        self.0.metrics.auth_cache_misses.inc();
        let flight = {
            let mut flights = self.0.flights.lock();
            match flights.get(&key) {
                Some(flight) => flight.clone(),
                None if flights.len() >= self.0.config.queued_validations => {
                    return Err(AuthError::Busy);
                }
                None => match self.0.remembered(&key, allow_expired) {
                    // One has landed meanwhile.
                    Some(verdict) => return Ok(verdict),
                    None => {
                        let flight = self.take_off(key, token.clone(), allow_expired);
                        flights.insert(key, flight.clone());
                        flight
                    }
                },
            }
        };
        Ok(flight.await?)
    }

    /// Asks the identity service in a task of its own, so that a client that leaves takes nothing from
    /// others who wait for the same token.
    fn take_off(&self, key: Key, token: HeaderValue, allow_expired: bool) -> Flight {
        let inner = Arc::clone(&self.0);
        let task = tokio::spawn(async move {
            // However this ends, the next request may ask again.
            let _landing = Landing(&inner, key);
            inner.validate(key, &token, allow_expired).await
        });
        task.map(|done| done.unwrap_or_else(|broken| Err(Error::Unreachable(broken.to_string()))))
            .boxed()
            .shared()
    }

    fn key(&self, token: &HeaderValue, allow_expired: bool) -> Key {
        let mut hasher = blake3::Hasher::new_keyed(&self.0.secret);
        hasher.update(&[u8::from(allow_expired)]);
        hasher.update(token.as_bytes());
        *hasher.finalize().as_bytes()
    }
}

struct Landing<'a>(&'a Inner, Key);

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.0.flights.lock().remove(&self.1);
    }
}

impl Inner {
    fn remembered(&self, key: &Key, allow_expired: bool) -> Option<Option<Arc<Known>>> {
        let now = Instant::now();
        if let Some(known) = self.valid.get(key, now) {
            // By the wall: the other clock stands still while a machine is suspended.
            let holds = allow_expired || SystemTime::now() < known.expires_at;
            return holds.then_some(Some(known));
        }
        self.invalid.get(key, now).map(|()| None)
    }

    async fn validate(&self, key: Key, token: &HeaderValue, allow_expired: bool) -> Verdict {
        // From the question on, not from the answer: a revocation between the two may be in neither.
        let begun = Instant::now();
        let said = self.keystone.validate(token, allow_expired).await;
        let took = begun.elapsed();
        self.metrics
            .auth_validation_duration
            .observe(took.as_secs_f64());
        let outcome = match &said {
            Ok(Some(_)) => "valid",
            Ok(None) => "invalid",
            Err(_) => "failed",
        };
        self.metrics.count_validation(outcome);
        let Some(token) = said?.filter(|token| !token.bound) else {
            self.invalid
                .put(key, begun + self.config.invalid_token_cache_time, ());
            return Ok(None);
        };
        let known = Arc::new(self.understood(token));
        self.valid.put(
            key,
            begun + self.config.token_cache_time,
            Arc::clone(&known),
        );
        Ok(Some(known))
    }

    /// What a token entitles to here.
    fn understood(&self, token: Token) -> Known {
        let roles: Vec<String> = token.roles.iter().map(|role| role.to_lowercase()).collect();
        let is_service = |role: &String| {
            let of_service = &self.config.service_token_roles;
            of_service
                .iter()
                .any(|known| known.eq_ignore_ascii_case(role))
        };
        let service = roles.iter().any(is_service);
        let (project, foreign_scope) = match token.scope {
            Scope::Project(project) => (Some(project), false),
            Scope::Foreign => (None, true),
            Scope::None => (None, false),
        };
        let plain = Context {
            user_id: Some(token.user.id),
            user_domain_id: token.user.domain_id,
            // Roles are held on something: a token of no scope has none, whatever it says.
            roles: match foreign_scope || project.is_some() {
                true => roles,
                false => Vec::new(),
            },
            project_domain_id: project
                .as_ref()
                .and_then(|project| project.domain_id.clone()),
            project_id: project.map(|project| project.id),
            foreign_scope,
            ..Context::default()
        };
        let admin = Context {
            is_admin: true,
            ..plain.clone()
        };
        Known {
            contexts: [Arc::new(plain), Arc::new(admin)],
            service,
            access_rules: token.access_rules,
            expires_at: token.expires_at,
        }
    }
}

/// The token of the user that a request acts for.
pub(super) fn user_token(headers: &HeaderMap) -> Result<Option<&HeaderValue>, Unauthorized> {
    match one(headers, "x-auth-token")? {
        Some(token) => Ok(Some(token)),
        None => one(headers, "x-storage-token"),
    }
}

/// A header with a token. Two of them would leave open which one counts.
fn one<'h>(
    headers: &'h HeaderMap,
    name: &'static str,
) -> Result<Option<&'h HeaderValue>, Unauthorized> {
    let mut values = headers.get_all(name).into_iter();
    let Some(value) = values.next().filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let plain = value.as_bytes().iter().all(u8::is_ascii_graphic);
    match values.next() {
        None if plain => Ok(Some(value)),
        _ => Err(Unauthorized::Malformed(name)),
    }
}
