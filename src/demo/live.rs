//! The demo that a person watches: the map, drawn again when it changes, and what to try.

use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::client::Client;
use crate::demo::apps::Apps;
use crate::demo::stage::Stage;
use crate::demo::{map, probe};
use crate::output;
use crate::view::Status;

/// How often the map is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// How long the first replicas may take.
const SCALE: Duration = Duration::from_secs(20);
/// How many replicas the demo begins with.
const REPLICAS: usize = 4;
/// How many sentences about processes that ended stay on the screen.
const NEWS_MAX: usize = 4;

/// Registers the agents, scales up, and shows the map for as long as nobody stops it.
pub async fn show<T>(stage: &mut Stage<'_>) -> anyhow::Result<T> {
    let client = stage.client()?;
    output::print(&format!(
        "A controller at {} and two agents at {} and {}, in {}\n",
        client.url().clone(),
        stage.agent_url(0),
        stage.agent_url(1),
        stage.house().dir().display()
    ))?;
    let started = Instant::now();
    for at in [0, 1] {
        probe::post(&client, "/add-node", &format!("{{\"url\":\"{}\"}}", stage.agent_url(at))).await?;
    }
    match stage.apps() {
        Some(apps) => {
            stage.bring_apps().await?;
            wait_for_apps(&client, apps, started).await?;
        }
        None => start_workers(&client, started).await?,
    }
    if output::is_terminal() { draw(stage, &client).await } else { tell(stage, &client).await }
}

async fn start_workers(client: &Client, started: Instant) -> anyhow::Result<()> {
    probe::post(client, "/scale", &format!("{{\"count\": {REPLICAS}}}")).await?;
    let all_ready = |status: &Status| probe::ready(status).count() == REPLICAS;
    let (_, taken) = probe::until(client, "4 replicas ready", started, SCALE, all_ready).await?;
    Ok(output::print(&format!("Two nodes were added and 4 workers are ready after {}.\n\n", crate::duration::seconds(taken)))?)
}

/// One that does not become ready is no reason to end: the map says why.
async fn wait_for_apps(client: &Client, apps: &Apps, started: Instant) -> anyhow::Result<()> {
    let all_ready = |status: &Status| apps.are_ready(status);
    let outcome = match probe::until(client, "all apps ready", started, SCALE, all_ready).await {
        Ok((_, taken)) => format!("all apps of {} are ready after {}", apps.directory().display(), crate::duration::seconds(taken)),
        Err(_) => format!("not all apps of {} are ready yet; the map says why", apps.directory().display()),
    };
    Ok(output::print(&format!("Two nodes were added, and {outcome}.\n\n"))?)
}

/// On a terminal: the map over itself.
async fn draw<T>(stage: &mut Stage<'_>, client: &Client) -> anyhow::Result<T> {
    let mut news: Vec<String> = Vec::new();
    let mut last = String::new();
    let mut last_rows = 0;
    loop {
        news.extend(ended(stage)?);
        news.drain(..news.len().saturating_sub(NEWS_MAX));
        let map = Status::fetch(client).await.map_or_else(|error| format!("{error}\n"), |status| map::render(&status));
        let (columns, rows) = output::terminal_size().unwrap_or((100, 30));
        // A row is left for the cursor.
        let text = map::crop(&format!("{map}\n{}{}", lines(&news), hints(stage, client)?), columns, rows.saturating_sub(1));
        if text != last {
            let up = if last_rows > 0 { format!("\u{1b}[{last_rows}A\r\u{1b}[J") } else { String::new() };
            output::print(&(up + &text))?;
            last_rows = text.lines().count();
            last = text;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Elsewhere: the map once, then a line for every change.
async fn tell<T>(stage: &mut Stage<'_>, client: &Client) -> anyhow::Result<T> {
    let mut before = Status::fetch(client).await?;
    output::print(&format!("{}\n{}", map::render(&before), hints(stage, client)?))?;
    let mut silent = false;
    loop {
        tokio::time::sleep(LOOK).await;
        let mut news = ended(stage)?;
        match Status::fetch(client).await {
            Ok(after) => {
                silent = false;
                news.extend(map::changes(&before, &after));
                before = after;
            }
            // Once is enough.
            Err(error) if !silent => {
                silent = true;
                news.push(error.to_string());
            }
            Err(_) => {}
        }
        output::print(&lines(&news))?;
    }
}

/// Who ended, and how to bring it back.
fn ended(stage: &mut Stage<'_>) -> anyhow::Result<Vec<String>> {
    let mut news = Vec::new();
    for (at, sentence) in stage.endings()? {
        news.push(sentence);
        news.push(format!(
            "  to start it again, yours to stop then: cd {} && ./agent -port {}",
            stage.house().dir().display(),
            stage.agent_port(at)
        ));
    }
    Ok(news)
}

fn lines(sentences: &[String]) -> String {
    sentences.iter().map(|sentence| format!("{}\n", output::printable(sentence))).collect()
}

fn hints(stage: &mut Stage<'_>, client: &Client) -> anyhow::Result<String> {
    let url = client.url();
    let agent = stage.agent(1).and_then(|agent| agent.pid());
    let leave =
        agent.map(|pid| format!("  kill -INT {pid:<18}  agent 2 leaves, what it runs moves to agent 1 first\n")).unwrap_or_default();
    let (calls, what) = match stage.apps() {
        Some(apps) => (apps.places(&url.to_string()), "replica"),
        None => (format!("  curl {url}/\n"), "worker"),
    };
    let scale = if stage.apps().is_some() { "{\"app\": \"NAME\", \"count\": 6}" } else { "{\"count\": 6}" };
    let log = stage.controller()?.log().path().parent().context("the log has no directory")?.join("*.log");
    Ok(format!(
        "\
Try, in another terminal:
{calls}  curl {url}/status
  curl -X POST {url}/scale -d '{scale}'
  kill -9 PID                   of a {what}: it is started again at once
{leave}Logs: {}
Ctrl+C stops everything.
",
        log.display()
    ))
}
