//! The controller's doors: sockets that were handed over, and for the rest sockets of its own.

use std::net::{SocketAddr, TcpListener};

use gateway::inherited::{self, Inherited};
use gateway::listen::{self, Listen};
use gateway::{Door, LocalDoor};

use crate::Config;

/// What a socket is called that is handed over for `--listen` or `--port` (`FileDescriptorName=` of systemd).
const API: &str = "api";
/// What it is called for `--gateway-listen`.
const GATEWAY: &str = "gateway";

/// Why a door does not open.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A socket of our own.
    #[error(transparent)]
    Listen(#[from] listen::Error),
    /// A socket that was handed over.
    #[error(transparent)]
    Inherited(#[from] inherited::Error),
    /// A socket was handed over that nobody asked for.
    #[error(
        "the socket {addr}{} was handed over, and neither --listen or --port nor --gateway-listen asks for it; name it \"{API}\" or \
         \"{GATEWAY}\" (FileDescriptorName= of systemd), or give its address to one of the flags",
        name.as_ref().map(|name| format!(", called \"{name}\",")).unwrap_or_default()
    )]
    Unasked {
        /// Where it listens.
        addr: SocketAddr,
        /// What it was called.
        name: Option<String>,
    },
}

/// The listeners of each door.
#[derive(Debug, Default)]
pub struct Doors {
    combined: Vec<Group>,
    apps_only: Vec<Group>,
}

/// The listeners of one address, one for each thread of the gateway.
#[derive(Debug)]
struct Group {
    listeners: Vec<TcpListener>,
    is_inherited: bool,
}

impl Group {
    fn addr(&self) -> Option<SocketAddr> {
        self.listeners.first()?.local_addr().ok()
    }
}

impl Doors {
    /// Opens what the configuration asks for. A door for which a socket was handed over gets no other: who hands it over says where we listen.
    ///
    /// # Errors
    /// An [`Error`] of one line, with the address in it.
    pub fn open(config: &Config, inherited: Vec<Inherited>, threads: usize) -> Result<Self, Error> {
        let mut doors = Doors::default();
        for socket in inherited {
            let addr = socket.addr();
            // A name counts whatever the address is; any other name is one that the service manager made up.
            let groups = match socket.name() {
                Some(API) => &mut doors.combined,
                Some(GATEWAY) => &mut doors.apps_only,
                _ if config.listen.is_at(addr) => &mut doors.combined,
                _ if config.gateway_listen == Some(addr) => &mut doors.apps_only,
                name => return Err(Error::Unasked { addr, name: name.map(str::to_owned) }),
            };
            groups.push(Group { listeners: socket.share(threads)?, is_inherited: true });
        }
        for addr in doors.combined.iter().filter_map(Group::addr) {
            Listen::Exactly(addr).check(config.insecure)?;
        }
        let own = |listeners| Group { listeners, is_inherited: false };
        if doors.combined.is_empty() {
            config.listen.check(config.insecure)?;
            doors.combined.extend(config.listen.open(threads)?.into_iter().map(own));
        }
        if let Some(address) = config.gateway_listen
            && doors.apps_only.is_empty()
        {
            doors.apps_only.extend(Listen::Exactly(address).open(threads)?.into_iter().map(own));
        }
        Ok(doors)
    }

    /// Where they listen.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.combined.iter().chain(&self.apps_only).filter_map(Group::addr).collect()
    }

    /// The doors as the gateway takes them; `local` is the way to the API.
    pub fn into_gateway(self, local: &LocalDoor) -> Vec<Door> {
        let door = |face: gateway::Face| {
            move |group: Group| Door { listeners: group.listeners, face: face.clone(), is_inherited: group.is_inherited }
        };
        let combined = self.combined.into_iter().map(door(gateway::Face::Combined { local: local.clone() }));
        combined.chain(self.apps_only.into_iter().map(door(gateway::Face::Apps))).collect()
    }
}
