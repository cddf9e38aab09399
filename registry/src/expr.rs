//! A set of rows as an expression over postings, evaluated one chunk of 65,536 rows at a time, so
//! that a page looks only at the chunks that it needs.

use std::{cell::RefCell, collections::HashMap, ops::Range, rc::Rc};

use glimpse_replication::Fault;
use roaring::RoaringBitmap;

use crate::{
    postings::{CHUNK_ROWS, Kind, PRESENT, Posting, load},
    view::View,
};

/// A set of rows.
#[derive(Debug, Clone)]
pub(crate) enum Expr {
    /// Those with this posting.
    Posting(Posting),
    /// Those in all of these; the cheapest and most selective first.
    And(Vec<Expr>),
    /// Those in any of these.
    Or(Vec<Expr>),
    /// Those not in this.
    Not(Box<Expr>),
    /// Those in this range of rows.
    Rows(Range<u64>),
    /// These.
    Set(RoaringBitmap),
    /// Those whose number, posted as bit slices, lies within the bounds, both included.
    Between {
        /// Where the slices are.
        kind: Kind,
        /// Whether the number may be null.
        nullable: bool,
        /// Smallest.
        low: u64,
        /// Largest.
        high: u64,
    },
    /// None.
    Nothing,
}

impl Expr {
    /// Those not in this.
    pub(crate) fn not(self) -> Self {
        Self::Not(Box::new(self))
    }

    /// The rows of `within`, all of one chunk, that are in the set.
    fn eval(
        &self,
        view: &View,
        chunk: u16,
        within: &RoaringBitmap,
    ) -> Result<RoaringBitmap, Fault> {
        if within.is_empty() {
            return Ok(RoaringBitmap::new());
        }
        match self {
            Self::Posting(posting) => Ok(load(view.postings()?, posting, chunk)? & within),
            Self::And(all) => {
                let mut rows = within.clone();
                for each in all {
                    rows = each.eval(view, chunk, &rows)?;
                }
                Ok(rows)
            }
            Self::Or(any) => {
                let mut rows = RoaringBitmap::new();
                for each in any {
                    rows |= each.eval(view, chunk, within)?;
                }
                Ok(rows)
            }
            Self::Not(inner) => Ok(within - inner.eval(view, chunk, within)?),
            Self::Rows(range) => {
                let mut rows = within.clone();
                rows.remove_range(..clamp(range.start));
                if range.end <= u64::from(u32::MAX) {
                    rows.remove_range(clamp(range.end)..);
                }
                Ok(rows)
            }
            Self::Set(set) => Ok(within & set),
            Self::Between {
                kind,
                nullable,
                low,
                high,
            } => between(view, chunk, within, *kind, *nullable, *low, *high),
            Self::Nothing => Ok(RoaringBitmap::new()),
        }
    }
}

fn clamp(row: u64) -> u32 {
    u32::try_from(row).unwrap_or(u32::MAX)
}

/// Compares from the highest bit down: what equals a bound so far stays in play, what differs is
/// decided.
fn between(
    view: &View,
    chunk: u16,
    within: &RoaringBitmap,
    kind: Kind,
    nullable: bool,
    low: u64,
    high: u64,
) -> Result<RoaringBitmap, Fault> {
    if low > high {
        return Ok(RoaringBitmap::new());
    }
    let table = view.postings()?;
    let within = if nullable {
        load(table, &Posting::bit(kind, PRESENT), chunk)? & within
    } else {
        within.clone()
    };
    let check_low = low > 0;
    let check_high = high < u64::MAX;
    let mut above = RoaringBitmap::new();
    let mut below = RoaringBitmap::new();
    let mut at_low = if check_low {
        within.clone()
    } else {
        RoaringBitmap::new()
    };
    let mut at_high = if check_high {
        within.clone()
    } else {
        RoaringBitmap::new()
    };
    for bit in (0..64).rev() {
        if at_low.is_empty() && at_high.is_empty() {
            break;
        }
        let ones = load(table, &Posting::bit(kind, bit), chunk)?;
        if low >> bit & 1 == 1 {
            at_low &= &ones;
        } else {
            above |= &at_low & &ones;
            at_low -= &ones;
        }
        if high >> bit & 1 == 1 {
            below |= &at_high - &ones;
            at_high &= &ones;
        } else {
            at_high -= &ones;
        }
    }
    let mut rows = within;
    if check_low {
        rows &= above | at_low;
    }
    if check_high {
        rows &= below | at_high;
    }
    Ok(rows)
}

/// An expression over a view that remembers the chunks it has worked out.
pub(crate) struct Candidates<'v> {
    view: &'v View,
    expr: Expr,
    known: RefCell<HashMap<u16, Rc<RoaringBitmap>>>,
}

impl<'v> Candidates<'v> {
    pub(crate) fn new(view: &'v View, expr: Expr) -> Self {
        Self {
            view,
            expr,
            known: RefCell::default(),
        }
    }

    /// The same, and with this posting.
    pub(crate) fn narrowed(&self, posting: &Posting) -> Self {
        let expr = Expr::And(vec![Expr::Posting(posting.clone()), self.expr.clone()]);
        Self::new(self.view, expr)
    }

    /// The rows of one chunk.
    pub(crate) fn chunk(&self, chunk: u16) -> Result<Rc<RoaringBitmap>, Fault> {
        if let Some(rows) = self.known.borrow().get(&chunk) {
            return Ok(Rc::clone(rows));
        }
        let all = load(self.view.postings()?, &Posting::of(Kind::All), chunk)?;
        let rows = Rc::new(self.expr.eval(self.view, chunk, &all)?);
        self.known.borrow_mut().insert(chunk, Rc::clone(&rows));
        Ok(rows)
    }

    /// Whether a row is among them.
    pub(crate) fn contain(&self, row: u32) -> Result<bool, Fault> {
        let chunk = crate::postings::chunk_of(row);
        debug_assert_eq!(u32::from(chunk), row / CHUNK_ROWS);
        Ok(self.chunk(chunk)?.contains(row))
    }
}
