//! Reading a zip (PKWARE APPNOTE 6.3): its directory at the end decides, and every local header must agree with it.
//!
//! Written here because a reader for all zips is too kind: it takes the last of two entries of one name, looks for a directory that
//! other readers do not find, and lets entries overlap, so that one byte is unpacked a million times. Stored and deflated members only.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use flate2::CrcReader;
use flate2::bufread::DeflateDecoder;

use super::bounds::Bounds;
use super::unpack::{Error, Unpacking, Why};
use super::zip_directory::{self, Member, STORED, u16_at, u32_at};

const LOCAL_HEADER: u32 = 0x0403_4b50;
const LOCAL_BYTES: usize = 30;
/// Sizes and checksum follow the data.
const FLAG_SIZES_FOLLOW: u16 = 1 << 3;

/// Unpacks a file.
pub fn read(file: &mut File, bounds: Bounds, into: &mut Unpacking<'_>) -> Result<(), Error> {
    let directory = zip_directory::read(file, bounds)?;
    // Where the data of each lies: no byte belongs to two of them.
    let mut spans = Vec::new();
    for (at, member) in directory.members().enumerate() {
        let member = member?;
        into.header(member.name)?;
        if let Some(why) = member.refusal() {
            return Err(Error::entry(member.name, why));
        }
        let data = local(file, &member)?;
        let end = data.checked_add(member.packed).filter(|end| *end <= directory.begins);
        let end = end.ok_or_else(|| damaged(&member, "its data lies outside of the archive"))?;
        spans.push((member.offset, end, at));
    }
    spans.sort_unstable();
    if let Some(pair) = spans.windows(2).find(|pair| pair[1].0 < pair[0].1) {
        let member = directory.members().nth(pair[1].2).ok_or_else(|| zip_directory::broken("an entry is gone"))??;
        return Err(damaged(&member, "its data overlaps that of another"));
    }
    drop(spans);
    for member in directory.members() {
        let member = member?;
        if member.is_directory() {
            into.directory(member.name)?;
        } else {
            extract(file, &member, into)?;
        }
    }
    Ok(())
}

fn damaged(member: &Member<'_>, why: &str) -> Error {
    Error::entry(member.name, Why::Damaged(why.to_owned()))
}

/// Where the data of a member begins, if its local header says what the directory says.
fn local(file: &mut File, member: &Member<'_>) -> Result<u64, Error> {
    let mut header = [0; LOCAL_BYTES];
    let mut name = vec![0; member.name.len()];
    let outside = |_| damaged(member, "its data lies outside of the archive");
    file.seek(SeekFrom::Start(member.offset)).map_err(outside)?;
    file.read_exact(&mut header).map_err(outside)?;
    if u32_at(&header, 0) != LOCAL_HEADER {
        return Err(damaged(member, "there is no header where it should be"));
    }
    if usize::from(u16_at(&header, 26)) != name.len() {
        return Err(damaged(member, "it has another name in its own header"));
    }
    file.read_exact(&mut name).map_err(outside)?;
    if name != member.name {
        return Err(damaged(member, "it has another name in its own header"));
    }
    let flags = u16_at(&header, 6);
    if flags != member.flags || u16_at(&header, 8) != member.method {
        return Err(damaged(member, "its own header has other flags, or another method"));
    }
    let agrees = |at: usize, said: u64| {
        let own = u32_at(&header, at);
        own == u32::MAX || u64::from(own) == said || (own == 0 && flags & FLAG_SIZES_FOLLOW != 0)
    };
    if !agrees(18, member.packed) || !agrees(22, member.unpacked) {
        let found = u64::from(u32_at(&header, 22));
        return Err(Error::entry(member.name, Why::Size { said: member.unpacked, found }));
    }
    Ok(member.offset + (LOCAL_BYTES + name.len()) as u64 + u64::from(u16_at(&header, 28)))
}

fn extract(file: &mut File, member: &Member<'_>, into: &mut Unpacking<'_>) -> Result<(), Error> {
    let data = local(file, member)?;
    file.seek(SeekFrom::Start(data))?;
    let packed = std::io::BufReader::with_capacity(64 * 1024, file.take(member.packed));
    let (sum, used) = if member.method == STORED {
        let mut content = CrcReader::new(packed);
        into.file(member.name, member.is_program(), member.unpacked, &mut content)?;
        (content.crc().sum(), member.unpacked)
    } else {
        let mut content = CrcReader::new(DeflateDecoder::new(packed));
        into.file(member.name, member.is_program(), member.unpacked, &mut content)?;
        (content.crc().sum(), content.into_inner().total_in())
    };
    if used != member.packed {
        return Err(Error::entry(member.name, Why::Damaged(format!("its data has {} bytes, and it uses {used}", member.packed))));
    }
    if sum != member.crc { Err(damaged(member, "its checksum is wrong")) } else { Ok(()) }
}
