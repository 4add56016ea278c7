//! Makes zips, member by member, good ones and others.

use std::io::Write;

/// One member, as the two headers of it shall be.
#[derive(Clone, Debug)]
pub struct Part {
    pub name: Vec<u8>,
    /// What its own header calls it.
    pub local_name: Vec<u8>,
    pub flags: u16,
    pub method: u16,
    pub crc: u32,
    /// What is in the file.
    pub data: Vec<u8>,
    pub packed: u32,
    pub unpacked: u32,
    /// What its own header says.
    pub local_unpacked: u32,
    /// Type and permissions of Unix.
    pub mode: u32,
    /// Where it is said to lie, if not where it does.
    pub offset: Option<u32>,
    pub extra: Vec<u8>,
}

impl Part {
    pub fn deflated(name: &[u8], content: &[u8]) -> Self {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(content).unwrap();
        Part { method: 8, ..Part::with(name, encoder.finish().unwrap(), content) }
    }

    pub fn stored(name: &[u8], content: &[u8]) -> Self {
        Part::with(name, content.to_vec(), content)
    }

    fn with(name: &[u8], data: Vec<u8>, content: &[u8]) -> Self {
        let mut crc = flate2::Crc::new();
        crc.update(content);
        let length = content.len() as u32;
        Part {
            name: name.to_vec(),
            local_name: name.to_vec(),
            flags: 0,
            method: 0,
            crc: crc.sum(),
            packed: data.len() as u32,
            data,
            unpacked: length,
            local_unpacked: length,
            mode: 0,
            offset: None,
            extra: vec![],
        }
    }
}

/// An archive of these, with that many entries said to be in it.
pub fn zip_saying(parts: &[Part], entries: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut directory = Vec::new();
    for part in parts {
        let offset = bytes.len() as u32;
        bytes.extend(0x0403_4b50_u32.to_le_bytes());
        bytes.extend([20_u16, part.flags, part.method, 0, 0].iter().flat_map(|n| n.to_le_bytes()));
        bytes.extend([part.crc, part.packed, part.local_unpacked].iter().flat_map(|n| n.to_le_bytes()));
        bytes.extend([part.local_name.len() as u16, 0].iter().flat_map(|n| n.to_le_bytes()));
        bytes.extend_from_slice(&part.local_name);
        bytes.extend_from_slice(&part.data);
        directory.extend(0x0201_4b50_u32.to_le_bytes());
        directory.extend([3 << 8 | 20, 20, part.flags, part.method, 0, 0].iter().flat_map(|n: &u16| n.to_le_bytes()));
        directory.extend([part.crc, part.packed, part.unpacked].iter().flat_map(|n| n.to_le_bytes()));
        directory.extend([part.name.len() as u16, part.extra.len() as u16, 0, 0, 0].iter().flat_map(|n| n.to_le_bytes()));
        directory.extend([part.mode << 16, part.offset.unwrap_or(offset)].iter().flat_map(|n| n.to_le_bytes()));
        directory.extend_from_slice(&part.name);
        directory.extend_from_slice(&part.extra);
    }
    let begins = bytes.len() as u32;
    bytes.extend_from_slice(&directory);
    bytes.extend(0x0605_4b50_u32.to_le_bytes());
    bytes.extend([0, 0, entries, entries].iter().flat_map(|n: &u16| n.to_le_bytes()));
    bytes.extend([directory.len() as u32, begins].iter().flat_map(|n| n.to_le_bytes()));
    bytes.extend(0_u16.to_le_bytes());
    bytes
}

pub fn zip(parts: &[Part]) -> Vec<u8> {
    zip_saying(parts, parts.len() as u16)
}
