//! How a program ends: one line on stderr and an exit code.

use std::io;
use std::process::ExitCode;

/// Refused, or failed.
pub const FAILED: u8 = 1;

/// A command line that cannot be read.
pub const USAGE: u8 = 2;

/// A command line that the parser took and the command could not.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// The exit code of `result`; an error is told as one line that begins with the program's name.
pub fn exit(program: &str, result: Result<(), anyhow::Error>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    if is_closed_output(&error) {
        return ExitCode::SUCCESS;
    }
    crate::output::complain(&one_line(program, &whole(&error)));
    ExitCode::from(if error.is::<Usage>() { USAGE } else { FAILED })
}

/// Whoever read our output has seen enough (`| head`): that is no failure.
pub fn is_closed_output(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// The error with its causes, but those that it tells already.
fn whole(error: &anyhow::Error) -> String {
    error
        .chain()
        .map(ToString::to_string)
        .reduce(|told, cause| if told.contains(&cause) { told } else { format!("{told}: {cause}") })
        .unwrap_or_default()
}

fn one_line(program: &str, message: &str) -> String {
    let lines: Vec<&str> = message.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    format!("{program}: {}", crate::output::printable(&lines.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_without_control_characters() {
        assert_eq!(one_line("agent", "no way\n  at all\n\n"), "agent: no way; at all");
        assert_eq!(one_line("agent", "\u{1b}[31mred"), "agent: \u{fffd}[31mred");
    }

    #[test]
    fn a_cause_is_told_once() {
        let error = anyhow::anyhow!("port taken").context("cannot listen (port taken)").context("no controller");
        assert_eq!(whole(&error), "no controller: cannot listen (port taken)");
    }

    #[test]
    fn only_a_closed_output_is_no_failure() {
        assert!(is_closed_output(&io::Error::from(io::ErrorKind::BrokenPipe).into()));
        assert!(!is_closed_output(&io::Error::from(io::ErrorKind::ConnectionRefused).into()));
        assert!(!is_closed_output(&anyhow::anyhow!("broken pipe")));
    }
}
