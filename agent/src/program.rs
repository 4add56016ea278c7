//! Which file a program's name means, and the environment it is started in.
//!
//! A name with no slash is looked up in the agent's working directory, beside the agent's own program, and on PATH: the first regular
//! executable file. Looked up at each start, so that a program that is put in its place later is found by the next attempt.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};

use cluster::ReplicaId;
use cluster::app::{AppName, AppSpec};
use cluster::placeholder::{self, Values};

use crate::os;

/// The variable that tells whose process a process is.
pub const REPLICA_ID_VARIABLE: &str = "OSTLER_REPLICA_ID";
/// The address that a replica is called at.
const HOST: &str = "127.0.0.1";
/// What of the agent's own environment a replica gets.
const PASSED_ON: [&str; 4] = ["PATH", "HOME", "LANG", "TZ"];
/// The most directories that a message names.
const NAMED_MAX: usize = 30;
/// The most bytes of arguments and environment: the system takes about 2 MiB.
const COMMAND_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Why a command cannot be started.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is nothing to run.
    #[error("the app's command is empty; give it a program")]
    Empty,
    /// A name with no slash that is nowhere.
    #[error("the program \"{name}\" was not found in {looked_in}; put an executable file of that name there{passed_over}")]
    NotFound {
        /// The program.
        name: String,
        /// Directories, with commas between.
        looked_in: String,
        /// What of that name is no program, and why; a half sentence or nothing.
        passed_over: String,
    },
    /// A path that leads to no program.
    #[error("the program {path} {why}")]
    NoProgram {
        /// The path.
        path: String,
        /// Why it is none, and what to do.
        why: &'static str,
    },
    /// Something that no system can pass on.
    #[error("{0} of the app cannot be passed to a program; take NUL bytes out, and '=' out of variable names")]
    Malformed(&'static str),
    /// More than the system takes.
    #[error("command and environment of the app are longer than {COMMAND_BYTES_MAX} bytes; pass a file instead")]
    TooLong,
}

/// Where programs are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchPath {
    directories: Vec<PathBuf>,
    /// What relative names with a slash begin at; the working directory unless said.
    base: Option<PathBuf>,
}

impl SearchPath {
    /// Working directory, the directory of the agent's program, PATH.
    pub fn of_this_process() -> Self {
        let mut directories = Vec::new();
        directories.extend(env::current_dir().ok());
        directories.extend(env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_owned)));
        if let Some(path) = env::var_os("PATH") {
            // An empty entry means the working directory, which came first.
            directories.extend(env::split_paths(&path).filter(|entry| entry.is_absolute()));
        }
        SearchPath { directories, base: None }
    }

    /// What comes first is the directory of an artifact: names with a slash are relative to it, and it is looked into before all others.
    pub fn within(&self, artifact: &Path) -> Self {
        let directories = std::iter::once(artifact.to_owned()).chain(self.directories.iter().cloned()).collect();
        SearchPath { directories, base: Some(artifact.to_owned()) }
    }

    /// The program that `name` means.
    pub fn find(&self, name: &str) -> Result<PathBuf, Error> {
        if name.is_empty() {
            return Err(Error::Empty);
        }
        if name.contains('\0') {
            return Err(Error::Malformed("the program's name"));
        }
        if name.contains(std::path::is_separator) {
            let path = self.base.as_ref().map_or_else(|| PathBuf::from(name), |base| base.join(name));
            let path = std::path::absolute(&path).unwrap_or(path);
            return if os::is_executable(&path) {
                Ok(path)
            } else {
                Err(Error::NoProgram { path: path.display().to_string(), why: why_none(&path) })
            };
        }
        let candidate = |directory: &PathBuf| {
            let mut path = directory.join(name);
            if !env::consts::EXE_SUFFIX.is_empty() && path.extension().is_none() {
                path.set_extension(env::consts::EXE_EXTENSION);
            }
            path
        };
        self.directories.iter().map(candidate).find(|path| os::is_executable(path)).ok_or_else(|| {
            let is_there = |path: &PathBuf| path.symlink_metadata().is_ok();
            let passed_over = self.directories.iter().map(candidate).find(is_there);
            let passed_over = passed_over.map_or_else(String::new, |path| format!(" ({} {})", path.display(), why_none(&path)));
            let mut looked_in: Vec<String> = Vec::new();
            for directory in &self.directories {
                let text = directory.display().to_string();
                if !looked_in.contains(&text) {
                    looked_in.push(text);
                }
            }
            let more = looked_in.len().saturating_sub(NAMED_MAX);
            looked_in.truncate(NAMED_MAX);
            let more = if more == 0 { String::new() } else { format!(" and {more} more directories of PATH") };
            Error::NotFound { name: name.to_owned(), looked_in: looked_in.join(", ") + &more, passed_over }
        })
    }
}

/// Why a path leads to no program; follows the path.
fn why_none(path: &Path) -> &'static str {
    match path.metadata() {
        Ok(meta) if meta.is_dir() => "is a directory",
        Ok(meta) if !meta.is_file() => "is no regular file",
        Ok(_) => "is not executable: chmod +x it",
        Err(_) if path.symlink_metadata().is_ok_and(|meta| meta.is_symlink()) => "is a link that leads nowhere",
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => "is where this agent may not look",
        Err(_) => "is not there",
    }
}

/// Everything that a process is started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// The file.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its whole environment.
    pub env: BTreeMap<String, String>,
}

/// Whose process is started, and where it shall listen.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// The replica.
    pub id: ReplicaId,
    /// Its app.
    pub app: &'a AppName,
    /// The name of the node.
    pub node: &'a str,
    /// The port.
    pub port: u16,
    /// The variables that tell the addresses of the apps that it uses.
    pub addresses: &'a BTreeMap<String, String>,
}

impl Identity<'_> {
    /// What the spec says, with what differs from replica to replica put in.
    fn put_into(self, spec: &AppSpec) -> AppSpec {
        let (port, replica) = (self.port.to_string(), self.id.to_string());
        let values = Values { port: &port, host: HOST, replica: &replica };
        let expand = |text: &String| placeholder::expand(text, values);
        AppSpec {
            command: spec.command.iter().map(expand).collect(),
            env: spec.env.iter().map(|(name, value)| (name.clone(), expand(value))).collect(),
            ..spec.clone()
        }
    }
}

/// Prepares one start of a replica.
pub fn invocation(path: &SearchPath, spec: &AppSpec, of: Identity<'_>) -> Result<Invocation, Error> {
    let spec = &of.put_into(spec);
    let (name, args) = spec.command.split_first().ok_or(Error::Empty)?;
    if args.iter().any(|arg| arg.contains('\0')) {
        return Err(Error::Malformed("an argument"));
    }
    let is_malformed = |(key, value): (&String, &String)| key.is_empty() || key.contains(['=', '\0']) || value.contains('\0');
    if spec.env.iter().any(is_malformed) {
        return Err(Error::Malformed("an environment variable"));
    }
    let env = environment(spec, of, |name| env::var(name).ok());
    let bytes = spec.command.iter().map(|arg| arg.len() + 1).sum::<usize>() + env.iter().map(|(k, v)| k.len() + v.len() + 2).sum::<usize>();
    if bytes > COMMAND_BYTES_MAX {
        return Err(Error::TooLong);
    }
    Ok(Invocation { program: path.find(name)?, args: args.to_vec(), env })
}

/// What a replica finds in its environment: nothing of the agent's but [`PASSED_ON`], and not the home of its agent's user if it has one of
/// its own. The spec may change those, and not who it is.
fn environment(spec: &AppSpec, of: Identity<'_>, agents: impl Fn(&str) -> Option<String>) -> BTreeMap<String, String> {
    let is_its_own = |name: &&&str| **name != "HOME" || spec.run_as.user.is_none();
    let mut env: BTreeMap<String, String> =
        PASSED_ON.iter().filter(|name| is_its_own(name)).filter_map(|name| agents(name).map(|value| ((*name).to_owned(), value))).collect();
    env.extend(spec.env.clone());
    env.extend(of.addresses.clone());
    let own = [
        ("HOST", HOST.to_owned()),
        ("PORT", of.port.to_string()),
        (REPLICA_ID_VARIABLE, of.id.to_string()),
        ("OSTLER_APP", of.app.to_string()),
        ("OSTLER_NODE", of.node.to_owned()),
    ];
    env.extend(own.map(|(name, value)| (name.to_owned(), value)));
    env
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    static NO_ADDRESSES: BTreeMap<String, String> = BTreeMap::new();

    fn identity(app: &AppName) -> Identity<'_> {
        Identity { id: ReplicaId(7), app, node: "web-1:9091", port: 4000, addresses: &NO_ADDRESSES }
    }

    #[test]
    fn the_environment_is_what_the_contract_says_and_nothing_else() {
        let mut spec = AppSpec::new(vec!["x".to_owned()]);
        spec.env.insert("COLOUR".to_owned(), "red".to_owned());
        spec.env.insert("PORT".to_owned(), "1".to_owned());
        spec.env.insert(REPLICA_ID_VARIABLE.to_owned(), "another".to_owned());
        let app = AppName::builtin();
        let env = environment(&spec, identity(&app), |name| (name != "TZ").then(|| format!("agent's {name}")));
        let expected = [
            ("COLOUR", "red"),
            ("HOME", "agent's HOME"),
            ("HOST", "127.0.0.1"),
            ("LANG", "agent's LANG"),
            ("OSTLER_APP", "worker"),
            ("OSTLER_NODE", "web-1:9091"),
            ("OSTLER_REPLICA_ID", "00000000-0000-0000-0000-000000000007"),
            ("PATH", "agent's PATH"),
            ("PORT", "4000"),
        ];
        let env: Vec<(&str, &str)> = env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(env, expected);
    }

    #[test]
    fn the_address_of_an_app_that_is_used_is_not_the_specs_to_say() {
        let mut spec = AppSpec::new(vec!["x".to_owned()]);
        spec.env.insert("OSTLER_USES_STORE".to_owned(), "http://elsewhere".to_owned());
        let addresses = BTreeMap::from([("OSTLER_USES_STORE".to_owned(), "http://127.0.0.1:5000".to_owned())]);
        let app = AppName::builtin();
        let env = environment(&spec, Identity { addresses: &addresses, ..identity(&app) }, |_| None);
        assert_eq!(env["OSTLER_USES_STORE"], "http://127.0.0.1:5000");
    }

    #[test]
    fn what_no_program_can_be_given_is_refused() {
        let path = SearchPath { directories: vec![], base: None };
        let app = AppName::builtin();
        let refused = |spec: &AppSpec| invocation(&path, spec, identity(&app)).unwrap_err();
        assert_eq!(refused(&AppSpec::new(vec![])), Error::Empty);
        assert_eq!(refused(&AppSpec::new(vec![String::new()])), Error::Empty);
        assert!(matches!(refused(&AppSpec::new(vec!["x".into(), "a\0".into()])), Error::Malformed(_)));
        assert_eq!(refused(&AppSpec::new(vec!["x".into(), "a".repeat(COMMAND_BYTES_MAX)])), Error::TooLong);
        for name in ["", "A=B", "A\0"] {
            let mut spec = AppSpec::new(vec!["x".into()]);
            spec.env.insert(name.to_owned(), String::new());
            assert!(matches!(refused(&spec), Error::Malformed(_)), "{name:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn what_differs_from_replica_to_replica_is_put_in() {
        let dir = tempfile::tempdir().unwrap();
        let path = SearchPath { directories: vec![], base: None };
        let program = dir.path().join("prog").display().to_string();
        std::fs::copy("/bin/sh", &program).unwrap();
        let mut spec = AppSpec::new(vec![program, "{host}:{port}".to_owned(), "{{port}}".to_owned()]);
        spec.env.insert("ID".to_owned(), "<{replica}>".to_owned());
        let started = invocation(&path, &spec, identity(&AppName::builtin())).unwrap();
        assert_eq!(started.args, ["127.0.0.1:4000", "{port}"]);
        assert_eq!(started.env["ID"], "<00000000-0000-0000-0000-000000000007>");
    }

    #[cfg(unix)]
    #[test]
    fn the_first_regular_executable_file_is_taken() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let directories: Vec<PathBuf> = ["a", "b", "c", "d"].iter().map(|name| dir.path().join(name)).collect();
        let path = SearchPath { directories: directories.clone(), base: None };
        std::fs::create_dir_all(directories[0].join("prog")).unwrap();
        for (at, mode) in [(1, 0o644), (2, 0o755), (3, 0o755)] {
            std::fs::create_dir_all(&directories[at]).unwrap();
            let file = directories[at].join("prog");
            std::fs::write(&file, "").unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        assert_eq!(path.find("prog").unwrap(), directories[2].join("prog"));
        let message = path.find("absent").unwrap_err().to_string();
        for directory in &directories {
            assert!(message.contains(&directory.display().to_string()), "{message}");
        }
        let none = |name: &Path| path.find(&name.to_string_lossy()).unwrap_err().to_string();
        assert!(none(Path::new("./no/such")).ends_with("/no/such is not there"));
        assert_eq!(none(&directories[0].join("prog")), format!("the program {} is a directory", directories[0].join("prog").display()));
        assert!(none(&directories[1].join("prog")).ends_with("prog is not executable: chmod +x it"));
        std::os::unix::fs::symlink("nowhere", directories[3].join("link")).unwrap();
        assert!(none(&directories[3].join("link")).ends_with("link is a link that leads nowhere"));
        assert!(none(Path::new("/dev/null")).ends_with("/dev/null is no regular file"));
        // Of a name that nothing is executable under, what is there is told.
        let message = none(Path::new("link"));
        assert!(message.ends_with(&format!(" ({} is a link that leads nowhere)", directories[3].join("link").display())), "{message}");
    }
}
