//! `ostler diff`: what applying specs would change.

use std::path::PathBuf;

use cluster::App;
use http::StatusCode;

use crate::client::Client;
use crate::command::{apply, spec_files};
use crate::output;
use crate::view::{self, Applied};

/// Two texts of more lines than these, one by the other, are shown whole.
const CELLS_MAX: usize = 4_000_000;

/// Show what applying specs would change, and what it would restart. Changes nothing.
///
/// Exit codes: 0 nothing would change, 1 something would, 2 it cannot be said, or would be refused.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files, and directories of which all *.toml are compared; \"-\" is stdin
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Runs it. Returns whether something would change.
pub async fn run(client: &Client, args: Args) -> anyhow::Result<bool> {
    let mut differs = false;
    for (_, app) in spec_files::apps(&args.files)? {
        let applied: Applied = view::read(client, &apply::put(client, &app, "?dry_run=true").await?)?;
        if applied.change == "unchanged" {
            continue;
        }
        differs = true;
        let before = in_force(client, &app).await?;
        let old = before.as_ref().map(spec::render).unwrap_or_default();
        let what = match (applied.change.as_str(), applied.restarts) {
            ("created", _) => format!("would be made, with {} replicas", app.replicas),
            (_, true) => "would change: its replicas would be replaced one after another".to_owned(),
            _ => "would change: nothing would be restarted".to_owned(),
        };
        output::print(&format!("{} {what}\n{}", app.name, lines(&old, &spec::render(&app))))?;
    }
    Ok(differs)
}

/// The app as its spec in force says.
async fn in_force(client: &Client, app: &App) -> anyhow::Result<Option<App>> {
    let answer = client.get(&format!("/v1/apps/{}/spec", app.name)).await?;
    if answer.status == StatusCode::NOT_FOUND {
        return Ok(None);
    }
    Ok(Some(spec::parse(&answer.accepted()?, &format!("the spec of {}", app.name), spec::Format::Json)?))
}

/// The lines of both: those that go with a `-`, those that come with a `+`.
fn lines(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let mut text = String::new();
    let mut say = |mark: char, line: &str| text.push_str(&format!("{mark} {}\n", output::printable(line)));
    if old.len().saturating_mul(new.len()) > CELLS_MAX {
        old.iter().for_each(|line| say('-', line));
        new.iter().for_each(|line| say('+', line));
        return text;
    }
    // The longest common subsequence, by the lengths of those of all ends.
    let width = new.len() + 1;
    let mut common = vec![0_u32; (old.len() + 1) * width];
    for (i, one) in old.iter().enumerate().rev() {
        for (j, other) in new.iter().enumerate().rev() {
            let at = i * width + j;
            common[at] = if one == other { common[at + width + 1] + 1 } else { common[at + width].max(common[at + 1]) };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < old.len() || j < new.len() {
        let at = i * width + j;
        if i < old.len() && j < new.len() && old[i] == new[j] {
            say(' ', old[i]);
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || (i < old.len() && common[at + width] >= common[at + 1]) {
            say('-', old[i]);
            i += 1;
        } else {
            say('+', new[j]);
            j += 1;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_go_and_come_are_marked() {
        assert_eq!(lines("a\nb\nc\n", "a\nx\nc\nd\n"), "  a\n- b\n+ x\n  c\n+ d\n");
        assert_eq!(lines("", "a\n"), "+ a\n");
        assert_eq!(lines("a\n", ""), "- a\n");
        assert_eq!(lines("a\n", "a\n"), "  a\n");
    }
}
