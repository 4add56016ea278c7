//! Which path means what.

use cluster::ReplicaId;
use http::{Method, StatusCode};

use super::problem::Problem;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `GET /healthz`
    Health,
    /// `GET /metrics`
    Metrics,
    /// `GET /v1/node`
    Node,
    /// `GET /v1/observe`
    Observe,
    /// `PUT /v1/assignment`
    Assignment,
    /// `PUT /v1/endpoints`
    Endpoints,
    /// `GET /v1/replicas/{id}/logs`
    Logs(ReplicaId),
    /// `GET /v1/replicas/{id}/tunnel`
    Tunnel(ReplicaId),
    /// `POST /v1/replicas/{id}/health/{token}`
    Push(ReplicaId),
}

impl Endpoint {
    /// Finds it by its path and its method.
    pub fn find(method: &Method, path: &str) -> Result<Self, Problem> {
        let endpoint = Self::at(path)?;
        let allow = endpoint.methods();
        if allow.split(", ").any(|allowed| allowed == method.as_str()) { Ok(endpoint) } else { Err(Problem::method(allow)) }
    }

    fn at(path: &str) -> Result<Self, Problem> {
        let replica =
            |id: &str| id.parse::<ReplicaId>().map_err(|e| Problem::new(StatusCode::NOT_FOUND, format!("there is no such replica: {e}")));
        let segments: Vec<&str> = path.strip_prefix('/').unwrap_or(path).splitn(5, '/').collect();
        match segments.as_slice() {
            ["healthz"] => Ok(Endpoint::Health),
            ["metrics"] => Ok(Endpoint::Metrics),
            ["v1", "node"] => Ok(Endpoint::Node),
            ["v1", "observe"] => Ok(Endpoint::Observe),
            ["v1", "assignment"] => Ok(Endpoint::Assignment),
            ["v1", "endpoints"] => Ok(Endpoint::Endpoints),
            ["v1", "replicas", id, "logs"] => Ok(Endpoint::Logs(replica(id)?)),
            ["v1", "replicas", id, "tunnel"] => Ok(Endpoint::Tunnel(replica(id)?)),
            ["v1", "replicas", id, "health", _] => Ok(Endpoint::Push(replica(id)?)),
            _ => Err(Problem::new(
                StatusCode::NOT_FOUND,
                "an agent has no such path; it has /healthz, /metrics, /v1/node, /v1/observe, /v1/assignment, \
                 /v1/endpoints, /v1/replicas/ID/logs, /v1/replicas/ID/tunnel and /v1/replicas/ID/health/TOKEN (apps are reached through the controller)",
            )),
        }
    }

    fn methods(self) -> &'static str {
        match self {
            Endpoint::Health | Endpoint::Metrics | Endpoint::Node => "GET, HEAD",
            Endpoint::Observe | Endpoint::Logs(_) | Endpoint::Tunnel(_) => "GET",
            Endpoint::Assignment | Endpoint::Endpoints => "PUT",
            Endpoint::Push(_) => "POST",
        }
    }

    /// Whether anybody on the host may ask for it. The URL that a replica speaks up by has a secret in it.
    pub fn is_open(self) -> bool {
        matches!(self, Endpoint::Health | Endpoint::Node | Endpoint::Push(_))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn each_path_has_its_methods_and_nothing_else_is_there() {
        let id = "0199b1c2-7d3e-7abc-8def-0123456789ab";
        let find = |method: &str, path: &str| {
            Endpoint::find(&method.parse().unwrap(), path).map_err(|problem| problem.response().status().as_u16())
        };
        assert_eq!(find("GET", "/v1/node"), Ok(Endpoint::Node));
        assert_eq!(find("HEAD", "/healthz"), Ok(Endpoint::Health));
        assert_eq!(find("PUT", "/v1/assignment"), Ok(Endpoint::Assignment));
        assert_eq!(find("GET", &format!("/v1/replicas/{id}/logs")), Ok(Endpoint::Logs(id.parse().unwrap())));
        assert_eq!(find("GET", &format!("/v1/replicas/{id}/tunnel")), Ok(Endpoint::Tunnel(id.parse().unwrap())));
        assert_eq!(find("POST", &format!("/v1/replicas/{id}/health/abc")), Ok(Endpoint::Push(id.parse().unwrap())));
        for (method, path) in [
            ("POST", "/v1/assignment"),
            ("GET", "/v1/assignment"),
            ("GET", "/v1/endpoints"),
            ("DELETE", "/v1/node"),
            ("HEAD", "/v1/observe"),
        ] {
            assert_eq!(find(method, path), Err(405), "{method} {path}");
        }
        for path in ["/", "", "*", "/healthz/", "/v1", "/v1/node/", "//v1/node", "/V1/node", "/v1/replicas/../logs", "/v1/replicas/x/logs"]
        {
            assert_eq!(find("GET", path), Err(404), "{path}");
        }
    }
}
