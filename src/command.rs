//! The operator's commands: one verb, one file, one call.

pub mod add_node;
pub mod apply;
pub mod apps;
pub mod delete;
pub mod diff;
pub mod label;
pub mod logs;
pub mod nodes;
pub mod remove_node;
pub mod scale;
pub mod schema;
pub mod spec_files;
pub mod status;
pub mod validate;
mod wide;

/// The body of an answer as `--json` prints it: as it came, its line ended.
fn json_line(body: &[u8]) -> Vec<u8> {
    let mut line = body.trim_ascii_end().to_vec();
    line.push(b'\n');
    line
}
