//! Tars that nobody should unpack.

use super::Hostile;
use super::tar_maker::{Head, TarMaker, gz, zst};

pub fn all() -> Vec<Hostile> {
    let tar = TarMaker::new;
    let bad = |what, name: &'static str, why, bytes| Hostile { what, file: "evil.tar", name, why, bytes };
    let named = |what, name: &'static [u8], shown: &'static str, why| bad(what, shown, why, tar().file(b"ok", b"x").file(name, b"x").end());
    let linked = |what, kind, target: &[u8], why| bad(what, "out", why, tar().link(b"out", kind, target).file(b"out/x", b"x").end());
    let mut all = vec![
        named("a parent", b"../escape", "../escape", "\"..\""),
        named("a parent inside", b"a/../../escape", "a/../../escape", "\"..\""),
        named("an absolute path", b"/tmp/ostler-escape", "/tmp/ostler-escape", "absolute"),
        named("a network path", b"//host/share/x", "//host/share/x", "absolute"),
        named("a drive", b"C:/escape", "C:/escape", "drive"),
        named("a drive with a backslash", b"c:\\escape", "c:\\\\escape", "drive"),
        named("a UNC path", b"\\\\host\\share", "host", "absolute"),
        named("backslashes", b"a\\..\\..\\escape", "escape", "backslash"),
        named("a trailing dot", b"a./x", "a./x", "dot or a space"),
        named("a trailing space", b"a ", "a ", "dot or a space"),
        named("an empty part", b"a//x", "a//x", "empty part"),
        named("a control character", b"a\x1b[2Jx", "\\u{1b}[2J", "control character"),
        named("no UTF-8", b"\xff\xfe", "\\xff\\xfe", "UTF-8"),
        named("a name twice", b"ok", "ok", "twice"),
        named("a name twice, once with a dot", b"./ok", "./ok", "twice"),
        named("a file as a directory", b"ok/x", "ok/x", "file and a directory"),
        linked("a symbolic link out", b'2', b"..", "symbolic link"),
        linked("a symbolic link to the root", b'2', b"/", "symbolic link"),
        linked("a hard link", b'1', b"/etc/passwd", "hard link"),
        linked("a fifo", b'6', b"", "fifo"),
        linked("a character device", b'3', b"", "device"),
        linked("a block device", b'4', b"", "device"),
        linked("a sparse file of GNU tar", b'S', b"", "sparse"),
        linked("a kind that nobody knows", b'Z', b"", "not known"),
        bad("a directory over a file", "ok", "file and a directory", tar().file(b"ok", b"x").directory(b"ok").end()),
        bad("a file over a directory", "ok", "file and a directory", tar().directory(b"ok/").file(b"ok", b"x").end()),
        bad("a directory twice", "ok/", "twice", tar().directory(b"ok/").directory(b"ok/").end()),
        bad("a directory with data", "d/", "has data", tar().put(&Head::of(b"d/", b'5'), b"x").end()),
        bad("a file that is cut short", "short", "5000 bytes", {
            tar().put(&Head { size: Some(5_000), ..Head::of(b"short", b'0') }, b"x").0
        }),
        bad("a pax name with a parent", "../escape", "\"..\"", tar().pax(b'x', &[("path", b"../escape")]).file(b"ok", b"x").end()),
        bad("a pax name with a NUL", "\\0", "control", tar().pax(b'x', &[("path", b"a\0b")]).file(b"ok", b"x").end()),
        bad("a pax size that differs", "ok", "one header says 512", tar().pax(b'x', &[("size", b"512")]).file(b"ok", &[b'x'; 1_024]).end()),
        bad("a pax size that is no number", "pax", "no number", tar().pax(b'x', &[("size", b"1e3")]).file(b"ok", b"x").end()),
        bad("a pax name twice", "a", "two names", tar().pax(b'x', &[("path", b"a"), ("path", b"b")]).file(b"ok", b"x").end()),
        bad("two pax headers", "a", "two names", tar().pax(b'x', &[("path", b"a")]).pax(b'x', &[("path", b"b")]).file(b"ok", b"x").end()),
        bad("a pax name and a GNU name", "b", "two names", tar().pax(b'x', &[("path", b"a")]).long_name(b"b").file(b"ok", b"x").end()),
        bad("a pax name for all", "pax", "all entries", tar().pax(b'g', &[("path", b"a")]).file(b"ok", b"x").end()),
        bad("a sparse file of pax", "pax", "sparse", tar().pax(b'x', &[("GNU.sparse.major", b"1")]).file(b"ok", b"x").end()),
        bad("a pax link", "out", "symbolic link", tar().pax(b'x', &[("linkpath", b"../..")]).link(b"out", b'2', b"x").end()),
        bad("a malformed pax header", "pax", "malformed", tar().put(&Head::of(b"pax", b'x'), b"99 path=a\n").file(b"ok", b"x").end()),
        bad("a GNU name with a parent", "../escape", "\"..\"", tar().long_name(b"../escape").file(b"ok", b"x").end()),
        bad("a GNU name that is too long", "@LongLink", "header is longer", tar().long_name(&[b'x'; 70_000]).file(b"ok", b"x").end()),
        bad("a path that is too long", "xxxx", "longer than 1024", tar().long_name(&b"xxxxx".repeat(300)).file(b"ok", b"x").end()),
        bad("a path that is too deep", "d/d/d", "directories deep", tar().long_name(&b"d/".repeat(70)).directory(b"ok").end()),
        bad("a header for nothing", "", "belongs to another", tar().file(b"ok", b"x").long_name(b"b").end()),
        bad("a checksum that is wrong", "", "checksum", {
            let mut bytes = tar().file(b"ok", b"x").end();
            bytes[0] = b'X';
            bytes
        }),
        bad("nothing", "", "nothing in it", tar().end()),
        bad("too many entries", "f50", "more than 50 entries", {
            (0..60).fold(tar(), |tar, at| tar.file(format!("f{at}").as_bytes(), b"")).end()
        }),
        bad("too many names", "f", "names in the archive", {
            (0..40).fold(tar(), |tar, at| tar.long_name(format!("f{at}-{}", "x".repeat(200)).as_bytes()).file(b"-", b"")).end()
        }),
    ];
    let zeros = tar().file(b"ok", b"x").file(b"bomb", &vec![0; 900_000]).end();
    let huge = tar().file(b"ok", b"x").file(b"bomb", &vec![1; 1_100_000]).end();
    all.extend([
        Hostile { what: "a bomb in gzip", file: "evil.tar.gz", name: "bomb", why: "times its size", bytes: gz(&zeros) },
        Hostile { what: "a bomb in zstd", file: "evil.tar.zst", name: "bomb", why: "times its size", bytes: zst(&zeros) },
        Hostile { what: "too many bytes", file: "evil.tar", name: "bomb", why: "more than 1000000 bytes", bytes: huge },
        Hostile { what: "a gzip that is none", file: "evil.tar.gz", name: "", why: "another kind", bytes: tar().file(b"ok", b"x").end() },
        Hostile { what: "a gzip that is cut short", file: "evil.tgz", name: "", why: "", bytes: gz(&zeros)[..100].to_vec() },
        Hostile {
            what: "a zstd of a window that is too large",
            file: "evil.tar.zst",
            name: "",
            why: "",
            bytes: {
                let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
                encoder.window_log(27).unwrap();
                std::io::Write::write_all(&mut encoder, &zeros).unwrap();
                encoder.finish().unwrap()
            },
        },
    ]);
    all
}
