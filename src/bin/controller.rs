//! The program `controller`: the same as `ostler controller`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    ostler::main(Some(ostler::Role::Controller))
}
