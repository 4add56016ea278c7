//! Sources that change, break and come back, followed by the real task over a store in memory.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cluster::source::Reading;
use cluster::{App, AppName, ClusterId, Now};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::reader::{Call, Fetched, Listed, Reader};
use super::shelf::Shelf;
use super::{AppSource, AppsFrom, SourceReport};
use crate::store::Store;
use crate::store::memory::MemoryStore;
use crate::tests::rig::eventually;

fn text(name: &str, program: &str) -> String {
    format!("name = \"{name}\"\ncommand = [\"{program}\"]\n")
}

fn name(name: &str) -> AppName {
    name.parse().unwrap()
}

/// A source that is followed.
struct Followed {
    store: Arc<dyn Store>,
    reports: tokio::sync::watch::Receiver<Arc<SourceReport>>,
    end: CancellationToken,
    tasks: TaskTracker,
}

impl Followed {
    fn start(url: &str, poll: Duration, prune: bool) -> Self {
        let from = AppsFrom { location: url.parse().unwrap(), poll, prune };
        let source = AppSource::open(from, false).unwrap();
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(ClusterId(1)));
        let (reports, end, tasks) = (source.reports(), CancellationToken::new(), TaskTracker::new());
        tasks.spawn(source.run(Arc::clone(&store), end.clone()));
        Followed { store, reports, end, tasks }
    }

    fn app(&self, of: &str) -> Option<App> {
        self.store.watch().borrow().apps.get(&name(of)).cloned()
    }

    fn report(&self) -> Arc<SourceReport> {
        Arc::clone(&self.reports.borrow())
    }

    async fn until_revision(&self, of: &str, revision: u64) -> App {
        eventually("the revision", || async { self.app(of).filter(|app| app.revision == revision) }).await
    }

    async fn until_report(&self, fits: impl Fn(&SourceReport) -> bool) -> Arc<SourceReport> {
        eventually("the report", || async { Some(self.report()).filter(|report| fits(report)) }).await
    }

    async fn stop(self) {
        self.end.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

fn url_of(directory: &Path) -> String {
    format!("dir://{}", directory.display())
}

/// So long that only a notification can have been the cause.
const NEVER: Duration = Duration::from_secs(3_600);

#[tokio::test]
async fn a_change_in_a_directory_is_taken_up_at_once_and_an_error_leaves_the_app_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a.toml"), text("a", "x")).unwrap();
    let source = Followed::start(&url_of(directory.path()), NEVER, false);
    let app = source.until_revision("a", 1).await;
    assert_eq!(app.origin.to_string(), format!("{}/a.toml", url_of(directory.path())));

    let began = Instant::now();
    fs::write(directory.path().join("a.toml"), text("a", "y")).unwrap();
    source.until_revision("a", 2).await;
    println!("a change in a directory was in the store after {:?}", began.elapsed());

    fs::write(directory.path().join("a.toml"), "name = \"a\"\ncomand = []\n").unwrap();
    let report = source.until_report(|report| !report.faults.is_empty()).await;
    assert!(report.faults["a.toml"].why.starts_with("a.toml:2:1: "), "{report:?}");
    assert!(report.error_of(&app.name, &app.origin).is_some());
    assert_eq!(source.app("a").unwrap().revision, 2);

    // As editors do it: beside its place, then renamed into it; and below a directory that is new.
    fs::create_dir(directory.path().join("eu")).unwrap();
    fs::write(directory.path().join("eu/.b.toml.tmp"), text("b", "z")).unwrap();
    fs::rename(directory.path().join("eu/.b.toml.tmp"), directory.path().join("eu/b.toml")).unwrap();
    fs::write(directory.path().join("a.toml"), text("a", "x")).unwrap();
    source.until_revision("a", 3).await;
    source.until_revision("b", 1).await;
    source.until_report(|report| report.faults.is_empty()).await;
    source.stop().await;
}

#[tokio::test]
async fn a_directory_that_is_gone_stops_nothing_and_is_followed_again_when_it_is_back() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("apps");
    let source = Followed::start(&url_of(&directory), Duration::from_millis(100), true);
    let report = source.until_report(|report| report.error.is_some()).await;
    assert!(report.error.as_ref().unwrap().contains("make the directory"), "{report:?}");
    fs::create_dir(&directory).unwrap();
    for of in ["a", "b"] {
        fs::write(directory.join(format!("{of}.toml")), text(of, "x")).unwrap();
    }
    source.until_revision("b", 1).await;
    fs::rename(&directory, parent.path().join("away")).unwrap();
    source.until_report(|report| report.error.is_some()).await;
    assert!(!source.app("a").unwrap().deleted && !source.app("b").unwrap().deleted);
    // An empty one in its place stops nothing either.
    fs::create_dir(&directory).unwrap();
    source.until_report(|report| report.error.is_none() && report.vanished.len() == 2).await;
    assert!(!source.app("a").unwrap().deleted);
    // One file that is there tells that the other is not.
    fs::write(directory.join("a.toml"), text("a", "y")).unwrap();
    source.until_revision("a", 2).await;
    eventually("b is deleted", || async { source.app("b").filter(|app| app.deleted) }).await;
    source.stop().await;
}

/// A source in memory, which counts what is fetched.
#[derive(Default)]
struct Counted {
    files: BTreeMap<String, (u64, String)>,
    fetched: AtomicUsize,
}

impl Reader for Counted {
    fn list(&self) -> Call<'_, Vec<Listed>> {
        let listed = self.files.iter().map(|(file, (tag, _))| Listed { file: file.clone(), tag: Some(tag.to_string()) }).collect();
        Box::pin(std::future::ready(Ok(listed)))
    }

    fn fetch(&self, file: String, _known: Option<String>) -> Call<'_, Fetched> {
        self.fetched.fetch_add(1, Ordering::Relaxed);
        let (tag, text) = &self.files[&file];
        let answer = match text.as_str() {
            "" => Err("the connection broke".to_owned()),
            text => Ok(Fetched::New { tag: Some(tag.to_string()), bytes: Bytes::from(text.to_owned()) }),
        };
        Box::pin(std::future::ready(answer))
    }
}

#[tokio::test]
async fn five_hundred_apps_are_read_once_and_a_change_of_one_touches_that_one_alone() {
    let mut source = Counted::default();
    for nth in 0..500 {
        source.files.insert(format!("{nth}.toml"), (1, text(&format!("app-{nth}"), "x")));
    }
    let (mut shelf, now) = (Shelf::default(), Now { mono_ms: 0, unix_ms: 0 });
    let judge = cluster::source::Source { url: "s3://apps".to_owned(), prune: true };
    let mut apps: BTreeMap<AppName, App> = BTreeMap::new();

    let began = Instant::now();
    let look = shelf.look(&source).await.unwrap();
    let verdict = judge.judge(&look.files, &apps, now);
    println!("500 apps were listed, parsed and judged in {:?}", began.elapsed());
    assert_eq!(verdict.put.len(), 500);
    apps.extend(verdict.put.into_iter().map(|app| (app.name.clone(), app)));

    source.files.insert("7.toml".to_owned(), (2, text("app-7", "y")));
    let look = shelf.look(&source).await.unwrap();
    let verdict = judge.judge(&look.files, &apps, now);
    assert_eq!(verdict.put.iter().map(|app| app.name.to_string()).collect::<Vec<_>>(), ["app-7"]);
    assert_eq!(source.fetched.load(Ordering::Relaxed), 501);

    // What cannot be fetched now is asked for again, and is no reason to take its app for gone.
    source.files.insert("7.toml".to_owned(), (3, String::new()));
    for _ in 0..2 {
        let look = shelf.look(&source).await.unwrap();
        assert!(matches!(&look.files["7.toml"], Reading::Bad(why) if why.contains("the connection broke")));
        assert!(judge.judge(&look.files, &apps, now).put.iter().all(|app| !app.deleted));
    }
    assert_eq!(source.fetched.load(Ordering::Relaxed), 503);
}

/// A web server: what each path is answered with, and how often each was asked for and answered in full.
#[derive(Clone, Default)]
struct Web {
    pages: Arc<Mutex<BTreeMap<String, String>>>,
    full: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Web {
    async fn start(&self, tasks: &TaskTracker, end: &CancellationToken) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (web, end) = (self.clone(), end.clone());
        tasks.spawn(async move {
            while let Some(Ok((mut stream, _))) = end.run_until_cancelled(listener.accept()).await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await.unwrap_or(0) > 0 {}
                let _ = stream.write_all(web.answer(&String::from_utf8_lossy(&head)).as_bytes()).await;
            }
        });
        format!("http://{address}/apps/index.txt")
    }

    fn answer(&self, head: &str) -> String {
        let path = head.split(' ').nth(1).unwrap_or_default();
        let Some(page) = self.pages.lock().unwrap().get(path).cloned() else {
            return "HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".to_owned();
        };
        let tag = format!("\"{:x}\"", page.len());
        if head.to_ascii_lowercase().contains(&format!("if-none-match: {tag}")) {
            return format!("HTTP/1.1 304 Not Modified\r\nconnection: close\r\netag: {tag}\r\n\r\n");
        }
        *self.full.lock().unwrap().entry(path.to_owned()).or_default() += 1;
        // A page that is marked so breaks off.
        let length = page.len() + if page.contains("# breaks off") { 10 } else { 0 };
        format!("HTTP/1.1 200 OK\r\nconnection: close\r\netag: {tag}\r\ncontent-length: {length}\r\n\r\n{page}")
    }

    fn put(&self, path: &str, page: &str) {
        self.pages.lock().unwrap().insert(path.to_owned(), page.to_owned());
    }
}

#[tokio::test]
async fn an_index_names_files_which_are_sent_again_only_when_they_have_changed() {
    let web = Web::default();
    web.put("/apps/index.txt", "# ours\na.toml\nsub/b.toml\n");
    web.put("/apps/a.toml", &text("a", "x"));
    web.put("/apps/sub/b.toml", &text("b", "x"));
    let (tasks, end) = (TaskTracker::new(), CancellationToken::new());
    let url = web.start(&tasks, &end).await;
    let source = Followed::start(&url, Duration::from_millis(100), true);
    source.until_revision("a", 1).await;
    source.until_revision("b", 1).await;
    web.put("/apps/a.toml", &text("a", "longer"));
    source.until_revision("a", 2).await;
    assert_eq!(web.full.lock().unwrap()["/apps/sub/b.toml"], 1);

    // It breaks off, is no text of ours, or is not there: nothing changes, and each is said.
    web.put("/apps/a.toml", &format!("{}# breaks off", text("a", "other")));
    let report = source.until_report(|report| report.faults.contains_key("a.toml")).await;
    assert!(report.faults["a.toml"].why.contains("cannot be read"), "{report:?}");
    web.put("/apps/a.toml", &text("a", "longer"));
    web.put("/apps/index.txt", "<html>moved</html>\n");
    let report = source.until_report(|report| report.error.is_some()).await;
    assert!(report.error.as_ref().unwrap().starts_with("line 1 of the index"), "{report:?}");
    web.put("/apps/index.txt", "a.toml\nmissing.toml\n");
    source.until_report(|report| report.faults.contains_key("missing.toml")).await;
    assert_eq!(source.app("a").unwrap().revision, 2);
    // It is not named any more, by an index that is whole.
    eventually("b is deleted", || async { source.app("b").filter(|app| app.deleted) }).await;
    source.stop().await;
    end.cancel();
    tasks.close();
    tasks.wait().await;
}
