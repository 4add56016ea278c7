//! As whom a replica runs, where, and what it may reach of its host's files.

use serde::{Deserialize, Serialize};

/// The ability of an agent to run a replica as the spec says: [`RunAs`].
pub const ABILITY_RUN_AS: &str = "run-as";
/// The ability of an agent to keep a replica to the files that it may use: [`Sandbox`].
pub const ABILITY_SANDBOX: &str = "sandbox";
/// The ability of an agent to open a replica's socket for it: [`SocketMode::Pass`].
pub const ABILITY_SOCKET: &str = "socket";

/// The key of a sandbox in [`crate::limits::Enforcement`], where it stands beside the limits.
pub const SANDBOX: &str = "sandbox";

/// All the permission bits that a umask can take away.
pub const UMASK_MAX: u32 = 0o777;

/// As whom and where the processes of a replica run. What is absent is as it is for the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunAs {
    /// A user of the host, by name or number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// A group of the host, by name or number; the user's own groups unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The directory that it starts in, absolute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// Permission bits that new files do not get: 0 to 0o777.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub umask: Option<u32>,
    /// No program that it runs gains rights by set-user-id bits or file capabilities.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_new_privs: bool,
    /// It has a temporary directory of its own (`TMPDIR`), which goes with it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub private_tmp: bool,
}

/// The files that a replica may use. Programs and libraries of the system can be read and run by all; what else is not named is closed.
/// A replica with a sandbox has a temporary directory of its own, asked for or not, and starts in it unless it has a working directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sandbox {
    /// What it may read and run, with all that is below: absolute paths.
    pub read: Vec<String>,
    /// What it may read, run and write, with all that is below: absolute paths. Its working directory and its temporary directory are so anyway.
    pub write: Vec<String>,
}

/// Who opens the socket that a replica is called at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SocketMode {
    /// The program, at `HOST` and `PORT`.
    #[default]
    Bind,
    /// The agent, which hands it over (`LISTEN_FDS`, sd_listen_fds(3)) to each attempt and to the replica after it.
    Pass,
}

/// A wish that cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} is {value:?}; give {expected}, or leave it out")]
pub struct Nonsense {
    name: &'static str,
    value: String,
    expected: &'static str,
}

impl RunAs {
    /// Whether each of them can be meant. Whether there is such a user or directory only its host knows.
    ///
    /// # Errors
    /// The first that cannot.
    pub fn check(&self) -> Result<(), Nonsense> {
        let refused = |name, value: &str, expected| Err(Nonsense { name, value: value.to_owned(), expected });
        let is_name = |text: &str| !text.is_empty() && !text.contains(['\0', ':', '\n']);
        match (&self.user, &self.group, &self.working_dir, self.umask) {
            (Some(user), ..) if !is_name(user) => refused("run_as.user", user, "the name or the number of a user"),
            (_, Some(group), ..) if !is_name(group) => refused("run_as.group", group, "the name or the number of a group"),
            (.., Some(path), _) if !is_absolute(path) => refused("run_as.working_dir", path, "a path that begins with /"),
            (.., Some(umask)) if umask > UMASK_MAX => {
                refused("run_as.umask", &umask.to_string(), "a number from 0 to 511 (octal 777; 18 is octal 022)")
            }
            _ => Ok(()),
        }
    }

    /// It may run as another user or group than its agent.
    #[must_use]
    pub fn names_somebody(&self) -> bool {
        self.user.is_some() || self.group.is_some()
    }
}

impl Sandbox {
    /// Whether each of its paths can be meant.
    ///
    /// # Errors
    /// The first that cannot.
    pub fn check(&self) -> Result<(), Nonsense> {
        let named = self.read.iter().map(|path| ("sandbox.read", path)).chain(self.write.iter().map(|path| ("sandbox.write", path)));
        match named.into_iter().find(|(_, path)| !is_absolute(path)) {
            Some((name, path)) => Err(Nonsense { name, value: path.clone(), expected: "paths that begin with /" }),
            None => Ok(()),
        }
    }
}

fn is_absolute(path: &str) -> bool {
    path.starts_with('/') && !path.contains('\0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_refused_with_a_sentence() {
        for (text, name) in [
            (r#"{"user":""}"#, "run_as.user"),
            (r#"{"user":"a:b"}"#, "run_as.user"),
            (r#"{"group":"a\u0000"}"#, "run_as.group"),
            (r#"{"working_dir":"data"}"#, "run_as.working_dir"),
            (r#"{"working_dir":""}"#, "run_as.working_dir"),
            (r#"{"umask":512}"#, "run_as.umask"),
        ] {
            let parsed: RunAs = serde_json::from_str(text).expect(text);
            let error = parsed.check().expect_err(text).to_string();
            assert!(error.starts_with(&format!("{name} is ")) && error.contains("; give ") && !error.contains('\n'), "{error}");
        }
        for (text, name) in [(r#"{"read":["/a","b"]}"#, "sandbox.read"), (r#"{"write":["/a\u0000"]}"#, "sandbox.write")] {
            let parsed: Sandbox = serde_json::from_str(text).expect(text);
            assert!(parsed.check().expect_err(text).to_string().starts_with(&format!("{name} is ")));
        }
    }

    #[test]
    fn what_can_be_meant_is_taken() {
        let text = r#"{"user":"nobody","group":"65534","working_dir":"/srv/a b","umask":511,"no_new_privs":true,"private_tmp":true}"#;
        let parsed: RunAs = serde_json::from_str(text).expect(text);
        assert_eq!(parsed.check(), Ok(()));
        assert_eq!(RunAs::default().check(), Ok(()));
        assert!(parsed.names_somebody() && !RunAs::default().names_somebody());
        assert_eq!(Sandbox { read: vec!["/".to_owned()], write: vec!["/srv".to_owned()] }.check(), Ok(()));
    }
}
