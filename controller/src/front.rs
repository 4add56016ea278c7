//! The front door: the one task that holds the gateway.
//!
//! It hands the gateway each routing table and each route whose node is gone, and tells the control task what the gateway
//! acknowledged. Absent from here: requests. Those stay on the gateway's own threads.

use std::sync::Arc;
use std::time::Duration;

use cluster::Event;
use cluster::route::RouteAck;
use gateway::Gateway;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::control::{GATEWAY, Message};
use crate::publication::Subscriber;

/// Holds the gateway until `stop`; then lets its requests end, for at most `drain`.
pub async fn hold(gateway: Gateway, mut subscriber: Subscriber, control: mpsc::Sender<Message>, stop: CancellationToken, drain: Duration) {
    let mut told: Option<RouteAck> = None;
    loop {
        let ack = gateway.ack();
        if told.as_ref() != Some(&ack) {
            told = Some(ack.clone());
            if control.send(Event::RouteAck { consumer: GATEWAY.to_owned(), ack }.into()).await.is_err() {
                break;
            }
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = gateway.ack_changed() => {}
            next = subscriber.next() => match next {
                Some((table, dead)) => {
                    gateway.publish(Arc::clone(&table));
                    // Behind the table that lacks them: what waits on them finds another replica.
                    if !dead.is_empty() {
                        gateway.abandon(dead);
                    }
                }
                None => break,
            },
        }
    }
    gateway.shutdown(drain).await;
}
