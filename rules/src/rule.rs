//! A rule: one TOML file that says when something is wrong, what to blame, how much memory it explains,
//! and what to do. The keys are those of [`Rule::parse`].

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::category::Category;
use crate::check::{Environment, condition, expression};
use crate::diagnostic::{Diagnostic, Fault, nearest};
use crate::document::{Located, Source, Table};
use crate::expr::Expr;
use crate::finding::{Role, Severity};
use crate::rule_test::RuleTest;
use crate::template::Template;
use crate::units::Quantity;
use crate::vocabulary::{Kind, LISTS, List, list_named};

/// Confidence of a rule that does not say.
const DEFAULT_CONFIDENCE: u8 = 80;

/// Most texts in one list of a rule file.
const MAX_TEXTS: usize = 32;

/// A checked rule.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Unique name: lower-case words with `-`.
    pub id: String,
    /// One of the closed list.
    pub category: Category,
    /// Its part in the story.
    pub role: Role,
    /// What it finds, one short sentence.
    pub title: String,
    /// The list whose elements it judges one by one.
    pub for_each: Option<&'static List>,
    /// How bad it is when `when` holds.
    pub severity: Severity,
    /// How sure, 0 to 100, when nothing gives reason to doubt.
    pub confidence: u8,
    /// Symptoms that it absorbs: ids of rules.
    pub suppresses: Vec<String>,
    /// Rule whose fingerprint it shares, so that one incident covers both.
    pub same_incident_as: Option<String>,
    /// Where to read more.
    pub docs: Vec<String>,
    /// Thresholds that can be set per service, with the values in force.
    pub params: BTreeMap<String, Quantity>,
    /// Cases that it must pass.
    pub tests: Vec<RuleTest>,
    /// Name of its file.
    pub file: String,
    /// Its file as it was read.
    pub text: Arc<str>,
    pub(crate) when: Expr,
    pub(crate) critical: Option<Expr>,
    pub(crate) info: Option<Expr>,
    pub(crate) explains: Option<Expr>,
    pub(crate) growth: Option<Expr>,
    pub(crate) doubts: Vec<(Expr, u8)>,
    pub(crate) culprit: Vec<Template>,
    pub(crate) identity: Option<Template>,
    pub(crate) message: Template,
    pub(crate) path: Option<Expr>,
    pub(crate) advice: Vec<Template>,
    pub(crate) verify: Vec<(String, Template)>,
    /// The expressions as they were written, for [`crate::catalog::explain`]: key and text.
    pub(crate) written: Vec<(&'static str, String)>,
    /// Where the names in `suppresses` and `same_incident_as` stand, for errors of the whole set.
    pub(crate) references: Vec<Located>,
}

/// New values for parameters, by name, as they are written: `50 MB`.
pub type Overrides = BTreeMap<String, String>;

impl Rule {
    /// Reads and checks a rule file. `file` is its name in errors.
    ///
    /// # Errors
    /// At the first thing that is wrong, with file, line, caret and a suggestion.
    pub fn parse(file: &str, text: &str) -> Result<Self, Diagnostic> {
        Self::parse_with(file, text, &Overrides::new())
    }

    /// The same with other values for parameters.
    ///
    /// # Errors
    /// Also when a parameter does not exist or its unit changes.
    pub fn parse_with(file: &str, text: &str, overrides: &Overrides) -> Result<Self, Diagnostic> {
        let source = Source { file, text };
        let parsed = source.parse()?;
        let mut reader = Reader {
            table: Table::new(source, parsed.get_ref(), 0..0),
            written: Vec::new(),
        };
        reader.rule(overrides)
    }

    /// The conditions and expressions as they were written, by key.
    #[must_use]
    pub fn written(&self) -> &[(&'static str, String)] {
        &self.written
    }

    /// The tools with which a sceptic checks by hand.
    #[must_use]
    pub fn tools(&self) -> Vec<&str> {
        self.verify.iter().map(|(tool, _)| tool.as_str()).collect()
    }
}

struct Reader<'t> {
    table: Table<'t>,
    written: Vec<(&'static str, String)>,
}

impl Reader<'_> {
    fn rule(&mut self, overrides: &Overrides) -> Result<Rule, Diagnostic> {
        let source = self.table.source();
        let id = self.id()?;
        let category = self.choice("category", "loh-fragmentation", Category::named, || {
            Category::ALL.iter().map(|c| c.name()).collect()
        })?;
        let role = self.choice("role", "cause", Role::named, || {
            Role::ALL.iter().map(|r| r.name()).collect()
        })?;
        let title = self
            .table
            .required("title", "say what the rule finds, in one short sentence")?;
        let for_each = self.for_each()?;
        let params = self.params(overrides)?;
        let environment = Environment {
            element: for_each,
            params: Some(&params),
            trigger: false,
        };
        let when = self
            .table
            .required("when", "write a condition such as `loh.free > 100 MB`")?;
        let when = self.condition("when", &when, environment)?;
        let critical = self.optional_condition("critical", environment)?;
        let info = self.optional_condition("info", environment)?;
        let severity = self.severity()?;
        let explains = self.bytes("explains", environment)?;
        let growth = self.bytes("growth", environment)?;
        let confidence = self.confidence("confidence")?.unwrap_or(DEFAULT_CONFIDENCE);
        let doubts = self.doubts(environment)?;
        let culprit = self.templates("culprit", environment)?;
        if culprit.is_empty() {
            self.table.required(
                "culprit",
                "name the type, field, path or thread to blame, such as `{first type in ready}`",
            )?;
        }
        let identity = self.templates("identity", environment)?.into_iter().next();
        let message = self.table.required(
            "message",
            "say what is wrong here, with numbers: `{loh.free} of {loh.committed} is holes`",
        )?;
        let message = template(source, &message, environment)?;
        let path = self.path(environment)?;
        let advice = self.templates("advice", environment)?;
        if advice.is_empty() {
            self.table
                .required("advice", "say what to do, the most useful first")?;
        }
        let verify = self.verify(environment)?;
        let suppresses = self.table.texts("suppresses")?;
        let same_incident_as = self.table.text("same_incident_as")?;
        let docs = self.docs()?;
        let tests = RuleTest::read_all(&mut self.table)?;
        let references = suppresses
            .iter()
            .chain(&same_incident_as)
            .cloned()
            .collect();
        self.table.finish()?;
        Ok(Rule {
            id,
            category,
            role,
            title: title.text,
            for_each,
            severity,
            confidence,
            suppresses: suppresses.into_iter().map(|s| s.text).collect(),
            same_incident_as: same_incident_as.map(|s| s.text),
            docs,
            params,
            tests,
            file: source.file.to_owned(),
            text: source.text.into(),
            when,
            critical,
            info,
            explains,
            growth,
            doubts,
            culprit,
            identity,
            message,
            path,
            advice,
            verify,
            written: std::mem::take(&mut self.written),
            references,
        })
    }

    fn id(&mut self) -> Result<String, Diagnostic> {
        const MAX_ID_BYTES: usize = 64;
        let id = self
            .table
            .required("id", "give the rule a name such as `loh-fragmentation`")?;
        let fits = id
            .text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if fits && id.text.len() <= MAX_ID_BYTES {
            return Ok(id.text);
        }
        let help = format!(
            "use at most {MAX_ID_BYTES} lower-case letters, digits and `-`: `loh-fragmentation`"
        );
        Err(self
            .table
            .source()
            .show(Fault::new(id.span, format!("`{}` is no rule id", id.text)).help(help)))
    }

    fn choice<T>(
        &mut self,
        key: &'static str,
        example: &str,
        named: impl Fn(&str) -> Option<T>,
        names: impl Fn() -> Vec<&'static str>,
    ) -> Result<T, Diagnostic> {
        let value = self
            .table
            .required(key, &format!("write `{key} = \"{example}\"`"))?;
        named(&value.text).ok_or_else(|| {
            let names = names();
            let fault = Fault::new(
                value.span.clone(),
                format!("there is no {key} called `{}`", value.text),
            )
            .help(format!("one of {}", names.join(", ")))
            .did_you_mean(nearest(&value.text, names));
            self.table.source().show(fault)
        })
    }

    fn for_each(&mut self) -> Result<Option<&'static List>, Diagnostic> {
        let Some(name) = self.table.text("for_each")?.filter(|n| !n.text.is_empty()) else {
            return Ok(None);
        };
        list_named(&name.text).map(Some).ok_or_else(|| {
            let names = LISTS.iter().map(|l| l.name);
            let fault = Fault::new(
                name.span.clone(),
                format!("there is no list called `{}`", name.text),
            )
            .help("`leakhound rules facts` lists every list")
            .did_you_mean(nearest(&name.text, names));
            self.table.source().show(fault)
        })
    }

    fn params(&mut self, overrides: &Overrides) -> Result<BTreeMap<String, Quantity>, Diagnostic> {
        let source = self.table.source();
        let mut params = BTreeMap::new();
        let table = self.table.table("params")?;
        for (key, value) in table.iter().flat_map(|(table, _)| table.iter()) {
            let name = key.get_ref().to_string();
            let fail = |message: String| {
                source.show(Fault::new(value.span(), message).help("write `floor = \"50 MB\"`"))
            };
            let text = value
                .get_ref()
                .as_str()
                .ok_or_else(|| fail(format!("`{name}` needs a quantity in quotes")))?;
            let mut quantity = Quantity::parse(text).map_err(|e| fail(e.to_string()))?;
            if let Some(text) = overrides.get(&name) {
                let new = Quantity::parse(text)
                    .map_err(|e| fail(format!("the value set for `params.{name}`: {e}")))?;
                if new.kind != quantity.kind {
                    return Err(fail(format!(
                        "the value set for `params.{name}` is `{text}`: it needs the unit of the default"
                    )));
                }
                quantity = new;
            }
            params.insert(name, quantity);
        }
        let span = table.map_or(0..0, |(_, span)| span);
        let Some(name) = overrides.keys().find(|name| !params.contains_key(*name)) else {
            return Ok(params);
        };
        let message =
            format!("a value is set for the parameter `{name}`, which this rule does not have");
        let near = nearest(name, params.keys().map(String::as_str));
        Err(source.show(Fault::new(span, message).did_you_mean(near)))
    }

    fn condition(
        &mut self,
        key: &'static str,
        text: &Located,
        environment: Environment<'_>,
    ) -> Result<Expr, Diagnostic> {
        let origin = text.origin(self.table.source());
        let checked = condition(&text.text, environment).map_err(|f| origin.diagnostic(f))?;
        self.written.push((key, text.text.clone()));
        Ok(checked.expr)
    }

    fn optional_condition(
        &mut self,
        key: &'static str,
        environment: Environment<'_>,
    ) -> Result<Option<Expr>, Diagnostic> {
        let text = self.table.text(key)?;
        text.map(|text| self.condition(key, &text, environment))
            .transpose()
    }

    /// An expression that yields bytes.
    fn bytes(
        &mut self,
        key: &'static str,
        environment: Environment<'_>,
    ) -> Result<Option<Expr>, Diagnostic> {
        self.typed(key, Kind::Bytes, "loh.free", environment)
    }

    fn path(&mut self, environment: Environment<'_>) -> Result<Option<Expr>, Diagnostic> {
        self.typed("path", Kind::Texts, "path", environment)
    }

    fn typed(
        &mut self,
        key: &'static str,
        kind: Kind,
        example: &str,
        environment: Environment<'_>,
    ) -> Result<Option<Expr>, Diagnostic> {
        let Some(text) = self.table.text(key)?.filter(|t| !t.text.is_empty()) else {
            return Ok(None);
        };
        let origin = text.origin(self.table.source());
        let checked = expression(&text.text, environment).map_err(|f| origin.diagnostic(f))?;
        if checked.expr.kind() != Some(kind) {
            let fault = Fault::new(0..text.text.len(), format!("`{key}` needs {}", kind.noun()))
                .help(format!("write `{key} = \"{example}\"`"));
            return Err(origin.diagnostic(fault));
        }
        self.written.push((key, text.text));
        Ok(Some(checked.expr))
    }

    fn severity(&mut self) -> Result<Severity, Diagnostic> {
        let Some(text) = self.table.text("severity")? else {
            return Ok(Severity::Warning);
        };
        Severity::named(&text.text).ok_or_else(|| {
            let fault = Fault::new(
                text.span.clone(),
                format!("there is no severity called `{}`", text.text),
            )
            .help("one of info, warning, critical")
            .did_you_mean(nearest(&text.text, ["info", "warning", "critical"]));
            self.table.source().show(fault)
        })
    }

    fn confidence(&mut self, key: &'static str) -> Result<Option<u8>, Diagnostic> {
        let value = self.table.whole(key, 0..=100)?;
        Ok(value.and_then(|v| u8::try_from(v).ok()))
    }

    /// `doubts = [{ when = "not known(growth.native)", confidence = 60 }]`
    fn doubts(&mut self, environment: Environment<'_>) -> Result<Vec<(Expr, u8)>, Diagnostic> {
        let source = self.table.source();
        let mut out = Vec::new();
        for (table, span) in self.table.tables("doubts")? {
            let mut table = Table::new(source, table, span.clone());
            let when = table.required("when", "write when to doubt: `not known(growth.native)`")?;
            let confidence = table.whole("confidence", 0..=100)?;
            let confidence = confidence
                .and_then(|c| u8::try_from(c).ok())
                .ok_or_else(|| {
                    source.show(
                        Fault::new(span, "`confidence` is missing").help("write `confidence = 60`"),
                    )
                })?;
            table.finish()?;
            out.push((self.condition("doubts", &when, environment)?, confidence));
        }
        Ok(out)
    }

    fn templates(
        &mut self,
        key: &'static str,
        environment: Environment<'_>,
    ) -> Result<Vec<Template>, Diagnostic> {
        let source = self.table.source();
        let texts = self.table.texts(key)?;
        if let Some(extra) = texts.get(MAX_TEXTS) {
            return Err(source.fault(extra.span.clone(), format!("more than {MAX_TEXTS} texts")));
        }
        texts
            .iter()
            .map(|text| template(source, text, environment))
            .collect()
    }

    /// `verify = { sos = "!eeheap -gc", windbg = "…" }`
    fn verify(
        &mut self,
        environment: Environment<'_>,
    ) -> Result<Vec<(String, Template)>, Diagnostic> {
        let source = self.table.source();
        let Some((table, _)) = self.table.table("verify")? else {
            return Ok(Vec::new());
        };
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let mut out = Vec::new();
        for (tool, value) in entries {
            let located = Located {
                text: value
                    .get_ref()
                    .as_str()
                    .ok_or_else(|| {
                        source.fault(
                            value.span(),
                            format!("`{}` needs a command in quotes", tool.get_ref()),
                        )
                    })?
                    .to_owned(),
                span: value.span(),
            };
            out.push((
                tool.get_ref().to_string(),
                template(source, &located, environment)?,
            ));
        }
        Ok(out)
    }

    fn docs(&mut self) -> Result<Vec<String>, Diagnostic> {
        let docs = self.table.texts("docs")?;
        if let Some(wrong) = docs.iter().find(|d| !d.text.starts_with("https://")) {
            let fault =
                Fault::new(wrong.span.clone(), "a link is expected").help("write `https://…`");
            return Err(self.table.source().show(fault));
        }
        Ok(docs.into_iter().map(|d| d.text).collect())
    }
}

fn template(
    source: Source<'_>,
    text: &Located,
    environment: Environment<'_>,
) -> Result<Template, Diagnostic> {
    Template::parse(&text.text, environment).map_err(|f| text.origin(source).diagnostic(f))
}
