//! The program `worker`: the same as `ostler worker`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    ostler::main(Some(ostler::Role::Worker))
}
