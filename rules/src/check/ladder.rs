//! `private_bytes > steps(1 GB, 2 GB, 3 GB)`: one trigger that fires once for each threshold.

use super::{Checker, only_triggers};
use crate::algebra::{compare, numeric};
use crate::diagnostic::Fault;
use crate::expr::{Expr, Ladder, Op};
use crate::syntax::{Node, Operator};
use crate::vocabulary::Kind;

/// The word.
pub(super) const WORD: &str = "steps";

/// `steps` stands where no comparison asks for it.
pub(super) fn misplaced(node: &Node) -> Fault {
    Fault::new(
        node.span.clone(),
        format!("`{WORD}` is a list of thresholds and stands to the right of `>` or `<`"),
    )
    .help(format!("write `private_bytes > {WORD}(1 GB, 2 GB, 3 GB)`"))
}

impl Checker<'_> {
    /// `left OPERATOR steps(…)`.
    pub(super) fn ladder(
        &mut self,
        operator: Operator,
        left: &Node,
        steps: &[Node],
        right: &Node,
    ) -> Result<Expr, Fault> {
        if !self.environment.trigger {
            return Err(only_triggers(WORD, right.span.clone()));
        }
        let rising = match operator {
            Operator::Greater | Operator::GreaterOrEqual => true,
            Operator::Less | Operator::LessOrEqual => false,
            _ => return Err(misplaced(right)),
        };
        if steps.len() < 2 {
            return Err(Fault::new(
                right.span.clone(),
                format!("`{WORD}` needs two thresholds or more"),
            )
            .help(match steps {
                [one] => format!("write `{left} {} {one}`", operator.text()),
                _ => format!("write `{left} {} {WORD}(1 GB, 2 GB)`", operator.text()),
            }));
        }
        let value = self.check(left)?;
        numeric(&value, left, operator.text())?;
        let mut checked: Vec<Expr> = Vec::with_capacity(steps.len());
        for step in steps {
            let expr = self.check(step)?;
            numeric(&expr, step, WORD)?;
            // Each threshold must compare with the value as it would alone: same units, same advice.
            compare(operator, (left, value.clone()), (step, expr.clone()), step)?;
            if let (Some(Op::Number(before)), Op::Number(this)) =
                (checked.last().map(|e| &e.op), &expr.op)
                && (if rising {
                    this <= before
                } else {
                    this >= before
                })
            {
                let (way, other) = if rising { ("rise", "<") } else { ("fall", ">") };
                return Err(Fault::new(
                    step.span.clone(),
                    format!(
                        "thresholds after `{}` must {way}: this one would never fire",
                        operator.text()
                    ),
                )
                .help(format!(
                    "put them in order, or compare with `{other}` if that was meant"
                )));
            }
            checked.push(expr);
        }
        let kind = value.kind.or(checked[0].kind);
        let slot = self.ladders;
        self.ladders += 1;
        let ladder = Ladder {
            operator,
            value,
            steps: checked,
            slot,
            held: self.held,
            text: right.to_string().into(),
            kind,
        };
        Ok(Expr::new(Op::Steps(Box::new(ladder)), Some(Kind::Bool)))
    }
}
