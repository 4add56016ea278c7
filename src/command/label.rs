//! `ostler label`: what is said of a host, for apps to choose by.

use std::collections::BTreeMap;

use cluster::label::{is_key, parse};
use serde_json::json;

use crate::client::Client;
use crate::command::json_line;
use crate::failure::Usage;
use crate::output::{self, printable};
use crate::view::{self, Node};

/// Set labels of a node, or take them away. What runs stays where it is.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "ostler label [OPTIONS] NODE KEY=VALUE... KEY-...",
    after_help = "\
Examples:
  ostler label web-1 zone=a disk=ssd
  ostler label http://10.0.0.5:9091 disk-

Keys and values have 1 to 63 letters, digits, '.', '_' and '-' (keys '/' too), with a letter or digit at both ends.
A label that is set here wins over the one that the node's agent was started with (--label)."
)]
pub struct Args {
    /// The node: its name, its id, or the URL of its agent
    node: String,
    /// KEY=VALUE sets a label, KEY- takes it away
    #[arg(required = true, value_name = "LABEL")]
    labels: Vec<String>,
    /// Print the node as JSON
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub async fn run(client: &Client, args: Args) -> anyhow::Result<()> {
    let (set, remove) = meant(&args.labels).map_err(Usage)?;
    let call = json!({ "set": set, "remove": remove });
    let body = client.post(&format!("/v1/nodes/{}/labels", segment(&args.node)), call.to_string()).await?.accepted()?;
    if args.json {
        return Ok(output::print_bytes(&json_line(&body))?);
    }
    let node: Node = view::read(client, &body)?;
    let labels = if node.labels.is_empty() { "no labels".to_owned() } else { node.labels() };
    let mut text = format!("{}: {}\n", printable(&node.name), printable(&labels));
    for key in remove.iter().filter(|key| node.labels.contains_key(*key)) {
        text.push_str(&format!("{key} is still there: the agent itself was started with it (--label)\n"));
    }
    Ok(output::print(&text)?)
}

/// What is to be set, and what is to go.
fn meant(words: &[String]) -> Result<(BTreeMap<String, String>, Vec<String>), String> {
    let (mut set, mut remove) = (BTreeMap::new(), Vec::new());
    for word in words {
        let key = match word.strip_suffix('-').filter(|key| is_key(key)) {
            Some(key) => {
                remove.push(key.to_owned());
                key.to_owned()
            }
            None => {
                let (key, value) = parse(word).map_err(|error| format!("{error}; KEY- takes a label away"))?;
                if set.insert(key.clone(), value).is_some() {
                    return Err(format!("label {key} is named twice"));
                }
                key
            }
        };
        if remove.iter().filter(|known| **known == key).count() + usize::from(set.contains_key(&key)) > 1 {
            return Err(format!("label {key} is named twice"));
        }
    }
    Ok((set, remove))
}

/// A text as one segment of a path (RFC 3986 section 2.1).
fn segment(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn a_word_sets_a_label_or_takes_it_away() {
        let (set, remove) = meant(&words("zone=a disk- example.com/rack=r-1")).unwrap();
        assert_eq!(set, BTreeMap::from([("zone".to_owned(), "a".to_owned()), ("example.com/rack".to_owned(), "r-1".to_owned())]));
        assert_eq!(remove, ["disk"]);
    }

    #[test]
    fn what_is_no_label_or_comes_twice_is_refused() {
        for text in ["zone", "zone=", "=a", "-", "zone=a-", "zone=a zone=b", "zone=a zone-", "zone- zone=a", "zone- zone-", "a b=c"] {
            assert!(meant(&words(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn a_node_is_one_segment_of_the_path() {
        assert_eq!(segment("http://a:1"), "http%3A%2F%2Fa%3A1");
        assert_eq!(segment("Web 1/\u{e4}.x"), "Web%201%2F%C3%A4%2Ex");
    }
}
