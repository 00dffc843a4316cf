//! What is read of a stream at most. Each is several times what runtimes write.

/// Bytes of a block. Runtimes close one at 100 KiB; a single event may have 64 KiB more.
pub const MAX_BLOCK_BYTES: usize = 1 << 20;
/// Bytes of the name of an object's type; the longest is `MetadataBlock`.
pub const MAX_TYPE_NAME_BYTES: usize = 64;
/// UTF-16 units of a name: of a provider, an event, a field, a counter.
pub const MAX_NAME_UNITS: usize = 1_024;
/// Events about counters that a stream explains: two for each provider.
pub const MAX_DEFINITIONS: usize = 1_024;
/// Fields of an event, those inside of others included; those of counters have a dozen.
pub const MAX_FIELDS: usize = 64;
/// Fields inside of fields.
pub const MAX_DEPTH: usize = 4;
