//! Fetching over HTTP. TLS is rustls with ring, and trusts what the system trusts.

use std::error::Error as _;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, ETAG, HeaderMap, IF_RANGE, RANGE};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, StatusCode};
use url::Url;

use super::remote::{Failure, Fetched, brief};

const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// The most redirects of one request.
const REDIRECTS_MAX: usize = 5;

/// A client for all requests of an agent.
pub fn client() -> Result<Client, Failure> {
    let builder = Client::builder().connect_timeout(CONNECT_DEADLINE).redirect(Policy::custom(judge)).user_agent("ostler").referer(false);
    // It needs the system's certificates: they may be there later.
    builder.http1_only().build().map_err(|e| Failure::Passing(format!("this host cannot make requests: {}", words(&e))))
}

/// Whether a redirect is followed.
fn judge(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let was_secure = attempt.previous().first().is_some_and(|url| url.scheme() == "https");
    if attempt.previous().len() > REDIRECTS_MAX {
        return attempt.error(format!("there are more than {REDIRECTS_MAX} redirects"));
    }
    match attempt.url().scheme() {
        "https" => attempt.follow(),
        "http" if !was_secure => attempt.follow(),
        "http" => attempt.error("it is redirected from https: to http:"),
        _ => attempt.error("it is redirected to what is no web server"),
    }
}

/// Asks for what is at a URL, from a byte on if that is not the first and it has not changed since it had this tag.
pub async fn get(client: &Client, url: &Url, from: u64, tag: Option<&str>) -> Result<Fetched, Failure> {
    let mut request = client.get(url.clone()).header(ACCEPT_ENCODING, "identity");
    if from > 0 {
        request = request.header(RANGE, format!("bytes={from}-"));
        if let Some(tag) = tag {
            request = request.header(IF_RANGE, tag);
        }
    }
    let response = request.send().await.map_err(|e| failure(&e))?;
    let (status, headers) = (response.status(), response.headers());
    let tag = strong_tag(headers);
    let (from, total) = match status {
        StatusCode::OK => (0, response.content_length()),
        StatusCode::PARTIAL_CONTENT if from > 0 => match content_range(headers) {
            Some((begin, total)) if begin == from => (from, total),
            _ => return Err(Failure::Restart("the server sent another part than was asked for".to_owned())),
        },
        StatusCode::RANGE_NOT_SATISFIABLE => return Err(Failure::Restart("there is less than was downloaded already".to_owned())),
        _ => return Err(refused(status)),
    };
    let chunks = response.bytes_stream().map_err(|e| failure(&e)).boxed();
    Ok(Fetched { from, total, tag, chunks })
}

fn refused(status: StatusCode) -> Failure {
    let said = format!("the server answered {status}");
    let may_pass = status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429);
    if may_pass { Failure::Passing(said) } else { Failure::Lasting(said) }
}

/// A tag that says that not a byte has changed (RFC 9110 section 8.8.1).
fn strong_tag(headers: &HeaderMap) -> Option<String> {
    let tag = headers.get(ETAG)?.to_str().ok()?;
    tag.starts_with('"').then(|| tag.to_owned())
}

/// First byte, and length of the whole if it is told (RFC 9110 section 14.4).
fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let (range, total) = headers.get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?.split_once('/')?;
    let begin = range.split_once('-')?.0.trim().parse().ok()?;
    if total.trim() == "*" { Some((begin, None)) } else { Some((begin, Some(total.trim().parse().ok()?))) }
}

fn failure(e: &reqwest::Error) -> Failure {
    if e.is_redirect() || e.is_builder() { Failure::Lasting(words(e)) } else { Failure::Passing(words(e)) }
}

/// What went wrong, without the URL: it may hold secrets, and that of a redirect may as well. The innermost cause says most.
fn words(e: &reqwest::Error) -> String {
    let mut cause: Option<&dyn std::error::Error> = e.source();
    let mut said = None;
    while let Some(inner) = cause {
        said = Some(inner.to_string());
        cause = inner.source();
    }
    let what = if e.is_connect() {
        "it cannot be connected to"
    } else if e.is_redirect() {
        "it is not followed"
    } else if e.is_timeout() {
        "it took too long"
    } else {
        "the connection broke"
    };
    said.map_or_else(|| what.to_owned(), |said| format!("{what}: {}", brief(&said)))
}
