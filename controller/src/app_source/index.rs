//! The index file of a web server, since plain HTTP cannot be listed: one path a line, relative to the index.
//!
//! Each file is asked for with the ETag of what is known of it, so that what has not changed is not sent again.

use bytes::{Bytes, BytesMut};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url, header};
use spec::SPEC_BYTES_MAX;

use super::explain::plain;
use super::reader::{CALL, CONNECT, Call, FILES_MAX, Fetched, Listed, Reader, is_app};

/// The most bytes of an index.
const INDEX_BYTES_MAX: usize = 1024 * 1024;
const REDIRECTS_MAX: usize = 3;

/// An index and what it names.
pub struct Index {
    client: Client,
    url: Url,
}

impl Index {
    /// The index at this address.
    ///
    /// # Errors
    /// No client can be made.
    pub fn new(url: Url) -> Result<Self, String> {
        let client = Client::builder()
            .connect_timeout(CONNECT)
            .timeout(CALL)
            .https_only(url.scheme() == "https")
            .redirect(Policy::limited(REDIRECTS_MAX))
            .user_agent(concat!("ostler/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| sentence(&error))?;
        Ok(Index { client, url })
    }

    async fn get(&self, url: Url, known: Option<&str>) -> Result<Response, String> {
        let mut request = self.client.get(url);
        if let Some(tag) = known {
            request = request.header(header::IF_NONE_MATCH, tag);
        }
        request.send().await.map_err(|error| sentence(&error))
    }
}

fn sentence(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    if error.is_timeout() {
        return format!("no answer within {} s", CALL.as_secs());
    }
    plain(&innermost.to_string())
}

async fn body(mut response: Response, bytes_max: usize) -> Result<Bytes, String> {
    let mut bytes = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| sentence(&error))? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > bytes_max {
            bytes.truncate(bytes_max + 1);
            break;
        }
    }
    Ok(bytes.freeze())
}

/// The paths that an index names.
///
/// # Errors
/// The first line that is none.
fn lines(text: &str) -> Result<Vec<String>, String> {
    let mut files: Vec<String> = Vec::new();
    for (nth, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let is_below =
            !line.starts_with('/') && !line.contains(['\\', '?', '#', ':']) && !line.split('/').any(|part| matches!(part, "" | "." | ".."));
        if !is_below || !is_app(line) {
            let shown: String = line.chars().filter(|c| !c.is_control()).take(80).collect();
            return Err(format!("line {} of the index, \"{shown}\", is no path of a .toml file below it, such as shop.toml", nth + 1));
        }
        files.push(line.to_owned());
    }
    files.sort();
    files.dedup();
    if files.len() > FILES_MAX { Err(format!("the index names more than {FILES_MAX} files")) } else { Ok(files) }
}

impl Reader for Index {
    fn list(&self) -> Call<'_, Vec<Listed>> {
        Box::pin(async move {
            let response = self.get(self.url.clone(), None).await?;
            if response.status() != StatusCode::OK {
                return Err(format!("the index is answered with {}", response.status()));
            }
            let bytes = body(response, INDEX_BYTES_MAX).await?;
            if bytes.len() > INDEX_BYTES_MAX {
                return Err(format!("the index is longer than {INDEX_BYTES_MAX} bytes"));
            }
            let text = std::str::from_utf8(&bytes).map_err(|_| "the index is no UTF-8 text".to_owned())?;
            Ok(lines(text)?.into_iter().map(|file| Listed { file, tag: None }).collect())
        })
    }

    fn fetch(&self, file: String, known: Option<String>) -> Call<'_, Fetched> {
        Box::pin(async move {
            let url = self.url.join(&file).map_err(|error| error.to_string())?;
            let response = self.get(url, known.as_deref()).await?;
            match response.status() {
                StatusCode::NOT_MODIFIED if known.is_some() => return Ok(Fetched::Same),
                StatusCode::OK => {}
                // The index names it: that it is not there is a fault, and no reason to stop anything.
                other => return Err(format!("it is answered with {other}")),
            }
            let tag = response.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
            Ok(Fetched::New { tag, bytes: body(response, SPEC_BYTES_MAX).await? })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_names_a_path_a_line() {
        let found = lines("# apps\nshop.toml\r\n\n eu/db.toml \nshop.toml\n");
        assert_eq!(found, Ok(vec!["eu/db.toml".to_owned(), "shop.toml".to_owned()]));
    }

    #[test]
    fn an_index_reaches_nothing_but_what_is_below_it() {
        for bad in [
            "/shop.toml",
            "../shop.toml",
            "a/../b.toml",
            "https://x/shop.toml",
            "//x/shop.toml",
            "shop.json",
            "<html>",
            "a?b.toml",
            "a\\b.toml",
        ] {
            assert!(lines(bad).is_err(), "{bad}");
        }
        assert!(lines("ok.toml\n../x.toml").is_err_and(|why| why.starts_with("line 2 of the index")));
    }
}
