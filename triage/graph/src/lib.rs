//! Numbers only: CSR graph, reachability, dominators, retained size, paths.
//!
//! Invariant: nothing here names a runtime type; nodes are numbers. No I/O.
