//! Labels of nodes.

use axum::extract::{Request, State};
use cluster::label::{LABELS_MAX, is_key, is_value};
use cluster::status::NodeStatus;
use cluster::{Member, NodeId, NodeUrl};

use super::calls::Label;
use super::json::Json;
use super::nodes::asked_by;
use super::problem::Problem;
use super::segment::Segment;
use super::view::Node;
use super::{Api, body};
use crate::store::{self, Change};

/// Sets and removes labels of a node.
///
/// They count for what is placed from now on; what runs stays where it is.
#[utoipa::path(post, path = "/v1/nodes/{node}/labels",
    params(("node" = String, Path, description = "The node's id, its name, or the URL of its agent with percent-encoding")),
    request_body = Label, tag = "nodes", responses(
    (status = 200, description = "The node as it is now", body = Node),
    (status = 400, description = "Not a label, or too many", body = Problem),
    (status = 404, description = "There is no such node", body = Problem),
    (status = 503, description = "The store cannot be written", body = Problem),
))]
pub async fn label(State(api): State<Api>, Segment(node): Segment, request: Request) -> Result<Json<Node>, Problem> {
    let by = asked_by(&request);
    let call: Label = body::json(request).await?;
    check(&call)?;
    let id = find(&api.control.status().await?.nodes, &node)?;
    store::update(&*api.store, |desired| {
        let gone = || Problem::not_found(format!("the node {node} was removed in the meantime"));
        let before = desired.members.get(&id).ok_or_else(gone)?;
        let mut member = before.clone();
        member.labels.extend(call.set.clone());
        member.labels.retain(|key, _| !call.remove.contains(key));
        let count = member.labels.len();
        if count > LABELS_MAX {
            return Err(Problem::bad_request(format!("the node would have {count} labels, and may have {LABELS_MAX}; remove some")));
        }
        let mut change = Change::default();
        if member != *before {
            tracing::info!("labels of {}: {}{by}", member.url, shown(&member));
            change.put_members.push(member);
        }
        Ok((change, ()))
    })
    .await?;
    let after = api.control.status().await?.nodes.into_iter().find(|node| node.id == id);
    after.map(|node| Json(node.into())).ok_or_else(|| Problem::not_found(format!("the node {node} was removed in the meantime")))
}

fn shown(member: &Member) -> String {
    let labels: Vec<String> = member.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if labels.is_empty() { "none are set".to_owned() } else { labels.join(", ") }
}

fn check(call: &Label) -> Result<(), Problem> {
    let cut = |text: &str| text.chars().take(80).collect::<String>();
    let rule = "1 to 63 letters, digits, '.', '_' and '-', with a letter or digit at both ends";
    for (key, value) in &call.set {
        if !is_key(key) {
            return Err(Problem::bad_request(format!("\"{}\" cannot be the key of a label: use {rule}; '/' may be in it too", cut(key))));
        }
        if !is_value(value) {
            return Err(Problem::bad_request(format!("\"{}\" cannot be the value of label {key}: use {rule}", cut(value))));
        }
        if call.remove.contains(key) {
            return Err(Problem::bad_request(format!("label {key} is to be set and removed; say one of the two")));
        }
    }
    if call.set.is_empty() && call.remove.is_empty() {
        return Err(Problem::bad_request("neither \"set\" nor \"remove\" names a label"));
    }
    Ok(())
}

/// The node that is meant: by its id, its URL, or its name.
fn find(nodes: &[NodeStatus], text: &str) -> Result<NodeId, Problem> {
    let url: Option<NodeUrl> = text.parse().ok();
    let known = nodes.iter().find(|node| node.id.to_string() == text || url.as_ref() == Some(&node.url));
    let mut named = nodes.iter().filter(|node| node.name == text);
    let named = || match (named.next(), named.next()) {
        (Some(node), None) => Ok(node.id),
        (Some(_), Some(_)) => Err(Problem::bad_request(format!("several nodes are called {text}; say the URL of the one that is meant"))),
        (None, _) => Err(Problem::not_found(format!("there is no node \"{text}\"; GET /v1/nodes lists them"))),
    };
    known.map(|node| node.id).map_or_else(named, Ok)
}
