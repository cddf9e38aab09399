//! From what a listing asks for to a set of rows: scope (image-api 4.3) and filters (1.11).

use roaring::RoaringBitmap;

use crate::{
    Result,
    encoding::{decode, fault},
    expr::Expr,
    image::{Image, ImageId, MemberStatus, Visibility},
    postings::{Kind, Posting, number_kind, seconds},
    query::{Comparison, Filter, ListQuery, MemberFilter, Scope, TimeColumn, VisibilityFilter},
    tables,
    view::View,
};

/// The rows that a listing may show, whatever its order. Filters come before the scope: they are
/// what leaves few rows.
pub(crate) fn plan(view: &View, query: &ListQuery) -> Result<Expr> {
    let mut all = Vec::with_capacity(query.filters.len() + 2);
    for filter in &query.filters {
        all.push(filtered(view, filter)?);
    }
    all.push(flag(Kind::Hidden, query.hidden));
    all.extend(scoped(&query.scope, query.visibility, query.member));
    Ok(Expr::And(all))
}

/// `None`: everything.
fn scoped(scope: &Scope, wanted: VisibilityFilter, member: MemberFilter) -> Option<Expr> {
    let visibility = |v| Expr::Posting(Posting::visibility(v));
    let community = || visibility(Visibility::Community);
    let (own, shared) = match scope {
        Scope::Admin { project } => {
            return match wanted {
                VisibilityFilter::All => None,
                VisibilityFilter::Only(v) => Some(visibility(v)),
                VisibilityFilter::Default => Some(match project {
                    Some(project) => Expr::Or(vec![community().not(), owner(Some(project))]),
                    None => community().not(),
                }),
            };
        }
        Scope::Project(project) => (
            Some(owner(Some(project))),
            Some(Expr::And(vec![
                membership(project, member),
                visibility(Visibility::Shared),
            ])),
        ),
        Scope::Anonymous => (None, None),
    };
    let mut seen = vec![visibility(Visibility::Public), owner(None)];
    seen.extend(shared);
    Some(match wanted {
        VisibilityFilter::Default => {
            let mut any = vec![Expr::And(vec![Expr::Or(seen), community().not()])];
            any.extend(own);
            Expr::Or(any)
        }
        VisibilityFilter::All => {
            seen.push(community());
            seen.extend(own);
            Expr::Or(seen)
        }
        VisibilityFilter::Only(v @ (Visibility::Public | Visibility::Community)) => visibility(v),
        VisibilityFilter::Only(v @ (Visibility::Shared | Visibility::Private)) => {
            seen.extend(own);
            Expr::And(vec![visibility(v), Expr::Or(seen)])
        }
    })
}

fn owner(project: Option<&str>) -> Expr {
    Expr::Posting(Posting::owner(project))
}

fn membership(project: &str, filter: MemberFilter) -> Expr {
    let status = |status| Expr::Posting(Posting::member(project, status));
    match filter {
        MemberFilter::Only(only) => status(only),
        MemberFilter::All => Expr::Or(vec![
            status(MemberStatus::Pending),
            status(MemberStatus::Accepted),
            status(MemberStatus::Rejected),
        ]),
    }
}

fn flag(kind: Kind, set: bool) -> Expr {
    let posting = Expr::Posting(Posting::of(kind));
    if set { posting } else { posting.not() }
}

fn any(postings: impl Iterator<Item = Posting>) -> Expr {
    Expr::Or(postings.map(Expr::Posting).collect())
}

fn filtered(view: &View, filter: &Filter) -> Result<Expr> {
    Ok(match filter {
        Filter::Text(column, values) => any(values.iter().map(|v| Posting::text(*column, v))),
        Filter::Number(column, low, high) => {
            let (kind, nullable) = number_kind(*column);
            Expr::Between {
                kind,
                nullable,
                low: *low,
                high: *high,
            }
        }
        Filter::Time(TimeColumn::CreatedAt, comparison, time) => {
            created(view, *comparison, seconds(*time))?
        }
        Filter::Time(TimeColumn::UpdatedAt, comparison, time) => {
            updated(*comparison, seconds(*time))
        }
        Filter::Id(ids) => Expr::Set(rows_of(view, ids)?),
        Filter::Status(statuses) => any(statuses.iter().map(|s| Posting::status(*s))),
        Filter::Protected(set) => flag(Kind::Protected, *set),
        Filter::Tag(tag) => Expr::Posting(Posting::tag(tag)),
        Filter::Property(name, value) => Expr::Posting(Posting::property(name, value)),
        Filter::Nothing => Expr::Nothing,
    })
}

fn rows_of(view: &View, ids: &[ImageId]) -> Result<RoaringBitmap> {
    let mut rows = RoaringBitmap::new();
    for id in ids {
        rows.extend(tables::row_of(view.ids()?, *id)?);
    }
    Ok(rows)
}

fn updated(comparison: Comparison, second: u64) -> Expr {
    let between = |low, high| Expr::Between {
        kind: Kind::UpdatedAtBits,
        nullable: false,
        low,
        high,
    };
    match comparison {
        Comparison::Gt => second
            .checked_add(1)
            .map_or(Expr::Nothing, |low| between(low, u64::MAX)),
        Comparison::Gte => between(second, u64::MAX),
        Comparison::Lt => second
            .checked_sub(1)
            .map_or(Expr::Nothing, |high| between(0, high)),
        Comparison::Lte => between(0, second),
        Comparison::Eq => between(second, second),
        Comparison::Neq => between(second, second).not(),
    }
}

/// Creation times grow with the row, so they are a range of rows.
fn created(view: &View, comparison: Comparison, second: u64) -> Result<Expr> {
    let this = first_row_from(view, second)?;
    let next = first_row_from(view, second.saturating_add(1))?;
    Ok(match comparison {
        Comparison::Gt => Expr::Rows(next..u64::MAX),
        Comparison::Gte => Expr::Rows(this..u64::MAX),
        Comparison::Lt => Expr::Rows(0..this),
        Comparison::Lte => Expr::Rows(0..next),
        Comparison::Eq => Expr::Rows(this..next),
        Comparison::Neq => Expr::Rows(this..next).not(),
    })
}

/// A row below which all images were created before this second, and none at or above it.
fn first_row_from(view: &View, second: u64) -> Result<u64> {
    const WHAT: &str = "searching a time of creation";
    let mut low = 0;
    let mut high = u64::from(view.next_row());
    while low < high {
        let middle = low.midpoint(high);
        let key = u32::try_from(middle).map_err(fault(WHAT))?.to_be_bytes();
        let mut from = view
            .records()?
            .range(key.as_slice()..)
            .map_err(fault(WHAT))?;
        let found = from.next().transpose().map_err(fault(WHAT))?;
        let found: Option<Image> = found
            .map(|(_, value)| decode(WHAT, value.value()))
            .transpose()?;
        match found {
            Some(image) if seconds(image.created_at) < second => low = u64::from(image.row) + 1,
            Some(_) | None => high = middle,
        }
    }
    Ok(low)
}
