//! What a condition says about keys.
//!
//! In: a condition over some columns, which of them are key columns. Out: a set of keys.
//! Invariants: every row that the condition holds for has its key in the set. What is not understood says nothing: then
//! any key may fit. Whoever reads by such a set still has to ask the condition.

use std::ops::Bound;
use std::sync::Arc;

use arrow::array::{Array, StructArray};
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{
    BinaryExpr, CaseExpr, CastExpr, Column, DynamicFilterPhysicalExpr, InListExpr, Literal, NotExpr, TryCastExpr,
};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};

use crate::key_literal::{exact, fits_key, is_nan, is_zero, keeps_order};
use crate::key_set::{KeySet, Values};

/// How deep conditions are looked into.
const DEPTH_MAX: usize = 64;

/// The key columns of a table, and where they are among the columns of a condition.
#[derive(Clone, Debug)]
pub struct KeyColumns {
    /// Types of the key columns, in key order.
    types: Vec<DataType>,
    /// For each column of the condition its place in the key.
    places: Vec<Option<usize>>,
}

/// A key column in a condition.
#[derive(Clone, Copy)]
struct KeyColumn<'a> {
    place: usize,
    data_type: &'a DataType,
}

impl KeyColumns {
    /// Key columns of some types, in key order; for each column of the conditions its place in the key, if it has one.
    pub fn new(types: Vec<DataType>, places: Vec<Option<usize>>) -> Self {
        Self { types, places }
    }

    /// The keys that rows may have for which a condition holds.
    pub fn keys_where(&self, condition: &Arc<dyn PhysicalExpr>) -> KeySet {
        self.keys(condition, 0)
    }

    fn keys(&self, condition: &Arc<dyn PhysicalExpr>, depth: usize) -> KeySet {
        if depth > DEPTH_MAX {
            return KeySet::All;
        }
        if let Some(literal) = condition.downcast_ref::<Literal>() {
            // NULL is no.
            let is_no = literal.value().is_null() || *literal.value() == ScalarValue::Boolean(Some(false));
            return if is_no { KeySet::NONE } else { KeySet::All };
        }
        if let Some(dynamic) = condition.downcast_ref::<DynamicFilterPhysicalExpr>() {
            return dynamic.current().map_or(KeySet::All, |current| self.keys(&current, depth + 1));
        }
        if let Some(binary) = condition.downcast_ref::<BinaryExpr>() {
            return match binary.op() {
                Operator::And | Operator::Or => self.chain(condition, *binary.op(), depth),
                operator => self.comparison(binary.left(), *operator, binary.right()),
            };
        }
        if let Some(list) = condition.downcast_ref::<InListExpr>() {
            return self.list(list);
        }
        if let Some(case) = condition.downcast_ref::<CaseExpr>() {
            // Whichever branch is taken.
            let branches = case.when_then_expr().iter().map(|(_, then)| then).chain(case.else_expr());
            return branches.fold(KeySet::NONE, |keys, branch| keys.or(self.keys(branch, depth + 1)));
        }
        match condition.downcast_ref::<NotExpr>() {
            Some(not) => self.flag(not.arg(), false),
            None => self.flag(condition, true),
        }
    }

    /// The keys for which all, or any, of the parts of a chain hold; such chains are long where lists were written out.
    fn chain(&self, condition: &Arc<dyn PhysicalExpr>, operator: Operator, depth: usize) -> KeySet {
        let mut keys = if operator == Operator::And { KeySet::All } else { KeySet::NONE };
        let mut open = vec![condition];
        while let Some(part) = open.pop() {
            match part.downcast_ref::<BinaryExpr>() {
                Some(binary) if *binary.op() == operator => open.extend([binary.right(), binary.left()]),
                _ => {
                    let part = self.keys(part, depth + 1);
                    keys = if operator == Operator::And { keys.and(part) } else { keys.or(part) };
                }
            }
        }
        keys
    }

    fn of(&self, place: usize, values: Values) -> KeySet {
        KeySet::of(self.types.len(), place, values)
    }

    /// A key column as a condition.
    fn flag(&self, condition: &Arc<dyn PhysicalExpr>, wanted: bool) -> KeySet {
        match self.column(condition) {
            Some(KeyColumn { place, data_type: DataType::Boolean }) => {
                self.of(place, Values::OneOf(vec![ScalarValue::Boolean(Some(wanted))]))
            }
            _ => KeySet::All,
        }
    }

    /// A key column, or a cast of it that changes nothing about how keys compare.
    fn column(&self, expr: &Arc<dyn PhysicalExpr>) -> Option<KeyColumn<'_>> {
        if let Some(column) = expr.downcast_ref::<Column>() {
            let place = (*self.places.get(column.index())?)?;
            return Some(KeyColumn { place, data_type: &self.types[place] });
        }
        let (of, to) = match (expr.downcast_ref::<CastExpr>(), expr.downcast_ref::<TryCastExpr>()) {
            (Some(cast), _) => (cast.expr(), cast.cast_type()),
            (_, Some(cast)) => (cast.expr(), cast.cast_type()),
            _ => return None,
        };
        self.column(of).filter(|column| keeps_order(column.data_type, to))
    }

    /// The value of a column that a literal means.
    fn value(&self, literal: &ScalarValue, column: KeyColumn<'_>) -> Option<ScalarValue> {
        exact(literal, column.data_type).filter(|_| fits_key(literal, self.types.len()))
    }

    fn comparison(&self, left: &Arc<dyn PhysicalExpr>, operator: Operator, right: &Arc<dyn PhysicalExpr>) -> KeySet {
        let (column, literal, operator) = match (self.column(left), self.column(right)) {
            (Some(column), None) => (column, right, operator),
            (None, Some(column)) => match operator.swap() {
                Some(operator) => (column, left, operator),
                None => return KeySet::All,
            },
            _ => return KeySet::All,
        };
        let Some(literal) = literal.downcast_ref::<Literal>().map(Literal::value) else { return KeySet::All };
        if !is_comparison(operator) {
            return KeySet::All;
        }
        if literal.is_null() {
            // A cast that was tried may be NULL where the key is not.
            return if operator == Operator::IsNotDistinctFrom { KeySet::All } else { KeySet::NONE };
        }
        match self.value(literal, column).and_then(|value| values_beside(operator, value)) {
            Some(values) => self.of(column.place, values),
            None => KeySet::All,
        }
    }

    fn list(&self, list: &InListExpr) -> KeySet {
        if list.negated() {
            return KeySet::All;
        }
        if let Some(tuple) = list.expr().downcast_ref::<ScalarFunctionExpr>().filter(|call| call.name() == "struct") {
            return self.tuples(tuple.args(), list.list());
        }
        let Some(column) = self.column(list.expr()) else { return KeySet::All };
        let mut values = Vec::with_capacity(list.len());
        for item in list.list() {
            let Some(literal) = item.downcast_ref::<Literal>().map(Literal::value) else { return KeySet::All };
            if literal.is_null() {
                continue;
            }
            let Some(value) = self.value(literal, column) else { return KeySet::All };
            values.push(value);
        }
        if values.is_empty() { KeySet::NONE } else { self.of(column.place, Values::OneOf(values)) }
    }

    /// A list of structs of some columns, as a join on several columns makes it.
    fn tuples(&self, columns: &[Arc<dyn PhysicalExpr>], list: &[Arc<dyn PhysicalExpr>]) -> KeySet {
        let mut keys = KeySet::NONE;
        for item in list {
            let Some(ScalarValue::Struct(tuple)) = item.downcast_ref::<Literal>().map(Literal::value) else {
                return KeySet::All;
            };
            keys = keys.or(self.tuple(columns, tuple));
        }
        keys
    }

    fn tuple(&self, columns: &[Arc<dyn PhysicalExpr>], tuple: &StructArray) -> KeySet {
        if tuple.len() != 1 || tuple.num_columns() != columns.len() {
            return KeySet::All;
        }
        let mut keys = KeySet::All;
        for (column, field) in columns.iter().zip(tuple.columns()) {
            let Some(column) = self.column(column) else { continue };
            let literal = ScalarValue::try_from_array(field, 0);
            let values = match literal {
                // No key column is NULL.
                Ok(literal) if literal.is_null() => return KeySet::NONE,
                Ok(literal) => self.value(&literal, column).map(|value| Values::OneOf(vec![value])),
                Err(_) => None,
            };
            keys = keys.and(values.map_or(KeySet::All, |values| self.of(column.place, values)));
        }
        keys
    }
}

fn is_comparison(operator: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsNotDistinctFrom, Lt, LtEq};
    matches!(operator, Eq | IsNotDistinctFrom | Lt | LtEq | Gt | GtEq)
}

/// The values that compare so with a value.
fn values_beside(operator: Operator, value: ScalarValue) -> Option<Values> {
    // The literal may have been another NaN, and any order of those is one too many.
    let is_nan = is_nan(&value);
    Some(match operator {
        Operator::Eq | Operator::IsNotDistinctFrom => Values::OneOf(vec![value]),
        _ if is_nan => return None,
        Operator::Lt => Values::Between(Bound::Unbounded, Bound::Excluded(value)),
        Operator::LtEq => Values::Between(Bound::Unbounded, Bound::Included(value)),
        // It may have been -0.0, which not every comparison takes for the one zero that keys have.
        Operator::Gt if is_zero(&value) => Values::Between(Bound::Included(value), Bound::Unbounded),
        Operator::Gt => Values::Between(Bound::Excluded(value), Bound::Unbounded),
        Operator::GtEq => Values::Between(Bound::Included(value), Bound::Unbounded),
        _ => return None,
    })
}
