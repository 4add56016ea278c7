//! Listening sockets that the service manager opened for us: the protocol of sd_listen_fds(3).
//!
//! It keeps them when we end, so who connects while we start again waits, and is not refused.

use std::ffi::OsString;

use anyhow::{anyhow, bail};
use gateway::inherited::Inherited;

/// More is a mistake.
const SOCKETS_MAX: usize = 64;

/// Takes over what was handed to this process. To be called before any thread is started: the variables that say so are taken away.
pub fn take() -> anyhow::Result<Vec<Inherited>> {
    let names = names(std::process::id(), &|name| std::env::var_os(name))?;
    let mut sockets = listenfd::ListenFd::from_env();
    let mut taken = Vec::with_capacity(names.len());
    for (nth, name) in names.into_iter().enumerate() {
        let listener = sockets.take_tcp_listener(nth).map_err(|error| anyhow!("LISTEN_FDS hands over what is no TCP socket: {error}"))?;
        taken.push(Inherited::new(listener.ok_or_else(|| anyhow!("LISTEN_FDS hands over less than it says"))?, name)?);
    }
    Ok(taken)
}

/// What the sockets that were handed over are called, as far as they are.
fn names(pid: u32, variable: &dyn Fn(&str) -> Option<OsString>) -> anyhow::Result<Vec<Option<String>>> {
    let text = |name: &str| variable(name).map(|value| value.to_string_lossy().into_owned());
    // Without the number of a process they are for nobody, with that of another they are for that one: we inherited the variables alone.
    let (Some(count), Some(whose)) = (text("LISTEN_FDS"), text("LISTEN_PID")) else { return Ok(vec![]) };
    if whose.parse() != Ok(pid) {
        return Ok(vec![]);
    }
    let count = match count.parse() {
        Ok(count) if count <= SOCKETS_MAX => count,
        _ => bail!("LISTEN_FDS is \"{count}\": expected how many sockets are handed over, at most {SOCKETS_MAX}"),
    };
    let Some(names) = text("LISTEN_FDNAMES") else { return Ok(vec![None; count]) };
    let names: Vec<Option<String>> = names.split(':').map(|name| Some(name.to_owned())).collect();
    if names.len() != count {
        bail!("LISTEN_FDNAMES names {} sockets, and LISTEN_FDS hands over {count}", names.len());
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn of(variables: &[(&str, &str)]) -> anyhow::Result<Vec<Option<String>>> {
        names(7, &|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value)))
    }

    #[test]
    fn sockets_are_ours_if_the_variables_name_our_process() {
        assert_eq!(of(&[("LISTEN_PID", "7"), ("LISTEN_FDS", "2")]).unwrap(), [None, None]);
        let named = of(&[("LISTEN_PID", "7"), ("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "api:gateway")]).unwrap();
        assert_eq!(named, [Some("api".to_owned()), Some("gateway".to_owned())]);
        for nothing in
            [&[][..], &[("LISTEN_FDS", "1")], &[("LISTEN_PID", "8"), ("LISTEN_FDS", "1")], &[("LISTEN_PID", ""), ("LISTEN_FDS", "1")]]
        {
            assert!(of(nothing).unwrap().is_empty(), "{nothing:?}");
        }
    }

    #[test]
    fn variables_that_contradict_each_other_are_an_error() {
        for bad in [
            &[("LISTEN_FDS", "x")][..],
            &[("LISTEN_FDS", "65")],
            &[("LISTEN_FDS", "-1")],
            &[("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "api")],
        ] {
            let all: Vec<(&str, &str)> = bad.iter().copied().chain([("LISTEN_PID", "7")]).collect();
            let message = of(&all).unwrap_err().to_string();
            assert!(message.contains("LISTEN_FDS") && message.lines().count() == 1, "{message}");
        }
    }
}
