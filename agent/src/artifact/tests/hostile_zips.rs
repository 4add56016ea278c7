//! Zips that nobody should unpack.

use super::Hostile;
use super::zip_maker::{Part, zip, zip_saying};

pub fn all() -> Vec<Hostile> {
    let bad = |what, name: &'static str, why, parts: &[Part]| Hostile { what, file: "evil.zip", name, why, bytes: zip(parts) };
    let raw = |what, name: &'static str, why, bytes| Hostile { what, file: "evil.zip", name, why, bytes };
    let ok = || Part::deflated(b"ok", b"content");
    let named = |what, name: &[u8], shown, why| bad(what, shown, why, &[ok(), Part::deflated(name, b"x")]);
    let moded = |what, mode, why| bad(what, "odd", why, &[Part { mode, ..Part::stored(b"odd", b"../..") }]);
    vec![
        named("a parent", b"../escape", "../escape", "\"..\""),
        named("an absolute path", b"/escape", "/escape", "absolute"),
        named("a drive", b"D:/escape", "D:/escape", "drive"),
        named("backslashes", b"..\\escape", "escape", "backslash"),
        named("a NUL", b"a\0/../x", "\\0", "control"),
        named("a name twice", b"ok", "ok", "twice"),
        named("a file as a directory", b"ok/x", "ok/x", "file and a directory"),
        moded("a symbolic link", 0o120_777, "symbolic link"),
        moded("a fifo", 0o010_644, "fifo"),
        moded("a device", 0o020_644, "device"),
        moded("a socket", 0o140_644, "socket"),
        moded("a directory that says file", 0o040_755, "file and a directory"),
        bad("a directory with data", "d/", "has data", &[Part::stored(b"d/", b"x")]),
        bad("a size that is too small", "lie", "it has", &[Part { unpacked: 3, local_unpacked: 3, ..Part::deflated(b"lie", b"content") }]),
        bad(
            "a size that is too large",
            "lie",
            "it has 7",
            &[Part { unpacked: 9, local_unpacked: 9, ..Part::deflated(b"lie", b"content") }],
        ),
        bad("two sizes", "lie", "it has", &[Part { local_unpacked: 9, ..Part::deflated(b"lie", b"content") }]),
        bad(
            "a stored size that differs",
            "lie",
            "it has 7",
            &[Part { unpacked: 9, local_unpacked: 9, ..Part::stored(b"lie", b"content") }],
        ),
        bad(
            "data after the data",
            "lie",
            "and it uses",
            &[{
                let mut part = ok();
                part.data.extend(b"more");
                part.packed += 4;
                Part { name: b"lie".to_vec(), local_name: b"lie".to_vec(), ..part }
            }],
        ),
        bad("a checksum that is wrong", "lie", "checksum", &[Part { crc: 1, ..Part::deflated(b"lie", b"content") }]),
        bad("two names", "seen", "another name", &[Part { local_name: b"real".to_vec(), ..Part::deflated(b"seen", b"x") }]),
        bad("an encrypted member", "secret", "encrypted", &[Part { flags: 1, ..Part::stored(b"secret", b"x") }]),
        bad("a method that is not known", "odd", "method 14", &[Part { method: 14, ..Part::stored(b"odd", b"x") }]),
        bad(
            "data of another",
            "two",
            "another name",
            &[Part::deflated(b"one", b"x"), Part { offset: Some(0), ..Part::deflated(b"two", b"x") }],
        ),
        bad("data outside", "far", "outside", &[Part { offset: Some(1 << 30), ..Part::deflated(b"far", b"x") }]),
        bad("data that overlaps", "ok", "overlaps", &[ok(), Part { offset: Some(0), ..ok() }]),
        bad("data that is no deflate", "odd", "cannot be read", &[Part { method: 8, ..Part::stored(b"odd", b"\xff\xff\xff\xff") }]),
        bad("a bomb", "bomb", "times its size", &[Part::deflated(b"bomb", &vec![0; 900_000])]),
        bad("too many bytes", "bomb", "more than 1000000 bytes", &[Part::stored(b"bomb", &vec![1; 1_100_000])]),
        raw("a directory that is cut short", "", "cut short", zip_saying(&[ok()], 2)),
        raw("a directory with more than it says", "", "more than it says", zip_saying(&[ok(), Part::stored(b"b", b"x")], 1)),
        raw("too many entries", "", "too much", zip(&(0..60).map(|at| Part::stored(format!("f{at}").as_bytes(), b"")).collect::<Vec<_>>())),
        raw("something before it", "", "another kind", [b"#!/bin/sh\n".to_vec(), zip(&[ok()])].concat()),
        raw("something between", "", "does not lie where", {
            let mut bytes = zip(&[ok()]);
            bytes.splice(60..60, *b"between");
            bytes
        }),
        raw("no end", "", "no directory", zip(&[ok()])[..60].to_vec()),
        raw("a zip64 end that is not there", "", "", {
            let mut bytes = zip(&[ok()]);
            let at = bytes.len() - 6;
            bytes[at..at + 4].copy_from_slice(&[0xff; 4]);
            bytes
        }),
    ]
}
