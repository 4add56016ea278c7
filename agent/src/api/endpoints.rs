//! `PUT /v1/endpoints`: understanding them.

use cluster::endpoints::Endpoints;
use http::StatusCode;

use super::problem::Problem;

/// Understands endpoints.
pub fn parse(bytes: &[u8]) -> Result<Endpoints, Problem> {
    serde_json::from_slice(bytes).map_err(|e| Problem::new(StatusCode::BAD_REQUEST, format!("these are no endpoints: {e}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_a_newer_controller_says_is_understood_and_what_is_none_is_refused() {
        let cluster = r#""cluster":"0199b1c2-7d3e-7abc-8def-0123456789ab""#;
        let whole = format!(r#"{{{cluster},"epoch":1,"generation":2,"version":3,"apps":{{}},"new":[1]}}"#);
        assert_eq!(parse(whole.as_bytes()).unwrap().version, 3);
        for bad in [
            String::new(),
            "[]".to_owned(),
            "[".repeat(100_000),
            format!(r#"{{{cluster},"epoch":1,"generation":2,"apps":{{}}}}"#),
            format!(r#"{{{cluster},"epoch":1,"generation":2,"version":-1,"apps":{{}}}}"#),
            format!(r#"{{{cluster},"epoch":1,"generation":2,"version":1,"apps":{{"../x":{{}}}}}}"#),
        ] {
            assert_eq!(parse(bad.as_bytes()).unwrap_err().response().status(), 400, "{}", &bad[..bad.len().min(80)]);
        }
    }
}
