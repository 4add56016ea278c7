//! Why the kernel does not know a file as a program: it says ENOEXEC and nothing else (execve(2)).

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Machines by their number in an ELF file (`e_machine`, elf(5)), by the names that `uname -m` and packages have for them.
const MACHINES: [(u16, &str); 10] = [
    (3, "x86"),
    (8, "mips"),
    (20, "powerpc"),
    (21, "ppc64"),
    (22, "s390x"),
    (40, "arm"),
    (62, "x86_64"),
    (183, "aarch64"),
    (243, "riscv"),
    (258, "loongarch"),
];

/// What a person can do about it; follows "cannot be started: ".
pub fn reason(program: &Path) -> String {
    let mut head = [0; 20];
    match File::open(program).and_then(|file| file.take(head.len() as u64).read(&mut head)) {
        Ok(0) => "the file is empty".to_owned(),
        Ok(bytes) => of_head(head.get(..bytes).unwrap_or_default()),
        // One that may be executed need not be readable.
        Err(_) => "it is no program that this machine knows".to_owned(),
    }
}

fn of_head(head: &[u8]) -> String {
    if !head.starts_with(b"\x7fELF") {
        return "it is no program of this machine, and no script that begins with #! and an interpreter".to_owned();
    }
    // Byte 5 tells the order of bytes; the number stands at 18.
    let machine = match (head.get(5), head.get(18..20)) {
        (Some(2), Some(&[high, low])) => u16::from_be_bytes([high, low]),
        (_, Some(&[low, high])) => u16::from_le_bytes([low, high]),
        _ => return "the file is cut short".to_owned(),
    };
    let name = MACHINES.iter().find(|(number, _)| *number == machine).map(|(_, name)| *name);
    let ours = std::env::consts::ARCH;
    match name {
        Some(name) if name == ours => {
            format!("it is no program that runs here: it is damaged, or needs another system than Linux on {ours}")
        }
        Some(name) => format!("it was built for {name}, and this host is {ours}; build it for {ours}"),
        None => format!("it was built for another kind of machine (ELF machine {machine}), and this host is {ours}; build it for {ours}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elf(order: u8, machine: [u8; 2]) -> Vec<u8> {
        let mut head = b"\x7fELF\x02".to_vec();
        head.push(order);
        head.resize(18, 0);
        head.extend(machine);
        head
    }

    #[test]
    fn a_program_of_another_machine_is_told_by_its_name() {
        assert!(of_head(&elf(2, [0, 22])).starts_with("it was built for s390x, and this host is "));
        assert!(of_head(&elf(1, [75, 0])).contains("(ELF machine 75)"));
        assert!(of_head(&elf(1, [40, 0])).starts_with("it was built for arm, "));
    }

    #[test]
    fn what_is_no_program_is_told_as_that() {
        assert!(of_head(b"echo hello\n").contains("no script that begins with #!"));
        assert_eq!(of_head(b"\x7fELF\x02\x01"), "the file is cut short");
        assert_eq!(reason(Path::new("/dev/null")), "the file is empty");
        assert!(reason(Path::new("/no/such/file")).starts_with("it is no program"));
    }
}
