//! Who calls: every auth mode fills one [`Context`].

/// The caller of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    /// User id.
    pub user_id: Option<String>,
    /// Project id.
    pub project_id: Option<String>,
    /// Role names, lower case.
    pub roles: Vec<String>,
    /// Roles of the service token, lower case.
    pub service_roles: Vec<String>,
    /// Whether the policy rule `context_is_admin` holds; computed once per request.
    pub is_admin: bool,
    /// Anonymous access: reads only.
    pub read_only: bool,
    /// Token scoped to the system or a domain: no project rule applies to it.
    pub foreign_scope: bool,
}
