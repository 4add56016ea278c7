//! A controller and its agents, as processes, on ports and in directories of their own.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use super::home::Home;
use super::http::{Answer, Call};
use super::program::Program;
use super::socket_unit::SocketUnit;
use super::status::Status;
use super::wait::{PATIENCE, wait_for, wait_until};
use super::{ports, processes};

/// What a cluster is to be like.
#[derive(Clone, Debug)]
pub struct Setup {
    agents: usize,
    controller_args: Vec<String>,
    controller_env: Vec<(String, String)>,
    agent_args: Vec<String>,
    has_socket_unit: bool,
}

impl Setup {
    /// Two agents, and the defaults of everything.
    pub fn new() -> Self {
        Setup { agents: 2, controller_args: vec![], controller_env: vec![], agent_args: vec![], has_socket_unit: false }
    }

    pub fn agents(mut self, count: usize) -> Self {
        self.agents = count;
        self
    }

    /// A node is lost sooner than by default: for tests that would only wait longer otherwise.
    pub fn lost_after(self, time: &str) -> Self {
        self.controller_args(&["--lost-after", time])
    }

    pub fn controller_args(mut self, args: &[&str]) -> Self {
        self.controller_args.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    /// A variable of the controller's environment.
    pub fn controller_env(mut self, name: &str, value: &str) -> Self {
        self.controller_env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The controller's listening socket is kept by somebody who starts the controller with it, as systemd does for a socket unit.
    pub fn socket_unit(mut self) -> Self {
        self.has_socket_unit = true;
        self
    }

    pub fn agent_args(mut self, args: &[&str]) -> Self {
        self.agent_args.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    /// Starts it in a home with all programs; all agents are registered and ready.
    #[track_caller]
    pub fn start(self) -> Cluster {
        self.start_in(Home::new())
    }

    /// Starts it in this home.
    #[track_caller]
    pub fn start_in(self, home: Home) -> Cluster {
        let agents = (0..self.agents).map(|_| Agent::start(&home, ports::free(), &self.agent_args)).collect::<Vec<_>>();
        let unit = self.has_socket_unit.then(SocketUnit::open);
        let port = unit.as_ref().map_or_else(ports::free, SocketUnit::port);
        let controller = Controller::start_with(&home, port, &self.controller_args, &self.controller_env, unit.as_ref());
        let cluster = Cluster { controller, agents, home, setup: self, unit };
        for agent in &cluster.agents {
            cluster.add_node(&agent.url()).ok();
        }
        let count = cluster.agents.len();
        cluster.wait_status("nodes that are ready", |status| status.nodes.iter().filter(|node| node.state == "ready").count() == count);
        cluster
    }
}

/// An agent's process.
#[derive(Debug)]
pub struct Agent {
    pub program: Program,
    pub port: u16,
    pub runtime_dir: PathBuf,
}

impl Agent {
    /// Starts it and waits until it answers.
    #[track_caller]
    pub fn start(home: &Home, port: u16, args: &[String]) -> Self {
        let runtime_dir = home.path().join(format!("agent-{port}"));
        let mut command = home.command(&home.cwd().join("agent").to_string_lossy());
        // Its stdin stays open for as long as this test lives: if the test dies, the agent ends too.
        command
            .args(["--port", &port.to_string(), "--stop-with-parent", "--runtime-dir"])
            .arg(&runtime_dir)
            .args(args)
            .stdin(Stdio::piped());
        let mut program = Program::start(home, &format!("agent-{port}"), &mut command);
        let address = local(port);
        wait_answer(&mut program, address, "/healthz");
        Agent { program, port, runtime_dir }
    }

    pub fn url(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    pub fn address(&self) -> SocketAddr {
        local(self.port)
    }

    /// Its guardian: the one child that it has.
    #[track_caller]
    pub fn guardian(&self) -> u32 {
        wait_for(PATIENCE, "guardian", || match &processes::children(self.program.pid())[..] {
            [only] => Ok(only.pid),
            others => Err(format!("the agent's children are {others:#?}")),
        })
    }
}

/// A controller's process.
#[derive(Debug)]
pub struct Controller {
    pub program: Program,
    pub port: u16,
    pub data_dir: PathBuf,
}

impl Controller {
    /// Starts it and waits until it answers.
    #[track_caller]
    pub fn start(home: &Home, port: u16, args: &[String]) -> Self {
        Self::start_with(home, port, args, &[], None)
    }

    /// Starts it with a socket that is kept.
    #[track_caller]
    fn start_with(home: &Home, port: u16, args: &[String], env: &[(String, String)], unit: Option<&SocketUnit>) -> Self {
        let data_dir = home.path().join("data");
        let program = home.cwd().join("controller").to_string_lossy().into_owned();
        let mut command = match unit {
            Some(unit) => unit.command(home, &program),
            None => {
                let mut command = home.command(&program);
                command.arg("--stop-with-parent").stdin(Stdio::piped());
                command
            }
        };
        command.args(["--port", &port.to_string(), "--data-dir"]).arg(&data_dir).args(args).envs(env.iter().cloned());
        let mut program = Program::start(home, "controller", &mut command);
        wait_answer(&mut program, local(port), "/status");
        Controller { program, port, data_dir }
    }

    pub fn address(&self) -> SocketAddr {
        local(self.port)
    }

    pub fn url(&self) -> String {
        format!("http://localhost:{}", self.port)
    }
}

/// A whole cluster. Programs come before the home, so that they end before it looks for what is left.
#[derive(Debug)]
pub struct Cluster {
    pub controller: Controller,
    pub agents: Vec<Agent>,
    pub home: Home,
    setup: Setup,
    unit: Option<SocketUnit>,
}

impl Cluster {
    /// Where the API and the apps are.
    pub fn address(&self) -> SocketAddr {
        self.controller.address()
    }

    #[track_caller]
    pub fn get(&self, target: &str) -> Answer {
        Call::get(target).send(self.address())
    }

    #[track_caller]
    pub fn post(&self, target: &str, body: &Value) -> Answer {
        Call::post(target, body.to_string()).send(self.address())
    }

    #[track_caller]
    pub fn add_node(&self, url: &str) -> Answer {
        self.post("/add-node", &json!({ "url": url }))
    }

    #[track_caller]
    pub fn remove_node(&self, url: &str) -> Answer {
        self.post("/remove-node", &json!({ "url": url }))
    }

    #[track_caller]
    pub fn scale(&self, count: usize) {
        self.post("/scale", &json!({ "count": count })).ok();
    }

    #[track_caller]
    pub fn status(&self) -> Status {
        let answer = self.get("/status").ok();
        serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {}", answer.text()))
    }

    /// Waits until `/status` is as it should be.
    #[track_caller]
    pub fn wait_status(&self, what: &str, fits: impl FnMut(&Status) -> bool) -> Status {
        self.wait_status_within(PATIENCE, what, fits)
    }

    #[track_caller]
    pub fn wait_status_within(&self, limit: Duration, what: &str, mut fits: impl FnMut(&Status) -> bool) -> Status {
        wait_for(limit, what, || {
            let status = self.status();
            if fits(&status) { Ok(status) } else { Err(format!("{status:#?}")) }
        })
    }

    /// Scales, and waits until exactly so many run.
    #[track_caller]
    pub fn settle(&self, count: usize) -> Status {
        self.scale(count);
        self.wait_settled(count)
    }

    /// Waits until exactly so many run.
    #[track_caller]
    pub fn wait_settled(&self, count: usize) -> Status {
        self.wait_status(&format!("{count} replicas, all of them ready"), |status| status.has_settled(count))
    }

    /// The processes of the replicas on one agent.
    #[track_caller]
    pub fn pids_on(&self, nth: usize) -> Vec<u32> {
        self.status().on(&self.agents[nth].url()).filter_map(|replica| replica.pid).collect()
    }

    /// Starts an agent that has ended, on its port again.
    #[track_caller]
    pub fn restart_agent(&mut self, nth: usize) {
        assert!(self.agents[nth].program.ended().is_some(), "it still runs");
        self.agents[nth] = Agent::start(&self.home, self.agents[nth].port, &self.setup.agent_args);
    }

    /// Starts the controller again, which has ended, on its port and its data.
    #[track_caller]
    pub fn restart_controller(&mut self) {
        assert!(self.controller.program.ended().is_some(), "it still runs");
        self.controller = {
            let Setup { controller_args, controller_env, .. } = &self.setup;
            Controller::start_with(&self.home, self.controller.port, controller_args, controller_env, self.unit.as_ref())
        };
    }

    /// Starts the controller again, which has ended, in another way.
    #[track_caller]
    pub fn replace_controller(&mut self, setup: Setup) {
        self.setup = setup;
        self.restart_controller();
    }

    /// Waits until the processes of replicas on this machine are those of `/status`, and no other.
    #[track_caller]
    pub fn wait_processes_match(&self) {
        wait_for(PATIENCE, "agreement between /status and the processes", || {
            let mut listed: Vec<u32> = self.status().replicas.iter().filter_map(|replica| replica.pid).collect();
            let mut there: Vec<u32> = self.replica_processes();
            listed.sort_unstable();
            there.sort_unstable();
            if listed == there { Ok(()) } else { Err(format!("listed {listed:?}, there {there:?}")) }
        });
    }

    /// All processes of replicas on this machine.
    pub fn replica_processes(&self) -> Vec<u32> {
        let is_replica = |pid: &u32| processes::variable(*pid, "OSTLER_REPLICA_ID").is_some();
        processes::below(self.home.path()).iter().map(|seen| seen.pid).filter(is_replica).collect()
    }
}

/// This port on this machine.
pub fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Waits until a program that was just started answers.
#[track_caller]
fn wait_answer(program: &mut Program, address: SocketAddr, target: &str) {
    wait_until(PATIENCE, &format!("answer at {address}{target}"), || {
        if let Some(status) = program.ended() {
            panic!("it ended at once ({status}):\n{}", program.log());
        }
        Call::get(target).within(Duration::from_secs(5)).try_send(address).is_ok_and(|answer| answer.status() == 200)
    });
}
