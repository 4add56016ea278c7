//! How an artifact is packed. Its name decides, so that it is known before the first byte; the bytes must agree.

/// A way to pack an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// It is a program, not packed.
    File,
    /// `.tar`
    Tar,
    /// `.tar.gz`, `.tgz`
    TarGz,
    /// `.tar.zst`, `.tzst`
    TarZst,
    /// `.zip`
    Zip,
}

impl Format {
    /// What a file of that name is.
    pub fn of_name(name: &str) -> Self {
        let name = name.to_ascii_lowercase();
        let endings = [
            (".tar", Format::Tar),
            (".tar.gz", Format::TarGz),
            (".tgz", Format::TarGz),
            (".tar.zst", Format::TarZst),
            (".tzst", Format::TarZst),
            (".zip", Format::Zip),
        ];
        endings.into_iter().find(|(ending, _)| name.ends_with(ending)).map_or(Format::File, |(_, format)| format)
    }

    /// What it is called.
    pub fn word(self) -> &'static str {
        match self {
            Format::File => "file",
            Format::Tar => "tar",
            Format::TarGz => "tar.gz",
            Format::TarZst => "tar.zst",
            Format::Zip => "zip",
        }
    }

    /// Whether it may begin with these bytes; a tar shows what it is in its 257th byte and later (POSIX pax, ustar), or not at all.
    pub fn may_begin_with(self, bytes: &[u8]) -> bool {
        match self {
            Format::File | Format::Tar => true,
            Format::TarGz => bytes.starts_with(&[0x1f, 0x8b]),
            Format::TarZst => bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) || bytes.get(1..4) == Some(&[0x2a, 0x4d, 0x18]),
            Format::Zip => bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_name_decides() {
        for (name, format) in [
            ("web.tar", Format::Tar),
            ("web-1.2.tar.gz", Format::TarGz),
            ("WEB.TGZ", Format::TarGz),
            ("web.tar.zst", Format::TarZst),
            ("web.zip", Format::Zip),
            ("web", Format::File),
            ("web.jar", Format::File),
            ("web.gz", Format::File),
            ("zip", Format::File),
        ] {
            assert_eq!(Format::of_name(name), format, "{name}");
        }
    }
}
