//! App specs: the form that operators write, in TOML or JSON, and the app that is meant by it.
//!
//! [`parse`] reads one, and says of what it cannot take in which line and column it stands; [`render`] writes one. [`schema`] and
//! [`reference`] describe it, for editors and for people. All three come from the types of `form`, and defaults from the domain's.
//!
//! Absent from here: files, the network, and what becomes of an app.
#![forbid(unsafe_code)]

mod duration;
mod error;
mod fault;
mod form;
mod read;
mod reference;
mod render;
mod schema;
mod size;
mod suggest;
mod tree;
mod umask;
mod written;

use cluster::App;

pub use error::{SpecError, SpecFault};
pub use reference::reference;
pub use render::{render, render_json};
pub use schema::schema;

use error::Source;
use fault::{Fault, Faults};
use form::AppForm;

/// The most bytes of a spec.
pub const SPEC_BYTES_MAX: usize = 256 * 1024;

/// How a spec is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// In files.
    Toml,
    /// Over the API.
    Json,
}

/// Reads a spec: the app that is meant, of revision 1, with as many replicas as it says. `name` is what messages call it.
///
/// # Errors
/// What is wrong with it, with places.
pub fn parse(bytes: &[u8], name: &str, format: Format) -> Result<App, SpecError> {
    let (text, tail) = match std::str::from_utf8(bytes) {
        Ok(text) => (text, None),
        Err(error) => (std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(), Some(error.valid_up_to())),
    };
    // What some editors put in front (RFC 3629 section 6) means nothing.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let source = Source { name, text, format };
    let refuse = |fault: Fault| Err(SpecError::new(&source, None, vec![fault]));
    if bytes.len() > SPEC_BYTES_MAX {
        let at = text.len().min(SPEC_BYTES_MAX);
        return refuse(Fault::of_text(
            at..at,
            format!("this is longer than {SPEC_BYTES_MAX} bytes, the most that a spec can have; it may be another file"),
        ));
    }
    if tail.is_some() {
        let utf16 = if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) { " (it looks like UTF-16)" } else { "" };
        return refuse(Fault::of_text(text.len()..text.len(), format!("this is no UTF-8{utf16}; save it as UTF-8")));
    }
    let tree = match format {
        Format::Toml => tree::from_toml(text),
        Format::Json => tree::from_json(text),
    };
    let tree = tree.map_err(|faults| SpecError::new(&source, None, faults))?;
    let form: AppForm = read::read(&tree).map_err(|faults| SpecError::new(&source, Some(&tree), faults))?;
    let mut faults = Faults::default();
    let app = form.app(&mut faults);
    if faults.0.is_empty() { Ok(app) } else { Err(SpecError::new(&source, Some(&tree), faults.0)) }
}
