//! Who calls, for nodes with `auth.mode = "trusted-headers"`.

/// A caller as an authenticating proxy would describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Persona {
    /// `X-User-Id`
    pub user: String,
    /// `X-Project-Id`
    pub project: String,
    /// `X-Roles`
    pub roles: Vec<String>,
}

impl Persona {
    /// A user of `project` with these roles.
    pub fn new(project: &str, roles: &[&str]) -> Self {
        Self {
            user: format!("user-of-{project}"),
            project: project.to_owned(),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        }
    }

    /// An operator; the admin role implies the others, as the identity service has it.
    pub fn admin() -> Self {
        Self::new("operators", &["admin", "member", "reader"])
    }

    /// Someone who works in `project`.
    pub fn member(project: &str) -> Self {
        Self::new(project, &["member", "reader"])
    }

    /// Someone who may only look at `project`.
    pub fn reader(project: &str) -> Self {
        Self::new(project, &["reader"])
    }

    /// Someone with a token for `project` and no role that counts.
    pub fn nobody(project: &str) -> Self {
        Self::new(project, &["guest"])
    }

    /// The headers that say so.
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        vec![
            ("x-identity-status", "Confirmed".to_owned()),
            ("x-user-id", self.user.clone()),
            ("x-project-id", self.project.clone()),
            ("x-roles", self.roles.join(",")),
        ]
    }
}
