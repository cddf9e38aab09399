//! Tests of [`super`]: the rows of image-api 1.11.

use proptest::prelude::*;

use super::*;

fn read(query: &str) -> Result<Listing, BadQuery> {
    let limits = Limits {
        limit_param_default: 25,
        api_limit_max: 1000,
        ..Limits::default()
    };
    parse(query, Scope::Anonymous, &limits)
}

fn query(text: &str) -> ListQuery {
    read(text).unwrap().query
}

fn filters(text: &str) -> Vec<Filter> {
    query(text).filters
}

fn texts(column: TextColumn, values: &[&str]) -> Vec<Filter> {
    vec![Filter::Text(
        column,
        values.iter().map(|value| (*value).to_owned()).collect(),
    )]
}

const ID: &str = "71c675ab-d94f-49cd-a114-e12490b328d9";

#[test]
fn nothing_given_is_the_default_page() {
    let query = query("");
    assert_eq!(query.limit, 25);
    assert_eq!(query.visibility, VisibilityFilter::Default);
    assert_eq!(query.member, MemberFilter::Only(MemberStatus::Accepted));
    assert!(!query.hidden && query.filters.is_empty() && query.marker.is_none());
    assert_eq!(
        query.sort,
        [
            (SortKey::CreatedAt, Direction::Descending),
            (SortKey::Id, Direction::Descending)
        ]
    );
}

#[test]
fn only_short_pages_in_creation_order_are_cheap() {
    for cheap in ["", "limit=100&name=x&tag=y&p=q", "sort=created_at:asc"] {
        assert!(read(cheap).unwrap().is_cheap(), "{cheap}");
    }
    for dear in [
        "limit=101",
        "sort_key=name",
        "size_min=1",
        "created_at=gt:2026-01-01",
        &format!("name=in:{}", ["n"; 101].join(",")),
    ] {
        assert!(!read(dear).unwrap().is_cheap(), "{dear}");
    }
}

#[test]
fn the_limit_is_clamped_and_checked() {
    assert_eq!(query("limit=0").limit, 0);
    assert_eq!(query("limit=7").limit, 7);
    assert_eq!(query("limit=5000").limit, 1000);
    assert_eq!(
        query("limit=99999999999999999999999999999999999999999999").limit,
        1000
    );
    for bad in ["limit=", "limit=x", "limit=-1", "limit=1.5"] {
        assert!(matches!(read(bad), Err(BadQuery::Limit(_))), "{bad}");
    }
}

#[test]
fn a_marker_is_an_id() {
    assert_eq!(
        query(&format!("marker={ID}")).marker,
        Some(ID.parse().unwrap())
    );
    assert!(matches!(read("marker=x"), Err(BadQuery::Marker(_))));
    assert!(matches!(read("marker="), Err(BadQuery::Marker(_))));
}

#[test]
fn sort_keys_take_one_direction_each_or_one_for_all() {
    use Direction::{Ascending, Descending};
    use SortKey::{CreatedAt, Id, Name, Size};
    let sort = |text| query(text).sort;
    assert_eq!(
        sort("sort_key=name"),
        [
            (Name, Descending),
            (CreatedAt, Descending),
            (Id, Descending)
        ]
    );
    assert_eq!(
        sort("sort_key=name&sort_key=size&sort_dir=asc"),
        [
            (Name, Ascending),
            (Size, Ascending),
            (CreatedAt, Ascending),
            (Id, Ascending)
        ]
    );
    assert_eq!(
        sort("sort_key=name&sort_dir=asc&sort_key=size&sort_dir=desc"),
        [
            (Name, Ascending),
            (Size, Descending),
            (CreatedAt, Descending),
            (Id, Descending)
        ]
    );
    assert_eq!(
        sort("sort_dir=asc"),
        [(CreatedAt, Ascending), (Id, Ascending)]
    );
    assert_eq!(
        sort("sort_key=id&sort_key=created_at&sort_dir=asc"),
        [(Id, Ascending), (CreatedAt, Ascending)]
    );
    assert_eq!(
        read("sort_key=name&sort_dir=asc&sort_dir=desc"),
        Err(BadQuery::SortCount)
    );
    assert_eq!(
        read("sort_key=name&sort_key=size&sort_key=id&sort_dir=asc&sort_dir=desc"),
        Err(BadQuery::SortCount)
    );
    assert!(matches!(read("sort_key=owner"), Err(BadQuery::SortKey(_))));
    assert!(matches!(read("sort_dir=up"), Err(BadQuery::SortDir(_))));
}

#[test]
fn sort_is_the_short_form() {
    use Direction::{Ascending, Descending};
    use SortKey::{CreatedAt, Id, Name, Size};
    assert_eq!(
        query("sort=name:asc,size").sort,
        [
            (Name, Ascending),
            (Size, Descending),
            (CreatedAt, Descending),
            (Id, Descending)
        ]
    );
    assert_eq!(
        query("sort=name:asc").sort,
        [(Name, Ascending), (CreatedAt, Ascending), (Id, Ascending)]
    );
    for mixed in ["sort=name&sort_key=size", "sort=name&sort_dir=asc"] {
        assert_eq!(read(mixed), Err(BadQuery::SortMixed));
    }
    assert!(matches!(read("sort="), Err(BadQuery::SortKey(_))));
    assert!(matches!(read("sort=name:up"), Err(BadQuery::SortDir(_))));
}

#[test]
fn words_are_checked() {
    assert_eq!(query("visibility=all").visibility, VisibilityFilter::All);
    assert_eq!(
        query("visibility=community").visibility,
        VisibilityFilter::Only(Visibility::Community)
    );
    assert_eq!(query("member_status=all").member, MemberFilter::All);
    assert_eq!(
        query("member_status=pending").member,
        MemberFilter::Only(MemberStatus::Pending)
    );
    assert!(query("os_hidden=True").hidden);
    assert!(!query("os_hidden=false").hidden);
    assert_eq!(filters("protected=true"), [Filter::Protected(true)]);
    for bad in [
        "visibility=secret",
        "member_status=maybe",
        "os_hidden=1",
        "os_hidden=",
        "protected=True",
        "protected=",
    ] {
        assert!(matches!(read(bad), Err(BadQuery::Value { .. })), "{bad}");
    }
    assert_eq!(read("changes-since=2026"), Err(BadQuery::ChangesSince));
}

#[test]
fn columns_and_properties_are_equality_filters() {
    assert_eq!(filters("name=a"), texts(TextColumn::Name, &["a"]));
    assert_eq!(filters("name="), texts(TextColumn::Name, &[""]));
    assert_eq!(
        filters("owner=in:a,b"),
        texts(TextColumn::Owner, &["in:a,b"])
    );
    assert_eq!(filters("checksum=c"), texts(TextColumn::Checksum, &["c"]));
    assert_eq!(
        filters("min_disk=3"),
        [Filter::Number(NumberColumn::MinDisk, 3, 3)]
    );
    for nothing in ["size=x", "size=-1", "status=happy", "id=x", "deleted_at=x"] {
        assert_eq!(filters(nothing), [Filter::Nothing], "{nothing}");
    }
    assert_eq!(
        filters("os_distro=de+bian%21"),
        [Filter::Property("os_distro".into(), "de bian!".into())]
    );
    assert_eq!(
        filters("is_public=true"),
        [Filter::Property("is_public".into(), "true".into())]
    );
    assert_eq!(filters("deleted=true"), []);
}

#[test]
fn of_a_repeated_filter_the_last_holds_but_tags_add_up() {
    assert_eq!(filters("name=a&name=b"), texts(TextColumn::Name, &["b"]));
    assert_eq!(
        filters("tag=a&tag=+b+&tag=a"),
        [
            Filter::Tag("a".into()),
            Filter::Tag("b".into()),
            Filter::Tag("a".into())
        ]
    );
}

#[test]
fn operators_are_in_and_eq() {
    assert_eq!(filters("name=in:a,b"), texts(TextColumn::Name, &["a", "b"]));
    assert_eq!(filters("name=eq:a:b"), texts(TextColumn::Name, &["a:b"]));
    assert_eq!(
        filters("disk_format=in:raw,qcow2"),
        texts(TextColumn::DiskFormat, &["raw", "qcow2"])
    );
    assert_eq!(
        filters("status=in:active,queued,happy"),
        [Filter::Status(vec![Status::Active, Status::Queued])]
    );
    assert_eq!(
        filters(&format!("id=in:{ID},x")),
        [Filter::Id(vec![ID.parse().unwrap()])]
    );
    assert_eq!(filters("name=in:"), [Filter::Nothing]);
    for bad in ["name=a:b", "name=gt:a", "status=neq:active", "id=:x"] {
        assert!(matches!(read(bad), Err(BadQuery::Operator(_))), "{bad}");
    }
}

#[test]
fn quotes_protect_commas() {
    let names = |text: &str| filters(&format!("name=in:{text}"));
    let expect = |values: &[&str]| texts(TextColumn::Name, values);
    assert_eq!(names("\"a,b\",c"), expect(&["a,b", "c"]));
    assert_eq!(names("c,\"a,b\""), expect(&["c", "a,b"]));
    assert_eq!(names("\"\",c"), expect(&["", "c"]));
    assert_eq!(names("a,,b"), expect(&["a", "", "b"]));
    assert_eq!(names(",a"), expect(&["", "a"]));
    assert_eq!(names("a,"), expect(&["a"]));
    assert_eq!(names("\"a\\\"b\""), expect(&["a\\\"b"]));
    for bad in ["\"a", "a\"", "a\"b\"", "\"a\"b", "\"a\",\""] {
        assert!(
            matches!(read(&format!("name=in:{bad}")), Err(BadQuery::Quotes(_))),
            "{bad}"
        );
    }
}

#[test]
fn ranges_are_of_numbers() {
    let number = |low, high| [Filter::Number(NumberColumn::Size, low, high)];
    assert_eq!(filters("size_min=5"), number(5, u64::MAX));
    assert_eq!(filters("size_max=5"), number(0, 5));
    assert_eq!(filters("size_min=-5"), number(0, u64::MAX));
    assert_eq!(filters("size_max=-5"), [Filter::Nothing]);
    assert_eq!(
        filters("size_max=99999999999999999999999"),
        number(0, u64::MAX)
    );
    assert_eq!(
        filters("size_min=99999999999999999999999"),
        [Filter::Nothing]
    );
    assert_eq!(
        filters("min_disk_max=2&min_ram_min=1"),
        [
            Filter::Number(NumberColumn::MinDisk, 0, 2),
            Filter::Number(NumberColumn::MinRam, 1, u64::MAX)
        ]
    );
    for bad in ["size_min=x", "size_max=", "size_min=1.5"] {
        assert_eq!(read(bad), Err(BadQuery::Range), "{bad}");
    }
    for bad in ["foo_min=3", "name_max=3", "_min=3", "created_at_min=3"] {
        assert!(matches!(read(bad), Err(BadQuery::RangeColumn(_))), "{bad}");
    }
}

#[test]
fn times_compare_in_whole_seconds() {
    let time = |text: &str| filters(&format!("created_at={text}"));
    let expect = |comparison, second: u64| {
        vec![Filter::Time(
            TimeColumn::CreatedAt,
            comparison,
            Timestamp(second * 1_000_000),
        )]
    };
    assert_eq!(time("gt:1970-01-01T00:00:10Z"), expect(Comparison::Gt, 10));
    assert_eq!(
        time("gte:1970-01-01T00:00:10.5Z"),
        expect(Comparison::Gte, 11)
    );
    assert_eq!(
        time("gt:1970-01-01T00:00:10.5Z"),
        expect(Comparison::Gt, 10)
    );
    assert_eq!(
        time("lt:1970-01-01T00:00:10.5Z"),
        expect(Comparison::Lt, 11)
    );
    assert_eq!(
        time("lte:1970-01-01T00:00:10.5Z"),
        expect(Comparison::Lte, 10)
    );
    assert_eq!(time("eq:1970-01-02"), expect(Comparison::Eq, 86_400));
    assert_eq!(
        time("1970-01-01T00:00:10Z"),
        expect(Comparison::Eq, 10),
        "a time without operator"
    );
    assert_eq!(
        time("neq:1970-01-01T01:00:10%2B01:00"),
        expect(Comparison::Neq, 10)
    );
    assert_eq!(time("eq:1970-01-01T00:00:10.5Z"), [Filter::Nothing]);
    assert_eq!(time("neq:1970-01-01T00:00:10.5Z"), []);
    assert_eq!(time("gt:1969-01-01"), []);
    assert_eq!(time("lt:1969-01-01"), [Filter::Nothing]);
    for bad in ["", "gt:", "gt:now", "yesterday"] {
        let text = format!("updated_at={bad}");
        assert_eq!(read(&text), Err(BadQuery::Time("updated_at")), "{bad}");
    }
    assert!(matches!(
        read("created_at=in:2026-01-01"),
        Err(BadQuery::Operator(_))
    ));
}

#[test]
fn links_keep_repeated_keys_and_drop_the_marker() {
    let text = format!("tag=a&limit=2&marker={ID}&tag=b+c&sort_key=name&sort_key=id&x=%C3%A9%22");
    let listing = read(&text).unwrap();
    let mut first = Vec::new();
    listing.write_first(&mut first);
    let kept = "/v2/images?tag=a&limit=2&tag=b+c&sort_key=name&sort_key=id&x=%C3%A9%22";
    assert_eq!(String::from_utf8(first).unwrap(), kept);
    let mut next = Vec::new();
    listing.write_next(&mut next, ID.parse().unwrap());
    assert_eq!(
        String::from_utf8(next).unwrap(),
        format!("{kept}&marker={ID}")
    );
}

#[test]
fn links_of_an_empty_query_have_none() {
    let listing = read("").unwrap();
    let mut out = Vec::new();
    listing.write_first(&mut out);
    assert_eq!(out, b"/v2/images");
    listing.write_next(&mut out, ID.parse().unwrap());
    assert!(out.ends_with(format!("/v2/images?marker={ID}").as_bytes()));
}

#[test]
fn what_is_not_utf_8_is_refused() {
    assert_eq!(read("name=%FF"), Err(BadQuery::Encoding));
    assert_eq!(read("%FF=x"), Err(BadQuery::Encoding));
}

proptest! {
    #[test]
    fn no_query_makes_it_panic(text in "\\PC{0,60}") {
        let _ = read(&text);
    }

    #[test]
    fn no_value_makes_it_panic(
        name in "(name|id|status|created_at|size_min|sort|limit|tag|marker|visibility)",
        value in "(in:|eq:|gt:)?[\"\\\\,a%0-9:T+-]{0,20}",
    ) {
        let _ = read(&format!("{name}={value}"));
    }

    #[test]
    fn links_read_back_as_the_same_query(
        pairs in proptest::collection::vec(("[a-z]{1,4}", "\\PC{0,6}"), 0..6),
    ) {
        let mut text = Vec::new();
        for (name, value) in &pairs {
            text.push(b'&');
            encode(&mut text, name);
            text.push(b'=');
            encode(&mut text, value);
        }
        let listing = read(std::str::from_utf8(&text).unwrap());
        prop_assume!(listing.is_ok());
        let listing = listing.unwrap();
        prop_assert_eq!(&listing.parameters, &pairs);
        let mut link = Vec::new();
        listing.write_first(&mut link);
        let link = String::from_utf8(link).unwrap();
        prop_assert!(link.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"'));
        let again = read(link.split_once('?').map_or("", |(_, query)| query)).unwrap();
        prop_assert_eq!(again, listing);
    }
}

#[test]
fn the_number_of_filters_has_a_bound() {
    let properties = |count: usize| {
        let pairs: Vec<_> = (0..count).map(|at| format!("p{at}=x")).collect();
        pairs.join("&")
    };
    let tags = |count: usize| vec!["tag=x"; count].join("&");
    assert_eq!(filters(&properties(300)).len(), 300);
    assert_eq!(filters(&tags(300)).len(), 300);
    for many in [
        properties(301),
        tags(301),
        format!("{}&{}", properties(150), tags(151)),
    ] {
        assert_eq!(read(&many), Err(BadQuery::Filters));
    }
    // Of one name the last counts, so these are one.
    assert_eq!(filters(&vec!["p=x"; 1000].join("&")).len(), 1);
}
