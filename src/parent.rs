//! A role that ends with whoever started it: `ostler demo` holds the other end of its stdin, and the kernel closes that
//! end however the demo dies.

use std::{io, thread};

/// Tells this process to stop when its stdin ends. The thread waits for as long as the process lives, and ends with it.
///
/// # Errors
/// When no thread can be started.
pub fn stop_with_parent() -> io::Result<()> {
    thread::Builder::new().name("parent".to_owned()).spawn(|| {
        // Whatever comes is nothing to us; the end is.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        stop_this_process();
    })?;
    Ok(())
}

/// As Ctrl+C does, then again: with the parent gone nobody waits for a gentle goodbye.
#[cfg(unix)]
fn stop_this_process() {
    use rustix::process::{Signal, getpid, kill_process};
    for _ in 0..2 {
        // A process may always signal itself.
        let _ = kill_process(getpid(), Signal::INT);
        thread::sleep(std::time::Duration::from_millis(700));
    }
}

#[cfg(not(unix))]
fn stop_this_process() {
    std::process::exit(0);
}
