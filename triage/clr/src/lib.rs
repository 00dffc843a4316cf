//! Process image to managed heap.
//!
//! Invariant: only this crate knows the memory of the runtime; it knows no file format and judges nothing.
