//! The rule language, the vocabulary of facts, the fact sheet, findings and their ranking.
//!
//! A capture is walked once and becomes a [`FactSheet`]; [`judge`] holds rules against it as often as one
//! likes and returns a [`Diagnosis`]. A [`Trigger`] is a condition in the same language over the
//! [`History`] of a running process.
//!
//! # The language
//!
//! | | |
//! |---|---|
//! | numbers | `1.5 GB` `512 MiB` `30%` `10 min` `7 days` `100 MB/h` `60/h` `10_000`; GB is 10^9 bytes, GiB is 2^30 |
//! | texts | `"System.String"` or `'System.String'`; `\` keeps the next character |
//! | facts | dotted names of [`vocabulary::FACTS`]: `loh.free` |
//! | logic | `and` `or` `not` `true` `false` |
//! | comparisons | `<` `<=` `>` `>=` `==` `!=`; for texts `==` `!=` `contains` `starts_with` `ends_with` `matches "List<*>"` (`*` any text, `?` one character) |
//! | arithmetic | `+` `-` `*` `/`, `30% of x`, `min(a, b)`, `max(a, b)` |
//! | what is not known | `known(x)`; `otherwise(x, y)` is y where x is unknown; `only(x, c)` is unknown where c is not true |
//! | lists | `any in L where c`, `any c in L`, `all in L where c`, `count in L where c`, `sum x in L where c`, `max`, `min`, and `first x in L where c`; lists are ordered, the largest first |
//! | elements | a column by its name: `count`, or `item.count`; inside a list question of a `for_each` rule, `outer.count` is the rule's element |
//! | parameters | `params.floor` is the rule's own, settable per service |
//! | time, in triggers only | `c for 30 s`; `average(x, 7 days)` `minimum` `maximum` `rate(x, 1 h)` of a fact |
//! | counters, in triggers only | `counter("System.Runtime/threadpool-queue-length")`: a counter of the program, a plain number; provider and name with a slash between |
//! | others, in triggers only | `siblings(x)`: the median of a fact over the other processes of the same service on the node; unknown without any |
//! | steps, in triggers only | `x > steps(1 GB, 2 GB, 3 GB)`: each threshold fires once; also `>=`, and falling ones after `<` and `<=` |
//!
//! From the loosest to the tightest: `or`, `and`, `… for 30 s`, `not`, comparisons, `+ -`, `* /`, `of`, `-x`.
//! A question about a list runs to the end of its condition: put it in brackets to go on after it.
//! So `a > 1 and b > 2 for 30 s` holds `b > 2`; write `(a > 1 and b > 2) for 30 s` to hold both.
//!
//! `steps` compares with the first threshold that has not fired for this process. When a capture begins, every
//! threshold that was passed is done, so that a jump over two of them gives one capture; under a `for`, only the
//! one that was held. A new process begins at the first.
//!
//! Units are checked when a text is loaded. Bytes compare with bytes; bytes by bytes is a share, bytes by a
//! time span is bytes per hour; 0 is 0 of anything; a measured share needs its percent sign.
//!
//! Logic has three values. A fact that could not be read is unknown: `and` is still false when the other side
//! is false, `or` still true when the other side is true, and anything else about it is unknown. Of an empty
//! list, `count`, `sum` and `max` are 0, `any` is false, `all` is true, `min` and `first` are unknown.
//! Dividing by zero is unknown. A window of time is known when a tenth of it is covered by three samples or
//! more ([`history::covers`]); `for` starts over at every sample that is false or unknown.
//!
//! # Invariants
//!
//! No I/O, no clock, no async runtime: text and values come in, findings go out. No input panics, hangs or
//! allocates without bound: lengths, depths and rows are capped, and an evaluation that looks at more than [`eval::FUEL`] elements
//! is cut off and unknown. Every fact an expression read is evidence.

mod algebra;
pub mod catalog;
pub mod category;
pub mod check;
pub mod diagnosis;
pub mod diagnostic;
pub mod document;
pub mod eval;
pub mod expr;
pub mod facts;
pub mod finding;
pub mod fingerprint;
pub mod history;
mod judge;
pub mod lexer;
pub mod pack;
pub mod parser;
mod rank;
pub mod reading;
pub mod rule;
pub mod rule_test;
pub mod sheet;
pub mod syntax;
pub mod template;
pub mod trigger;
pub mod units;
pub mod value;
mod verdict;
pub mod vocabulary;

pub use category::Category;
pub use diagnosis::{Diagnosis, FactValue, MemoryAccount, NotJudged, Verdict};
pub use diagnostic::{Diagnostic, Origin};
pub use eval::Clocks;
pub use finding::{Absorbed, Evidence, Finding, Role, Severity};
pub use history::{History, Measured, Statistic};
pub use judge::{Known, assess, judge, judge_knowing};
pub use pack::RuleSet;
pub use reading::{Hold, Reading, Side};
pub use rule::{Overrides, Rule};
pub use sheet::{FactSheet, Row, Value};
pub use trigger::{Decision, Trigger, WindowNeed};
pub use units::{Bytes, Millis, Quantity, Ratio};
pub use value::{Truth, Val};
