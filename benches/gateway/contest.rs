//! Several proxies under one load, turn by turn: in each round each has one turn, and each round begins with another.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::harness::{cpu, others};
use crate::samples::{median, range, ratios, spread};
use crate::wrk::{Load, Seen};

/// A turn in which others used the processor is taken again so often; then it counts as it is.
const TRIES: usize = 3;
/// How long a contest waits in all for others to become quiet. When that is used up, turns count as they are.
const PATIENCE: Duration = Duration::from_secs(120);

/// Who takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Ostler's gateway.
    Ostler,
    /// nginx.
    Nginx,
    /// The same nginx, for the ratio that should be 1.
    NginxAgain,
    /// HAProxy.
    HaProxy,
    /// The byte shuttle.
    Floor,
}

impl Who {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Who::Ostler => "Ostler",
            Who::Nginx => "nginx",
            Who::NginxAgain => "nginx again",
            Who::HaProxy => "HAProxy",
            Who::Floor => "floor",
        }
    }
}

/// A proxy in the contest.
#[derive(Clone, Debug)]
pub struct Contestant {
    /// Who it is.
    pub who: Who,
    /// Where it listens.
    pub address: SocketAddr,
    /// The processes whose processor time is its cost.
    pub pids: Vec<i32>,
}

/// One turn of one proxy.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    seen: Seen,
    cpu_us: f64,
    is_disturbed: bool,
}

impl Turn {
    /// Answers in a second.
    pub fn req_per_s(&self) -> f64 {
        self.seen.requests / self.seen.seconds
    }

    /// Millions of bytes in a second.
    pub fn mb_per_s(&self) -> f64 {
        self.seen.bytes / self.seen.seconds / 1e6
    }

    /// The latency that one answer in a hundred is above, in milliseconds.
    pub fn p99_ms(&self) -> f64 {
        self.seen.p99_ms
    }

    fn cpu_us_per_request(&self) -> f64 {
        self.cpu_us / self.seen.requests
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Results {
    load: Load,
    turns: Vec<(Who, Vec<Turn>)>,
}

/// Holds it. There is one turn more at the beginning, which does not count.
pub async fn hold(contestants: &[Contestant], load: Load, rounds: usize, dir: &Path) -> Result<Results> {
    let mut turns: Vec<(Who, Vec<Turn>)> = contestants.iter().map(|contestant| (contestant.who, Vec::new())).collect();
    for contestant in contestants {
        let warming = Load { seconds: 1, ..load };
        warming.put_on(&contestant.address.to_string(), dir).await.with_context(|| contestant.who.name())?;
    }
    let mut patience = PATIENCE;
    for round in 0..rounds {
        for place in 0..contestants.len() {
            let at = (round + place) % contestants.len();
            turns[at].1.push(turn(&contestants[at], load, dir, &mut patience).await.with_context(|| contestants[at].who.name())?);
        }
    }
    Ok(Results { load, turns })
}

async fn turn(contestant: &Contestant, load: Load, dir: &Path, patience: &mut Duration) -> Result<Turn> {
    let mut tries = 1;
    loop {
        others::quiet(patience).await?;
        let (begun, before_us) = (others::Moment::now()?, cpu::used_us(&contestant.pids)?);
        let seen = load.put_on(&contestant.address.to_string(), dir).await?;
        let cpu_us = cpu::used_us(&contestant.pids)? - before_us;
        let is_disturbed = !begun.is_quiet_since()?;
        if !is_disturbed || tries == TRIES || patience.is_zero() {
            return Ok(Turn { seen, cpu_us, is_disturbed });
        }
        tries += 1;
    }
}

impl Results {
    /// What one of them did, round by round; `None` when it did not take part.
    pub fn of(&self, who: Who, what: impl Fn(&Turn) -> f64) -> Option<Vec<f64>> {
        let (_, turns) = self.turns.iter().find(|(other, _)| *other == who)?;
        Some(turns.iter().map(what).collect())
    }

    /// Ostler to one of the others, round by round.
    pub fn ratio_to(&self, who: Who, what: impl Fn(&Turn) -> f64 + Copy) -> Option<Vec<f64>> {
        Some(ratios(&self.of(Who::Ostler, what)?, &self.of(who, what)?))
    }

    /// nginx to itself.
    pub fn a_to_a(&self, what: impl Fn(&Turn) -> f64 + Copy) -> Vec<f64> {
        let pair = self.of(Who::NginxAgain, what).zip(self.of(Who::Nginx, what));
        pair.map(|(again, first)| ratios(&again, &first)).unwrap_or_default()
    }

    /// How far nginx lies from itself.
    pub fn spread(&self, what: impl Fn(&Turn) -> f64 + Copy) -> f64 {
        spread(&self.a_to_a(what))
    }

    /// Which of nginx and HAProxy did better in the middle of all rounds, so that one lucky round does not change sides.
    pub fn better(&self, more_is_better: bool, what: impl Fn(&Turn) -> f64 + Copy) -> Option<Who> {
        let median_of = |who| self.of(who, what).as_deref().and_then(median).map(|median| (who, median));
        let both = [median_of(Who::Nginx), median_of(Who::HaProxy)].into_iter().flatten();
        let signed = |value: f64| if more_is_better { value } else { -value };
        both.max_by(|(_, one), (_, other)| signed(*one).total_cmp(&signed(*other))).map(|(who, _)| who)
    }

    /// What each did.
    pub fn figures(&self, what: &str) -> Vec<Figure> {
        let load = format!("{what}, {} connections", self.load.connections);
        let figure = |(who, turns): &(Who, Vec<Turn>)| Figure { load: load.clone(), who: who.name(), turns: turns.clone() };
        self.turns.iter().map(figure).collect()
    }
}

/// All turns of one proxy under one load.
#[derive(Clone, Debug)]
pub struct Figure {
    load: String,
    who: &'static str,
    turns: Vec<Turn>,
}

impl Figure {
    /// What stands above [`Figure::cells`].
    pub const HEAD: [&'static str; 10] =
        ["load", "who", "req/s", "min..max", "MB/s", "p50 ms", "p99 ms", "CPU us/req", "errors", "disturbed"];

    /// Its medians, and the sum of the errors.
    pub fn cells(&self) -> Vec<String> {
        let all = |what: fn(&Turn) -> f64| self.turns.iter().map(what).collect::<Vec<f64>>();
        let middle = |what: fn(&Turn) -> f64| median(&all(what)).unwrap_or_default();
        vec![
            self.load.clone(),
            self.who.to_owned(),
            format!("{:.0}", middle(Turn::req_per_s)),
            range(&all(Turn::req_per_s), |sample| format!("{sample:.0}")),
            format!("{:.0}", middle(Turn::mb_per_s)),
            format!("{:.2}", middle(|turn| turn.seen.p50_ms)),
            format!("{:.2}", middle(Turn::p99_ms)),
            format!("{:.1}", middle(Turn::cpu_us_per_request)),
            format!("{:.0}", all(|turn| turn.seen.errors).iter().sum::<f64>()),
            format!("{} of {}", self.turns.iter().filter(|turn| turn.is_disturbed).count(), self.turns.len()),
        ]
    }
}
