//! Cells that use too much: the kernel ends, the server does not, and the answer names the limit.

use super::stage::As;

#[test]
fn memory_of_all_kinds_together_ends_the_kernel_and_the_answer_names_the_limit() {
    const BOMBS: [&str; 4] = [
        // Six children with 300 MB each.
        "import os, time
for _ in range(6):
    if os.fork() == 0:
        held = bytearray(b'x') * 300_000_000
        time.sleep(1000)
time.sleep(1000)",
        // Shared between processes.
        "import mmap, time
shared = mmap.mmap(-1, 2_000_000_000)
for at in range(0, 2_000_000_000, 4096): shared[at] = 1
time.sleep(1000)",
        // A nameless file that nobody has mapped.
        "import os, time
file = os.memfd_create('x')
for _ in range(2000): os.write(file, b'x' * 1_000_000)
time.sleep(1000)",
        // Private.
        "held = []
while True: held.append(bytearray(b'x') * 50_000_000)",
    ];
    for user in As::all() {
        for level in ["namespaces", "landlock"] {
            let home = user.folder();
            let settings = [
                ("HUSK_SANDBOX_ISOLATION", level),
                ("HUSK_SANDBOX_MEMORY_BYTES", "1000000000"),
                ("HUSK_SANDBOX_MEMORY_PER_PROCESS_BYTES", "4000000000"),
            ];
            let mut host = user.host(home.path(), &settings);
            for bomb in BOMBS {
                let answer = host.cell(bomb);
                let text = answer.text();
                if text.contains("MemoryError") {
                    continue;
                }
                assert_eq!(answer.status(), "kernel_died", "{user:?} {level} {bomb}: {answer:?}");
                let told = text.contains(
                    " GB of 1.00 GB, the limit of memory (setting `sandbox.memory_bytes`)",
                );
                assert!(told, "{user:?} {level} {bomb}: {text}");
                assert!(host.ok("6 * 7").starts_with("42"));
            }
        }
    }
}

#[test]
fn a_workspace_that_grows_too_large_ends_the_kernel() {
    let home = tempfile::tempdir().unwrap();
    let settings = [("HUSK_SANDBOX_WORKSPACE_BYTES", "50000000")];
    let mut host = As::all().last().unwrap().host(home.path(), &settings);
    let code = "import time
for n in range(6): open(f'file{n}', 'wb').write(b'x' * 10_000_000)
time.sleep(1000)";
    let answer = host.cell(code);
    assert_eq!(answer.status(), "kernel_died", "{answer:?}");
    assert!(answer.text().contains("(setting `sandbox.workspace_bytes`)"), "{}", answer.text());
}
