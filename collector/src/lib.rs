//! Discover, sample, trigger, budget, capture, seal.
//!
//! Invariant: this crate never walks a heap; the process beside production stays small.
