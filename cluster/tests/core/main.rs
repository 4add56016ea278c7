//! The control loop in a pretended world: properties over random clusters, and scenarios.
#![allow(clippy::unwrap_used)]

mod balancer;
mod finished;
mod keeping;
mod placing;
mod properties;
mod scenarios;
mod world;
