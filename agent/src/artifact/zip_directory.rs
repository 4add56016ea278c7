//! The directory of a zip: what is in it, and where.
//!
//! There is one place for it: it ends where the record at the end begins, and that ends with the file. Zip64 is read, archives in
//! several files are not.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use super::bounds::Bounds;
use super::unpack::{Error, Why};

/// The method of data that is not packed.
pub const STORED: u16 = 0;
const DEFLATED: u16 = 8;

const END: u32 = 0x0605_4b50;
const END_BYTES: usize = 22;
const COMMENT_BYTES_MAX: usize = 65_535;
const LOCATOR: u32 = 0x0706_4b50;
const LOCATOR_BYTES: u64 = 20;
const END_64: u32 = 0x0606_4b50;
const END_64_BYTES: usize = 56;
const MEMBER: u32 = 0x0201_4b50;
const MEMBER_BYTES: usize = 46;
/// It is held in memory.
const DIRECTORY_BYTES_MAX: u64 = 16 << 20;
/// The kind of extra field that holds what 32 bits do not.
const EXTRA_64: u16 = 1;
/// Encrypted, strongly encrypted, or with an encrypted directory.
const FLAGS_ENCRYPTED: u16 = 1 | 1 << 6 | 1 << 13;
/// Systems whose members have a Unix mode: Unix and macOS.
const UNIX: [u16; 2] = [3, 19];

/// The directory.
#[derive(Debug)]
pub struct Directory {
    bytes: Vec<u8>,
    entries: u64,
    /// Where it begins: all data lies before it.
    pub begins: u64,
}

/// What it says of one member.
#[derive(Debug)]
pub struct Member<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// Its flags.
    pub flags: u16,
    /// How it is packed.
    pub method: u16,
    /// The CRC-32 of its content.
    pub crc: u32,
    /// Bytes of its data.
    pub packed: u64,
    /// Bytes of its content.
    pub unpacked: u64,
    /// Where its own header begins.
    pub offset: u64,
    /// Type and permissions as Unix has them; 0 where they are not known.
    mode: u32,
}

/// What is wrong with the whole.
pub fn broken(why: &str) -> Error {
    Error::Archive { format: "zip", why: why.to_owned() }
}

/// A number of two bytes; 0 where there are none.
pub fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |two| u16::from_le_bytes([two[0], two[1]]))
}

/// A number of four bytes; 0 where there are none.
pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

fn read_at(file: &mut File, at: u64, bytes: usize) -> std::io::Result<Vec<u8>> {
    let mut buffer = vec![0; bytes];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut buffer)?;
    Ok(buffer)
}

/// Reads it.
pub fn read(file: &mut File, bounds: Bounds) -> Result<Directory, Error> {
    let length = file.metadata()?.len();
    let tail_bytes = length.min((END_BYTES + COMMENT_BYTES_MAX) as u64);
    let tail = read_at(file, length - tail_bytes, usize::try_from(tail_bytes).unwrap_or(0))?;
    let is_end = |at: &usize| u32_at(&tail, *at) == END && at + END_BYTES + usize::from(u16_at(&tail, at + 20)) == tail.len();
    let at = (0..=tail.len().saturating_sub(END_BYTES)).rev().find(is_end).ok_or_else(|| broken("there is no directory at its end"))?;
    let end = &tail[at..];
    let mut before = length - tail_bytes + at as u64;
    let (mut entries, mut bytes, mut begins) = (u64::from(u16_at(end, 10)), u64::from(u32_at(end, 12)), u64::from(u32_at(end, 16)));
    if u16_at(end, 4) != 0 || u16_at(end, 6) != 0 || u16_at(end, 8) != u16_at(end, 10) {
        return Err(broken("it is one of several files"));
    }
    if entries == u64::from(u16::MAX) || bytes == u64::from(u32::MAX) || begins == u64::from(u32::MAX) {
        let place = before.checked_sub(LOCATOR_BYTES).ok_or_else(|| broken("its end says zip64, and there is none"))?;
        let locator = read_at(file, place, LOCATOR_BYTES as usize)?;
        let end_64 = u64_at(&locator, 8);
        if u32_at(&locator, 0) == LOCATOR {
            if end_64.checked_add(END_64_BYTES as u64) != Some(place) {
                return Err(broken("its zip64 end is not where it should be"));
            }
            let end = read_at(file, end_64, END_64_BYTES)?;
            if u32_at(&end, 0) != END_64 || u32_at(&end, 16) != 0 || u32_at(&end, 20) != 0 || u64_at(&end, 24) != u64_at(&end, 32) {
                return Err(broken("its zip64 end is malformed"));
            }
            (entries, bytes, begins, before) = (u64_at(&end, 32), u64_at(&end, 40), u64_at(&end, 48), end_64);
        }
    }
    if begins.checked_add(bytes) != Some(before) {
        return Err(broken("its directory does not lie where its end says"));
    }
    if bytes > DIRECTORY_BYTES_MAX || entries > bounds.entries {
        return Err(broken(&format!("its directory has {entries} entries and {bytes} bytes, which is too much")));
    }
    let bytes = read_at(file, begins, usize::try_from(bytes).unwrap_or(0))?;
    Ok(Directory { bytes, entries, begins })
}

impl Directory {
    /// What is in it. An error is the last.
    pub fn members(&self) -> impl Iterator<Item = Result<Member<'_>, Error>> {
        let mut rest = self.bytes.as_slice();
        let mut left = Some(self.entries);
        std::iter::from_fn(move || {
            let count = left?;
            if count == 0 {
                left = None;
                return (!rest.is_empty()).then(|| Err(broken("its directory has more than it says")));
            }
            let taken = take(&mut rest);
            left = taken.is_ok().then(|| count - 1);
            Some(taken)
        })
    }
}

fn take<'a>(rest: &mut &'a [u8]) -> Result<Member<'a>, Error> {
    let short = || broken("its directory is cut short");
    let (head, after) = rest.split_at_checked(MEMBER_BYTES).ok_or_else(short)?;
    if u32_at(head, 0) != MEMBER {
        return Err(broken("its directory is malformed"));
    }
    let (name, after) = after.split_at_checked(usize::from(u16_at(head, 28))).ok_or_else(short)?;
    let (extra, after) = after.split_at_checked(usize::from(u16_at(head, 30))).ok_or_else(short)?;
    let (_comment, after) = after.split_at_checked(usize::from(u16_at(head, 32))).ok_or_else(short)?;
    *rest = after;
    let has_mode = UNIX.contains(&(u16_at(head, 4) >> 8));
    let mut large = large_of(extra);
    // In this order, and only those that do not fit (APPNOTE 4.5.3).
    let mut wide = |at: usize| -> Result<u64, Error> {
        match u32_at(head, at) {
            u32::MAX => {
                let (value, after) =
                    large.split_at_checked(8).ok_or_else(|| Error::entry(name, Why::Damaged("its size is not told".to_owned())))?;
                large = after;
                Ok(u64_at(value, 0))
            }
            fits => Ok(u64::from(fits)),
        }
    };
    let (unpacked, packed, offset) = (wide(24)?, wide(20)?, wide(42)?);
    if u16_at(head, 34) != 0 {
        return Err(Error::entry(name, Why::Damaged("it lies in another file".to_owned())));
    }
    let mode = if has_mode { u32_at(head, 38) >> 16 } else { 0 };
    Ok(Member { name, flags: u16_at(head, 8), method: u16_at(head, 10), crc: u32_at(head, 16), packed, unpacked, offset, mode })
}

/// The extra field with what 32 bits do not hold; empty where there is none.
fn large_of(mut extra: &[u8]) -> &[u8] {
    while extra.len() >= 4 {
        let Some((field, after)) = extra[4..].split_at_checked(usize::from(u16_at(extra, 2))) else { return &[] };
        if u16_at(extra, 0) == EXTRA_64 {
            return field;
        }
        extra = after;
    }
    &[]
}

impl Member<'_> {
    /// A directory.
    pub fn is_directory(&self) -> bool {
        self.name.ends_with(b"/")
    }

    /// Somebody may execute it.
    pub fn is_program(&self) -> bool {
        self.mode & 0o111 != 0
    }

    /// Why it is not unpacked, whatever its data is.
    pub fn refusal(&self) -> Option<Why> {
        if self.flags & FLAGS_ENCRYPTED != 0 {
            return Some(Why::Damaged("it is encrypted".to_owned()));
        }
        match self.mode & 0o170_000 {
            0 => {}
            0o100_000 if !self.is_directory() => {}
            0o040_000 if self.is_directory() => {}
            0o100_000 | 0o040_000 => return Some(Why::Conflict),
            0o120_000 => return Some(Why::Kind("a symbolic link")),
            0o020_000 | 0o060_000 => return Some(Why::Kind("a device")),
            0o010_000 => return Some(Why::Kind("a fifo")),
            0o140_000 => return Some(Why::Kind("a socket")),
            _ => return Some(Why::Kind("of a kind that is not known")),
        }
        if self.is_directory() && self.unpacked > 0 {
            return Some(Why::Damaged("it is a directory that has data".to_owned()));
        }
        if self.method == STORED && self.packed != self.unpacked {
            return Some(Why::Size { said: self.unpacked, found: self.packed });
        }
        let is_known = matches!(self.method, STORED | DEFLATED);
        (!is_known).then(|| Why::Damaged(format!("it is packed by method {}; only stored and deflated files are unpacked", self.method)))
    }
}
