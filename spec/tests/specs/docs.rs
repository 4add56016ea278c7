//! The specs in the docs can be taken.

use std::path::Path;

use spec::{Format, parse};

use crate::with;

/// Adds what must be there and is not.
fn whole(block: &str) -> String {
    if block.contains("name = ") {
        return block.to_owned();
    }
    if block.contains("command = ") {
        return format!("name = \"shop\"\n{block}");
    }
    with(block)
}

#[test]
fn every_spec_in_the_docs_is_taken() {
    let mut count = 0;
    for file in ["write-a-spec.md", "health.md", "limits.md", "logs.md"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        for block in text.split("```toml\n").skip(1) {
            let block = block.split("```").next().unwrap();
            if let Err(error) = parse(whole(block).as_bytes(), file, Format::Toml) {
                panic!("{block}{}", error.report());
            }
            count += 1;
        }
    }
    assert!(count >= 10, "{count}");
}
