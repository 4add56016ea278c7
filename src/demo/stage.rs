//! The cast on its stage: one controller and two agents, started together and stopped in order.

use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use cluster::node_url::NodeUrl;

use crate::client::Client;
use crate::demo::apps::Apps;
use crate::demo::child::{Ask, Child};
use crate::demo::house::House;
use crate::demo::port;
use crate::output::printable;
use crate::role::Role;
use crate::signals::Signals;

/// How long a role may take to stop when asked, before it is asked again, and then before it is killed.
const GENTLE: Duration = Duration::from_secs(10);
const AT_ONCE: Duration = Duration::from_secs(5);
/// How many lines of each log are shown when something went wrong.
const LAST_WORDS_MAX: usize = 15;

/// The ports that are wished for; 0 is any.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ports {
    /// The controller's.
    pub controller: u16,
    /// The agents'.
    pub agents: [u16; 2],
}

impl Ports {
    /// 8000, 9091 and 9092, each where it is free.
    pub fn of_the_original() -> Ports {
        Ports { controller: port::choose(8000), agents: [port::choose(9091), port::choose(9092)] }
    }
}

/// Everybody who runs.
pub struct Stage<'a> {
    house: &'a House,
    apps: Option<&'a Apps>,
    /// The nodes are registered, so the apps may come.
    has_nodes: bool,
    controller: Option<Child>,
    agents: [Option<Child>; 2],
    /// The ports that the agents got, which they keep when they are started again.
    agent_ports: [u16; 2],
}

impl<'a> Stage<'a> {
    /// Nobody yet.
    pub fn new(house: &'a House, apps: Option<&'a Apps>) -> Stage<'a> {
        Stage { house, apps, has_nodes: false, controller: None, agents: [None, None], agent_ports: [0, 0] }
    }

    /// Starts everybody. Who loses the race for a wished port takes any.
    pub async fn open(&mut self, ports: Ports) -> anyhow::Result<()> {
        self.agent_ports = ports.agents;
        for at in [0, 1] {
            if let Err(error) = self.start_agent(at).await {
                self.agent_ports[at] = another(ports.agents[at], error)?;
                self.start_agent(at).await?;
            }
        }
        if let Err(error) = self.start_controller(ports.controller).await {
            self.start_controller(another(ports.controller, error)?).await?;
        }
        Ok(())
    }

    async fn start_controller(&mut self, port: u16) -> anyhow::Result<()> {
        let data_dir = self.house.dir().join("controller");
        let mut args = vec!["--port".to_owned(), port.to_string(), "--data-dir".to_owned(), path(&data_dir)?];
        match (self.apps, self.has_nodes) {
            (Some(apps), true) => args.extend(["--apps".to_owned(), apps.source()?]),
            (Some(_), false) => {
                let none_yet = self.house.dir().join("no-apps");
                std::fs::create_dir_all(&none_yet).with_context(|| format!("cannot make {}", none_yet.display()))?;
                args.extend(["--apps".to_owned(), format!("dir://{}", path(&none_yet)?)]);
            }
            (None, _) => {}
        }
        self.controller = Some(Child::start(self.house, Role::Controller, "controller", &args).await?);
        Ok(())
    }

    /// Gives the controller its apps, once all nodes are registered: what is placed is not moved for a node that comes later. A controller that starts
    /// waits for all nodes that it knows before it places anything.
    pub async fn bring_apps(&mut self) -> anyhow::Result<()> {
        let port = self.controller()?.port();
        stop(self.controller.as_mut()).await?;
        self.has_nodes = true;
        self.start_controller(port).await
    }

    /// Starts an agent, again on its port where it had one.
    pub async fn start_agent(&mut self, at: usize) -> anyhow::Result<()> {
        let port = self.agent_ports[at].to_string();
        let title = format!("agent {}", at + 1);
        let runtime_dir = self.house.dir().join(format!("agent-{}", at + 1));
        let args = ["--port".to_owned(), port, "--runtime-dir".to_owned(), path(&runtime_dir)?];
        let agent = Child::start(self.house, Role::Agent, &title, &args).await?;
        self.agent_ports[at] = agent.port();
        self.agents[at] = Some(agent);
        Ok(())
    }

    /// The apps that run in place of the workers.
    pub fn apps(&self) -> Option<&'a Apps> {
        self.apps
    }

    /// Where everything is.
    pub fn house(&self) -> &House {
        self.house
    }

    /// The controller.
    pub fn controller(&mut self) -> anyhow::Result<&mut Child> {
        self.controller.as_mut().context("the controller was not started")
    }

    /// An agent that was started and has not been seen to end.
    pub fn agent(&mut self, at: usize) -> Option<&mut Child> {
        self.agents[at].as_mut()
    }

    /// The port that an agent has, or had.
    pub fn agent_port(&self, at: usize) -> u16 {
        self.agent_ports[at]
    }

    /// The URL under which an agent is registered.
    pub fn agent_url(&self, at: usize) -> String {
        format!("http://localhost:{}", self.agent_ports[at])
    }

    /// HTTP to the controller.
    pub fn client(&mut self) -> anyhow::Result<Client> {
        let url: NodeUrl = format!("http://localhost:{}", self.controller()?.port()).parse().map_err(|error| anyhow!("{error}"))?;
        Ok(Client::new(url))
    }

    /// Which agents have ended since this was last asked, with a sentence on how; the end of the controller is an error.
    pub fn endings(&mut self) -> anyhow::Result<Vec<(usize, String)>> {
        let mut endings = Vec::new();
        for (at, slot) in self.agents.iter_mut().enumerate() {
            if let Some(agent) = slot
                && let Some(status) = agent.ended()?
            {
                endings.push((at, format!("{} has ended ({status})", agent.title())));
                *slot = None;
            }
        }
        let controller = self.controller()?;
        if let Some(status) = controller.ended()? {
            bail!("the controller has ended ({status}): {}", crate::demo::child::last_line(&controller.log().read()?));
        }
        Ok(endings)
    }

    /// The end of every log: they go with the directory, and something went wrong.
    pub fn last_words(&self) -> String {
        let children = self.agents.iter().flatten().chain(&self.controller);
        let mut text = String::new();
        for child in children {
            let log = child.log().read().unwrap_or_else(|error| error.to_string());
            let lines: Vec<&str> = log.lines().collect();
            text.push_str(&format!("\nThe last words of the {}:\n", child.title()));
            for line in &lines[lines.len().saturating_sub(LAST_WORDS_MAX)..] {
                text.push_str(&format!("  {}\n", printable(line)));
            }
        }
        text
    }

    /// Stops the agents, then the controller. A signal makes it quick.
    pub async fn close(mut self, signals: &mut Signals) -> anyhow::Result<()> {
        let [first, second] = &mut self.agents;
        let agents = async {
            let (first, second) = tokio::join!(stop(first.as_mut()), stop(second.as_mut()));
            first.and(second)
        };
        let agents = tokio::select! {
            biased;
            result = agents => result,
            () = signals.next() => Err(anyhow!("the agents were stopped the hard way")),
        };
        // Where they were not waited for to the end: dropping a child kills it, and its guardian what it ran.
        drop(self.agents);
        let controller = stop(self.controller.as_mut()).await;
        agents.and(controller)
    }
}

async fn stop(child: Option<&mut Child>) -> anyhow::Result<()> {
    let Some(child) = child else { return Ok(()) };
    for (ask, so_long) in [(Ask::Terminate, GENTLE), (Ask::Terminate, AT_ONCE), (Ask::Kill, AT_ONCE)] {
        child.ask(ask);
        if let Some(status) = child.wait(so_long).await? {
            return if status.success() { Ok(()) } else { Err(anyhow!("the {} ended with {status}", child.title())) };
        }
    }
    bail!("the {} could not be stopped", child.title())
}

/// Any port in place of a wished one that failed; without a wish the failure stands.
fn another(wished: u16, failure: anyhow::Error) -> anyhow::Result<u16> {
    if wished == 0 { Err(failure) } else { Ok(0) }
}

fn path(path: &std::path::Path) -> anyhow::Result<String> {
    path.to_str().map(str::to_owned).with_context(|| format!("{} is no text: set TMPDIR to another directory", path.display()))
}
