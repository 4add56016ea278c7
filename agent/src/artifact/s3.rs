//! Fetching from an object store that speaks as Amazon's S3 does.
//!
//! Where it is and who asks stands in the environment of the agent: `AWS_ENDPOINT_URL`, `AWS_REGION`, `AWS_ACCESS_KEY_ID`,
//! `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, or what the cloud gives its hosts. None of it reaches a replica, the log or an error.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::{ClientOptions, Error, GetOptions, GetRange, ObjectStore, RetryConfig};

use super::remote::{Failure, Fetched, brief};

const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// Asks for an object, from a byte on if that is not the first and it has not changed since it had this tag.
pub async fn get(bucket: &str, key: &str, from: u64, tag: Option<&str>) -> Result<Fetched, Failure> {
    let path = Path::from_url_path(key).map_err(|_| Failure::Lasting("its key is no path".to_owned()))?;
    let is_plain = std::env::var("AWS_ENDPOINT_URL").is_ok_and(|url| url.trim().to_ascii_lowercase().starts_with("http://"));
    let allow_http = is_plain || std::env::var("AWS_ALLOW_HTTP").is_ok_and(|value| value == "true");
    // How long the whole may take is judged by whoever reads it; who tries again as well.
    let client = ClientOptions::new().with_timeout_disabled().with_connect_timeout(CONNECT_DEADLINE).with_allow_http(allow_http);
    let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
    let builder = AmazonS3Builder::from_env().with_client_options(client).with_retry(retry).with_bucket_name(bucket);
    let store =
        builder.build().map_err(|e| Failure::Lasting(format!("the settings of the object store are not complete: {}", said(&e))))?;
    let mut options = GetOptions::new();
    if from > 0 {
        options.range = Some(GetRange::Offset(from));
        options.if_match = tag.map(str::to_owned);
    }
    let found = store.get_opts(&path, options).await.map_err(failure)?;
    let (total, tag, from) = (found.meta.size, found.meta.e_tag.clone(), found.range.start);
    Ok(Fetched { from, total: Some(total), tag, chunks: found.into_stream().map_err(failure).boxed() })
}

fn failure(e: Error) -> Failure {
    match &e {
        Error::NotFound { .. } => Failure::Lasting("there is no such object, or no such bucket".to_owned()),
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => Failure::Lasting(format!(
            "the object store does not let this agent read it{}; look at AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the agent's environment",
            code(&e.to_string()).map(|code| format!(" ({code})")).unwrap_or_default()
        )),
        Error::Precondition { .. } => Failure::Restart("the object has changed".to_owned()),
        _ if is_beyond_end(&e) => Failure::Restart("there is less than was downloaded already".to_owned()),
        _ => Failure::Passing(said(&e)),
    }
}

fn is_beyond_end(e: &Error) -> bool {
    code(&e.to_string()) == Some("InvalidRange")
}

/// The word that a store has for what is wrong.
fn code(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    (code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphanumeric())).then_some(code)
}

/// What went wrong. The store's own words are left out, but for one: they may repeat what it was sent.
fn said(e: &Error) -> String {
    let text = e.to_string();
    let plain = text.split(['<', '\n']).next().unwrap_or_default();
    let words: Vec<&str> = plain.split_whitespace().map(|word| word.split('?').next().unwrap_or_default()).collect();
    let code = code(&text).map(|code| format!(" {code}")).unwrap_or_default();
    brief(&format!("{}{code}", words.join(" ")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_a_store_repeats_is_not_passed_on() {
        let body = "status 403: <?xml?><Error><Code>SignatureDoesNotMatch</Code><AWSAccessKeyId>AKIAHIDDEN</AWSAccessKeyId></Error>";
        let e = Error::Generic { store: "S3", source: format!("GET http://h/b/k?X-Sig=HIDDEN {body}").into() };
        let words = said(&e);
        assert!(words.contains("SignatureDoesNotMatch") && !words.contains("HIDDEN"), "{words}");
        let e = Error::PermissionDenied { path: "k".into(), source: body.into() };
        let Failure::Lasting(words) = failure(e) else { panic!("it may pass") };
        assert!(words.contains("(SignatureDoesNotMatch)") && words.contains("AWS_ACCESS_KEY_ID") && !words.contains("HIDDEN"), "{words}");
    }
}
