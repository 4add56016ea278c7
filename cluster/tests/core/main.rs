//! The control loop in a pretended world: properties over random clusters, and scenarios.
#![allow(clippy::unwrap_used)]

mod agent;
mod balancer;
mod finished;
mod keeping;
mod placing;
mod properties;
mod rollout;
mod scenarios;
mod world;
