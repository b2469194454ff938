//! Compiles `proto/a2a.proto` into Rust. Nothing has to be installed for it: the compiler is a crate.

use std::error::Error;
use std::path::Path;

const PROTO: &str = "proto/a2a.proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={PROTO}");
    let folder = Path::new(PROTO).parent().ok_or("the definition has no folder")?;
    let definition = protox::compile([PROTO], [folder])?;
    tonic_prost_build::configure()
        .build_client(cfg!(test))
        .build_transport(false)
        .compile_fds(definition)?;
    Ok(())
}
