//! What went wrong with a store, in a sentence.
//!
//! Servers answer with documents that hold request ids, signatures and key names. Of those only the code is repeated: so a log stays readable,
//! the same fault is the same sentence each time, and no secret is shown.

use std::error::Error as _;

/// A sentence for an error of a store: what is wrong, and what to do.
#[must_use]
pub fn explain(error: &object_store::Error) -> String {
    let text = chain(error);
    if let Some(code) = between(&text, "<Code>", "</Code>") {
        return of_code(code);
    }
    match error {
        object_store::Error::NotFound { .. } => "it is not there (404); check the name of the bucket and AWS_ENDPOINT_URL".to_owned(),
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
            "the server refuses these credentials (401 or 403); check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY".to_owned()
        }
        _ => innermost(error),
    }
}

/// A sentence for a code of S3 ("Error responses" in its API reference).
fn of_code(code: &str) -> String {
    let code: String = code.chars().take(60).filter(char::is_ascii_alphanumeric).collect();
    let what = match code.as_str() {
        "InvalidAccessKeyId" => "the server does not know this access key; check AWS_ACCESS_KEY_ID",
        "SignatureDoesNotMatch" => "the secret key is not that of the access key; check AWS_SECRET_ACCESS_KEY",
        "ExpiredToken" | "InvalidToken" => "the session token is not valid any more; give a new AWS_SESSION_TOKEN",
        "AccessDenied" | "AllAccessDisabled" => "these credentials may not list or read it; give them s3:ListBucket and s3:GetObject",
        "RequestTimeTooSkewed" => {
            "the clocks of this host and of the server differ by more than the server allows; set the clock of this host"
        }
        "NoSuchBucket" => "there is no such bucket; make it, or check its name and AWS_ENDPOINT_URL",
        "NoSuchKey" => "it is not there any more",
        "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" => {
            "the bucket is in another region; set AWS_REGION"
        }
        "SlowDown" | "ServiceUnavailable" | "InternalError" => "the server is overloaded or out of order",
        _ => "the server refuses the call",
    };
    format!("{what} ({code})")
}

fn chain(error: &object_store::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// The reason at the bottom: what the operating system or the library said, in one line.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    let text = innermost.to_string();
    // What comes behind the status is what the server sent.
    match text.split_once("status code: ") {
        Some((_, status)) => format!("the server answers {}", plain(status.split(':').next().unwrap_or_default())),
        None => plain(&text),
    }
}

/// One short line without what may hold a secret: what a server sent, and what stands before an @ in a URL.
pub fn plain(text: &str) -> String {
    let line = text.split(['\n', '<']).next().unwrap_or_default().trim_end_matches([' ', ':']);
    let words = line.split(' ').map(|word| match (word.find("://"), word.rfind('@')) {
        (Some(at), Some(end)) if end > at => format!("{}://…{}", &word[..at], &word[end..]),
        _ => word.to_owned(),
    });
    let line: String = words.collect::<Vec<_>>().join(" ").chars().filter(|c| !c.is_control()).take(200).collect();
    if line.is_empty() { "the server refuses the call".to_owned() } else { line }
}

fn between<'a>(text: &'a str, begin: &str, end: &str) -> Option<&'a str> {
    text.split_once(begin)?.1.split_once(end).map(|(inside, _)| inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str) -> object_store::Error {
        object_store::Error::PermissionDenied { path: "p".to_owned(), source: body.to_owned().into() }
    }

    #[test]
    fn a_refusal_of_s3_is_told_by_its_code_and_without_what_else_is_in_it() {
        let body = "403 Forbidden: <Error><Code>SignatureDoesNotMatch</Code><AWSAccessKeyId>AKIA1</AWSAccessKeyId><StringToSign>x</StringToSign></Error>";
        let text = explain(&refused(body));
        assert!(text.contains("AWS_SECRET_ACCESS_KEY") && !text.contains("AKIA1") && !text.contains("StringToSign"), "{text}");
        let text = explain(&refused("<Error><Code>RequestTimeTooSkewed</Code><RequestTime>20260101T000000Z</RequestTime></Error>"));
        assert!(text.contains("set the clock of this host") && !text.contains("20260101"), "{text}");
        assert!(explain(&refused("<Error><Code>Nonsense!\n</Code></Error>")).ends_with("(Nonsense)"));
        assert!(explain(&refused("")).contains("AWS_ACCESS_KEY_ID"));
    }

    #[test]
    fn a_sentence_is_one_line_without_passwords() {
        assert_eq!(plain("cannot reach http://me:geheim@host/x now\nmore"), "cannot reach http://…@host/x now");
        assert_eq!(plain("500: <html>…"), "500");
        assert!(!plain("").is_empty());
    }
}
