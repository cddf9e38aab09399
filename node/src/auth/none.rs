//! `auth.mode = "none"`: whoever reaches the node is an admin of project "default". Start-up warns
//! of it, and the configuration keeps it on loopback.

use std::sync::{Arc, LazyLock};

use super::Context;

static ADMIN: LazyLock<Arc<Context>> = LazyLock::new(|| {
    Arc::new(Context {
        user_id: Some("admin".into()),
        project_id: Some("default".into()),
        roles: ["admin", "member", "reader"].map(String::from).into(),
        is_admin: true,
        ..Context::default()
    })
});

/// The one caller there is; shared, so that a request allocates nothing.
pub(super) fn context() -> Arc<Context> {
    ADMIN.clone()
}
