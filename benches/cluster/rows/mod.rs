//! The scenarios, each in a file of its own: what it does to a cluster, and the rows that come of it.

mod agent_exit;
mod agent_flood;
mod agent_freeze;
mod agent_idle;
mod agent_kill;
mod agent_stop;
mod agent_thousand;
mod controller_freeze;
mod controller_restart;
mod memory;
mod round_robin;
mod scale_up;
mod worker_kill;

use anyhow::Result;

use crate::options::Options;
use crate::table::Row;

/// The replicas of the seed's cluster, which most scenarios run.
const REPLICAS: usize = 4;

/// A scenario.
#[derive(Clone, Copy, Debug)]
pub enum Scenario {
    /// From nothing to 4 replicas.
    ScaleTo4,
    /// From nothing to 100, against a bare loop.
    ScaleTo100,
    /// kill -9 of a worker.
    WorkerKill,
    /// Ctrl+C of an agent, under load.
    AgentStop,
    /// kill -9 of an agent.
    AgentKill,
    /// kill -9 of its guardian.
    GuardianKill,
    /// SIGSTOP of an agent, then SIGCONT.
    AgentFreeze,
    /// kill -9 of the controller, then a new start.
    ControllerRestart,
    /// SIGSTOP of the controller for 10 s.
    ControllerFreeze,
    /// Who answers when requests come one after the other.
    RoundRobin,
    /// What everything holds in memory when nothing happens.
    Memory,
    /// What an agent costs while 100 replicas do nothing.
    AgentIdle,
    /// From nothing to 1,000 on one agent, against a bare loop.
    AgentThousand,
    /// A replica that writes 200 MB/s.
    AgentFlood,
    /// How soon an agent says that a process ended.
    AgentExit,
}

impl Scenario {
    /// All of them, in the order of the table.
    pub const ALL: [Scenario; 15] = [
        Scenario::ScaleTo4,
        Scenario::ScaleTo100,
        Scenario::WorkerKill,
        Scenario::AgentStop,
        Scenario::AgentKill,
        Scenario::GuardianKill,
        Scenario::AgentFreeze,
        Scenario::ControllerRestart,
        Scenario::ControllerFreeze,
        Scenario::RoundRobin,
        Scenario::Memory,
        Scenario::AgentIdle,
        Scenario::AgentThousand,
        Scenario::AgentFlood,
        Scenario::AgentExit,
    ];

    /// The name by which it is asked for.
    pub fn name(self) -> &'static str {
        match self {
            Scenario::ScaleTo4 => "scale-to-4",
            Scenario::ScaleTo100 => "scale-to-100",
            Scenario::WorkerKill => "worker-kill",
            Scenario::AgentStop => "agent-stop",
            Scenario::AgentKill => "agent-kill",
            Scenario::GuardianKill => "guardian-kill",
            Scenario::AgentFreeze => "agent-freeze",
            Scenario::ControllerRestart => "controller-restart",
            Scenario::ControllerFreeze => "controller-freeze",
            Scenario::RoundRobin => "round-robin",
            Scenario::Memory => "memory",
            Scenario::AgentIdle => "agent-idle",
            Scenario::AgentThousand => "agent-thousand",
            Scenario::AgentFlood => "agent-flood",
            Scenario::AgentExit => "agent-exit",
        }
    }

    /// Runs it as often as the options say.
    pub async fn measure(self, options: &Options) -> Result<Vec<Row>> {
        match self {
            Scenario::ScaleTo4 => scale_up::to_4(options.runs(9)).await,
            Scenario::ScaleTo100 => scale_up::to_100(options.runs(9)).await,
            Scenario::WorkerKill => worker_kill::measure(options.runs(9)).await,
            Scenario::AgentStop => agent_stop::measure(options.runs(5)).await,
            Scenario::AgentKill => agent_kill::agent(options.runs(5)).await,
            Scenario::GuardianKill => agent_kill::guardian(options.runs(5)).await,
            Scenario::AgentFreeze => agent_freeze::measure(options.runs(3)).await,
            Scenario::ControllerRestart => controller_restart::measure(options.runs(5)).await,
            Scenario::ControllerFreeze => controller_freeze::measure(1).await,
            Scenario::RoundRobin => round_robin::measure(options.runs(3)).await,
            Scenario::Memory => memory::measure(options.runs(3)).await,
            Scenario::AgentIdle => agent_idle::measure(options.runs(3)).await,
            Scenario::AgentThousand => agent_thousand::measure(options.runs(5)).await,
            Scenario::AgentFlood => agent_flood::measure(options.runs(3)).await,
            Scenario::AgentExit => agent_exit::measure(options.runs(100)).await,
        }
    }
}
