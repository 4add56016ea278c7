//! Go's single dash: `-port 9091` and `-port=9091` mean `--port 9091`.
//!
//! The original programs were written in Go, and their command lines work as they were written. Only the names of flags
//! that exist are taken so; everything else is left to the parser and its messages.

use std::ffi::{OsStr, OsString};

use clap::Command;

/// Gives every known long flag that has a single dash its second one, up to a `--`.
pub fn rewrite(args: Vec<OsString>, command: &Command) -> Vec<OsString> {
    let names: Vec<&str> = command.get_arguments().filter_map(clap::Arg::get_long).chain(["help", "version"]).collect();
    let mut flags_end = false;
    let rewritten = args.into_iter().enumerate().map(|(at, arg)| {
        flags_end |= arg == "--";
        if at > 0 && !flags_end && names_a_flag(&arg, &names) {
            let mut doubled = OsString::from("-");
            doubled.push(&arg);
            doubled
        } else {
            arg
        }
    });
    rewritten.collect()
}

fn names_a_flag(arg: &OsStr, names: &[&str]) -> bool {
    // The name is what stands before the '='; what follows need not be text.
    let bytes = arg.as_encoded_bytes();
    let Some(rest) = bytes.strip_prefix(b"-") else { return false };
    let name = rest.split(|byte| *byte == b'=').next().unwrap_or_default();
    names.iter().any(|known| known.as_bytes() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(args: &[&str]) -> Vec<OsString> {
        let command = Command::new("agent").arg(clap::Arg::new("port").long("port")).arg(clap::Arg::new("data-dir").long("data-dir"));
        rewrite(args.iter().map(OsString::from).collect(), &command)
    }

    #[test]
    fn a_known_flag_gets_its_second_dash() {
        assert_eq!(rewritten(&["agent", "-port", "9091"]), ["agent", "--port", "9091"]);
        assert_eq!(rewritten(&["agent", "-port=9091", "-data-dir=/a=b"]), ["agent", "--port=9091", "--data-dir=/a=b"]);
        assert_eq!(rewritten(&["agent", "-help"]), ["agent", "--help"]);
        assert_eq!(rewritten(&["agent", "-version"]), ["agent", "--version"]);
    }

    #[test]
    fn everything_else_is_left_alone() {
        for args in [
            &["agent", "--port", "9091"][..],
            &["agent", "-p", "9091"],
            &["agent", "-ports", "9091"],
            &["agent", "-h", "-", "--", "-port"],
            &["-port", "x"],
            &["agent", "port=1"],
        ] {
            assert_eq!(rewritten(args), args, "{args:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_value_that_is_no_text_is_kept() {
        use std::os::unix::ffi::OsStringExt as _;
        let arg = OsString::from_vec(b"-data-dir=\xff".to_vec());
        let command = Command::new("agent").arg(clap::Arg::new("data-dir").long("data-dir"));
        let args = rewrite(vec!["agent".into(), arg], &command);
        assert_eq!(args[1], OsString::from_vec(b"--data-dir=\xff".to_vec()));
    }
}
