//! Reading a tar (POSIX pax, ustar, GNU): what its headers mean.
//!
//! The crate reads headers one by one, in raw mode; what they say of each other is judged here. A header that says of the next one what
//! another reader would understand otherwise (CVE-2025-62518) is refused, and not interpreted.

use std::io::Read;

use tar::{Archive, Header, PaxExtensions};

use super::format::Format;
use super::unpack::{Error, Unpacking, Why};

/// The most bytes of a header that says more of the next entry.
const MORE_BYTES_MAX: u64 = 64 * 1024;

/// What headers said of the entry after them.
#[derive(Debug, Default)]
struct More {
    /// A name of GNU tar.
    gnu: Option<Vec<u8>>,
    /// A name of pax.
    pax: Option<Vec<u8>>,
    /// A size of pax.
    size: Option<u64>,
}

/// Unpacks what `reader` has.
pub fn read(reader: impl Read, format: Format, into: &mut Unpacking<'_>) -> Result<(), Error> {
    let broken = |why: &dyn std::fmt::Display| Error::Archive { format: format.word(), why: why.to_string() };
    let mut archive = Archive::new(reader);
    let mut more = More::default();
    let mut count = 0_u64;
    for entry in archive.entries().map_err(|e| broken(&e))?.raw(true) {
        let mut entry = entry.map_err(|e| broken(&e))?;
        count += 1;
        let header = entry.header().clone();
        let short = header.path_bytes().into_owned();
        let kind = header.as_bytes()[156];
        let size = header.entry_size().map_err(|e| broken(&e))?;
        let name = more.gnu.as_ref().or(more.pax.as_ref()).unwrap_or(&short).clone();
        into.header(&name)?;
        match kind {
            b'L' | b'x' | b'g' => {
                if size > MORE_BYTES_MAX {
                    return Err(Error::entry(&name, Why::Damaged(format!("its header is longer than {MORE_BYTES_MAX} bytes"))));
                }
                let mut data = Vec::new();
                entry.read_to_end(&mut data).map_err(|e| broken(&e))?;
                if data.len() as u64 != size {
                    return Err(Error::entry(&name, Why::Size { said: size, found: data.len() as u64 }));
                }
                more.take(kind, data).map_err(|why| Error::entry(&name, why))?;
                continue;
            }
            _ => {}
        }
        let said = std::mem::take(&mut more);
        said.agree(size).map_err(|why| Error::entry(&name, why))?;
        match kind {
            // Before POSIX a slash at the end made a directory.
            b'0' | 0 | b'7' if !name.ends_with(b"/") => into.file(&name, is_program(&header), size, &mut entry)?,
            b'0' | 0 | b'7' | b'5' if size == 0 => into.directory(&name)?,
            b'0' | 0 | b'7' | b'5' => return Err(Error::entry(&name, Why::Damaged("it is a directory that has data".to_owned()))),
            other => return Err(Error::entry(&name, Why::Kind(kind_of(other)))),
        }
    }
    if more.gnu.is_some() || more.pax.is_some() || more.size.is_some() {
        return Err(broken(&"it ends after a header that belongs to another"));
    }
    if count == 0 {
        return Err(broken(&"there is nothing in it"));
    }
    Ok(())
}

impl More {
    fn take(&mut self, kind: u8, data: Vec<u8>) -> Result<(), Why> {
        if kind == b'L' {
            let mut name = data;
            if name.last() == Some(&0) {
                name.pop();
            }
            return if self.gnu.replace(name).is_some() { Err(twice()) } else { Ok(()) };
        }
        for record in PaxExtensions::new(&data) {
            let record = record.map_err(|_| Why::Damaged("its pax header is malformed".to_owned()))?;
            let (key, value) = (record.key_bytes(), record.value_bytes());
            if key.starts_with(b"GNU.sparse.") {
                return Err(Why::Kind("a sparse file"));
            }
            if kind == b'g' {
                if matches!(key, b"path" | b"linkpath" | b"size") {
                    return Err(Why::Damaged("a pax header gives all entries one name or size".to_owned()));
                }
            } else if key == b"path" {
                if self.pax.replace(value.to_vec()).is_some() {
                    return Err(twice());
                }
            } else if key == b"size" {
                let size = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                let size = size.ok_or_else(|| Why::Damaged("its size in the pax header is no number".to_owned()))?;
                if self.size.replace(size).is_some() {
                    return Err(twice());
                }
            }
        }
        Ok(())
    }

    /// Whether all headers of one entry say the same of it.
    fn agree(&self, size: u64) -> Result<(), Why> {
        if self.gnu.is_some() && self.pax.is_some() {
            return Err(twice());
        }
        match self.size {
            Some(said) if said != size => Err(Why::Damaged(format!("one header says {said} bytes and another {size}"))),
            _ => Ok(()),
        }
    }
}

fn twice() -> Why {
    Why::Damaged("two headers give it two names or sizes".to_owned())
}

/// Somebody may execute it.
fn is_program(header: &Header) -> bool {
    header.mode().is_ok_and(|mode| mode & 0o111 != 0)
}

fn kind_of(kind: u8) -> &'static str {
    match kind {
        b'1' => "a hard link",
        b'2' | b'K' => "a symbolic link",
        b'3' | b'4' => "a device",
        b'6' => "a fifo",
        b'S' => "a sparse file",
        _ => "of a kind that is not known",
    }
}
