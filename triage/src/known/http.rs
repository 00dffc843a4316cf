//! Pools of HTTP connections: how many there are to which host (System.Net.Http, `HttpConnectionPool`; 3.1 to 10).

use super::{Reading, Shape, Use, View};

/// The pool of one host.
pub const POOL: &str = "System.Net.Http.HttpConnectionPool";

/// `MaxConnectionsPerServer` is `int.MaxValue` where nobody set it.
const NO_BOUND: u64 = 1 << 30;

/// Open connections of HTTP/1.1, in use or idle, and those of HTTP/2 where there are any.
pub(super) const SHAPE: Shape = Shape {
    types: &[POOL],
    usage: Use::Holds,
    read: |pool| {
        let http1 = pool.count_of(&[
            "_associatedHttp11ConnectionCount",
            "_associatedConnectionCount",
        ])?;
        let count = http1 + pool.count("_associatedHttp2ConnectionCount").unwrap_or(0);
        let bound = pool.count_of(&["_maxHttp11Connections", "_maxConnections"]);
        Some(Reading {
            count,
            capacity: bound.filter(|bound| *bound < NO_BOUND).unwrap_or(count),
            ..Reading::default()
        })
    },
};

impl View<'_, '_> {
    /// The host that a pool connects to: its name and port. A name may be a secret.
    #[must_use]
    pub fn http_host(&self) -> Option<(String, u64)> {
        // 3.1 keeps both itself.
        let authority = self.object("_originAuthority").unwrap_or(*self);
        let name = authority.object_of(&["IdnHost", "_host"])?.text()?;
        Some((name, authority.count_of(&["Port", "_port"])?))
    }
}
