//! Which aggregates DataFusion may answer from statistics.
//!
//! In: the rules of a session's optimiser. Out: the same, but the one that answers aggregates leaves plans alone in which
//! distinct values are counted.
//! Why: DataFusion 55.2 takes a column below `column = literal` to have exactly one distinct value, also where the
//! condition leaves no row, and answers `count(DISTINCT column)` by it. We know of no column how many distinct values it
//! has, so nothing is lost.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNode;
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;

type Rule = Arc<dyn PhysicalOptimizerRule + Send + Sync>;

/// How DataFusion names the rule.
const AGGREGATE_STATISTICS: &str = "aggregate_statistics";

/// The rules of DataFusion, of which one is held back.
pub(crate) fn physical_rules() -> Vec<Rule> {
    let rules = PhysicalOptimizer::new().rules.into_iter();
    let held_back = |rule: Rule| -> Rule {
        match rule.name() {
            AGGREGATE_STATISTICS => Arc::new(ButForDistinct { rule }),
            _ => rule,
        }
    };
    rules.map(held_back).collect()
}

/// A rule, but for plans in which distinct values are counted.
#[derive(Debug)]
struct ButForDistinct {
    rule: Rule,
}

impl PhysicalOptimizerRule for ButForDistinct {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let counts_distinct = |node: &Arc<dyn ExecutionPlan>| {
            let aggregate = node.downcast_ref::<AggregateExec>();
            Ok(aggregate.is_some_and(|aggregate| aggregate.aggr_expr().iter().any(|expr| expr.is_distinct())))
        };
        if plan.exists(counts_distinct)? { Ok(plan) } else { self.rule.optimize(plan, config) }
    }

    fn name(&self) -> &str {
        self.rule.name()
    }

    fn schema_check(&self) -> bool {
        self.rule.schema_check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_rule_is_held_back_and_all_keep_their_places() {
        let names = |rules: Vec<Rule>| rules.iter().map(|rule| rule.name().to_owned()).collect::<Vec<_>>();
        assert_eq!(names(physical_rules()), names(PhysicalOptimizer::new().rules));
        let held_back = physical_rules().iter().filter(|rule| format!("{rule:?}").contains("ButForDistinct")).count();
        assert_eq!(held_back, 1);
    }
}
