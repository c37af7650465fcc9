//! The table's entries: one method on one path, who answers it, and what a caller has to know of it.
//!
//! The route and its description are made in one go, from the handler itself: the types of its body and of its answer
//! are the ones the document shows ([`super::openapi`]). A handler whose types have no schema does not compile.

use std::marker::PhantomData;

use axum::handler::Handler;
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;

use super::Rest;
use super::call::{BodyCall, Call};
use super::envelope::{Envelope, Success};

/// Makes the schema of one type.
pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// What a request of an operation brings.
#[derive(Clone, Copy)]
pub(super) enum RequestBody {
    None,
    Json(SchemaOf),
    /// A form with one file, by its name.
    File(&'static str),
}

/// What an operation answers with when it succeeds.
#[derive(Clone, Copy)]
pub(super) enum Answers {
    /// A result in the envelope.
    Enveloped(SchemaOf),
    /// JSON without an envelope.
    Bare(SchemaOf),
    /// A file or a text of this content type.
    Content(&'static str),
}

/// One method on one path.
pub(super) struct Operation {
    pub method: Method,
    pub path: &'static str,
    /// What generated clients call it.
    pub id: &'static str,
    /// Under which heading it stands.
    pub tag: &'static str,
    /// One line.
    pub summary: &'static str,
    /// Names of members of [`super::call::Params`].
    pub query: &'static [&'static str],
    pub body: RequestBody,
    pub answers: Answers,
    /// Beside those that every operation of its kind has.
    pub statuses: &'static [u16],
    pub is_deprecated: bool,
    handler: Box<dyn FnOnce(MethodFilter) -> MethodRouter<Rest> + Send>,
}

impl Operation {
    /// The operation that `endpoint` answers.
    pub(super) fn new<E: Endpoint<Shape>, Shape>(
        method: Method,
        path: &'static str,
        id: &'static str,
        summary: &'static str,
        endpoint: E,
    ) -> Operation {
        Operation {
            method,
            path,
            id,
            tag: "",
            summary,
            query: &[],
            body: E::BODY,
            answers: endpoint.answers(),
            statuses: &[],
            is_deprecated: false,
            handler: Box::new(move |filter| endpoint.route(filter)),
        }
    }

    /// With these query parameters.
    pub(super) fn query(self, query: &'static [&'static str]) -> Operation {
        Operation { query, ..self }
    }

    /// Under this heading.
    pub(super) fn tag(self, tag: &'static str) -> Operation {
        Operation { tag, ..self }
    }

    /// With an uploaded file as its body.
    pub(super) fn file(self, name: &'static str) -> Operation {
        Operation { body: RequestBody::File(name), ..self }
    }

    /// With a JSON body that the handler's type does not tell.
    pub(super) fn json(self, schema: SchemaOf) -> Operation {
        Operation { body: RequestBody::Json(schema), ..self }
    }

    /// With further statuses.
    pub(super) fn statuses(self, statuses: &'static [u16]) -> Operation {
        Operation { statuses, ..self }
    }

    /// Still served, for older clients.
    pub(super) fn deprecated(self) -> Operation {
        Operation { is_deprecated: true, ..self }
    }

    /// Changes the route, as a layer around it does.
    pub(super) fn around(
        self,
        change: impl FnOnce(MethodRouter<Rest>) -> MethodRouter<Rest> + Send + 'static,
    ) -> Operation {
        let handler = self.handler;
        Operation { handler: Box::new(move |filter| change(handler(filter))), ..self }
    }

    /// The route; the description is consumed with it.
    pub(super) fn into_route(self) -> (&'static str, MethodRouter<Rest>) {
        // Methods are constants of the table; one that no filter knows would fail the table's test.
        let filter = MethodFilter::try_from(self.method).unwrap_or(MethodFilter::TRACE);
        (self.path, (self.handler)(filter))
    }
}

/// Whatever can answer an operation. `Shape` tells its implementations apart.
pub(super) trait Endpoint<Shape>: Sized + Send + 'static {
    /// What its request brings.
    const BODY: RequestBody;

    /// What it answers with.
    fn answers(&self) -> Answers;

    /// The route of the methods `filter` names.
    fn route(self, filter: MethodFilter) -> MethodRouter<Rest>;
}

/// The shape of handlers without a body.
pub(super) struct OfCall<P, T>(PhantomData<fn(P) -> T>);

impl<F, Fut, P, T> Endpoint<OfCall<P, T>> for F
where
    F: Fn(Call<P>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Envelope<T>> + Send + 'static,
    P: DeserializeOwned + Send + 'static,
    T: JsonSchema + 'static,
{
    const BODY: RequestBody = RequestBody::None;

    fn answers(&self) -> Answers {
        Answers::Enveloped(SchemaGenerator::subschema_for::<T>)
    }

    fn route(self, filter: MethodFilter) -> MethodRouter<Rest> {
        on(filter, self)
    }
}

/// The shape of handlers with a JSON body.
pub(super) struct OfBody<P, B, T>(PhantomData<fn(P, B) -> T>);

impl<F, Fut, P, B, T> Endpoint<OfBody<P, B, T>> for F
where
    F: Fn(BodyCall<P, B>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Envelope<T>> + Send + 'static,
    P: DeserializeOwned + Send + 'static,
    B: DeserializeOwned + JsonSchema + Send + 'static,
    T: JsonSchema + 'static,
{
    const BODY: RequestBody = RequestBody::Json(SchemaGenerator::subschema_for::<B>);

    fn answers(&self) -> Answers {
        Answers::Enveloped(SchemaGenerator::subschema_for::<T>)
    }

    fn route(self, filter: MethodFilter) -> MethodRouter<Rest> {
        on(filter, self)
    }
}

/// A handler whose answer its type does not tell, with what it answers.
pub(super) struct Plain<H>(pub Answers, pub H);

/// The shape of handlers of any kind; `X` is the framework's own.
pub(super) struct OfAny<X>(PhantomData<fn(X)>);

impl<H, X> Endpoint<OfAny<X>> for Plain<H>
where
    H: Handler<X, Rest>,
    X: Send + 'static,
{
    const BODY: RequestBody = RequestBody::None;

    fn answers(&self) -> Answers {
        self.0
    }

    fn route(self, filter: MethodFilter) -> MethodRouter<Rest> {
        on(filter, self.1)
    }
}

impl<T> IntoResponse for Success<T> {
    fn into_response(self) -> Response {
        self.into_inner()
    }
}
