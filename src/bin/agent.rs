//! The program `agent`: the same as `ostler agent`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    ostler::main(Some(ostler::Role::Agent))
}
