mod defaults;
mod file;
mod image;
mod language;
mod protection;

use super::{Policy, PolicyError};
use crate::auth::Context;

/// The policy of a file with this text.
fn policy(text: &str) -> Result<Policy, PolicyError> {
    Policy::parse(text, std::path::Path::new("policy.yaml"))
}

/// What [`policy`] says is wrong.
fn error(text: &str) -> String {
    match policy(text) {
        Ok(_) => panic!("accepted: {text}"),
        Err(error) => {
            let mut chain = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                if !chain.contains(&cause.to_string()) {
                    chain.push_str(&format!(": {cause}"));
                }
                source = cause.source();
            }
            chain
        }
    }
}

fn caller(project: &str, roles: &[&str]) -> Context {
    Context {
        user_id: Some(format!("user-of-{project}")),
        project_id: Some(project.into()),
        roles: roles.iter().map(|role| (*role).into()).collect(),
        is_admin: roles.contains(&"admin"),
        ..Context::default()
    }
}
