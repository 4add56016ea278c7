//! Makes tars, header by header, good ones and others.

use std::io::Write;

/// A tar that is being written.
#[derive(Clone, Debug, Default)]
pub struct TarMaker(pub Vec<u8>);

/// One header.
#[derive(Clone, Debug)]
pub struct Head<'a> {
    pub name: &'a [u8],
    pub kind: u8,
    pub mode: u32,
    /// What it says; the length of the data unless said.
    pub size: Option<u64>,
    pub link: &'a [u8],
}

impl<'a> Head<'a> {
    pub fn of(name: &'a [u8], kind: u8) -> Self {
        Head { name, kind, mode: 0o644, size: None, link: b"" }
    }
}

impl TarMaker {
    pub fn new() -> Self {
        TarMaker::default()
    }

    /// A header with data.
    pub fn put(mut self, head: &Head<'_>, data: &[u8]) -> Self {
        let mut block = [0_u8; 512];
        block[..head.name.len()].copy_from_slice(head.name);
        block[100..107].copy_from_slice(format!("{:07o}", head.mode).as_bytes());
        block[108..115].copy_from_slice(b"0000000");
        block[116..123].copy_from_slice(b"0000000");
        block[124..135].copy_from_slice(format!("{:011o}", head.size.unwrap_or(data.len() as u64)).as_bytes());
        block[136..147].copy_from_slice(b"00000000000");
        block[156] = head.kind;
        block[157..157 + head.link.len()].copy_from_slice(head.link);
        block[257..265].copy_from_slice(b"ustar\x0000");
        block[148..156].copy_from_slice(b"        ");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        self.0.extend_from_slice(&block);
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn file(self, name: &[u8], data: &[u8]) -> Self {
        self.put(&Head::of(name, b'0'), data)
    }

    pub fn program(self, name: &[u8], data: &[u8]) -> Self {
        self.put(&Head { mode: 0o6755, ..Head::of(name, b'0') }, data)
    }

    pub fn directory(self, name: &[u8]) -> Self {
        self.put(&Head::of(name, b'5'), b"")
    }

    pub fn link(self, name: &[u8], kind: u8, target: &[u8]) -> Self {
        self.put(&Head { link: target, ..Head::of(name, kind) }, b"")
    }

    /// A pax header for what follows.
    pub fn pax(self, kind: u8, records: &[(&str, &[u8])]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length != rest + length.to_string().len() {
                length = rest + length.to_string().len();
            }
            write!(data, "{length} {key}=").unwrap();
            data.extend_from_slice(value);
            data.push(b'\n');
        }
        self.put(&Head::of(b"pax", kind), &data)
    }

    /// A name of GNU tar for what follows.
    pub fn long_name(self, name: &[u8]) -> Self {
        self.put(&Head::of(b"././@LongLink", b'L'), &[name, b"\0"].concat())
    }

    /// With its end.
    pub fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1_024, 0);
        self.0
    }
}

pub fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zst(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}
