//! Programs that an agent may be told to run.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Command, ExitCode};

use rustix::net::{AddressFamily, SocketType, bind, listen, socket};

/// `processes replica WHAT`
pub fn main() -> ExitCode {
    let what = std::env::args().nth(2).unwrap_or_default();
    let port: u16 = std::env::var("PORT").unwrap().parse().unwrap();
    match what.as_str() {
        // Listens, and answers each connection with what it was sent.
        "echo" => echo(TcpListener::bind((std::env::var("HOST").unwrap(), port)).unwrap()),
        // Listens without SO_REUSEADDR: it cannot bind beside anybody.
        "alone" => {
            let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
            bind(&socket, &std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, port)).unwrap();
            listen(&socket, 16).unwrap();
            echo(TcpListener::from(socket))
        }
        // Serves the socket that it was handed: tells its pid to whoever connects.
        "handed" => handed(),
        // Tells its port to a file, and binds it once another file is there.
        "late" => {
            let files: Vec<String> = std::env::args().skip(3).collect();
            std::fs::write(&files[0], port.to_string()).unwrap();
            while !std::path::Path::new(&files[1]).exists() {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            match TcpListener::bind(("127.0.0.1", port)) {
                Ok(listener) => echo(listener),
                Err(_) => ExitCode::FAILURE,
            }
        }
        // Listens, and has a daemon that left its session, and one that wiped its environment as well.
        "daemons" => {
            sh("setsid sh -c 'sleep 1000 & sleep 1000' & sh -c 'sh -c \"sleep 1000 & exec sleep 1000\" &' ; true");
            sh("(setsid sleep 1000 &) ; (setsid env -i sleep 1000 & ) ; true");
            echo(TcpListener::bind(("127.0.0.1", port)).unwrap())
        }
        // The same, and ends with code 3.
        "daemons-and-end" => {
            sh("(setsid sleep 1000 &) ; (trap '' TERM HUP; sleep 1000 &) ; (setsid env -i sleep 1000 &) ; true");
            println!("said on stdout");
            eprintln!("these are my last words");
            ExitCode::from(3)
        }
        // Writes to stdout as fast as it can, or at most so many bytes in a second, for so many milliseconds, and then tells a file how much it was.
        "flood" => flood(),
        // Writes a line every 10 ms.
        "ticks" => loop {
            println!("a line of one hundred bytes or so, which says little: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
            std::thread::sleep(std::time::Duration::from_millis(10));
        },
        // Listens, and counts: a line every 2 ms.
        "count" => {
            std::thread::spawn(|| {
                for number in 0_u64.. {
                    println!("{number}");
                    std::thread::sleep(std::time::Duration::from_millis(2));
                }
            });
            echo(TcpListener::bind(("127.0.0.1", port)).unwrap())
        }
        // Says what the lines of FILE tell it to, by sd_notify, over and over.
        "notify" => {
            std::thread::spawn(notify);
            echo(TcpListener::bind(("127.0.0.1", port)).unwrap())
        }
        // Answers every request with the status that stands in the file named by FILE, and says what was asked unless QUIET.
        "web" => web(TcpListener::bind(("127.0.0.1", port)).unwrap()),
        "facts" => {
            print!("{}", std::fs::read_to_string("/proc/self/status").unwrap());
            print!("{}", std::fs::read_to_string("/proc/self/limits").unwrap());
            for entry in std::fs::read_dir("/proc/self/fd").unwrap() {
                let entry = entry.unwrap();
                println!("fd {} {}", entry.file_name().to_str().unwrap(), std::fs::read_link(entry.path()).unwrap().display());
            }
            for (name, value) in std::env::vars() {
                println!("env {name}={value}");
            }
            println!("session {}", rustix::process::getsid(None).unwrap().as_raw_nonzero());
            println!("done");
            echo(TcpListener::bind(("127.0.0.1", port)).unwrap())
        }
        other => panic!("no replica {other:?}"),
    }
}

/// `flood FILE MILLISECONDS BYTES_PER_SECOND`
fn flood() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(3).collect();
    let (ms, rate): (u64, u64) = (args[1].parse().unwrap(), args[2].parse().unwrap());
    let lines = [vec![b'x'; 99], b"\n".to_vec()].concat().repeat(640);
    let mut stdout = std::fs::File::from(rustix::io::dup(rustix::stdio::stdout()).unwrap());
    let began = std::time::Instant::now();
    let (mut bytes, mut longest) = (0_u64, std::time::Duration::ZERO);
    while began.elapsed().as_millis() < u128::from(ms) {
        if bytes * 1_000 > rate * began.elapsed().as_millis() as u64 {
            // It keeps to its rate.
            std::thread::sleep(std::time::Duration::from_millis(1));
            continue;
        }
        let before = std::time::Instant::now();
        stdout.write_all(&lines).unwrap();
        longest = longest.max(before.elapsed());
        bytes += lines.len() as u64;
    }
    std::fs::write(&args[0], format!("{bytes} {}", longest.as_millis())).unwrap();
    loop {
        std::thread::park();
    }
}

fn handed() -> ExitCode {
    use std::os::fd::FromRawFd;
    let variable = |name: &str| std::env::var(name).unwrap();
    assert_eq!(variable("LISTEN_PID"), std::process::id().to_string());
    assert_eq!((variable("LISTEN_FDS").as_str(), variable("LISTEN_FDNAMES").as_str()), ("1", "app0"));
    // SAFETY: it was handed over at this number, and nothing else owns it.
    #[allow(unsafe_code)]
    let listener = unsafe { TcpListener::from_raw_fd(3) };
    assert_eq!(listener.local_addr().unwrap().to_string(), format!("{}:{}", variable("HOST"), variable("PORT")));
    for stream in listener.incoming() {
        // Whoever connected may be gone.
        let _ = stream.unwrap().write_all(format!("{}\n", std::process::id()).as_bytes());
    }
    ExitCode::SUCCESS
}

fn sh(script: &str) {
    assert!(Command::new("/bin/sh").arg("-c").arg(script).status().unwrap().success());
}

fn notify() -> ! {
    let socket = std::os::unix::net::UnixDatagram::unbound().unwrap();
    let (path, file) = (std::env::var("NOTIFY_SOCKET").unwrap(), std::env::var("FILE").unwrap());
    loop {
        if let Ok(text) = std::fs::read_to_string(&file)
            && !text.is_empty()
        {
            let _ = socket.send_to(text.as_bytes(), &path);
        }
        // So often a program with a watchdog may speak up.
        std::thread::sleep(std::time::Duration::from_millis(30));
    }
}

fn web(listener: TcpListener) -> ExitCode {
    let file = std::env::var("FILE").unwrap();
    let quiet = std::env::var("QUIET").is_ok();
    for stream in listener.incoming() {
        let mut stream = BufReader::new(stream.unwrap());
        let mut first = String::new();
        stream.read_line(&mut first).unwrap();
        let mut line = String::new();
        while stream.read_line(&mut line).is_ok_and(|n| n > 2) {
            line.clear();
        }
        if !quiet {
            println!("{}", first.trim_end());
        }
        let status = std::fs::read_to_string(&file).unwrap_or_else(|_| "200".to_owned());
        let answer = format!("HTTP/1.1 {status} X\r\nlocation: /elsewhere\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        let _ = stream.get_mut().write_all(answer.as_bytes());
    }
    ExitCode::SUCCESS
}

fn echo(listener: TcpListener) -> ExitCode {
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n) = stream.read(&mut buffer) {
                if n == 0 || stream.write_all(&buffer[..n]).is_err() {
                    return;
                }
            }
        });
    }
    ExitCode::SUCCESS
}
