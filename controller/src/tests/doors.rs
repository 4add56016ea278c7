//! Which sockets become which doors.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

use gateway::inherited::Inherited;
use gateway::listen::Listen;
use gateway::{Face, LocalDoor};

use crate::Config;
use crate::doors::Doors;
use crate::tests::start::config;

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

fn inherited(listener: &TcpListener, name: Option<&str>) -> Inherited {
    Inherited::new(listener.try_clone().unwrap(), name.map(str::to_owned)).unwrap()
}

/// The address of each door, whether it is the API's too, and whether its socket was handed over.
fn opened(config: &Config, inherited: Vec<Inherited>) -> Result<Vec<(SocketAddr, bool, bool)>, String> {
    let doors = Doors::open(config, inherited, 2).map_err(|error| error.to_string())?;
    let (local, _connections) = LocalDoor::new(1);
    let shown = doors.into_gateway(&local).into_iter().map(|door| {
        assert_eq!(door.listeners.len(), 2, "one for each thread");
        (door.listeners[0].local_addr().unwrap(), matches!(door.face, Face::Combined { .. }), door.is_inherited)
    });
    Ok(shown.collect())
}

#[test]
fn a_socket_that_was_handed_over_is_used_in_place_of_an_own_one() {
    let (api, api_addr) = listener();
    let (gateway, gateway_addr) = listener();
    let by_address = Config { gateway_listen: Some(gateway_addr), ..config(Listen::Exactly(api_addr), Path::new("unused")) };
    let both = vec![(api_addr, true, true), (gateway_addr, false, true)];
    assert_eq!(opened(&by_address, vec![inherited(&gateway, None), inherited(&api, Some("ostler.socket"))]).unwrap(), both);
    let by_port = config(Listen::Loopback { port: api_addr.port() }, Path::new("unused"));
    assert_eq!(opened(&by_port, vec![inherited(&api, None)]).unwrap(), both[..1]);
    // By its name it is, whatever the flags say of addresses.
    let by_name = config(Listen::Loopback { port: 0 }, Path::new("unused"));
    assert_eq!(opened(&by_name, vec![inherited(&api, Some("api")), inherited(&gateway, Some("gateway"))]).unwrap(), both);
    // What was not handed over is opened.
    let doors = opened(&by_name, vec![inherited(&gateway, Some("gateway"))]).unwrap();
    assert!(doors.contains(&both[1]) && doors.iter().any(|(_, is_api, is_inherited)| *is_api && !is_inherited), "{doors:?}");
}

#[test]
fn a_socket_that_nobody_asked_for_is_an_error_that_names_it() {
    let (stray, addr) = listener();
    let anywhere = config(Listen::Loopback { port: 0 }, Path::new("unused"));
    for name in [None, Some("web")] {
        let message = opened(&anywhere, vec![inherited(&stray, name)]).unwrap_err();
        assert!(message.contains(&addr.to_string()) && message.contains("FileDescriptorName") && message.lines().count() == 1, "{message}");
        assert_eq!(message.contains("web"), name.is_some(), "{message}");
    }
}

#[test]
fn the_api_is_no_more_open_for_having_been_handed_over() {
    let open = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let anywhere = config(Listen::Loopback { port: 0 }, Path::new("unused"));
    let message = opened(&anywhere, vec![inherited(&open, Some("api"))]).unwrap_err();
    assert!(message.contains("--insecure"), "{message}");
    let insecure = Config { insecure: true, ..anywhere.clone() };
    assert_eq!(opened(&insecure, vec![inherited(&open, Some("api"))]).unwrap().len(), 1);
    // The gateway's own port has no API, and may be anywhere.
    assert!(opened(&anywhere, vec![inherited(&open, Some("gateway"))]).is_ok());
}
