//! The first words between a guardian that keeps replicas and an agent that comes to it: a JSON object a line.
//!
//! They are of different versions where an agent was upgraded, and only this part must be understood by both: the guardian says
//! [`Hello`], the agent answers with one [`Answer`]. So what is here only ever gains fields, which an older side ignores. What follows
//! [`Answer::Begin`] is spoken between equals: an agent of another program has the guardian become that program first.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The number of what follows [`Answer::Begin`]: raised whenever a command or a message changes so that the version before cannot follow.
pub const PROTOCOL: u32 = 1;

/// What a guardian says to whoever comes to it, and again once it has become another program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// See [`PROTOCOL`].
    pub protocol: u32,
    /// The version of its program.
    pub version: String,
    /// The file that it runs.
    pub program: Program,
    /// Why it is not another program although it was told to become one.
    #[serde(default)]
    pub refused: Option<String>,
}

/// Which file a program is, whatever its path: no two have the same as long as one of them runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// The device.
    pub device: u64,
    /// The number on it.
    pub inode: u64,
}

/// What an agent says to that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Say what you have, and go on.
    Begin {},
    /// Become this program, keeping process, children and files, and say hello again.
    Exec {
        /// The file.
        program: PathBuf,
        /// The name that it is called by.
        name: String,
    },
    /// End every replica, and yourself.
    End {},
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// What is written here is what versions that are out there say: it may not change.
    #[test]
    fn the_first_words_stay_as_they_are() {
        let hello: Hello = serde_json::from_str(
            r#"{"protocol":1,"version":"0.1.0","program":{"device":2,"inode":3},"refused":null,"something_newer":[]}"#,
        )
        .unwrap();
        assert_eq!(hello, Hello { protocol: 1, version: "0.1.0".into(), program: Program { device: 2, inode: 3 }, refused: None });
        for (answer, text) in [
            (Answer::Begin {}, r#"{"begin":{}}"#),
            (Answer::End {}, r#"{"end":{}}"#),
            (Answer::Exec { program: "/bin/agent".into(), name: "agent".into() }, r#"{"exec":{"program":"/bin/agent","name":"agent"}}"#),
        ] {
            assert_eq!(serde_json::to_string(&answer).unwrap(), text);
            assert_eq!(serde_json::from_str::<Answer>(text).unwrap(), answer);
        }
    }
}
