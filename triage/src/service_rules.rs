//! The rules of each service: the shared ones, with its own parameters (`[service.rules.…]`) where it has any.

use leakhound_rules::vocabulary::LISTS;
use leakhound_rules::{Diagnostic, Overrides, RuleSet};
use std::collections::{BTreeMap, BTreeSet};

/// Parameters of rules: rule, then name and value.
pub type Parameters = BTreeMap<String, Overrides>;

/// Rules by service.
#[derive(Debug, Clone)]
pub struct ServiceRules {
    shared: RuleSet,
    own: BTreeMap<String, RuleSet>,
}

impl ServiceRules {
    /// `shared` rules, and those of each service that has parameters of its own.
    ///
    /// # Errors
    /// A rule or a parameter does not exist, or a value has another unit: each with the service that says so.
    pub fn new<'p>(
        shared: RuleSet,
        parameters: impl IntoIterator<Item = (&'p str, &'p Parameters)>,
    ) -> Result<Self, Vec<(String, Diagnostic)>> {
        let mut own = BTreeMap::new();
        let mut problems = Vec::new();
        for (service, parameters) in parameters {
            match shared.with_params(parameters) {
                Ok(rules) => {
                    own.insert(service.to_owned(), rules);
                }
                Err(found) => {
                    problems.extend(found.into_iter().map(|p| (service.to_owned(), p)));
                }
            }
        }
        if problems.is_empty() {
            Ok(Self { shared, own })
        } else {
            Err(problems)
        }
    }

    /// The rules that judge a service.
    #[must_use]
    pub fn of(&self, service: &str) -> &RuleSet {
        self.own.get(service).unwrap_or(&self.shared)
    }

    /// Lists of a sheet for which some rule may ask. Parameters change values, not what is asked.
    pub(crate) fn lists(&self) -> BTreeSet<&'static str> {
        let asked = LISTS.iter().map(|list| list.name);
        asked.filter(|list| self.shared.may_ask_for(list)).collect()
    }
}

/// The same rules for every service.
impl From<RuleSet> for ServiceRules {
    fn from(shared: RuleSet) -> Self {
        Self {
            shared,
            own: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parameters(value: &str) -> Parameters {
        let values = Overrides::from([("queued".to_owned(), value.to_owned())]);
        Parameters::from([("threadpool-backlog".to_owned(), values)])
    }

    #[test]
    fn a_service_has_its_own_parameters_and_others_keep_theirs() {
        let own = parameters("8_000");
        let rules = ServiceRules::new(RuleSet::shipped(), [("Shop.Cart", &own)]).unwrap();
        let fires = |service: &str| {
            let mut sheet = leakhound_rules::FactSheet::default();
            sheet.int("threadpool.queued", 6_000);
            let diagnosis = leakhound_rules::judge(&sheet, rules.of(service));
            !diagnosis.findings.is_empty()
        };
        assert!(!fires("Shop.Cart"));
        assert!(fires("Shop.Pricing"));
    }

    #[test]
    fn a_value_of_another_unit_names_the_service() {
        let wrong = parameters("8 GB");
        let problems = ServiceRules::new(RuleSet::shipped(), [("Shop.Cart", &wrong)]).unwrap_err();
        assert_eq!(problems[0].0, "Shop.Cart");
    }
}
