//! One line of the table of operations.

/// What a method of a path takes and gives.
pub(super) struct Operation {
    /// The method.
    pub(super) method: &'static str,
    /// The path below `/v2/`, as the router's table has it.
    pub(super) path: &'static str,
    /// What it does.
    pub(super) summary: &'static str,
    /// The policy rule that allows it; empty: any authenticated caller.
    pub(super) rule: &'static str,
    /// Parameters beside those of the path.
    pub(super) parameters: &'static [Parameter],
    /// The request's body.
    pub(super) body: Body,
    /// Answers of success, up to where the status is 0.
    pub(super) answers: [(u16, Body); MAX_ANSWERS],
    /// Statuses of failure, beside those that every operation may have.
    pub(super) failures: &'static [u16],
}

const MAX_ANSWERS: usize = 4;

/// What a request or an answer carries.
#[derive(Clone, Copy)]
pub(super) enum Body {
    /// No body.
    Nothing,
    /// JSON of a schema among the components.
    Json(&'static str),
    /// A list of changes to an image.
    Patch,
    /// Image data.
    Data,
}

/// A parameter, its name and meaning. None is required.
#[derive(Clone, Copy)]
pub(super) enum Parameter {
    /// In the query, text.
    Query(&'static str, &'static str),
    /// In the query, a whole number from 0 on.
    Integer(&'static str, &'static str),
    /// In the head.
    Header(&'static str, &'static str),
}

/// An operation that takes and gives nothing yet.
pub(super) const fn op(
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    rule: &'static str,
) -> Operation {
    Operation {
        method,
        path,
        summary,
        rule,
        parameters: &[],
        body: Body::Nothing,
        answers: [(0, Body::Nothing); MAX_ANSWERS],
        failures: &[],
    }
}

impl Operation {
    /// Takes these parameters.
    pub(super) const fn with(mut self, parameters: &'static [Parameter]) -> Self {
        self.parameters = parameters;
        self
    }

    /// Takes this body.
    pub(super) const fn takes(mut self, body: Body) -> Self {
        self.body = body;
        self
    }

    /// May answer so; four times at most, or it does not compile.
    pub(super) const fn gives(mut self, status: u16, body: Body) -> Self {
        let mut at = 0;
        while self.answers[at].0 != 0 {
            at += 1;
        }
        self.answers[at] = (status, body);
        self
    }

    /// May fail so.
    pub(super) const fn fails(mut self, statuses: &'static [u16]) -> Self {
        self.failures = statuses;
        self
    }
}
