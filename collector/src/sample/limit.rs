//! The memory limit that binds a process, whoever keeps it.
//!
//! A control group keeps limits, and so may a job object or the governance of an orchestrator. Each tells what it
//! knows as a [`Limit`]; of all of them the one with the least room left is the one that ends the process, and the
//! facts `limit`, `limit_used` and `limit_share` are its own. A keeper of another kind is one more caller of
//! [`Limit::tighten`].

use super::Facts;

/// A limit and what counts against it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// The limit; above 0.
    pub bytes: u64,
    /// What is used of it now.
    pub used_bytes: u64,
}

impl Limit {
    /// What may still be used.
    #[must_use]
    pub fn room_bytes(self) -> u64 {
        self.bytes.saturating_sub(self.used_bytes)
    }

    /// Makes this the limit of the process, unless `facts` hold a tighter one. True when it is.
    pub fn tighten(self, facts: &mut Facts) -> bool {
        let room = |facts: &Facts| Some(facts.get("limit")? - facts.get("limit_used")?);
        if room(facts).is_some_and(|room| room <= self.room_bytes() as f64) {
            return false;
        }
        facts.set("limit", self.bytes as f64);
        facts.set("limit_used", self.used_bytes as f64);
        facts.set("limit_share", self.used_bytes as f64 / self.bytes as f64);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_with_the_least_room_binds_in_whatever_order_they_are_told() {
        let wide = Limit {
            bytes: 1_000,
            used_bytes: 100,
        };
        let tight = Limit {
            bytes: 2_000,
            used_bytes: 1_900,
        };
        for order in [[wide, tight], [tight, wide]] {
            let mut facts = Facts::default();
            let said = order.map(|limit| limit.tighten(&mut facts));
            assert_eq!(said, [true, order[1] == tight]);
            assert_eq!(facts.get("limit"), Some(2_000.0));
            assert_eq!(facts.get("limit_share"), Some(0.95));
        }
    }
}
