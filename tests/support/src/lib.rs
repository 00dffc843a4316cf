//! What the tests share: real .NET runtimes, compiled targets, running services.
