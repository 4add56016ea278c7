//! Adding and removing nodes.

use axum::extract::{Request, State};
use cluster::Member;
use cluster::{IdSource, NodeId, NodeUrl};

use super::body;
use super::calls::{AddNode, RemoveNode};
use super::json::Json;
use super::problem::Problem;
use super::view::{Node, State as NodeState};
use super::{Api, Peer};
use crate::ids::UuidSource;
use crate::store::{self, Change};

/// Adds the node whose agent is at a URL.
///
/// Again and again the same: a node that is there already is answered as it is. One whose agent does not answer is registered all
/// the same, and shown as what it is.
#[utoipa::path(post, path = "/add-node", request_body = AddNode, tag = "nodes", responses(
    (status = 200, description = "The node, after its first dial or a second of waiting", body = Node),
    (status = 400, description = "Not the URL of an agent", body = Problem),
    (status = 503, description = "The store cannot be written", body = Problem),
))]
pub async fn add(State(api): State<Api>, request: Request) -> Result<Json<Node>, Problem> {
    let by = asked_by(&request);
    let call: AddNode = body::json(request).await?;
    let url = parse(&call.url)?;
    if api.ourselves.are_at(&url).await {
        return Err(Problem::bad_request(format!(
            "{url} is this controller itself; give the URL of an agent, such as http://localhost:9091"
        )));
    }
    let fresh = NodeId(UuidSource.next_id());
    let id = store::update(&*api.store, |desired| {
        let known = desired.members.values().find(|member| member.url == url);
        let before = known.cloned().unwrap_or_else(|| Member::new(fresh, url.clone()));
        let member = Member { take_over: call.take_over, removed: false, ..before };
        let id = member.id;
        let mut change = Change::default();
        if known != Some(&member) {
            // Before it is written, so that the log tells the wish before what comes of it.
            tracing::info!("node {url} is to be added{by}");
            change.put_members.push(member);
        }
        Ok::<_, store::Error>((change, id))
    })
    .await?;
    let gone = || Problem::not_found(format!("the node {url} was removed while it was being added; add it again"));
    Ok(Json(api.control.settled(id).await?.ok_or_else(gone)?.into()))
}

/// Removes a node: its replicas are replaced elsewhere before it stops them.
///
/// A node that is lost stays in the list until it has been told to stop what it may still run.
#[utoipa::path(post, path = "/remove-node", request_body = RemoveNode, tag = "nodes", responses(
    (status = 200, description = "The node as it is now", body = Node),
    (status = 400, description = "Not the URL of an agent", body = Problem),
    (status = 404, description = "No node has this URL", body = Problem),
    (status = 503, description = "The store cannot be written", body = Problem),
))]
pub async fn remove(State(api): State<Api>, request: Request) -> Result<Json<Node>, Problem> {
    let by = asked_by(&request);
    let call: RemoveNode = body::json(request).await?;
    let url = parse(&call.url)?;
    let before = api.control.status().await?.nodes.into_iter().find(|node| node.url == url);
    let id = store::update(&*api.store, |desired| {
        let known = desired.members.values().find(|member| member.url == url);
        let member = known.ok_or_else(|| Problem::not_found(format!("no node has the URL {url}; GET /status lists the nodes")))?;
        let mut change = Change::default();
        if !member.removed {
            tracing::info!("node {url} is to be removed{by}");
            change.put_members.push(Member { removed: true, ..member.clone() });
        }
        Ok::<_, Problem>((change, member.id))
    })
    .await?;
    let after = api.control.status().await?.nodes.into_iter().find(|node| node.id == id);
    match (after, before) {
        (Some(node), _) => Ok(Json(node.into())),
        // It ran nothing and is forgotten already.
        (None, Some(node)) => {
            Ok(Json(Node { state: NodeState::Left, detail: "it was removed and ran nothing".to_owned(), replicas: 0, ..node.into() }))
        }
        (None, None) => Err(Problem::not_found(format!("the node {url} is gone already"))),
    }
}

fn parse(url: &str) -> Result<NodeUrl, Problem> {
    url.parse().map_err(|error: cluster::node_url::BadNodeUrl| Problem::bad_request(error.to_string()))
}

/// Who asked, for the log.
pub fn asked_by(request: &Request) -> String {
    request.extensions().get::<Peer>().map(|peer| format!(", asked by {}", peer.0)).unwrap_or_default()
}
