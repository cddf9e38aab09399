//! This node's own token: made when it is first needed, renewed while the old one still holds.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{HeaderValue, StatusCode};
use parking_lot::Mutex;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Error, SUBJECT_TOKEN, Token, transport::Transport};
use crate::config::{KeystoneConfig, values::Secret};

/// A token is renewed once a fifth of its life is left,
const LAST_PART: u32 = 5;
/// and is not used in its last twentieth, or seconds: it must hold for as long as a call takes.
const LAST_MOMENT: u32 = 20;
const LAST_SECONDS: Duration = Duration::from_secs(15);

/// A token of this node.
pub(super) struct Held {
    pub(super) value: HeaderValue,
    made: SystemTime,
    expires: SystemTime,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held")
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

impl Held {
    fn left(&self, now: SystemTime) -> Duration {
        self.expires.duration_since(now).unwrap_or_default()
    }

    fn life(&self) -> Duration {
        self.expires.duration_since(self.made).unwrap_or_default()
    }

    fn holds(&self, now: SystemTime) -> bool {
        // A clock that was set back does not make it younger.
        now >= self.made && self.left(now) > (self.life() / LAST_MOMENT).min(LAST_SECONDS)
    }

    fn ages(&self, now: SystemTime) -> bool {
        self.left(now) < self.life() / LAST_PART
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct OwnToken {
    account: Account,
    current: Mutex<Option<Arc<Held>>>,
    /// Held by who makes a token, so that one is made for all.
    making: tokio::sync::Mutex<()>,
}

/// As whom a token is asked for.
#[derive(Debug)]
enum Account {
    Password {
        name: String,
        domain: String,
        password: Secret,
        project: String,
        project_domain: String,
    },
    ApplicationCredential {
        id: String,
        secret: Secret,
    },
    /// The user of `Password` as a reader of the whole system, for what projects may not read.
    System {
        name: String,
        domain: String,
        password: Secret,
    },
}

impl Account {
    fn request(&self) -> Value {
        match self {
            Self::Password {
                name,
                domain,
                password,
                project,
                project_domain,
            } => json!({"auth": {
                "identity": {"methods": ["password"], "password": {"user": {
                    "name": name, "domain": {"name": domain}, "password": password.reveal(),
                }}},
                "scope": {"project": {"name": project, "domain": {"name": project_domain}}},
            }}),
            Self::System {
                name,
                domain,
                password,
            } => json!({"auth": {
                "identity": {"methods": ["password"], "password": {"user": {
                    "name": name, "domain": {"name": domain}, "password": password.reveal(),
                }}},
                "scope": {"system": {"all": true}},
            }}),
            Self::ApplicationCredential { id, secret } => json!({"auth": {"identity": {
                "methods": ["application_credential"],
                "application_credential": {"id": id, "secret": secret.reveal()},
            }}}),
        }
    }
}

impl OwnToken {
    pub(super) fn new(config: &KeystoneConfig) -> Self {
        let account = match config.application_credential_id.as_str() {
            "" => Account::Password {
                name: config.username.clone(),
                domain: config.user_domain_name.clone(),
                password: config.password.clone(),
                project: config.project_name.clone(),
                project_domain: config.project_domain_name.clone(),
            },
            id => Account::ApplicationCredential {
                id: id.to_owned(),
                secret: config.application_credential_secret.clone(),
            },
        };
        Self::of(account)
    }

    /// A token for the system instead of the project.
    pub(super) fn of_system(config: &KeystoneConfig) -> Self {
        Self::of(Account::System {
            name: config.username.clone(),
            domain: config.user_domain_name.clone(),
            password: config.password.clone(),
        })
    }

    fn of(account: Account) -> Self {
        Self {
            account,
            current: Mutex::new(None),
            making: tokio::sync::Mutex::new(()),
        }
    }

    /// A token that holds, and is not `refused`. Where the current one ages, one caller renews it
    /// and the others go on with it.
    pub(super) async fn get(
        &self,
        transport: &Transport,
        refused: Option<&Arc<Held>>,
    ) -> Result<Arc<Held>, Error> {
        let current = || {
            let now = SystemTime::now();
            let held = self.current.lock().clone();
            held.filter(|held| held.holds(now))
                .filter(|held| refused.is_none_or(|refused| !Arc::ptr_eq(held, refused)))
        };
        let _making = match current() {
            Some(held) if !held.ages(SystemTime::now()) => return Ok(held),
            Some(held) => match self.making.try_lock() {
                Ok(making) => making,
                Err(_) => return Ok(held),
            },
            None => self.making.lock().await,
        };
        // Somebody may have made one meanwhile.
        let old = current();
        if let Some(held) = &old
            && !held.ages(SystemTime::now())
        {
            return Ok(Arc::clone(held));
        }
        match (self.make(transport).await, old) {
            (Ok(held), _) => {
                let held = Arc::new(held);
                *self.current.lock() = Some(Arc::clone(&held));
                Ok(held)
            }
            (Err(cause), Some(held)) => {
                tracing::warn!(%cause, "this node's token could not be renewed; the old one still holds");
                Ok(held)
            }
            (Err(cause), None) => Err(cause),
        }
    }

    async fn make(&self, transport: &Transport) -> Result<Held, Error> {
        let made = SystemTime::now();
        let request = self.account.request();
        let answer = transport
            .call(|| {
                transport
                    .request(Method::POST, "/auth/tokens?nocatalog")
                    .json(&request)
            })
            .await?;
        match answer.status {
            StatusCode::CREATED => {}
            status if status.is_client_error() => return Err(Error::Refused(status)),
            status => {
                return Err(Error::Answer(format!(
                    "a request for a token with {status}"
                )));
            }
        }
        let token = Token::parse(&answer.body).map_err(Error::Answer)?;
        let mut value = answer
            .headers
            .get(SUBJECT_TOKEN)
            .cloned()
            .ok_or_else(|| Error::Answer("without a token".to_owned()))?;
        value.set_sensitive(true);
        Ok(Held {
            value,
            made,
            expires: token.expires_at,
        })
    }
}
