//! Reads a rule's source and refuses what must never run: loops, unknown names and functions, depth, cost.

use super::scope::{MATCHES_KEPT, Name, pattern};
use super::{RuleFault, SOURCE_BYTES_MAX, free_property};
use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SelectExpr, operators};
use std::collections::BTreeSet;

/// How deep a rule may nest: bounds the stack that parsing and running take.
const DEPTH_MAX: usize = 32;
/// What one run may cost, in units of about 20 ns.
const COST_MAX: u32 = 1_000;
/// The longest pattern of `matches`, in bytes.
const PATTERN_BYTES_MAX: usize = 200;

/// The macros that loop; the crate has no limit for what they cost.
const LOOPS: [&str; 5] = ["all", "exists", "exists_one", "map", "filter"];
/// Functions called as `f(x)`, and the most arguments they take.
const FUNCTIONS: [&str; 7] = ["size", "int", "double", "string", "bool", "timestamp", "duration"];
/// Functions called as `x.f(…)`.
const METHODS: [&str; 15] = [
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "getFullYear",
    "getMonth",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getHours",
    "getMinutes",
    "getSeconds",
    "getMilliseconds",
];

/// What was learnt of a rule on the way.
#[derive(Debug, Clone, Default)]
pub(super) struct Findings {
    /// The names it uses.
    pub(super) names: BTreeSet<Name>,
    /// The attributes of the user that it uses.
    pub(super) attributes: BTreeSet<String>,
    /// Those of them that it asks for with `has()` or `in`: without them it is false, where it would else have no answer.
    pub(super) asked: BTreeSet<String>,
    /// Whether it looks at the user's attributes without spelling their names.
    pub(super) any_attribute: bool,
    /// The properties of events and things that it uses.
    pub(super) free: BTreeSet<(Name, String)>,
    /// Whether it looks into properties in a way that a sample cannot stand for.
    pub(super) opaque: bool,
    cost: u32,
}

fn fault<T>(message: impl Into<String>) -> Result<T, RuleFault> {
    Err(RuleFault(message.into()))
}

/// Source to expression, loops expanded.
pub(super) fn parse(source: &str) -> Result<IdedExpr, RuleFault> {
    if source.trim().is_empty() {
        return fault("the rule is empty");
    }
    if source.len() > SOURCE_BYTES_MAX {
        return fault(format!("a rule has at most {SOURCE_BYTES_MAX} bytes"));
    }
    if nesting(source) > DEPTH_MAX {
        return fault(format!("the rule nests deeper than {DEPTH_MAX}"));
    }
    // Expands `has` and the macros that loop, which the walk then finds.
    let parser = cel::parser::Parser::new().max_recursion_depth(u16::try_from(DEPTH_MAX).unwrap_or(u16::MAX));
    parser.parse(source).map_err(|errors| {
        let first = errors.errors.first().map_or_else(|| "it cannot be read".to_owned(), |e| e.msg.clone());
        RuleFault(format!("the rule cannot be read: {}", first.chars().take(200).collect::<String>()))
    })
}

/// How deep brackets nest, those inside texts included: cheap, and never less than what the parser will see.
fn nesting(source: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0_usize);
    for b in source.bytes() {
        match b {
            b'(' | b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Walks the whole expression; marks checked patterns so that they are compiled once.
pub(super) fn audit(expr: &mut IdedExpr) -> Result<Findings, RuleFault> {
    let mut findings = Findings::default();
    findings.visit(expr, 0)?;
    if findings.cost > COST_MAX {
        return fault(format!("the rule costs {} to run; at most {COST_MAX} are allowed", findings.cost));
    }
    Ok(findings)
}

impl Findings {
    fn visit(&mut self, expr: &mut IdedExpr, depth: usize) -> Result<(), RuleFault> {
        if depth > DEPTH_MAX {
            return fault(format!("the rule nests deeper than {DEPTH_MAX}"));
        }
        self.cost = self.cost.saturating_add(1);
        if let Some((name, property)) = free_property(&expr.expr) {
            self.names.insert(name);
            self.free.insert((name, property.to_owned()));
            return Ok(());
        }
        match &mut expr.expr {
            Expr::Unspecified => fault("the rule cannot be read"),
            Expr::Literal(literal) => literal_is_plain(literal),
            Expr::Ident(word) => fault(match Name::parse(word) {
                Some(name) => format!("`{word}` is no value; name one of {}", name.properties().join(", ")),
                None => format!("there is no `{word}`; a rule knows user, device, event, moment, place and thing"),
            }),
            Expr::Select(select) => self.select(select, depth),
            Expr::Call(call) => self.call(call, depth),
            Expr::List(list) => list.elements.iter_mut().try_for_each(|item| self.visit(item, depth + 1)),
            Expr::Map(map) => {
                for entry in &mut map.entries {
                    match &mut entry.expr {
                        EntryExpr::MapEntry(entry) => {
                            self.visit(&mut entry.key, depth + 1)?;
                            self.visit(&mut entry.value, depth + 1)?;
                        }
                        EntryExpr::StructField(_) => return fault("a rule cannot make structs"),
                    }
                }
                Ok(())
            }
            Expr::Comprehension(_) => fault(format!("loops are not allowed: {}", LOOPS.join(", "))),
            Expr::Struct(_) => fault("a rule cannot make structs"),
        }
    }

    fn select(&mut self, select: &mut SelectExpr, depth: usize) -> Result<(), RuleFault> {
        if is_attributes(&select.operand.expr) {
            self.attribute(&select.field, select.test);
            return Ok(());
        }
        if let Expr::Ident(word) = &select.operand.expr {
            let Some(name) = Name::parse(word) else {
                return fault(format!("there is no `{word}`; a rule knows user, device, event, moment, place and thing"));
            };
            if !name.properties().contains(&select.field.as_str()) {
                return fault(format!("`{word}` has no `{}`; it has {}", select.field, name.properties().join(", ")));
            }
            self.names.insert(name);
            // `properties` or `attributes` as a whole, as in `"x" in event.properties`: a sample knows little of it.
            self.opaque |= select.field == "properties";
            self.any_attribute |= name == Name::User && select.field == "attributes";
            return Ok(());
        }
        self.opaque |= free_property(&select.operand.expr).is_some();
        self.visit(&mut select.operand, depth + 1)
    }

    fn attribute(&mut self, name: &str, asked: bool) {
        if asked {
            self.asked.insert(name.to_owned());
        }
        self.cost = self.cost.saturating_add(1);
        self.names.insert(Name::User);
        self.attributes.insert(name.to_owned());
    }

    fn call(&mut self, call: &mut CallExpr, depth: usize) -> Result<(), RuleFault> {
        self.cost = self.cost.saturating_add(cost(&call.func_name));
        let known = match (&call.target, call.func_name.as_str()) {
            (Some(_), method) => METHODS.contains(&method),
            (None, function) => FUNCTIONS.contains(&function) || is_operator(function),
        };
        if !known {
            let name = call.func_name.trim_matches('_');
            return if LOOPS.contains(&name) {
                fault(format!("loops are not allowed: `{name}`"))
            } else {
                fault(format!("there is no function `{name}`"))
            };
        }
        if call.func_name == operators::INDEX && call.args.first().is_some_and(|of| free_property(&of.expr).is_some()) {
            self.opaque = true;
        }
        if let Some(attribute) = spelt(call) {
            self.attribute(attribute, call.func_name == operators::IN);
            return Ok(());
        }
        if call.target.is_some() && call.func_name == "matches" {
            check_pattern(&call.args)?;
            MATCHES_KEPT.clone_into(&mut call.func_name);
        }
        if let Some(target) = &mut call.target {
            self.visit(target, depth + 1)?;
        }
        call.args.iter_mut().try_for_each(|arg| self.visit(arg, depth + 1))
    }
}

/// Whether it is `user.attributes`.
fn is_attributes(expr: &Expr) -> bool {
    matches!(expr, Expr::Select(select) if select.field == "attributes"
        && matches!(&select.operand.expr, Expr::Ident(word) if word == Name::User.word()))
}

/// The attribute in `user.attributes["name"]` and `"name" in user.attributes`.
fn spelt(call: &CallExpr) -> Option<&str> {
    let [first, second] = call.args.as_slice() else { return None };
    let name = match call.func_name.as_str() {
        operators::INDEX if is_attributes(&first.expr) => second,
        operators::IN if is_attributes(&second.expr) => first,
        _ => return None,
    };
    match &name.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    }
}

fn literal_is_plain(literal: &LiteralValue) -> Result<(), RuleFault> {
    match literal {
        LiteralValue::Bytes(_) => fault("bytes are not allowed in a rule"),
        LiteralValue::Boolean(_)
        | LiteralValue::Double(_)
        | LiteralValue::Int(_)
        | LiteralValue::Null
        | LiteralValue::String(_)
        | LiteralValue::UInt(_) => Ok(()),
    }
}

fn check_pattern(args: &[IdedExpr]) -> Result<(), RuleFault> {
    let [IdedExpr { expr: Expr::Literal(LiteralValue::String(source)), .. }] = args else {
        return fault("`matches` takes one pattern, written out as a text");
    };
    if source.inner().len() > PATTERN_BYTES_MAX {
        return fault(format!("a pattern has at most {PATTERN_BYTES_MAX} bytes"));
    }
    match pattern(source.inner()) {
        Ok(_) => Ok(()),
        Err(message) => fault(format!("the pattern cannot be used: {}", message.chars().take(200).collect::<String>())),
    }
}

/// What a call costs beside its arguments.
fn cost(function: &str) -> u32 {
    match function {
        "matches" => 50,
        "timestamp" | "duration" => 10,
        "contains" | "string" | operators::IN | operators::ADD => 5,
        _ => 1,
    }
}

fn is_operator(function: &str) -> bool {
    const OPERATORS: [&str; 18] = [
        operators::CONDITIONAL,
        operators::LOGICAL_AND,
        operators::LOGICAL_OR,
        operators::LOGICAL_NOT,
        operators::SUBSTRACT,
        operators::ADD,
        operators::MULTIPLY,
        operators::DIVIDE,
        operators::MODULO,
        operators::EQUALS,
        operators::NOT_EQUALS,
        operators::GREATER_EQUALS,
        operators::LESS_EQUALS,
        operators::GREATER,
        operators::LESS,
        operators::NEGATE,
        operators::INDEX,
        operators::IN,
    ];
    OPERATORS.contains(&function)
}
