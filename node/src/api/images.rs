//! `/v2/images` and `/v2/images/{id}`: create, list, show, update, delete (image-api 1.4).

use std::sync::Arc;

use axum::{body::Body, response::Response};
use glimpse_registry::{
    Error as RegistryError, View,
    command::ImageData,
    image::{Attributes, Image, ImageId, Visibility},
    outcome::Rejection,
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use serde_json::{Map, Value};
use tokio::{sync::Mutex, time::timeout};

use crate::{
    api::{
        attribute, authorize, body,
        error::ApiError,
        image_view,
        layers::Api,
        list_query::{self, BadQuery, Listing},
        memory::{self, Room},
        new_image,
        patch::{self, Change},
        placement::{LocationChange, Placement},
        precondition::{self, Read},
        protection,
    },
    app::App,
    auth::Context,
    policy::{self, image::check_project},
};

/// How often a PATCH, a conditional DELETE or the removal of a copy starts over because somebody else was faster. Who has
/// its turn meets only writers that have not met a conflict yet, and each of those only once.
pub(super) const ATTEMPTS: usize = 16;

/// Queues at which updates of contended images stand; images share them by id. Few images are
/// contended at once, so that hardly any two stand at one; a queue costs some bytes.
const QUEUES: usize = 64;

/// Where updates that met a conflict stand in line, so that many clients of one node that change
/// one image come through one after the other instead of overtaking each other.
pub(super) struct Turns([Mutex<()>; QUEUES]);

impl Turns {
    pub(super) fn new() -> Self {
        Self(std::array::from_fn(|_| Mutex::new(())))
    }

    pub(super) fn queue(&self, id: ImageId) -> &Mutex<()> {
        let Self([first, ..]) = self;
        let [.., last] = id.0;
        self.0.get(usize::from(last) % QUEUES).unwrap_or(first)
    }
}

/// Waits for a turn, for `limits.turn_timeout` at most.
pub(super) async fn turn<T>(app: &App, waiting: impl Future<Output = T>) -> Result<T, ApiError> {
    match timeout(app.config.limits.turn_timeout, waiting).await {
        Ok(turn) => Ok(turn),
        Err(_) => {
            app.metrics.http_refused_turns.inc();
            Err(ApiError::busy("requests of this kind"))
        }
    }
}

const IMPORT_METHODS: HeaderName = HeaderName::from_static("openstack-image-import-methods");
const STORE_IDS: HeaderName = HeaderName::from_static("openstack-image-store-ids");

/// `POST /v2/images`; `base` is the base of absolute URLs.
pub(super) async fn create(
    app: &App,
    context: &Context,
    request: Request<Body>,
    base: &str,
) -> Result<Response, ApiError> {
    let config = &app.config;
    let (Value::Object(members), _room) = body::json(request, app).await? else {
        return Err(ApiError::bad_request(
            "Request body must be a JSON object of image attributes.",
        ));
    };
    let (image, room) = make(app, context, &members).await?;
    let id = image.id;
    let mut response = show_response(app, context, &image, room)?;
    *response.status_mut() = StatusCode::CREATED;
    let headers = response.headers_mut();
    if let Ok(location) = HeaderValue::try_from(format!("{base}/v2/images/{id}")) {
        headers.insert(header::LOCATION, location);
    }
    let methods = config.import.methods.join(",");
    if !methods.is_empty()
        && let Ok(methods) = HeaderValue::try_from(methods)
    {
        headers.insert(IMPORT_METHODS, methods);
    }
    let stores: Vec<&str> = app.stores.by_name.keys().map(String::as_str).collect();
    if let Ok(stores) = HeaderValue::try_from(stores.join(",")) {
        headers.insert(STORE_IDS, stores);
    }
    Ok(response)
}

/// Makes a queued image of attributes as a client sends them; with room for an answer that shows it.
pub(super) async fn make(
    app: &App,
    context: &Context,
    members: &Map<String, Value>,
) -> Result<(Image, Room), ApiError> {
    let config = &app.config;
    let new = new_image::parse(
        members,
        context.project_id.as_deref(),
        &config.image_format,
        &config.limits,
    )?;
    may_create(app, context, &new)?;
    protection::check_create(&app.policy, context, new.attributes.properties.keys())?;
    let id = new
        .id
        .unwrap_or_else(|| ImageId::from_random(rand::random()));
    let room = room_for(app, &new.attributes)?;
    let allowed = app.allowed(new.attributes.owner.as_deref()).await?;
    let registry = app.registry.within(allowed.bounds);
    match registry.create_image(id, new.attributes).await {
        Err(RegistryError::Rejected(Rejection::IdTaken)) => {
            Err(ApiError::conflict(format!("Image ID {id} already exists!")))
        }
        made => Ok((made?, room)),
    }
}

fn may_create(app: &App, context: &Context, new: &new_image::NewImage) -> Result<(), ApiError> {
    let owner = new.attributes.owner.as_deref();
    let visibility = new.visibility.unwrap_or(Visibility::Private);
    policy::image::check_create(&app.policy, context, owner, visibility).map_err(|denied| {
        if owner == context.project_id.as_deref() {
            denied.into()
        } else {
            ApiError::forbidden(format!(
                "You are not permitted to create images owned by '{}'.",
                owner.unwrap_or("None")
            ))
        }
    })
}

/// `GET /v2/images`
pub(super) async fn list(
    api: &Api,
    context: Arc<Context>,
    query: Option<&str>,
) -> Result<Response, ApiError> {
    let app = &api.app;
    let mut listing = list_query::parse(
        query.unwrap_or_default(),
        authorize::scope(&context),
        &app.config.limits,
    )?;
    check_project(&app.policy, "get_images", &context)?;
    protection::blind(&app.policy, &context, &mut listing.query.filters);
    if listing.is_cheap() {
        let view = app.registry.read().await?;
        return page(app, &context, &view, &listing);
    }
    // Whoever waits here has no page yet: what waits is small.
    let one = turn(app, Arc::clone(&api.pages).acquire_owned()).await?;
    let view = app.registry.read().await?;
    let app = Arc::clone(app);
    blocking(move || {
        // Works on when its client has gone.
        let _one = one;
        page(&app, &context, &view, &listing)
    })
    .await?
}

/// Work that may block, off the threads that serve. A panic in it is one of the request.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done),
        Err(broken) => match broken.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(ApiError::unavailable("The node is stopping.")),
        },
    }
}

/// The page as JSON. It ends early, with a link to the next, where its images are large.
fn page(
    app: &App,
    context: &Context,
    view: &View,
    listing: &Listing,
) -> Result<Response, ApiError> {
    let page = match view.list(&listing.query) {
        Err(RegistryError::Rejected(Rejection::ImageNotFound)) => {
            let marker = listing.query.marker.map(|id| id.to_string());
            return Err(BadQuery::Marker(marker.unwrap_or_default()).into());
        }
        result => result?,
    };
    let mut full = listing.query.is_full(&page);
    let mut last = None;
    let mut out = Vec::with_capacity(256 + page.len() * image_view::USUAL_BYTES);
    out.extend_from_slice(b"{\"images\":[");
    for image in &page {
        if !authorize::allows(&app.policy, "get_image", context, image) {
            continue;
        }
        if last.is_some() {
            // Text may be longer in JSON than the record's weight says.
            if out.len() >= app.config.limits.page_bytes {
                full = true;
                break;
            }
            out.push(b',');
        }
        image_view::write(&mut out, app, context, image);
        last = Some(image.id);
    }
    out.extend_from_slice(b"],\"first\":\"");
    listing.write_first(&mut out);
    out.extend_from_slice(b"\",\"schema\":\"/v2/schemas/images\"");
    // Where the policy hides a whole page the list ends, as in the reference: a link would name an
    // image that the caller may not see.
    if let Some(last) = last.filter(|_| full) {
        out.extend_from_slice(b",\"next\":\"");
        listing.write_next(&mut out, last);
        out.push(b'"');
    }
    out.push(b'}');
    large(app.memory.room(), out)
}

/// `GET /v2/images/{id}`
pub(super) async fn show(
    app: &App,
    context: &Context,
    id: &str,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let image = find(app, context, id).await?;
    authorize::check(&app.policy, "get_image", context, &image)?;
    match precondition::read(headers, image.version)? {
        Read::Whole => show_response(app, context, &image, app.memory.room()),
        Read::Unchanged => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response
                .headers_mut()
                .insert(header::ETAG, precondition::etag(image.version));
            Ok(response)
        }
    }
}

/// `PATCH /v2/images/{id}`. Applied to the record as it was read; starts over when it has changed
/// meanwhile, so that no update is lost, unless the client's conditions then fail.
pub(super) async fn update(
    app: &App,
    turns: &Turns,
    context: &Context,
    id: &str,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let headers = request.headers().clone();
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let media = patch::MediaType::parse(content_type)?;
    let (document, _room) = body::json(request, app).await?;
    let changes = patch::parse(media, document, &app.config.image_format)?;
    let mut queued = None;
    let mut placement = Placement::default();
    for _ in 0..ATTEMPTS {
        let image = find(app, context, id).await?;
        authorize::check(&app.policy, "get_image", context, &image)?;
        precondition::write(&headers, image.version)?;
        if changes.is_empty() {
            return show_response(app, context, &image, app.memory.room());
        }
        let mut attributes = image.attributes.clone();
        let mut data = ImageData::of(&image);
        for change in &changes {
            may_change(app, context, &image, change)?;
            if let Change::Locations(change) = change {
                placement.apply(app, change, &mut data).await?;
                continue;
            }
            protection::check_change(&app.policy, context, &attributes, change)?;
            patch::apply(
                change,
                &mut attributes,
                image.status,
                &app.config.image_format,
            )?;
        }
        let limits = &app.config.limits;
        attribute::check_quotas(Some(&image.attributes), &attributes, limits)?;
        attribute::check_locations(image.locations.len(), data.locations.len(), limits)?;
        let room = room_for(app, &attributes)?;
        let (key, version, quota) = (image.id, image.version, limits.user_storage_quota);
        let placed = data != ImageData::of(&image);
        let registry = &app.registry;
        let updated = match placed {
            true => {
                registry
                    .set_data(key, version, attributes, data, quota)
                    .await
            }
            false => registry.update_image(key, version, attributes).await,
        };
        match updated {
            Err(RegistryError::Rejected(Rejection::VersionConflict { .. })) => {
                if queued.is_none() {
                    queued = Some(turn(app, turns.queue(image.id).lock()).await?);
                }
            }
            Err(RegistryError::Rejected(Rejection::ImageNotFound)) => {
                return Err(ApiError::no_image(id));
            }
            result => {
                let image = result?;
                if placed {
                    // A location may have gone.
                    app.data.reaper_wake.notify_one();
                }
                return show_response(app, context, &image, room);
            }
        }
    }
    Err(contended())
}

fn may_change(
    app: &App,
    context: &Context,
    image: &Image,
    change: &Change,
) -> Result<(), ApiError> {
    let policy = &app.policy;
    match change.name() {
        "locations" => {
            let rule = match change {
                Change::Locations(LocationChange::Remove(_)) => "delete_image_location",
                Change::Add { .. }
                | Change::Replace { .. }
                | Change::Remove { .. }
                | Change::Locations(_) => "set_image_location",
            };
            return Ok(authorize::check(policy, rule, context, image)?);
        }
        "owner" if !context.is_admin && !matches!(change, Change::Remove { .. }) => {
            return Err(ApiError::forbidden("Owner can't be updated by non admin."));
        }
        "visibility" => {
            let wanted = change
                .value()
                .and_then(Value::as_str)
                .and_then(Visibility::parse);
            if let Some(wanted) = wanted {
                authorize::check_visibility(policy, context, image, wanted)?;
            }
        }
        _ => {}
    }
    Ok(authorize::check(policy, "modify_image", context, image)?)
}

/// `DELETE /v2/images/{id}`
pub(super) async fn delete(
    app: &App,
    context: &Context,
    id: &str,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let conditional = precondition::conditional(headers);
    for _ in 0..ATTEMPTS {
        let image = find(app, context, id).await?;
        authorize::check(&app.policy, "delete_image", context, &image)?;
        precondition::write(headers, image.version)?;
        let expected = conditional.then_some(image.version);
        match app.registry.delete_image(image.id, expected).await {
            Ok(()) => {
                app.data.end_uploads(image.id);
                app.data.reaper_wake.notify_one();
                return Ok(no_content());
            }
            Err(RegistryError::Rejected(Rejection::VersionConflict { .. })) => {}
            Err(RegistryError::Rejected(Rejection::ImageNotFound)) => {
                return Err(ApiError::no_image(id));
            }
            Err(RegistryError::Rejected(Rejection::Protected)) => {
                return Err(ApiError::forbidden(format!(
                    "Image {id} is protected and cannot be deleted."
                )));
            }
            Err(error) => return Err(ApiError::moving(error, StatusCode::BAD_REQUEST)),
        }
    }
    Err(contended())
}

/// The image of the path as it is now, if it exists for the caller.
pub(super) async fn find(app: &App, context: &Context, id: &str) -> Result<Arc<Image>, ApiError> {
    let view = app.registry.read().await?;
    authorize::find(&view, context, id)
}

/// Room for the answer to a write, taken before it: a client that is refused may try again.
fn room_for(app: &App, attributes: &Attributes) -> Result<Room, ApiError> {
    let mut room = app.memory.room();
    room.resize(image_view::most_bytes(attributes))?;
    Ok(room)
}

/// 200 with the image.
fn show_response(
    app: &App,
    context: &Context,
    image: &Image,
    room: Room,
) -> Result<Response, ApiError> {
    let mut out = Vec::with_capacity(image_view::USUAL_BYTES);
    image_view::write(&mut out, app, context, image);
    let mut response = large(room, out)?;
    response
        .headers_mut()
        .insert(header::ETAG, precondition::etag(image.version));
    Ok(response)
}

/// 200 with a JSON body of any length, for which there must be room until its client has taken it.
pub(super) fn large(mut room: Room, mut out: Vec<u8>) -> Result<Response, ApiError> {
    if out.capacity() > memory::SMALL {
        out.shrink_to_fit();
    }
    room.resize(out.len())?;
    Ok(json(room.hold(out)))
}

/// 200 with a JSON body, a small one or one that all answers share.
pub(super) fn json(body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

/// 204
pub(super) fn no_content() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// The record changed under every attempt.
pub(super) fn contended() -> ApiError {
    ApiError::unavailable("The image is being changed by others too often.")
}
