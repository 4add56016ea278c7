//! How many files this process may have open: a request under way takes two.

/// Fewer than this are few for a gateway.
#[cfg(unix)]
const FEW: u64 = 4_096;

/// Raises the limit to what is allowed, and says so in the log where that is little.
#[cfg(unix)]
pub fn take_all_that_are_allowed() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    // A process may always raise its limit that far; should it not, it stays as it is.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    if let Some(files) = getrlimit(Resource::Nofile).current.filter(|files| *files < FEW) {
        tracing::warn!(
            "this process may open {files} files only, and each request under way needs two; raise the limit (ulimit -Hn, or LimitNOFILE=)"
        );
    }
}

/// There is no such limit here.
#[cfg(not(unix))]
pub fn take_all_that_are_allowed() {}
