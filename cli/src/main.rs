//! The `weft` binary; all of it is in the library, where tests reach it.

use std::process::ExitCode;

/// Tasks allocate much and briefly, often on one thread to free on another; the system's allocator is slow at that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    weft::main()
}
