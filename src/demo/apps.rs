//! `demo --apps DIR`: the apps of a directory in place of the workers.
//!
//! They are read here first, so that what is wrong with one is told before anything starts. Absent from here: taking them into the cluster, which
//! the controller does by itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use cluster::rule::{RouteRule, conflicts};
use cluster::{App, AppName};

use crate::command::spec_files;
use crate::output::printable;
use crate::view::Status;

/// The apps of a directory.
pub struct Apps {
    directory: PathBuf,
    apps: BTreeMap<AppName, App>,
}

impl Apps {
    /// Reads them.
    pub fn read(directory: &Path) -> anyhow::Result<Apps> {
        let unusable = || format!("{} holds no apps: name a directory with *.toml files", directory.display());
        let directory = fs::canonicalize(directory).with_context(unusable)?;
        if !directory.is_dir() {
            bail!("{}", unusable());
        }
        let mut apps: BTreeMap<AppName, App> = BTreeMap::new();
        for (file, app) in spec_files::apps(std::slice::from_ref(&directory))? {
            let name = app.name.clone();
            if apps.insert(name.clone(), app).is_some() {
                bail!("{file} is the second that is called {name}; give one of them another name");
            }
        }
        match conflicts(apps.values()).first() {
            Some(conflict) => Err(anyhow!("{conflict}")),
            None => Ok(Apps { directory, apps }),
        }
    }

    /// Where they are, and where their programs are started.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// As a controller is told of them.
    pub fn source(&self) -> anyhow::Result<String> {
        let path = self.directory.to_str().with_context(|| format!("{} is no text: rename it", self.directory.display()))?;
        Ok(format!("dir://{path}"))
    }

    /// All of them are there, with all their replicas.
    pub fn are_ready(&self, status: &Status) -> bool {
        self.apps.keys().all(|name| status.apps.iter().any(|app| app.name == name.as_str() && app.ready == app.desired))
    }

    /// Where each is found, below the controller's URL.
    pub fn places(&self, url: &str) -> String {
        let width = self.apps.keys().map(|name| name.as_str().len()).max().unwrap_or(0);
        let mut text = String::new();
        for app in self.apps.values() {
            let places = places(app, url);
            for (nth, place) in places.iter().enumerate() {
                let name = if nth == 0 { app.name.as_str() } else { "" };
                text.push_str(&format!("  {name:width$}  {}\n", printable(place)));
            }
        }
        text
    }
}

fn places(app: &App, url: &str) -> Vec<String> {
    let of_rule = |rule: &RouteRule| match &rule.host {
        Some(host) => format!("curl -H 'Host: {host}' {url}{}", rule.path),
        None => format!("curl {url}{}", rule.path),
    };
    let mut places: Vec<String> = app.routes.iter().map(of_rule).collect();
    if app.default || app.name == AppName::builtin() {
        places.push(format!("curl {url}/"));
    }
    if places.is_empty() {
        places.push("(no route: only apps that use it call it)".to_owned());
    }
    places
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn read(files: &[(&str, &str)]) -> anyhow::Result<Apps> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        Apps::read(dir.path())
    }

    #[test]
    fn each_app_is_shown_with_what_reaches_it() {
        let web = "name = \"web\"\ncommand = [\"web\"]\ndefault = true\n[[route]]\npath = \"/web\"\n[[route]]\nhost = \"shop.test\"\n";
        let apps = read(&[("a.toml", web), ("b.toml", "name = \"store\"\ncommand = [\"store\"]\n"), ("notes.txt", "x")]).unwrap();
        let expected = "  store  (no route: only apps that use it call it)
  web    curl http://localhost:8000/web
         curl -H 'Host: shop.test' http://localhost:8000/
         curl http://localhost:8000/
";
        assert_eq!(apps.places("http://localhost:8000"), expected);
        assert!(!apps.are_ready(&Status::default()));
    }

    #[test]
    fn apps_that_do_not_fit_together_are_told_before_anything_starts() {
        let app = "name = \"a\"\ncommand = [\"a\"]\n";
        assert!(read(&[("a.toml", app), ("b.toml", app)]).err().unwrap().to_string().contains("the second that is called a"));
        let both = |name: &str| format!("name = \"{name}\"\ncommand = [\"a\"]\n[[route]]\npath = \"/x\"\n");
        let error = read(&[("a.toml", &both("a")), ("b.toml", &both("b"))]).err().unwrap().to_string();
        assert!(error.contains("a and b"), "{error}");
        assert!(read(&[]).is_err());
        assert!(Apps::read(Path::new("/no/such")).err().unwrap().to_string().contains("/no/such"));
    }
}
