//! Whether a seccomp filter would let a call through, told before the call is made: some filters answer by killing.
//!
//! The filters are read with `PTRACE_SECCOMP_GET_FILTER`, which needs CAP_SYS_ADMIN, and run here on the very call.
//! Classic BPF as seccomp allows it: Linux, kernel/seccomp.c `seccomp_check_filter`.

const PTRACE_SECCOMP_GET_FILTER: libc::c_uint = 0x420c;
/// `BPF_MAXINSNS`.
const MAX_INSTRUCTIONS: usize = 4096;
/// Filters on one thread; each costs the thread time at every call.
const MAX_FILTERS: usize = 256;
const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
const ACTION: u32 = 0xffff_0000;
const ALLOW: u32 = 0x7fff_0000;
const LOG: u32 = 0x7ffc_0000;

/// `struct sock_filter`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Instruction {
    code: u16,
    jt: u8,
    jf: u8,
    k: u32,
}

/// `struct seccomp_data` as words.
fn data(number: i64, at: u64, arguments: [u64; 5]) -> [u32; 16] {
    let mut words = [0; 16];
    words[0] = number as u32;
    words[1] = AUDIT_ARCH_X86_64;
    let longs = std::iter::once(at).chain(arguments);
    for (n, long) in longs.enumerate() {
        words[2 + 2 * n] = long as u32;
        words[3 + 2 * n] = (long >> 32) as u32;
    }
    words
}

/// Asks every filter of a stopped thread about a call and about the way back from it.
///
/// # Errors
/// A sentence: a filter denies, or may not be read.
pub fn permits(tid: u32, at: u64, number: i64, arguments: [u64; 5]) -> Result<(), String> {
    let filters = filters(tid)?;
    let calls = [
        (number, arguments),
        (libc::SYS_rt_sigreturn, [0; 5]),
        (libc::SYS_exit, [0; 5]),
    ];
    for (number, arguments) in calls {
        let data = data(number, at + 2, arguments);
        for filter in &filters {
            let answer = run(filter, &data);
            if !matches!(answer.map(|a| a & ACTION), Some(ALLOW | LOG)) {
                let name = match number {
                    libc::SYS_clone => "clone",
                    libc::SYS_wait4 => "wait4",
                    libc::SYS_close_range => "close_range",
                    libc::SYS_rt_sigreturn => "rt_sigreturn",
                    _ => "exit",
                };
                return Err(format!("its seccomp filter does not permit {name}"));
            }
        }
    }
    Ok(())
}

fn filters(tid: u32) -> Result<Vec<Vec<Instruction>>, String> {
    let mut all = Vec::new();
    for index in 0..MAX_FILTERS {
        let mut program = vec![Instruction::default(); MAX_INSTRUCTIONS];
        // SAFETY: the kernel writes at most BPF_MAXINSNS instructions, for which there is room.
        let n = unsafe {
            libc::ptrace(
                PTRACE_SECCOMP_GET_FILTER,
                tid as libc::pid_t,
                index,
                program.as_mut_ptr(),
            )
        };
        match usize::try_from(n) {
            Ok(n) => {
                program.truncate(n);
                all.push(program);
            }
            Err(_) => {
                let error = std::io::Error::last_os_error();
                return match error.raw_os_error() {
                    Some(libc::ENOENT) => Ok(all),
                    _ => Err(format!(
                        "it has a seccomp filter that may not be read ({error}; needs CAP_SYS_ADMIN), and a filter may kill for a call"
                    )),
                };
            }
        }
    }
    Err(format!("it has more than {MAX_FILTERS} seccomp filters"))
}

/// Runs one filter; `None` for a program that the kernel would not have taken.
fn run(program: &[Instruction], data: &[u32; 16]) -> Option<u32> {
    let (mut a, mut x) = (0_u32, 0_u32);
    let mut store = [0_u32; 16];
    let mut pc = 0_usize;
    // Jumps go forward only, so this ends.
    loop {
        let Instruction { code, jt, jf, k } = *program.get(pc)?;
        pc += 1;
        let operand = if code & 0x08 != 0 { x } else { k };
        let jump = |condition: bool| usize::from(if condition { jt } else { jf });
        match code {
            0x20 if k % 4 == 0 => a = *data.get(k as usize / 4)?,
            0x80 => a = 64,
            0x00 => a = k,
            0x60 => a = *store.get(k as usize)?,
            0x81 => x = 64,
            0x01 => x = k,
            0x61 => x = *store.get(k as usize)?,
            0x02 => *store.get_mut(k as usize)? = a,
            0x03 => *store.get_mut(k as usize)? = x,
            0x04 | 0x0c => a = a.wrapping_add(operand),
            0x14 | 0x1c => a = a.wrapping_sub(operand),
            0x24 | 0x2c => a = a.wrapping_mul(operand),
            0x34 | 0x3c => match a.checked_div(operand) {
                Some(quotient) => a = quotient,
                None => return Some(0),
            },
            0x44 | 0x4c => a |= operand,
            0x54 | 0x5c => a &= operand,
            0xa4 | 0xac => a ^= operand,
            0x64 | 0x6c => a = a.checked_shl(operand).unwrap_or(0),
            0x74 | 0x7c => a = a.checked_shr(operand).unwrap_or(0),
            0x84 => a = a.wrapping_neg(),
            0x05 => pc = pc.checked_add(k as usize)?,
            0x15 | 0x1d => pc += jump(a == operand),
            0x25 | 0x2d => pc += jump(a > operand),
            0x35 | 0x3d => pc += jump(a >= operand),
            0x45 | 0x4d => pc += jump(a & operand != 0),
            0x06 => return Some(k),
            0x16 => return Some(a),
            0x07 => x = a,
            0x87 => a = x,
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn i(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
        Instruction { code, jt, jf, k }
    }

    #[test]
    fn a_filter_on_the_flags_of_clone_is_understood() {
        // Docker's form: clone is allowed unless it asks for a namespace.
        let filter = [
            i(0x20, 0, 0, 0),
            i(0x15, 0, 4, libc::SYS_clone as u32),
            i(0x20, 0, 0, 16),
            i(0x54, 0, 0, 0x7e02_0000),
            i(0x15, 1, 0, 0),
            i(0x06, 0, 0, 0x0005_0001),
            i(0x06, 0, 0, ALLOW),
        ];
        let ask = |flags| run(&filter, &data(libc::SYS_clone, 7, [flags, 0, 0, 0, 0]));
        assert_eq!(ask(0x400), Some(ALLOW));
        assert_eq!(ask(0x1000_0000), Some(0x0005_0001));
    }

    #[test]
    fn damaged_programs_give_nothing() {
        let none: &[Instruction] = &[];
        for filter in [
            none,
            &[i(0x20, 0, 0, 64)],
            &[i(0xff, 0, 0, 0)],
            &[i(0x05, 0, 0, 9)],
        ] {
            assert_eq!(run(filter, &data(0, 0, [0; 5])), None);
        }
        assert_eq!(run(&[i(0x34, 0, 0, 0)], &data(0, 0, [0; 5])), Some(0));
    }
}
