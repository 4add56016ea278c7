//! A client's request, made ours: checked, its target in origin form, its fields those of our own connection.

use std::rc::Rc;

use http::header::{HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use http::{Method, Request, StatusCode, Uri, Version};

use crate::client::Client;
use crate::downstream::ClientBody;
use crate::fields::{self, Stripped};
use crate::kept::{KeptBody, RequestBody};
use crate::problem::Problem;

/// A request as it goes to a replica, as often as need be.
#[derive(Debug)]
pub(crate) struct Outbound {
    method: Method,
    /// In origin form: the very path that is routed on is forwarded.
    uri: Uri,
    host: HeaderValue,
    headers: HeaderMap,
    /// The client would change to another protocol.
    pub(crate) upgrade: Option<HeaderValue>,
    pub(crate) body: KeptBody,
    /// Doing it twice does what doing it once does (RFC 9110 section 9.2.2).
    pub(crate) is_idempotent: bool,
}

impl Outbound {
    /// Makes a client's request ours.
    pub(crate) fn new(request: Request<ClientBody>, client: &Rc<Client>) -> Result<Self, Problem> {
        let (head, body) = request.into_parts();
        let mut headers = head.headers;
        if head.method == Method::CONNECT {
            return Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, "CONNECT is not served here: this is no forward proxy"));
        }
        let (uri, authority) = origin_form(head.uri)?;
        let host = match authority {
            // RFC 9112 section 3.2.2: the target's own host counts, whatever the field says.
            Some(authority) => {
                headers.insert(HOST, authority.clone());
                authority
            }
            None => host_field(&mut headers, head.version, client)?,
        };
        let stripped = fields::strip_request(&mut headers);
        let body = KeptBody::new(body);
        if !body.is_empty() && body.length().is_none() {
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        fields::add_forwarded(&mut headers, client.forwarded_for.clone(), host.clone());
        fields::add_hop(&mut headers, &stripped);
        let Stripped { upgrade, .. } = stripped;
        let is_idempotent =
            matches!(head.method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE);
        Ok(Outbound { method: head.method, uri, host, headers, upgrade, body, is_idempotent })
    }

    pub(crate) fn method(&self) -> &Method {
        &self.method
    }

    pub(crate) fn path(&self) -> &str {
        self.uri.path()
    }

    pub(crate) fn host(&self) -> &str {
        self.host.to_str().unwrap_or_default()
    }

    /// The request of one attempt.
    pub(crate) fn attempt(&self, body: RequestBody) -> Request<RequestBody> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

/// A target in origin form (or `*`), and the authority that it named.
fn origin_form(uri: Uri) -> Result<(Uri, Option<HeaderValue>), Problem> {
    let bad = |detail: &str| Problem::new(StatusCode::BAD_REQUEST, detail);
    if uri.scheme().is_none() && uri.authority().is_none() {
        return Ok((uri, None));
    }
    let parts = uri.into_parts();
    let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
        return Err(bad("the request target must begin with \"/\""));
    };
    if !matches!(scheme.as_str(), "http" | "https") || authority.as_str().contains('@') {
        return Err(bad("the request target must be a path, or a URL of http without a user name"));
    }
    let authority = HeaderValue::from_str(authority.as_str()).map_err(|_| bad("the host in the request target is malformed"))?;
    let mut origin = http::uri::Parts::default();
    origin.path_and_query = parts.path_and_query;
    let uri = if origin.path_and_query.is_some() {
        Uri::from_parts(origin).map_err(|_| bad("the request target is malformed"))?
    } else {
        Uri::default()
    };
    Ok((uri, Some(authority)))
}

/// The one Host of a request (RFC 9112 section 3.2). HTTP/1.0 knows requests without: those go to the address that they came to.
fn host_field(headers: &mut HeaderMap, version: Version, client: &Client) -> Result<HeaderValue, Problem> {
    let bad = |detail: &str| Err(Problem::new(StatusCode::BAD_REQUEST, detail));
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if host.to_str().is_ok() => return Ok(host.clone()),
        (Some(_), None) => return bad("the Host field is malformed"),
        (Some(_), Some(_)) => return bad("the request has more than one Host field"),
        (None, _) if version != Version::HTTP_10 => return bad("the request has no Host field"),
        (None, _) => {}
    }
    let host = HeaderValue::try_from(client.local.to_string()).unwrap_or(HeaderValue::from_static("localhost"));
    headers.insert(HOST, host.clone());
    Ok(host)
}
